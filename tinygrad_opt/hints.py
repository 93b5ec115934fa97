"""What other libraries call it, and what it is called here: for the end of error messages.

These are hints only; the names themselves are not defined. A table for each library says for the
owner of an attribute, or for "arguments", what a name of that library is here.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from typing import NoReturn, TypeVar, cast

import numpy as np

from tinygrad_opt.errors import nearest

__all__ = ["answer_names", "answers", "hint", "missing", "nothing_called", "of_others"]

Function = TypeVar("Function", bound=Callable[..., object])

MEMORY = "arrays are NumPy's, in main memory: leave it out"
IN_PLACE = "nothing works in place here: assign the result, t = ..., or write to t.data"
NUMPY = "NumPy's functions make arrays, tg.Tensor(...) wraps them: tg.Tensor(np.zeros(3))"
RATE = "the learning rate is the optimizer's: optimizer=optim.Adam(lr=0.01)"
LOOP = "training is a function: tg.fit(model, x, y, loss=..., optimizer=optim.Adam(), epochs=...)"
FUNCTIONS = "losses are functions: loss = nn.{}(prediction, y)"
CLIP = "an option of the optimizer: optim.Adam(params, clip_norm=1.0), or clip_value="
DICT = "parameters are a dict name -> Tensor: for name, p in model.parameters().items()"
SCHEDULE = ("a schedule is the lr, counted in steps, not epochs: optim.Adam(params,"
            " lr=optim.schedules.cosine(0.1, epochs * batches))")
WHOLE = "tg.save(path, model, optimizer) and tg.load(path, model, optimizer)"

PYTORCH = {
    "tinygrad_opt": {
        "tensor": "tg.Tensor(...)", "as_tensor": "tg.Tensor(...)", "from_numpy": "tg.Tensor(array)",
        "FloatTensor": "tg.Tensor(...)",
        "manual_seed": "tg.seed(0) for weights and dropout; splits and batches take rng=",
        "zeros": NUMPY, "ones": NUMPY, "eye": NUMPY, "arange": NUMPY, "linspace": NUMPY,
        "full": NUMPY, "empty": NUMPY, "zeros_like": NUMPY, "ones_like": NUMPY,
        "rand": "tg.Tensor(np.random.default_rng(0).random(shape))",
        "randn": "tg.Tensor(np.random.default_rng(0).standard_normal(shape))",
        "randint": "np.random.default_rng(0).integers(low, high, shape)",
        "randperm": "np.random.default_rng(0).permutation(n)",
        "cat": "np.concatenate([a, b])", "concat": "np.concatenate([a, b])",
        "mm": "a @ b", "bmm": "a @ b", "permute": "np.transpose(t, axes)",
        "clamp": "np.clip(t, low, high)",
        "unsqueeze": "np.expand_dims(t, axis)", "gather": "np.take_along_axis(t, index, axis)",
        "float": "np.float32", "double": "np.float64", "long": "np.int64",
        "device": MEMORY, "cuda": MEMORY, "mps": MEMORY, "backends": MEMORY,
        "get_default_dtype": "tg.Tensor(1.0).dtype", "is_grad_enabled": "tg.no_grad()",
        "set_num_threads": "the environment variable OMP_NUM_THREADS, before NumPy is imported",
        "distributed": "tg.parallel", "onnx": "tg.interop.onnx.save(path, model, example)",
        "summary": "model.summary(x)", "Parameter": "tg.Tensor(values, requires_grad=True)",
        "set_default_tensor_type": "tg.set_default_dtype(...)",
        "inference_mode": "tg.no_grad()", "enable_grad": "leave the no_grad() block",
        "set_grad_enabled": "tg.no_grad()", "is_tensor": "isinstance(t, tg.Tensor)",
        "func": "tg.grad, tg.jacobian, tg.hessian, tg.hvp", "autograd": "tg.grad(f)",
        "utils": "data.minibatches, optim and nn have what is in torch.utils",
    },
    "Tensor": {
        "view": "t.reshape(...)", "permute": "t.transpose(...)", "t": "t.T",
        "unsqueeze": "np.expand_dims(t, axis), or t[None]", "expand": "np.broadcast_to(t, shape)",
        "expand_as": "np.broadcast_to(t, other.shape)", "clone": "t.copy()",
        "contiguous": "nothing to do: NumPy takes any layout", "to": "t.astype(dtype); " + MEMORY,
        "cuda": MEMORY, "cpu": MEMORY, "device": MEMORY, "is_cuda": MEMORY,
        "float": "t.astype(np.float32)", "double": "t.astype(np.float64)",
        "half": "t.astype(np.float16)", "long": "t.astype(np.int64)", "int": "t.astype(np.int32)",
        "type": "t.astype(dtype)", "dim": "t.ndim", "numel": "t.size", "nelement": "t.size",
        "matmul": "a @ b", "mm": "a @ b", "bmm": "a @ b", "mul": "a * b", "add": "a + b",
        "sub": "a - b", "div": "a / b", "neg": "-t", "pow": "t ** n", "square": "t ** 2",
        "abs": "abs(t)", "sin": "np.sin(t)", "cos": "np.cos(t)", "log1p": "np.log1p(t)",
        "expm1": "np.expm1(t)", "rsqrt": "1 / np.sqrt(t)", "maximum": "np.maximum(t, other)",
        "minimum": "np.minimum(t, other)", "clamp": "t.clip(min, max)",
        "gather": "np.take_along_axis(t, index, axis)", "index_select": "t.take(index, axis)",
        "masked_fill": "np.where(mask, value, t)", "where": "np.where(mask, t, other)",
        "chunk": "np.array_split(t, n)", "split": "np.split(t, n)", "unbind": "list(t)",
        "cat": "np.concatenate([a, b])", "stack": "np.stack([a, b])", "tile": "np.tile(t, n)",
        "topk": "np.sort(t)[..., -k:]", "eq": "t == other", "gt": "t > other", "lt": "t < other",
        "requires_grad_": "t.requires_grad = True", "detach_": "t.detach()",
        "retain_grad": "nothing to do: every Tensor of the graph has its .grad after backward()",
        "grad_fn": "t.op, with t.inputs", "new_zeros": NUMPY, "new_tensor": "tg.Tensor(...)",
        "new_ones": NUMPY, "bool": "t.astype(bool)", "byte": "t.astype(np.uint8)",
        "type_as": "t.astype(other.dtype)", "swapdims": "t.swapaxes(axis1, axis2)",
        "movedim": "np.moveaxis(t, source, destination)", "ndimension": "t.ndim",
        "narrow": "a slice: t[start:stop]", "select": "an index: t[:, i]",
        "equal": "np.array_equal(a.data, b.data)", "masked_select": "t[mask]",
        "scatter": "np.where(mask, values, t)", "inverse": "np.linalg.inv(t)",
        "det": "np.linalg.det(t)", "index_add": "onehot.T @ values adds rows by index",
        "multinomial": "rng.choice(len(p), p=p)", "bernoulli": "rng.random(t.shape) < t.data",
        "register_backward_hook": "t.register_hook(f)", "share_memory_": MEMORY,
        "pin_memory": MEMORY, "is_contiguous": "nothing to do: NumPy takes any layout",
        "stride": "t.data.strides", "element_size": "t.data.itemsize", "storage": "t.data",
        **{f"{name}_": IN_PLACE for name in (
            "zero fill copy add sub mul div clamp normal uniform exp sqrt relu sigmoid tanh scatter"
            " masked_fill index_add index_fill random bernoulli fill_diagonal set apply squeeze"
            " unsqueeze pow neg abs clip round log sin cos t transpose floor ceil lerp").split()},
        "addmm": "c + a @ b", "baddbmm": "c + a @ b", "mv": "a @ b", "ger": "np.outer(a, b)",
        "addcmul": "t + value * a * b", "addcdiv": "t + value * a / b",
        "nansum": "np.where(np.isnan(t), 0, t).sum()", "lerp": "t + weight * (end - t)",
        "repeat_interleave": "t.repeat(n, axis)",
        "is_floating_point": "t.dtype.kind == 'f'", "fliplr": "np.flip(t, 1)",
        "ne": "t != other", "ge": "t >= other", "le": "t <= other", "logit": "np.log(t / (1 - t))",
        "flip": "np.flip(t, axis)",
        "roll": "np.roll(t, shift, axis)", "einsum": "np.einsum(subscripts, t)",
    },
    "nn": {
        "CrossEntropyLoss": FUNCTIONS.format("cross_entropy"),
        "NLLLoss": FUNCTIONS.format("nll_loss"), "MSELoss": FUNCTIONS.format("mse_loss"),
        "L1Loss": FUNCTIONS.format("l1_loss"), "HuberLoss": FUNCTIONS.format("huber_loss"),
        "SmoothL1Loss": FUNCTIONS.format("huber_loss"), "KLDivLoss": FUNCTIONS.format("kl_div"),
        "BCELoss": FUNCTIONS.format("binary_cross_entropy"),
        "BCEWithLogitsLoss": FUNCTIONS.format("binary_cross_entropy_with_logits"),
        "CosineEmbeddingLoss": FUNCTIONS.format("cosine_embedding_loss"),
        "HingeEmbeddingLoss": FUNCTIONS.format("hinge_loss"),
        "smooth_l1_loss": "nn.huber_loss",
        "functional": "its functions are in nn itself: nn.relu, nn.cross_entropy",
        "F": "its functions are in nn itself: nn.relu, nn.cross_entropy",
        "Parameter": "a leaf that requires grad: tg.Tensor(values, requires_grad=True)",
        "ModuleList": "a list: self.layers = [nn.Linear(2, 3), ...]",
        "ModuleDict": "a dict: self.layers = {'a': nn.Linear(2, 3), ...}",
        "ParameterList": "a list of Tensors", "ParameterDict": "a dict of Tensors",
        "LazyLinear": "nn.Linear(in_features, out_features)",
        "AdaptiveAvgPool2d": "for one number a channel, x.mean((2, 3)); else nn.AvgPool2d",
        "GroupNorm": "nn.LayerNorm", "InstanceNorm2d": "nn.BatchNorm2d, or nn.LayerNorm",
        "BatchNorm3d": "nn.BatchNorm1d or nn.BatchNorm2d", "Transformer": "nn.TransformerBlock",
        "Upsample": "np.repeat(np.repeat(x, 2, axis=2), 2, axis=3)",
        "interpolate": "np.repeat(np.repeat(x, 2, axis=2), 2, axis=3)",
        "PReLU": "nn.LeakyReLU(slope)", "Mish": "nn.SiLU()", "Hardtanh": "lambda x: x.clip(-1, 1)",
        "ReLU6": "lambda x: x.clip(0, 6)", "pad": "np.pad(x, widths)", "one_hot": "data.one_hot(y)",
        "cosine_similarity": "(a * b).sum(-1) / (a.norm(axis=-1) * b.norm(axis=-1))",
        "normalize": "x / x.norm(axis=-1, keepdims=True)",
        "Dropout1d": "nn.Dropout", "Dropout2d": "nn.Dropout", "SELU": "nn.ELU",
        "LSTMCell": "nn.lstm_step", "GRUCell": "nn.gru_step", "RNNCell": "nn.rnn_step",
        "EmbeddingBag": "nn.Embedding, and a mean over the axis",
        "MultiheadAttention": "nn.MultiHeadAttention",
        "TransformerEncoderLayer": "nn.TransformerBlock",
        "scaled_dot_product_attention": "nn.attention",
        "utils": CLIP, "Unflatten": "t.reshape(shape)", "DataParallel": MEMORY,
    },
    "autograd": {
        "Function": "tg.op(formula, kernel, vjp)", "Variable": "tg.Tensor(x, requires_grad=True)",
        "functional": "tg.jacobian, tg.hessian, tg.hvp", "backward": "loss.backward()",
        "detect_anomaly": "tg.detect_nonfinite()",
        "set_detect_anomaly": "tg.detect_nonfinite()",
    },
    "init": {
        **{f"{name}_": f"an option of layers: nn.Linear(2, 3, init='{name}')" for name in (
            "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal")},
        "zeros_": "layer.weight.data[...] = 0", "constant_": "layer.weight.data[...] = value",
        "normal_": "an option of layers: nn.Linear(2, 3, init=0.01), the standard deviation",
        "uniform_": "an option of layers: init=f for a function f(shape, rng)",
    },
    "Module": {
        "named_parameters": "model.parameters().items()", "children": "model.named_modules()",
        "named_children": "model.named_modules().items()",
        "modules": "model.named_modules().values()", "to": "model.astype(dtype); " + MEMORY,
        "cuda": MEMORY, "cpu": MEMORY, "device": MEMORY, "double": "model.astype(np.float64)",
        "float": "model.astype(np.float32)", "half": "model.astype(np.float16)",
        "register_parameter": "assign it: self.name = tg.Tensor(..., requires_grad=True)",
        "register_buffer": "assign an array, and name it in the class: buffers = ('name',)",
        "register_module": "assign it: self.name = module",
        "add_module": "assign it: self.name = module",
        "apply": "for module in model.named_modules().values(): ...",
        "register_forward_hook": "wrap forward(), or hook a Tensor: t.register_hook(f)",
        "named_buffers": "names are in type(module).buffers", "share_memory": MEMORY,
    },
    "optim": {
        "Adagrad": "optim.AdaGrad", "Adadelta": "optim.AdaDelta", "NAdam": "optim.Nadam",
        "RMSProp": "optim.RMSprop", "Rprop": "optim.RMSprop, or optim.Lion",
        "StepLR": "a schedule is the lr: optim.Adam(params, lr=optim.schedules.step(...))",
        "RAdam": "optim.Adam with a warm-up: lr=optim.schedules.warm_up(...)",
        "LBFGS": "optim.minimize(f, params, method='lbfgs')",
        "lr_scheduler": SCHEDULE, "CosineAnnealingLR": SCHEDULE,
    },
    "options": {
        "betas": "beta1=0.9, beta2=0.999", "alpha": "lr, or rho for RMSprop", "lr_decay": "decay",
        "momentum_decay": "psi", "params": "the first argument",
        "foreach": "leave it out: all parameters are updated together",
        "fused": "leave it out: all parameters are updated together",
    },
    "Optimizer": {
        "param_groups": "opt.lr = ...; by name, overrides={'*.bias': {'lr': 0.1}}",
        "add_param_group": "give all parameters at once; by name, overrides={...}",
        "defaults": "the options themselves, as in opt.lr", "defaults_": "as in opt.lr",
    },
    "data": {
        "DataLoader": "for x, y in data.minibatches(x, y, batch_size, rng=rng), with one rng ="
        " np.random.default_rng(0) for all epochs",
        "TensorDataset": "the arrays x and y themselves", "Dataset": "the arrays x and y",
        "random_split": "data.train_test_split(x, y, rng=0)", "Subset": "x[indices], y[indices]",
        "MNIST": "data.digits(), or data.idx(path) for files of MNIST",
    },
    "viz": {"make_dot": "tg.draw(loss)"},
    "GraphView": {"view": "in a notebook it shows itself; .save('a.svg') writes it",
                  "show": "in a notebook it shows itself; .save('a.svg') writes it",
                  "render": ".save('a.svg'), or .png, .pdf, .dot", "source": "drawing.dot",
                  "write_png": ".save('a.png')", "pipe": ".save('a.svg')"},
    "onnx": {"export": "onnx.save(path, model, example)",
             "ModelProto": "onnx.load(path) is a model of this package"},
    "interop": {"torch": "nn.to_torch(model), nn.from_torch(model, state)"},
    "schedules": {
        "StepLR": "schedules.step", "MultiStepLR": "a.then(b, after=t) joins schedules",
        "ExponentialLR": "schedules.exponential",
        "CosineAnnealingLR": "schedules.cosine, which stays at its end",
        "OneCycleLR": "schedules.one_cycle", "LinearLR": "schedules.warm_up",
        "LambdaLR": "any function t -> lr", "ReduceLROnPlateau": "schedules.reduce_on_plateau",
    },
    "arguments": {
        "dim": "axis", "dims": "axis, or axes", "keepdim": "keepdims",
        "retain_graph": "leave it out: the graph stays as it is",
        "set_to_none": "leave it out: it always does",
        "inplace": "leave it out: nothing works in place here", "device": MEMORY,
        "out": "assign the result: nothing works in place here",
        "size_average": "reduction='mean' or 'sum'", "reduce": "reduction='none'",
        "num_embeddings": "rows, the first argument",
        "embedding_dim": "features, the second argument",
        "num_layers": "one layer each: nn.Sequential(nn.LSTM(...), nn.LSTM(...))",
        "batch_first": "leave it out: the first axis is always the samples",
        "bidirectional": "two layers, one on x[:, ::-1]",
        "kernel_size": "size", "groups": "one layer for each group of channels",
        "dilation": "a larger size", "padding_idx": "a mask: h * (ids != 0)[..., None]",
        "requires_gradient": "requires_grad", "start_dim": "t.reshape(len(t), -1)",
        "unbiased": "ddof=1 for True, 0 for False", "correction": "ddof",
        "p": "np.linalg.norm(t, ord=p)", "force": "leave it out",
        "strict": "leave it out: names must match; pick them with a dict comprehension",
        "mode": "leave it out: a step is captured as it is", "dynamic": "leave it out",
        "fullgraph": "leave it out: a step is captured whole, or refused",
        "affine": "an option of norms; elsewhere bias=False",
        "track_running_stats": "leave it out: it always does",
        "negative_slope": "slope", "input_size": "in_features, the first argument of a layer; draw"
        " and summary take an input", "hidden_size": "hidden", "embed_dim": "features",
        "d_model": "features", "num_heads": "heads", "nhead": "heads", "dim_feedforward": "hidden",
        "attn_mask": "mask, which is True where a place may look", "need_weights": "weights",
        "key_padding_mask": "mask=~padding[:, None, None, :], True where a place may look",
        "is_causal": "causal=True, an option of the layer", "num_features": "channels",
        "T_max": "steps", "T_0": "steps", "total_iters": "steps", "total_steps": "steps",
        "eta_min": "last", "step_size": "every", "gamma": "factor", "start_factor": "start",
        "max_lr": "lr", "base_lr": "lr", "milestones": "every",
        "normalized_shape": "shape", "elementwise_affine": "affine",
        "params": "the first argument", "weights_only": "leave it out: nothing else is read",
        "map_location": MEMORY, "path": "the result has .save(path)",
    },
}

KERAS = {
    "activations": {"swish": "silu", "linear": "identity", "none": "identity", "selu": "elu"},
    "init": {
        "glorot_uniform": "xavier_uniform", "glorot_normal": "xavier_normal",
        "he_uniform": "kaiming_uniform", "he_normal": "kaiming_normal",
        "random_normal": "normal, or a number, its standard deviation", "ones": "lambda shape, rng:"
        " np.ones(shape)", "lecun_normal": "normal, or a number, its standard deviation",
    },
    "tinygrad_opt": {
        "GradientTape": "loss.backward(), then t.grad of every leaf", "constant": "tg.Tensor(...)",
        "Variable": "tg.Tensor(values, requires_grad=True)", "function": "tg.compile(step)",
        "Model": "nn.Module", "Sequential": "nn.Sequential", "layers": "nn",
        "losses": "functions in nn: nn.cross_entropy", "optimizers": "optim",
        "callbacks": "train", "metrics": "functions of (prediction, y): fit(..., metrics=...)",
        "random": "np.random.default_rng(0)", "keras": "nn, optim and tg.fit",
        "reduce_mean": "t.mean()", "reduce_sum": "t.sum()", "convert_to_tensor": "tg.Tensor(...)",
    },
    "nn": {
        "Dense": "nn.Linear(in_features, out_features), then an activation, or nn.MLP",
        "Input": "leave it out: shapes come with the data", "Model": "nn.Module",
        "Conv1D": "nn.Conv1d", "Conv2D": "nn.Conv2d", "MaxPooling2D": "nn.MaxPool2d",
        "AveragePooling2D": "nn.AvgPool2d", "BatchNormalization": "nn.BatchNorm1d",
        "LayerNormalization": "nn.LayerNorm", "SimpleRNN": "nn.RNN", "Activation": "nn.ReLU()",
        "Lambda": "any function: nn.Sequential(layer, lambda x: x * 2)",
        "Bidirectional": "two layers, one on x[:, ::-1]",
        "Concatenate": "np.concatenate([a, b], 1)",
        "TimeDistributed": "leave it out: layers take any axes before the last",
        "Add": "a + b", "Reshape": "lambda x: x.reshape(len(x), -1)", "swish": "nn.silu",
        "UpSampling2D": "np.repeat(np.repeat(x, 2, axis=2), 2, axis=3)",
        "binary_crossentropy": "nn.binary_cross_entropy",
        "categorical_crossentropy": "nn.cross_entropy, of logits",
        "sparse_categorical_crossentropy": "nn.cross_entropy, of logits",
        "mse": "nn.mse_loss", "mae": "nn.l1_loss", "mean_squared_error": "nn.mse_loss",
        "mean_absolute_error": "nn.l1_loss", "l1": "nn.l1_loss", "huber": "nn.huber_loss",
        "hinge": "nn.hinge_loss",
        "GlobalAveragePooling2D": "x.mean((2, 3))", "Layer": "nn.Module",
    },
    "Module": {
        "fit": LOOP, "compile": LOOP, "train_on_batch": LOOP, "predict": "train.predict(model, x)",
        "evaluate": "train.evaluate(model, x, y, loss=...)", "save": WHOLE, "load_weights": WHOLE,
        "save_weights": WHOLE, "get_weights": "model.state_dict()",
        "set_weights": "model.load_state_dict(state)", "weights": "model.parameters()",
        "trainable_variables": "model.parameters()", "trainable_weights": "model.parameters()",
        "trainable": "model.requires_grad_(False)", "build": "nothing to do",
        "add": "give all layers at once: nn.Sequential(a, b, c)",
        "count_params": "model.summary().parameters", "plot": "tg.draw(model)",
        "get_layer": "model.layers[i], or model.named_modules()[path]",
        "output_shape": "model.summary(x) shows the shapes",
    },
    "History": {
        "history": "it is one: history['loss']", "params": "history.seed and history.stopped",
        "model": "the one that fit was given", "epoch": "history['epoch']",
        "losses": "history['loss']",
    },
    "options": {
        "learning_rate": "lr", "beta_1": "beta1", "beta_2": "beta2", "epsilon": "eps",
        "clipnorm": "clip_norm_each", "clipvalue": "clip_value", "global_clipnorm": "clip_norm",
        "initial_accumulator_value": "initial_accumulator", "var_list": "the first argument",
        "name": "leave it out",
    },
    "Optimizer": {
        "apply_gradients": "loss.backward(), then opt.step()",
        "minimize": "opt.zero_grad(); loss.backward(); opt.step()",
        "learning_rate": "opt.lr", "iterations": "opt.t", "get_config": "opt.state_dict()",
    },
    "optim": {"Adamw": "optim.AdamW", "RMSProp": "optim.RMSprop", "Ftrl": "optim.AdaGrad",
              "legacy": "optim.get(name, defaults='keras')"},
    "train": {"ModelCheckpoint": "train.Checkpoint", "ReduceLROnPlateau": "train.ReduceOnPlateau",
              "CSVLogger": "train.CSVLog", "TerminateOnNaN": "train.StopOnNonFinite",
              "LearningRateScheduler": "the optimizer's lr may be a schedule t -> lr",
              "TensorBoard": "train.CSVLog(path), or viz.report(...)",
              "accuracy": "(prediction.argmax(1) == y).mean(), or metrics=['accuracy']",
              "Trainer": LOOP},
    "data": {"to_categorical": "data.one_hot(labels)", "load_data": "data.digits()",
             "mnist": "data.digits(), or data.idx(path) for files of MNIST"},
    "arguments": {
        "verbose": "progress=False shows nothing, progress='lines' a line an epoch",
        "validation_split": "data.train_test_split, then validation_data=(x, y)",
        "activation": "a layer of its own: nn.Sequential(nn.Linear(2, 3), nn.ReLU())",
        "return_sequences": "leave it out: outputs, state = layer(x) gives both",
        "return_state": "leave it out: outputs, state = layer(x) gives both",
        "kernel_regularizer": "an option of the optimizer, weight_decay=1e-4",
        "class_weight": "loss=functools.partial(nn.cross_entropy, weight=[...])",
        "sample_weight": "a loss of your own that takes them as a column of y",
        "initial_epoch": "history=history goes on where that one ended",
        "steps_per_epoch": "leave it out: an epoch is all samples",
        "keep_prob": "p, which is 1 - keep_prob",
        "restore_best_weights": "restore_best", "save_best_only": "best", "filepath": "path",
        "to_file": "the result has .save(path)", "show_shapes": "leave it out: shapes are shown",
        "optimizer": "an argument of tg.fit(model, x, y, loss=..., optimizer=...)",
        "loss": "an argument of tg.fit(model, x, y, loss=..., optimizer=...)",
        "lr": RATE, "learning_rate": RATE, "n_epochs": "epochs", "nb_epoch": "epochs",
        "shuffle": "samples are always shuffled; seed= makes their order repeatable",
        "units": "out_features", "rate": "p", "input_shape":
        "leave it out: nn.Linear takes in_features", "input_dim": "the first argument",
        "output_dim": "the second argument", "kernel_initializer": "init",
        "decay_steps": "steps", "initial_learning_rate": "lr", "decay_rate": "factor",
        "use_bias": "bias", "filters": "out_channels", "strides": "stride",
        "from_logits": "leave it out: nn.cross_entropy takes logits", "momentum_": "momentum",
        "y_true": "the second argument", "y_pred": "the first argument", "epsilon": "eps",
    },
}

JAX = {
    "tinygrad_opt": {
        "jit": "tg.compile(step)", "vmap": "NumPy broadcasts: write the batch as an axis",
        "vjp": "loss.backward(gradient)", "jvp": "tg.hvp, or tg.jacobian",
        "jacfwd": "tg.jacobian", "jacrev": "tg.jacobian", "numpy": "import numpy as np",
        "random": "np.random.default_rng(0)", "pmap": MEMORY, "lax": "NumPy's functions",
        "stop_gradient": "t.detach()", "tree_map": "a dict comprehension",
    },
    "optim": {
        "sgd": "optim.SGD", "adamw": "optim.AdamW", "lion": "optim.Lion",
        "chain": "options of the optimizer: clip_norm=, weight_decay=",
        "clip_by_global_norm": CLIP, "apply_updates": "opt.update(params, grads)",
    },
    "Tensor": {"at": "t[index] = value, or np.where", "block_until_ready": "nothing to do"},
    "options": {
        "decay_rate": "rho for RMSprop, beta1 for Adam", "mu": "momentum",
        "schedule": "lr=optim.schedules.cosine(...)", "warmup": "lr=optim.schedules.warm_up(...)",
    },
    "Optimizer": {"init": "nothing to do: state is made with the parameters"},
    "Module": {"init": "nothing to do: parameters are made with the layers",
               "tabulate": "model.summary(x)", "freeze": "model.requires_grad_(False)",
               "unfreeze": "model.requires_grad_(True)", "bind": "model(x)"},
    "arguments": {"has_aux": "return the loss alone", "static_argnums": "leave it out",
                  "init_value": "lr", "transition_steps": "steps", "end_value": "last"},
}

SKLEARN = {
    "activations": {"logistic": "sigmoid"},
    "Module": {"score": "train.evaluate(model, x, y, loss=..., metrics='accuracy')",
               "get_params": "model.parameters()", "predict_proba": "nn.softmax(model(x))",
               "partial_fit": LOOP},
    "data": {"load_digits": "data.digits()", "make_moons": "data.moons()",
             "make_circles": "data.circles()", "make_blobs": "data.blobs()",
             "StandardScaler": "data.standardize(x)", "shuffle": "rng.permutation(len(x))"},
    "arguments": {"random_state": "seed, or rng", "max_iter": "epochs, or steps", "X": "x",
                  "hidden_layer_sizes": "sizes, in a list",
                  "n_samples": "n_points", "solver": "optimizer", "alpha": "weight_decay",
                  "learning_rate_init": "lr", "learning_rate": "lr", "momentum": "optimizer='sgd:"
                  "momentum=0.9'", "seed": "rng"},
}

# NumPy's functions that are no methods here, as they are none there
FUNCTIONS_ONLY = {"Tensor": {name: f"np.{name}(t)" for name in (
    "allclose argwhere bincount cbrt ceil cosh cross diag diff floor fmod hypot isfinite isinf"
    " isnan kron linspace log10 log2 logaddexp logical_not median nanmean nanmax nonzero outer"
    " quantile sign sinh tan tril triu trunc unique isclose nan_to_num"
    " average arctan2").split()}}

OTHERS = {
    "options": {
        "gamma": "momentum, or rho for RMSprop", "beta": "beta1 and beta2, or momentum",
        "lr_schedule": "lr=optim.schedules.cosine(...)", "l2": "weight_decay",
        "max_grad_norm": "clip_norm", "grad_clip": "clip_norm", "wd": "weight_decay",
    },
}

LIBRARIES: dict[str, dict[str, dict[str, str]]] = {
    "PyTorch": PYTORCH, "Keras": KERAS, "JAX": JAX, "scikit-learn": SKLEARN,
    "NumPy": FUNCTIONS_ONLY, "": OTHERS,
}


def hint(owner: str, name: str, known: Iterable[str]) -> str:
    """How a message goes on after a name that is not there."""
    known = set(known)
    return (of_others(owner, name, known) or (_where_it_is(name) if owner in PARTS else "")
            or nearest(name, known))


def of_others(owner: str, name: str, known: Collection[str] = ()) -> str:
    """What another library's name is here; nothing if none has it."""
    cures = [(library, table[owner][name]) for library, table in LIBRARIES.items()
             if name in table.get(owner, {})]
    if owner in ("arguments", "options"):      # another name for it, if there is one, then advice
        cures = sorted(((library, cure) for library, cure in cures
                        if cure in known or not cure.isidentifier()),
                       key=lambda pair: not pair[1].isidentifier())
    for library, cure in cures:
        whose = f"{library}'s {name} " if library else ""
        return f"{whose}here: {cure}"
    return ""


PARTS = "tinygrad_opt", "nn", "optim", "data", "train", "viz"


def _where_it_is(name: str) -> str:
    """Which part of the package has the name, or NumPy."""
    if name in import_module("tinygrad_opt.ops").TABLE and hasattr(np, name):
        return f"NumPy's functions take Tensors, as in np.{name}(t)"
    for part in PARTS[1:]:
        if name in import_module(f"tinygrad_opt.{part}").__all__:
            return f"it is {part}.{name}"
    return f"it is np.{name}" if hasattr(np, name) else ""


def missing(owner: str, name: str, known: Iterable[str], who: str = "",
            own: Iterable[str] | None = None) -> AttributeError:
    """The error for an attribute that is not there; if nothing else fits it lists `own`."""
    if name.startswith("_"):                   # asked for by protocols, not by people
        return AttributeError(name)
    known = [x for x in known if not x.startswith("_")]
    said = hint(owner, name, known)
    if said.startswith("known:") and own is not None:
        none = "none: is __init__ spelled with two underscores each side?"
        said = f"its own attributes: {', '.join(own) or none}"
    return AttributeError(f"{who or owner} has no attribute {name!r}; {said}")


class _NameOfOthers:
    """An attribute that only other libraries have."""

    def __init__(self, owner: str, name: str) -> None:
        self.owner, self.name = owner, name

    def __get__(self, instance: object, kind: type) -> NoReturn:
        raise missing(self.owner, self.name, ())


def answer_names(kind: type, owner: str) -> None:
    """Let a class say what its attributes are that other libraries have.

    A ``__getattr__`` would too, and make every attribute of its objects slower to read.
    """
    for table in LIBRARIES.values():
        for name in table.get(owner, {}):
            setattr(kind, name, _NameOfOthers(owner, name))

    def own(self: object) -> list[str]:
        return [name for name in object.__dir__(self)
                if not isinstance(inspect.getattr_static(kind, name, None), _NameOfOthers)]

    setattr(kind, "__dir__", own)                          # noqa: B010 (mypy knows it is one)


def nothing_called(owner: str, known: Iterable[str]) -> Callable[[str], object]:
    """What a package answers when it is asked for a name that it does not have."""

    def refuse(name: str) -> NoReturn:
        raise missing(owner, name, known)

    return refuse


def imported_later(
    package: str, homes: Mapping[str, str], modules: str = "",
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package that imports names when they are first used.

    Parameters
    ----------
    package : str
        Its ``__name__``; it has its ``__all__``.
    homes : dict of str to str
        Names, put apart by spaces, by the module in the package where they live.
    modules : str
        Modules in the package that are such names themselves.
    """
    module_of = {name: home for home, names in homes.items() for name in names.split()}
    module_named = {path.rpartition(".")[2]: path for path in modules.split()}
    space = vars(sys.modules[package])
    refuse = nothing_called(package.rpartition(".")[2], space["__all__"])

    def find(name: str) -> object:
        if name in module_named:
            space[name] = import_module(f"{package}.{module_named[name]}")
        elif name in module_of:
            space[name] = getattr(import_module(f"{package}.{module_of[name]}"), name)
        else:
            refuse(name)
        return space[name]

    return find, lambda: sorted({*space, *space["__all__"]})


def answers(function: Function) -> Function:
    """Let a function say what was meant when it is called with arguments that it does not have."""

    @functools.wraps(function)
    def call(*args: object, **kwargs: object) -> object:
        try:
            if kwargs:
                return function(*args, **kwargs)
            return function(args[0]) if len(args) == 1 else function(*args)    # for less
        except TypeError as error:
            if error.__traceback__ is None or error.__traceback__.tb_next is not None:
                raise                          # from inside: the arguments did fit
            raise _misfit(call, args, kwargs, error) from None

    return cast(Function, call)


def _misfit(function: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object],
            error: TypeError) -> TypeError:
    """What is wrong with the arguments of a call, in the words of its caller."""
    name, signature = function.__qualname__, inspect.signature(function)
    parameters = [*signature.parameters.values()]
    if parameters and parameters[0].name == "self":
        parameters = parameters[1:]
        if function.__name__ == "__init__":
            name = type(args[0]).__name__
    known = [p.name for p in parameters]
    for argument in kwargs.keys() - set(known):
        return TypeError(f"{name}() has no argument {argument!r}; "
                         + hint("arguments", argument, known))
    shown = signature.replace(parameters=parameters, return_annotation=signature.empty)
    plain = shown.replace(parameters=[p.replace(annotation=p.empty) for p in parameters])
    reason = str(error).split("() ", 1)[-1]
    return TypeError(f"{name}() {reason}; it is called as {name}{plain}")
