"""Run a rule on symbols: its expression, its text, its in-place calls.

A rule is plain NumPy code: a VJP of the operator table, the update of an optimizer, a kernel. Given
`Symbol`s instead of arrays the same code leaves an expression behind,

    Symbol    function, inputs and attributes, its name if it has one, the array it stands for
    Trace     what happens when a function is called on a symbol; subclasses do it differently
    text      the expression in Unicode or LaTeX, with names or with numbers
    InPlace   the expression as a list of NumPy calls that write into arrays that are there

What such an expression cannot repeat faithfully raises `Untraceable`.
"""

from tinygrad_opt.symbols.inplace import InPlace
from tinygrad_opt.symbols.symbol import (
    ABOUT_THE_SHAPE,
    WRITING,
    Symbol,
    Trace,
    Untraceable,
    inside,
    name_of,
    plain,
)
from tinygrad_opt.symbols.typeset import (
    LATEX,
    UNICODE,
    assignments,
    index_text,
    letter,
    number,
    text,
    written,
)

__all__ = [
    "ABOUT_THE_SHAPE",
    "LATEX",
    "UNICODE",
    "WRITING",
    "InPlace",
    "Symbol",
    "Trace",
    "Untraceable",
    "assignments",
    "index_text",
    "inside",
    "letter",
    "name_of",
    "number",
    "plain",
    "text",
    "written",
]
