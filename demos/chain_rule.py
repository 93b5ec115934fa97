"""Backpropagation through f = tanh(a·b + c), every step printed with its number.

    python demos/chain_rule.py [--out FOLDER]

The drawing shows the slopes on the arrows that run back.
"""

import numpy as np
from helpers import command_line, save_drawing

import tinygrad_opt as tg
from tinygrad_opt.tensor import history

SLOPES = {                               # ∂z/∂input for each operation here, x and y its inputs
    "multiply": ("∂(xy)/∂x = y", "∂(xy)/∂y = x"),
    "add": ("∂(x+y)/∂x = 1", "∂(x+y)/∂y = 1"),
    "tanh": ("∂tanh(x)/∂x = 1 − z²",),
}


def main(out="runs", quick=False):
    a = tg.Tensor(2.0, requires_grad=True, name="a")
    b = tg.Tensor(-3.0, requires_grad=True, name="b")
    c = tg.Tensor(6.5, requires_grad=True, name="c")
    product = a * b
    product.name = "p"
    total = product + c
    total.name = "s"
    f = np.tanh(total)
    f.name = "f"

    f.backward()

    print("forward, in the order of creation")
    for t in history(f):
        made = f" = {t.op.symbol}({', '.join(x.name for x in t.inputs)})" if t.op else ""
        print(f"  {t.name}{made} = {float(t):+.4f}")
    print("backward, the same list from its end: gradient of the result × slope of the operation")
    for z in reversed(history(f)):
        if z.op is None:
            continue
        for x, slope in zip(z.inputs, SLOPES[z.op.name]):
            local = float(x.grad / z.grad)
            print(f"  ∂f/∂{x.name} = ∂f/∂{z.name} · ∂{z.name}/∂{x.name}"
                  f" = {float(z.grad):+.4f} · {local:+.4f} = {float(x.grad):+.4f}    {slope}")
    save_drawing(tg.draw(f, grads=True), out, "chain_rule")
    return {t.name: float(t.grad) for t in history(f)}


if __name__ == "__main__":
    command_line(main, __doc__)
