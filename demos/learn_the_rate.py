"""Learn the learning rate: gradients through twenty steps of an optimizer, to its own options.

    python demos/learn_the_rate.py [--quick] [--out FOLDER]

A rule is plain NumPy, so it runs on Tensors too: the loss after twenty steps is a function of the
rate and of the momentum, and its gradient says how to change both.
"""

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt.viz.plots.learning_rates import plot_learning_rates

STEEPNESS = np.array([1.0, 8.0])                   # a valley, eight times as steep across as along
START = np.array([2.0, 1.0])


def losses(rate, momentum, steps=20):
    """The loss before each step of momentum along the valley, and after the last."""
    opt, state = tg.optim.Momentum(), None
    params, seen = {"w": tg.Tensor(START)}, []
    for step in range(steps + 1):
        w = params["w"]
        seen.append((STEEPNESS * w**2).sum() / 2)
        if step < steps:
            params, state = opt.updated(params, {"w": STEEPNESS * w}, state,
                                        lr=rate, momentum=momentum)
    return seen


def main(out="runs", quick=False):
    # what is learned is unbounded: the rate is e^a, the momentum σ(b)
    learned = {"a": tg.Tensor(np.log(0.01), requires_grad=True),
               "b": tg.Tensor(np.float64(-1.0), requires_grad=True)}
    outer, runs, rounds = tg.optim.Adam(learned, lr=0.1), {}, 10 if quick else 60
    for i in range(rounds + 1):
        rate, momentum = np.exp(learned["a"]), 1 / (1 + np.exp(-learned["b"]))
        seen = losses(rate, momentum)
        if i in (0, rounds // 6, rounds // 3, rounds):
            name = f"round {i}: rate {float(rate):.3f}, momentum {float(momentum):.2f}"
            runs[name] = [float(loss) for loss in seen]
            print(f"{name}, loss after 20 steps {runs[name][-1]:.2g}")
        outer.zero_grad()
        np.log(seen[-1]).backward()                # the loss falls by powers of ten
        outer.step()
    save_both(lambda theme: plot_learning_rates(runs, theme=theme), out, "learn_the_rate")
    return runs


if __name__ == "__main__":
    command_line(main, __doc__)
