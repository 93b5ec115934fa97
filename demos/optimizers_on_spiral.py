"""Five optimizers on the spiral, in the eight settings that two textbooks print.

    python demos/optimizers_on_spiral.py [--quick] [--seeds 8]

Accuracy and loss at the end for several seeds (data and weights), beside the published figure. In
full, 8 seeds of 10,001 epochs each, it takes two minutes. The data decide more than the optimizer.
With seeds 0 to 7 seven of the eight published figures lie in the range seen, widened by 0.03;
Adam's 0.817 lies 0.05 below it (0.893 to 0.960). It is a low one: of the seeds 0 to 63 one, 21,
ends below it, at 0.790. So it is in a program in plain NumPy, written from the texts alone and
given the same draws: between 0.88 and 0.98 for seeds 0 to 7, at 0.75 for seed 11. No setting is
off, but ten thousand epochs hang on the last digit of the first sums.
"""

import argparse
import math

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt import ops, optim

# optimizer, and the accuracies that the texts print for it
ROWS = [
    ("SGD", dict(lr=1.0), (0.683, 0.647)),
    ("SGD", dict(lr=0.85), (0.603,)),
    ("SGD", dict(lr=1.0, decay=1e-3), (0.693,)),
    ("SGD", dict(lr=1.0, decay=1e-3, momentum=0.8), (0.950,)),
    ("AdaGrad", dict(lr=1.0, decay=1e-3, eps=1e-7), (0.747,)),
    ("RMSprop", dict(lr=0.001, rho=0.9, eps=1e-7), (0.657,)),
    ("RMSprop", dict(lr=0.02, decay=1e-5, rho=0.999, eps=1e-7), (0.880,)),
    ("Adam", dict(lr=0.05, decay=5e-7, eps=1e-7), (0.817,)),
]


def network(rng, hidden=64):
    """Weights 0.01 times a standard normal, biases 0, all float32."""
    arrays = {
        "hidden.weight": 0.01 * rng.standard_normal((2, hidden)), "hidden.bias": np.zeros(hidden),
        "out.weight": 0.01 * rng.standard_normal((hidden, 3)), "out.bias": np.zeros(3),
    }
    return {
        name: tg.Tensor(a.astype(np.float32), requires_grad=True, name=name)
        for name, a in arrays.items()
    }


def logits(p, x):
    """2-64-3 with ReLU."""
    hidden = ops.relu(x @ p["hidden.weight"] + p["hidden.bias"])
    return hidden @ p["out.weight"] + p["out.bias"]


def train(name, options, seed, epochs):
    """Full batches, as in the texts; return accuracy and loss at the end."""
    rng = np.random.default_rng(seed)
    x, y = tg.data.spiral(100, 3, rng=rng)
    x = tg.Tensor(x)
    params = network(rng)
    optimizer = optim.get(name, params, **options)
    for _ in range(epochs):
        scores = logits(params, x)
        loss = ops.cross_entropy(scores, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(np.mean(scores.data.argmax(axis=1) == y)), loss.item()


def main(epochs=10_001, seeds=range(8), rows=ROWS):
    print(f"{'':<48}{'published':>12}{'accuracy here':>17}{'loss here':>17}")
    results = []
    for name, options, published in rows:
        runs = [train(name, options, seed, epochs) for seed in seeds]
        accuracies, losses = zip(*runs)
        label = name + "".join(f" {k} {v:g}" for k, v in options.items())
        figures = " and ".join(f"{a:.3f}" for a in published)
        print(f"{label:<46}{figures:>14}   {min(accuracies):.3f} to {max(accuracies):.3f}"
              f"   {min(losses):.3f} to {max(losses):.3f}", flush=True)
        assert all(map(math.isfinite, losses))
        results.append((name, options, published, accuracies, losses))
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 seeds of 300 epochs")
    parser.add_argument("--seeds", type=int, default=8, help="how many, from 0 on")
    options = parser.parse_args()
    if options.quick:
        main(epochs=300, seeds=range(2))
    else:
        main(seeds=range(options.seeds))
