"""Modules: what they find, what they call it, how they are saved, changed and shown."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn

ROOT = Path(__file__).resolve().parents[1]


def leaf(*shape):
    return tg.Tensor(np.ones(shape), requires_grad=True)


class Net(nn.Module):
    """Tensors and modules in attributes, lists, tuples and dicts."""

    def __init__(self):
        self.scale = leaf(2)
        self.layers = [nn.Linear(2, 2, rng=0), (leaf(3), {"deep": nn.Linear(2, 1, rng=1)})]
        self.table = {"b": leaf(1), "a": leaf(4)}
        self.number, self.text, self.array, self.empty = 3, "x", np.zeros(3), None

    def forward(self, x):
        return self.layers[0](x) * self.scale


# ---- what is found -------------------------------------------------------------------------------


def test_parameters_are_found_in_attributes_lists_tuples_and_dicts_in_order_of_definition():
    assert list(Net().parameters()) == [
        "scale", "layers.0.weight", "layers.0.bias", "layers.1.0", "layers.1.1.deep.weight",
        "layers.1.1.deep.bias", "table.b", "table.a",
    ]


def test_what_is_appended_later_is_found_too():
    net = Net()
    net.layers.append(nn.Linear(1, 1))
    assert list(net.parameters())[6:8] == ["layers.2.weight", "layers.2.bias"]
    assert net.layers[2].weight.name == "layers.2.weight"


def test_names_and_their_order_do_not_depend_on_the_hash_seed():
    code = ("from tinygrad_opt import nn; m = nn.MLP([2, 3, 4, 1], norm='layer', rng=0);"
            "print({name: p.tolist() for name, p in m.parameters().items()})")
    printed = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                       cwd=ROOT, env={"PYTHONHASHSEED": seed, "PATH": ""}).stdout
        for seed in ("0", "1", "77")
    }
    assert len(printed) == 1
    assert "layers.2.bias" in printed.pop()


def test_modules_are_named_by_their_paths_and_the_whole_is_the_empty_one():
    net = Net()
    modules = net.named_modules()
    assert list(modules) == ["", "layers.0", "layers.1.1.deep"]
    assert modules[""] is net


def test_a_set_of_modules_is_refused_since_it_has_no_order():
    net = Net()
    with pytest.raises(TypeError, match=r"bag is a set.*use a list"):
        net.bag = {nn.Linear(1, 1)}
    assert not hasattr(net, "bag")


def test_two_parameters_with_one_path_are_an_error():
    net = nn.Module()
    net.table = {"a.b": leaf(1), "a": {"b": leaf(2)}}
    with pytest.raises(ValueError, match=r"both called 'table\.a\.b'"):
        net.parameters()
    with pytest.raises(ValueError, match=r"both called 'table\.a\.b'"):
        net.state_dict()


def test_computed_tensors_and_constants_are_no_parameters_but_frozen_ones_are():
    net = nn.Module()
    net.w = leaf(2)
    net.computed = net.w * 2
    net.constant = tg.Tensor([1.0])
    with tg.no_grad():
        net.last = net.w * 3
    net.w.requires_grad = False
    assert list(net.parameters()) == ["w"]
    assert list(net.state_dict()) == ["w"]


def test_a_module_works_without_super_init():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 1, rng=0)

        def forward(self, x):
            return self.layer(x)

    net = Forgetful()
    assert net(np.zeros((4, 2))).shape == (4, 1)
    assert net.training and not net.eval().training
    assert list(net.parameters()) == ["layer.weight", "layer.bias"]


def test_a_misspelt_init_is_a_plain_error_at_the_first_use():
    class Typo(nn.Module):
        def _init_(self):
            self.layer = nn.Linear(2, 1)

        def forward(self, x):
            return self.layer(x)

    with pytest.raises(AttributeError, match=r"Typo has no attribute 'layer'.*two underscores"):
        Typo()(np.zeros((1, 2)))
    with pytest.raises(AttributeError, match=r"no attribute 'weigth'; did you mean 'weight'"):
        _ = nn.Linear(1, 1).weigth


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match=r"Empty needs a method forward\(self, x\)"):
        Empty()(1)


@pytest.mark.parametrize("name", ["parameters", "train", "eval", "state_dict", "summary"])
def test_an_attribute_may_not_hide_a_method_of_module(name):
    net = Net()
    with pytest.raises(AttributeError, match=f"'{name}' is a method"):
        setattr(net, name, 3)
    assert callable(getattr(net, name))


def test_a_module_that_knows_the_one_above_it_does_not_go_round_in_circles():
    net = Net()
    net.layers[0].owner = net
    assert list(net.parameters()) == list(Net().parameters())
    assert net.scale.name == "scale"
    assert "Net" in repr(net)
    net.eval()
    assert len(net.state_dict()) == 8


@pytest.mark.parametrize("values", [np.ones((2, 1)), [[1.0], [2.0]], tg.Tensor(np.ones((2, 1)))])
def test_a_constant_in_the_place_of_a_parameter_is_refused(values):
    layer = nn.Linear(2, 1)
    weight = layer.weight
    with pytest.raises(TypeError, match=r"'weight' is a parameter.*\.weight\.data = .*freeze"):
        layer.weight = values
    assert layer.weight is weight
    layer.weight = leaf(2, 1)
    layer.weight = layer.weight * 2                        # as a network that makes weights does
    layer.bias = None
    layer.weight = values
    assert list(layer.parameters()) == []


# ---- names ---------------------------------------------------------------------------------------


def test_tensors_carry_their_path_as_soon_as_the_tree_stands():
    model = nn.MLP([2, 3, 1])
    assert [layer.weight.name for layer in model.layers] == ["layers.0.weight", "layers.1.weight"]
    with pytest.raises(tg.ShapeError, match=r"layers\.0\.weight \(2, 3\)"):
        model(np.zeros((5, 4)))


def test_a_name_grows_with_the_tree_and_never_shrinks():
    inner = nn.Linear(1, 1)
    assert inner.weight.name == "weight"
    outer = nn.Sequential(inner)
    assert inner.weight.name == "0.weight"
    inner.parameters()
    assert inner.weight.name == "0.weight"
    assert list(outer.parameters()) == ["0.weight", "0.bias"]


def test_a_name_of_your_own_stays():
    net = nn.Module()
    net.w = tg.Tensor([1.0], requires_grad=True, name="slope")
    assert list(net.parameters()) == ["w"]
    assert net.w.name == "slope"


def test_a_tied_parameter_is_listed_once_under_its_first_path():
    net = nn.Module()
    net.a, net.b = nn.Linear(2, 2, bias=False, rng=0), nn.Linear(2, 2, bias=False, rng=1)
    net.b.weight = net.a.weight
    assert list(net.parameters()) == ["a.weight"]
    assert net.b.weight.name == "a.weight"
    assert list(net.state_dict()) == ["a.weight", "b.weight"]


def test_a_module_used_twice_is_listed_once():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    assert list(net.parameters()) == ["0.weight", "0.bias"]
    assert list(net.named_modules()) == ["", "0", "1"]
    assert net.summary().parameters == 6


# ---- saving --------------------------------------------------------------------------------------


def test_a_state_is_a_copy_and_loading_it_brings_the_values_back_in_the_same_memory():
    model = nn.Sequential(nn.Linear(2, 3, rng=0), nn.BatchNorm1d(3))
    model(np.random.default_rng(0).normal(size=(4, 2)))
    state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean",
                           "1.running_var"]
    arrays = [p.data for p in model.parameters().values()]
    for array in arrays:
        array += 1
    model[1].running_mean += 1
    model.load_state_dict(state)
    assert all(p.data is a for p, a in zip(model.parameters().values(), arrays, strict=True))
    again = model.state_dict()
    assert all((again[k] == state[k]).all() for k in state)


def test_loading_lists_every_problem_and_changes_nothing():
    model = nn.MLP([2, 3, 1], rng=0)
    before = model.state_dict()
    state = dict(before)
    state["extra"] = state.pop("layers.1.bias")
    state["layers.0.weight"] = np.zeros((3, 2))
    state["layers.0.bias"] = np.array(["a", "b", "c"])
    state["layers.1.weight"] = np.ones((3, 1))
    with pytest.raises(tg.CheckpointError) as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    assert "MLP" in message
    assert "layers.1.bias is missing" in message
    assert "extra is not known here" in message
    assert "layers.0.weight has shape (3, 2), here it is (2, 3)" in message
    assert "layers.0.bias holds <U1, here it is float32" in message
    assert all((model.state_dict()[k] == before[k]).all() for k in before)


def test_loading_something_that_is_no_dict_says_so():
    with pytest.raises(TypeError, match="a state is a dict of names and arrays, got list"):
        nn.Linear(1, 1).load_state_dict([1])


def test_a_graph_recorded_before_loading_is_out_of_date():
    model = nn.Linear(2, 1, rng=0)
    loss = (model(np.ones((1, 2))) ** 2 * model.weight.sum()).sum()
    model.load_state_dict(model.state_dict())
    with pytest.raises(tg.GraphError, match="changed in place"):
        loss.backward()


def test_a_tied_parameter_cannot_be_loaded_with_two_values():
    net = nn.Module()
    net.a = leaf(2)
    net.b = net.a
    with pytest.raises(tg.CheckpointError, match="b and a are one parameter here, but differ"):
        net.load_state_dict({"a": np.zeros(2), "b": np.ones(2)})
    assert (net.a.data == 1).all()
    net.load_state_dict({"a": np.zeros(2), "b": np.zeros(2)})
    assert (net.a.data == 0).all()


def test_a_part_of_a_state_is_loaded_by_completing_it():
    model = nn.MLP([2, 3, 1], rng=0)
    model.load_state_dict(model.state_dict() | {"layers.1.bias": [5.0]})
    assert model.layers[1].bias.item() == 5


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_model_that_holds_graphs_is_copied_and_pickled(duplicate):
    model = nn.MLP([2, 4, 3], "tanh", dropout=0.5, norm="batch", rng=0)
    model.tied = model.layers[0].weight
    model.last = model(np.ones((3, 2)))
    model.log = [model.last, {"loss": model.last.sum()}, (1, "a")]
    model.last.sum().backward()
    other = duplicate(model)
    assert list(other.parameters()) == list(model.parameters())
    assert other.tied is other.layers[0].weight
    assert other.tied.name == "layers.0.weight"
    assert other.last.op is None and other.log[1]["loss"].item() == model.last.data.sum()
    assert other.log[2] == (1, "a")
    other.layers[0].weight.data[...] = 0
    assert model.layers[0].weight.data.any()
    x = np.ones((2, 2))
    model.eval(), other.eval()
    other.load_state_dict(model.state_dict())
    assert (other(x).data == model(x).data).all()


def test_copying_a_model_leaves_the_model_as_it_was():
    net = nn.Module()
    net.w = leaf(2)
    net.last = net.w * 2
    held = [net.last]
    net.log = held
    copy.deepcopy(net)
    assert net.log is held and held[0].op is not None


# ---- changing all of it --------------------------------------------------------------------------


def test_train_and_eval_reach_the_whole_tree():
    model = nn.MLP([2, 3, 3, 1], dropout=0.5, norm="batch")
    assert model.eval() is model
    assert not any(m.training for m in model.named_modules().values())
    model.train()
    assert all(m.training for m in model.named_modules().values())


def test_freezing_by_pattern_keeps_the_parameter_in_lists_and_states():
    model = nn.MLP([2, 3, 1], rng=0)
    names = list(model.parameters())
    assert model.requires_grad_("layers.0.*", False) is model
    assert list(model.parameters()) == names == list(model.state_dict())
    model(np.ones((1, 2))).sum().backward()
    grads = {name: p.grad is not None for name, p in model.parameters().items()}
    assert grads == {"layers.0.weight": False, "layers.0.bias": False,
                     "layers.1.weight": True, "layers.1.bias": True}
    model.requires_grad_("*", True)
    assert all(p.requires_grad for p in model.parameters().values())
    model.requires_grad_(False)
    assert not any(p.requires_grad for p in model.parameters().values())
    with pytest.raises(ValueError, match=r"no parameter matches 'layer\.\*'; there are layers\.0"):
        model.requires_grad_("layer.*", False)


def test_zero_grad_forgets_all_gradients():
    model = nn.Linear(2, 1)
    model(np.ones((1, 2))).sum().backward()
    model.zero_grad()
    assert model.weight.grad is None and model.bias.grad is None


def test_astype_converts_parameters_and_buffers():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).astype("float64")
    assert {a.dtype.name for a in model.state_dict().values()} == {"float64"}
    assert model(np.ones((3, 2))).dtype == np.float64
    with pytest.raises(TypeError, match="cannot become int64"):
        model.astype("int64")


# ---- showing it ----------------------------------------------------------------------------------


def test_repr_is_the_tree():
    assert repr(Net()) == (
        "Net()\n"
        "├─ layers.0: Linear(2, 2)\n"
        "└─ layers.1.1.deep: Linear(2, 1)"
    )
    model = nn.Sequential(nn.MLP([2, 3, 1], "tanh"), np.tanh, nn.Dropout(0.25))
    assert repr(model) == (
        "Sequential(tanh)\n"
        "├─ 0: MLP(tanh)\n"
        "│  ├─ layers.0: Linear(2, 3)\n"
        "│  └─ layers.1: Linear(3, 1)\n"
        "└─ 2: Dropout(0.25)"
    )


EVERY_LAYER = [
    (nn.Linear(2, 3, bias=False), "Linear(2, 3, bias=False)"),
    (nn.Bilinear(2, 3, 4, bias=False), "Bilinear(2, 3, 4, bias=False)"),
    (nn.Bilinear(2, 3, 4), "Bilinear(2, 3, 4)"),
    (nn.Conv1d(1, 2, 3), "Conv1d(1, 2, 3)"),
    (nn.Conv2d(1, 2, 3, stride=(1, 2), padding=1, bias=False),
     "Conv2d(1, 2, 3×3, stride=1×2, padding=1×1, bias=False)"),
    (nn.MaxPool2d(2), "MaxPool2d(2)"),
    (nn.AvgPool2d(2, stride=1, padding=1), "AvgPool2d(2, stride=1, padding=1)"),
    (nn.LayerNorm((2, 3)), "LayerNorm((2, 3))"),
    (nn.LayerNorm(4), "LayerNorm(4)"),
    (nn.BatchNorm1d(4), "BatchNorm1d(4)"),
    (nn.Embedding(27, 2), "Embedding(27, 2)"),
    (nn.GRU(2, 8), "GRU(2, 8)"),
    (nn.Flatten(), "Flatten()"),
    (nn.Flatten(2), "Flatten(2)"),
    (nn.LeakyReLU(0.1), "LeakyReLU(0.1)"),
    (nn.ELU(), "ELU(1.0)"),
    (nn.GELU(), "GELU()"),
    (nn.GELU("tanh"), "GELU('tanh')"),
    (nn.Softmax(), "Softmax(axis=-1)"),
]


@pytest.mark.parametrize(("layer", "text"), EVERY_LAYER, ids=[text for _, text in EVERY_LAYER])
def test_a_layer_is_shown_with_its_options(layer, text):
    assert repr(layer) == text


def test_summary_lists_layers_shapes_and_parameters_and_leaves_the_model_alone():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, rng=0), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10, rng=1),
        nn.BatchNorm1d(10),
    ).requires_grad_("0.*", False)
    before, types = model.state_dict(), [type(m) for m in model]
    table = model.summary((5, 1, 8, 8))
    assert [(r.name, r.output, r.parameters) for r in table.rows] == [
        ("(model)", (5, 10), 1510), ("0", (5, 4, 6, 6), 40), ("1", (5, 4, 6, 6), 0),
        ("2", (5, 144), 0), ("3", (5, 10), 1450), ("4", (5, 10), 20),
    ]
    assert (table.parameters, table.trainable) == (1510, 1470)
    assert str(table).splitlines()[-1] == "1,510 parameters, 1,470 trainable"
    assert len({len(line) for line in str(table).splitlines()[:-1]}) == 1
    assert [type(m) for m in model] == types and model.training
    assert all((model.state_dict()[k] == before[k]).all() for k in before)


def test_summary_without_a_shape_leaves_that_column_out():
    assert str(nn.Linear(2, 3).summary()) == (
        "name     layer         parameters\n"
        "(model)  Linear(2, 3)           9\n"
        "9 parameters, 9 trainable"
    )


def test_summary_shows_states_and_what_was_not_called():
    model = nn.LSTM(2, 3)
    model.unused = nn.Linear(1, 1)
    text = str(model.summary((4, 5, 2)))
    assert "((4, 5, 3), ((4, 3), (4, 3)))" in text and "not called" in text
    assert "(7, 3, 2)" in str(nn.Embedding(5, 2).summary((7, 3), dtype=int))
