"""A loss that falls while the accuracy falls too, marked in the curves.

    python demos/loss_and_accuracy.py [--quick] [--out FOLDER]

Cross entropy asks how sure the network is of each label, accuracy only on which side of a boundary
a point lies: becoming much less wrong about some points may cost others. Early in the training of
the spiral, before the arms are told apart, it happens again and again.
"""

from functools import partial

from helpers import command_line, save_both

from tinygrad_opt.cli.spiral import learned
from tinygrad_opt.viz.plots.learning_curves import contrary, plot_history


def main(out="runs", quick=False):
    history = learned("sgd:lr=0.85", seed=1, epochs=100 if quick else 200)
    stretches = contrary(history)
    for first, last in stretches:
        loss, accuracy = ([history[name][epoch - 1] for epoch in (first, last)]
                          for name in ("loss", "accuracy"))
        print(f"epochs {first} to {last}: loss {loss[0]:.4f} -> {loss[1]:.4f}, accuracy"
              f" {accuracy[0]:.1%} -> {accuracy[1]:.1%}")
    save_both(partial(plot_history, history, columns=["loss", "accuracy"], mark_contrary=True), out,
              "loss_and_accuracy")
    return stretches


if __name__ == "__main__":
    command_line(main, __doc__)
