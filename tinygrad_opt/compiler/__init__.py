"""A training step captured once and replayed: its kernel calls, on the arrays that they made.

    @tg.compile
    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        opt.zero_grad(); loss.backward(); opt.step()
        return loss

The first call for arguments of some shapes and dtypes runs the function as it is written, while a
`Recorder` writes down every call, the backward pass included, and every effect (gradients
delivered, parameters stepped). Kernels and VJPs are run on symbols with arrays behind them, which
gives the NumPy calls that they are made of; what nobody reads is dropped, what was computed before
is used again, arrays that are no longer needed give their memory to others, and later calls run the
list. There is no second set of kernels: the losses are equal to the bit. With ``backend="native"``
the list becomes machine code, which agrees to rounding.

Whatever may change between two calls is read anew, makes the step be captured anew, or is refused
with the line that does it:

    arguments, arrays outside    read anew, and converted anew where their dtype is another
    parameters, modules          captured anew when they are replaced, frozen, or set to eval()
    random numbers               drawn anew from the same generator
    looking at values, writing   refused: float(loss), t.data, np.add(x, 1, out=a), repr(t)
    Tensors kept outside         refused: return them from the step

    program.py          a captured step as plain data
    tracing.py          which calls a kernel is made of
    capture.py          the recorder
    memory.py           blocks for what calls make
    bound.py            a program with its memory, ready to run
    step.py             `compile`, and what it makes of a function
    planned_updates.py  what other backends know of an optimizer

    native/             a program as machine code
    javascript/         a program as a JavaScript module
"""

from tinygrad_opt.compiler.bound import Bound
from tinygrad_opt.compiler.program import Call, Program, Ref, Slot, equal
from tinygrad_opt.compiler.step import CompiledStep, compile

__all__ = ["Bound", "Call", "CompiledStep", "Program", "Ref", "Slot", "compile", "equal"]
