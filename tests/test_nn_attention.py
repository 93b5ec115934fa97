"""Attention and transformers: equal to PyTorch's to second order, masks, weights, tied weights."""

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.errors import CheckpointError, ShapeError
from tinygrad_opt.viz import draw

EXACT = {"float64": 1e-12, "float32": 1e-6}


def pair(kind, dtype, **options):
    """A module and PyTorch's, with PyTorch's random weights."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    eight = {"dtype": getattr(torch, dtype)}
    if kind == "attention":
        theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True, **eight)
        ours = nn.MultiHeadAttention(8, 2, dtype=dtype, **options)
    elif kind == "block":
        theirs = torch.nn.TransformerEncoderLayer(
            8, 2, 16, dropout=0.0, batch_first=True, **options, **eight)
        ours = nn.TransformerBlock(8, 2, 16, dtype=dtype, **options)
    elif kind == "rms":
        theirs, ours = torch.nn.RMSNorm(8, **eight), nn.RMSNorm(8, dtype=dtype)
    else:
        theirs = torch.nn.BatchNorm2d(3, **eight)
        ours = nn.BatchNorm2d(3, dtype=dtype)
    with torch.no_grad():
        for p in theirs.parameters():                      # biases of 0 would hide mistakes
            p.add_(0.3 * torch.randn_like(p))
    nn.from_torch(ours, theirs.state_dict())
    return ours, theirs, torch


def second_order(x, z, weights, grad):
    """z, the gradients g of Σ z / (1 + z²) for x and the weights, and those of Σ g²."""
    first = grad((z / (1 + z * z)).sum(), [x, *weights])
    return [z, *first, *grad(sum((g**2).sum() for g in first), [x, *weights])]


def ours_to_second_order(run, model, x):
    x = tg.Tensor(x, requires_grad=True)

    def grad(loss, leaves):
        for leaf in leaves:
            leaf.grad = None
        loss.backward(create_graph=True)
        return [leaf.grad for leaf in leaves]

    return [y.data for y in second_order(x, run(model, x), model.parameters().values(), grad)]


def theirs_to_second_order(run, model, x, torch):
    x = torch.tensor(x, requires_grad=True)
    found = second_order(x, run(model, x), list(model.parameters()),
                         lambda loss, leaves: torch.autograd.grad(loss, leaves, create_graph=True))
    return [y.detach().numpy() for y in found]


def in_torchs_layout(ours, values):
    """Of z, x and every parameter, twice: gradients turned and packed as PyTorch's parameters."""
    n = len(ours.parameters())
    z, *rest = values
    table = [z]
    for k in (0, n + 1):
        state = dict(zip(ours.parameters(), rest[k + 1:k + 1 + n]))
        double = nn.rebuild({"architecture": ours.architecture(), "model": ours.state_dict()})
        double.load_state_dict(double.state_dict() | state)
        packed = nn.to_torch(double)
        table += [rest[k], packed]
    return table


def same(ours, theirs, error):
    """All equal but for the error, measured against the largest entry of them all."""
    scale = max(1, *(np.abs(t).max() for t in theirs))
    for got, wanted in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=error * scale)


RUNS = {                                 # a kind, options, ours, PyTorch's
    "self-attention": ("attention", {}, lambda m, x: m(x), lambda m, x: m(x, x, x)[0]),
    "causal": ("attention", {"causal": True}, lambda m, x: m(x), lambda m, x: m(
        x, x, x, attn_mask=_future(x), is_causal=True)[0]),
    "cross-attention": ("attention", {}, lambda m, x: m(x[:, :2], x * x, x + 1),
                        lambda m, x: m(x[:, :2], x * x, x + 1)[0]),
    "padding": ("attention", {}, lambda m, x: m(x, mask=~PADDED[:, None, None, :]),
                lambda m, x: m(x, x, x, key_padding_mask=x.new_tensor(PADDED).bool())[0]),
    "mask of floats": ("attention", {}, lambda m, x: m(x, mask=BIAS.astype(x.dtype)),
                       lambda m, x: m(x, x, x, attn_mask=x.new_tensor(BIAS))[0]),
    "one sequence": ("attention", {}, lambda m, x: m(x[0]), lambda m, x: m(x[0], x[0], x[0])[0]),
    "block": ("block", {"norm_first": True, "activation": "gelu"}, lambda m, x: m(x),
              lambda m, x: m(x)),
    "block, norm last": ("block", {"norm_first": False, "activation": "relu"}, lambda m, x: m(x),
                         lambda m, x: m(x)),
    "RMS norm": ("rms", {}, lambda m, x: m(x), lambda m, x: m(x)),
    "batch norm": ("batch", {}, lambda m, x: m(x.reshape(4, 3, 5, 2)),
                   lambda m, x: m(x.reshape(4, 3, 5, 2))),
    "batch norm evaluated": ("batch", {}, lambda m, x: m.eval()(x.reshape(4, 3, 5, 2)),
                             lambda m, x: m.eval()(x.reshape(4, 3, 5, 2))),
}
PADDED = np.arange(5) >= np.array([[5], [3], [4]])
BIAS = np.random.default_rng(7).normal(size=(5, 5))


def _future(x):
    return x.new_ones(5, 5).triu(1).bool()


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize("name", RUNS)
def test_values_gradients_and_second_derivatives_are_pytorchs(name, dtype):
    kind, options, run, theirs_run = RUNS[name]
    ours, theirs, torch = pair(kind, dtype, **options)
    x = np.random.default_rng(1).normal(size=(3, 5, 8)).astype(dtype)
    # PyTorch's own rounding in float32 would be larger than what is asked for here
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = theirs_to_second_order(theirs_run, theirs.double(), x.astype("f8"), torch)
    z, gx, gp, ggx, ggp = in_torchs_layout(ours, ours_to_second_order(run, ours, x))
    names = [name for name, _ in theirs.named_parameters()]
    same([z], expected[:1], EXACT[dtype])
    same([gx, *(gp[name] for name in names)], expected[1:len(names) + 2], EXACT[dtype])
    same([ggx, *(ggp[name] for name in names)], expected[len(names) + 2:], 2 * EXACT[dtype])
    assert names and np.abs(expected[1]).max() > 0.001


def test_weights_are_pytorchs_head_by_head_and_add_up_to_1():
    ours, theirs, torch = pair("attention", "float64")
    x = np.random.default_rng(0).normal(size=(3, 5, 8))
    t = torch.tensor(x)
    z, p = ours(x, weights=True)
    expected = theirs(t, t, t, average_attn_weights=False)[1].detach()
    np.testing.assert_allclose(p.data, expected, atol=1e-12)
    np.testing.assert_allclose(p.data.sum(axis=-1), 1, atol=1e-12)
    np.testing.assert_array_equal(z.data, ours(x).data)


def test_a_state_goes_to_pytorch_and_back():
    ours, theirs, _ = pair("block", "float64")
    state = nn.to_torch(ours)
    assert state.keys() == theirs.state_dict().keys()
    for name, value in theirs.state_dict().items():
        np.testing.assert_array_equal(state[name], value)
    again = nn.Sequential(nn.TransformerBlock(8, 2, 16, dtype="float64"))
    nn.from_torch(again, {f"0.{k}": v for k, v in state.items()})      # also below a path
    np.testing.assert_array_equal(again.layers[0].self_attn.key.weight.data,
                                  ours.self_attn.key.weight.data)
    before = ours.state_dict()
    with pytest.raises(CheckpointError, match="shape"):
        nn.from_torch(ours, state | {"self_attn.in_proj_weight": np.zeros((24, 9))})
    for name, value in ours.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


class GPT(nn.Module):
    """Built as one in PyTorch would be, under the same names."""

    def __init__(self):
        self.letters, self.places = nn.Embedding(27, 8), nn.PositionalEmbedding(9, 8)
        self.blocks = [nn.TransformerBlock(8, 2, causal=True) for _ in range(2)]
        self.norm, self.head = nn.LayerNorm(8), nn.Linear(8, 27)

    def forward(self, x):
        h = self.places(self.letters(x))
        for block in self.blocks:
            h = block(h)
        return self.head(self.norm(h))


def test_a_whole_gpt_takes_the_weights_of_pytorchs():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    t = torch.nn.ModuleDict({
        "letters": torch.nn.Embedding(27, 8), "places": torch.nn.Embedding(9, 8),
        "blocks": torch.nn.ModuleList([torch.nn.TransformerEncoderLayer(
            8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True) for _ in range(2)]),
        "norm": torch.nn.LayerNorm(8), "head": torch.nn.Linear(8, 27)})
    ours, x = GPT(), np.random.default_rng(0).integers(0, 27, (4, 6))
    nn.from_torch(ours, t.state_dict())
    h = t["letters"](torch.tensor(x)) + t["places"].weight[:6]
    for block in t["blocks"]:
        h = block(h, torch.nn.Transformer.generate_square_subsequent_mask(6), is_causal=True)
    expected = t["head"](t["norm"](h)).detach()
    np.testing.assert_allclose(ours(x).data, expected, atol=1e-6)
    assert nn.to_torch(ours).keys() == t.state_dict().keys()


# ---- what a place sees ---------------------------------------------------------------------------


def test_the_past_does_not_change_with_the_future():
    rng = np.random.default_rng(0)
    block = nn.TransformerBlock(8, 2, causal=True, rng=0)
    x = rng.normal(size=(2, 6, 8)).astype(np.float32)
    y = x.copy()
    y[:, 4:] = rng.normal(size=(2, 2, 8))
    z, w = block(x).data, block(y).data
    np.testing.assert_array_equal(z[:, :4], w[:, :4])
    assert (z[:, 4:] != w[:, 4:]).all()
    _, p = block(x, weights=True)
    assert (p.data[..., ~np.tri(6, dtype=bool)] == 0).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_row_that_is_hidden_as_a_whole_stays_finite(dtype):
    x = tg.Tensor(np.random.default_rng(0).normal(size=(1, 3, 4)).astype(dtype), requires_grad=True)
    mask = np.array([[False, False, True]])
    z, p = nn.attention(x, x, x, mask, causal=True, weights=True)
    z.sum().backward()
    assert z.dtype == dtype and np.isfinite(z.data).all() and np.isfinite(x.grad).all()
    np.testing.assert_array_equal(p.data[0, 2], [0, 0, 1])


@pytest.mark.parametrize("shape", [(0, 4, 6), (3, 0, 6), (0, 0, 6)])
def test_a_batch_of_no_sequences_and_a_sequence_of_no_places_pass(shape):
    block = nn.TransformerBlock(6, 2, causal=True, rng=0)
    x = tg.Tensor(np.ones(shape), requires_grad=True)
    z, p = block(x, weights=True)
    assert z.shape == shape and p.shape == (shape[0], 2, shape[1], shape[1])
    z.sum().backward()
    assert x.grad.shape == shape and not block.linear1.weight.grad.any()


def test_a_mask_is_of_bool_or_float_and_may_be_learned():
    x = np.ones((2, 3, 4), np.float32)
    with pytest.raises(TypeError, match="bool or float, got int64"):
        nn.attention(x, x, x, np.ones((3, 3), int))
    bias = tg.Tensor(np.zeros((3, 3), np.float32), requires_grad=True)
    y = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    assert tg.gradcheck(lambda b: nn.attention(y, y, y, b), bias.data.astype("f8")).ok
    (nn.attention(y, y, y, bias) ** 2).sum().backward()
    assert (bias.grad != 0).all()


def test_dropout_falls_on_the_weights_while_training_only():
    layer = nn.MultiHeadAttention(4, 2, dropout=0.5, rng=0)
    x = np.random.default_rng(0).normal(size=(2, 9, 4)).astype(np.float32)
    first, second = layer(x).data, layer(x).data
    assert not np.array_equal(first, second)
    layer.eval()
    still = nn.MultiHeadAttention(4, 2, rng=0)
    np.testing.assert_array_equal(layer(x).data, still(x).data)
    assert layer.generators().keys() == {"rng"}
    v = np.eye(200, dtype=np.float32)[None]
    z, p = nn.attention(np.zeros((1, 50, 4)), np.zeros((1, 200, 4)), v, dropout=0.25, rng=0,
                        weights=True)
    np.testing.assert_allclose(p.data, 1 / 200)            # those before dropout
    assert {round(float(w), 5) for w in z.data.flat} == {0.0, round(1 / 150, 5)}
    assert np.mean(z.data == 0) == pytest.approx(0.25, abs=0.02)


def test_values_are_the_keys_without_a_word_and_keys_the_queries():
    layer = nn.MultiHeadAttention(4, 2, rng=0)
    x, y = np.random.default_rng(0).normal(size=(2, 1, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(layer(x, y).data, layer(x, y, y).data)
    np.testing.assert_array_equal(layer(x).data, layer(x, x, x).data)


def test_projections_start_as_glorots_with_biases_of_0_or_none():
    layer = nn.MultiHeadAttention(64, 2, rng=0)
    for name, p in layer.parameters().items():
        if name.endswith("bias"):
            assert not p.data.any()
        else:
            assert abs(p.data).max() == pytest.approx((6 / 128) ** 0.5, rel=0.01)
    assert not any("bias" in k for k in nn.MultiHeadAttention(4, 2, bias=False).parameters())


def test_a_block_drops_what_is_added_and_what_is_hidden():
    seen = []

    class Noting(nn.Dropout):
        def forward(self, x):
            seen.append(x.shape)
            return super().forward(x)

    block = nn.TransformerBlock(4, 2, 7, dropout=1.0, norm="rms", rng=0)
    block.dropout = Noting(1.0)
    block.linear2.bias.data[...] = block.self_attn.out_proj.bias.data[...] = 1
    x = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    np.testing.assert_array_equal(block(x).data, x)
    assert seen == [(2, 3, 4), (2, 3, 7), (2, 3, 4)]
    assert block.self_attn.dropout == 1.0 and type(block.norm1) is type(block.norm2) is nn.RMSNorm


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: nn.MultiHeadAttention(8, 3), ValueError, "3 heads cannot share 8 features"),
    (lambda: nn.MultiHeadAttention(8, 2, dropout=1.5), ValueError, "p is a probability"),
    (lambda: nn.TransformerBlock(8, 2, norm="batch"), ValueError, '"layer" or "rms"'),
    (lambda: nn.MultiHeadAttention(8, 2)(np.ones(8)), ShapeError, r"\(\.\.\., time, features\)"),
    (lambda: nn.PositionalEmbedding(4, 8)(np.ones((1, 5, 8))), ShapeError, "up to 4, 8"),
    (lambda: nn.PositionalEmbedding(4, 8)(np.ones((1, 4, 1))), ShapeError, "there are positions"),
    (lambda: nn.SinusoidalEmbedding(8)(np.ones((5, 7))), ShapeError, "time, 8"),
    (lambda: nn.BatchNorm2d(3)(np.ones((4, 3, 2))), ShapeError, "BatchNorm2d needs 4 axes"),
    (lambda: nn.RMSNorm(3)(np.ones((4, 2))), ShapeError, "RMS norm over"),
])
def test_what_does_not_fit_is_said(make, error, words):
    with pytest.raises(error, match=words):
        make()


# ---- positions -----------------------------------------------------------------------------------


def test_sinusoids_are_those_of_the_paper():
    p = nn.sinusoidal_embedding(np.arange(50.0), 6).data
    for i in range(6):
        angle = np.arange(50) / 10000 ** (2 * (i // 2) / 6)
        np.testing.assert_allclose(p[:, i], (np.cos if i % 2 else np.sin)(angle), atol=1e-5)
        added = nn.SinusoidalEmbedding(6)(np.zeros((1, 50, 6))).data      # exact in float64
        added64 = nn.SinusoidalEmbedding(6)(tg.Tensor(np.zeros((1, 50, 6)))).data[0, :, i]
        np.testing.assert_allclose(added64, (np.cos if i % 2 else np.sin)(angle), atol=1e-13)
        assert added.dtype == np.float32
    assert nn.sinusoidal_embedding([[0.5]], 3).shape == (1, 1, 3)
    assert tg.gradcheck(lambda t: nn.sinusoidal_embedding(t, 5), np.linspace(0.1, 3, 4)).ok


def test_positions_tell_apart_what_attention_takes_for_a_set():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 4, 8)).astype(np.float32)
    attend = nn.MultiHeadAttention(8, 2, rng=0)
    np.testing.assert_allclose(attend(x[:, ::-1]).data, attend(x).data[:, ::-1], atol=1e-6)
    for positions in (nn.PositionalEmbedding(9, 8, rng=1), nn.SinusoidalEmbedding(8)):
        z, w = attend(positions(x)).data, attend(positions(x[:, ::-1])).data[:, ::-1]
        assert np.abs(z - w).max() > 0.01


# ---- one parameter under two names ---------------------------------------------------------------


class Tied(nn.Module):
    """A language model whose last layer is its first one, transposed, and two tied layers."""

    def __init__(self, rng=0):
        rng = np.random.default_rng(rng)
        self.letters = nn.Embedding(5, 8, rng=rng)
        self.first = nn.Linear(8, 8, rng=rng)
        self.second = nn.Linear(8, 8, rng=rng)
        self.second.weight = self.first.weight

    def forward(self, codes):
        h = self.second(np.tanh(self.first(self.letters(codes))))
        return h @ self.letters.weight.T


def test_a_tied_parameter_is_one_wherever_it_is_counted_saved_and_shown(tmp_path):
    model = Tied()
    assert [*model.parameters()] == ["letters.weight", "first.weight", "first.bias", "second.bias"]
    summary = model.summary((2, 3), dtype=int)
    assert summary.parameters == 40 + 64 + 8 + 8
    assert "second.weight" in model.state_dict()           # PyTorch's state has both too
    opt = tg.optim.SGD(model.parameters(), lr=0.1)
    codes, labels = np.array([[0, 1, 2]]), np.array([1, 2, 3])
    before = model.first.weight.data.copy()
    nn.cross_entropy(model(codes).reshape(3, 5), labels).backward()
    step = 0.1 * model.first.weight.grad                   # of both uses, added up
    opt.step()
    np.testing.assert_allclose(model.second.weight.data, before - step, rtol=1e-6)
    assert model.second.weight is model.first.weight
    path = tg.save(tmp_path / "tied.npz", model, opt)
    other = Tied(rng=1)
    tg.load(path, other, tg.optim.SGD(other.parameters(), lr=0.1))
    assert other.second.weight is other.first.weight
    np.testing.assert_array_equal(other(codes).data, model(codes).data)
    with pytest.raises(CheckpointError, match=r"second\.weight and first\.weight are one"):
        other.load_state_dict(model.state_dict() | {"second.weight": np.zeros((8, 8))})


def test_a_weight_that_pytorch_ties_comes_over_under_its_first_name():
    torch = pytest.importorskip("torch")

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.letters, self.head = torch.nn.Embedding(5, 8), torch.nn.Linear(8, 5, bias=False)
            self.first, self.second = torch.nn.Linear(8, 8), torch.nn.Linear(8, 8)
            self.head.weight, self.second.weight = self.letters.weight, self.first.weight

        def forward(self, codes):
            return self.head(self.second(torch.tanh(self.first(self.letters(codes)))))

    ours, theirs, codes = Tied(rng=1), Theirs(), np.array([[0, 1, 4]])
    nn.from_torch(ours, theirs.state_dict())
    np.testing.assert_allclose(ours(codes).data, theirs(torch.tensor(codes)).detach(), atol=1e-6)
    state = {k: v.clone() for k, v in theirs.state_dict().items()}     # equal, but not one array
    with pytest.raises(CheckpointError, match=r"head\.weight is not known here"):
        nn.from_torch(ours, state)


def test_a_compiled_step_trains_tied_weights_to_the_bit():
    codes, labels = np.array([[0, 1, 2, 3]]), np.array([1, 2, 3, 4])
    runs = []
    for wrap in (tg.compile, lambda step: step):
        model = Tied()
        opt = tg.optim.Adam(model.parameters(), lr=0.01)

        @wrap
        def step(x, y, model=model, opt=opt):
            loss = nn.cross_entropy(model(x).reshape(4, 5), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            return loss

        runs.append([step(codes, labels).item() for _ in range(20)])
    assert runs[0] == runs[1] and runs[0][-1] < runs[0][0]


def test_a_mask_is_read_anew_at_each_call_of_a_compiled_step():
    layer, rng = nn.MultiHeadAttention(4, 2, rng=0), np.random.default_rng(0)
    step = tg.compile(lambda x, mask: layer(x, mask=mask).sum())
    for _ in range(4):
        x, mask = rng.normal(size=(2, 5, 4)).astype("f4"), rng.random((2, 1, 5, 5)) < 0.5
        assert step(x, mask).item() == layer(x, mask=mask).sum().item()


def test_fit_compiles_a_transformer_by_itself_with_the_same_history():
    x = np.random.default_rng(0).integers(0, 5, (40, 6))
    y = np.float32(x[:, :1] == x[:, 1:2])                  # are the first two the same?
    losses = []
    for compiled in (None, True, False):
        model = nn.Sequential(
            nn.Embedding(5, 8, rng=0), nn.PositionalEmbedding(6, 8, rng=1),
            nn.TransformerBlock(8, 2, dropout=0.1, norm="rms", rng=2), nn.Flatten(),
            nn.Linear(48, 1, rng=3))
        history = tg.fit(model, x, y, loss="binary_cross_entropy_with_logits", epochs=5,
                         optimizer=tg.optim.Adam(lr=0.01), batch_size=8, seed=0, progress=False,
                         compile=compiled)
        losses.append(history["loss"])
    assert losses[0] == losses[1] == losses[2] and losses[0][-1] < losses[0][0]


# ---- drawn ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_each_block_is_one_frame_and_its_attention_one_within(dropout):
    model = nn.Sequential(*(nn.TransformerBlock(8, 2, dropout=dropout, rng=k) for k in range(2)),
                          nn.LayerNorm(8))
    z = model(np.ones((2, 5, 8), np.float32))
    frames = draw(z, max_nodes=None).graph.clusters
    for block in range(2):
        whole = [c for c in frames if c.path == (str(block),)]
        attends = [c for c in frames if c.path == (str(block), "self_attn")]
        assert len(whole) == len(attends) == 1
        assert attends[0].members < whole[0].members
        parts = {c.path[-1] for c in frames if c.parent == attends[0].id}
        assert parts == {"query", "key", "value", "out_proj"}
