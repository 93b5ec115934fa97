"""Random training steps, compiled: every number that they leave anywhere is the eager one's.

A step is a random program of `test_against_torch` between arguments and parameters, with an
optimizer and habits drawn for it: where gradients are forgotten and read, second derivatives,
changes in place, what is returned. Between its calls things are changed outside. All of it follows
from the seed alone: ``compare(seed)`` plays one again.
"""

import random

import numpy as np
import pytest
from test_against_torch import KINDS, Program

import tinygrad_opt as tg
from tinygrad_opt import Tensor, optim
from tinygrad_opt.compiler import Program as CapturedProgram
from tinygrad_opt.errors import CaptureError, TinygradOptError

N_STEPS = 6_000            # of the drill
N_QUICK = 80
N_CALLS = 6
RULES = ("sgd", "momentum", "adam", "rmsprop")


class Recipe(Program):
    """A random program that can be run again on other values."""

    def __init__(self, seed):
        self.kernels = []
        super().__init__(seed)

    def leaf(self, shape):
        self.kernels[len(self.calls) :] = [None]
        return super().leaf(shape)

    def extend(self):
        n_calls = len(self.calls)
        kind = self.rng.choice(KINDS)
        name = self.rng.choice(list(kind))
        i = self.rng.choice([len(self.values) - 1, self.rng.randrange(len(self.values))])
        n_leaves = len(self.leaves)
        made = kind[name](self, i)
        if made is None:
            return
        ours, _, *others = made
        z = ours(*[self.values[j] for j in (i, *others)])
        if z.size == 0 or z.size > 200 or not np.abs(z.data).max() < 20:
            for unused in (self.values, self.calls, self.kernels):
                del unused[n_calls:]
            del self.leaves[n_leaves:]
            return
        self.kernels[len(self.calls) :] = [ours]
        self.values.append(z)
        self.calls.append((name, None, (i, *others)))

    def run(self, leaves, change):
        """All values, from new leaves; `change` may change one of them on the way."""
        values, leaves = [], iter(leaves)
        for kernel, (_, _, places) in zip(self.kernels, self.calls):
            if kernel is None:
                values.append(next(leaves))
            else:
                values.append(change(kernel(*[values[j] for j in places]), values))
        return values


def played(seed, wrap):
    """What the step of this seed leaves behind after each call, as bytes."""
    recipe = Recipe(seed)
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    dtype = rng.choice([np.float32, np.float64])
    shapes = [recipe.values[j].shape for j in recipe.leaves]
    kinds = ["parameter", *rng.choices(["parameter", "Tensor", "array", "buffer"],
                                       k=len(shapes) - 1)]
    rng.shuffle(kinds)

    def draw(shape):
        return numbers.normal(size=shape).astype(dtype)

    held = [Tensor(draw(s), requires_grad=True, name=f"p{i}") if k == "parameter" else draw(s)
            for i, (s, k) in enumerate(zip(shapes, kinds))]
    parameters = {p.name: p for p in held if type(p) is Tensor}
    opt = optim.get(rng.choice(RULES), parameters, lr=0.01)
    forget = rng.choice(["first", "before", "last", "outside", "never"])
    backward = rng.choice(["once", "once", "twice", "second order", "grad"])
    changed_place = rng.randrange(len(recipe.calls))
    habit = rng.choice(["none", "add", "set", "detach", "no_grad", "scale"])
    reads = forget in ("first", "before") and backward == "once" and rng.random() < 0.5
    weights, other = np.asarray(recipe.end[0]), recipe.end[1]

    def change(z, values):
        if len(values) != changed_place or not z.requires_grad:
            return z
        if habit == "add":
            z = z * 1
            z += z * 0.5
        elif habit == "scale":
            z = z + 0
            z *= 2
        elif habit == "set" and z.ndim:
            z = z * 1
            z[0] = z[-1] * 2
        elif habit == "detach":
            z = z * z.detach()
        elif habit == "no_grad":
            with tg.no_grad():
                z = z * 1
        return z

    def loss_of(fed):
        fed = iter(fed)
        leaves = [h if k == "parameter" else Tensor(h if k == "buffer" else next(fed))
                  for k, h in zip(kinds, held)]
        values = recipe.run(leaves, change)
        return (values[-1] * weights).sum() + (values[other] ** 2).sum(), values

    def step(fed):
        if forget == "first":
            opt.zero_grad()
        loss, values = loss_of(fed)
        copied, end = values[other] * 1, values[-1]
        if any(np.may_share_memory(end._array, p._array) for p in parameters.values()):
            end = end * 1                                  # an optimizer may move the rest of it
        if forget == "before":
            opt.zero_grad()
        if loss.requires_grad:
            if backward == "second order":
                loss.backward(create_graph=True)
                if forget in ("first", "before"):
                    slopes = [p.grad for p in parameters.values() if p.grad is not None]
                    opt.zero_grad()
                    penalty = sum((g * g).sum() for g in slopes if type(g) is Tensor)
                    if getattr(penalty, "requires_grad", False):
                        penalty.backward()
            else:
                loss.backward()
            if backward == "twice":
                loss.backward(np.float64(0.5))
        seen = [p.grad * 2 for p in parameters.values() if p.grad is not None] if reads else []
        if backward == "grad":
            slope = tg.grad(lambda p: (p * p).sum() + (p * loss.detach()).sum())
            seen += [slope(p) for p in parameters.values()]
        if forget in ("first", "before", "last") and loss.requires_grad:
            opt.step()
        if forget == "last":
            opt.zero_grad()
        return {"loss": loss, "views": (end.T, copied), "twice": [loss, loss],
                "seen": [g for g in seen if g is not None], "parameter": held_tensors[0]}

    held_tensors = list(parameters.values())
    step, log, kept = wrap(step), [], []
    with np.errstate(all="ignore"):
        for call in range(N_CALLS):
            fed = [draw(s) for s, k in zip(shapes, kinds) if k in ("Tensor", "array")]
            fed_kinds = [k for k in kinds if k in ("Tensor", "array")]
            fed = [np.array(x, order="F") if rng.random() < 0.1 else x for x in fed]
            fed = [Tensor(x) if k == "Tensor" else x for x, k in zip(fed, fed_kinds)]
            try:
                log.append(as_bytes(step(fed)))
            except CaptureError as error:
                return [*log, error]
            except TinygradOptError as error:
                log.append(type(error))
            kept.append([p.grad for p in held_tensors])
            log.append(as_bytes(kept))
            event = rng.choice(["none", "lr", "write", "buffer", "freeze", "hook", "data", "scale",
                                "step", "forget"])
            p = rng.choice(held_tensors)
            if event == "lr":
                opt.lr = rng.choice([0.1, 0.02])
            elif event == "write":
                p._array[...] = draw(p.shape)
            elif event == "buffer":
                for k, h in zip(kinds, held):
                    if k == "buffer":
                        h[...] = draw(h.shape)
            elif event == "freeze":
                p.requires_grad = not p.requires_grad
            elif event == "hook" and p.requires_grad:
                p.register_hook(lambda g, factor=call: g * factor)
            elif event == "data":
                p.data = draw(p.shape)
            elif event == "scale" and p.grad is not None and backward != "second order":
                p.grad *= 2
            elif event == "step" and any(p.grad is not None for p in held_tensors):
                opt.step()
                opt.zero_grad()
            if event == "forget" or (forget == "outside" and call % 2):
                opt.zero_grad()
            log.append(as_bytes([event, held_tensors]))
    return log


def as_bytes(x):
    if type(x) is Tensor or isinstance(x, np.ndarray | np.generic):
        x = np.asarray(getattr(x, "_array", x))
        if x.dtype.kind == "f":
            x = np.where(np.isnan(x), x.dtype.type("nan"), x)
        return str(x.dtype), x.shape, x.tobytes()
    if isinstance(x, list | tuple):
        return [as_bytes(v) for v in x]
    return {k: as_bytes(v) for k, v in x.items()} if isinstance(x, dict) else x


def compare(seed):
    """Play the step both ways; whether all of it could be captured."""
    eager, compiled = played(seed, lambda step: step), played(seed, tg.compile)
    refused = isinstance(compiled[-1], CaptureError)
    n = len(compiled) - refused
    for i, (a, b) in enumerate(zip(eager, compiled[:n])):
        assert a == b, f"entry {i} of the log differs"
    assert refused or n == len(eager)
    return not refused


@pytest.mark.parametrize("block", range(4))
def test_random_steps_replay_to_the_bit(block):
    check_all(range(block * N_QUICK, (block + 1) * N_QUICK))


@pytest.mark.drill
@pytest.mark.parametrize("block", range(10))
def test_thousands_of_random_steps_replay_to_the_bit(block):
    check_all(range(10_000 + block * N_STEPS // 10, 10_000 + (block + 1) * N_STEPS // 10))


def check_all(seeds):
    captured = 0
    for seed in seeds:
        try:
            captured += compare(seed)
        except Exception as error:
            raise AssertionError(f"compare({seed}): {error}\n{Recipe(seed)}") from error
    assert captured > 0.9 * len(seeds)                     # hardly any is refused


def test_the_drill_finds_memory_that_is_given_away_too_early(monkeypatch):
    def after_the_first_read(program):
        first = {}
        for i, call in enumerate(program.calls):
            for slot in program.reads(call):
                first.setdefault(slot, i)
        return first

    monkeypatch.setattr(CapturedProgram, "lifetimes", after_the_first_read)
    with pytest.raises(AssertionError, match="of the log differs"):
        check_all(range(N_QUICK))
