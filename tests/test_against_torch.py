"""Random programs agree with PyTorch: values, gradients and second derivatives, in float64.

A program draws operations until it has some eight, runs each at once on Tensors and notes what
PyTorch calls the same; the note is then run by PyTorch. An operation whose input lies within
1e-6 of one of its kinks is left out, since rounding decides there which side it is on. Every
program follows from its seed alone: ``compare(seed)`` plays one again.
"""

import random

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import ops

torch = pytest.importorskip("torch")
F = torch.nn.functional

N_PROGRAMS = 20_000
N_BLOCKS = 20              # tests that they are divided among
TOLERANCE = 1e-9           # of the largest entry: eight operations lose a few digits of sixteen


class Program:
    """Values so far, and the calls that led to them."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.values, self.leaves, self.calls = [], [], []
        self.leaf(tuple(self.rng.choice([1, 2, 3, 4]) for _ in range(self.rng.randint(0, 3))))
        self.leaf(self.values[0].shape)
        target = len(self.calls) + self.rng.randint(6, 11)
        while len(self.calls) < target:
            self.extend()
        weights = self.numbers.normal(size=self.values[-1].shape)
        other = self.rng.randrange(len(self.values))
        self.loss = (self.values[-1] * weights).sum() + (self.values[other] ** 2).sum()
        self.end = torch.from_numpy(np.asarray(weights)), other

    def leaf(self, shape):
        t = tg.Tensor(self.numbers.normal(size=shape), requires_grad=True)
        self.leaves.append(len(self.values))
        self.values.append(t)
        self.calls.append(("leaf", None, ()))
        return len(self.values) - 1

    def extend(self):
        """Draw an operation and an input for it, and run it if it is defined there."""
        kind = self.rng.choice(KINDS)
        name = self.rng.choice(list(kind))
        i = self.rng.choice([len(self.values) - 1, self.rng.randrange(len(self.values))])
        n_values = len(self.values)
        made = kind[name](self, i)
        if made is None:
            return
        ours, theirs, *others = made
        places = [i, *others]
        z = ours(*[self.values[j] for j in places])
        if z.size == 0 or z.size > 200 or not np.abs(z.data).max() < 20:
            for unused in (self.values, self.calls):       # a new leaf may have been made for it
                del unused[n_values:]
            self.leaves = [j for j in self.leaves if j < n_values]
            return
        self.values.append(z)
        self.calls.append((name, theirs, places))

    def in_torch(self):
        """The same calls, by PyTorch."""
        values = []
        for (_, theirs, places), ours in zip(self.calls, self.values):
            if theirs is None:
                values.append(torch.from_numpy(ours.data.copy()).requires_grad_())
            else:
                values.append(theirs(*[values[j] for j in places]))
        weights, other = self.end
        return values, (values[-1] * weights).sum() + (values[other] ** 2).sum()

    def __str__(self):
        return "\n".join(f"{j}: {name}{tuple(places)} -> {v.shape}"
                         for j, ((name, _, places), v) in enumerate(zip(self.calls, self.values)))


# ---- operations: (ours, theirs, further inputs), or None where they do not apply -----------------


def unary(ours, theirs, defined=lambda x: True):
    return lambda p, i: (ours, theirs) if defined(p.values[i].data) else None


def off(kink):
    return lambda x: np.abs(x - kink).min() > 1e-6


def below(bound):
    return lambda x: np.abs(x).max() < bound


def above(bound):
    return lambda x: x.min() > bound


def binary(ours, theirs, defined=lambda x, y: True):
    """With an earlier value that broadcasts, the same one included, or a new leaf."""
    def draw(p, i):
        x = p.values[i].data
        fits = [j for j, v in enumerate(p.values) if broadcasts(x.shape, v.shape)]
        if p.rng.random() < 0.2:
            shape = tuple(p.rng.choice([n, 1]) for n in x.shape)[p.rng.randint(0, x.ndim):]
            j = p.leaf(shape)
        else:
            j = p.rng.choice(fits)
        return (ours, theirs, j) if defined(x, p.values[j].data) else None
    return draw


def broadcasts(a, b):
    return all(n == m or 1 in (n, m) for n, m in zip(reversed(a), reversed(b)))


def apart(x, y):
    return x is y or np.abs(x - y).min() > 1e-6


def reduction(ours, theirs, defined=lambda x, axes: True):
    """Over one axis or several, from the front or the back, kept or not."""
    def draw(p, i):
        x = p.values[i].data
        if not x.ndim:
            return None
        axes = tuple(a - p.rng.choice([0, x.ndim])
                     for a in p.rng.sample(range(x.ndim), p.rng.randint(1, x.ndim)))
        if not defined(x, axes):
            return None
        keep = p.rng.random() < 0.5
        axis = axes[0] if len(axes) == 1 else None if len(axes) == x.ndim else axes
        return (lambda x: ours(x, axis=axis, keepdims=keep),
                lambda x: theirs(x, dim=axes, keepdim=keep))
    return draw


def one_axis(ours, theirs, defined=lambda x, axis: True):
    """With one axis, negative or not."""
    def draw(p, i):
        x = p.values[i].data
        if not x.ndim:
            return None
        axis = p.rng.randrange(-x.ndim, x.ndim)
        if not defined(x, axis):
            return None
        return lambda x: ours(x, axis=axis), lambda x: theirs(x, axis)
    return draw


def distinct(x, axes):
    """No two entries closer than 1e-6."""
    return x.size == 1 or np.diff(np.sort(x, axis=None)).min() > 1e-6


def spread(x, axes):
    return np.min(np.std(x, axis=axes)) > 0.05


def flat(x, dim, keepdim):
    """PyTorch multiplies along one axis at a time."""
    for d in sorted((d % x.ndim for d in dim), reverse=True):
        x = torch.prod(x, d, keepdim=keepdim)
    return x


def power(p, i):
    n = p.rng.choice([2, 3, 0, 1, -1, 0.5, 1.7])
    good = p.values[i].data.min() > 0.2 or n in (0, 1, 2, 3)
    return (lambda x: x**n, lambda x: x**n) if good else None


def clip(p, i):
    low, high = -p.rng.random() - 0.01, p.rng.random() + 0.01
    return lambda x: np.clip(x, low, high), lambda x: torch.clamp(x, low, high)


def where(p, i):
    draw = binary(None, None)(p, i)
    shape = np.broadcast_shapes(p.values[i].shape, p.values[draw[2]].shape)
    mask = p.numbers.random(shape) < 0.5
    theirs = torch.from_numpy(np.asarray(mask))
    return lambda x, y: np.where(mask, x, y), lambda x, y: torch.where(theirs, x, y), draw[2]


def matmul(p, i):
    """Every combination of vectors, matrices and stacks of matrices."""
    shape = p.values[i].shape
    if not shape:
        return None
    k, n = shape[-1], p.rng.randint(1, 3)
    batch = p.rng.choice([(), (), shape[:-2], (1,) * len(shape[:-2]), (2, *shape[:-2])])
    j = p.leaf(p.rng.choice([(k,), (*batch, k, n)]))
    return lambda x, y: x @ y, lambda x, y: x @ y, j


def einsum(p, i):
    shape = p.values[i].shape
    letters = "abcdefgh"[: len(shape)]
    j = p.leaf(tuple(n for n in shape for _ in range(p.rng.randint(0, 1))) or (2,))
    other = p.values[j].shape
    names = dict(zip(letters, shape))
    chosen, free = "", list("xyz")
    for n in other:
        known = [c for c in letters if names[c] == n and c not in chosen]
        chosen += p.rng.choice(known) if known and p.rng.random() < 0.7 else free.pop()
    result = "".join(p.rng.sample(sorted(set(letters + chosen)),
                                  p.rng.randint(0, len(set(chosen)))))
    spec = f"{letters},{chosen}->{result}"
    return lambda x, y: np.einsum(spec, x, y), lambda x, y: torch.einsum(spec, x, y), j


def product_of_square(p, i):
    """x xᵀ, and x x where it is square: the same Tensor twice."""
    x = p.values[i].data
    if x.ndim != 2:
        return None
    if x.shape[0] == x.shape[1] and p.rng.random() < 0.5:
        return lambda x: x @ x, lambda x: x @ x
    return lambda x: x @ x.T, lambda x: x @ x.T


def reshape(p, i):
    n = p.values[i].size
    first = p.rng.choice([d for d in range(1, n + 1) if n % d == 0])
    shape = p.rng.choice([(-1,), (first, -1), (1, first, n // first), (n,)])
    return lambda x: x.reshape(shape), lambda x: x.reshape(shape)


def transpose(p, i):
    ndim = p.values[i].ndim
    axes = tuple(a - p.rng.choice([0, ndim]) for a in p.rng.sample(range(ndim), ndim))
    return lambda x: np.transpose(x, axes), lambda x: torch.permute(x, axes)


def broadcast_to(p, i):
    shape = tuple(p.rng.randint(2, 3) if n == 1 else n for n in p.values[i].shape)
    shape = (2,) * p.rng.randint(0, 1) + shape
    return lambda x: np.broadcast_to(x, shape), lambda x: torch.broadcast_to(x, shape)


def pad(p, i):
    widths = [(p.rng.randint(0, 2), p.rng.randint(0, 1)) for _ in p.values[i].shape]
    backwards = [n for pair in reversed(widths) for n in pair]
    value = p.rng.choice([0, 1.5])
    if not widths:
        return None
    return (lambda x: np.pad(x, widths, constant_values=value),
            lambda x: F.pad(x, backwards, value=value))


def repeat(p, i):
    x = p.values[i]
    if not x.ndim:
        return None
    axis = p.rng.randrange(-x.ndim, x.ndim)
    counts = np.array([p.rng.randint(0, 2) for _ in range(x.shape[axis])])
    theirs = torch.from_numpy(counts)
    return lambda x: np.repeat(x, counts, axis), lambda x: x.repeat_interleave(theirs, axis)


def tile(p, i):
    reps = tuple(p.rng.randint(1, 2) for _ in range(p.values[i].ndim + p.rng.randint(0, 1)))
    return lambda x: np.tile(x, reps), lambda x: torch.tile(x, reps)


def roll(p, i):
    ndim = p.values[i].ndim
    axes = tuple(p.rng.sample(range(ndim), p.rng.randint(1, ndim))) if ndim else ()
    shifts = tuple(p.rng.randint(-3, 3) for _ in axes)
    return (lambda x: np.roll(x, shifts, axes),
            lambda x: torch.roll(x, shifts, axes)) if axes else None


def joined(ours, theirs, new_axis):
    """With values of the same shape, the same one included."""
    def draw(p, i):
        x = p.values[i]
        others = [j for j, v in enumerate(p.values) if v.shape == x.shape]
        ndim = x.ndim + new_axis
        if not ndim:
            return None
        axis = p.rng.randrange(-ndim, ndim)
        return (lambda *xs: ours(xs, axis=axis), lambda *xs: theirs(xs, dim=axis),
                *p.rng.choices(others, k=p.rng.randint(1, 2)))
    return draw


def basic_index(p, i):
    parts = []
    for n in p.values[i].shape:
        start = p.rng.randrange(n)
        parts.append(p.rng.choice([slice(None), slice(start, None), slice(None, start + 1, 2),
                                   start, start - n, slice(None), None]))
        if parts[-1] is None:
            parts.append(slice(None))
    if p.rng.random() < 0.3:
        parts = [..., *parts[len(parts) // 2 :]] if None not in parts else parts
    index = tuple(parts)
    return lambda x: x[index], lambda x: x[index]


def fancy_index(p, i):
    """Integer arrays that repeat, alone or in pairs, or a mask."""
    shape = p.values[i].shape
    if not shape:
        return None
    kind = p.rng.choice(["one", "pair", "mask", "late"])
    rows = p.numbers.integers(-shape[0], shape[0], size=p.rng.choice([(4,), (2, 2), (1,)]))
    if kind == "mask":
        mask = p.numbers.random(shape) < 0.6
        return lambda x: x[mask], lambda x: x[torch.from_numpy(mask)]
    if kind == "one" or len(shape) == 1:
        return lambda x: x[rows], lambda x: x[torch.from_numpy(rows)]
    columns = p.numbers.integers(0, shape[1], size=rows.shape)
    if kind == "late":
        return lambda x: x[:, columns], lambda x: x[:, torch.from_numpy(columns)]
    return (lambda x: x[rows, columns],
            lambda x: x[torch.from_numpy(rows), torch.from_numpy(columns)])


def take(p, i):
    x = p.values[i]
    if not x.ndim:
        return None
    axis = p.rng.randrange(-x.ndim, x.ndim)
    places = p.numbers.integers(0, x.shape[axis], size=3)
    theirs = torch.from_numpy(places)
    return lambda x: np.take(x, places, axis), lambda x: torch.index_select(x, axis, theirs)


def take_along_axis(p, i):
    x = p.values[i]
    if not x.ndim:
        return None
    axis = p.rng.randrange(-x.ndim, x.ndim)
    shape = list(x.shape)
    shape[axis] = p.rng.randint(1, 4)
    places = p.numbers.integers(0, x.shape[axis], size=shape)
    theirs = torch.from_numpy(places)
    return (lambda x: np.take_along_axis(x, places, axis),
            lambda x: torch.take_along_dim(x, theirs, axis))


def matrices(ours, theirs, square=False):
    def draw(p, i):
        x = p.values[i]
        if x.ndim < 2:
            return None
        k = p.rng.randint(0 if square else -1, 0 if square else min(x.shape[0], x.shape[1]) - 1)
        return lambda x: ours(x, k), lambda x: theirs(x, k)
    return draw


def cross_entropy(p, i):
    x = p.values[i]
    if x.ndim != 2:
        return None
    labels = p.numbers.integers(0, x.shape[1], size=x.shape[0])
    theirs = torch.from_numpy(labels)
    return lambda x: ops.cross_entropy(x, labels), lambda x: F.cross_entropy(x, theirs)


def varies(name):
    def draw(p, i):
        ddof = p.rng.choice([0, 1])
        return reduction(
            lambda x, **how: getattr(np, name)(x, ddof=ddof, **how),
            lambda x, **how: getattr(torch, name)(x, correction=ddof, **how),
            lambda x, axes: np.prod([x.shape[a] for a in axes]) > ddof
            and (name == "var" or spread(x, axes)))(p, i)
    return draw


ELEMENTWISE = {
    "sin": unary(np.sin, torch.sin), "cos": unary(np.cos, torch.cos),
    "tanh": unary(np.tanh, torch.tanh), "arctan": unary(np.arctan, torch.arctan),
    "exp": unary(np.exp, torch.exp, below(3)), "expm1": unary(np.expm1, torch.expm1, below(3)),
    "exp2": unary(np.exp2, torch.exp2, below(4)), "sinh": unary(np.sinh, torch.sinh, below(3)),
    "cosh": unary(np.cosh, torch.cosh, below(3)), "arcsinh": unary(np.arcsinh, torch.arcsinh),
    "arctanh": unary(np.arctanh, torch.arctanh, below(0.9)),
    "arcsin": unary(np.arcsin, torch.arcsin, below(0.9)),
    "arccos": unary(np.arccos, torch.arccos, below(0.9)),
    "log": unary(np.log, torch.log, above(0.1)), "log2": unary(np.log2, torch.log2, above(0.1)),
    "log1p": unary(np.log1p, torch.log1p, above(-0.8)),
    "sqrt": unary(np.sqrt, torch.sqrt, above(0.1)),
    "reciprocal": unary(np.reciprocal, torch.reciprocal, above(0.2)),
    "square": unary(np.square, torch.square), "negative": unary(lambda x: -x, lambda x: -x),
    "abs": unary(np.abs, torch.abs, off(0)), "relu": unary(ops.relu, torch.relu, off(0)),
    "leaky relu": unary(ops.leaky_relu, F.leaky_relu, off(0)),
    "elu": unary(ops.elu, F.elu, off(0)), "sigmoid": unary(ops.sigmoid, torch.sigmoid),
    "softplus": unary(ops.softplus, F.softplus, below(15)),
    "silu": unary(ops.silu, F.silu), "gelu": unary(ops.gelu, F.gelu),
    "gelu tanh": unary(ops.gelu_tanh, lambda x: F.gelu(x, approximate="tanh")),
    "erf": unary(ops.erf, torch.erf), "power": power, "clip": clip,
    "positive": unary(lambda x: x * x + 0.5, lambda x: x * x + 0.5),
    "number": unary(lambda x: 2 - x / 3, lambda x: 2 - x / 3),
}
BINARY = {
    "add": binary(lambda x, y: x + y, lambda x, y: x + y),
    "subtract": binary(lambda x, y: x - y, lambda x, y: x - y),
    "multiply": binary(lambda x, y: x * y, lambda x, y: x * y),
    "divide": binary(lambda x, y: x / y, lambda x, y: x / y, lambda x, y: np.abs(y).min() > 0.2),
    "maximum": binary(np.maximum, torch.maximum, apart),
    "minimum": binary(np.minimum, torch.minimum, apart),
    "logaddexp": binary(np.logaddexp, torch.logaddexp),
    "hypot": binary(np.hypot, torch.hypot, lambda x, y: np.hypot(x, y).min() > 0.1),
    "arctan2": binary(np.arctan2, torch.arctan2,
                      lambda x, y: np.abs(x).min() > 0.1 and np.hypot(x, y).min() > 0.1),
    "power": binary(lambda x, y: x**y, lambda x, y: x**y, lambda x, y: x.min() > 0.2),
    "where": where,
}
REDUCTIONS = {
    "sum": reduction(np.sum, torch.sum), "mean": reduction(np.mean, torch.mean),
    "prod": reduction(np.prod, flat), "max": reduction(np.max, torch.amax, distinct),
    "min": reduction(np.min, torch.amin, distinct), "var": varies("var"), "std": varies("std"),
    "logsumexp": reduction(ops.logsumexp, torch.logsumexp),
    "norm": reduction(ops.norm, torch.linalg.vector_norm,
                      lambda x, axes: np.min(np.sum(x * x, axis=axes)) > 0.01),
    "cumsum": one_axis(np.cumsum, torch.cumsum), "softmax": one_axis(ops.softmax, torch.softmax),
    "log_softmax": one_axis(ops.log_softmax, torch.log_softmax),
    "sort": one_axis(np.sort, lambda x, d: torch.sort(x, d).values, distinct),
    "cross entropy": cross_entropy,
}
PRODUCTS = {"matmul": matmul, "einsum": einsum, "x @ x.T": product_of_square,
            "matmul again": matmul}
SHAPES = {
    "reshape": reshape, "transpose": transpose, "broadcast_to": broadcast_to, "pad": pad,
    "repeat": repeat, "tile": tile, "roll": roll,
    "concatenate": joined(np.concatenate, torch.cat, False),
    "stack": joined(np.stack, torch.stack, True),
    "expand_dims": one_axis(np.expand_dims, torch.unsqueeze),
    "flip": one_axis(np.flip, lambda x, d: torch.flip(x, (d,))),
    "squeeze": unary(np.squeeze, torch.squeeze),
}
INDICES = {
    "basic index": basic_index, "fancy index": fancy_index, "take": take,
    "take_along_axis": take_along_axis, "tril": matrices(np.tril, torch.tril),
    "triu": matrices(np.triu, torch.triu), "diagonal": matrices(np.diagonal, torch.diagonal),
}
KINDS = [ELEMENTWISE, ELEMENTWISE, BINARY, REDUCTIONS, PRODUCTS, SHAPES, INDICES]


# ---- comparing -----------------------------------------------------------------------------------


def assert_close(what, ours, theirs):
    if theirs is None or theirs._is_zerotensor():          # a zero that has no memory to look at
        theirs = torch.zeros(ours.shape)
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape, f"{what}: {ours.shape} here, {theirs.shape} there"
    error = np.abs(ours - theirs).max(initial=0)
    scale = 1 + np.abs(theirs).max(initial=0)
    assert error <= TOLERANCE * scale, f"{what}: {error / scale:.1e} apart"


def values_of(slopes):
    return [np.asarray(getattr(g, "data", g)) for g in slopes]


def compare(seed, second_order=True):
    """Run the program of the seed on both sides."""
    program = Program(seed)
    theirs, their_loss = program.in_torch()
    for j, (mine, other) in enumerate(zip(program.values, theirs)):
        assert_close(f"value {j}", mine.data, other)
    leaves = [program.values[j] for j in program.leaves]
    their_leaves = [theirs[j] for j in program.leaves]
    program.loss.backward(create_graph=second_order)
    slopes = [t.grad if t.grad is not None else np.zeros(t.shape) for t in leaves]
    their_slopes = torch.autograd.grad(their_loss, their_leaves, create_graph=second_order,
                                       allow_unused=True)
    for j, g, h in zip(program.leaves, values_of(slopes), their_slopes):
        assert_close(f"gradient of leaf {j}", g, h)
    if not second_order:
        return
    ours = sum((g * np.cos(g.data)).sum() for g in slopes if type(g) is tg.Tensor)
    their_sum = sum((h * torch.cos(h.detach())).sum() for h in their_slopes if h is not None)
    if not getattr(ours, "requires_grad", False):
        return
    for t in leaves:
        t.grad = None
    ours.backward()
    if not their_sum.requires_grad:
        their_second = [None] * len(leaves)
    else:
        their_second = torch.autograd.grad(their_sum, their_leaves, allow_unused=True)
    for j, t, h in zip(program.leaves, leaves, their_second):
        assert_close(f"second derivative of leaf {j}",
                     np.zeros(t.shape) if t.grad is None else t.grad, h)


@pytest.mark.parametrize("block", range(N_BLOCKS))
def test_random_programs_agree_with_pytorch(block):
    for i in range(N_PROGRAMS // N_BLOCKS):
        seed = block * N_PROGRAMS + i
        try:
            compare(seed)
        except Exception as error:
            raise AssertionError(f"compare({seed}): {error}\n{Program(seed)}") from error


def test_programs_draw_every_operation():
    drawn = {name for seed in range(600) for name, _, _ in Program(seed).calls}
    assert drawn >= {name for kind in KINDS for name in kind}


def test_the_comparison_finds_a_rule_that_is_wrong_in_the_sixth_digit(monkeypatch):
    wrong = (lambda g, z, x: g * (1 - z * z) * 1.000001,)
    monkeypatch.setattr(ops.tanh, "vjps", wrong)
    with pytest.raises(AssertionError, match="gradient of leaf"):
        for seed in range(200):
            compare(seed, second_order=False)
