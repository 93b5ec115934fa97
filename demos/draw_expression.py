"""tanh(a·b + c) as a picture: values, gradients, the way back, and the style of lectures.

    python demos/draw_expression.py

Writes expression.svg, expression-backward.svg and expression-split.svg into the current folder.
No Graphviz is needed.
"""

import numpy as np

import tinygrad_opt as tg


def main():
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

    print("\nwrote", view.save("expression.svg"))
    print("wrote", tg.draw(y, grads=True).save("expression-backward.svg"),
          "  beside each arrow runs the gradient, times the local derivative")
    print("wrote", tg.draw(y, style="split").save("expression-split.svg"))


if __name__ == "__main__":
    main()
