"""tanh(a·b + c) as a picture: values, gradients, the way back, and the style of lectures.

    python demos/draw_expression.py [--out FOLDER]

No Graphviz is needed.
"""

import numpy as np
from helpers import command_line, save_drawing

import tinygrad_opt as tg


def main(out="runs", quick=False):
    a = tg.Tensor(2.0, requires_grad=True, name="a")
    b = tg.Tensor(-3.0, requires_grad=True, name="b")
    c = tg.Tensor(5.5, requires_grad=True, name="c")
    y = np.tanh(a * b + c)
    y.name = "y"

    print("Before backward() there is no gradient, which is not the same as 0:\n")
    print(tg.draw(y))
    y.backward()
    print("\nAfter it each box knows how much y changes with it:\n")
    view = tg.draw(y)
    print(view)

    print()
    save_drawing(view, out, "expression")
    save_drawing(tg.draw(y, style="split"), out, "expression_split")
    print("beside each arrow runs the gradient, times the local derivative:")
    save_drawing(tg.draw(y, grads=True), out, "expression_backward")


if __name__ == "__main__":
    command_line(main, __doc__)
