"""Graphs built, changed and differentiated at random, beside a small model of what must happen.

The model knows no backward pass: the derivative of a node by another is worked out from the node's
inputs, by the chain rule as it is written. Operations go entry by entry, so it is a vector.
"""

import itertools
import warnings

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import Tensor, optim
from tinygrad_opt.errors import GraphError

pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

ANY = st.integers(0, 99)                                   # which of the Tensors there are
NUMBERS = st.floats(-1, 1, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)
UNARY = {                                # a function and its derivative
    "sin": (np.sin, np.cos), "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "negative": (np.negative, lambda x: -np.ones_like(x)),
    "halved square": (lambda x: 0.5 * x * x, lambda x: x),
}
BINARY = {                               # a function and its two derivatives
    "add": (lambda x, y: x + y, lambda x, y: (1, 1)),
    "subtract": (lambda x, y: x - y, lambda x, y: (1, -1)),
    "multiply": (lambda x, y: x * y, lambda x, y: (y, x)),
    "sine of product": (lambda x, y: np.sin(x * y),
                        lambda x, y: (np.cos(x * y) * y, np.cos(x * y) * x)),
}


class Node:
    """What the model knows of a Tensor."""

    def __init__(self, value, clock, needs=False, inputs=(), slopes=()):
        self.value, self.made, self.changed = value, clock, clock
        self.needs, self.inputs, self.slopes = needs, inputs, slopes
        self.factors, self.grad = [], None                 # of its hooks

    def slope(self, target):
        """∂self/∂target under the hooks; None if no gradient flows."""
        if not self.needs:
            return None
        scale = np.prod(self.factors)
        if self is target:
            return np.full(2, scale)
        parts = [x.slope(target) for x in self.inputs]
        parts = [scale * d * p for d, p in zip(self.slopes, parts) if p is not None]
        return sum(parts) if parts else None

    def stale(self):
        """Whether what a gradient passes on its way was changed since it was used."""
        return self.needs and bool(self.inputs) and (
            self.changed > self.made or any(x.changed > self.made for x in self.inputs)
            or any(x.stale() for x in self.inputs))

    def leaves(self):
        return {self} if not self.inputs else set().union(*(x.leaves() for x in self.inputs))


class Graphs(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.pairs, self.clock = [], itertools.count().__next__
        self.quiet = warnings.catch_warnings()
        self.quiet.__enter__()
        warnings.simplefilter("ignore")                    # of gradients used twice
        for value in (0.5, -0.75):
            self.leaf(value, 0.25, True)

    def teardown(self):
        self.quiet.__exit__(None, None, None)

    def pick(self, i):
        return self.pairs[i % len(self.pairs)]

    def tell(self, tensor, value, needs, inputs=(), slopes=()):
        node = Node(value, self.clock(), needs, inputs if needs else (), slopes)
        self.pairs = [*self.pairs, (tensor, node)][-12:]

    @rule(x=NUMBERS, y=NUMBERS, trained=st.booleans())
    def leaf(self, x, y, trained):
        value = np.array([x, y], np.float64)
        self.tell(Tensor(value.copy(), requires_grad=trained), value, trained)

    @rule(i=ANY, name=st.sampled_from(list(UNARY)), recorded=st.booleans())
    def unary(self, i, name, recorded):
        (t, node), (f, slope) = self.pick(i), UNARY[name]
        if recorded:
            self.tell(f(t), f(node.value), node.needs, (node,), (slope(node.value),))
        else:
            with tg.no_grad():
                self.tell(f(t), f(node.value), False)

    @rule(i=ANY, j=ANY, name=st.sampled_from(list(BINARY)))
    def binary(self, i, j, name):
        (t, a), (u, b), (f, slopes) = self.pick(i), self.pick(j), BINARY[name]
        self.tell(f(t, u), f(a.value, b.value), a.needs or b.needs, (a, b),
                  slopes(a.value, b.value))

    @rule(i=ANY)
    def detach(self, i):
        t, node = self.pick(i)
        self.tell(t.detach() * 1, node.value * 1, False)

    @rule(i=ANY, j=ANY, recorded=st.booleans())
    def add_in_place(self, i, j, recorded):
        """t += u: a new node in the object of the old one, or other values in its array."""
        (t, a), (u, b) = self.pick(i), self.pick(j)
        if not (recorded and (a.needs or b.needs)):
            with tg.no_grad():
                t += u
            a.value, a.changed = a.value + b.value, self.clock()
        elif a.needs and not a.inputs:
            with pytest.raises(GraphError, match="leaf that requires grad"):
                t += u
        else:
            t += u
            node = Node(a.value + b.value, self.clock(), True, (a, b), (1, 1))
            self.pairs = [(x, node if x is t else n) for x, n in self.pairs]

    @rule(i=ANY, x=NUMBERS)
    def write(self, i, x):
        """One entry, where no gradient flows."""
        t, node = self.pick(i)
        if not node.needs:
            t[0] = x
            node.value, node.changed = np.array([x, node.value[1]]), self.clock()

    @rule(i=ANY, factor=st.sampled_from([-1.0, 0.5, 2.0]))
    def hook(self, i, factor):
        t, node = self.pick(i)
        if node.needs and len(node.factors) < 3:
            t.register_hook(lambda g: g * factor)
            node.factors.append(factor)

    @rule(i=ANY)
    def freeze(self, i):
        t, node = self.pick(i)
        if not node.inputs and t.is_leaf:
            t.requires_grad = node.needs = not node.needs

    @rule(i=ANY, times=st.integers(1, 2), scale=st.sampled_from([None, 0.5]))
    def backward(self, i, times, scale):
        t, node = self.pick(i)
        seed = np.full(2, 1.0 if scale is None else scale)
        if not node.needs:
            with pytest.raises(GraphError, match="has no graph"):
                t.backward(seed)
            return
        if node.stale():
            with pytest.raises(GraphError, match="was changed in place"):
                t.backward(seed)
            return
        for _ in range(times):
            t.backward(seed)
        for leaf in node.leaves():
            slope = node.slope(leaf)
            if slope is not None:
                leaf.grad = times * seed * slope + (0 if leaf.grad is None else leaf.grad)

    @rule(i=ANY)
    def forget(self, i):
        t, node = self.pick(i)
        if not node.inputs and t.is_leaf:
            t.grad = node.grad = None

    @precondition(lambda self: any(n.needs and not n.inputs for _, n in self.pairs))
    @rule(rate=st.sampled_from([0.1, 1.0]))
    def step(self, rate):
        trained = {f"p{i}": (t, n) for i, (t, n) in enumerate(self.pairs)
                   if n.needs and not n.inputs}
        opt = optim.SGD({name: t for name, (t, _) in trained.items()}, lr=rate)
        if all(n.grad is None for _, n in trained.values()):
            with pytest.raises(GraphError, match="no parameter has a gradient"):
                opt.step()
            return
        opt.step()
        now = self.clock()
        for _, node in trained.values():
            if node.grad is not None:
                node.value, node.changed = node.value - rate * node.grad, now

    @invariant()
    def they_agree(self):
        for t, node in self.pairs:
            np.testing.assert_allclose(t.data, node.value, rtol=1e-9, atol=1e-12)
            assert t.requires_grad == node.needs
            if not node.inputs:
                assert (t.grad is None) == (node.grad is None)
                if node.grad is not None:
                    np.testing.assert_allclose(t.grad, node.grad, rtol=1e-8, atol=1e-9)


def play(examples, **options):
    run_state_machine_as_test(Graphs, settings=settings(
        max_examples=examples, stateful_step_count=30, derandomize=True, deadline=None,
        database=None, suppress_health_check=list(HealthCheck), **options))


@pytest.mark.parametrize("examples", [40, pytest.param(2_000, marks=pytest.mark.drill)])
def test_graphs_do_what_the_model_says(examples):
    play(examples)


@pytest.mark.parametrize(("thing", "name", "wrong"), [
    (tg.tensor, "changed_in_place", lambda *_: GraphError("something else")),
    (tg.tensor, "_hooked", lambda z, g: g),
    (tg.tensor, "history", lambda end, since=-1: [end]),
], ids=["what was changed", "hooks", "the history"])
def test_the_machine_finds_what_is_wrong(monkeypatch, thing, name, wrong):
    monkeypatch.setattr(thing, name, wrong)
    with pytest.raises((AssertionError, GraphError)):
        play(60, phases=[Phase.generate], report_multiple_bugs=False)
