"""Draw the pictures of the README: ``python scripts/make_pictures.py`` writes them to docs/."""

from pathlib import Path

import tinygrad_opt as tg

DOCS = Path(__file__).parents[1] / "docs"


def network():
    """The graph of the spiral network and its loss, after some training and one backward pass."""
    x, y = tg.data.spiral(100, 3, rng=0)
    model = tg.nn.MLP([2, 64, 3], activation="relu", rng=0)
    opt = tg.optim.Adam(model.parameters(), lr=0.05)
    points, labels = tg.Tensor(x, name="points"), tg.Tensor(y, name="labels")
    for step in range(200):
        loss = tg.nn.cross_entropy(model(points), labels)
        opt.zero_grad()
        loss.backward()
        if step < 199:
            opt.step()
    tg.draw(loss, name="loss", engine="builtin").save(DOCS / "network.svg")


def main():
    DOCS.mkdir(exist_ok=True)
    network()


if __name__ == "__main__":
    main()
