"""The training of a model as a script for another library."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from tinygrad_opt import nn
from tinygrad_opt.data.arguments import whole
from tinygrad_opt.hints import answers
from tinygrad_opt.interop.scripts import in_jax, in_numpy, in_torch
from tinygrad_opt.interop.scripts.calls import Recording, record
from tinygrad_opt.interop.scripts.code import Unsaid
from tinygrad_opt.interop.scripts.script_parts import Script, Sections
from tinygrad_opt.interop.scripts.updates import refuse_options
from tinygrad_opt.kernels import brought
from tinygrad_opt.nn.module import Module
from tinygrad_opt.optim import Optimizer, get
from tinygrad_opt.tensor import values_of
from tinygrad_opt.train.measure import loss_by_name, predict
from tinygrad_opt.typing import Array, ArrayLike, Loss

__all__ = ["Script", "script"]

Writer: TypeAlias = Callable[[Recording, Optimizer], Sections]
# by name: how it is spelled, what is one step there, what writes a script
_LIBRARIES: dict[str, tuple[str, Callable[[object], bool], Writer]] = {
    "jax": ("JAX", in_jax.is_layer, in_jax.jax_script),
    "numpy": ("NumPy", in_numpy.is_layer, in_numpy.numpy_script),
    "torch": ("PyTorch", in_torch.is_layer, in_torch.torch_script),
}


@answers
def script(
    model: Module, optimizer: Optimizer | str, loss: Loss | str, library: str,
    x: ArrayLike | None = None, y: ArrayLike | None = None, *, steps: int = 20,
) -> Script:
    """The training of a model as a script for another library, with the same weights and losses.

    Parameters
    ----------
    model : Module
        Of layers of `nn` and NumPy functions; a forward pass of your own may combine them. It is
        not changed.
    optimizer : Optimizer or str
        With or without parameters, or as `optim.get` takes it.
    loss : callable or str
        As for `fit`.
    library : {"torch", "jax", "numpy"}
    x, y : array-like, optional
        The batch that the script trains on. Without them it is a few random samples, for models
        whose first layer says what an input is.
    steps : int
        Steps of the training, each on the whole batch.

    Returns
    -------
    Script
        A str. ``.save("train.py")`` writes it, and its weights and data beside it as
        ``train.npz`` unless they are so few that they stand in the text.

    Raises
    ------
    ValueError
        For what the script cannot say, by its name: a layer, an operation, an option, a schedule
        of your own.

    Notes
    -----
    Random numbers differ from library to library: a script with dropout loses the same on
    average only.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> text = tg.interop.script(tg.nn.MLP([2, 1, 1], rng=0), "sgd:0.1", "mse", "torch")
    >>> print(text.partition("model = ")[2].partition("x, y")[0])
    nn.Sequential(
        nn.Linear(2, 1),
        nn.ReLU(),
        nn.Linear(1, 1),
    )
    model.load_state_dict({name: torch.from_numpy(arrays[name]) for name in model.state_dict()})
    <BLANKLINE>
    <BLANKLINE>
    """
    if library not in _LIBRARIES:
        raise ValueError(f"library must be one of {', '.join(map(repr, _LIBRARIES))}, got"
                         f" {library!r}")
    if not isinstance(model, Module):
        raise TypeError(f"a script is written of an nn.Module, got {type(model).__name__}")
    name, is_layer, write = _LIBRARIES[library]
    opt, loss = get(optimizer), loss_by_name(loss)
    x = _inputs(model) if x is None else brought(values_of(x))
    y = _targets(model, loss, x) if y is None else brought(values_of(y))
    try:
        refuse_options(opt, model)
        found = record(model, loss, x, y, is_layer)
        sections = write(found, opt)
    except Unsaid as error:
        raise ValueError(f"a script for {name} cannot say {error}") from error
    drops = any(isinstance(m, nn.Dropout) and m.p for m in model.named_modules().values())
    losses = (". Dropout draws other random numbers here:\nthe losses are the same on average only"
              if drops else " and prints the same losses")
    title = (f"{type(model).__name__} trained by {type(opt).__name__}, in {name}.\n\nWritten by"
             f" tinygrad_opt: it starts from the same weights{losses}.\n")
    return sections.script(title, found.x.data, found.y.data, whole("steps", steps))


# ---- a batch to begin with -----------------------------------------------------------------------


def _inputs(model: Module) -> Array:
    """Eight random samples for the first layer."""
    rng = np.random.default_rng(0)
    for layer in model.named_modules().values():
        if isinstance(layer, nn.Linear):
            return rng.normal(size=(8, layer.weight.shape[0]))
        if isinstance(layer, nn.Embedding):
            return rng.integers(0, layer.weight.shape[0], (8, 5))
        if isinstance(layer, nn.RNN | nn.GRU | nn.LSTM):
            return rng.normal(size=(8, 5, layer.weight_ih.shape[0]))
        if any("." not in name for name in layer.parameters()):
            break
    raise ValueError("nothing tells how large an input is: give a batch, script(..., x, y)")


def _targets(model: Module, loss: Loss, x: Array) -> Array:
    """Random targets as the loss takes them."""
    rng = np.random.default_rng(1)
    shape = predict(model, x).shape
    function = getattr(loss, "func", loss)
    if function in (nn.cross_entropy, nn.nll_loss):
        return rng.integers(0, shape[-1], shape[:-1])
    if function in (nn.binary_cross_entropy, nn.binary_cross_entropy_with_logits):
        return rng.integers(0, 2, shape) * 1.0
    return np.sign(rng.normal(size=shape)) if function is nn.hinge_loss else rng.normal(size=shape)
