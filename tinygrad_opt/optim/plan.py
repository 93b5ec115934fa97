"""What a step does, worked out once for as long as parameters and options stay the same.

    Run     neighbours in a pack that share their options, updated by one call of the rule
    Plan    the runs of all packs, and where their gradients come from
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from tinygrad_opt.errors import GraphError
from tinygrad_opt.optim.pack import Array, Entry, Pack
from tinygrad_opt.tensor import values_of

__all__ = ["BLOCK", "REMEMBER", "Block", "Plan", "Run", "runs_of"]

BLOCK = 1 << 16          # numbers that a rule works on at a time, so that they stay in the cache
REMEMBER = 1 << 15       # up to so many numbers in all, what a step overwrites is kept

# the rule over its vectors (parameters, gradient, accumulators, scratch), which takes lr and t;
# and one vector to spare
Block = tuple[partial[None], Array]


class Run:
    """Neighbours in one pack with the same options and count, updated by one call of the rule."""

    __slots__ = ("blocks", "entries", "options", "own", "pack", "place", "t")

    def __init__(self, entries: list[Entry], options: Any, scratch: dict[Any, list[Array]]) -> None:
        pack = entries[0].pack
        assert pack is not None
        self.entries, self.options, self.pack = entries, options, pack
        self.t = entries[0].t
        self.place = slice(entries[0].place.start, entries[-1].place.stop)
        self.own: Array | None = None          # during a step: a gradient that was not copied
        rows = [pack.state[pack.slots.index(slot)] for slot in options.accumulators()]
        spare = scratch[pack.p.dtype]
        self.blocks: list[Block] = []
        for start in range(self.place.start, self.place.stop, BLOCK):
            part = slice(start, min(start + BLOCK, self.place.stop))
            n = part.stop - part.start
            state = [row[part] for row in rows]
            call = partial(options.rule, pack.p[part], pack.g[part], *state,
                           *(s[:n] for s in spare[1:]))
            self.blocks.append((call, spare[0][:n]))

    @property
    def gradient(self) -> Array:
        """The gradient of the whole run, as one vector."""
        return self.pack.g[self.place] if self.own is None else self.own

    def gradient_of(self, e: Entry) -> Array:
        """The part of it that belongs to one parameter."""
        start = e.place.start - self.place.start
        return self.gradient[start : start + e.size]

    def read(self, g: Array) -> None:
        """Take the gradient of a large parameter: where it is, or copied if that will not do."""
        pack = self.pack
        apart = not (np.may_share_memory(g, pack.p) or np.may_share_memory(g, pack.state))
        if apart and g.dtype == pack.p.dtype and g.flags.c_contiguous:
            self.own = g.reshape(-1)
        else:
            self.own = None
            pack.g[self.place].reshape(g.shape)[...] = g

    def over(self, g: Array) -> Iterator[Block]:
        """The blocks, with their gradients read from g."""
        start = 0
        for call, spare in self.blocks:
            p, _, *rest = call.args
            part = g[start : (start := start + p.size)]
            yield partial(call.func, p, part, *rest), spare


def runs_of(
    pack: Pack, active: set[str], options: dict[str, Any], scratch: dict[Any, list[Array]],
    large: float,
) -> list[Run]:
    """The active parameters of a pack, neighbours with equal options and counts together.

    From `large` numbers on, a parameter stands alone.
    """
    groups: list[list[Entry]] = []
    for e in (e for e in pack.entries if e.name in active):
        last = groups[-1][-1] if groups else None
        if (last is not None and last.place.stop == e.place.start and last.t == e.t
                and options[last.name] is options[e.name] and max(last.size, e.size) < large):
            groups[-1].append(e)
        else:
            groups.append([e])
    return [Run(group, options[group[0].name], scratch) for group in groups]


class Plan:
    """What a step does, as long as parameters, options and the set of gradients stay the same.

    Parameters
    ----------
    entries : list of Entry
        All parameters.
    packs : list of Pack
        Where they live.
    runs : list of Run
        What is updated.
    gradients : list
        Of all parameters, None for those without: a later step with others needs another plan.
    large : float
        From so many numbers on a gradient is read where it is, not copied into the pack.
    """

    def __init__(
        self, entries: list[Entry], packs: list[Pack], runs: list[Run], gradients: Sequence[Any],
        large: float,
    ) -> None:
        self.packs, self.runs = packs, runs
        self.guarded = False                   # whether gradients are checked or clipped
        self.remembers = sum(p.p.size for p in packs) <= REMEMBER
        self.active = [e for run in runs for e in run.entries]
        self.given = {e.name for e, g in zip(entries, gradients) if g is not None}
        self.packed = [(e.target, e.values(), e.packed(e.pack.g))      # type: ignore[union-attr]
                       for e in self.active if e.size < large]
        self.large = [(e.target, e.values(), run)
                      for run in runs for e in run.entries if e.size >= large]
        active = {e.name for e in self.active}
        self.resting = [(e.target, e.name in self.given) for e in entries if e.name not in active]

    def gather(self) -> bool:
        """Lay the gradients of the Tensors end to end, as the parameters are.

        Returns
        -------
        bool
            Whether the plan still holds: same memory, and gradients for the same parameters.
        """
        try:
            for tensor, values, place in self.packed:
                g = tensor.gradient
                if g is None or tensor.array is not values:
                    return False
                place[...] = g
        except (TypeError, ValueError, GraphError):        # of another shape, or a Tensor
            return False
        for tensor, values, run in self.large:
            g = values_of(tensor.gradient)
            if tensor.array is not values or getattr(g, "shape", None) != values.shape:
                return False
            run.read(g)
        for tensor, given in self.resting:
            if (tensor.gradient is not None) is not given:
                return False
        return True

    def lay(self, gradients: dict[str, Array]) -> None:
        """Lay gradients that have been checked end to end."""
        self.let_go()
        for e in self.active:
            e.packed(e.pack.g)[...] = gradients[e.name]                # type: ignore[union-attr]

    def let_go(self) -> None:
        """Keep no gradient that was read where it is."""
        for _, _, run in self.large:
            run.own = None

    def collect(self) -> None:
        """Copy the values of an unbound optimizer's arrays in."""
        for e in self.active:
            np.copyto(e.packed(), e.target)

    def scatter(self) -> None:
        """Copy them out again."""
        for e in self.active:
            np.copyto(e.target, e.packed())
