"""Many conditions as one Python function: a third of the time of a loop over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["all_of"]


def all_of(conditions: Iterable[tuple[object, ...]]) -> Callable[[], bool]:
    """A function that says whether all hold, each given as ("{}.name is {}", object, object)."""
    values: dict[str, object] = {}
    texts = []
    for text, *operands in conditions:
        names = [f"x{len(values) + i}" for i in range(len(operands))]
        values.update(zip(names, operands))
        texts.append(str(text).format(*names))
    known = ", ".join(f"{name}={name}" for name in values)
    space: dict[str, Callable[[], bool]] = {}
    exec(f"def holds({known}): return {' and '.join(texts) or True}", values, space)
    return space["holds"]
