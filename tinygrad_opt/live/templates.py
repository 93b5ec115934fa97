"""A module for all sizes: its numbers told apart into literals and products of sizes.

A captured program knows its shapes as numbers. The same step is captured for two sets of sizes, all
of them different primes: a number that changes from one text to the other is a product of sizes,
which its prime factors tell, and is checked against the second text.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

__all__ = ["template"]

_NUMBER = re.compile(r"(?<![\w.\"])(\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?![\w\"])")
_PRIMES = (101, 103, 107, 109, 113, 127, 131, 137, 139), (
    149, 151, 157, 163, 167, 173, 179, 181, 191)


def template(text_of: Callable[[Mapping[str, int]], str], names: Sequence[str]) -> str:
    """A JavaScript function of sizes that makes a module.

    Parameters
    ----------
    text_of : callable
        sizes -> the text that ``to_javascript()`` gives for them.
    names : sequence of str
        Of the sizes.

    Returns
    -------
    str
        ``({n, m}) => { … return {memory, step, …}; }``

    Raises
    ------
    ValueError
        If the two texts differ in more than products of sizes.

    Examples
    --------
    >>> template(lambda size: f"export function program() {{ return {3 * size['n']}; }}", ["n"])
    '({n}) => { return 3 * n; }'
    """
    first, second = (dict(zip(names, primes)) for primes in _PRIMES)
    ours, theirs = (_NUMBER.split(text_of(sizes)) for sizes in (first, second))
    if len(ours) != len(theirs):
        raise ValueError("the program is not the same for all sizes")
    products = [(" * ".join(chosen), math.prod(first[n] for n in chosen),
                 math.prod(second[n] for n in chosen))
                for k in (1, 2, 3) for chosen in itertools.combinations_with_replacement(names, k)]
    known: dict[tuple[str, str], str] = {}
    parts = []
    for i, (a, b) in enumerate(zip(ours, theirs)):
        if a != b and not i % 2:
            raise ValueError(f"the program is not the same for all sizes: {a[:60]!r}, {b[:60]!r}")
        if a != b and (a, b) not in known:
            known[a, b] = _product(float(a), float(b), products)
        parts.append(a if a == b else known[a, b])
    text = "".join(parts)
    body = text.partition("export function program() ")[2].partition("export default")[0].strip()
    return f"({{{', '.join(names)}}}) => {body}"


def _product(a: float, b: float, products: Sequence[tuple[str, int, int]]) -> str:
    """The product of sizes, or its reciprocal, that is a number in both texts."""
    for text, here, there in products:
        factor = a / here
        if factor == int(factor) and factor * there == b:
            return text if factor == 1 else f"{int(factor)} * {text}"
        factor = a * here
        if factor < 1e4 and abs(factor - round(factor)) < 1e-6 and (
                np.float32(round(factor) / there) == np.float32(b)):
            return f"F({round(factor)} / ({text}))"
    raise ValueError(f"{a:g} and {b:g} are no products of sizes")
