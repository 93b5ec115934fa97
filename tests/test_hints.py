"""What hands from other libraries type, and what they are told: what, and what to try."""

import re
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import data, nn, optim, train, viz
from tinygrad_opt.hints import LIBRARIES, answers

# what is typed -> a part of the answer that says what to do instead
TENSOR = {
    "t.sum(dim=1)": "axis", "t.mean(dim=1)": "axis", "t.max(dim=1)": "axis",
    "t.argmax(dim=1)": "axis", "t.squeeze(dim=0)": "axis", "t.softmax(dim=1)": "axis",
    "t.cumsum(dim=0)": "axis", "t.std(dim=0)": "axis", "t.norm(dim=0)": "axis",
    "t.mean(axis=1, keepdim=True)": "keepdims", "t.max(1, keepdim=True)": "keepdims",
    "t.view(2, 4)": "t.reshape", "t.permute(1, 0)": "t.transpose", "t.t()": "t.T",
    "t.unsqueeze(0)": "np.expand_dims", "t.expand(3, 4, 2)": "np.broadcast_to",
    "t.clone()": "t.copy()", "t.contiguous()": "nothing to do", "t.to('cuda')": "t.astype",
    "t.cuda()": "main memory", "t.cpu()": "main memory", "t.device": "main memory",
    "t.float()": "t.astype(np.float32)", "t.double()": "t.astype(np.float64)",
    "t.half()": "np.float16", "t.long()": "np.int64", "t.numel()": "t.size", "t.dim()": "t.ndim",
    "t.matmul(t)": "a @ b", "t.mm(t)": "a @ b", "t.mul(t)": "a * b", "t.add(t)": "a + b",
    "t.pow(2)": "t ** n", "t.abs()": "abs(t)", "t.clamp(0, 1)": "t.clip", "t.eq(t)": "==",
    "t.masked_fill(x > 0, 0)": "np.where", "t.gather(1, y)": "np.take_along_axis",
    "t.chunk(2)": "np.array_split", "t.split(2)": "np.split", "t.topk(2)": "np.sort",
    "t.requires_grad_()": "t.requires_grad = True", "t.retain_grad()": "nothing to do",
    "t.grad_fn": "t.op", "t.zero_()": "t.data", "t.add_(1)": "t.data", "t.fill_(0)": "t.data",
    "t.backward(retain_graph=True)": "leave it out", "t.backward()": "loss.sum() or loss.mean()",
    "t.at[0].set(1)": "np.where", "t.flip(0)": "np.flip",
    "np.asarray(t)": "use .data", "t[0] = 1.0": "no_grad()", "np.add(t, 1, out=x)": "a + t",
    "len(t.sum())": "a single number", "t @ np.ones((3, 2))": "inner sizes 2 and 3",
    "t.repeat(2, dim=0)": "axis", "t.take(y, dim=0)": "axis", "tg.Tensor([[1.0], [1.0, 2.0]])":
    "different lengths", "tg.Tensor(np.ones(2) + 1j)": "real numbers",
    "tg.Tensor([1, 2], requires_grad=True, dtype=int)": "only floats",
    "bool(t)": ".any() or .all()", "t.item()": ".sum() or .mean()",
}
PACKAGE = {
    "tg.tensor([1.0])": "tg.Tensor", "tg.as_tensor(x)": "tg.Tensor",
    "tg.from_numpy(x)": "tg.Tensor",
    "tg.zeros(3)": "np.zeros", "tg.ones(3)": "NumPy", "tg.randn(3)": "standard_normal",
    "tg.rand(3)": "random", "tg.arange(3)": "NumPy", "tg.cat([t, t])": "np.concatenate",
    "tg.stack([t, t])": "np.stack", "tg.exp(t)": "np.exp", "tg.sum(t)": "np.sum",
    "tg.relu(t)": "nn.relu", "tg.softmax(t)": "nn.softmax", "tg.sigmoid(t)": "nn.sigmoid",
    "tg.matmul(t, t)": "np.matmul", "tg.mm(t, t)": "a @ b", "tg.manual_seed(0)": "tg.seed",
    "tg.float32": "np.float32", "tg.device('cpu')": "main memory",
    "tg.cuda.is_available()": "main memory", "tg.inference_mode()": "tg.no_grad",
    "tg.autograd.grads": "grad", "tg.Variable(x)": "requires_grad=True",
    "tg.GradientTape()": "loss.backward()", "tg.function": "tg.compile",
    "tg.keras": "tg.fit", "tg.Sequential": "nn.Sequential", "tg.jit(len)": "tg.compile",
    "tg.vmap(len)": "axis", "tg.vjp": "backward", "tg.jvp": "tg.hvp", "tg.jacfwd": "tg.jacobian",
    "tg.stop_gradient(t)": "t.detach()", "tg.Tensr([1.0])": "Tensor", "tg.compile(3)": "function",
    "tg.set_default_dtype('float33')": "float32", "tg.grad(len, argnum=0)": "argnums",
    "tg.draw(loss, path='a.svg')": ".save(",
    "tg.save(m, 'x.npz')": "path first",
    "tg.utils": "data.minibatches",
}
NETWORKS = {
    "nn.CrossEntropyLoss()": "nn.cross_entropy", "nn.MSELoss()": "nn.mse_loss",
    "nn.L1Loss()": "nn.l1_loss", "nn.NLLLoss()": "nn.nll_loss", "nn.BCELoss()": "binary_cross",
    "nn.BCEWithLogitsLoss()": "with_logits", "nn.SmoothL1Loss()": "huber", "nn.F": "nn itself",
    "nn.functional.relu(t)": "nn.relu", "nn.Parameter(x)": "requires_grad=True",
    "nn.ModuleList([])": "a list", "nn.ModuleDict({})": "a dict", "nn.Dense(3)": "nn.Linear",
    "nn.Input((2,))": "leave it out", "nn.Conv2D(1, 2, 3)": "nn.Conv2d", "nn.Layer": "nn.Module",
    "nn.MaxPooling2D(2)": "nn.MaxPool2d", "nn.BatchNormalization()": "nn.BatchNorm1d",
    "nn.LayerNormalization()": "nn.LayerNorm", "nn.SimpleRNN(3)": "nn.RNN",
    "nn.Activation('relu')": "nn.ReLU", "nn.mse(t, t)": "nn.mse_loss",
    "nn.binary_crossentropy(t, t)": "nn.binary_cross_entropy",
    "nn.sparse_categorical_crossentropy": "nn.cross_entropy",
    "nn.utils.clip_grad_norm_": "clip_norm", "nn.init.xavier_uniform_(t)": "init='xavier_uniform'",
    "nn.init.kaiming_normal_(t)": "init='kaiming_normal'",
    "nn.MultiheadAttention(8, 2)": "MultiHeadAttention",
    "nn.Conv2d(1, 2, kernel_size=3)": "kernel", "nn.Conv2d(1, 2, 3, padding='same')": "kernel // 2",
    "nn.MLP(3, 8, 2)": "MLP(sizes", "nn.MLP([3, 8, 2], activation='Relu')": "relu",
    "nn.MLP([3, 8, 2], activation='gelo')": "gelu", "nn.Linear(3, 2, device='cpu')": "leave it out",
    "nn.Linear(2)": "out_features", "nn.Linear(3, 2, use_bias=False)": "bias",
    "nn.Dropout(rate=0.5)": "p", "nn.ReLU(inplace=True)": "leave it out",
    "nn.LSTM(3, 4, num_layers=2)": "nn.Sequential", "nn.LSTM(3, 4, batch_first=True)": "samples",
    "nn.Embedding(num_embeddings=3, embedding_dim=4)": "argument",
    "nn.LeakyReLU(negative_slope=0.1)": "slope", "nn.softmax(t, dim=1)": "axis",
    "nn.Sequential([nn.Linear(2, 3)])": "one by one",
    "nn.MultiHeadAttention(8, num_heads=2)": "heads",
    "nn.MultiHeadAttention(8, 2)(np.ones((3, 8)), need_weights=True)": "weights",
    "nn.MultiHeadAttention(8, 2)(np.ones((3, 8)), attn_mask=np.eye(3) > 0)": "may look",
    "nn.TransformerBlock(8, 2)(np.ones((3, 8)), is_causal=True)": "causal=True",
    "nn.TransformerBlock(8, 2, dim_feedforward=16)": "hidden",
    "nn.BatchNorm2d(num_features=3)": "channels", "nn.RMSNorm(normalized_shape=3)": "shape",
    "nn.cross_entropy(m(x), y.astype(float))": "y.astype(int)",
    "nn.cross_entropy(m(x), y, dim=1)": "label_smoothing",
    "nn.cross_entropy(m(x), y + 2)": "classes from 0 to 1",
    "nn.mse_loss(t, t, size_average=True)": "reduction",
    "m(np.ones((4, 3)))": "inner sizes 3 and 2",
}
TRAINING = {
    "m.named_parameters()": "parameters().items()", "m.children()": "named_modules",
    "m.modules()": "named_modules", "m.to('cpu')": "main memory", "m.cuda()": "main memory",
    "m.fit(x, y)": "tg.fit", "m.compile('adam')": "tg.fit", "m.predict(x)": "train.predict",
    "m.evaluate(x, y)": "train.evaluate", "m.save('a')": "tg.save",
    "m.load_weights('a')": "tg.load",
    "m.get_weights()": "state_dict", "m.trainable_variables": "parameters()",
    "m.add(nn.ReLU())": "nn.Sequential", "m.score(x, y)": "train.evaluate",
    "m.weight": "its own attributes: activation, layers", "m.paramters()": "parameters",
    "m.register_buffer('a', x)": "buffers", "m.apply(len)": "named_modules",
    "optim.Adagrad(m.parameters())": "optim.AdaGrad", "optim.NAdam": "optim.Nadam",
    "optim.RMSProp": "optim.RMSprop", "optim.LBFGS": "optim.minimize",
    "optim.lr_scheduler.StepLR": "optim.schedules", "optim.schedules.StepLR": "step",
    "optim.schedules.CosineAnnealingLR": "cosine", "optim.chain": "clip_norm",
    "optim.Adam(m.parameters(), betas=(0.9, 0.99))": "beta1=",
    "optim.Adam(m.parameters(), learning_rate=0.1)": "lr",
    "optim.Adam(m.parameters(), epsilon=1e-7)": "eps",
    "optim.SGD(m.parameters(), clipnorm=1.0)": "clip_norm_each",
    "optim.SGD(m.parameters(), alpha=1.0)": "lr", "optim.SGD(m.parameters(), mu=0.9)": "momentum",
    "optim.RMSprop(m.parameters(), decay_rate=0.9)": "rho", "optim.Adam(m)": "model.parameters()",
    "optim.Adam(list(m.parameters().values()))": "model.parameters()",
    "optim.Adam(m.parameters(), lr=-1)": "[0, inf)", "optim.get('adm')": "adam",
    "o.param_groups": "opt.lr", "o.zero_grad(set_to_none=True)": "leave it out",
    "o.apply_gradients([])": "opt.step()", "o.minimize(loss)": "loss.backward()",
    "o.step(lambda: loss)": "step()", "o.learning_rate": "opt.lr", "o.step()": "loss.backward()",
    "tg.fit(m, x, y, loss=nn.cross_entropy, lr=0.1)": "optim.Adam",
    "tg.fit(m, x, y, loss=nn.cross_entropy, verbose=0)": "progress=False",
    "tg.fit(m, x, y, loss=nn.cross_entropy, validation_split=0.2)": "train_test_split",
    "tg.fit(m, x, y, loss=nn.cross_entropy, shuffle=True)": "seed",
    "tg.fit(m, x, y, loss='categorical_crossentropy')": "nn.cross_entropy",
    "tg.fit(m, x, y)": "loss", "tg.fit(m, x, y, loss='cross_entropy', optimizer='adm')": "adam",
    "data.DataLoader(x)": "data.minibatches", "data.TensorDataset(x, y)": "the arrays",
    "data.load_digits()": "data.digits", "data.make_moons()": "data.moons",
    "data.to_categorical(y)": "data.one_hot", "data.StandardScaler()": "data.standardize",
    "data.spiral(n_samples=3)": "argument", "data.moons(10, random_state=0)": "rng",
    "train.Trainer": "tg.fit", "train.ModelCheckpoint('a')": "train.Checkpoint",
    "viz.make_dot(loss)": "tg.draw", "viz.plot_histroy": "plot_history",
}
# and what a second look at the docs of PyTorch, Keras, JAX, optax, Flax and scikit-learn added
MORE = {
    "tg.Tensor(x, device='cuda')": "main memory", "tg.Tensor(2, 3)": "np.zeros((2, 3))",
    "tg.Tensor(x, requires_gradient=True)": "requires_grad", "t.exp_()": "nothing works in place",
    "t.scatter_(1, y, 1.0)": "nothing works in place", "t.isnan()": "np.isnan",
    "t.diag()": "np.diag",
    "t.triu()": "np.triu", "t.median()": "np.median", "t.outer(t)": "np.outer",
    "t.new_ones(3)": "NumPy", "t.bool()": "astype(bool)", "t.type_as(t)": "other.dtype",
    "t.movedim(0, 1)": "np.moveaxis", "t.narrow(0, 0, 2)": "t[start:stop]",
    "t.std(unbiased=False)": "ddof", "t.var(correction=0)": "ddof", "t.norm(p=1)": "ord=p",
    "t.register_backward_hook(len)": "register_hook", "t.numpy(force=True)": "leave it out",
    "tg.Linear(2, 3)": "nn.Linear", "tg.Adam(m.parameters())": "optim.Adam",
    "tg.array(x)": "np.array", "tg.hstack([t, t])": "np.hstack",
    "tg.predict(m, x)": "train.predict",
    "tg.clamp(t, 0, 1)": "np.clip",
    "tg.onnx.export(m, x, 'a.onnx')": "onnx.save(path, model, example)",
    "tg.distributed.init_process_group()": "tg.parallel",
    "tg.summary(m, (1, 2))": "model.summary(x)",
    "tg.draw(loss, 'a.svg')": ".save(path)", "tg.draw(m, x).view()": ".save(",
    "tg.draw(m, x, show_shapes=True)": "leave it out", "tg.compile(m, mode='max')": "leave it out",
    "m.load_state_dict({}, strict=False)": "leave it out", "m.summary(input_size=(2,))": "an input",
    "m.freeze()": "requires_grad_(False)", "m.init(0, x)": "nothing to do",
    "m.tabulate()": "summary",
    "m.get_layer('a')": "layers[i]", "nn.Linear(2, 3, 'relu')": "nn.ReLU()",
    "nn.Linear(2, 3, activation='relu')": "nn.ReLU()", "nn.LSTM(3, 4, 2)": "layers of their own",
    "nn.GRU(2, 3)(np.ones((4, 5, 2)), np.zeros((1, 4, 3)))": "no axis of layers",
    "nn.LSTM(3, 4, return_sequences=True)": "outputs, state", "nn.LSTM(3, hidden_size=4)": "hidden",
    "nn.Bidirectional(nn.RNN(2, 3))": "two layers",
    "nn.Conv2d(1, 2, 3, groups=2)": "one layer for each",
    "nn.MaxPool2d(kernel_size=2)": "size", "nn.GroupNorm(2, 4)": "nn.LayerNorm",
    "nn.Upsample(2)": "np.repeat", "nn.one_hot(y)": "data.one_hot", "nn.swish(t)": "nn.silu",
    "nn.Linear(2, 3, kernel_regularizer='l2')": "weight_decay", "nn.MLP([2, 3], seed=0)": "rng",
    "optim.StepLR(o, 3)": "optim.schedules.step", "optim.cosine(0.1)": "cosine",
    "optim.schedules.OneCycleLR(o, 1)": "one_cycle",
    "tg.fit(m, x, y, loss='mse', class_weight={0: 1})": "weight=",
    "tg.fit(m, x, y, loss='mse', steps_per_epoch=3)": "leave it out",
    "train.EarlyStopping(restore_best_weights=True)": "restore_best",
    "train.Checkpoint(filepath='a.npz')": "path", "train.evaluate(m, x, y)": "loss=",
    "train.TensorBoard('logs')": "CSVLog", "train.train_test_split(x, y)": "data.train_test_split",
    "tg.History().history": "history['loss']", "data.moons(10, noise='a')": "noise",
    "viz.plot_history(m)": "History", "tg.fit(x, y, m, loss='mse')": "model comes first",
    "nn.Linear(2, 3, init='he_normal')": "kaiming_normal",
    "nn.init.glorot_uniform": "xavier_uniform",
}
# and what was typed in a third round, by hands that had not seen the tables
COLD = {
    "optim.schedules.cosine(0.1, T_max=10)": "T_max here: steps",
    "optim.schedules.step(0.1, step_size=10)": "step_size here: every",
    "data.standardize(x, axis=0)": "standardize() has no argument 'axis'",
    "data.train_test_split(x, y, stratify=y)": "True or False", "np.linalg.svd(t[0])": "matrices",
    "t.flatten(start_dim=1)": "t.reshape(len(t), -1)", "t.flatten(1)": "called as Tensor.flatten()",
    "t.squeeze_(0)": "nothing works in place", "t.addmm(t, t)": "c + a @ b",
    "t.nansum()": "np.isnan", "t.lerp(t, 0.5)": "end - t", "t.repeat_interleave(2)": "t.repeat",
    "t.is_floating_point()": "t.dtype.kind", "tg.autograd.Function": "tg.op",
    "nn.MLP([2, 3], activation='swish')": "silu",
    "nn.MLP([2, 3], activation='logistic')": "sigmoid",
    "nn.Conv2d(3, 4, 3)(np.ones((2, 5, 5, 3)))": "np.moveaxis(x, -1, 1)",
    "nn.Linear(9, 2)(np.ones((4, 3, 3)))": "x.reshape(len(x), -1)",
    "nn.Linear(9, 2)(np.ones((4, 3)))": "give it 9 features, or make the layer for 3",
}
ALL = {**TENSOR, **PACKAGE, **NETWORKS, **TRAINING, **MORE, **COLD}


def space():
    x, y = np.ones((4, 2), np.float32), np.array([0, 1, 0, 1])
    t, m = tg.Tensor(x, requires_grad=True), nn.MLP([2, 3, 2], rng=0)
    return {"np": np, "tg": tg, "nn": nn, "optim": optim, "data": data, "train": train,
            "viz": viz, "x": x, "y": y, "t": t, "m": m, "o": optim.Adam(m.parameters()),
            "loss": (t * t).sum()}


@pytest.mark.parametrize("typed", ALL)
def test_a_mistake_is_answered_with_what_to_try(typed):
    expected = AttributeError, TypeError, ValueError, RuntimeError, IndexError
    with pytest.raises(expected, match=re.escape(ALL[typed])):
        exec(typed, space())


def test_the_list_is_long():
    assert len(ALL) >= 162


@pytest.mark.parametrize(("library", "owner"), [(library, owner) for library in LIBRARIES
                                                for owner in LIBRARIES[library]])
def test_hints_are_for_names_that_are_not_there(library, owner):
    """A hint for a name that exists here would never be seen."""
    places = {"tinygrad_opt": tg, "Tensor": tg.Tensor, "nn": nn, "History": tg.History,
              "GraphView": viz.GraphView, "interop": tg.interop, "Module": nn.Module,
              "optim": optim, "Optimizer": optim.Optimizer, "data": data, "train": train,
              "viz": viz, "init": nn.init, "schedules": optim.schedules,
              "autograd": tg.autograd, "activations": SimpleNamespace(**nn.activations._BY_NAME)}
    if owner == "onnx":
        places[owner] = pytest.importorskip("onnx") and tg.interop.onnx
    if owner == "options":
        assert not LIBRARIES[library][owner].keys() & {o for name in optim.names()
                                                       for o in type(optim.get(name)).options}
    elif owner != "arguments":
        here = {name for name in LIBRARIES[library][owner] if hasattr(places[owner], name)}
        assert here <= SUBMODULES


CURES = sorted({cure for table in LIBRARIES.values() for names in table.values()
                for cure in names.values()})


def test_what_hints_tell_is_there():
    model, t = nn.MLP([2, 3]), tg.Tensor(np.ones((2, 2)))
    names = {"np": np, "tg": tg, "nn": nn, "optim": optim, "data": data, "train": train, "viz": viz,
             "schedules": optim.schedules, "t": t, "model": model, "history": tg.History(),
             "opt": optim.Adam(model.parameters()), "rng": np.random.default_rng(0),
             "layer": nn.Linear(2, 3), "tinygrad": None}
    roots = "|".join(names)
    for cure in CURES:
        for said in re.findall(rf"(?<![\w.'/])(?:{roots})(?:\.[A-Za-z_]\w*)+", cure):
            with suppress(ImportError):                    # of an extra that is not installed
                eval(said, names)
        for call in re.findall(r"nn\.\w+\(\d[^()]*\)", cure):
            eval(call, names)


SUBMODULES = {"tensor", "autograd"}            # which stand in the place of the function


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_what_editors_complete_is_there_and_no_hint(shape):
    t = tg.Tensor(np.ones(shape), requires_grad=True)
    assert {"mT", "reshape", "grad"} <= {*dir(t)} and not {"cuda", "view", "zero_"} & {*dir(t)}


def test_errors_from_inside_stay_as_they_are():
    @answers
    def f(x, *, axis=None):
        return x + "a"

    with pytest.raises(TypeError, match="unsupported operand"):
        f(1)
    with pytest.raises(TypeError, match=r"f\(\) has no argument 'dim'; PyTorch's dim here: axis"):
        f(1, dim=2)


def test_a_users_module_is_answered_by_its_own_name():
    class Net(nn.Module):
        def __init__(self, width=3):
            self.layer = nn.Linear(2, width)

    with pytest.raises(TypeError, match=r"Net\(\) has no argument 'widht'; did you mean 'width'"):
        Net(widht=3)


@pytest.mark.parametrize(("typed", "said"), {
    "import tinygrad_opt.nn.functional as F": "its functions are in nn itself",
    "from tinygrad_opt.nn import CrossEntropyLoss": "nn.cross_entropy",
    "from tinygrad_opt.utils.data import DataLoader": "data.minibatches",
    "from tinygrad_opt.data import DataLoader": "data.minibatches",
    "from tinygrad_opt.optim.lr_scheduler import StepLR": "optim.schedules.cosine",
    "from tinygrad_opt import manual_seed": "tg.seed(0)",
    "from tinygrad_opt import jit": "tg.compile",
}.items())
def test_imports_are_answered_as_attributes_are(typed, said):
    with pytest.raises(ImportError, match=re.escape(said)):
        exec(typed, {})


@pytest.mark.parametrize("typed", [
    "import tinygrad_opt.nothing", "from tinygrad_opt.nn import Linaer", "import tinygrad_other"])
def test_other_imports_that_fail_say_what_python_says(typed):
    with pytest.raises(ImportError, match=r"No module named|cannot import name"):
        exec(typed, {})


def test_groups_of_parameters_are_told_to_be_overrides():
    weight = tg.Tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"got a list; groups are named by overrides=\{"):
        optim.AdamW([{"params": [weight], "weight_decay": 0.1}])
    with pytest.raises(TypeError, match=r"got a list$"):
        optim.AdamW([weight])


def test_a_state_inside_a_file_is_named(tmp_path):
    model = nn.Linear(2, 3)
    path = tg.save(tmp_path / "state.npz", model.state_dict())
    with pytest.raises(tg.CheckpointError, match=r"model is not known here: is state\['model'\]"):
        model.load_state_dict(tg.load(path))
    model.load_state_dict(tg.load(path)["model"])
