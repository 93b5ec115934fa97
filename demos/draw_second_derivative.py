"""A derivative has a graph as well: draw it, and go back through it for the second derivative.

    python demos/draw_second_derivative.py [--out FOLDER]
"""

import numpy as np
from helpers import command_line, save_drawing

import tinygrad_opt as tg


def main(out="runs", quick=False):
    x = tg.Tensor(0.5, requires_grad=True, dtype="float64", name="x")
    np.tanh(x).backward(create_graph=True)
    first, x.grad = x.grad, None
    first.name = "dy/dx"
    first.backward(create_graph=True)
    second = x.grad
    second.name = "d²y/dx²"

    t = np.tanh(0.5)
    print(f"y = tanh x at 0.5          engine      by hand\n"
          f"dy/dx   = 1 − y²      {float(first):.8f}   {1 - t * t:.8f}\n"
          f"d²y/dx² = −2y(1 − y²) {float(second):.8f}  {-2 * t * (1 - t * t):.8f}\n")
    print(tg.draw(first), "\n")
    save_drawing(tg.draw(first), out, "first_derivative")
    save_drawing(tg.draw(second), out, "second_derivative")


if __name__ == "__main__":
    command_line(main, __doc__)
