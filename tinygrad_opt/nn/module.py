"""`Module`: a function with parameters."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from tinygrad_opt.errors import CheckpointError
from tinygrad_opt.nn.blueprint import describe
from tinygrad_opt.nn.init import generator
from tinygrad_opt.nn.summary import Summary, summarize
from tinygrad_opt.nn.tree import Tree, enter
from tinygrad_opt.tensor import Tensor, observed, tick

__all__ = ["Module", "matching"]


class Module(Tree):
    """A function with parameters: assign Tensors and Modules to attributes, define ``forward``.

    A leaf Tensor that requires grad is a parameter, and stays one while it is frozen. It is known
    by its path, ``layers.0.weight``, which is also written to its ``Tensor.name``. A name only
    grows, so it tells the path in the largest tree so far; one that you gave yourself stays. A
    parameter that stands at several paths (tied weights) goes by the first. A constant Tensor is
    no parameter, unless you name it: then it is one that is frozen, and is saved.

    Attributes
    ----------
    training : bool
        Whether Dropout drops and BatchNorm looks at the batch; see `train` and `eval`.
    buffers : tuple of str
        Names of the attributes that are arrays, not trained but saved. Set it in the class.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_opt import nn
    >>> class Line(nn.Module):
    ...     def __init__(self, rng=None):
    ...         self.layer = nn.Linear(1, 1, rng=rng)
    ...     def forward(self, x):
    ...         return self.layer(x)
    >>> model = Line(rng=0)
    >>> {name: p.shape for name, p in model.parameters().items()}
    {'layer.weight': (1, 1), 'layer.bias': (1,)}
    >>> model(np.zeros((4, 1))).shape
    (4, 1)
    """

    @property
    def training(self) -> bool:
        """Whether it is trained now; a compiled step that asked notices when it changes."""
        return observed(self, "training", vars(self).get("training", True))

    @training.setter
    def training(self, mode: bool) -> None:
        vars(self)["training"] = mode

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes."""
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, x)")

    # ---- saving ----------------------------------------------------------------------------------

    def _state(self) -> dict[str, Tensor | np.ndarray]:
        """What is saved: parameters, a tied one under each of its paths, and buffers."""
        state: dict[str, Any] = {}
        for path, _, tensor in self._tensors():
            enter(state, path, tensor)
        for prefix, module in self._modules():
            for name in type(module).buffers:
                array = getattr(module, name)
                if array is not None:
                    enter(state, f"{prefix}.{name}" if prefix else name, array)
        return state

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by their paths.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> sorted(nn.Linear(2, 3).state_dict())
        ['bias', 'weight']
        """
        return {path: np.array(_array(x)) for path, x in self._state().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the values of a `state_dict`, written into the arrays that are there.

        Parameters
        ----------
        state : dict of str to array-like
            One entry for each of ``self.state_dict()``. To load a part of them, complete it:
            ``model.load_state_dict(model.state_dict() | part)``.

        Raises
        ------
        CheckpointError
            With every name that is missing, unexpected or of another shape or kind. Nothing is
            changed then.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"a state is a dict of names and arrays, got {type(state).__name__}")
        own = self._state()
        values = {path: np.asarray(_array(x)) for path, x in state.items()}
        problems = [f"{path} is missing" for path in own if path not in values]
        problems += [f"{path} is not known here" for path in values if path not in own]
        written: dict[int, str] = {}
        for path in [path for path in own if path in values]:
            target, value = _array(own[path]), values[path]
            if value.shape != target.shape:
                problems.append(f"{path} has shape {value.shape}, here it is {target.shape}")
            elif not np.can_cast(value.dtype, target.dtype, "same_kind"):
                problems.append(f"{path} holds {value.dtype}, here it is {target.dtype}")
            first = written.setdefault(id(own[path]), path)
            if first != path and not np.array_equal(value, values[first], equal_nan=True):
                problems.append(f"{path} and {first} are one parameter here, but differ")
        if problems:
            raise CheckpointError(
                f"the state does not fit this {type(self).__name__}: {'; '.join(problems)}."
            )
        for path, target in own.items():
            np.copyto(_array(target), values[path], casting="same_kind")
            if type(target) is Tensor:
                target.changed = tick()

    def generators(self) -> dict[str, np.random.Generator]:
        """The random generators that its modules draw from, by their paths.

        They are the attributes that hold one; an ``rng`` of None means the package's own, which
        `tg.seed` starts. `save` keeps their states, and ``load(path, model)`` puts them back.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> list(nn.MLP([2, 8, 3], dropout=0.5, rng=0).generators())
        ['dropout.rng']
        """
        found = {}
        for path, module in self.named_modules().items():
            for name, value in vars(module).items():
                if name == "rng" and value is None:
                    value = generator()
                if isinstance(value, np.random.Generator):
                    found[f"{path}.{name}" if path else name] = value
        return found

    def architecture(self) -> dict[str, Any]:
        """What it is made of, as plain data. `save` keeps it, and `nn.rebuild` makes it anew.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> nn.LeakyReLU(0.1).architecture()
        {'module': 'LeakyReLU', 'place': '', 'holds': {'slope': 0.1}}
        """
        return describe(self)

    # ---- changing all of it ----------------------------------------------------------------------

    def train(self, mode: bool = True) -> Module:
        """Set the whole tree to training mode, or out of it; returns self."""
        for _, module in self._modules():
            module.training = bool(mode)
        return self

    def eval(self) -> Module:
        """Set the whole tree to evaluation: no dropout, running statistics; returns self."""
        return self.train(False)

    def requires_grad_(self, pattern: str | bool = "*", flag: bool = True) -> Module:
        """Freeze or thaw the parameters whose path matches a pattern; returns self.

        Parameters
        ----------
        pattern : str
            As in a shell: ``"layers.0.*"``, ``"*bias"``.
        flag : bool
            False freezes: no gradient is computed, and optimizers leave them alone.

        Raises
        ------
        ValueError
            If nothing matches.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> model = nn.MLP([2, 4, 1]).requires_grad_("layers.0.*", False)
        >>> [name for name, p in model.parameters().items() if p.requires_grad]
        ['layers.1.weight', 'layers.1.bias']
        """
        if isinstance(pattern, bool):                      # PyTorch's requires_grad_(False)
            return self.requires_grad_("*", pattern)
        for tensor in matching(self.parameters(), pattern).values():
            tensor.requires_grad = flag
            if not flag:
                tensor.grad = None
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for tensor in self.parameters().values():
            tensor.grad = None

    def astype(self, dtype: Any) -> Module:
        """Convert all parameters and buffers in place; returns self.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> nn.Linear(2, 3).astype("float64").weight.dtype
        dtype('float64')
        """
        wanted = np.dtype(dtype)
        if wanted.kind != "f":
            raise TypeError(f"parameters are floats, they cannot become {wanted}")
        for tensor in self.parameters().values():
            tensor.array, tensor.grad = tensor.array.astype(wanted), None
            tensor.changed = tick()
        for _, module in self._modules():
            for name in type(module).buffers:
                array = getattr(module, name)
                if array is not None:
                    object.__setattr__(module, name, array.astype(wanted))
        return self

    # ---- showing it ------------------------------------------------------------------------------

    def summary(self, input_shape: Any = None, *, dtype: Any = None) -> Summary:
        """A table of the layers, the shapes that they give and how many parameters they have.

        Parameters
        ----------
        input_shape : tuple of int, optional
            Shape of the input, samples included. Zeros of this shape are sent through a copy of
            the model; without it, the column of shapes is left out.
        dtype : dtype-like, optional
            Of that input; ``int`` for a model that begins with an Embedding.

        Returns
        -------
        Summary
            Prints as the table; has ``rows``, ``parameters`` and ``trainable``.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> nn.MLP([2, 16, 3]).summary((1, 2))
        name      layer          output   parameters
        (model)   MLP(relu)      (1, 3)           99
        layers.0  Linear(2, 16)  (1, 16)          48
        layers.1  Linear(16, 3)  (1, 3)           51
        99 parameters, 99 trainable
        """
        return summarize(self, input_shape, dtype)


Module._reserved = frozenset(
    name for name in dir(Module) if callable(getattr(Module, name)) and name != "forward"
)


def matching(parameters: dict[str, Tensor], pattern: str) -> dict[str, Tensor]:
    """Those parameters whose name matches a pattern as in a shell; none is an error."""
    chosen = {name: p for name, p in parameters.items() if fnmatchcase(name, pattern)}
    if not chosen:
        raise ValueError(f"no parameter matches {pattern!r}; there are {', '.join(parameters)}")
    return chosen


def _array(x: Any) -> Any:
    return x.array if type(x) is Tensor else x
