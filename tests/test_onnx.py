"""Models as ONNX files: what other run-times compute from them."""

import os

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn, ops
from tinygrad_opt.cases import Domain, calls_of
from tinygrad_opt.tensor import apply

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
interop = tg.interop.onnx
runtime.set_default_logger_severity(4)

RNG = np.random.default_rng(0)


def real(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def codes(*shape):
    return RNG.integers(0, 11, shape)


def flat(x):
    if isinstance(x, dict):
        x = list(x.values())
    return [part for member in x for part in flat(member)] if isinstance(x, tuple | list) else [x]


def agrees(path, model, *inputs, tolerance=1e-5):
    """ONNX Runtime computes what the model does, for batches of 1, 2 and 7."""
    session = runtime.InferenceSession(str(path))
    for n in (1, 2, 7):
        rows = np.arange(n) % len(inputs[0])
        given = [x[rows] if len(x) == len(inputs[0]) else x for x in inputs]
        results = session.run(None, {i.name: x for i, x in zip(session.get_inputs(), given)})
        with tg.no_grad():
            expected = flat(model.eval()(*given))
        assert len(results) == len(expected)
        for ours, theirs in zip(expected, results):
            assert theirs.shape == ours.shape and theirs.dtype == ours.dtype
            np.testing.assert_allclose(theirs, ours.data, rtol=tolerance, atol=tolerance)
    return session


class Reader(nn.Module):
    """The last hidden state of a recurrent layer over embedded codes."""

    def __init__(self, kind):
        self.table, self.cell = nn.Embedding(11, 3, rng=0), kind(3, 5, rng=1)
        self.head = nn.Linear(5, 2, rng=2)

    def forward(self, codes):
        outputs, _ = self.cell(self.table(codes))
        return self.head(outputs[:, -1])


class Stepping(nn.Module):
    """A recurrent cell that is stepped by hand."""

    def __init__(self, kind):
        self.cell = kind(3, 5, rng=1)

    def forward(self, x):
        state = self.cell.first_state(x.shape[:1], x.dtype)
        for t in range(x.shape[1]):
            state = self.cell.step(x[:, t], state)
        return state


class Resumed(nn.Module):
    """A recurrent layer that goes on from a state."""

    def __init__(self):
        self.cell = nn.LSTM(3, 5, rng=1)

    def forward(self, x):
        _, state = self.cell(x)
        return self.cell(x, state)


class Transformer(nn.Module):
    """A small GPT with tied weights that leaves out padding."""

    def __init__(self, **options):
        self.table, self.places = nn.Embedding(11, 8, rng=0), nn.PositionalEmbedding(6, 8, rng=0)
        self.blocks = [nn.TransformerBlock(8, 2, rng=i, **options) for i in range(2)]
        self.norm = nn.RMSNorm(8)

    def forward(self, codes):
        x = self.places(self.table(codes))
        for block in self.blocks:
            x = block(x, mask=(codes != 3)[:, None, None, :])
        return self.norm(x) @ self.table.weight.T


class Functional(nn.Module):
    """What users write between layers."""

    def __init__(self):
        self.weight = tg.Tensor(real(3, 4), requires_grad=True)
        self.filters = tg.Tensor(real(2, 1, 2, 2), requires_grad=True)

    def forward(self, x, image):
        z = (x @ self.weight).reshape(len(x) * 2, -1)
        z = np.concatenate([z[::-1], z * len(x)], axis=1).sum(axis=1)
        h = nn.max_pool2d(nn.conv2d(image, self.filters, padding=1), 2)
        rows = np.stack([x, np.zeros((len(x), 3), np.float32)], axis=1).swapaxes(0, 1)[0]
        return {"z": z, "image": h, "spread": np.where(x > 0, x, x**3).std(axis=1), "rows": rows,
                "x": x, "best": tg.Tensor(np.argmax(x, axis=1)), "again": z}


ACTIVATIONS = ["relu", "tanh", "sigmoid", "gelu", "silu", "elu", "leaky_relu", "softplus",
               "softmax", "log_softmax"]
CONVOLUTIONS = nn.Sequential(
    nn.Conv2d(1, 4, 3, padding=1, rng=0), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2, padding=1),
    nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), rng=1), np.tanh,
    nn.AvgPool2d(2, stride=1, padding=1), nn.Flatten(), nn.Linear(120, 3, rng=2))
MODELS = {
    **{name: (nn.MLP([3, 16, 4], name, norm="layer", dropout=0.5, rng=0), real(5, 3))
       for name in ACTIVATIONS},
    "batch norm": (nn.MLP([3, 16, 4], norm="batch", output="softmax", rng=0), real(1, 3)),
    "no bias": (nn.MLP([3, 16, 4], bias=False, rng=0), real(5, 3)),
    "pixels": (CONVOLUTIONS, real(2, 1, 8, 8)),
    "signal": (nn.Sequential(nn.Conv1d(2, 4, 3, padding=1, bias=False, rng=0), nn.BatchNorm1d(4),
                             nn.GELU("tanh"), nn.LayerNorm((4, 8), affine=False)), real(3, 2, 8)),
    "bilinear": (nn.Bilinear(2, 3, 4, rng=0), real(5, 2), real(5, 3)),
    **{f"{kind.__name__} {bias}": (kind(3, 5, bias, rng=0), real(4, 6, 3))
       for kind in (nn.RNN, nn.GRU, nn.LSTM) for bias in (True, False)},
    **{f"reads by {kind.__name__}": (Reader(kind), codes(4, 6))
       for kind in (nn.RNN, nn.GRU, nn.LSTM)},
    **{f"steps of {kind.__name__}": (Stepping(kind), real(4, 6, 3))
       for kind in (nn.RNN, nn.GRU, nn.LSTM)},
    "goes on": (Resumed(), real(4, 6, 3)),
    "attention": (nn.MultiHeadAttention(8, 2, rng=0), real(3, 5, 8), real(3, 4, 8)),
    "GPT": (Transformer(causal=True, dropout=0.1), codes(4, 6)),
    "encoder": (Transformer(norm="rms", norm_first=False, activation="relu"), codes(4, 6)),
    "sinusoids": (nn.Sequential(nn.SinusoidalEmbedding(8), nn.Linear(8, 2, rng=0)), real(3, 5, 8)),
    "functions": (Functional(), real(4, 3), real(4, 1, 5, 5)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_computes_the_same_elsewhere(name, tmp_path):
    model, *inputs = MODELS[name]
    before = model.state_dict()
    path = interop.save(tmp_path / "m.onnx", model, tuple(inputs))
    assert path == tmp_path / "m.onnx" and os.listdir(tmp_path) == ["m.onnx"]
    session = agrees(path, model, *inputs)
    assert all(i.shape[0] == "batch" for i in session.get_inputs())
    assert all((after == before[key]).all() for key, after in model.state_dict().items())


def test_layers_are_operators_and_parameters_keep_their_names(tmp_path):
    graph = onnx.load(interop.save(tmp_path / "m.onnx", *MODELS["pixels"])).graph
    assert [node.op_type for node in graph.node] == [
        "Conv", "BatchNormalization", "Relu", "MaxPool", "Conv", "Tanh", "AveragePool", "Reshape",
        "Gemm"]
    assert {"0.weight", "0.bias", "1.running_mean", "8.weight"} <= {
        array.name for array in graph.initializer}
    graph = onnx.load(interop.save(tmp_path / "m.onnx", Reader(nn.LSTM), codes(4, 6))).graph
    assert [node.op_type for node in graph.node].count("LSTM") == 1
    assert [i.name for i in graph.input] == ["codes"]
    path = interop.save(tmp_path / "m.onnx", *MODELS["functions"][:1], MODELS["functions"][1:])
    assert [o.name for o in onnx.load(path).graph.output] == [
        "z", "image_1", "spread", "rows", "x_1", "best", "again"]


def test_a_layer_with_a_forward_of_its_own_is_written_as_what_it_does(tmp_path):
    class Doubled(nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    class Forgetful(nn.RNN):
        def step(self, x, state):
            return super().step(x, state) * 0.5

    for model, x in ((Doubled(1, 2, 3, rng=0), real(2, 1, 5, 5)), (Forgetful(3, 4), real(2, 5, 3))):
        agrees(interop.save(tmp_path / "m.onnx", model, x), model, x)


def test_an_operation_of_ones_own_is_written_as_what_its_kernel_does(tmp_path):
    cube = tg.op("x³", lambda x: x**3 + np.exp(x), lambda g, z, x: g * (3 * x**2 + np.exp(x)))
    model = nn.Sequential(nn.Linear(3, 2, rng=0), cube)
    agrees(interop.save(tmp_path / "m.onnx", model, real(2, 3)), model, real(2, 3))


def test_models_of_float64_and_examples_of_other_kinds(tmp_path):
    model = nn.MLP([3, 8, 2], "tanh", dtype="float64", rng=0)
    session = agrees(interop.save(tmp_path / "m.onnx", model, [[1, 2, 3.0]]), model,
                     real(4, 3).astype(np.float64), tolerance=1e-12)
    assert session.get_inputs()[0].type == "tensor(double)"
    model = nn.Linear(3, 2, rng=0)                         # integers and mixed dtypes are cast
    path = interop.save(tmp_path / "m.onnx", model, np.arange(6).reshape(2, 3))
    agrees(path, model, np.arange(12).reshape(4, 3))


class Row(nn.Module):
    """One operation, beside an input that has the samples."""

    def __init__(self, op, call):
        self.op, self.call = op, call

    def forward(self, samples, *given):
        drawn = iter(given)
        inputs = [next(drawn) if isinstance(x, Domain) else x for x in self.call.inputs]
        return apply(self.op, *inputs, **self.call.attrs)


# What ONNX has no operator for, and some that models hardly use.
WITHOUT_WORDS = {
    "sum_to", "diagonal", "trace", "solve", "cholesky", "eigh", "svd", "det", "cofactor", "slogdet",
    "scatter", "put", "sort", "residual", "cross_entropy", "add_windows",
    "binary_entropy_of_logits",
}


@pytest.mark.parametrize("name", ops.TABLE)
def test_rows_of_the_operator_table_have_words(name, tmp_path):
    """The first calls of each row, as graphs of one operation."""
    refused = 0
    for call in calls_of(name)[:9]:
        drawn = call.draw(np.random.default_rng(0), np.float32)
        given = [x for x, c in zip(drawn, call.inputs) if isinstance(c, Domain)]
        model, samples = Row(ops.TABLE[name], call), np.zeros((97, 1), np.float32)
        try:
            path = interop.save(tmp_path / "m.onnx", model, (samples, *given))
        except tg.CheckpointError as error:
            assert name in str(error) or "several arrays" in str(error)
            refused += 1
            continue
        session = runtime.InferenceSession(str(path))
        (theirs,) = session.run(None, {
            i.name: x for i, x in zip(session.get_inputs(), (samples, *given))})
        ours = model(samples, *map(tg.Tensor, given))
        assert theirs.shape == ours.shape and theirs.dtype == ours.dtype, str(call)
        np.testing.assert_allclose(theirs, ours.data, rtol=2e-5, atol=2e-5, err_msg=str(call))
    assert refused <= (9 if name in WITHOUT_WORDS else 2 if name == "getitem" else 0)


# ---- what is refused -----------------------------------------------------------------------------


def forward(function):
    """A model whose forward is a function of a layer's output."""

    class Own(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(3, 3, rng=0)

        def forward(self, x):
            return function(self.layer(x))

    return nn.Sequential(Own())


@pytest.mark.parametrize("function, words", [
    (lambda h: np.linalg.det(h.reshape(-1, 1, 1)), r"no word for det in 0 \(line"),
    (lambda h: h if h.sum() > 0 else -h, "read or written"),
    (lambda h: h * float(h.data.mean()), "read or written"),
    (lambda h: h / np.sqrt(float(len(h))), "divide in 0.*size of the batch"),
    (lambda h: h + np.arange(len(h), dtype=np.float32)[:, None], "add in 0.*size of the batch"),
    (lambda h: sum(h[i] for i in range(len(h))), "does more for 3 samples than for 2"),
    (lambda h: h if len(h) == 2 else np.tanh(h), "does more for 3"),
    (lambda h: np.tanh(h) if len(h) == 2 else np.exp(h), "tanh in 0.*not done for 3"),
    (lambda h: h[[0, 1], [1, 0]], "several arrays"),
    (lambda h: tg.grad(lambda t: (t * t).sum())(h), "backward|no word"),
])
def test_what_a_file_could_not_repeat_is_refused_with_its_place(function, words, tmp_path):
    target = tmp_path / "m.onnx"
    target.write_text("as it was")
    with pytest.raises(tg.CheckpointError, match=words) as info:
        interop.save(target, forward(function), np.ones((2, 3), np.float32))
    assert str(target) in str(info.value)
    assert target.read_text() == "as it was" and os.listdir(tmp_path) == ["m.onnx"]


def test_wrong_arguments_are_told(tmp_path):
    with pytest.raises(TypeError, match="path first"):
        interop.save(nn.Linear(3, 2), tmp_path / "m.onnx", real(2, 3))
    with pytest.raises(TypeError, match="writes a Module"):
        interop.save(tmp_path / "m.onnx", np.tanh, real(2, 3))
    with pytest.raises(tg.CheckpointError, match="samples"):
        interop.save(tmp_path / "m.onnx", nn.Linear(3, 2), np.float32(1))
    with pytest.raises(tg.CheckpointError, match="inner sizes 4 and 3 differ"):
        interop.save(tmp_path / "m.onnx", nn.Linear(3, 2), real(2, 4))
    with pytest.raises(tg.CheckpointError, match="no such"):
        interop.save(tmp_path / "none" / "m.onnx", nn.Linear(3, 2), real(2, 3))
    assert os.listdir(tmp_path) == []
