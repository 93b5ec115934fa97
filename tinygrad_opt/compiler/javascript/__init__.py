"""A program as JavaScript: an ES module that computes what Python computes, without Python.

Calls are lowered and share loops as they do for machine code (`lowering`, `fusion`); here a loop
becomes text. All arrays lie in one typed array, each in a place of its own, so that a page can show
any of them. Float32 is rounded by ``Math.fround`` wherever NumPy rounds, but sums are added up in
double precision. An optimizer's rule is its list of in-place calls over flat vectors; what it
computes with (rate, step count, options) are variables, which a page can change.

    vocabulary.py      words for what goes entry by entry
    typed_memory.py    where arrays lie
    loop_text.py       a loop
    optimizer_text.py  the optimizer's step
    es_module.py       the whole module
"""

from tinygrad_opt.compiler.javascript.es_module import module

__all__ = ["module"]
