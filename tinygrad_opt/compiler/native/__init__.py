"""A program as machine code: loops and products in the place of NumPy's calls.

    lowering.py              what NumPy's calls are, entry by entry
    fusion.py                which of them share a loop
    loops.py                 a loop, and what it does
    matrix_products.py       a product of matrices, and its code
    elementary_functions.py  functions of numbers, as instructions
    optimizer_loop.py        the optimizer's step as a loop
    function_code.py         a function for LLVM, and what a loop does in it
    machine_code.py          compiling with LLVM, and keeping what was compiled
    executable.py            a program with its memory, ready to run
"""

from tinygrad_opt.compiler.native.executable import Native
from tinygrad_opt.compiler.native.machine_code import llvm_binding

__all__ = ["Native", "llvm_binding"]
