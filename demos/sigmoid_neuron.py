"""One sigmoid neuron, two numbers, every optimizer: paths over the surface of its error.

    python demos/sigmoid_neuron.py [--quick] [--out FOLDER]

f(x) = 1 / (1 + exp(-(w x + b))), from w = b = -2. Three questions: which way does each optimizer
go, does batch size matter, and why does AdaGrad help with inputs that are rarely seen?
"""

import argparse
from pathlib import Path

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.races import Race, animate_race, follow, plot_race, race
from tinygrad_opt.viz.plots.sparse_inputs import learn_sparse, plot_sparse
from tinygrad_opt.viz.plots.surfaces import sigmoid_neuron

X, Y = np.array([0.5, 2.5]), np.array([0.2, 0.9])


def descents(steps):
    """The same start for all, and a rate of 1 for those to which it means the same."""
    o = tg.optim
    return race(sigmoid_neuron(X, Y), {
        "SGD (batch)": o.SGD(lr=1.0),
        "Momentum": o.Momentum(lr=1.0, momentum=0.9),
        "Nesterov": o.Nesterov(lr=1.0, momentum=0.9),
        "AdaGrad": o.AdaGrad(lr=1.0),
        "RMSprop": o.RMSprop(lr=0.05),
        "Adam": o.Adam(lr=0.2),
    }, steps=steps)


def batches(epochs):
    """Batch, mini-batch and stochastic descent: the gradient of all points, of two, of one."""
    x = np.array([0.5, 1.0, 2.0, 2.5, 3.0, 1.5])
    y = np.array([0.2, 0.35, 0.7, 0.9, 0.88, 0.6])
    whole, tracks = sigmoid_neuron(x, y), {}
    for name, size in (("SGD (batch)", 6), ("mini-batch of 2", 2), ("stochastic", 1)):
        p = {n: tg.Tensor(np.float64(-2.0), requires_grad=True) for n in "wb"}
        opt, rng = tg.optim.SGD(p, lr=1.0), np.random.default_rng(0)
        points = [[-2.0, -2.0]]
        for _ in range(epochs):
            for some in rng.permutation(len(x)).reshape(-1, size):
                loss = sigmoid_neuron(x[some], y[some])(p["w"], p["b"])
                opt.zero_grad()
                loss.backward()
                opt.step()
                points.append([p["w"].item(), p["b"].item()])
        tracks[name] = follow(whole, points)
    return Race(whole, tracks)


def plateau(steps):
    """Far from the data's answer the slope all but vanishes: who moves at all?"""
    start = (-4.0, -6.0)
    return race(sigmoid_neuron(X, Y, view=(-10, 10)), {
        "SGD": tg.optim.SGD(lr=0.02), "Momentum": tg.optim.Momentum(lr=0.02, momentum=0.99),
    }, start, steps)


def sparse(steps):
    """Three inputs, one of them there in two of a hundred samples: how far does each weight come?

    Plain descent has one rate for all; AdaGrad's stays large for what it has rarely seen.
    """
    return learn_sparse({"SGD": tg.optim.SGD(lr=0.02), "AdaGrad": tg.optim.AdaGrad(lr=0.3)},
                        shares=(1.0, 0.2, 0.02), steps=steps)


def main(out="runs", quick=False):
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    scale = 20 if quick else 1
    for name, result in (("optimizers", descents(1000 // scale)),
                         ("batches", batches(200 // scale)),
                         ("plateau", plateau(10_000 // scale // (10 if quick else 1)))):
        print(f"\n{name}\n{result}")
        plot_race(result, cmap="coolwarm").savefig(folder / f"neuron_{name}.png")
        film = animate_race(result, frames=4 if quick else 60, cmap="coolwarm")
        print(f"wrote {film.save(folder / f'neuron_{name}.gif')}")
    rare = sparse(600 // scale)
    print(f"\nsparse inputs (all weights should be 1)\n{rare}")
    plot_sparse(rare).savefig(folder / "neuron_sparse.png")
    print(f"wrote {rare.save(folder / 'neuron_sparse.csv')} and .png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", default="runs")
    main(**vars(parser.parse_args()))
