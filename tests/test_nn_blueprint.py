"""Models made anew from what a checkpoint says about them."""

import json

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.errors import CheckpointError

MODELS = {
    "mlp": lambda: (nn.MLP([4, 8, 3], "gelu", rng=0), (5, 4)),
    "mlp with all": lambda: (nn.MLP([4, 8, 3], nn.LeakyReLU(0.2), dropout=0.3, norm="batch",
                                    output="softmax", rng=0), (5, 4)),
    "functions": lambda: (nn.Sequential(nn.Linear(4, 4, rng=0), np.tanh, nn.silu,
                                        nn.Linear(4, 2, bias=False, rng=1)), (5, 4)),
    "layer norm": lambda: (nn.Sequential(nn.LayerNorm(4), nn.ELU(0.5), nn.Softmax(0)), (5, 4)),
    "convolutions": lambda: (nn.Sequential(
        nn.Conv2d(1, 2, 3, stride=2, padding=1, rng=0), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(8, 2, rng=0)), (5, 1, 8, 8)),
    "batch norm of images": lambda: (nn.Sequential(nn.BatchNorm2d(1), nn.Flatten()), (5, 1, 3, 3)),
    "transformer": lambda: (nn.Sequential(
        nn.PositionalEmbedding(5, 8, rng=0), nn.SinusoidalEmbedding(8),
        nn.TransformerBlock(8, 2, causal=True, rng=1), nn.TransformerBlock(
            8, 4, 6, "relu", norm="rms", norm_first=False, dropout=0.2, rng=2),
        nn.MultiHeadAttention(8, 2, bias=False, rng=3), nn.RMSNorm(8)), (3, 4, 8)),
    "float64": lambda: (nn.MLP([4, 3], dtype="float64", rng=0), (5, 4)),
}


def saved(model, folder, name="m.npz"):
    return tg.load(tg.save(folder / name, model))


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_model_from_a_file_gives_what_the_saved_one_gave(make, suffix, tmp_path):
    model, shape = make()
    x = np.random.default_rng(1).normal(size=shape).astype("float32")
    model(x)                                               # moves running statistics
    again = nn.rebuild(saved(model, tmp_path, f"m.{suffix}"))
    assert np.array_equal(again.eval()(x).data, model.eval()(x).data)
    assert repr(again) == repr(model)
    ours, theirs = again.parameters(), model.parameters()
    assert [*ours] == [*theirs]
    for name, p in ours.items():
        assert (p.dtype, p.name, p.requires_grad) == (theirs[name].dtype, theirs[name].name, True)
        assert p is not theirs[name] and not np.shares_memory(p.data, theirs[name].data)


def test_a_rebuilt_model_learns_as_the_saved_one_does(tmp_path):
    model = nn.MLP([4, 8, 3], rng=0)
    again = nn.rebuild(saved(model, tmp_path))
    x, y = np.ones((5, 4), "float32"), np.zeros(5, int)
    for each in (model, again):
        opt = tg.optim.Adam(each.parameters(), lr=0.1)
        nn.cross_entropy(each(x), y).backward()
        opt.step()
    assert all(np.array_equal(p.data, q.data) for p, q in
               zip(model.parameters().values(), again.parameters().values(), strict=True))


def test_frozen_and_tied_parameters_and_the_mode_stay(tmp_path):
    first = nn.Linear(3, 3, rng=0)
    model = nn.Sequential(first, nn.Tanh(), first, nn.Linear(3, 3, rng=1))
    model.layers[3].weight = first.weight
    model.requires_grad_("*bias", False).eval()
    again = nn.rebuild(saved(model, tmp_path))
    assert again.layers[0] is again.layers[2] and again.layers[3].weight is again.layers[0].weight
    assert [p.requires_grad for p in again.parameters().values()] == [True, False, False]
    assert [*again.parameters()] == [*model.parameters()] and not again.training


def test_dropout_goes_on_where_the_file_is_loaded_into_the_rebuilt_model(tmp_path):
    model = nn.MLP([4, 50, 3], dropout=0.5, rng=0)
    path = tg.save(tmp_path / "m.npz", model)
    again = nn.rebuild(tg.load(path))
    tg.load(path, again)
    x = np.ones((5, 4), "float32")
    assert np.array_equal(again(x).data, model(x).data)


class Mine(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(2, 2, rng=0)

    def forward(self, x):
        return self.layer(x)


class Linear(nn.Linear):
    """Bears the name of a layer of the library, and is none."""


def circle():
    model = nn.Sequential(nn.Linear(2, 2, rng=0))
    model.layers[0].owner = model
    return model


@pytest.mark.parametrize("make, words", [
    (Mine, "it is a Mine, which is no class of tinygrad_opt.nn"),
    (lambda: nn.Sequential(nn.Linear(2, 2), Mine()), "layers.1 is a Mine"),
    (lambda: Linear(2, 2), "it is a Linear, which is no class"),
    (lambda: nn.Sequential(nn.Linear(2, 2), lambda x: x), "layers.1 is the function <lambda>"),
    (lambda: nn.MLP([2, 2, 2], print), "activation is the function print"),
    (circle, "layers.0.owner is a module that this one lies in"),
])
def test_a_model_with_code_of_its_own_is_saved_but_not_rebuilt(make, words, tmp_path):
    content = saved(make(), tmp_path)
    assert content["model"]
    with pytest.raises(CheckpointError, match=f"{words}.*make the model in Python") as caught:
        nn.rebuild(content)
    assert "load(path, model)" in str(caught.value)


def test_files_of_before_and_bare_states_say_what_to_do(tmp_path):
    np.savez(tmp_path / "old.npz", w=np.ones(3))
    tg.save(tmp_path / "state.npz", nn.Linear(2, 2).state_dict())
    for name in ("old.npz", "state.npz"):
        with pytest.raises(CheckpointError, match="does not tell how its model is made"):
            nn.rebuild(tg.load(tmp_path / name))
    with pytest.raises(TypeError, match=r"what load gave, as in nn.rebuild\(tg.load\(path\)\)"):
        nn.rebuild("state.npz")


def test_the_description_is_plain_data():
    text = json.dumps(nn.MLP([2, 4, 3], "tanh", rng=0).architecture())
    assert '"function": "tanh"' in text and '"tensor": "layers.0.weight"' in text


def broken(change):
    model = nn.MLP([2, 3], rng=0)
    description = json.loads(json.dumps(model.architecture()))
    change(description)
    return {"architecture": description, "model": model.state_dict()}


@pytest.mark.parametrize("change", [
    lambda d: d.update(module="os"),
    lambda d: d.update(module="Module.__init__"),
    lambda d: d.update(module="cross_entropy"),
    lambda d: d["holds"].update(activation={"function": "eval"}),
    lambda d: d["holds"].update(activation={"function": "init"}),
    lambda d: d["holds"].update(activation={"ufunc": "load"}),
    lambda d: d["holds"].update(activation={"call": "exit"}),
    lambda d: d["holds"].update({"__class__": "x"}),
    lambda d: d["holds"].update({"a b": 1}),
    lambda d: d["holds"].update({"parameters": 1}),
    lambda d: d["holds"]["layers"]["list"][0]["holds"]["weight"].update(tensor="nowhere"),
    lambda d: d["holds"]["layers"]["list"][0]["holds"]["weight"].update(trained="yes"),
    lambda d: d["holds"].update(layers={"list": 3}),
    lambda d: d["holds"].update(layers={"same": "nowhere"}),
    lambda d: d.clear(),
])
def test_a_damaged_or_hostile_description_is_refused(change):
    with pytest.raises(CheckpointError, match="description of the model is damaged"):
        nn.rebuild(broken(change))


def test_the_name_that_the_description_takes_is_not_given_twice(tmp_path):
    with pytest.raises(CheckpointError, match="the name 'architecture' is taken"):
        tg.save(tmp_path / "m.npz", nn.Linear(2, 2), architecture="mine")
    assert not (tmp_path / "m.npz").exists()
