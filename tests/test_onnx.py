"""Models as ONNX files: what other run-times compute from them."""

import copy
import os
import random
import subprocess
import sys
import warnings

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


class Hidden(nn.Module):
    """Attention whose places may look nowhere."""

    def __init__(self, attention):
        self.attention = attention

    def forward(self, x):
        return self.attention(x, mask=(x > 99)[:, None, :, :1])


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
                "x": x, "best": tg.Tensor(np.argmax(x, axis=1)), "again": z,
                "more": np.broadcast_to(x[:1], (len(x) + 1, 3))}


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
        "z", "image_1", "spread", "rows", "x_1", "best", "again", "more"]


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
    model = Hidden(nn.MultiHeadAttention(4, 2, causal=True, dtype="float64", rng=0))
    x = RNG.normal(size=(2, 3, 4))
    agrees(interop.save(tmp_path / "m.onnx", model, x), model, x, tolerance=1e-12)
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


def test_without_the_package_the_command_that_installs_it_is_told():
    code = ("import sys; sys.modules['onnx'] = None\nimport tinygrad_opt as tg\n"
            "try: tg.interop.onnx\nexcept ImportError as error: print(error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ONNX files need the package onnx: pip install")


# ---- what is read --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_what_was_written_is_read_again(name, tmp_path):
    model, *inputs = MODELS[name]
    again = interop.load(interop.save(tmp_path / "m.onnx", model, tuple(inputs)))
    for n in (1, 2, 5):
        rows = np.arange(n) % len(inputs[0])
        with tg.no_grad():
            expected = flat(model.eval()(*(x[rows] for x in inputs)))
            results = flat(again(*(x[rows] for x in inputs)))
        for ours, theirs in zip(expected, results, strict=True):
            assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
            np.testing.assert_allclose(tg.Tensor(theirs).data, ours.data, rtol=1e-5, atol=1e-5)


def made(path, nodes, inputs, weights=()):
    """A file of nodes, written by the package onnx; its output is called z."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(kind, given, results, domain=attrs.pop("domain", ""), **attrs)
         for kind, given, results, attrs in nodes],
        "g", [value(name, kind, shape) for name, kind, shape in inputs],
        [value("z", onnx.TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights])
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 20),
                              onnx.helper.make_opsetid("com.microsoft", 1)], ir_version=8)
    model = onnx.shape_inference.infer_shapes(model)       # no output may be without a shape
    for output in model.graph.output:
        output.type.tensor_type.shape.SetInParent()
    onnx.save(model, path)
    return path


FLOAT = onnx.TensorProto.FLOAT
IMAGE = real(2, 4, 7, 6)
NODES = {                                                  # and what they are given beside x
    "Conv groups": ("Conv", {"group": 2, "pads": [2, 0, 1, 1], "strides": [2, 1]},
                    real(6, 2, 3, 2), real(6)),
    "MaxPool": ("MaxPool", {"kernel_shape": [3, 2], "pads": [0, 1, 1, 0]}),
    "AveragePool": ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 0, 1],
                                    "strides": [2, 2]}),
    "AveragePool of all": ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 1, 1, 1],
                                           "count_include_pad": 1}),
    "GlobalMaxPool": ("GlobalMaxPool", {}), "GlobalAveragePool": ("GlobalAveragePool", {}),
    "BatchNormalization": ("BatchNormalization", {"epsilon": 0.1}, real(4), real(4), real(4),
                           real(4) ** 2),
    "LayerNormalization": ("LayerNormalization", {"axis": 2}, real(7, 6), real(7, 6)),
    "PRelu": ("PRelu", {}, real(4, 1, 1)), "Clip": ("Clip", {}, np.float32(-0.5), np.float32(0.3)),
    "Flatten": ("Flatten", {"axis": 2}), "ReduceMax": ("ReduceMax", {}, np.array([1, -1])),
    "ReduceSum": ("ReduceSum", {"noop_with_empty_axes": 1}),
    "Reshape": ("Reshape", {}, np.array([0, -1, 6])), "Tile": ("Tile", {}, np.array([1, 2, 1, 1])),
    "Slice": ("Slice", {}, np.array([5, 0]), np.array([-99, 9]), np.array([2, -1]),
              np.array([-2, 3])),
    "Pad": ("Pad", {}, np.array([1, 0, 0, 2]), np.float32(7), np.array([1, 3])),
    "Trilu": ("Trilu", {"upper": 0}, np.array(1)), "CumSum": ("CumSum", {}, np.array(-1)),
    "Softmax": ("Softmax", {"axis": 1}),
    "Einsum": ("Einsum", {"equation": "abcd,de->ace"}, real(6, 2)),
    "Split": ("Split", {"num_outputs": 1, "axis": 1}), "Sum": ("Sum", {}, real(1, 6), real(7, 1)),
    "Transpose": ("Transpose", {}), "Gather": ("Gather", {"axis": 1}, np.array([[3, 0], [-1, 1]])),
}


@pytest.mark.parametrize("name", NODES)
def test_operators_compute_what_others_compute(name, tmp_path):
    kind, attrs, *given = NODES[name]
    names = [f"w{i}" for i in range(len(given))]
    path = made(tmp_path / "m.onnx", [(kind, ["x", *names], ["z"], attrs)],
                [("x", FLOAT, IMAGE.shape)], zip(names, given))
    (theirs,) = runtime.InferenceSession(str(path)).run(None, {"x": IMAGE})
    model = interop.load(path)
    np.testing.assert_allclose(model(IMAGE).data, theirs, rtol=1e-5, atol=1e-5)
    x = tg.Tensor(IMAGE, requires_grad=True)
    model(x).sum().backward()
    assert x.grad.shape == IMAGE.shape


def test_results_without_a_name_are_not_the_inputs_that_are_left_out(tmp_path):
    w, r = real(1, 20, 3), real(1, 20, 5)
    path = made(tmp_path / "m.onnx", [
        ("LSTM", ["x", "w", "r"], ["", "h"], {"hidden_size": 5}),
        ("Clip", ["h", "", "high"], ["z"], {})],
        [("x", FLOAT, (6, 4, 3))], [("w", w), ("r", r), ("high", np.float32(0.1))])
    x = real(6, 4, 3)
    (theirs,) = runtime.InferenceSession(str(path)).run(None, {"x": x})
    np.testing.assert_allclose(interop.load(path)(x).data, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attrs", [
    {"alpha": 0.5, "beta": 2.0, "transA": 1, "transB": 1}, {"transB": 1}, {"alpha": 3.0}])
def test_products_with_all_their_options(attrs, tmp_path):
    a = real(3, 5).T if attrs.get("transA") else real(5, 3).T.T
    b = real(2, 3) if attrs.get("transB") else real(3, 2)
    a = a.T.copy() if attrs.get("transA") else a
    path = made(tmp_path / "m.onnx", [("Gemm", ["x", "b", "c"], ["z"], attrs)],
                [("x", FLOAT, a.shape)], [("b", b), ("c", real(2))])
    (theirs,) = runtime.InferenceSession(str(path)).run(None, {"x": a})
    np.testing.assert_allclose(interop.load(path)(a).data, theirs, rtol=1e-5, atol=1e-5)


def test_a_model_that_was_read_is_trained_copied_saved_and_drawn(tmp_path):
    x, labels = tg.data.spiral(20, rng=0)
    path = interop.save(tmp_path / "m.onnx", nn.MLP([2, 16, 3], norm="batch", rng=0), x[:2])
    model = interop.load(path)
    twin = copy.deepcopy(model)
    history = tg.fit(model, x, labels, loss=nn.cross_entropy, epochs=30, progress=False)
    assert history["loss"][-1] < history["loss"][0]
    assert model.weights["norms.0.running_mean"].requires_grad is False
    assert not np.array_equal(model(x).data, twin(x).data)
    tg.save(tmp_path / "m.npz", model)
    tg.load(tmp_path / "m.npz", twin)
    np.testing.assert_array_equal(model(x).data, twin(x).data)
    assert "layers.0.weight" in tg.draw(model(x[:2])).dot
    assert "Graph(Gemm, BatchNormalization, Relu, Gemm)" in str(model.summary())
    with pytest.raises(TypeError, match=r"takes 1 input\(s\), x; got 2"):
        model(x, x)


@pytest.mark.parametrize("nodes, words", [
    ([("NonMaxSuppression", ["x", "x"], ["y"], {}), ("Relu", ["x"], ["z"], {})],
     "the operators NonMaxSuppression"),
    ([("Gelu", ["x"], ["y"], {"domain": "com.microsoft"}), ("Det", ["y"], ["z"], {})],
     r"operators com\.microsoft\.Gelu, Det"),
    ([("MaxPool", ["x"], ["z"], {"kernel_shape": [2, 2], "ceil_mode": 1})], "ceil_mode=1"),
    ([("MaxPool", ["x"], ["z"], {"kernel_shape": [2, 2], "dilations": [2, 1]})],
     r"dilations=\[2, 1"),
    ([("GRU", ["x", "w", "w"], ["z"], {"hidden_size": 1})], "linear_before_reset=0"),
    ([("LSTM", ["x", "w", "w"], ["z"], {"hidden_size": 1, "direction": "reverse"})], "reverse"),
])
def test_what_has_no_counterpart_is_refused_by_name(nodes, words, tmp_path):
    path = made(tmp_path / "m.onnx", nodes, [("x", FLOAT, [1] * 4), ("w", FLOAT, [1] * 3)])
    with pytest.raises(tg.CheckpointError, match=words):
        interop.load(path)


def test_files_that_are_damaged_are_refused(tmp_path):
    path = interop.save(tmp_path / "m.onnx", *MODELS["pixels"])
    content = path.read_bytes()
    with pytest.raises(tg.CheckpointError, match=r"none\.onnx: no such file"):
        interop.load(tmp_path / "none.onnx")
    with pytest.raises(TypeError, match="path first"):
        interop.load(content)
    rng = random.Random(0)
    for i in range(150):
        broken = bytearray(content if i % 3 else content[:rng.randrange(len(content))])
        for _ in range(i % 3 * 8):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        path.write_bytes(bytes(broken))
        try:
            interop.load(path)
        except tg.CheckpointError as error:
            assert str(path) in str(error)
    tg.save(path, {"w": np.ones(3)})
    with pytest.raises(tg.CheckpointError, match=r"cannot load .*m\.onnx"):
        interop.load(path)


def test_weights_beside_the_file_are_read_or_missed(tmp_path):
    model, x = MODELS["pixels"]
    path = interop.save(tmp_path / "m.onnx", model, x)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w", size_threshold=0)
    np.testing.assert_allclose(interop.load(path)(x).data, model.eval()(x).data, atol=1e-6)
    (tmp_path / "w").unlink()
    with pytest.raises(tg.CheckpointError, match="cannot load"):
        interop.load(path)


# ---- PyTorch -------------------------------------------------------------------------------------


def torch_models():
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    t = torch.nn
    torch.manual_seed(0)
    return {
        "pixels": (t.Sequential(
            t.Conv2d(1, 4, 3, padding=1), t.BatchNorm2d(4), t.ReLU(), t.MaxPool2d(2),
            t.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), t.AvgPool2d(2, padding=1),
            t.AdaptiveAvgPool2d(1), t.Flatten(), t.Linear(6, 3), t.GELU(), t.LayerNorm(3),
            t.LogSoftmax(1)), torch.randn(2, 1, 8, 8)),
        "codes": (t.Sequential(t.Embedding(11, 3), t.Flatten(), t.Linear(12, 2), t.Sigmoid()),
                  torch.randint(0, 11, (2, 4))),
        "LSTM": (t.LSTM(3, 5, batch_first=True), torch.randn(2, 4, 3)),
        "GRU": (t.GRU(3, 5, batch_first=True), torch.randn(2, 4, 3)),
        "transformer": (t.TransformerEncoderLayer(8, 2, 16, batch_first=True),
                        torch.randn(2, 5, 8)),
    }


def exported(name, path, **options):
    torch = pytest.importorskip("torch")
    model, x = torch_models()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (x,), path, input_names=["x"], verbose=False, **options)
    return model, x


@pytest.mark.parametrize("name", ["pixels", "codes", "LSTM", "GRU", "transformer"])
@pytest.mark.parametrize("dynamo", [False, True])
def test_exports_of_pytorch_compute_the_same(name, dynamo, tmp_path):
    torch = pytest.importorskip("torch")
    if name == "transformer" and not dynamo:
        pytest.skip("the older exporter cannot write it")
    axes = ({"dynamic_shapes": ({0: "batch"},)} if dynamo else
            {"dynamic_axes": {"x": {0: "batch"}}})
    theirs, x = exported(name, tmp_path / "m.onnx", dynamo=dynamo, **axes)
    ours = interop.load(tmp_path / "m.onnx")
    for n in (1, 2, 5):
        given = x[torch.arange(n) % 2]
        with torch.no_grad():
            expected = theirs(given)
        results = ours(given.numpy())
        if isinstance(expected, tuple):
            expected, results = expected[0], results[0]
        np.testing.assert_allclose(results.data, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_exports_in_older_operator_sets_are_converted(tmp_path):
    theirs, x = exported("codes", tmp_path / "m.onnx", dynamo=False, opset_version=11)
    np.testing.assert_allclose(interop.load(tmp_path / "m.onnx")(x.numpy()).data,
                               theirs(x).detach().numpy(), rtol=1e-5, atol=1e-6)
