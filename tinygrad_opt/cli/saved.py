"""A saved model at work on a few rows, for the commands that draw and play."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinygrad_opt.cli import tasks

__all__ = ["is_file", "loss_of"]


def is_file(text: str) -> bool:
    """Whether an argument names a saved model, not a formula."""
    return Path(text).suffix.lower() in (".npz", ".safetensors")


def loss_of(path: str, data: str | None, target: str | None, rows: int) -> Any:
    """The loss of the model in a file on a few rows of a data set, or on random numbers.

    Without data there is nothing to be right or wrong about: the loss is then the mean of the
    squares of what the model gives. Names in the graph say which of the two it is.
    """
    import numpy as np

    from tinygrad_opt import nn
    from tinygrad_opt.checkpoint import load
    from tinygrad_opt.errors import CheckpointError
    from tinygrad_opt.tensor import Tensor

    content = load(path)
    try:
        model = nn.rebuild(content).eval()
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}, then viz.draw(loss) or"
                              " viz.playback(loss, 'page.html')") from error
    if data is None:
        if target is not None:
            raise ValueError("--target names a column of a CSV file: name the file by --data")
        x = _random_rows(model, path, rows)
        loss = (_output(model, x, path) ** 2).mean()
        loss.name = "mean of squares"
        return loss
    samples = tasks.task_of(data, target).load()
    spread = np.linspace(0, len(samples.x_test) - 1, rows).astype(int)     # classes may be sorted
    name = f"{rows} rows of {Path(data).stem}"
    x = Tensor(samples.x_test[spread], dtype=_dtype(model), name=name)
    y, classes = samples.y_test[spread], samples.layers(())[-1]
    z = _output(model, x, path)
    if z.shape == (rows, 1) and classes == 2:
        loss = nn.binary_cross_entropy_with_logits(z[:, 0], y.astype(z.dtype))
    elif z.ndim == 2 and z.shape[1] >= classes:
        loss = nn.cross_entropy(z, y)
    else:
        raise ValueError(f"{path} gives {z.shape} for {rows} rows, {data} has {classes} classes")
    loss.name = "loss"
    return loss


def _output(model: Any, x: Any, path: str) -> Any:
    from tinygrad_opt.tensor import Tensor

    z = model(x)
    if type(z) is not Tensor:
        raise ValueError(f"the model in {path} gives a {type(z).__name__}, not one Tensor: take the"
                         " part of it that is to be drawn in Python, and viz.draw it")
    return z


def _dtype(model: Any) -> Any:
    """What its parameters are made of."""
    return next((p.dtype for p in model.parameters().values()), None)


def _random_rows(model: Any, path: str, rows: int) -> Any:
    """Random numbers for what the model begins with."""
    import numpy as np

    from tinygrad_opt import nn
    from tinygrad_opt.tensor import Tensor

    rng = np.random.default_rng(0)
    for layer in model.named_modules().values():
        if isinstance(layer, nn.Embedding):
            return Tensor(rng.integers(0, len(layer.weight), (rows, 1)), name=f"{rows} random rows")
        if isinstance(layer, nn.Linear):
            x = rng.normal(size=(rows, layer.weight.shape[0]))
            return Tensor(x, dtype=_dtype(model), name=f"{rows} random rows")
        if layer.__dict__.get("weight") is not None:
            break
    raise ValueError(f"what the model in {path} takes cannot be told from its layers: name a data"
                     " set by --data, or call it in Python and viz.draw what it gives")
