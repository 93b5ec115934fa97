"""`mpi`: one training on several processes, each with a part of every batch.

Started as ``mpiexec -n 4 python -m mpi4py script.py``, every process (a *rank*) runs the same
script. They hold the same parameters, compute the gradient of their own samples, add the gradients
up, and take the same step.
"""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tinygrad_opt.data import minibatches
from tinygrad_opt.errors import install
from tinygrad_opt.optim import Optimizer
from tinygrad_opt.optim.reduction import Layout
from tinygrad_opt.recording import tick
from tinygrad_opt.tensor import Tensor
from tinygrad_opt.train.batch import Halt
from tinygrad_opt.train.loop import INTERRUPTED, Pair, Run
from tinygrad_opt.train.measure import Means
from tinygrad_opt.typing import Array, ArrayLike

if TYPE_CHECKING:
    from types import TracebackType

    from mpi4py.MPI import Comm

__all__ = ["Ranks", "mpi"]

# what launchers tell their processes of how many they are
LAUNCHERS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE")
TOP = 1024.0                      # the largest number of a vector in 16 bits, whose end is 65504


class Ranks:
    """The processes that train together, and what they do together; `mpi` is all of them.

    Parameters
    ----------
    every : int
        1: gradients are added up, and all ranks take the same step. k > 1: each rank steps by
        itself, and every k steps the parameters are averaged (local SGD).
    bits : {32, 16}
        16: gradients travel as 16-bit floats, half as many bytes as float32; what rounding
        takes away is added to the next gradient (error feedback).
    size : int, optional
        How many ranks there must be: otherwise it is an error.
    comm : optional
        An mpi4py communicator; by default COMM_WORLD.

    References
    ----------
    Stich, *Local SGD converges fast and communicates little* (2019); Karimireddy et al., *Error
    feedback fixes SignSGD* (2019); Tang et al., *1-bit Adam* (2021), for sums in two stages.

    Examples
    --------
    MPI begins with the first step, or where `mpi` is called:

    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt.parallel import mpi
    >>> w = tg.Tensor([1.0], requires_grad=True)
    >>> tg.optim.SGD({"w": w}, lr=0.5, reduce=mpi.mean)
    SGD(lr=0.5; 1 parameters, t=0)
    """

    def __init__(self, every: int = 1, *, bits: int = 32, size: int | None = None,
                 comm: Comm | None = None) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise ValueError(f"every is a number of steps from 1 on, got {every!r}")
        if bits not in (16, 32):
            raise ValueError(f"bits is 32 or 16, got {bits!r}")
        if every > 1 and bits == 16:
            raise ValueError(f"bits=16 is for gradients, and every={every} sends parameters: leave"
                             " one of them out")
        self.every, self.bits, self._wanted, self._comm = every, bits, size, comm
        self._agreed: Layout | None = None                 # that all ranks have
        self._rest: dict[int, tuple[Array, Array]] = {}    # what 16 bits have not carried yet

    def __call__(self, every: int = 1, *, bits: int = 32, size: int | None = None,
                 comm: Comm | None = None) -> Ranks:
        """All ranks, with options as above, for ``fit(..., parallel=mpi())``."""
        made = Ranks(every, bits=bits, size=size, comm=self._comm if comm is None else comm)
        _ = made.comm
        return made

    def __reduce__(self) -> tuple[object, ...]:
        return partial(Ranks, self.every, bits=self.bits, size=self._wanted), ()

    def __repr__(self) -> str:
        return f"mpi(every={self.every}, bits={self.bits})"

    @property
    def comm(self) -> Comm:
        """The communicator; MPI begins when it is first asked for."""
        if self._comm is None:
            self._comm = _world()
        if self._wanted not in (None, self._comm.size):
            raise ValueError(f"mpi(size={self._wanted}): there are {self._comm.size} ranks. Was"
                             " this started by the mpiexec of the MPI that mpi4py uses?")
        return self._comm

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""
        return int(self.comm.rank)

    @property
    def size(self) -> int:
        """How many there are."""
        return int(self.comm.size)

    # ---- what an optimizer of one's own loop needs ----

    def sum(self, vectors: list[Array], layout: Layout) -> None:
        """Add the gradients of all ranks up, for ``Adam(params, reduce=mpi.sum)``.

        Every rank must call ``step()`` as often as the others, one without samples too. The
        loss of each must count its samples among all: ``(loss * mpi.share(len(x))).backward()``.

        Parameters
        ----------
        vectors : list of ndarray
            Written in place.
        layout : tuple
            The names, shapes and dtypes, which are compared at the first step.

        Raises
        ------
        ValueError
            If the ranks have other parameters, on all of them.
        """
        if layout is not self._agreed:
            self.compare("parameters", {name: f"{dtype} {shape}" for name, shape, dtype in layout})
            self._agreed = layout
        for i, vector in enumerate(vectors if self.size > 1 else ()):
            if self.bits == 16:                            # the flags behind are added as they are
                flags = sum(dtype == str(vector.dtype) for *_, dtype in layout)
                self._sum_halves(i, vector[:-flags])
                self._add(vector[-flags:])
            else:
                self._add(vector)

    def mean(self, vectors: list[Array], layout: Layout) -> None:
        """Take the mean of the gradients over ranks, for ``Adam(params, reduce=mpi.mean)``.

        It is the gradient of the mean loss where all ranks have equally many samples; see `sum`.

        Parameters
        ----------
        vectors, layout
            As in `sum`.
        """
        self.sum(vectors, layout)
        for vector in vectors:
            vector /= self.size

    def share(self, n: int) -> float:
        """Which part of the samples of all ranks so many are.

        Parameters
        ----------
        n : int
            How many this rank has, from 0 on.

        Returns
        -------
        float
        """
        return float(n / max(self.comm.allreduce(n), 1))

    @overload
    def shard(self, array: ArrayLike, /) -> Array: ...
    @overload
    def shard(self, *arrays: ArrayLike) -> tuple[Array, ...]: ...
    def shard(self, *arrays: ArrayLike) -> Array | tuple[Array, ...]:
        """The part of this rank: rows that follow each other, as many as the others or one less.

        Parameters
        ----------
        *arrays : array-like of shape (n, ...)

        Returns
        -------
        ndarray, or tuple of ndarray
        """
        parts = tuple(a[self._span(len(a))] for a in map(np.asarray, arrays))
        return parts[0] if len(parts) == 1 else parts

    def broadcast(self, params: Mapping[str, Tensor]) -> None:
        """Give all ranks the values that rank 0 has.

        Parameters
        ----------
        params : dict of str to Tensor
        """
        self.compare("parameters", {n: f"{p.dtype} {p.shape}" for n, p in params.items()})
        for p in params.values():
            p._array[...] = self.comm.bcast(p._array)
            p._changed = tick()

    def average(self, params: Mapping[str, Tensor]) -> None:
        """Give all ranks the mean of their values, as local SGD does now and then.

        Parameters
        ----------
        params : dict of str to Tensor
        """
        for p in params.values():
            self._average(p._array)
            p._changed = tick()

    def compare(self, what: str, mine: Mapping[str, object]) -> None:
        """An error on every rank if what they have differs.

        Parameters
        ----------
        what : str
            In the message.
        mine : dict of str to object
            Compared as text.

        Raises
        ------
        ValueError
        """
        first, *others = self.comm.allgather({name: str(value) for name, value in mine.items()})
        for rank, other in enumerate(others, 1):
            for name in {**first, **other}:
                one, two = first.get(name, "missing"), other.get(name, "missing")
                if one != two:
                    raise ValueError(f"the ranks differ in their {what}: {name} is {one} on rank 0"
                                     f" and {two} on rank {rank}")
            if [*first] != [*other]:
                raise ValueError(f"the ranks differ in their {what}: their order differs on ranks"
                                 f" 0 and {rank}")

    # ---- what fit needs ----

    def run(self, **given: Any) -> Run:
        """The training run of `fit`."""
        return RankRun(self, **given)

    def _span(self, n: int) -> slice:
        """Which of n places are this rank's."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def _add(self, values: Array) -> None:
        """The sum over ranks, in place; MPI adds no float16, and only what lies side by side."""
        from mpi4py import MPI

        whole = np.ascontiguousarray(
            values, np.float32 if values.dtype == np.float16 else values.dtype)
        self.comm.Allreduce(MPI.IN_PLACE, whole)
        if whole is not values:
            values[...] = whole

    def _average(self, values: Array) -> None:
        self._add(values)
        values /= self.size

    def _sum_halves(self, i: int, vector: Array) -> None:
        """The sum in 16 bits, of which every rank adds up one part for all.

        What rounding takes away, of the gradients and of the sums, waits for the next step.
        """
        part = -(-len(vector) // self.size)
        if i not in self._rest or self._rest[i][0].size < len(vector):
            self._rest[i] = (np.zeros((self.size, part), np.float32),
                             np.zeros((1, part), np.float32))
        own, total = self._rest[i]
        own.reshape(-1)[: len(vector)] += vector
        got = np.empty((self.size, part + 2), np.uint16)
        self.comm.Alltoall(_packed(own), got)
        total += _unpacked(got).sum(axis=0)
        self.comm.Allgather(_packed(total), got)
        vector[...] = _unpacked(got).reshape(-1)[: len(vector)]


def _packed(rows: Array) -> Array:
    """Each row in 16 bits behind the number that scales it, as the rows keep what is lost."""
    top = np.abs(rows).max(axis=1, keepdims=True, initial=0)
    scale = np.where((top > 0) & np.isfinite(top), top / TOP, 1).astype(np.float32)
    sent = np.empty((len(rows), rows.shape[1] + 2), np.float16)
    with np.errstate(all="ignore"):
        sent[:, 2:] = rows / scale
        sent[:, :2].view(np.float32)[...] = scale
        rows -= sent[:, 2:].astype(np.float32) * scale
    rows[~np.isfinite(rows)] = 0                           # nan would never leave
    return sent.view(np.uint16)


def _unpacked(rows: Array) -> Array:
    halves = rows.view(np.float16)
    numbers: Array = halves[:, 2:].astype(np.float32) * halves[:, :2].copy().view(np.float32)
    return numbers


def _digest(values: Array) -> str:
    """Short words for an array, of which every nan is the same."""
    alike = np.where(np.isnan(values), np.nan, values).astype(values.dtype)
    return hashlib.sha256(alike.tobytes()).hexdigest()[:8]


class RankRun(Run):
    """The run of `fit` on one rank: its part of each batch, and decisions that all ranks take.

    Attributes
    ----------
    ranks : Ranks
    rank : int
        0 writes files and shows progress.
    """

    def __init__(self, ranks: Ranks, **given: Any) -> None:
        self.ranks, self.rank = ranks, ranks.rank
        self._wish: str | None = None                      # for a stop, until all know
        self._whole = 1                                    # samples of the batch, of all ranks
        if self.rank:
            given["callbacks"] = [c for c in given["callbacks"] if not c.writes]
        super().__init__(**given)
        if not isinstance(self.optimizer, Optimizer):
            raise TypeError("parallel= needs an optimizer of tinygrad_opt, got"
                            f" {type(self.optimizer).__name__}")
        if self.optimizer.reduce is not None:
            raise ValueError("the optimizer has its own reduce=: leave it out, fit sets it")

    def train(self) -> None:
        """All epochs, on all ranks."""
        if self.ranks.every == 1:
            self.optimizer.reduce = self.ranks.sum
        self._begin()
        try:
            super().train()
        finally:
            self.optimizer.reduce = None
        self.history.findings = self.ranks.comm.bcast(self.history.findings)

    def _begin(self) -> None:
        """Start from the same numbers, those of rank 0, once it is sure that they fit."""
        ranks, comm = self.ranks, self.ranks.comm
        ranks.compare("training", {
            "the optimizer": type(self.optimizer).__name__, "compile": self.compile,
            "the loss": getattr(self.loss_function, "__qualname__", "an object"), "the samples": [
                (a.shape, str(a.dtype)) for a in self.data], "batch_size": self.batch_size,
            "accumulate": self.accumulate, "epochs": self.epochs, "every": ranks.every,
            "bits": ranks.bits, "metrics": [*self.metrics],
            "validation": self.validation is not None,
            "what is frozen": [n for n, p in self.parameters.items() if not p.requires_grad]})
        ranks.broadcast(self.parameters)
        buffers, state, self.history.seed = comm.bcast(
            (self._buffers(), self.optimizer.state_dict(), self.history.seed))
        for own, values in zip(self._buffers(), buffers):
            own[...] = values
        if self.rank:
            self.optimizer.load_state_dict(state)
        self._asks = comm.allreduce(bool(self._on_loss)) > 0

    # ---- the samples of this rank ----

    def _batches(self, rng: np.random.Generator | None) -> Iterator[Pair]:
        x, y = self.data
        for rows in minibatches(
                np.arange(len(x)), None, self.batch_size, shuffle=rng is not None, rng=rng):
            self._whole, mine = len(rows), rows[self.ranks._span(len(rows))]
            yield x[mine], y[mine]

    def _train_on(self, x: Array, y: Array, rows: int, means: Means) -> float:
        self.batch = x, y
        if len(x):
            alone = self.ranks.every > 1                   # the mean over its own samples
            prediction = self._gradients(x, y, (self._whole if alone else len(x)) / rows)
            means.add(self.loss, prediction, y)
        else:
            self._look(np.zeros(()))
        return self._whole / rows * self.loss

    def _look(self, loss: Array) -> None:
        together, part = self.ranks.every == 1, len(self.batch[0]) / self._whole
        self.loss = self._exchange(loss.item() * part) if together else loss.item()
        for hook in self._on_loss:
            hook(self)
        if together and self._asks:
            self._exchange()
        if self.stopped:
            raise Halt

    def _take_step(self) -> dict[str, float]:
        if self.ranks.every == 1 or any(p._gradient is not None for p in self.parameters.values()):
            measured = super()._take_step()
        else:                                              # no samples, and nobody to share theirs
            measured = {"lr": self.optimizer.current_lr}
            self.history.steps["lr"].append(measured["lr"])
            self.step += 1
        if self.ranks.every > 1 and self.step % self.ranks.every == 0:
            self.ranks.average(self.parameters)
            self._exchange()
        return measured

    def _measured_step(self) -> dict[str, float]:
        self.optimizer.reduce_gradients()
        return super()._measured_step()

    def _pass(self) -> dict[str, float]:
        self._draw_apart()
        first = len(self.history.steps["loss"])
        row = None
        with suppress(Halt):                               # all ranks are here then, too
            row = super()._pass()
        self._settle(first)
        if row is None:
            raise Halt
        return row

    def _draw_apart(self) -> None:
        """Other random numbers on each rank; from the epoch, so that a resumed run draws them."""
        if self.rank and hasattr(self.model, "generators"):
            each = {id(g): g for g in self.model.generators().values()}
            for i, g in enumerate(each.values()):
                start = [self.history.seed, self.epoch, self.rank, i]
                g.bit_generator.state = type(g.bit_generator)(start).state

    def _settle(self, first: int) -> None:
        """What ranks have done apart becomes one: running statistics, and local SGD."""
        for buffer in self._buffers():
            self.ranks._average(buffer)
        if self.ranks.every > 1:
            self.ranks.average(self.parameters)
            losses = np.array(self.history.steps["loss"][first:])
            self.ranks._average(losses)
            self.history.steps["loss"][first:] = losses.tolist()
        self.ranks.compare(
            f"parameters after epoch {self.epoch} (what one rank's callback changes, all must)",
            {name: _digest(p._array) for name, p in self.parameters.items()})

    def _means(self, means: Means) -> dict[str, float]:
        own = means.means() if means.count else dict.fromkeys(["loss", *self.metrics], 0.0)
        sums = np.array([*(value * means.count for value in own.values()), means.count])
        self.ranks._add(sums)
        return {name: float(total / sums[-1]) for name, total in zip(own, sums)}

    def _agreed(self, row: dict[str, float]) -> dict[str, float]:
        agreed: dict[str, float] = self.ranks.comm.bcast(row)
        return agreed

    def _buffers(self) -> list[Array]:
        """Running statistics, of all modules."""
        modules = self.model.named_modules() if hasattr(self.model, "named_modules") else {}
        return [array for module in modules.values() for _, array in module._buffers()
                if array.dtype.kind == "f"]

    # ---- decisions ----

    def stop(self, reason: str) -> None:
        """End the training on all ranks after the step in hand, as soon as they have heard."""
        self._wish = self._wish or reason

    def _exchange(self, value: float = 0.0) -> float:
        """The sum of a number over ranks; and whether one of them wants to stop."""
        told = np.array([value, self._wish is not None])
        self.ranks._add(told)
        if told[1]:
            reasons = self.ranks.comm.allgather(self._wish)
            self.stopped = self.history.stopped = next(filter(None, reasons))
        return float(told[0])

    def _tell(self, moment: str) -> None:
        super()._tell(moment)
        if moment in ("on_begin", "on_epoch"):
            self._exchange()

    def _epoch(self) -> None:
        try:
            super()._epoch()
        except KeyboardInterrupt:                          # the others would wait for ever
            _abort(self.ranks.comm, INTERRUPTED, 130)


mpi = Ranks()


def _world() -> Comm:
    """COMM_WORLD, whose ranks end together when one raises an error."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ImportError(f"mpi needs mpi4py and an MPI library: {install('mpi')}"
                          f" ({str(error).splitlines()[0]})") from None
    comm = MPI.COMM_WORLD
    meant = max((int(os.environ[name]) for name in LAUNCHERS if name in os.environ), default=1)
    if comm.size == 1 < meant:
        raise RuntimeError(
            f"the launcher started {meant} processes, but this one sees itself alone: mpiexec and"
            " mpi4py belong to different MPIs. Use the mpiexec beside this python, as in"
            f" {os.path.join(os.path.dirname(sys.executable), 'mpiexec')}")
    if comm.size > 1:
        _end_together(comm)
    return comm


def _end_together(comm: Comm) -> None:
    """An error that nobody catches ends all ranks; they would wait for this one for ever."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        before(kind, error, trace)
        _abort(comm, None, 130 if issubclass(kind, KeyboardInterrupt) else 1)

    sys.excepthook = hook


def _abort(comm: Comm, reason: str | None, code: int) -> None:
    if reason is not None:
        traceback.print_exc()
        print(f"rank {comm.rank}: {reason}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    comm.Abort(code)
