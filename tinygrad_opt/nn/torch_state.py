"""State dicts that PyTorch understands, and those that it writes. PyTorch is not imported."""

from __future__ import annotations

import numpy as np

from tinygrad_opt.kernels import brought
from tinygrad_opt.nn.module import Module
from tinygrad_opt.typing import Array


def to_torch(model: Module) -> dict[str, np.ndarray]:
    """The state of a model in PyTorch's layout: Linear and recurrent weights as (out, in), queries,
    keys and values of an attention as one ``in_proj``.

    Parameters
    ----------
    model : Module

    Returns
    -------
    dict of str to ndarray
        For ``torch_model.load_state_dict({k: torch.tensor(v) for k, v in ....items()})``. The
        names are the model's own: those of a torch model that is built alike.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> nn.to_torch(nn.Linear(2, 3))["weight"].shape
    (3, 2)
    """
    turned = _transposed(model)
    state = {
        path: np.ascontiguousarray(brought(array).T) if path in turned else brought(array)
        for path, array in model.state_dict().items()
    }
    for whole, parts in _packed(model).items():
        if parts[0] in state:
            state[whole] = np.concatenate([state.pop(part) for part in parts])
    return state


def from_torch(model: Module, state: dict[str, object]) -> None:
    """Load what ``torch_model.state_dict()`` gives into a model that is built alike.

    Parameters
    ----------
    model : Module
    state : dict of str to torch.Tensor or array
        Linear and recurrent weights as (out, in). ``num_batches_tracked`` is left out, and the
        ``_l0`` of recurrent layers; so is the second name of a tied weight, where it has none here.

    Raises
    ------
    CheckpointError
        With everything that does not fit; nothing is changed then.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> layer = nn.Linear(2, 1)
    >>> nn.from_torch(layer, {"weight": np.array([[1.0, 2.0]]), "bias": np.array([3.0])})
    >>> layer([[10.0, 100.0]]).tolist()
    [[213.0]]
    """
    own, turned, packed = model.state_dict(), _transposed(model), _packed(model)
    loaded: dict[str, Array] = {}
    arrays = {key: np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
              for key, value in state.items()}
    for key, array in arrays.items():
        path = key if key in own else key.removesuffix("_l0")
        if not {path} & (own.keys() | packed.keys()) and (
            path.endswith("num_batches_tracked")           # a count that nothing here reads
            or any(np.shares_memory(array, arrays[k]) for k in arrays.keys() & own.keys())
        ):
            continue
        parts = {path: array} if path not in packed else dict(
            zip(packed[path], np.array_split(np.atleast_1d(array), len(packed[path]))))
        loaded |= {path: part.T if path in turned else part for path, part in parts.items()}
    model.load_state_dict(loaded)


def _packed(model: Module) -> dict[str, list[str]]:
    """Paths of what PyTorch holds as one array, and of its parts here."""
    return {f"{path}.{whole}".lstrip("."): [f"{path}.{part}".lstrip(".") for part in parts]
            for path, module in model._paths(Module)
            for whole, parts in module.packed_in_torch.items()}


def _transposed(model: Module) -> set[str]:
    """Paths of the parameters that PyTorch holds the other way round."""
    return {path for path, module, _ in model._tree()
            if path.rpartition(".")[2] in module.transposed_in_torch}
