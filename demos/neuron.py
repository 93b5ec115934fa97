"""One neuron by hand: what it computes, what each number is to blame for, one step downhill.

    python demos/neuron.py [--out FOLDER]

The drawing shows each number on its way, and what flows back along each arrow.
"""

import numpy as np
from helpers import command_line, save_drawing

import tinygrad_opt as tg


def main(out="runs", quick=False):
    x = tg.Tensor([2.0, 0.0], name="x")
    w = tg.Tensor([-3.0, 1.0], requires_grad=True, name="w")
    b = tg.Tensor(6.88, requires_grad=True, name="b")
    target = 1.0

    def loss():
        return (np.tanh(x @ w + b) - target) ** 2

    before = loss()
    before.backward()
    save_drawing(tg.draw(before, grads=True, name="L"), out, "neuron")

    # the same by the chain rule: L = (y - t)², y = tanh(s), s = w·x + b
    s = float(np.dot(x.data, w.data) + b.data)
    y = np.tanh(s)
    dL_ds = 2 * (y - target) * (1 - y**2)
    print(f"s = w·x + b = {s:.4f}   y = tanh s = {y:.4f}   L = (y − t)² = {float(before):.4f}")
    print(f"{'':8}{'engine':>22}{'by hand':>22}")
    print(f"∂L/∂b   {w.dtype.type(b.grad):>22.6f}{dL_ds:>22.6f}")
    for i in range(2):
        print(f"∂L/∂w{i}  {w.grad[i]:>22.6f}{dL_ds * x.data[i]:>22.6f}")

    lr = 0.2
    w.data -= lr * w.grad
    b.data -= lr * b.grad
    after = loss()
    print(f"one step of {lr} against the gradient: L {float(before):.4f} -> {float(after):.4f}")
    return before, after


if __name__ == "__main__":
    command_line(main, __doc__)
