"""One row per operation: calls of it where it is defined, on points clear of its kinks.

A row is ``"divide": broadcast(real, positive)``: the name in the operator table and the calls. A
call names its inputs by domain and shape, so that each reader draws its own values; an input that
is no `Domain` (a mask, labels, an index) is passed as it is and has no gradient. The tests make
all of these calls, and so does ``tinygrad-opt check``; a test fails for an operation without a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinygrad_opt.ops import TABLE
from tinygrad_opt.typing import Array, DTypeLike, Indices, Shape

__all__ = ["CASES", "Call", "Domain", "calls_of"]



class Domain(NamedTuple):
    """Numbers strictly between two bounds; on the diagonal of matrices more by 2, 4, 6, …, if so
    wanted: these are positive definite, and their eigenvalues and singular values differ."""

    low: float
    high: float
    shape: tuple[int, ...]
    diagonal: bool = False


class Call(NamedTuple):
    """What an operation is applied to."""

    inputs: tuple[object, ...]
    attrs: dict[str, object]

    def draw(self, rng: np.random.Generator, dtype: DTypeLike = np.float64) -> list[object]:
        """Its inputs, drawn off each other and off the multiples of one half, by 1e-3 or more.

        Finite differences with a smaller step then never straddle a kink of abs, relu, max, sort,
        floor or round.
        """
        return [_points(x, rng, 0.37 + 0.06 * i).astype(dtype) if isinstance(x, Domain) else x
                for i, x in enumerate(self.inputs)]

    def __str__(self) -> str:
        shown = [str(x.shape) if isinstance(x, Domain) else type(x).__name__ for x in self.inputs]
        return ", ".join(shown + [f"{k}={v}" for k, v in self.attrs.items()]).replace("\n", "")


def _points(domain: Domain, rng: np.random.Generator, offset: float) -> Array:
    """Evenly spaced points in random order; the offset keeps them off zero and each other."""
    low, high, shape, diagonal = domain
    n = int(np.prod(shape))
    steps = (rng.permutation(n) + offset) / n if n else np.empty(0)
    points = np.reshape(low + (high - low) * steps, shape)
    if diagonal:
        rows, columns = shape[-2:]
        points = points + 2 * np.arange(1, rows + 1)[:, None] * np.eye(rows, columns)
    return points


# ---- domains -------------------------------------------------------------------------------------


Shaped = Callable[..., Domain]


def between(low: float, high: float) -> Shaped:
    return lambda *shape: Domain(low, high, shape)


real = between(-2.0, 2.0)
positive = between(0.3, 2.5)
above_one = between(1.2, 3.0)
inside_one = between(-0.9, 0.9)
probability = between(0.05, 0.95)


def matrix(*shape: int) -> Domain:
    return Domain(-0.5, 0.5, shape, diagonal=True)



# ---- calls ---------------------------------------------------------------------------------------


def call(*inputs: object, **attrs: object) -> Call:
    return Call(inputs, attrs)


def rows(calls: list[Call], names: str) -> dict[str, list[Call]]:
    """One row each for several operations that take the same calls."""
    return dict.fromkeys(names.split(), calls)


def elementwise(domain: Shaped, **attrs: object) -> list[Call]:
    """One input: a matrix, a number, an axis of length 1, a stack, nothing."""
    return [call(domain(*shape), **attrs) for shape in [(3, 4), (), (1,), (2, 1, 3), (0, 3)]]


def broadcast(left: Shaped, right: Shaped) -> list[Call]:
    """Two inputs, in every way that broadcasting stretches one or both."""
    pairs: list[tuple[Shape, Shape]] = [
        ((3, 4), (3, 4)), ((3, 4), (4,)), ((3, 4), (3, 1)), ((3, 4), ()), ((), (3, 4)), ((), ()),
        ((4,), (3, 4)), ((1, 4), (3, 1)), ((4, 1), (2, 1, 3)), ((1,), (1, 1)), ((0, 3), (3,))]
    return [call(left(*a), right(*b)) for a, b in pairs]


def reduced(domain: Shaped, **attrs: object) -> list[Call]:
    """One input: over all axes, one, several, none; from the front or the back; kept or not."""
    axes: list[object] = [None, 0, 1, -1, (0, 2), (-1, 0), (1,), ()]
    return [call(domain(2, 3, 4), axis=axis, keepdims=keep, **attrs)
            for axis in axes for keep in (False, True)] + [
        call(domain(), **attrs), call(domain(5), axis=0, **attrs),
        call(domain(3, 1), axis=1, **attrs)]


def index_calls(domain: Shaped, build: Callable[..., Call]) -> list[Call]:
    """``build(domain, shape, index)`` for each kind of index into a shape."""
    shapes_and_indices: list[tuple[Shape, Indices]] = [
        ((3, 4), 1), ((3, 4), (-1, 2)), ((3, 4), slice(1, None)), ((5,), slice(None, None, -2)),
        ((3, 4), (slice(None), None, 1)), ((2, 3, 4), (..., 0)), ((3, 4), np.array([0, 2, 2, 0])),
        ((3, 4), (np.array([0, 1, 1]), np.array([3, 2, 2]))),
        ((3, 4), np.arange(12).reshape(3, 4) % 3 == 0),
        ((3, 4), (slice(None), np.array([1, 1, -1]))),
        ((3, 4), np.zeros(0, int)), ((3, 4), ...), ((), ()),
        ((3, 4), (np.array([[0], [2]]), slice(0, 2))),
        ((3,), np.array([0, -3, 2])),
    ]
    return [build(domain, shape, index) for shape, index in shapes_and_indices]


def _read(domain: Shaped, shape: Shape, index: Indices) -> Call:
    return call(domain(*shape), index=index)


def _add_up(domain: Shaped, shape: Shape, index: Indices) -> Call:
    return call(domain(*np.empty(shape)[index].shape), index=index, shape=shape)


def _write(domain: Shaped, shape: Shape, index: Indices) -> Call:
    return call(domain(*shape), domain(*np.empty(shape)[index].shape), index=index)


def _varies(reduction: Call) -> bool:
    """Whether each result comes from several entries: the root of a variance of 0 has a kink."""
    return any(np.size(TABLE["var"].kernel(np.zeros(x.shape), **reduction.attrs))
               < math.prod(x.shape) for x in reduction.inputs if isinstance(x, Domain))


def joined(**attrs: object) -> list[Call]:
    return [call(real(2, 3), real(2, 3), real(2, 3), **attrs), call(real(2, 3), **attrs)]


SLIDES = [((1, 2, 5), (3,), (1,)), ((2, 1, 7), (2,), (3,)), ((1, 1, 3, 4), (2, 3), (1, 1)),
          ((1, 1, 4, 5), (2, 2), (2, 2)), ((1, 2, 5, 2), (3, 1), (2, 3)), ((0, 1, 4), (2,), (1,))]
STATES = [((3,), 2), ((1,), 1), ((0,), 2), ((), 3)]        # samples, length of the state
SEQUENCES = [(2, 3, 2), (1, 1, 1), (0, 2, 2)]              # samples, steps, length of the state
SQUARE = [matrix(*shape) for shape in [(3, 3), (1, 1), (2, 2), (2, 3, 3), (2, 1, 2, 2), (0, 0)]]
MASK = np.arange(12).reshape(3, 4) % 5 < 2

CASES: dict[str, list[Call]] = {
    **rows(broadcast(real, real), "add subtract multiply logaddexp hypot maximum minimum"),
    **rows(elementwise(real),
           "negative positive square absolute sign floor ceil trunc exp expm1 exp2 sin cos "
           "arctan sinh cosh tanh arcsinh erf relu sigmoid softplus silu gelu gelu_tanh ravel "
           "copy"),
    **rows(elementwise(positive), "sqrt reciprocal log log2 log10"),
    **rows(elementwise(inside_one), "log1p arcsin arccos arctanh"),
    **rows([*map(call, SQUARE)], "cholesky eigh"),
    **rows([*map(call, SQUARE), call(real(3, 3))], "det cofactor slogdet"),
    **rows([*reduced(real), call(real(0, 3), axis=1)], "mean max min logsumexp norm"),
    **rows([*reduced(real), call(real(0, 3), axis=0), call(real(0, 3), axis=1)], "sum prod"),
    # ---- arithmetic ----
    "divide": broadcast(real, positive),
    "power": [*broadcast(positive, real), *[call(real(3, 4), n) for n in (0, 1, 2, 3, -1, 2.0)],
              call(positive(3, 4), 0.5), call(2.0, real(3, 4)),
              call(real(3), np.array([0.0, 1.0, 3.0]))],
    "floor_divide": broadcast(real, positive),
    "remainder": broadcast(between(-5.0, 5.0), between(1.1, 1.4)),
    "cbrt": [*elementwise(positive), *elementwise(between(-3.0, -0.2))],
    "round": [*elementwise(real), *elementwise(real, decimals=1)],
    # ---- trigonometry and activations ----
    "tan": elementwise(between(-1.2, 1.2)),
    "arctan2": [*broadcast(real, positive), call(real(5), between(-2.0, -0.5)(5))],
    "arccosh": elementwise(above_one),
    "leaky_relu": [*elementwise(real), *elementwise(real, slope=0.2)],
    "elu": [*elementwise(real), *elementwise(real, alpha=1.5)],
    # ---- choosing ----
    "clip": [call(real(3, 4), -1.03, 1.03), call(real(3, 4), None, 0.51),
             call(real(3, 4), -0.51, None), call(real(), -1.03, 1.03), call(real(0, 3), 0.0, 1.0),
             call(real(3, 4), between(-1.5, -0.5)(4), between(0.5, 1.5)(3, 1)),
             call(real(4), between(-1.5, -0.5)(3, 1), between(0.5, 1.5)())],
    "where": [*[call(MASK, *pair.inputs) for pair in broadcast(real, real)[:5]],
              call(MASK[0], real(3, 4), real(4)), call(np.array(True), real(), real(2)),
              call(MASK[:, :1], real(4), 0.0)],
    # ---- reductions ----
    "var": [*reduced(real), call(real(3, 4), axis=1, ddof=1), call(real(6), ddof=2)],
    "std": [*filter(_varies, reduced(real)), call(real(3, 4), axis=1, ddof=1)],
    "cumsum": [call(real(3, 4)), call(real(3, 4), axis=0), call(real(2, 3, 4), axis=-2),
               call(real(1)), call(real(0, 3), axis=0)],
    # ---- products of matrices ----
    "linear": [call(real(*x), real(*w), real(*b)) for x, w, b in [
        ((5, 2), (2, 3), (3,)), ((2,), (2, 3), (3,)), ((4, 5, 2), (2, 3), (3,)),
        ((5, 2), (2, 3), (5, 3)), ((0, 2), (2, 3), (3,))]],
    "matmul": [call(real(*a), real(*b)) for a, b in [
        ((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 2)), ((3, 4), (4,)), ((2, 3, 4), (4, 2)),
        ((3, 4), (2, 4, 3)), ((2, 3, 4), (2, 4, 3)), ((2, 1, 3, 4), (5, 4, 2)), ((4,), (2, 4, 3)),
        ((2, 3, 4), (4,)), ((1, 1), (1, 1)), ((0, 4), (4, 2)), ((3, 0), (0, 2))]],
    "outer": [call(real(3), real(4)), call(real(2, 3), real(4)), call(real(), real(2, 2)),
              call(real(0), real(3))],
    "dot": [call(real(*a), real(*b)) for a, b in [
        ((3, 4), (4, 2)), ((4,), (4,)), ((4,), (4, 2)), ((3, 4), (4,)), ((2, 3, 4), (5, 4, 2)),
        ((), (3,)), ((3, 4), ()), ((), ()), ((4,), (2, 4, 3)), ((0, 4), (4, 2)),
        ((3, 0), (0, 2))]],
    "einsum": [call(*[real(*s) for s in shapes], subscripts=spec) for spec, *shapes in [
        ("ij,jk->ik", (3, 4), (4, 2)), ("ij->ji", (3, 4)), ("ii->", (3, 3)), ("ii->i", (3, 3)),
        ("ij->", (3, 4)), ("ij->j", (3, 4)), ("i,j->ij", (3,), (2,)),
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)),
        ("i,i,i->i", (3,), (3,), (3,)), ("iij,j->i", (3, 3, 2), (2,)), ("i,j->", (3,), (2,)),
        (",i->i", (), (3,)), ("ij,jk,kl->il", (2, 3), (3, 2), (2, 4)), ("iii->i", (2, 2, 2))]],
    "diagonal": [call(real(3, 3)), call(real(3, 4), offset=1), call(real(4, 3), offset=-2),
                 call(real(2, 3, 4), axis1=0, axis2=2),
                 call(real(2, 3, 4), offset=1, axis1=-1, axis2=1), call(real(2, 3), offset=3),
                 call(real(3, 2), offset=-2), call(real(3, 4, 2))],
    "trace": [call(real(3, 3)), call(real(3, 4), offset=1), call(real(4, 3), offset=-2),
              call(real(2, 3, 4), axis1=0, axis2=2),
              call(real(2, 3, 3), offset=-1, axis1=2, axis2=1), call(real(3, 4, 2))],
    # ---- linear algebra ----
    "solve": [call(matrix(*a), real(*b)) for a, b in [
        ((3, 3), (3,)), ((3, 3), (3, 2)), ((2, 3, 3), (2, 3, 2)), ((2, 3, 3), (3,)),
        ((3, 3), (2, 3, 1)), ((2, 1, 2, 2), (3, 2, 2)), ((1, 1), (1, 1)), ((0, 0), (0, 2))]],
    "svd": [*map(call, SQUARE), *[call(matrix(*s)) for s in [(4, 2), (2, 4), (2, 3, 2)]]],
    # ---- shape ----
    "reshape": [call(real(3, 4), shape=(2, 6)), call(real(3, 4), shape=-1), call(real(1), shape=()),
                call(real(2, 3, 4), shape=(4, -1)), call(real(0, 3), shape=(0,))],
    "transpose": [*elementwise(real), call(real(2, 3, 4), axes=(1, 2, 0)),
                  call(real(2, 3, 4), axes=(-1, 0, -2))],
    "swapaxes": [call(real(2, 3, 4), axis1=0, axis2=2), call(real(3, 4), axis1=-1, axis2=-2)],
    "moveaxis": [call(real(2, 3, 4), source=0, destination=-1),
                 call(real(2, 3, 4), source=(0, 2), destination=(1, 0))],
    "squeeze": [call(real(1, 3, 1)), call(real(1, 3, 1), axis=0), call(real(1, 3, 1), axis=(-1, 0)),
                call(real(1, 1))],
    "expand_dims": [call(real(3), axis=0), call(real(3, 4), axis=-1), call(real(), axis=0),
                    call(real(3, 4), axis=(0, 2))],
    "broadcast_to": [call(real(4), shape=(3, 4)), call(real(3, 1), shape=(2, 3, 4)),
                     call(real(), shape=(2, 2)), call(real(3), shape=(3,)),
                     call(real(3), shape=(0, 3))],
    "flip": [*elementwise(real), call(real(3, 4), axis=0), call(real(2, 3, 4), axis=(0, -1))],
    "roll": [call(real(3, 4), shift=2), call(real(3, 4), shift=-1, axis=1),
             call(real(3, 4), shift=(1, 2), axis=(0, -1)), call(real(4), shift=9, axis=0),
             call(real(3, 4), shift=1, axis=(0, 1))],
    "tile": [call(real(3), reps=2), call(real(2, 3), reps=(2, 2)), call(real(3), reps=(2, 3)),
             call(real(2, 3), reps=3), call(real(), reps=3), call(real(2), reps=0)],
    "repeat": [call(real(2, 3), repeats=2), call(real(2, 3), repeats=2, axis=1),
               call(real(2, 3), repeats=np.array([1, 0, 3]), axis=-1), call(real(3), repeats=0),
               call(real(), repeats=3)],
    "pad": [call(real(2, 3), pad_width=((1, 0), (2, 1))), call(real(3), pad_width=((0, 0),)),
            call(real(0, 2), pad_width=((1, 1), (0, 1)))],
    "concatenate": [*joined(axis=0), *joined(axis=-1), *joined(axis=None),
                    call(real(2, 1), real(2, 3), axis=1), call(real(0, 3), real(2, 3), axis=0)],
    "stack": [*joined(axis=0), *joined(axis=1), *joined(axis=-1), call(real(), real())],
    "cast": elementwise(real, dtype=np.dtype(np.float64)),
    "sum_to": [call(real(*a), shape=b) for a, b in [
        ((3, 4), (4,)), ((3, 4), (3, 1)), ((4,), (3, 4)), ((3, 1), (3, 4)), ((), (2,)),
        ((2, 3, 4), ()), ((3, 4), (1, 1)), ((3, 4), (1,)), ((2, 3, 4), (3, 1)),
        ((2, 1, 4), (3, 4)), ((0, 4), (4,))]],
    # ---- indexing ----
    "getitem": index_calls(real, _read),
    "scatter": index_calls(real, _add_up),
    "put": [*index_calls(real, _write), call(real(3, 4), real(), index=1),
            call(real(3, 4), real(4), index=slice(1, 3)), call(real(3, 4), 0.0, index=(..., 0))],
    "take": [*[call(real(3, 4), np.array(i), **attrs) for i in (2, [0, 2, 2], [[0, 1], [-1, 0]])
               for attrs in ({}, {"axis": 0}, {"axis": -1})],
             call(real(5), np.zeros(0, int))],
    "take_along_axis": [call(real(3, 4), np.array([[0], [2], [2]]), axis=1),
                        call(real(3, 4), np.array([[0, 2, 2, -1], [0, 0, 1, 1]]), axis=0),
                        call(real(3, 4), np.array([[0, 3, 3]] * 3), axis=-1),
                        call(real(2, 3), np.array([5, 5, 0]), axis=None)],
    "sort": [call(real(5)), call(real(3, 4)), call(real(3, 4), axis=0),
             call(real(2, 3, 4), axis=-2), call(real(1)), call(real(0, 3), axis=0)],
    # ---- probabilities ----
    "softmax": [call(real(3, 4)), call(real(3, 4), axis=0), call(real(2, 3, 4), axis=1),
                call(real(5)), call(real(3, 1)), call(real(2, 70)), call(real(0, 3))],
    "log_softmax": [call(real(3, 4)), call(real(3, 4), axis=0), call(real(2, 3, 4), axis=-2),
                    call(real(5)), call(real(3, 1)), call(real(2, 70)), call(real(0, 3))],
    "residual": [call(real(3, 4), np.array([0, 3, 3])), call(real(1, 2), np.array([1]))],
    "cross_entropy": [call(real(3, 4), np.array([0, 3, 3])), call(real(1, 2), np.array([1])),
                      call(real(2, 70), np.array([69, 0]))],
    # ---- layers and losses ----
    "huber": [*elementwise(real, delta=1.03), *elementwise(real, delta=0.51)],
    "binary_entropy": broadcast(probability, probability),
    "binary_entropy_of_logits": [
        *[call(*pair.inputs, positive(4)) for pair in broadcast(real, probability)[:4]],
        call(real(3, 4), probability(3, 4), 1.0), call(real(), probability(), positive()),
        call(real(0, 3), probability(0, 3), positive(3))],
    **rows([call(real(2, 3, 4), axis=axis, eps=eps)
            for axis in [(-1,), (0,), (0, 2), (-2, -1), (0, 1, 2)] for eps in (1e-5, 0.3)],
           "standardize rescale"),
    "normalize": [call(real(*x), real(*w), real(*w), axis=axis, eps=eps) for x, w, axis in [
        ((4, 3), (3,), (-1,)), ((2, 3, 4), (3, 4), (-2, -1)), ((2, 3, 4), (4,), (-1,)),
        ((4, 3), (3,), (0,)), ((4, 3, 2), (3, 1), (0, 2)), ((3, 1), (1,), (-1,)),
        ((0, 3), (3,), (-1,))] for eps in (1e-5, 0.3)],
    "scale_and_shift": [call(real(*x), real(*w), real(*b)) for x, w, b in [
        ((5, 3), (3,), (3,)), ((2, 3, 4), (3, 1), (3, 1)), ((3, 4), (3, 4), ()),
        ((0, 3), (3,), (3,)), ((3, 4), (4,), (3, 1))]],
    "windows": [call(real(*shape), size=size, stride=stride) for shape, size, stride in SLIDES],
    "add_windows": [
        call(real(*np.shape(TABLE["windows"](np.empty(shape), size=size, stride=stride))),
             size=size, stride=stride, shape=shape) for shape, size, stride in SLIDES],
    "gru_gates": [call(real(*shape), real(*shape)) for shape in [(3, 6), (1, 3), (0, 3), (6,)]],
    "gru_hidden_state": [call(real(*n, 3 * h), real(*n, h)) for n, h in STATES],
    "lstm_gates": [call(real(*n, 4 * h)) for n, h in STATES],
    "lstm_cell_state": [call(real(*n, 4 * h), real(*n, h)) for n, h in STATES],
    "lstm_hidden_state": [call(real(*n, 4 * h), real(*n, h)) for n, h in STATES],
    "rnn": [call(real(time, n, h), real(h, h), *(real(n, h) for _ in range(states)))
            for n, time, h in SEQUENCES for states in (0, 1)],
    "gru": [call(real(time, n, 3 * h), real(n, h), real(h, 3 * h), *bias)
            for n, time, h in SEQUENCES for bias in ([], [real(3 * h)])],
    "lstm": [call(real(time, n, 4 * h), real(h, 4 * h), *(real(n, h) for _ in range(states)))
             for n, time, h in SEQUENCES for states in (1, 2)],
}


def calls_of(name: str) -> list[Call]:
    """The calls of an operation; one that was added from outside gets real numbers that broadcast.

    Parameters
    ----------
    name : str
        A key of ``ops.TABLE``.

    Examples
    --------
    >>> str(calls_of("log")[0])
    '(3, 4)'
    """
    shapes = [(3, 4), (4,), (3, 1)]
    return CASES.get(name) or [call(*(real(*s) for s, _ in zip(shapes, TABLE[name].vjps)))]
