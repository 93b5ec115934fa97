"""`detect_nonfinite`: it stops at the first operation whose result is not finite."""

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn, optim
from tinygrad_opt.errors import GraphError, NonFiniteError


def leaf(values, name=None):
    return tg.Tensor(values, requires_grad=True, name=name)


def test_forward_it_names_operation_line_shapes_ranges_and_a_cure():
    x = leaf([[1.0, 0.0], [3.0, 0.5]], "x")
    with tg.detect_nonfinite(), pytest.raises(NonFiniteError) as error:
        np.tanh(np.log(x)).sum()                                           # asked here
    said = str(error.value)
    for part in ("log gives -inf in 1 of 4 entries, first at [0, 1], in the forward pass (line",
                 "np.tanh(np.log(x)).sum()", "# asked here", "x (2, 2) from 0 to 3", "add 1e-7"):
        assert part in said


@pytest.mark.parametrize(("function", "values", "words"), [
    (np.sqrt, [0.0, 4.0], r"sqrt passes back to x \(2,\) holds inf in 1 of 2 .* first at \[0\], in"
                          r" the backward pass \(sqrt is in line \d+: loss = .*from 1 to 1.*1e-12"),
    (lambda x: x ** 0.5, [0.0, 4.0], "power passes back to x"),
    (lambda x: np.concatenate([x, np.arccos(x)]), [1.0, 0.0], "arccos passes back to x"),
])
def test_backward_it_names_the_operation_and_the_line_of_its_forward_pass(function, values, words):
    x = leaf(values, "x")
    with tg.detect_nonfinite():
        loss = function(x).sum()
        with pytest.raises(NonFiniteError, match=words):
            loss.backward()
    assert x.grad is None


@pytest.mark.parametrize(("holds", "words"), [
    ("data", r"\(3, 2\) from 1 to 1 beside 1 that .* \(3, 2\) held it before: look at the data"),
    ("weight", r"layers.0.weight \(2, 4\) held it before: the step that wrote it went wrong"),
])
def test_what_came_in_is_told_from_what_was_made(holds, words):
    x, model = np.ones((3, 2), np.float32), nn.MLP([2, 4, 3], rng=0)
    (x if holds == "data" else model.layers[0].weight.data)[0, 0] = np.nan
    with tg.detect_nonfinite(), pytest.raises(NonFiniteError, match=words):
        model(x)


def test_masks_of_minus_infinity_are_no_fault_if_it_is_said():
    x = leaf([[1.0, 2.0]])
    mask = np.array([[True, False]])
    with tg.detect_nonfinite(infinite=False):
        nn.softmax(np.where(mask, x, -np.inf)).sum().backward()
        with pytest.raises(NonFiniteError, match="subtract gives nan"):
            (x * np.inf) - (x * np.inf)
    with tg.detect_nonfinite(), pytest.raises(NonFiniteError, match="where gives -inf"):
        np.where(mask, x, -np.inf)


def step_of(model, opt):
    def step(x, y):
        loss = nn.cross_entropy(model(x), y)
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss
    return step


def state(watch, make, compiled=False):
    """Losses, gradients and weights after five steps in the block, or outside."""
    model = make()
    opt = optim.Adam(model.parameters(), lr=0.01)
    step = tg.compile(step_of(model, opt)) if compiled else step_of(model, opt)
    x, y = np.random.default_rng(0).normal(size=(6, 1, 8, 8)), np.arange(6) % 3
    if watch:
        step = tg.detect_nonfinite()(step)
    losses = [float(step(x, y)) for _ in range(5)]
    gradients = [p.grad.tobytes() for p in model.parameters().values()]
    return losses, gradients, {k: v.tobytes() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("make", [
    lambda: nn.Sequential(nn.Flatten(), nn.MLP([64, 8, 3], norm="batch", dropout=0.3, rng=0)),
    lambda: nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(),
                          nn.Linear(18, 3, rng=0)),
], ids=["mlp", "cnn"])
def test_what_is_finite_goes_as_it_would_without(make, compiled):
    assert state(True, make, compiled) == state(False, make)


def test_values_may_be_looked_at_and_saved_inside():
    model = nn.Linear(2, 1, rng=0)
    opt = optim.SGD(model.parameters())
    with tg.detect_nonfinite():
        loss = np.square(model(np.ones((3, 2)))).mean()
        loss.backward()
        assert float(loss) == loss.item() == loss.data
        assert repr(model.weight.grad) and repr(loss)
        kept = model.state_dict(), opt.state_dict()
        model.load_state_dict(kept[0])
        opt.load_state_dict(kept[1])


def test_derivatives_of_derivatives_are_looked_at_too():
    with tg.detect_nonfinite(), pytest.raises(NonFiniteError, match=r"power passes back to"):
        tg.grad(tg.grad(lambda x: x ** 1.5))(np.array(0.0))


def test_a_fit_inside_stops_and_is_otherwise_the_same():
    def run():
        model = nn.MLP([2, 8, 3], dropout=0.3, rng=0)
        x, y = tg.data.spiral(20, 3, rng=0)
        history = tg.fit(model, x, y, loss="cross_entropy", progress=False, seed=0, epochs=3)
        return history["loss"], history.steps

    with tg.detect_nonfinite():
        watched = run()
        x = np.ones((9, 2))
        x[4] = np.inf
        with pytest.raises(NonFiniteError, match="look at the data"):
            tg.fit(nn.Linear(2, 1, rng=0), x, np.ones((9, 1)), loss="mse", progress=False,
                   compile=True)
    assert watched == run()


def test_the_block_ends_with_the_block_and_nests():
    bad = leaf([0.0])
    with np.errstate(all="ignore"):
        with tg.detect_nonfinite():
            with tg.detect_nonfinite(infinite=False):
                np.log(bad)
            with pytest.raises(NonFiniteError):
                np.log(bad)
        np.log(bad)


def test_inside_a_compiled_step_it_is_refused():
    @tg.compile
    def step(x):
        with tg.detect_nonfinite():
            return np.exp(tg.Tensor(x))

    with pytest.raises(GraphError, match="put it around the calls"):
        step(np.ones(3))


def test_it_cannot_decorate_what_runs_later():
    with pytest.raises(TypeError, match=r"detect_nonfinite\(\) cannot decorate steps"):
        @tg.detect_nonfinite()
        def steps():
            yield
