"""A page that plays one training step of a small network: shapes, heat maps, every gradient.

    python demos/playback_network.py [--out FOLDER]
"""

from helpers import command_line, save_drawing

import tinygrad_opt as tg
from tinygrad_opt.viz import explain, playback


def main(out="runs", quick=False):
    points, labels = tg.data.spiral(6, 3, rng=0)
    x = tg.Tensor(points, name="points")
    model = tg.nn.MLP([2, 8, 3], activation="tanh", rng=0)
    loss = tg.nn.cross_entropy(model(x), labels)
    loss.name = "loss"
    page = playback(loss)
    for parameter in model.parameters().values():
        print(explain(loss, parameter))
    print(page)
    save_drawing(page, out, "playback_network", "html")
    return page


if __name__ == "__main__":
    command_line(main, __doc__)
