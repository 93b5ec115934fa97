"""One sigmoid neuron, two numbers, every optimizer: paths over the surface of its error.

    python demos/sigmoid_neuron.py [--quick] [--out FOLDER]

f(x) = 1 / (1 + exp(-(w x + b))), from w = b = -2: a film of each optimizer, and one of all. Then:
does batch size matter where labels contradict each other, who leaves a plateau, why does AdaGrad
help with inputs that are rarely seen? The races are ``tinygrad-opt race neuron`` and ``race
noisy_neuron``.
"""

from functools import partial
from pathlib import Path

from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.races import animate_race, plot_race, race
from tinygrad_opt.viz.plots.sparse_inputs import learn_sparse, plot_sparse
from tinygrad_opt.viz.plots.surfaces import SURFACES, sampled, sigmoid_neuron

NEURON, NOISY = SURFACES["neuron"], SURFACES["noisy_neuron"]
# a rate of 1 for those to which it means the same
OPTIMIZERS = {
    "SGD": "sgd:1", "Momentum": "momentum:lr=1,momentum=0.9", "Nesterov": "nesterov:lr=1",
    "AdaGrad": "adagrad:1", "AdaDelta": "adadelta:10", "RMSprop": "rmsprop:0.05",
    "Adam": "adam:0.2",
}
# AdaGrad's rate is spent before it is there, divided by the mean square instead it is not; RMSprop
# swings to and fro at the end, unless its rate decays
TROUBLES = {
    "AdaGrad, ends short": "adagrad:0.1", "AdaGrad, mean square": "adagrad:lr=0.1,mean=true",
    "RMSprop, oscillates": "rmsprop:lr=0.1,rho=0.9",
    "RMSprop with decay": "rmsprop:lr=0.1,rho=0.9,decay=0.05",
}
# the slope all but vanishes: plain descent does not move in 10,000 steps, momentum does
PLATEAU = {"SGD": "sgd:0.02", "Momentum": "momentum:lr=0.02,momentum=0.99"}


def made(texts):
    return {name: tg.optim.get(text) for name, text in texts.items()}


def batches(seen):
    """Labels that contradict each other: the gradients of single points never vanish together.

    On an axis of samples seen stochastic descent is there first, and swings most from then on; Adam
    with mini-batches is the first thing to try.
    """
    kinds = {"SGD (batch)": ("sgd:0.25", 6), "mini-batches of 3": ("sgd:0.25", 3),
             "stochastic": ("sgd:0.25", 1), "Adam, mini-batches": ("adam:0.1", 3)}
    paths = {name: sampled(NOISY, tg.optim.get(text), seen=seen, batch=size)
             for name, (text, size) in kinds.items()}
    result = race(NOISY, paths, steps=seen, unit="samples seen")
    for name, track in result.tracks.items():
        print(f"{name:18} spread of w at the end {track.points[-seen // 3:, 0].std():.3f}")
    return result


def sparse(steps):
    """Three inputs, one of them there in two of a hundred samples: how far does each weight come?

    Plain descent has one rate for all; AdaGrad's stays large for what it has rarely seen.
    """
    return learn_sparse({"SGD": tg.optim.SGD(lr=0.02), "AdaGrad": tg.optim.AdaGrad(lr=0.3)},
                        shares=(1.0, 0.2, 0.02), steps=steps)


def main(out="runs", quick=False):
    scale = 50 if quick else 1
    each = {name: race(NEURON, made({name: text}), steps=1000 // scale)
            for name, text in OPTIMIZERS.items()}
    races = {
        "optimizers": race(NEURON, made(OPTIMIZERS), steps=1000 // scale),
        "batches": batches(3000 // scale),
        "troubles": race(NEURON, made(TROUBLES), steps=1000 // scale),
        "plateau": race(sigmoid_neuron([0.5, 2.5], [0.2, 0.9], view=(-10, 10)), made(PLATEAU),
                        (-4.0, -6.0), 10_000 // scale // (4 if quick else 1)),
    }
    for name, result in races.items():
        print(f"\n{name}\n{result}")
        save_both(partial(plot_race, result, cmap="coolwarm"), out, f"neuron_{name}")
    print()
    for name, result in (races | each).items():
        film = animate_race(result, frames=3 if quick else 60, cmap="coolwarm")
        print(f"wrote {film.save(Path(out, f'neuron_{name.lower()}.gif'))}")
    rare = sparse(600 // scale)
    print(f"\nsparse inputs (all weights should be 1)\n{rare}")
    save_both(partial(plot_sparse, rare), out, "neuron_sparse")
    print(f"wrote {rare.save(Path(out, 'neuron_sparse.csv'))}")
    return races


if __name__ == "__main__":
    command_line(main, __doc__)
