"""What each exercise's solution must do: the engine, finite differences and known runs decide."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from tinygrad_opt import data, nn, ops, optim
from tinygrad_opt.autograd import grad, gradcheck
from tinygrad_opt.errors import TinygradOptError
from tinygrad_opt.exercises.judge import Solution, Wrong, agree, number, same, several, slopes
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.typing import Array, ArrayLike

__all__ = ["CHECKS", "Check"]


class Check(NamedTuple):
    """An exercise: the chapter of the course that it belongs to, and what judges a solution."""

    chapter: int
    run: Callable[[Solution], None]


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


# ---- 1: derivatives by hand ----------------------------------------------------------------------


def _two_inputs(solution: Solution, f: Callable[..., Array]) -> None:
    for a, b, g, so_far in [(3.0, -7.0, 1.0, ""), (3.0, -7.0, 5.0, "; with g = 1.0 it was right"),
                            (-0.5, 4.0, -2.0, "")]:
        agree(solution.gradients, {"g": g, "a": a, "b": b}, slopes(f, g, a=a, b=b),
              f" at a = {a}, b = {b}, g = {g}{so_far}")


def product(solution: Solution) -> None:
    _two_inputs(solution, lambda a, b: a * b)


def quotient(solution: Solution) -> None:
    _two_inputs(solution, lambda a, b: a / b)


def chain(solution: Solution) -> None:
    x = np.array([-2.0, -0.7, 0.0, 0.4, 1.3, 3.0])
    [want] = slopes(lambda x: np.exp(-np.sin(x) ** 2), x=x).values()
    agree(solution.slope, {"x": x}, {"f′(x)": want}, f" (x is {x})")


def tanh(solution: Solution) -> None:
    z, g = np.array([-0.9, -0.5, 0.2, 0.8]), np.array([2.0, 1.0, -3.0, 0.5])
    agree(solution.gradient, {"g": g, "z": z}, slopes(np.tanh, g, x=np.arctanh(z)),
          f" (z is {z}, g is {g})")


# ---- 2: one neuron -------------------------------------------------------------------------------


def neuron(solution: Solution) -> None:
    w, x = np.array([0.5, -1.0, 0.25]), np.array([1.5, 0.75, -2.0])
    for b, target in [(0.2, 1.0), (-1.0, 0.0)]:
        want = slopes(lambda w, b: (1 / (1 + np.exp(-(w @ x + b))) - target) ** 2,  # noqa: B023
                      w=w, b=b)
        agree(solution.gradients, {"w": w, "b": b, "x": x, "target": target}, want,
              f" at w = {w}, b = {b}, x = {x}, target = {target}")


def least_squares(solution: Solution) -> None:
    rng = _rng()
    for n, k in [(1, 2), (7, 3)]:
        x, w, y = rng.normal(size=(n, k)), rng.normal(size=k), rng.normal(size=n)
        want = slopes(lambda w: np.mean((x @ w - y) ** 2), w=w)        # noqa: B023 (used at once)
        agree(solution.gradient, {"x": x, "w": w, "y": y}, want,
              f" for {n} row{'s' * (n > 1)} and {k} weights")
    if solution.loops():
        raise Wrong("The numbers are right. Now without the loop: NumPy can do all rows at once.")


# ---- 3: the chain rule on a graph ----------------------------------------------------------------


def paths(solution: Solution) -> None:
    for given, want, words in [
        ([[2.0, 5.0]], 10.0, " for one path: along a path derivatives multiply"),
        ([[2.0], [5.0]], 7.0, " for two paths: what arrives on different paths is added"),
        ([[2.0, 3.0], [-1.0, 4.0, 0.5]], 4.0, " for the paths [2, 3] and [−1, 4, 0.5]"),
        ([[]], 1.0, " for one path without edges: x is L itself"),
        ([], 0.0, " without any path"),
    ]:
        same("dL/dx", solution.derivative(given), want, at=words)


def _edges(nodes: Iterable[Node]) -> str:
    """What each node was made from, in words."""
    return ", ".join(f"{node} of {node.inputs}" for node in sorted(nodes, key=str) if node.inputs)


class Node:
    """A node of the graphs that solutions are given."""

    def __init__(self, name: str, *inputs: Node, slopes: tuple[float, ...] = ()) -> None:
        self.name, self.inputs, self.reads = name, list(inputs), 0
        self._slopes = list(slopes)

    @property
    def slopes(self) -> list[float]:
        self.reads += 1
        if self.reads > 1000:
            raise Wrong("The slopes of one node are read again and again: visit each node once,"
                        " when all of its gradient has arrived, instead of following each path.")
        return self._slopes

    def __repr__(self) -> str:
        return self.name


def order(solution: Solution) -> None:
    a, b = Node("a"), Node("b")
    c, unused = Node("c", a, b), Node("unused", a)
    d, e = Node("d", c, a), Node("e", a, c)                # the long path first, and the short one
    square, both = Node("square", d, d), Node("both", e, b, d)
    for end, wanted in [(a, {a}), (c, {a, b, c}), (d, {a, b, c, d}), (e, {a, b, c, e}),
                        (square, {a, b, c, d, square}), (both, {a, b, c, d, e, both})]:
        _in_order(solution.order(end), wanted, end)
    del unused
    rng = _rng()

    def short_cut(nodes: list[Node]) -> list[Node]:        # one order each
        return [nodes[-1], nodes[rng.integers(len(nodes))]][:: rng.choice([-1, 1])]

    for nodes in [*(_grown(7, short_cut) for _ in range(20)), _grown(60, lambda x: x[-1:] * 2),
                  _grown(20_000, lambda x: x[-1:])]:
        _in_order(solution.order(nodes[-1]), {*nodes}, nodes[-1])


def _grown(
    count: int, inputs: Callable[[list[Node]], list[Node]], slopes: tuple[float, ...] = ()
) -> list[Node]:
    """Nodes, each made from some of those before it."""
    nodes = [Node("n0")]
    for i in range(1, count):
        nodes.append(Node(f"n{i}", *inputs(nodes), slopes=slopes))
    return nodes


def _in_order(got: object, wanted: set[Node], end: Node) -> None:
    if not isinstance(got, (list, tuple)):
        raise Wrong(f"order() returns {type(got).__name__}, and should return a list.")
    graph = f", in the graph {_edges(wanted)}" if 1 < len(wanted) < 9 else ""
    if len({*got}) < len(got):
        twice = next(x for x in got if got.count(x) > 1)
        raise Wrong(f"{twice} is in the list twice: it can be reached on two paths{graph}.")
    if missing := wanted - {*got}:
        raise Wrong(f"{min(missing, key=str)} is missing from the order of {end}{graph}.")
    if more := {*got} - wanted:
        raise Wrong(f"{min(more, key=str)} is in the order of {end}, which was not made from it.")
    place = {node: i for i, node in enumerate(got)}
    for node in got:
        for x in node.inputs:
            if place[x] > place[node]:
                raise Wrong(f"{node} stands before its input {x} in the order of {end}{graph}.")


# ---- 4: the backward pass ------------------------------------------------------------------------


def backward(solution: Solution) -> None:
    x, y = Node("x"), Node("y")
    a = Node("a", x, y, slopes=(2.0, 3.0))
    b = Node("b", a, x, slopes=(-4.0, 5.0))
    twice = Node("twice", b, b, slopes=(0.5, 0.25))
    for nodes, want in [
        ([x, y, a], {"x": 2.0, "y": 3.0, "a": 1.0}),
        ([x, y, a, b], {"x": -3.0, "y": -12.0, "a": -4.0, "b": 1.0}),
        ([x, y, a, b, twice], {"x": -2.25, "y": -9.0, "a": -3.0, "b": 0.75, "twice": 1.0}),
    ]:
        _gradients(solution.backward(nodes), nodes, want)
    ladder = _grown(40, lambda nodes: nodes[-1:] * 2, (0.5, 0.5))
    _gradients(solution.backward(ladder), ladder, {node.name: 1.0 for node in ladder})


def _gradients(got: object, nodes: list[Node], want: dict[str, float]) -> None:
    if not isinstance(got, dict):
        raise Wrong(f"backward() returns {type(got).__name__}, and should return a dict.")
    at = ""
    if len(nodes) < 9:
        slopes = [f"{x} to {n} is {s:g}" for n in nodes for x, s in zip(n.inputs, n.slopes)]
        at = f", where the slope from {', from '.join(slopes)}"
    for node in reversed(nodes):
        if node not in got and want[node.name]:
            raise Wrong(f"There is no gradient of {node} in the dict.")
        same(f"The gradient of {node}", got.get(node, 0.0), want[node.name],
             at=at)


def differences(solution: Solution) -> None:
    def f(x: Array) -> Array:
        return np.sum(np.sin(x) * np.exp(x))

    def slope(x: Array) -> Array:
        return (np.sin(x) + np.cos(x)) * np.exp(x)

    x = np.array([[0.3, 1.2], [-0.4, 0.9]])
    errors = []
    for eps in (1e-2, 1e-3):
        given = x.copy()
        got = number("∂f/∂x[0, 1]", solution.derivative(f, given, (0, 1), eps))
        if got.shape:
            same("∂f/∂x[0, 1]", got, slope(x)[0, 1])
        if not np.array_equal(given, x):
            raise Wrong("x is not as it was: change a copy, or put the entry back.")
        errors.append(abs(float(got) - slope(x)[0, 1]))
    if errors[0] > 0.1:
        all_moved = abs(float(got) - slope(x).sum()) < 0.1
        same("∂f/∂x[0, 1]", got, slope(x)[0, 1], tolerance=1e-2,
             at=f" for f(x) = Σ sin(x) · exp(x) at x = {x.tolist()}, ε = {eps}"
             + "; it is the sum of the derivatives by all entries" * bool(all_moved))
    if errors[0] / max(errors[1], 1e-12) < 50:
        raise Wrong(f"The error is {errors[0]:.1e} at ε = 0.01 and {errors[1]:.1e} at ε = 0.001: it"
                    " falls with ε, and should fall with ε². Look to both sides of x.")


# ---- 5: broadcasting -----------------------------------------------------------------------------


def broadcast(solution: Solution) -> None:
    rng = _rng()
    for shape, whole in [((3,), (3,)), ((3,), (4, 3)), ((4, 1), (4, 3)), ((), (2, 2)),
                         ((1, 3), (4, 3)), ((2, 1, 3), (5, 2, 4, 3)), ((1,), (1,))]:
        g = rng.normal(size=whole)
        [want] = slopes(lambda x: np.broadcast_to(x, whole), g, x=np.zeros(shape)).values()  # noqa: B023
        same(f"undo() of a g of the shape {whole} to {shape}", solution.undo(g.copy(), shape), want)


def matmul(solution: Solution) -> None:
    rng = _rng()
    for n, k, m in [(2, 3, 4), (3, 3, 3)]:
        x, w, g = rng.normal(size=(n, k)), rng.normal(size=(k, m)), rng.normal(size=(n, m))
        agree(solution.gradients, {"g": g, "x": x, "w": w}, slopes(np.matmul, g, x=x, w=w))


# ---- 6: an operation of one's own ----------------------------------------------------------------


def operation(solution: Solution) -> None:
    softsign = solution.softsign
    if not isinstance(softsign, ops.Op):
        raise Wrong("softsign is no longer what tg.op returns.")
    x, g = np.array([-3.0, -0.5, 0.7, 2.0]), np.array([1.0, 2.0, -1.0, 0.5])
    z = x / (1 + np.abs(x))
    same("softsign(x)", softsign(Tensor(x)), z, at=f" for x = {x}")
    vjp = softsign.vjps[0]
    assert vjp is not None
    agree(vjp, {"g": g, "z": z, "x": x}, slopes(lambda x: x / (1 + np.abs(x)), g, x=x),
          f" for x = {x} and g = {g}")
    try:
        twice = gradcheck(grad(lambda x: softsign(x).sum()), x, raises=False)
    except TinygradOptError as error:
        raise Wrong(f"The VJP cannot be run on Tensors, for second derivatives: {error}") from None
    if not twice:
        raise Wrong(f"The second derivative is wrong: {twice}")


# ---- 7: a network learns -------------------------------------------------------------------------


def initialise(solution: Solution) -> None:
    for fan_in, fan_out in [(400, 300), (50, 2000)]:
        w = solution.weights(fan_in, fan_out, _rng())
        same("The shape of the weights", np.shape(w), (fan_in, fan_out))
        if abs(float(np.mean(w))) > 0.01:
            raise Wrong(f"The mean of the weights is {np.mean(w):.3f}, and should be 0.")
    signal = _rng().normal(size=(200, 100))
    first = float(np.std(signal))
    for i in range(20):
        signal = np.maximum(signal @ solution.weights(100, 100, np.random.default_rng(i)), 0)
    size = float(np.sqrt(np.mean(signal**2))) / first
    if not 0.2 < size < 5:
        much = "grown" if size > 1 else "shrunk"
        raise Wrong(f"After twenty layers of 100 with ReLU the signal has {much} {size:.3g}-fold."
                    " How much of its variance does one layer keep, with half of it cut off?")
    wide = solution.weights(400, 100, _rng())
    same("The standard deviation for 400 inputs, over that for 100", np.std(wide)
         / np.std(solution.weights(100, 100, _rng())), 0.5, tolerance=0.1)


def cross_entropy(solution: Solution) -> None:
    rng = _rng()
    for scale in (1.0, 1000.0):
        logits, labels = scale * rng.normal(size=(5, 3)), rng.integers(0, 3, 5)
        want = {"∂L/∂logits": grad(nn.cross_entropy)(logits, labels)}
        agree(solution.gradient, {"x": logits, "labels": labels}, want,
              f" for logits of about {scale:g}")


def loop(solution: Solution) -> None:
    x, y = data.moons(40, rng=0)

    def parts() -> tuple[nn.Module, optim.Optimizer]:
        model = nn.MLP([2, 8, 2], rng=0)
        return model, optim.Adam(model.parameters(), lr=0.05)

    def step(model: nn.Module, optimizer: optim.Optimizer) -> float:
        loss = nn.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss)

    here = parts()
    want = [step(*here) for _ in range(8)]
    model, optimizer = parts()
    got = solution.train(model, optimizer, x, y, 8)
    if optimizer.t != 8:
        raise Wrong(f"The optimizer has made {optimizer.t} steps in 8 epochs.")
    if len(got) != 8:
        raise Wrong(f"There are {len(got)} losses for 8 epochs.")
    if np.allclose(np.float64(got[:2]), want[:2]) and not np.allclose(np.float64(got), want):
        raise Wrong("The first steps are right, later ones are not: what happens to the gradients"
                    " of the step before?")
    if np.allclose(np.float64(got[:7]), want[1:]):
        raise Wrong("These are the losses after each step, and not before.")
    same("losses", got, want, at=" (entry i is before step i + 1)")


# ---- 8: optimizers -------------------------------------------------------------------------------


def _rule(solution: Solution, name: str, right: optim.Optimizer, size: float = 1.0) -> None:
    """A rule beside the package's own, on the same gradients of about the same size."""
    kind = getattr(solution, name)
    mine, theirs = {"p": np.array([1.0, -2.0])}, {"p": np.array([1.0, -2.0])}
    opt = kind(lr=0.1)
    starts = [np.full(2, start) for start in opt.accumulators().values()]
    with solution.told("rule"):
        made = opt.rule(np.ones(2), np.array([3.0, 0.5]), *starts, lr=0.1, t=1)
    for what, x in zip(("p", *opt.accumulators()), made or (None,)):
        same(f"The shape of the new {what}", np.shape(number(f"The new {what}", x)), (2,))
    for t in range(1, 31):
        g = {"p": size * (np.array([3.0, 0.5]) * theirs["p"] + math.sin(t))}
        with solution.told("rule"):
            opt.update(mine, g)
        right.update(theirs, g)
        try:
            same("p", mine["p"], theirs["p"], at=f" after step {t}"
                 + (f" with gradients of about {size:g}" if size != 1 else ""))
        except Wrong as wrong:
            said = f"\nYour rule says:\n{opt.formula}" if str(opt.formula) else ""
            raise Wrong(f"{wrong}{said}") from None


def momentum(solution: Solution) -> None:
    _rule(solution, "Momentum", optim.Momentum(lr=0.1, momentum=0.9))


def nesterov(solution: Solution) -> None:
    curvature = np.array([1.0, 10.0])
    p, v = np.array([1.0, 1.0]), np.zeros(2)
    asked: list[Array] = []

    def gradient(p: Array) -> Array:
        asked.append(np.array(p))
        return np.asarray(curvature * p)

    mine, speed = p, v
    for t in range(1, 6):
        ahead = p + 0.9 * v
        v = 0.9 * v - 0.05 * curvature * ahead
        asked.clear()
        made = several("step", solution.step(mine, speed, gradient, 0.05, 0.9), ["p", "v"])
        mine, speed = number("The new p", made[0]), number("The new v", made[1])
        if len(asked) != 1:
            raise Wrong(f"The gradient was asked for {len(asked)} times in a step.")
        if t > 1:
            same("The point where the gradient is taken", asked[0], ahead, at=f" in step {t}")
        p = p + v
        same("v", speed, v, at=f" after step {t}")
        same("p", mine, p, at=f" after step {t}")


def adam(solution: Solution) -> None:
    _rule(solution, "Adam", optim.Adam(lr=0.1))
    _rule(solution, "Adam", optim.Adam(lr=0.1), size=1e-8)               # where ε counts


def bug_adam(solution: Solution) -> None:
    for scale in 1.0, 1e-9:                                # gradients beside which epsilon counts
        curvature = scale * np.array([1.0, 20.0])
        right, p = optim.Adam(lr=0.1), {"p": np.array([1.0, 1.0])}
        path = solution.minimize(lambda p, c=curvature: c * p, p["p"].copy(), 20)
        if len(path) != 21:
            raise Wrong(f"The path has {len(path)} points, and should have 21.")
        for t in range(1, 21):
            right.update(p, {"p": curvature * p["p"]})
            same("p", path[t], p["p"], at=f" after step {t}, with gradients of {scale:g} times p"
                                          " and 20 times that")


# ---- 9: rates ------------------------------------------------------------------------------------


def schedule(solution: Solution) -> None:
    base, warmup, total = 0.1, 10, 110
    for t, want in [(0, 0.0), (5, 0.5), (10, 1), (60, 0.5), (110, 0.0),
                    (35, (1 + math.cos(math.pi / 4)) / 2)]:
        same("rate", solution.rate(t, base, warmup, total), base * want, tolerance=1e-9,
             at=f" at t = {t}, with base {base}, warmup {warmup}, total {total}")
    same("rate", solution.rate(0, base, 0, total), base, at=" at t = 0 without a warm-up")


def clip(solution: Solution) -> None:
    cases: list[tuple[Mapping[str, ArrayLike], float, str]] = [
        ({"w": [3.0], "b": [4.0]}, 1.0, " for gradients 3 and 4, limit 1"),
        ({"w": [[0.3, 0.0]], "b": [0.4]}, 1.0, " for gradients that are short enough"),
        ({"w": [[3.0, 4.0], [0.0, 12.0]], "b": [84.0]}, 17.0, " for a norm of 85, limit 17"),
        ({"w": [0.0, 0.0]}, 1.0, " for gradients that are all 0"),
    ]
    for grads, limit, words in cases:
        given = {name: np.array(g) for name, g in grads.items()}
        norm = math.sqrt(sum(float(np.sum(g**2)) for g in given.values()))
        got = solution.clip({name: g.copy() for name, g in given.items()}, limit)
        for name, g in given.items():
            same(f"The gradient {name}", got[name], g * min(1.0, limit / (norm or 1.0)), at=words)
    kept = {"w": np.array([3.0, 4.0])}
    solution.clip(kept, 1.0)
    if not np.array_equal(kept["w"], [3.0, 4.0]):
        raise Wrong("The arrays that were given have changed: return new ones.")


# ---- 10: what goes wrong -------------------------------------------------------------------------


def bug_gradient(solution: Solution) -> None:
    rng = _rng()
    x, y = rng.normal(size=(6, 2)), rng.normal(size=(6, 3))
    parts = {name: rng.normal(size=shape) for name, shape in (
        ("w1", (2, 5)), ("b1", (5,)), ("w2", (5, 3)), ("b2", (3,)))}

    def loss(w1: Array, b1: Array, w2: Array, b2: Array) -> Array:
        return np.asarray(np.mean((np.maximum(x @ w1 + b1, 0) @ w2 + b2 - y) ** 2))

    same("loss()", solution.loss(x, y, *parts.values()), loss(**parts))
    wants = slopes(loss, **parts)
    made = solution.gradients(*copy.deepcopy([x, y, *parts.values()]))
    got = several("gradients", made, [*wants])
    right: list[str] = []
    for (what, want), mine in reversed([*zip(wants.items(), got)]):
        try:
            same(what, mine, want)
            right.insert(0, what.removeprefix("∂L/∂"))
        except Wrong as wrong:
            fine = f" The gradients of {' and '.join(sorted(right))} are right." if right else ""
            raise Wrong(f"{wrong}{fine}") from None


# ---- 11: second derivatives ----------------------------------------------------------------------


def newton(solution: Solution) -> None:
    def bowl(x: Array) -> Array:
        return 3 * x[0] ** 2 + x[0] * x[1] + 5 * (x[1] - 1) ** 2

    def valley(x: Array) -> Array:
        return (1 - x[0]) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2

    got = solution.minimize(bowl, np.array([4.0, -3.0]), 1)
    same("x", got, [-10 / 59, 60 / 59],
         at=" after one step on 3x₀² + x₀x₁ + 5(x₁ − 1)², a quadratic")
    same("x", solution.minimize(valley, np.array([-1.0, 1.5]), 12), [1.0, 1.0],
         at=" after 12 steps down a bent valley")
    same("x", solution.minimize(bowl, np.array([4.0, -3.0]), 0), [4.0, -3.0], at=" after no step")


def conjugate(solution: Solution) -> None:
    rng = _rng()
    for n in (1, 2, 8):
        m = rng.normal(size=(n, n))
        a = m @ m.T + n * np.eye(n)
        b, count = rng.normal(size=n), [0]

        def multiply(d: Array, a: Array = a, count: list[int] = count) -> Array:
            count[0] += 1
            return np.asarray(a @ d)

        got = solution.solve(multiply, b.copy())
        if count[0] > n:
            raise Wrong(f"{count[0]} products for {n} equations; {n} do.")
        same("A @ x", a @ np.asarray(got, dtype=np.float64), b, at=f" (this is b) for n = {n}",
             tolerance=1e-7)
    same("x", solution.solve(lambda d: 2 * d, np.zeros(3)), np.zeros(3), at=" for b = 0")


# ---- in the order in which they are best done ----------------------------------------------------

_CHAPTERS: list[list[Callable[[Solution], None]]] = [
    [product, quotient, chain, tanh],
    [neuron, least_squares],
    [paths, order],
    [backward, differences],
    [broadcast, matmul],
    [operation],
    [initialise, cross_entropy, loop],
    [momentum, nesterov, adam, bug_adam],
    [schedule, clip],
    [bug_gradient],
    [newton, conjugate],
]
CHECKS = {run.__name__: Check(chapter, run)
          for chapter, runs in enumerate(_CHAPTERS, 1) for run in runs}
