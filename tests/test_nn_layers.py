"""Layers: what they compute, in which dtype, from which random numbers, and what they refuse."""

import pickle

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.compiler.bound import Notes
from tinygrad_opt.errors import ShapeError
from tinygrad_opt.nn import recurrent


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# Each layer: how to make it, and an input.
LAYERS = {
    "Linear": (lambda **k: nn.Linear(3, 2, **k), normal(5, 3)),
    "MLP": (lambda **k: nn.MLP([3, 4, 2], "tanh", **k), normal(5, 3)),
    "Conv1d": (lambda **k: nn.Conv1d(2, 3, 2, **k), normal(2, 2, 5)),
    "Conv2d": (lambda **k: nn.Conv2d(2, 3, 2, padding=1, **k), normal(2, 2, 4, 3)),
    "Embedding": (lambda **k: nn.Embedding(7, 2, **k), np.array([[0, 6, 0]])),
    "RNN": (lambda **k: nn.RNN(3, 2, **k), normal(2, 4, 3)),
    "GRU": (lambda **k: nn.GRU(3, 2, **k), normal(2, 4, 3)),
    "LSTM": (lambda **k: nn.LSTM(3, 2, **k), normal(2, 4, 3)),
}
DRAWN = [*LAYERS]
LAYERS["LayerNorm"] = (lambda **k: nn.LayerNorm(3, **k), normal(5, 3))
LAYERS["BatchNorm1d"] = (lambda **k: nn.BatchNorm1d(3, **k), normal(5, 3))


def first(result):
    return result[0] if isinstance(result, tuple) else result


# ---- dtype and randomness ------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_raw_array_takes_the_dtype_of_the_layer(name, dtype):
    make, x = LAYERS[name]
    layer = make(dtype=dtype)
    assert {a.dtype.name for a in layer.state_dict().values()} == {dtype}
    other = np.float64 if dtype == "float32" else np.float32
    assert first(layer(x if x.dtype.kind == "i" else x.astype(other))).dtype == dtype
    assert first(layer(x.tolist())).dtype == dtype


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_are_float32_unless_the_default_is_another(name):
    make, _ = LAYERS[name]
    assert {p.dtype.name for p in make().parameters().values()} == {"float32"}
    tg.set_default_dtype("float64")
    try:
        assert {a.dtype.name for a in make().state_dict().values()} == {"float64"}
    finally:
        tg.set_default_dtype("float32")


@pytest.mark.parametrize("name", DRAWN)
def test_the_same_seed_gives_the_same_parameters_in_either_dtype(name):
    make, _ = LAYERS[name]
    a, b = make(rng=3).state_dict(), make(rng=3).state_dict()
    wide, other = make(rng=3, dtype="f8").state_dict(), make(rng=4).state_dict()
    assert all((a[k] == b[k]).all() for k in a)
    assert all((a[k] == wide[k].astype("f4")).all() for k in a)
    assert any((a[k] != other[k]).any() for k in a)
    values = [k for k in a if a[k].any()]
    assert len({a[k].flat[0] for k in values}) == len(values)      # no stream was drawn twice


@pytest.mark.parametrize("name", DRAWN)
def test_without_rng_the_package_generator_draws_and_seed_starts_it_anew(name):
    make, _ = LAYERS[name]
    tg.seed(5)
    a, b = make().state_dict(), make().state_dict()
    tg.seed(5)
    again = make().state_dict()
    assert all((a[k] == again[k]).all() for k in a)
    assert any((a[k] != b[k]).any() for k in a)


def test_a_generator_moves_on_from_layer_to_layer():
    rng = np.random.default_rng(0)
    assert (nn.Linear(2, 2, rng=rng).weight.data != nn.Linear(2, 2, rng=rng).weight.data).all()


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_trains_after_a_round_trip_through_pickle(name):
    make, x = LAYERS[name]
    layer = make()
    twin = pickle.loads(pickle.dumps(layer))
    assert (first(layer(x)).data == first(twin(x)).data).all()
    (first(twin(x)) ** 2).sum().backward()
    assert all(p.grad is not None for p in twin.parameters().values())


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradients_of_a_layer_agree_with_finite_differences(name):
    make, x = LAYERS[name]
    layer = make(dtype="f8")
    parameters = list(layer.parameters().values())

    def f(*values):
        for p, v in zip(parameters, values, strict=False):
            p._array = v._array
        return first(layer(x if x.dtype.kind == "i" else values[-1]))

    seed = normal(*first(layer(x)).shape, seed=1)
    inputs = [np.array(p.data) for p in parameters] + ([] if x.dtype.kind == "i" else [x])
    t = tg.Tensor(x, requires_grad=x.dtype.kind == "f")
    (first(layer(t)) * seed).sum().backward()
    analytic = [p.grad for p in parameters] + ([] if x.dtype.kind == "i" else [t.grad])
    for k, (value, slope) in enumerate(zip(inputs, analytic, strict=True)):
        direction = normal(*value.shape, seed=9)
        ends = []
        for step in (1e-6, -1e-6):
            moved = list(inputs)
            moved[k] = value + step * direction
            ends.append(float((f(*map(tg.Tensor, moved)).data * seed).sum()))
        assert (slope * direction).sum() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5)


SECOND = {
    "layer norm": (lambda x: nn.layer_norm(x, shape=(3,)), normal(2, 3)),
    "batch norm": (lambda x: nn.batch_norm(x, training=True), normal(4, 2)),
    "conv2d": (lambda x: nn.conv2d(x * x, tg.Tensor(normal(2, 1, 2, 2)), padding=1),
               normal(1, 1, 3, 2)),
    "max pool": (lambda x: nn.max_pool2d(x * x, 2, stride=1), normal(1, 1, 3, 3)),
    "binary cross entropy": (lambda x: nn.binary_cross_entropy(
        np.exp(-x * x), np.array([0.0, 0.3, 1.0])), np.array([0.5, 1.0, 1.5])),
    "with logits": (lambda x: nn.binary_cross_entropy_with_logits(
        x, np.array([0.0, 0.3, 1.0]), pos_weight=[2.0, 3.0, 4.0]), np.array([-2.0, 0.0, 3.0])),
    "smooth cross entropy": (lambda x: nn.cross_entropy(
        x, [0, 2], label_smoothing=0.1, weight=[1.0, 2.0, 3.0]), normal(2, 3)),
    "huber": (lambda x: nn.huber_loss(x, np.zeros(4)), np.array([-3.0, -0.5, 0.4, 2.0])),
}


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives_agree_with_finite_differences(name):
    f, x = SECOND[name]
    slope = tg.grad(lambda x: (f(x) * f(x)).sum())
    assert tg.gradcheck(lambda x: slope(x), x, eps=1e-5)


# ---- linear layers and networks ------------------------------------------------------------------


def test_linear_is_x_times_w_plus_b():
    layer = nn.Linear(2, 3, rng=0)
    x = normal(4, 2).astype("f4")
    np.testing.assert_array_equal(layer(x).data, x @ layer.weight.data + layer.bias.data)
    assert layer(x[0]).shape == (3,)
    assert nn.Linear(2, 3, False).bias is None


def test_linear_starts_within_one_over_the_root_of_its_inputs():
    layer = nn.Linear(100, 400, rng=0)
    for p in (layer.weight.data, layer.bias.data):
        assert 0.095 < np.abs(p).max() <= 0.1
    zero = nn.Linear(3, 2, init="orthogonal", rng=0)
    assert not zero.bias.data.any() and zero.weight.data.any()
    assert not nn.Linear(3, 2, init=0).weight.data.any()


@pytest.mark.parametrize(("activation", "spread"), [
    ("relu", np.sqrt(2 / 300)), ("gelu", np.sqrt(2 / 300)), (nn.ReLU(), np.sqrt(2 / 300)),
    ("tanh", 5 / 3 * np.sqrt(2 / 700)), ("sigmoid", np.sqrt(2 / 700)),
    (np.tanh, 5 / 3 * np.sqrt(2 / 700)), (lambda x: x, np.sqrt(2 / 700)),
])
def test_an_mlp_starts_as_suits_its_activation(activation, spread):
    model = nn.MLP([300, 400, 100], activation, rng=0)
    assert model.layers[0].weight.data.std() == pytest.approx(spread, rel=0.01)
    assert model.layers[1].weight.data.std() == pytest.approx(np.sqrt(2 / 500), rel=0.01)
    assert not any(layer.bias.data.any() for layer in model.layers)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_signals_neither_die_nor_explode_in_a_deep_mlp(activation):
    model = nn.MLP([200] * 12, activation, rng=0)
    spread = model(normal(100, 200)).data.std()
    assert 0.1 < spread < 10


def test_an_mlp_takes_names_functions_and_modules_as_activation():
    x = normal(4, 2)
    results = [nn.MLP([2, 5, 1], a, init="kaiming_uniform", rng=0)(x).data
               for a in ("relu", nn.relu, nn.ReLU(), tg.ops.relu)]
    assert all((r == results[0]).all() for r in results)
    with pytest.raises(ValueError, match=r"no activation 'rellu'; did you mean 'relu'"):
        nn.MLP([2, 1], "rellu")


HALF = {
    "LayerNorm": lambda dtype: nn.LayerNorm(40, dtype=dtype),
    "LayerNorm without affine": lambda dtype: nn.LayerNorm(40, affine=False, dtype=dtype),
    "RMSNorm": lambda dtype: nn.RMSNorm(40, eps=1e-3, dtype=dtype),
    "BatchNorm1d": lambda dtype: nn.BatchNorm1d(40, dtype=dtype),
}


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("name", HALF)
def test_squares_do_not_overflow_where_float16_is_normalised(name, record):
    def run(dtype):
        layer, t = HALF[name](dtype), tg.Tensor(x.astype(dtype), requires_grad=True)
        z = layer(t)
        (z * weights.astype(dtype)).sum().backward(create_graph=record)
        assert z.dtype == t.grad.dtype == dtype
        return np.stack([z.data, getattr(t.grad, "data", t.grad) * np.asarray(300, dtype)])

    x, weights = (300 * normal(30, 40)).astype(np.float16), normal(30, 40, seed=1)
    assert np.allclose(run(np.float16), run(np.float32), rtol=0.02, atol=0.01)


def test_an_mlp_normalises_then_activates_then_drops_and_leaves_its_output_alone():
    model = nn.MLP([2, 6, 1], "relu", norm="layer", dropout=0.5, output="sigmoid", rng=0)
    assert list(model.parameters()) == ["layers.0.weight", "layers.0.bias", "layers.1.weight",
                                        "layers.1.bias", "norms.0.weight", "norms.0.bias"]
    x = normal(50, 2)
    model.eval()
    hidden = nn.relu(model.norms[0](model.layers[0](x)))
    expected = nn.sigmoid(model.layers[1](hidden)).data
    np.testing.assert_array_equal(model(x).data, expected)
    assert (model.train()(x).data != expected).any()
    shallow = nn.MLP([2, 1], norm="batch", dropout=0.5, rng=0)
    assert (shallow(x).data == shallow(x).data).all()


@pytest.mark.parametrize(("sizes", "message"), [
    ([3], r"numbers of inputs and of outputs at least, got \[3\]"),
    ([], "at least"),
    (3, "got 3"),
    ("23", "got '23'"),
    ([2, 0, 1], r"sizes\[1\] must be a positive integer, got 0"),
    ([2, 3.5, 1], r"sizes\[1\] must be a positive integer, got 3\.5"),
    ([True, 1], r"sizes\[0\] must be a positive integer, got True"),
])
def test_an_mlp_refuses_sizes_that_make_no_sense(sizes, message):
    with pytest.raises(ValueError, match=message):
        nn.MLP(sizes)


def test_an_mlp_refuses_an_unknown_norm():
    with pytest.raises(ValueError, match='norm is None, "layer" or "batch", got \'group\''):
        nn.MLP([2, 2], norm="group")


@pytest.mark.parametrize(("make", "message"), [
    (lambda: nn.Linear(0, 2), "Linear: in_features must be a positive integer, got 0"),
    (lambda: nn.Linear(2, "3"), "Linear: out_features must be a positive integer, got '3'"),
    (lambda: nn.Bilinear(1, -1, 1), "Bilinear: in2_features must be a positive integer, got -1"),
    (lambda: nn.Conv2d(1, 0, 3), "Conv2d: out_channels must be a positive integer, got 0"),
    (lambda: nn.Conv2d(1, 1, (3, 3, 3)), "Conv2d: size needs 2 whole numbers"),
    (lambda: nn.Conv1d(1, 1, 3, stride=0), "Conv1d: stride needs 1 whole numbers of at least 1"),
    (lambda: nn.Conv1d(1, 1, 3, padding=-1), "Conv1d: padding needs 1 whole numbers of at least 0"),
    (lambda: nn.Embedding(3, 0), "Embedding: features must be a positive integer, got 0"),
    (lambda: nn.GRU(3, 0), "GRU: hidden must be a positive integer, got 0"),
    (lambda: nn.LayerNorm(3, 4), r"second argument is eps.*got 4\. .* LayerNorm\(\(3, 4\)\)"),
    (lambda: nn.RMSNorm((2, 3), 4), r"one tuple: RMSNorm\(\(2, 3, 4\)\)"),
    (lambda: nn.LayerNorm(0), r"LayerNorm: shape\[0\] must be a positive integer, got 0"),
    (lambda: nn.Dropout(1.5), r"p is a probability, in \[0, 1\], got 1\.5"),
    (lambda: nn.Dropout(float("nan")), "p is a probability"),
    (lambda: nn.GELU("erf")(1.0), 'approximate is "none" or "tanh", got \'erf\''),
    (lambda: nn.Linear(2, 2, init="kaiming"), "no initialiser 'kaiming'; did you mean"),
    (lambda: nn.Linear(2, 2, init=lambda shape, rng: np.zeros(3)), r"gave shape \(3,\), not \(2"),
])
def test_a_layer_refuses_what_makes_no_sense(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sequential_takes_any_functions_and_slices():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), np.tanh, nn.Linear(3, 1, rng=1))
    x = normal(4, 2)
    assert len(model) == 3 and list(model)[1] is np.tanh and model[-1] is model[2]
    np.testing.assert_array_equal(model(x).data, model[1:](model[:1](x)).data)
    with pytest.raises(TypeError, match=r"got the class ReLU: make one, ReLU\(\.\.\.\)"):
        nn.Sequential(nn.Linear(2, 3), nn.ReLU)
    with pytest.raises(TypeError, match="takes layers one by one, got list"):
        nn.Sequential([nn.ReLU()])


def test_flatten_keeps_the_first_axes_also_of_an_empty_batch():
    assert nn.flatten(np.zeros((2, 3, 4))).shape == (2, 12)
    assert nn.flatten(np.zeros((0, 3, 4))).shape == (0, 12)
    assert nn.Flatten(2)(np.zeros((2, 3, 4, 5))).shape == (2, 3, 20)
    assert nn.flatten(np.zeros((2, 3)), 0).shape == (6,)
    with pytest.raises(tg.ShapeError, match=r"flatten from axis 3: the input has shape \(2, 3\)"):
        nn.flatten(np.zeros((2, 3)), 3)


# ---- dropout and normalisation -------------------------------------------------------------------


def test_dropout_zeroes_a_share_and_scales_the_rest_with_the_gradient_alike():
    x = tg.Tensor(np.full(20_000, 3.0), requires_grad=True)
    y = nn.Dropout(0.3, rng=0)(x)
    kept = y.data != 0
    assert kept.mean() == pytest.approx(0.7, abs=0.02)
    np.testing.assert_allclose(y.data[kept], 3 / 0.7)
    y.sum().backward()
    np.testing.assert_allclose(x.grad, np.where(kept, 1 / 0.7, 0))


def test_dropout_draws_anew_each_time_and_rests_in_evaluation():
    layer = nn.Dropout(0.5, rng=0)
    x = tg.Tensor(np.ones(100))
    assert (layer(x).data != layer(x).data).any()
    assert layer.eval()(x) is x
    assert nn.dropout(x, 0.0) is x
    assert not nn.dropout(x, 1.0).data.any()
    assert not nn.dropout(x * np.inf, 1.0).data.any()


def test_dropout_follows_its_own_seed_or_that_of_the_package():
    x = np.ones(50)
    assert (nn.Dropout(rng=1)(x).data == nn.Dropout(rng=1)(x).data).all()
    layer = nn.Dropout()
    tg.seed(3)
    a = layer(x).data
    tg.seed(3)
    assert (layer(x).data == a).all()


def test_layer_norm_refuses_another_shape():
    with pytest.raises(tg.ShapeError, match=r"layer norm over \(3,\): the input has shape \(2,"):
        nn.LayerNorm(3)(np.zeros((2, 4)))


def test_batch_norm_counts_each_batch_once_whatever_its_dtype():
    # a float64 batch in a float32 layer: the statistics must not move twice
    layer = nn.BatchNorm1d(1, momentum=0.5)
    layer(tg.Tensor(np.array([[0.0], [4.0]])))
    assert layer.running_mean.tolist() == [1.0]
    assert layer.running_var.tolist() == [0.5 + 0.5 * 8]


def test_batch_norm_refuses_one_sample_other_channels_and_other_axes():
    layer = nn.BatchNorm1d(3)
    before = layer.state_dict()
    with pytest.raises(tg.ShapeError, match=r"more than one value per channel.*\(1, 3\).*eval\(\)"):
        layer(np.zeros((1, 3)))
    with pytest.raises(tg.ShapeError, match=r"needs shape \(n, 3, \.\.\.\), got \(5, 2\)"):
        layer(np.zeros((5, 2)))
    with pytest.raises(tg.ShapeError, match=r"needs 2 or 3 axes, got shape \(3,\)"):
        layer(np.zeros(3))
    assert all((layer.state_dict()[k] == before[k]).all() for k in before)
    assert layer.eval()(np.zeros((1, 3))).shape == (1, 3)


# ---- embedding, convolution, recurrence ----------------------------------------------------------


def test_embedding_refuses_indices_out_of_range_on_both_sides_and_floats():
    layer = nn.Embedding(5, 2)
    for bad in (5, -1):
        with pytest.raises(IndexError, match=f"indices go from .*{bad}.*rows from 0 to 4"):
            layer([0, bad])
    with pytest.raises(TypeError, match="indices must be integers, got float64"):
        layer([0.0])
    assert layer(np.zeros((2, 0), int)).shape == (2, 0, 2)
    assert layer([]).shape == (0, 2)


def test_convolution_refuses_what_does_not_fit():
    layer = nn.Conv2d(3, 4, 5)
    with pytest.raises(tg.ShapeError, match=r"Conv2d of \(2, 1, 8, 8\): weight is for 3 channels"):
        layer(np.zeros((2, 1, 8, 8)))
    with pytest.raises(tg.ShapeError, match=r"window of \(5, 5\) does not fit into \(8, 4\)"):
        layer(np.zeros((2, 3, 8, 4)))
    with pytest.raises(tg.ShapeError, match=r"needs shape \(n, channels, height, width\), got"):
        layer(np.zeros((8, 3)))
    with pytest.raises(tg.ShapeError, match=r"max_pool2d needs shape \(n, channels"):
        nn.max_pool2d(np.zeros((2, 2)), 2)
    with pytest.raises(ValueError, match=r"padding \(2, 2\) is more than half of the window"):
        nn.max_pool2d(np.zeros((1, 1, 4, 4)), 2, padding=2)


def test_convolution_of_an_image_with_a_picked_out_pixel_shifts_it():
    w = np.zeros((1, 1, 3, 3))
    w[0, 0, 0, 2] = 1
    x = normal(1, 1, 5, 6)
    z = nn.conv2d(x, tg.Tensor(w), padding=1).data
    np.testing.assert_array_equal(z[0, 0, 1:, :-1], x[0, 0, :-1, 1:])


def test_a_max_pool_over_ties_shares_the_gradient():
    x = tg.Tensor(np.zeros((1, 1, 2, 2)), requires_grad=True)
    nn.max_pool2d(x, 2).sum().backward()
    assert x.grad.tolist() == [[[[0.25, 0.25], [0.25, 0.25]]]]


def test_many_long_rows_are_normalised_as_few_are():
    x, w, b = normal(300, 256), normal(256), normal(256)

    def derivatives(rows):
        leaves = [tg.Tensor(v, requires_grad=True) for v in (x[rows], w, b)]
        z = nn.layer_norm(*leaves)
        z.backward(np.sin(np.arange(x.size)).reshape(x.shape)[rows])
        return [z.data, *(leaf.grad for leaf in leaves)]

    whole, parts = derivatives(slice(None)), [derivatives(slice(i, i + 100)) for i in (0, 100, 200)]
    for join, made, pieces in zip([np.concatenate] * 2 + [sum] * 2, whole, zip(*parts)):
        np.testing.assert_allclose(made, join(pieces), rtol=1e-10, atol=1e-12)


def test_many_long_columns_are_normalised_as_rows_are():
    x, w, b = normal(257, 257), normal(257), normal(257)
    columns = nn.batch_norm(x, None, None, tg.Tensor(w), tg.Tensor(b)).data
    rows = nn.layer_norm(x.T, tg.Tensor(np.ones(257)), tg.Tensor(np.zeros(257))).data.T
    np.testing.assert_allclose(columns, w * rows + b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_sequence_in_two_parts_is_the_sequence_in_one(kind):
    net, x = kind(2, 3, rng=0), normal(4, 6, 2).astype("f4")
    whole, end = net(x)
    left, state = net(x[:, :2])
    right, last = net(x[:, 2:], state)
    np.testing.assert_array_equal(np.concatenate([left.data, right.data], axis=1), whole.data)
    assert (first(last).data == first(end).data).all()
    with pytest.raises(tg.ShapeError, match=r"\(n, time, features\) with at least one step, got"):
        net(x[:, :0])
    with pytest.raises(tg.ShapeError, match=r"weight_ih \(2"):
        net(normal(4, 6, 3))


@pytest.mark.parametrize("time", [5, 1])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_a_sequence_is_its_steps(kind, bias, given, time):
    net = kind(2, 3, bias, dtype=float, rng=0)
    x = tg.Tensor(normal(4, time, 2), requires_grad=True)
    start = [tg.Tensor(normal(4, 3), requires_grad=True) for _ in range(2)]
    state = (tuple(start) if kind is nn.LSTM else start[0]) if given else None
    weights = normal(7, 4, 3)

    def stepped(x, state):
        state, outputs = net.first_state((4,), float) if state is None else state, []
        for t in range(x.shape[1]):
            state = net.step(x[:, t], state)
            outputs.append(first(state))
        return np.stack(outputs, axis=1), state

    def derivatives(run):
        outputs, after = run(x, state)
        ends = after if isinstance(after, tuple) else (after,)
        total = sum((w * end).sum() for w, end in zip(weights[5:], ends))
        total = total + sum((w * outputs[:, t]).sum() for t, w in enumerate(weights[:time]))
        leaves = [x, *start[:len(ends) * given], *net.parameters().values()]
        for leaf in leaves:
            leaf.grad = None
        total.backward(create_graph=True)
        slopes = [leaf.grad for leaf in leaves]
        for leaf in leaves:
            leaf.grad = None
        sum((g * g).sum() for g in slopes).backward()
        return [outputs.data, *(e.data for e in ends), *(g.data for g in slopes),
                *(0 if leaf.grad is None else leaf.grad for leaf in leaves)]

    for whole, steps in zip(derivatives(net), derivatives(stepped), strict=True):
        np.testing.assert_allclose(whole, steps, rtol=1e-10, atol=1e-12)


# Each pass over a sequence: the shapes of its inputs for n samples, and time steps of a state of
# some size.
IN_PLACE = {
    "_rnn": lambda n, time, size: [(time, n, size), (size, size), (n, size)],
    "_rnn without h": lambda n, time, size: [(time, n, size), (size, size)],
    "_rnn_back": lambda n, time, size: [(time, n, size), (time, n, size), (size, size)],
    "_gru_run": lambda n, time, size: [(time, n, 3 * size), (n, size), (size, 3 * size)],
    "_gru_run with b": lambda n, time, size: [
        (time, n, 3 * size), (n, size), (size, 3 * size), (3 * size,)],
    "_gru_back": lambda n, time, size: [
        (time, n, size), (5 * time, n, size), (n, size), (size, 3 * size)],
    "_lstm_run": lambda n, time, size: [
        (time, n, 4 * size), (size, 4 * size), (n, size), (n, size)],
    "_lstm_run without h": lambda n, time, size: [
        (time, n, 4 * size), (size, 4 * size), (n, size)],
    "_lstm_back": lambda n, time, size: [
        (time + 1, n, size), (7 * time + 2, n, size), (size, 4 * size)],
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("sizes", [(3, 4, 2), (1, 1, 1), (5, 2, 17), (0, 2, 3)])
@pytest.mark.parametrize("name", IN_PLACE)
def test_a_pass_in_place_is_the_pass_step_by_step(name, sizes, dtype):
    kernel = getattr(recurrent, name.split()[0])
    inputs = [normal(*shape, seed=i).astype(dtype) for i, shape in enumerate(
        IN_PLACE[name](*sizes))]
    kept = [x.copy() for x in inputs]
    made, expected = kernel(*inputs), kernel.plain(*inputs)
    assert (made.shape, made.dtype) == (expected.shape, expected.dtype)
    close = {"float64": 1e-12, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(made, expected, rtol=close, atol=close)

    out = np.full_like(made, 7)
    assert kernel(*inputs, out=out) is out
    np.testing.assert_array_equal(out, made)
    for x, before in zip(inputs, kept):
        np.testing.assert_array_equal(x, before)

    fed, notes = [np.full_like(x, np.nan) for x in inputs], Notes()    # as a replay repeats it
    kernel(*fed, out=out, do=notes)
    for factor in (2, 1):
        for x, value in zip(fed, inputs):
            x[...] = factor * value
        out[...] = np.nan
        for run in notes.runs:
            run()
    np.testing.assert_array_equal(out, made)


@pytest.mark.parametrize("rows", [12, 0])
def test_the_last_of_each_step_are_read_at_once(rows):
    made, take = normal(rows, 2, 3), recurrent._last_of_each
    expected = take.plain(made, count=4)
    np.testing.assert_array_equal(take(made, count=4), expected)
    out = np.empty_like(expected)
    assert take(made, count=4, out=out) is out and (out == expected).all()


def test_a_pass_in_place_takes_numbers_of_several_dtypes():
    a, h, w = normal(2, 3, 4), np.zeros((1, 4), int), normal(4, 4).astype("f4")
    np.testing.assert_allclose(recurrent._rnn(a, w, h), recurrent._rnn.plain(a, w, h), rtol=1e-12)


# ---- PyTorch's layout ----------------------------------------------------------------------------


def test_a_state_in_pytorchs_layout_comes_back_as_it_was():
    model = nn.Sequential(nn.Embedding(5, 2), nn.GRU(2, 2), nn.Linear(2, 2))
    model.norm = nn.BatchNorm1d(2)
    state = nn.to_torch(model)
    assert (state["2.weight"] == model[2].weight.data.T).all()
    assert (state["0.weight"] == model[0].weight.data).all()
    before = model.state_dict()
    for p in model.parameters().values():
        p.data[...] = 0
    nn.from_torch(model, state | {"norm.num_batches_tracked": np.array(3)})
    assert all((model.state_dict()[k] == before[k]).all() for k in before)
    with pytest.raises(tg.CheckpointError, match=r"2\.bias is missing; extra is not known here"):
        nn.from_torch(model, {k: v for k, v in state.items() if k != "2.bias"} | {"extra": 1})


@pytest.mark.parametrize("layer, state, words", [
    (nn.LSTM, np.zeros((2, 4)), r"LSTM needs a state that is a tuple \(h, c\), got one array"),
    (nn.LSTM, (np.zeros((2, 4)),), r"a tuple \(h, c\), got a tuple of 1"),
    (nn.LSTM, (None, np.zeros((2, 4))), "got None"),
    (nn.GRU, (np.zeros((2, 4)),) * 2, "GRU needs a state that is h, got a tuple of 2"),
    (nn.RNN, (), "RNN needs a state that is h, got a tuple of 0"),
])
def test_a_state_of_other_parts_is_refused(layer, state, words):
    with pytest.raises((TypeError, ShapeError), match=words):
        layer(3, 4)(np.ones((2, 5, 3)), state)


def test_an_lstm_steps_from_two_states():
    with pytest.raises(TypeError, match=r"tuple \(h, c\)"):
        nn.LSTM(3, 4).step(np.ones((2, 3)), np.ones((2, 4)))
