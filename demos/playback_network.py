"""A page that plays one training step of a small network: shapes, heat maps, every gradient.

    python demos/playback_network.py
"""

import tinygrad_opt as tg
from tinygrad_opt.viz import explain, playback


def main():
    points, labels = tg.data.spiral(6, 3, rng=0)
    x = tg.Tensor(points, name="points")
    model = tg.nn.MLP([2, 8, 3], activation="tanh", rng=0)
    loss = tg.nn.cross_entropy(model(x), labels)
    loss.name = "loss"
    page = playback(loss, "network.html")
    for parameter in model.parameters().values():
        print(explain(loss, parameter))
    print(f"open network.html: {page}")
    return page


if __name__ == "__main__":
    main()
