"""One step of random steps of `captured`, by NumPy and as machine code from the same state.

    python tests/native_exactness.py 2400         # from seed 0, those that are replayed at all
    python tests/native_exactness.py 1 4711       # the step of one seed

Two worlds of a seed are equal to the bit until the first replay. What that leaves is compared,
array by array: the largest difference over the largest entry of the array; of all gradients, where
it is one of them; of the list, where it is a member of a result. It is at most TOLERANCE of the
least precise dtype in the program.

Rules that divide a gradient by its own size, as Adam does, make a whole step of what is nothing but
rounding. So gradients are compared as they come to the optimizer, and from there on the NumPy world
goes on with those of the native one: the rule is judged by what it makes of equal gradients.

A step may amplify rounding by itself (a loss near 0 as a difference of large numbers, a norm over
what hardly varies). How far it does so, tell three steps by NumPy in which parameters, arguments
and whatever is rounded are moved by a unit in the last place: ten times of that is allowed too, and
such steps are counted apart.
"""

import collections
import functools
import math
import sys
import warnings

import captured
import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import optim
from tinygrad_opt.compiler import Bound
from tinygrad_opt.compiler.bound import in_modes
from tinygrad_opt.compiler.native import Native
from tinygrad_opt.compiler.native.optimizer_loop import OptimizerStep

TOLERANCE = {"f2": 2e-3, "f4": 1e-5, "f8": 1e-12}
AMPLIFIED = 10                           # times what a unit in the last place makes of it,
NUDGES = 3                               # in the worst of so many cases
ROUNDED = {"add", "subtract", "multiply", "divide", "dot", "matmul", "add.reduce", "sum", "mean",
           "exp", "log", "sqrt", "square", "power", "tanh", "sum_along", "dot_along", "log_softmax"}


def arrays_of(x, place=""):
    """The arrays and numbers in a log entry, by their place; anything else as it is."""
    if isinstance(x, tuple) and len(x) == 3 and isinstance(x[2], bytes):
        yield place, np.frombuffer(x[2], x[0]).reshape(x[1])
    elif isinstance(x, dict):
        for k, v in x.items():
            yield from arrays_of(v, f"{place}.{k}")
    elif isinstance(x, list | tuple):
        for i, v in enumerate(x):
            yield from arrays_of(v, f"{place}.{i}")
    else:
        try:
            yield place, np.array(float(x))                # frozen as its text
        except (TypeError, ValueError):
            yield place, x


def nudge(x, rng):
    """Move floats by a unit in the last place, up or down; 0 is always meant."""
    if x.dtype.kind == "f":
        ends = rng.choice(np.array([-np.inf, np.inf], x.dtype), x.shape)
        x[...] = np.where(x == 0, x, np.nextafter(x, ends))


class Watch:
    """What happens in the first replay of a world: gradients as they come to optimizers, and the
    least precise dtype that is computed in.

    Parameters
    ----------
    backend : str
    given : list, optional
        Gradients for each step of an optimizer to go on with, in the place of its own.
    seed : int, optional
        The seed by which what is rounded is moved.
    """

    def __init__(self, backend, given=(), seed=None):
        self.backend, self.given, self.seed = backend, given, seed
        self.gradients, self.dtype, self.has_run, self.inside = [], "f8", False, False

    def run(self, bound, values):
        self.has_run = True
        floats = (s.dtype.str[1:] for s in bound.program.slots if s.dtype.kind == "f")
        self.dtype = min(floats, default="f8")
        if self.seed is not None:
            rng = np.random.default_rng(self.seed)
            values = [np.array(x) for x in values]
            for x in [*values, *(array for _, array in bound.program.leaves)]:
                nudge(x, rng)
            bound._stretches = in_modes(
                [(call.modes, run if call.name not in ROUNDED else functools.partial(
                    self.rounded, run, bound.arrays[call.output], rng))
                 for call, run in zip(bound.program.calls, bound.runs)])
        return RUN(bound, values)

    @staticmethod
    def rounded(run, out, rng):
        run()
        nudge(out, rng)

    def step(self, optimizer, step):
        """Note the gradients, replace them, and go on."""
        if self.has_run and not self.inside:
            entries = [e for e in optimizer._entries.values() if e.target._gradient is not None]
            self.gradients.append([np.array(tg.tensor.values_of(e.target._gradient))
                                   for e in entries])
            if len(self.gradients) <= len(self.given):
                for e, g in zip(entries, self.given[len(self.gradients) - 1]):
                    tg.tensor.values_of(e.target._gradient)[...] = g
        self.inside = True
        try:
            step()
        finally:
            self.inside = False

    @property
    def delivered(self):
        """The gradients, by their place."""
        return dict(arrays_of(captured.frozen({"gradients delivered": self.gradients})))

    def first_replay(self, seed):
        """What it leaves; None if there is none."""
        def _step(optimizer):
            self.step(optimizer, lambda: STEP(optimizer))

        with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"), \
                warnings.catch_warnings():
            warnings.simplefilter("ignore")
            patch.setattr(optim.Optimizer, "_step", _step)
            patch.setattr(OptimizerStep, "__call__", lambda by_loop: self.step(
                by_loop.optimizer, lambda: LOOP(by_loop)))
            patch.setattr(Bound, "run", lambda bound, values: (
                self.run if type(bound) is KINDS[self.backend] else RUN)(bound, values))
            try:
                for entry in captured.played(seed, functools.partial(
                        tg.compile, backend=self.backend)):
                    if self.has_run and isinstance(entry, dict):
                        return dict(arrays_of(entry))
            except tg.CaptureError:
                pass
            finally:
                tg.set_default_dtype(np.float32)
        return None


RUN, STEP, LOOP = Bound.run, optim.Optimizer._step, OptimizerStep.__call__
KINDS = {"native": Native, "numpy": Bound}


def distances(found, wanted):
    """Of each place, how far two arrays are apart, measured by the largest entry; 0 for what is
    equal, inf for what has nothing to do with each other."""
    largest = collections.defaultdict(float)
    for place, x in wanted.items():
        largest[_group(place)] = max(largest[_group(place)], _size(x))
    return {place: _distance(found.get(place), x, largest[_group(place)])
            for place, x in wanted.items()}


def _group(place):
    """What is measured by one number."""
    if "gradients" in place:
        return "gradients"
    return place.rpartition(".")[0] if place.startswith(".result.") else place


def _size(x):
    """The largest finite number in an array."""
    if not isinstance(x, np.ndarray):
        return 0.0
    return float(np.max(np.abs(x), initial=0, where=np.isfinite(x)))


def _distance(a, b, size):
    if isinstance(a, np.ndarray) != isinstance(b, np.ndarray):
        return math.inf
    if not isinstance(a, np.ndarray):
        return 0.0 if a is b or a == b else math.inf
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return math.inf
    if b.dtype.kind != "f":
        return math.inf if (a != b).any() else 0.0
    with np.errstate(all="ignore"):
        gap = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0, np.abs(a - b))
    gap = float(np.max(gap, initial=0))
    return gap / max(size, _size(b), 1e-30) if math.isfinite(gap) else math.inf


def compare(seed):
    """How a seed went: "equal in" a tolerance, "no replay", or with what is too far apart,
    "amplified" or "different"."""
    native = Watch("native")
    found = native.first_replay(seed)
    if found is None:
        return "no replay"
    plain = Watch("numpy", native.gradients)
    wanted = plain.first_replay(seed)
    if wanted is None or len(native.gradients) != len(plain.gradients):
        return "different: refused by one of the two"
    tolerance = TOLERANCE[native.dtype]
    apart = distances(found, wanted) | distances(native.delivered, plain.delivered)
    if all(d <= tolerance for d in apart.values()):
        return f"equal in {tolerance:g}"
    moved = collections.Counter()
    for k in range(NUDGES):
        other = Watch("numpy", native.gradients, k)
        moved |= distances(other.first_replay(seed), wanted)       # the larger of the two
        moved |= distances(other.delivered, plain.delivered)
    beyond = {place: (d, moved[place]) for place, d in apart.items() if d > tolerance}
    wrong = any(d > tolerance + AMPLIFIED * by for d, by in beyond.values())
    return f"{'different' if wrong else 'amplified'}: {beyond}"


def main(count, first=0):
    if count == 1:
        print(compare(first))
        return
    ended = collections.Counter()
    for seed in range(first, first + count):
        how = compare(seed)
        ended[how.split(":")[0]] += 1
        if ":" in how:
            print(seed, how[:300], flush=True)
    print(dict(ended))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
