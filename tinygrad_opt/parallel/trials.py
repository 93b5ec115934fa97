"""Trials: one function run with many options, over the cores or machines that there are."""

from __future__ import annotations

import itertools
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat, TypeAlias, cast

import numpy as np

from tinygrad_opt.data.arguments import whole
from tinygrad_opt.errors import CheckpointError, install
from tinygrad_opt.hints import answers
from tinygrad_opt.markup import aligned, html_table
from tinygrad_opt.nn import init
from tinygrad_opt.train.history import History, mode_of, write_csv
from tinygrad_opt.train.loop import on_interrupt

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from distributed import Client

    from tinygrad_opt.viz.figures import Options, Picture, Unpack

__all__ = ["Sweep", "Trial", "drawing_from", "sweep"]

Settings: TypeAlias = dict[str, Any]                       # options of one trial, by name
Sampler: TypeAlias = Callable[[np.random.Generator], Settings]
Space: TypeAlias = Mapping[str, Sequence[object]] | Sequence[Settings] | Sampler
ORDER = ("done", "diverged", "failed")
Batch: TypeAlias = list[tuple[int, Settings]]              # trials that are run as one
BY_RUN = ("epoch", "seconds")                              # columns of a history that judge nothing


@dataclass(frozen=True)
class Trial:
    """One training with its options, and what came of it.

    Attributes
    ----------
    number : int
        Its place in the sweep, from 0, which decides its random numbers.
    options : dict
        What it was called with.
    status : {"done", "diverged", "failed"}
        Diverged: the value that is compared is nan or infinite. Failed: an error was raised.
    values : dict of str to float
        What it returned.
    seconds : float
        How long it took; of trials that were trained as one, its share.
    error : str
        The error of one that failed.
    """

    number: int
    options: Settings
    status: str
    values: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""


class Sweep(list[Trial]):
    """The trials of a sweep in their order; prints as a table with the best first.

    Parameters
    ----------
    trials : iterable of Trial
    by : str
        The value that is compared.
    mode : {"min", "max"}
    seed : int
        What all random numbers come from.
    stopped : str, optional
        Why trials are missing.

    Examples
    --------
    >>> found = Sweep([Trial(0, {"lr": 0.1}, "done", {"loss": 0.5}),
    ...                Trial(1, {"lr": 9.0}, "diverged", {"loss": float("nan")}),
    ...                Trial(2, {"lr": 0.3}, "done", {"loss": 0.25})], by="loss")
    >>> found.best.options
    {'lr': 0.3}
    >>> print(found)
    trial   lr  loss    status  seconds
        2  0.3  0.25      done        0
        0  0.1   0.5      done        0
        1    9   nan  diverged        0
    """

    def __init__(self, trials: Iterable[Trial], by: str = "loss", mode: str = "min",
                 seed: int = 0, stopped: str | None = None) -> None:
        super().__init__(sorted(trials, key=lambda trial: trial.number))
        self.by, self.mode = by, mode_of(by, mode)
        self.seed, self.stopped = seed, stopped

    def ranked(self) -> list[Trial]:
        """The best first; then those that diverged, then those that failed."""
        sign = 1 if self.mode == "min" else -1

        def rank(trial: Trial) -> tuple[int, float]:
            value = trial.values.get(self.by, math.nan)
            return ORDER.index(trial.status), sign * value if math.isfinite(value) else math.inf

        return sorted(self, key=rank)

    @property
    def best(self) -> Trial:
        """The trial with the best value.

        Raises
        ------
        ValueError
            If none is done.
        """
        first = next(iter(self.ranked()), None)
        if first is None or first.status != "done":
            raise ValueError(f"none of {len(self)} trials is done: {first and first.error}")
        return first

    def rows(self) -> list[dict[str, object]]:
        """One dict per trial, in order: its options, its values, and how it ended."""
        options = dict.fromkeys(name for trial in self for name in trial.options)
        values = dict.fromkeys(name for trial in self for name in trial.values)
        return [{"trial": t.number} | {name: t.options.get(name, "") for name in options}
                | {name: t.values.get(name, math.nan) for name in values}
                | {"status": t.status, "seconds": t.seconds} for t in self]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write all rows as CSV; numbers read back as they are."""
        rows = self.rows()
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_csv(path, [rows[0] if rows else [], *(row.values() for row in rows)])

    def plot(self, x: str | None = None, y: str | None = None,
             **options: Unpack[Options]) -> Picture:
        """The best value for each pair of two options, as a heat map.

        Parameters
        ----------
        x, y : str, optional
            Names of options; by default the first two that differ between trials.
        **options
            Theme, size, dpi and title, as in `viz.figures.Options`.
        """
        from tinygrad_opt.viz import plot_heat_map

        return plot_heat_map(self.rows(), self._varied(), self.by, mode=self.mode, x=x, y=y,
                             **options)

    def plot_parallel(self, **options: Unpack[Options]) -> Picture:
        """All options of all trials, an axis each: a line is a trial, its colour its value."""
        from tinygrad_opt.viz import plot_parallel_coordinates

        return plot_parallel_coordinates(self.rows(), self._varied(), self.by, mode=self.mode,
                                         **options)

    def _varied(self) -> list[str]:
        """Names of the options that differ between trials."""
        names = dict.fromkeys(name for trial in self for name in trial.options)
        return [name for name in names
                if len({repr(t.options[name]) for t in self if name in t.options}) > 1]

    def _cells(self, most: int = 40) -> list[list[str]]:
        by_number = {row["trial"]: row for row in self.rows()}
        rows = [by_number[trial.number] for trial in self.ranked()]
        head = [[*rows[0]]] if rows else []
        return head + [[f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()]
                       for row in rows[:most]]

    def __str__(self) -> str:
        lines = self._cells()
        if not lines:
            return "no trials"
        more = len(self) - len(lines) + 1
        errors = [f"trial {t.number}: {t.error}" for t in self if t.error]
        return "\n".join([aligned(lines, left=()), *[f"and {more} more"] * (more > 0), *errors[:5],
                          *[f"stopped: {self.stopped}"] * bool(self.stopped)])

    def _repr_html_(self) -> str:
        return html_table(self._cells())

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {status}" for status in ORDER
                           if (n := sum(trial.status == status for trial in self)))
        return f"<Sweep of {len(self)} trials: {counts}>"


@answers
def sweep(
    train: Callable[..., object],
    space: Space,
    *,
    seed: int | None = None,
    trials: int | None = None,
    jobs: int = 1,
    backend: str | Executor | Client = "joblib",
    resume: str | os.PathLike[str] | None = None,
    by: str | None = None,
    mode: str | None = None,
    progress: bool = True,
) -> Sweep:
    """Train with each of many options, and put what came of it in a table.

    Parameters
    ----------
    train : callable
        ``train(rng=..., **options)`` trains and returns a number, a dict of numbers, or a
        `History`, of which the last row counts. All that is random must come from rng, a
        `numpy.random.Generator`; layers without an rng of their own draw from it, too. A
        `Training` trains small networks of equal shapes as one.
    space : dict, sequence of dict, or callable
        A grid, ``{"lr": [0.1, 0.01], "hidden": [16, 32]}``, of which every combination is
        tried; a list of options; or a sampler, ``rng -> options``.
    seed : int, optional
        Trial k draws from child k of it, whichever process it runs in.
    trials : int, optional
        How often a sampler is asked; for others, the first so many.
    jobs : int
        Processes of joblib: 1 stays in this one, -1 takes all cores.
    backend : "joblib", Dask client, or executor
        What runs them: a ``distributed.Client``, a ``mpi4py.futures.MPIPoolExecutor``, or
        anything with ``submit`` as `concurrent.futures` has it.
    resume : path, optional
        A log, a line of JSON for each trial, written as they end. Trials that it holds are not
        run again, except those that failed.
    by : str, optional
        Which value is compared: by default val_loss, loss, or the first.
    mode : {"min", "max"}, optional
        By default "max" for a name that ends in accuracy, else "min".
    progress : bool
        A line on standard error for each trial.

    Returns
    -------
    Sweep
        Ctrl-C ends it, with the trials that are done.

    Raises
    ------
    ValueError
        If there is nothing to try, or the log is of another sweep.
    ImportError
        If joblib is needed and not there.

    Notes
    -----
    The numbers are the same for any number of jobs and any backend. A trial that raises an error
    or diverges is kept as such. The parent process writes the log, and a line that a kill has
    cut short is passed over.

    Examples
    --------
    >>> def train(lr, rng):
    ...     x = rng.normal()
    ...     for _ in range(10):
    ...         x -= lr * 2 * x
    ...     return x**2
    >>> found = sweep(train, {"lr": [0.01, 0.1, 0.4]}, seed=0, progress=False)
    >>> found.best.options
    {'lr': 0.4}
    """
    if jobs == 0 or not isinstance(jobs, int):
        raise ValueError(f"jobs is a number of processes, or -1 for all cores; got {jobs!r}")
    if not callable(train):
        raise TypeError(f"train is a function that trains with some options, got {train!r}")
    mode_of("", mode)                                      # refuses others before anything is run
    log = _Log(None if resume is None else Path(resume), seed)
    settings = _settings(space, trials, log.seed)
    finished = log.finished(settings)
    tasks, run = _tasks(train, settings, finished), _Call(train, log.seed, by)
    stopped, asked = None, list[bool]()

    def end() -> None:
        """`fit` would end well at Ctrl-C, if nobody else took it, and its trial would look done."""
        asked.append(True)
        raise KeyboardInterrupt

    try:
        with on_interrupt(end):
            for found in _completed(run, tasks, jobs, backend):
                if asked:                                  # this one was cut short
                    raise KeyboardInterrupt
                new = [trial for trial in found if trial.number not in finished]
                finished |= {trial.number: trial for trial in new}
                log.add(new)
                if progress:
                    _tell(new, len(finished), len(settings))
    except KeyboardInterrupt:
        stopped = "interrupted"
    in_order = [finished[k].values for k in sorted(finished)]      # whichever ended first
    by = by or _compared(next(filter(None, in_order), {}))
    return Sweep(finished.values(), by, mode_of(by, mode), log.seed, stopped)


# ---- what is tried -------------------------------------------------------------------------------


def _settings(space: Space, trials: int | None, seed: int) -> list[Settings]:
    """The options of all trials."""
    count = None if trials is None else whole("trials", trials)
    found = [*_offered(space, count, seed)]
    if not found:
        raise ValueError("there is nothing to try: the grid or the list is empty")
    for options in found:
        if not isinstance(options, Mapping) or not all(isinstance(n, str) for n in options):
            raise TypeError(f"the options of a trial are values by name, got {options!r}")
    return [dict(options) for options in found[:count]]


def _offered(space: Space, count: int | None, seed: int) -> Iterable[Settings]:
    """What a sampler draws, a grid spans or a list holds."""
    if callable(space):
        if count is None:
            raise ValueError("a sampler needs to know how often it is asked: sweep(..., trials=20)")
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, 0)))
        return [space(rng) for _ in range(count)]
    if isinstance(space, str) or not isinstance(space, Iterable):
        raise TypeError(f"there is a grid, a list of options or a sampler to try, got {space!r}")
    if not isinstance(space, Mapping):
        return space
    for name, values in space.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise TypeError(f"a grid needs a list of values for {name!r}, got {values!r}")
    return (dict(zip(space, values)) for values in itertools.product(*space.values()))


def _tasks(train: object, settings: list[Settings], finished: Mapping[int, Trial]) -> list[Batch]:
    """What is still to be run: trials that are trained as one make up one task."""
    split = getattr(train, "groups", lambda settings: [[k] for k in range(len(settings))])
    return [[(k, settings[k]) for k in group] for group in split(settings)
            if not finished.keys() >= {*group}]


# ---- one task ------------------------------------------------------------------------------------


class _Call:
    """Runs the trials of one task, wherever it is sent."""

    def __init__(self, train: Callable[..., object], seed: int, by: str | None) -> None:
        self.train, self.seed, self.by = train, seed, by

    def __call__(self, task: Batch) -> list[Trial]:
        if len(task) > 1:
            start = time.perf_counter()
            with suppress(Exception):                  # whose it is shows when each runs alone
                found = self.train.together(           # type: ignore[attr-defined]
                    [(self._rng(k), options) for k, options in task])
                seconds = (time.perf_counter() - start) / len(task)
                return [self._ended(k, options, result, seconds)
                        for (k, options), result in zip(task, found)]
        return [self._alone(k, options) for k, options in task]

    def _alone(self, k: int, options: Settings) -> Trial:
        start = time.perf_counter()
        try:
            with drawing_from(self._rng(k)) as rng:
                found = self.train(rng=rng, **options)
            return self._ended(k, options, found, time.perf_counter() - start)
        except Exception as error:
            return Trial(k, options, "failed", {}, time.perf_counter() - start,
                         f"{type(error).__name__}: {error}")

    def _ended(self, k: int, options: Settings, found: object, seconds: float) -> Trial:
        values = _values(found)
        by = self.by or _compared(values)
        if by not in values:
            raise KeyError(f"it gave no {by!r}; there are {', '.join(values) or 'none'}")
        return Trial(k, options, "done" if math.isfinite(values[by]) else "diverged", values,
                     seconds)

    def _rng(self, k: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(k,)))


@contextmanager
def drawing_from(rng: np.random.Generator) -> Iterator[np.random.Generator]:
    """The package's own generator begins by this one, and goes on where it was afterwards."""
    own = init.generator()
    before = own.bit_generator.state
    own.bit_generator.state = np.random.default_rng(rng.spawn(1)[0].integers(2**63)
                                                    ).bit_generator.state
    try:
        yield rng
    finally:
        own.bit_generator.state = before


def _values(found: object) -> dict[str, float]:
    """What a trial returned, as numbers by name."""
    if isinstance(found, History):
        if found.stopped == "interrupted":
            raise KeyboardInterrupt
        return {name: float(column[-1]) for name, column in found.items()
                if column and name not in BY_RUN and not isinstance(column[-1], tuple)}
    if isinstance(found, Mapping):
        return {str(name): float(value) for name, value in found.items()}
    return {"loss": float(cast(SupportsFloat, found))}


def _compared(values: Mapping[str, float]) -> str:
    """The value that tells which trial is better, if nobody says."""
    return next((name for name in ("val_loss", "loss") if name in values),
                next(iter(values), "loss"))


# ---- who runs them -------------------------------------------------------------------------------


def _completed(run: _Call, tasks: list[Batch], jobs: int,
               backend: str | Executor | Client) -> Iterator[list[Trial]]:
    """The trials of each task, as they end."""
    if backend == "joblib":
        if jobs == 1 or len(tasks) < 2:
            return map(run, tasks)
        try:
            from joblib import Parallel, delayed
        except ImportError:
            raise ImportError(f"jobs={jobs} needs joblib: {install('sweep')}") from None
        made: Iterator[list[Trial]] = Parallel(n_jobs=jobs, return_as="generator_unordered")(
            delayed(run)(task) for task in tasks)
        return made
    executor = backend.get_executor(pure=False) if hasattr(backend, "get_executor") else backend
    if not hasattr(executor, "submit"):
        raise TypeError('backend is "joblib", a Dask client or an executor with submit(), got'
                        f" {backend!r}")
    futures = [executor.submit(run, task) for task in tasks]
    return (future.result() for future in as_completed(futures))


def _tell(trials: Sequence[Trial], done: int, total: int) -> None:
    for trial in trials:
        options = " ".join(f"{name}={_plain(value)}" for name, value in trial.options.items())
        values = "  ".join(f"{name} {value:.4g}" for name, value in trial.values.items())
        print(f"{done}/{total}  {options}: {trial.error or values}"
              f"{'  diverged' * (trial.status == 'diverged')}  ({trial.seconds:.2g} s)",
              file=sys.stderr, flush=True)


# ---- the log -------------------------------------------------------------------------------------


class _Log:
    """A line of JSON for each trial, after one for the sweep; None writes nothing."""

    def __init__(self, path: Path | None, seed: int | None) -> None:
        self.path = path
        text = path.read_bytes() if path is not None and path.exists() else b""
        lines = [*_lines(text, path)]
        self.trials = [line for line in lines if isinstance(line, Trial)]
        known = next((line for line in lines if isinstance(line, int)), None)
        if known is not None and seed not in (None, known):
            raise ValueError(f"{path} is the log of a sweep with seed {known}, not {seed}")
        self.seed = cast(int, np.random.SeedSequence(seed if known is None else known).entropy)
        self._begin = "\n" if text.rpartition(b"\n")[2] else ""          # below one cut short
        if path is not None and known is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write([{"seed": self.seed}])

    def finished(self, settings: list[Settings]) -> dict[int, Trial]:
        """The trials that need not be run again."""
        found = {}
        for trial in self.trials:
            k = trial.number
            if k >= len(settings) or repr(_plain(settings[k])) != repr(trial.options):
                raise ValueError(f"{self.path} is the log of another sweep: its trial {k} had the"
                                 f" options {trial.options!r:.200}")
            if trial.status != "failed":
                found[k] = replace(trial, options=settings[k])
        return found

    def add(self, trials: Sequence[Trial]) -> None:
        self._write([_plain(asdict(trial)) for trial in trials])

    def _write(self, lines: Sequence[object]) -> None:
        """All of them at once."""
        if self.path is not None:
            with open(self.path, "ab") as file:
                text = "".join(f"{json.dumps(line)}\n" for line in lines)
                file.write(f"{self._begin}{text}".encode())
            self._begin = ""


def _lines(text: bytes, path: Path | None) -> Iterator[int | Trial]:
    """The seed and the trials of a log, without lines that a kill has cut short."""
    for number, line in enumerate(text.split(b"\n"), 1):
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            continue
        match found:
            case {"seed": int(seed), **rest} if seed >= 0 and not rest:
                yield seed
            case {"number": int(k), "options": dict(), "status": str(status),
                  "values": dict(values), "seconds": int() | float(), "error": str(), **rest} if (
                    k >= 0 and status in ORDER and not rest
                    and all(type(value) is float for value in values.values())):
                yield Trial(**found)
            case _:
                raise CheckpointError(f"{path} is no log of a sweep: see line {number}")


def _plain(value: object) -> object:
    """A value as JSON holds it: functions and objects by their names."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return getattr(value, "__qualname__", None) or repr(value)
