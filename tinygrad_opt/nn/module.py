"""`Module`: a function with parameters.

Nothing is registered. The attributes of a module are its tree: whatever Tensors and modules they
hold, directly or in lists, tuples and dicts, are found when they are asked for, in the order in
which they were assigned. So there is no ``super().__init__()`` to forget and no list that hides
its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from fnmatch import fnmatchcase
from functools import partial
from itertools import chain
from operator import is_
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from tinygrad_opt.errors import CheckpointError, captured_read, captured_write
from tinygrad_opt.hints import answers, missing
from tinygrad_opt.kernels import asarray, moved
from tinygrad_opt.nn.init import generator
from tinygrad_opt.recording import Tracer, effect, observed, tick, tracer, unrepeatable
from tinygrad_opt.tensor import Tensor, values_of
from tinygrad_opt.typing import ArrayLike, DTypeLike

if TYPE_CHECKING:
    from tinygrad_opt.nn.summary import Summary

Held = TypeVar("Held")
M = TypeVar("M", bound="Module")


class Module:
    """A function with parameters: assign Tensors and Modules to attributes, define ``forward``.

    A leaf Tensor that requires grad is a parameter, and stays one while it is frozen. It is known
    by its path, ``layers.0.weight``, which is also written to its ``Tensor.name``. A name only
    grows, so it tells the path in the largest tree so far; one that you gave yourself stays. A
    parameter that stands at several paths (tied weights, ``self.b.weight = self.a.weight``) goes by
    the first, is trained and counted once, and saved under each. A constant Tensor is
    no parameter, unless you name it: then it is one that is frozen, and is saved.

    Attributes
    ----------
    training : bool
        Whether Dropout drops and BatchNorm looks at the batch; see `train` and `eval`.
    buffers : tuple of str
        Names of the attributes that are arrays, not trained but saved, loaded and converted with
        the parameters. Set it in the class, as BatchNorm does for its running statistics.

    Notes
    -----
    A compiled step reads buffers and other arrays anew at each call, as it does parameters; they
    may be written in place. Whatever else a module holds (numbers, functions, layers, the Tensors
    and arrays themselves) may be replaced: the step is then captured anew.

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

    buffers: tuple[str, ...] = ()
    transposed_in_torch: tuple[str, ...] = ()      # parameters that PyTorch holds as (out, in)
    packed_in_torch: Mapping[str, tuple[str, ...]] = {}    # its arrays → the paths of their parts
    _reserved: frozenset[str] = frozenset()        # names of methods that no attribute may take
    _shown = ""                                    # its options, as a format of itself

    @answers
    def __init__(self) -> None:
        """Nothing needs to be prepared: a subclass need not call this."""

    def __init_subclass__(cls) -> None:
        if "__init__" in vars(cls):
            cls.__init__ = answers(cls.__init__)               # type: ignore[method-assign]

    @property
    def training(self) -> bool:
        """Whether it is trained now."""
        self._note()
        return vars(self).get("training", True)

    @training.setter
    def training(self, mode: bool) -> None:
        if vars(self).get("training", True) != mode:
            self._change(_set_training, mode)

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        if tracer.get() is not None:                         # as in _note, for less
            self._note()
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module computes; a subclass defines it.

        Raises
        ------
        NotImplementedError
            If it does not.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method forward(self, x)")

    def __setattr__(self, name: str, value: object) -> None:
        if name in self._reserved:
            raise AttributeError(f"{name!r} is a method of Module: choose another attribute name")
        if _is_parameter(vars(self).get(name)) and _is_constant(value):
            raise TypeError(
                f"{name!r} is a parameter, and a constant in its place would not be trained. New"
                f" values: .{name}.data = ...; to freeze it: .requires_grad_({name!r}, False)"
            )
        new = [member for _, member in _held(value, name)]  # refuses what cannot be named
        if name == "training":
            object.__setattr__(self, name, value)          # the property does the rest
        else:
            self._change(object.__setattr__, name, value)
        if new and not any(_leads_to(self, member) for member in new):
            for path, tensor in self._paths(Tensor):
                _name(tensor, path)

    if not TYPE_CHECKING:                      # which would take any attribute for one
        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            raise missing("Module", name, [*vars(self), *dir(type(self))], type(self).__name__,
                          own=vars(self))

    # ---- the tree --------------------------------------------------------------------------------

    def _members(self) -> Iterator[tuple[str, Module | Tensor]]:
        """The Tensors and Modules that this module holds itself, with their names."""
        for name, value in vars(self).items():
            yield from _held(value, name)

    def _tree(
        self, prefix: str = "", above: Set[int] = frozenset()
    ) -> Iterator[tuple[str, Module, Module | Tensor]]:
        """Every path to a module or parameter, its own first: the path, whose it is, what it is.

        A module that holds one above it leads nowhere.
        """
        above = above | {id(self)}
        yield prefix[:-1], self, self
        for name, member in self._members():
            if isinstance(member, Module):
                if id(member) not in above:
                    yield from member._tree(f"{prefix}{name}.", above)
            elif _is_parameter(member):
                yield prefix + name, self, member

    def _paths(self, kind: type[Held]) -> Iterator[tuple[str, Held]]:
        """Every path to a Module, or to a Tensor that is a parameter."""
        return ((path, x) for path, _, x in self._tree() if isinstance(x, kind))

    def _attributes(self) -> Iterator[tuple[str, object]]:
        """All that its modules hold, by path; members of lists and tuples one by one."""
        for path, module in self.named_modules().items():
            for name, value in vars(module).items():
                where = f"{path}.{name}".lstrip(".")
                if isinstance(value, list | tuple):
                    yield from ((f"{where}.{i}", part) for i, part in enumerate(value))
                else:
                    yield where, value

    def parameters(self) -> dict[str, Tensor]:
        """Every parameter of the tree by its path, in the order of definition, each once.

        Returns
        -------
        dict of str to Tensor
            Frozen parameters are among them; their ``requires_grad`` is False.

        Raises
        ------
        ValueError
            If two different parameters have the same path, as dict keys with dots can cause.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> list(nn.Linear(2, 3).parameters())
        ['weight', 'bias']
        """
        self._note()
        found = _table(self._paths(Tensor))
        for path, tensor in found.items():
            _name(tensor, path)
        return _each_once(found)

    def named_modules(self) -> dict[str, Module]:
        """Every module of the tree by its path, each once.

        Returns
        -------
        dict of str to Module
            This one is ``""``.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> list(nn.MLP([2, 4, 3]).named_modules())
        ['', 'layers.0', 'layers.1']
        """
        return _each_once(_table(self._paths(Module)))

    def _note(self) -> None:
        """Let a step that is being captured notice when what the tree holds is replaced."""
        program = tracer.get()
        if program is None:
            return
        known, _ = _NOTED.setdefault(program, (set(), set()))
        if id(self) not in known:
            contents = Contents(self)
            known.update(map(id, contents.modules))
            observed(contents, "unchanged", True)

    def _change(self, action: Callable[..., None], *args: object) -> None:
        """Change an attribute. A captured step does so again, but for modules that it makes."""
        program = tracer.get()
        if program is not None:
            known, made = _NOTED.setdefault(program, (set(), set()))
            if not vars(self) and id(self) not in known:
                made.add(id(self))
            if id(self) in known or id(self) not in made:
                self._note()
                return effect(action, self, *args)
        return action(self, *args)

    def __getstate__(self) -> dict[str, object]:
        """For copy and pickle: computed Tensors go as their values, without their graph."""
        return {name: _without_graph(value) for name, value in vars(self).items()}

    # ---- saving ----------------------------------------------------------------------------------

    def _state(self) -> dict[str, Tensor | np.ndarray]:
        """What is saved: parameters, a tied one under each of its paths, and buffers."""
        buffers = ((f"{path}.{name}".lstrip("."), array) for path, module in self._paths(Module)
                   for name, array in module._buffers())
        return _table(chain(self._paths(Tensor), buffers))

    def _buffers(self) -> list[tuple[str, np.ndarray]]:
        """Its own buffers that are not None."""
        own = ((name, getattr(self, name)) for name in type(self).buffers)
        return [(name, array) for name, array in own if array is not None]

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of all parameters and buffers by their paths.

        Returns
        -------
        dict of str to ndarray
            A tied parameter is there under each of its paths.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> sorted(nn.Linear(2, 3).state_dict())
        ['bias', 'weight']
        """
        state = self._state()
        if state:                                          # a replay would not copy again
            unrepeatable(captured_read, next(iter(state.values())))
        return {path: np.copy(values_of(x)) for path, x in state.items()}

    @answers
    def load_state_dict(self, state: Mapping[str, ArrayLike]) -> None:
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

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> model, other = nn.Linear(2, 3, rng=0), nn.Linear(2, 3, rng=1)
        >>> model.load_state_dict(other.state_dict())
        >>> bool((model.weight.data == other.weight.data).all())
        True
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"a state is a dict of names and arrays, got {type(state).__name__}")
        own = self._state()
        if own:
            unrepeatable(captured_write, next(iter(own.values())))
        values = {path: asarray(values_of(x)) for path, x in state.items()}
        problems = [*_misfits(own, values)]
        problems += [f"{path} is not known here"
                     + isinstance(state[path], Mapping) * f": is state[{path!r}] meant?"
                     for path in values if path not in own]
        if problems:
            raise CheckpointError(
                f"the state does not fit this {type(self).__name__}: {'; '.join(problems)}."
            )
        for path, x in own.items():
            array = values_of(x)
            np.copyto(array, moved(values[path], array), casting="same_kind")
            if type(x) is Tensor:
                x._changed = tick()

    def generators(self) -> dict[str, np.random.Generator]:
        """The random generators that its modules draw from, by their paths.

        They are the attributes that hold one; an ``rng`` of None means the package's own, which
        `tg.seed` starts. `save` keeps their states, and ``load(path, model)`` puts them back.

        Returns
        -------
        dict of str to numpy.random.Generator

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> list(nn.MLP([2, 8, 3], dropout=0.5, rng=0).generators())
        ['dropout.rng']
        """
        drawn = ((path, generator() if x is None and path.rpartition(".")[2] == "rng" else x)
                 for path, x in self._attributes())
        return {path: x for path, x in drawn if isinstance(x, np.random.Generator)}

    def architecture(self) -> dict[str, object]:
        """What it is made of, as plain data. `save` keeps it, and `nn.rebuild` makes it anew.

        Returns
        -------
        dict
            With one key ``"missing"`` that says why, if no file could tell how to make it.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> nn.LeakyReLU(0.1).architecture()
        {'module': 'LeakyReLU', 'place': '', 'holds': {'slope': 0.1}}
        """
        from tinygrad_opt.nn.blueprint import describe

        return describe(self)

    # ---- changing all of it ----------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Set the whole tree to training mode, or out of it.

        Parameters
        ----------
        mode : bool

        Returns
        -------
        Module
            This one.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> nn.Dropout(0.5).train(False).training
        False
        """
        for module in self.named_modules().values():
            module.training = bool(mode)
        return self

    def eval(self: M) -> M:
        """Set the whole tree to evaluation: no dropout, running statistics.

        Returns
        -------
        Module
            This one.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> nn.Dropout(0.5).eval()([1.0, 2.0]).tolist()
        [1.0, 2.0]
        """
        return self.train(False)

    def requires_grad_(self: M, pattern: str | bool = "*", flag: bool = True) -> M:
        """Freeze or unfreeze the parameters whose path matches a pattern.

        Parameters
        ----------
        pattern : str
            As in a shell: ``"layers.0.*"``, ``"*bias"``.
        flag : bool
            False freezes: no gradient is computed, and optimizers leave them alone.

        Returns
        -------
        Module
            This one.

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
        """Forget the gradients of all parameters: their ``grad`` is None then.

        Examples
        --------
        >>> from tinygrad_opt import nn
        >>> model = nn.Linear(2, 1)
        >>> model([[1.0, 2.0]]).sum().backward()
        >>> model.zero_grad()
        >>> model.weight.grad is None
        True
        """
        for tensor in self.parameters().values():
            tensor.grad = None

    def astype(self: M, dtype: DTypeLike) -> M:
        """Convert all parameters and buffers in place.

        Parameters
        ----------
        dtype : dtype-like
            A float dtype.

        Returns
        -------
        Module
            This one.

        Raises
        ------
        TypeError
            If it is not a float dtype.

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
            tensor._array, tensor.grad = tensor._array.astype(wanted), None
            tensor._changed = tick()
        for module in self.named_modules().values():
            for name, array in module._buffers():
                setattr(module, name, array.astype(wanted))
        return self

    # ---- showing it ------------------------------------------------------------------------------

    @answers
    def summary(
        self, input_shape: ArrayLike | None = None, *, dtype: DTypeLike | None = None
    ) -> Summary:
        """A table of the layers, the shapes that they give and how many parameters they have.

        Parameters
        ----------
        input_shape : tuple of int or array, optional
            Shape of the input, samples included, or an example of it. Zeros of this shape are
            sent through a copy of the model; without it, the column of shapes is left out.
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
        from tinygrad_opt.nn.summary import summarize

        return summarize(self, input_shape, dtype)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        # no _repr_html_, which Treescope would prefer to its own tree
        return {"text/plain": repr(self), "text/html": self.summary()._repr_html_()}

    def __treescope_repr__(self, path: str | None, render: object) -> object:
        from tinygrad_opt.markup import tree

        return tree(self, vars(self), path, render)

    def _options(self) -> str:
        """What stands between the parentheses of its line in the tree."""
        return self._shown.format(self)

    def __repr__(self) -> str:
        return _drawn(self, frozenset())


Module._reserved = frozenset(
    name for name in dir(Module) if callable(getattr(Module, name)) and name != "forward"
)


class Contents:
    """What a tree of modules holds, to tell whether any of it has been replaced.

    Parameters
    ----------
    root : Module, or list, tuple, dict or `functools.partial`

    Attributes
    ----------
    modules : list of Module
        All modules of the tree; the list keeps them alive.
    """

    def __init__(self, root: object) -> None:
        self.modules: list[Module] = []
        self._holders: list[Iterable[object]] = []            # live views: attributes, lists, dicts
        self._owners: list[object] = []                       # of each, the object
        met: set[int] = set()
        stack: list[object] = [root]
        while stack:
            x = stack.pop()
            if id(x) in met or not isinstance(x, Module | list | tuple | dict | partial):
                continue
            met.add(id(x))
            if isinstance(x, Module):
                self.modules.append(x)
            parts = (vars(x) if isinstance(x, Module) else
                     x.keywords if isinstance(x, partial) else x)
            held = parts.values() if isinstance(parts, dict) else parts
            stack.extend(held)
            if not isinstance(held, tuple):                # which nobody can change
                self._holders.append(held)
                self._owners.append(x)
        self._were = self._now()

    def _now(self) -> list[object]:
        return [*chain.from_iterable(self._holders), self]           # self marks the end

    @property
    def unchanged(self) -> bool:
        """Whether everything in the tree is the object, or the number, that it was."""
        now = chain(chain.from_iterable(self._holders), (self,))
        return all(map(is_, now, self._were)) or self._are_equal()

    @property
    def changed(self) -> str:
        """The first place whose contents have been replaced, in words."""
        were = iter(self._were)
        for owner, holder in zip(self._owners, self._holders):
            for i, now in enumerate(holder):
                if not _is_same(now, next(were)):
                    names = list(vars(owner)) if isinstance(owner, Module) else []
                    return f"{type(owner).__name__}.{names[i]}" if names else repr(owner)
        return f"the contents of {self.modules[0]!r}"

    def _are_equal(self) -> bool:
        """The same with numbers and words compared by value."""
        now = self._now()
        same = len(now) == len(self._were) and all(map(_is_same, now, self._were))
        if same:
            self._were = now                               # the next comparison is a fast one
        return same


def _is_same(x: object, y: object) -> bool:
    """The same object, or an equal number or word."""
    return x is y or (type(x) is type(y) and isinstance(x, bool | int | float | str) and x == y)


def _set_training(module: Module, mode: bool) -> None:
    """Set the mode of one module."""
    if mode:                                               # the default is not stored
        vars(module).pop("training", None)
    else:
        vars(module)["training"] = False


# By step that is being captured, the ids of the modules whose contents it compares, and of those
# that it has made itself.
_NOTED: WeakKeyDictionary[Tracer, tuple[set[int], set[int]]] = WeakKeyDictionary()


def matching(parameters: dict[str, Tensor], pattern: str) -> dict[str, Tensor]:
    """Those parameters whose name matches a pattern as in a shell; none is an error."""
    chosen = {name: p for name, p in parameters.items() if fnmatchcase(name, pattern)}
    if not chosen:
        raise ValueError(f"no parameter matches {pattern!r}; there are {', '.join(parameters)}")
    return chosen


def _held(value: object, path: str) -> Iterator[tuple[str, Module | Tensor]]:
    """Tensors and Modules in a value, also in lists, tuples and dicts, with dotted paths."""
    if type(value) is Tensor or isinstance(value, Module):
        yield path, value
    elif isinstance(value, list | tuple | dict):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _held(part, f"{path}.{key}")
    elif isinstance(value, set | frozenset) and any(
        isinstance(x, Tensor | Module) for x in value
    ):
        raise TypeError(f"{path} is a set, whose order differs between runs: use a list")


def _leads_to(module: Module, member: object) -> bool:
    """Whether a member knows the module that it is given to: its owner's names are not its own."""
    return isinstance(member, Module) and any(x is module for _, x in member._paths(Module))


def _is_parameter(x: object) -> TypeGuard[Tensor]:
    """A leaf that requires grad, or one that has a name: it did, and has been frozen."""
    return type(x) is Tensor and x.op is None and (x._needs_grad or x.name is not None)


def _is_constant(x: object) -> bool:
    """An array or a nameless Tensor that no gradient flows to."""
    return isinstance(x, np.ndarray | list) or (
        type(x) is Tensor and x.op is None and not _is_parameter(x))


def _name(tensor: Tensor, path: str) -> None:
    """Name a parameter by its path, unless it has a name that is not the end of this one."""
    name = tensor.name
    if name != path and (name is None or path.endswith(f".{name}")):
        tensor.name = path


def _table(things: Iterable[tuple[str, Held]]) -> dict[str, Held]:
    """Things by their paths, which no two may share."""
    table: dict[str, Held] = {}
    for path, x in things:
        if table.setdefault(path, x) is not x:
            raise ValueError(f"two different things are both called {path!r}: rename a dict key")
    return table


def _misfits(
    own: Mapping[str, Tensor | np.ndarray], values: Mapping[str, np.ndarray]
) -> Iterator[str]:
    """What keeps a state from taking over other values."""
    first: dict[int, str] = {}
    for path, x in own.items():
        if path not in values:
            yield f"{path} is missing"
            continue
        target, value, other = values_of(x), values[path], first.setdefault(id(x), path)
        if value.shape != target.shape:
            yield f"{path} has shape {value.shape}, here it is {target.shape}"
        elif not np.can_cast(value.dtype, target.dtype, "same_kind"):
            yield f"{path} holds {value.dtype}, here it is {target.dtype}"
        if other != path and not np.array_equal(value, values[other], equal_nan=True):
            yield f"{path} and {other} are one parameter here, but differ"


def _each_once(table: dict[str, Held]) -> dict[str, Held]:
    """The table without the later paths to a thing that it has already."""
    first: dict[int, str] = {}
    return {path: x for path, x in table.items() if first.setdefault(id(x), path) == path}


def _without_graph(value: object) -> object:
    """The value with constants in place of the computed Tensors in it; itself if there are none."""
    if type(value) is Tensor:
        return value if value.op is None else Tensor(value._array)
    if type(value) is list or type(value) is tuple:
        parts = [_without_graph(x) for x in value]
        return value if all(map(is_, parts, value)) else type(value)(parts)
    if type(value) is dict:
        table = {key: _without_graph(x) for key, x in value.items()}
        return value if all(map(is_, table.values(), value.values())) else table
    return value


def _drawn(module: Module, above: Set[int]) -> str:
    """A module's repr: its own line, then those of what it holds, indented."""
    text, above = f"{type(module).__name__}({module._options()})", above | {id(module)}
    shown = [(name, x) for name, x in module._members()
             if isinstance(x, Module) and id(x) not in above]
    for i, (name, member) in enumerate(shown):
        branch, rest = ("└─ ", "   ") if i == len(shown) - 1 else ("├─ ", "│  ")
        text += f"\n{branch}{name}: " + _drawn(member, above).replace("\n", f"\n{rest}")
    return text
