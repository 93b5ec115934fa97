"""Losses: extreme inputs, refusals, reductions and penalties."""

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn

PAIRS = {
    "mse_loss": nn.mse_loss,
    "l1_loss": nn.l1_loss,
    "huber_loss": nn.huber_loss,
    "hinge_loss": nn.hinge_loss,
    "binary_cross_entropy": nn.binary_cross_entropy,
    "binary_cross_entropy_with_logits": nn.binary_cross_entropy_with_logits,
    "kl_div": nn.kl_div,
}


def leaf(values, dtype="f8"):
    return tg.Tensor(np.array(values, dtype), requires_grad=True)


# ---- shapes, reductions, dtypes ------------------------------------------------------------------


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shapes", [((4, 1), (4,)), ((4,), (4, 1)), ((4,), (3,)), ((4,), ())])
def test_shapes_that_differ_are_an_error_and_not_broadcast(name, shapes):
    x, y = np.ones(shapes[0]), np.ones(shapes[1])
    with pytest.raises(tg.ShapeError, match=rf"{name} of shapes .*: they must be the same") as e:
        PAIRS[name](tg.Tensor(x), y)
    cure = {((4, 1), (4,)): r"prediction[..., 0]", ((4,), (4, 1)): r"target[..., 0]"}.get(shapes)
    assert cure in str(e.value) if cure else str(e.value).endswith("the same.")
    with pytest.raises(tg.ShapeError, match=r"the same\. Reshape one of them\."):
        PAIRS[name](tg.Tensor(np.ones((2, 3))), np.ones((3, 2)))


@pytest.mark.parametrize("name", PAIRS)
def test_reductions_belong_together_and_others_are_refused(name):
    x, y = np.array([0.2, 0.7, 0.4]), np.ones(3)
    each = PAIRS[name](x, y, reduction="none")
    assert each.shape == (3,)
    assert PAIRS[name](x, y, reduction="sum").item() == pytest.approx(each.data.sum())
    assert PAIRS[name](x, y, reduction="mean").item() == pytest.approx(each.data.mean())
    with pytest.raises(ValueError, match='reduction is "mean", "sum" or "none", got \'avg\''):
        PAIRS[name](x, y, reduction="avg")
    with pytest.raises(tg.ShapeError, match="no losses to take the mean of"):
        PAIRS[name](np.ones(0), np.ones(0), reduction="mean")


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_raw_target_takes_the_dtype_of_the_prediction(name, dtype):
    x = leaf([0.2, 0.7], dtype)
    for y in (np.ones(2), np.ones(2, "f4"), np.ones(2, int), [1, 1]):
        loss = PAIRS[name](x, y)
        assert loss.dtype == x.dtype
    loss.backward()
    assert x.grad.dtype == x.dtype
    target = leaf([1.0, 1.0], dtype)
    assert PAIRS[name](np.array([0.2, 0.7]), target).dtype == x.dtype


def test_cross_entropy_stays_in_float32_on_every_path():
    x = leaf([[1.0, 2.0], [0.0, 1.0]], "f4")
    for options in ({}, {"label_smoothing": 0.1}, {"weight": [1.0, 2.0]}, {"ignore_index": 5},
                    {"reduction": "sum"}):
        assert nn.cross_entropy(x, [0, 1], **options).dtype == np.float32
    assert nn.cross_entropy(x, np.array([[0.5, 0.5], [0.0, 1.0]])).dtype == np.float32
    assert nn.nll_loss(x, [0, 1]).dtype == np.float32


# ---- classes -------------------------------------------------------------------------------------

CALLS = {
    "plain": lambda x, y: nn.cross_entropy(x, y),
    "sum": lambda x, y: nn.cross_entropy(x, y, reduction="sum"),
    "smooth": lambda x, y: nn.cross_entropy(x, y, label_smoothing=0.1),
    "weighted": lambda x, y: nn.cross_entropy(x, y, weight=np.ones(3)),
    "ignoring": lambda x, y: nn.cross_entropy(x, y, ignore_index=9),
    "nll": lambda x, y: nn.nll_loss(x, y),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("bad", [-1, 3])
def test_labels_out_of_range_are_an_error_on_both_sides(name, bad):
    with pytest.raises(IndexError, match=rf"label.*{bad}.*classes.*0 to 2"):
        CALLS[name](leaf(np.zeros((2, 3))), np.array([0, bad]))


@pytest.mark.parametrize("name", CALLS)
def test_labels_of_another_shape_or_kind_are_an_error(name):
    call, x = CALLS[name], leaf(np.zeros((2, 3)))
    for labels in (np.zeros((2, 1), int), np.zeros(3, int), np.zeros((), int)):
        with pytest.raises(tg.ShapeError, match=r"shape \(n, classes\) and labels shape \(n,\)"):
            call(x, labels)
    with pytest.raises(tg.ShapeError, match="logits need shape"):
        call(leaf(np.zeros(3)), np.array([0, 1, 2]))
    with pytest.raises(TypeError, match=r"labels must be integers, got (float64|bool)"):
        call(x, np.array([0.0, 1.0]) if name != "sum" else np.array([False, True]))


def test_a_class_weight_for_each_class_is_needed():
    with pytest.raises(tg.ShapeError, match=r"weight needs shape \(3,\), one number per class"):
        nn.cross_entropy(np.zeros((2, 3)), [0, 1], weight=[1.0, 2.0])


def test_the_mean_of_no_sample_is_an_error():
    with pytest.raises(tg.ShapeError, match="no sample counts"):
        nn.cross_entropy(np.zeros((2, 3)), [9, 9], ignore_index=9)
    with pytest.raises(tg.ShapeError, match="no sample counts"):
        nn.cross_entropy(np.zeros((0, 3)), np.zeros(0, int))
    assert nn.cross_entropy(np.zeros((2, 3)), [9, 9], ignore_index=9, reduction="sum").item() == 0


def test_an_ignored_sample_has_no_gradient_whatever_its_logits():
    x = leaf([[1.0, 2.0], [5.0, -7.0], [0.0, 3.0]])
    nn.cross_entropy(x, [0, -100, 1], ignore_index=-100).backward()
    assert x.grad[0].all() and x.grad[2].all() and not x.grad[1].any()


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"weight": [1.0, 2.0]}])
def test_cross_entropy_is_safe_at_extreme_logits(options):
    x = leaf([[1e4, -1e4], [-1e4, 1e4], [3e38, -3e38]])
    loss = nn.cross_entropy(x, [0, 0, 0], **options)
    loss.backward()
    assert np.isfinite(loss.data) and np.isfinite(x.grad).all()
    assert nn.cross_entropy([[1000.0, 0.0]], [1]).item() == 1000


def test_a_class_that_is_masked_out_costs_nothing():
    x = leaf([[0.0, 1.0, -np.inf]])
    for loss in (nn.cross_entropy(x, [0]), nn.cross_entropy(x, [0], weight=[1.0, 1.0, 1.0]),
                 nn.cross_entropy(x, np.array([[1.0, 0.0, 0.0]]))):
        x.grad = None
        loss.backward()
        assert loss.item() == pytest.approx(np.log(1 + np.e))
        assert np.isfinite(x.grad).all() and x.grad[0, 2] == 0


def test_cross_entropy_scales_with_the_gradient_above_it():
    x = leaf([[1.0, 2.0], [0.0, 1.0]])
    nn.cross_entropy(x, [0, 1]).backward()
    once = x.grad
    x.grad = None
    (nn.cross_entropy(x, [0, 1]) * 10).backward()
    np.testing.assert_allclose(x.grad, 10 * once)


def test_options_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match=r"label_smoothing is in \[0, 1\], got 1\.5"):
        nn.cross_entropy(np.zeros((1, 2)), [0], label_smoothing=1.5)
    with pytest.raises(ValueError, match="ignore_index goes with class indices"):
        nn.cross_entropy(np.zeros((1, 2)), [[0.5, 0.5]], ignore_index=1)
    with pytest.raises(tg.ShapeError, match=r"cross_entropy of shapes \(1, 2\) and \(1, 3\)"):
        nn.cross_entropy(np.zeros((1, 2)), np.ones((1, 3)) / 3)


def test_kl_div_of_a_distribution_from_itself_is_nothing_and_zeros_cost_nothing():
    p = np.array([[0.2, 0.8], [0.0, 1.0]])
    with np.errstate(divide="ignore"):
        assert nn.kl_div(tg.Tensor(np.log(p)), p).item() == pytest.approx(0)
    with pytest.raises(ValueError, match="targets are probabilities, got a negative one"):
        nn.kl_div(np.log([[0.5, 0.5]]), np.log([[0.5, 0.5]]))


# ---- two classes and numbers ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_binary_cross_entropy_with_logits_is_exact_in_both_tails(dtype):
    x = leaf([20.0, -20.0, 80.0, -80.0, 1000.0, -1000.0, 1000.0], dtype)
    losses = nn.binary_cross_entropy_with_logits(x, [1, 0, 1, 0, 0, 1, 1], reduction="none")
    small, tiny = np.log1p(np.exp(-20.0)), np.exp(-80.0)
    np.testing.assert_allclose(losses.data, [small, small, tiny, tiny, 1000, 1000, 0], rtol=1e-6)
    losses.sum().backward()
    slope = np.exp(-20.0) / (1 + np.exp(-20.0))
    np.testing.assert_allclose(x.grad, [-slope, slope, -tiny, tiny, 1, -1, 0], rtol=1e-6)


def test_huber_loss_does_not_square_an_outlier():
    x = leaf([1e30, -1e30], "f4")
    loss = nn.huber_loss(x, np.zeros(2), delta=2.0)
    loss.backward()
    assert loss.item() == pytest.approx(2e30)
    assert x.grad.tolist() == [1.0, -1.0]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: nn.binary_cross_entropy([1.5], [1]), r"\[0, 1\], they go from 1.5 to 1.5.*logits"),
    (lambda: nn.binary_cross_entropy([float("nan")], [1]), r"predictions must be in \[0, 1\]"),
    (lambda: nn.binary_cross_entropy([0.5], [2]), r"targets must be in \[0, 1\]"),
    (lambda: nn.binary_cross_entropy_with_logits([0.5], [-1]), r"targets must be in \[0, 1\]"),
    (lambda: nn.hinge_loss([0.5], [0]), r"targets are -1 and 1.*2 \* y - 1"),
    (lambda: nn.cosine_embedding_loss([[1.0]], [[1.0]], [0]), "targets are -1 and 1"),
    (lambda: nn.cosine_embedding_loss([[1.0]], [[1.0]], [1, 1]), r"targets of shape \(n,\), got"),
    (lambda: nn.huber_loss([1.0], [1.0], delta=0), "delta must be positive, got 0"),
])
def test_targets_and_options_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ---- penalties -----------------------------------------------------------------------------------


def test_penalties_add_up_what_the_pattern_names():
    model = nn.MLP([2, 3, 1], rng=0)
    p = model.parameters()
    weights = [p["layers.0.weight"].data, p["layers.1.weight"].data]
    for q in p.values():
        q.data += 0.5
    l1, l2 = nn.l1_penalty(p, 0.1, "*weight"), nn.l2_penalty(p, 0.1, "*weight")
    assert l1.item() == pytest.approx(0.1 * sum(np.abs(w).sum() for w in weights), rel=1e-6)
    assert l2.item() == pytest.approx(0.1 * sum((w * w).sum() for w in weights), rel=1e-6)
    (l1 + l2).backward()
    assert p["layers.0.bias"].grad is None
    np.testing.assert_allclose(
        p["layers.0.weight"].grad, 0.1 * np.sign(weights[0]) + 0.2 * weights[0], rtol=1e-5)
    assert nn.l2_penalty(p, 1.0).item() > l2.item() * 10
    with pytest.raises(ValueError, match=r"no parameter matches '\*gamma'"):
        nn.l1_penalty(p, 0.1, "*gamma")


# ---- dtypes and weights --------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "expected"), [
    (nn.mse_loss, 190.0**2), (nn.l1_loss, 190.0), (nn.huber_loss, 189.5),
    (lambda x, y: nn.hinge_loss(x, y // y, margin=300), 290.0),
    (lambda x, y: nn.mse_loss(y, x), 190.0**2),
])
@pytest.mark.parametrize("kinds", ["uint8 uint8", "uint8 int64", "float32 uint8", "uint8 float32"])
def test_integers_become_floats_before_anything_is_computed(loss, expected, kinds):
    first, second = kinds.split()
    x, y = np.array([10], first), np.array([200], second)
    for given in ((tg.Tensor(x), tg.Tensor(y)), (tg.Tensor(x), y), (x, tg.Tensor(y)), (x, y)):
        result = loss(*given)
        assert result.item() == expected and result.dtype == np.float32


@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "huber_loss", "kl_div",
                                  "binary_cross_entropy_with_logits", "cross_entropy"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("raw", ["float16", "float32", "float64"])
def test_raw_arrays_take_the_dtype_of_the_tensor_beside_them(name, dtype, raw):
    x = tg.Tensor(np.array([[0.25, 0.75]], dtype), requires_grad=True)
    y = np.array([[0.5, 0.5]], raw)
    loss = getattr(nn, name)
    assert loss(x, y).dtype == dtype
    assert nn.cross_entropy(x, [0], weight=np.ones(2, raw)).dtype == dtype
    assert nn.binary_cross_entropy_with_logits(x, y, pos_weight=np.ones(2, raw)).dtype == dtype
    if name != "cross_entropy":
        assert loss(y, x).dtype == dtype


def test_huber_loss_is_a_parabola_at_its_lowest_point_too():
    for delta in (0.5, 1.0):
        second = tg.hessian(lambda x, d=delta: nn.huber_loss(x, np.zeros(1), delta=d))
        assert second(np.zeros(1)).item() == 1
        assert second(np.array([0.3])).item() == 1
        assert second(np.array([3.0])).item() == 0


@pytest.mark.parametrize("loss", [
    lambda x, w: nn.binary_cross_entropy_with_logits(x, np.eye(3), pos_weight=w),
    lambda x, w: nn.cross_entropy(x, [0, 2, 1], weight=w),
    lambda x, w: nn.cross_entropy(x, [0, 2, 1], weight=w, reduction="sum"),
    lambda x, w: nn.cross_entropy(x, [0, 2, 1], weight=w, label_smoothing=0.1, ignore_index=2),
    lambda x, w: nn.cross_entropy(x, np.full((3, 3), 1 / 3), weight=w),
    lambda x, w: nn.nll_loss(nn.log_softmax(x), [0, 2, 1], weight=w, reduction="none"),
])
def test_a_tensor_as_weight_gets_its_gradient(loss):
    x, w = np.arange(9.0).reshape(3, 3) / 7, np.array([0.5, 1.0, 2.0])
    assert tg.gradcheck(loss, x, w).ok
    given = tg.Tensor(w, requires_grad=True)
    loss(tg.Tensor(x), given).sum().backward()
    assert given.grad is not None and given.grad.any()
