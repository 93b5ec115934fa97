"""What goes wrong while training, said in a sentence with the number seen and what to try.

Each way of going wrong is one function, and the tables `BY_LOOK` and `BY_EPOCH` list them. The
thresholds stand apart from what the 37 healthy runs of ``tests/healthy.py`` show (spiral, moons,
digits and waves under ten optimizers, eight kinds of network): the figure beside each is the worst
that they came to.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from tinygrad_opt.data.arguments import array_of, samples
from tinygrad_opt.errors import NonFiniteError, caller_line
from tinygrad_opt.kernels import log_softmax
from tinygrad_opt.markup import aligned, html_list, html_table
from tinygrad_opt.nonfinite import detect_nonfinite, entries_that
from tinygrad_opt.recording import in_mode
from tinygrad_opt.tensor import Tensor, backward_pass, first_gradient
from tinygrad_opt.train.batch import moved_by_a_pass, put_back
from tinygrad_opt.train.callbacks import Callback
from tinygrad_opt.train.history import Finding, History
from tinygrad_opt.train.measure import loss_by_name
from tinygrad_opt.train.probe import Layer, Probe, merged, probe, probe_of, rms
from tinygrad_opt.typing import Array, ArrayLike, Loss, Model, Unpack

if TYPE_CHECKING:
    from tinygrad_opt.train.loop import Run
    from tinygrad_opt.viz.figures import Options, Picture

__all__ = ["Diagnosis", "TrainingWarning", "Watch", "diagnose"]


# "as much as 40% of your network can be dead" at too high a rate: CS231n, Neural Networks 1;
# healthy runs: 0.25 of a layer
DEAD = 0.4
# |tanh| > 0.99, σ outside 0.01 … 0.99: slopes of 0.02 and 0.01 (Glorot & Bengio, 2010, section 3,
# watch the same); healthy runs: 0.3 of the results of a hidden layer
SATURATED = 0.8
# of the gradient at the output; a σ shrinks it to a quarter at most (Hochreiter, 1991), so that six
# of them come to 2e-4; healthy runs: 0.08 to 7
VANISHING, EXPLODING = 1e-4, 1e4
# ‖Δp‖ / ‖p‖ is "somewhere around 1e-3": CS231n, Neural Networks 3; healthy runs after 20 steps:
# 0.1 at most, and 2e-4 at least for the fastest of their weights
LARGE_UPDATE, SMALL_UPDATE = 0.25, 1e-6
# times the loss before the first step; healthy runs: 8 in single batches, never for long
GROWN, GROWN_AT_ONCE = 5.0, 1000.0
# times the least validation loss; Prechelt (1998) stops at 1.05; healthy runs: 1.01
OVERFIT = 1.5
# epochs since the least, and whose median is compared, so that a single bad one does not count
PATIENCE = 5
# of the largest weight, or gradient in the model: what rounding makes of no difference
ALIKE = 1e-5
# of the cross-entropy of guessing, and steps, for those who begin on a plateau; healthy runs: 0.94
CHANCE, CHANCE_FROM = 0.99, 300
FEW = 5                                          # samples of rare classes: too few to tell

# operations of losses that take scores, and what they make probabilities of them by
TAKES_SCORES = {"cross_entropy": "softmax", "log_softmax": "softmax",
                "binary_entropy_of_logits": "sigmoid"}

FIRST_LOOK, EVERY = 20, 4                        # looks after 20 steps, 80, 320, 1280, …
ENOUGH = 32                                      # samples to tell how a unit or a class fares
STREAK = 10 * ENOUGH                             # samples in a row whose loss has grown
MOST = sys.float_info.max


class TrainingWarning(RuntimeWarning):
    """A training run goes wrong."""


@dataclass(frozen=True)
class Look:
    """What one look at a model shows; of a run also how far its last step went.

    Attributes
    ----------
    probe : Probe
    targets : ndarray
        Those of all samples.
    step : int or None
        Steps of this run so far; None outside of one.
    updates : dict of str to float
        ‖Δp‖ / ‖p‖ of the weights in one step.
    """

    probe: Probe
    targets: Array
    step: int | None = None
    updates: dict[str, float] = field(default_factory=dict)

    @cached_property
    def guess(self) -> Guess | None:
        """How a classifier does; None where the predictions are no scores of classes."""
        return _guess(self)


# ---- one function for each way of going wrong ----------------------------------------------------


def no_gradient(look: Look) -> Finding | None:
    """Parameters that the loss does not depend on."""
    lost = [name for name in look.probe.parameters if name not in look.probe.gradients]
    return Finding(
        "no gradient", lost[0], len(lost),
        f"the loss does not depend on {_listed(lost)}",
        "Are they used in forward()? .detach(), .data, .numpy() and no_grad() cut the graph.",
    ) if lost else None


def squashed_twice(look: Look) -> Finding | None:
    """Probabilities for a loss that takes scores: it makes probabilities of them once more."""
    made = look.probe.squashed_by
    again = next((by for name, by in TAKES_SCORES.items() if name in look.probe.taken_by), "")
    if not made or not again:
        return None
    return Finding(
        "squashed twice", look.probe.layers[-1].name if look.probe.layers else "", math.nan,
        f"the model ends in {made}, and the loss, which takes scores, applies {again}"
        f"{' once more' if made == again else ''}: it can hardly fall",
        f"Leave {made} out of the model, and apply it where probabilities are to be seen.",
    )


def symmetric_units(look: Look) -> Finding | None:
    """Units of a hidden layer that began alike: what changes one of them changes all."""
    gradients = look.probe.gradients
    for layer in look.probe.layers[:-1]:
        for name, weights in look.probe.parameters.items():
            if name.rpartition(".")[0] == layer.name and name in gradients and (
                    _alike(weights, weights) and _alike(gradients[name], *gradients.values())):
                return Finding(
                    "symmetric units", layer.name, float(np.abs(weights).max()),
                    f"all units of {layer.name} have the same weights and the same gradients: they"
                    " stay one and the same unit, however long the training",
                    "Weights begin with random numbers: leave out init=, or give the name of a"
                    " random one.",
                )
    return None


def crossed_samples(look: Look) -> Finding | None:
    """A column of predictions beside a row of labels: each is compared with all."""
    predicted, given = look.probe.prediction.shape, look.probe.y.shape
    return Finding(
        "crossed samples", "", math.nan,
        f"the loss compares every prediction with every label: {predicted} and {given} are"
        f" broadcast to {(len(look.probe.y),) * 2}",
        "Give both one shape: prediction[:, 0], or labels[:, None], in the place of the other.",
    ) if look.probe.crossed else None


def dead_units(look: Look) -> Finding | None:
    """ReLU units that give 0 for every sample, through which no gradient comes back."""
    worst = max(((np.mean(dead), layer.name, dead) for layer in look.probe.layers
                 for dead in _dead(layer)), key=lambda found: found[0], default=None)
    if worst is None or worst[0] < DEAD:
        return None
    share, name, dead = worst
    return Finding(
        "dead units", name, float(share),
        f"{dead.sum()} of the {dead.size} ReLU units of {name} give 0 for all"
        f" {len(look.probe.x)} samples looked at, so that no gradient reaches their weights",
        "Try a smaller learning rate, inputs of mean 0, other weights at the start (init=), or"
        " nn.LeakyReLU.",
    )


def saturated_units(look: Look) -> Finding | None:
    """Hidden units on the flat ends of tanh or σ."""
    shares = [(_share(name, values), layer.name, name) for layer in look.probe.layers[:-1]
              for name in ("tanh", "sigmoid") for values in [layer.inside.get(name)] if values]
    share, where, name = max(shares, default=(0.0, "", ""))
    ends = {"tanh": "beyond ±0.99", "sigmoid": "below 0.01 or above 0.99"}
    return Finding(
        "saturated units", where, share,
        f"{share:.0%} of what {name} gives in {where} lies {ends[name]}, where it is flat and its"
        " gradient next to 0",
        "Try smaller weights at the start (init=), inputs of mean 0 and spread 1, norm=\"layer\","
        " or a smaller learning rate.",
    ) if share > SATURATED else None


def saturated_output(look: Look) -> Finding | None:
    """A softmax or σ that is sure of what is wrong: worse than guessing, and nearly flat."""
    guess = look.guess
    if guess is None or guess.sure < SATURATED or guess.loss < 2 * guess.of_guessing:
        return None
    name = look.probe.layers[-1].name
    return Finding(
        "saturated output", name, guess.sure,
        f"softmax or σ behind {name} is flat: the model is sure, to 0.99 and more, of"
        f" {guess.sure:.0%} of its answers, and {guess.accuracy:.0%} are right; the cross-entropy"
        f" is {guess.loss:.3g}, that of guessing {guess.of_guessing:.3g}",
        "Try a smaller learning rate or smaller weights at the start, and label_smoothing=0.1; a"
        " σ with nn.mse_loss hardly comes back, nn.binary_cross_entropy_with_logits does.",
    )


def gradient_flow(look: Look) -> Finding | None:
    """Gradients that shrink, or grow, from the output to the input."""
    *before, last = [(layer.flow, layer.name) for layer in look.probe.layers] or [(0.0, "")]
    if not before or not last[0] or not all(math.isfinite(flow) for flow, _ in before):
        return None
    (small, least), (large, most) = min(before), max(before)
    if small < VANISHING * last[0]:
        return Finding(
            "vanishing gradients", least, small / last[0],
            f"the gradient that reaches {least} is {small / last[0]:.2g} times that at {last[1]}",
            "Try relu instead of sigmoid or tanh, larger weights at the start (init=), fewer"
            " layers, norm=\"batch\", a residual connection, or a GRU or LSTM in the place of an"
            " RNN." if small else "Units that are dead and weights that are all 0 let nothing"
            " through: try other weights at the start (init=), or a smaller learning rate.",
        )
    return Finding(
        "exploding gradients", most, large / last[0],
        f"the gradient that reaches {most} is {large / last[0]:.2g} times that at {last[1]}",
        "Try smaller weights at the start (init=), norm=\"layer\", or clip_norm=1.",
    ) if large > EXPLODING * last[0] else None


def size_of_updates(look: Look) -> Finding | None:
    """Steps that are too long or too short for the weights that they change."""
    if not look.updates:
        return None
    name = max(look.updates, key=lambda n: look.updates[n])
    ratio = look.updates[name]
    if ratio > LARGE_UPDATE:
        return Finding(
            "large updates", name, ratio,
            f"{name} changes by {ratio:.2g} of its own size in one step; about 0.001 is usual",
            "Try a learning rate 10 times smaller.",
        )
    g = look.probe.gradients.get(name)
    moves = g is not None and rms(g) > 100 * SMALL_UPDATE * rms(look.probe.parameters[name])
    return Finding(
        "small updates", name, ratio,
        f"no weights change by more than {ratio:.2g} of their own size in one step; about 0.001 is"
        " usual",
        f"Try a learning rate {10 ** round(math.log10(1e-3 / max(ratio, 1e-9)))} times larger.",
    ) if ratio < SMALL_UPDATE and moves else None


def at_chance(look: Look) -> Finding | None:
    """Classes that are not told better than by always naming the most frequent one."""
    guess = look.guess
    if (guess is None or (look.step is not None and look.step < CHANCE_FROM)
            or guess.loss < CHANCE * guess.of_guessing
            or guess.accuracy > guess.most_frequent + 2 * guess.deviation
            or (1 - guess.most_frequent) * len(look.probe.y) < FEW):
        return None
    x = np.abs(look.probe.x) if look.probe.x.dtype.kind in "fiu" else np.zeros(1)
    scale = (f" x reaches {x.max():.3g}: scale it to about 1, as data.standardize does."
             if x.max() > 10 and look.probe.x.dtype.kind == "f" else "")
    return Finding(
        "chance", "", guess.accuracy,
        f"the accuracy is {guess.accuracy:.2f}, and always naming the most frequent class gives"
        f" {guess.most_frequent:.2f} ± {guess.deviation:.2f}; the cross-entropy is"
        f" {guess.loss:.3g}, that of guessing {guess.of_guessing:.3g}",
        "Do the labels belong to the samples, or was only one of them shuffled?" + scale
        + " Try a larger learning rate, or a smaller one.",
    )


SMALLER_STEPS = "Try a learning rate 10 times smaller, or clip_norm=1 in the optimizer."
UPHILL = "maximize=True makes the optimizer go uphill: leave it out, if the loss is to fall."

FROM_STEPS = ("growing loss", "saturated output", "large updates")

BY_LOOK: tuple[Callable[[Look], Finding | None], ...] = (
    no_gradient, squashed_twice, symmetric_units, crossed_samples, dead_units, saturated_units,
    saturated_output, gradient_flow, size_of_updates, at_chance)


def overfitting(history: History, best: float, since: int) -> Finding | None:
    """A validation loss that rises while the training loss falls."""
    loss, validation = history["loss"], history["val_loss"]
    epoch, latest = int(history["epoch"][-1]), float(np.median(validation[-PATIENCE:]))
    if (epoch - since < PATIENCE or not best > 0 or not latest > OVERFIT * best
            or not loss[-1] < loss[-1 - (epoch - since)]):
        return None
    return Finding(
        "overfitting", "", latest / best,
        f"val_loss has risen from {best:.3g} in epoch {since} to {latest:.3g}, and loss has"
        f" fallen on to {loss[-1]:.3g}: the model learns the samples by heart",
        "Try EarlyStopping(), weight_decay, dropout, more data, or a smaller network.",
    )


def growing_loss(loss: float, first: float) -> Finding:
    """A loss that is finite and far above the first."""
    return Finding(
        "growing loss", "", loss / first if first else math.inf,
        f"the loss has grown from {first:.3g} to {loss:.3g}", SMALLER_STEPS,
    )


def in_the_data(x: Array, y: Array) -> str:
    """What is wrong with the samples themselves; empty if nothing is."""
    for name, array in (("x", x), ("y", y)):
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            mask = ~np.isfinite(array)
            rows = int(mask.reshape(len(mask), -1).any(axis=1).sum())
            return (f"{name} holds {entries_that(mask, array)}, in {rows} of {len(array)} samples:"
                    " look at the data")
    return ""


# ---- on demand -----------------------------------------------------------------------------------


class Diagnosis:
    """What `diagnose` found. Prints as sentences and a table of the layers.

    Attributes
    ----------
    findings : list of Finding
        Empty if nothing is wrong.
    probe : Probe or None
        The pass that was looked at; None if it was not finite.
    """

    def __init__(self, findings: list[Finding], seen: Probe | None) -> None:
        self.findings, self.probe = findings, seen

    def rows(self) -> list[tuple[str, ...]]:
        """The layers as a table: name, operations, mean and deviation of the output, gradient."""
        layers = self.probe.layers if self.probe else []
        return [("layer", "operations", "output", "gradient there"), *(
            (layer.name, ", ".join(layer.inside),
             f"{layer.values.mean():.2g} ± {layer.values.std():.2g}", f"{rms(layer.gradient):.2g}")
            for layer in layers)]

    def plot(self, **options: Unpack[Options]) -> Picture:
        """Outputs and gradients by layer, as `viz.plot_layers` draws them."""
        from tinygrad_opt.viz import plot_layers

        if self.probe is None:
            raise ValueError("there is nothing to draw: the pass gave nan or inf.")
        return plot_layers(self.probe.layers, self.findings, **options)

    def __str__(self) -> str:
        said = "\n".join(map(str, self.findings)) or "nothing is wrong with this pass."
        return f"{said}\n{aligned(self.rows(), left=(0, 1))}" if self.probe else said

    __repr__ = __str__

    def _repr_html_(self) -> str:
        said = html_list(self.findings) or "<p>Nothing is wrong with this pass.</p>"
        return said + (html_table(self.rows()) if self.probe else "")


def diagnose(
    model: Model, x: ArrayLike, y: ArrayLike, loss: Loss | str, *, limit: int = 1000,
) -> Diagnosis:
    """Look at one pass of a model, forward and backward, and say what is wrong.

    Parameters
    ----------
    model : callable with ``parameters()``
    x, y : array-like of shape (n_samples, ...)
    loss : callable or str
        As in `fit`.
    limit : int, at least 1
        Of more samples, so many are looked at, evenly spaced.

    Returns
    -------
    Diagnosis
        With ``.findings``, as text or in a notebook a table of the layers, and ``.plot()``.

    Notes
    -----
    The pass is made in evaluation mode and changes nothing; no ``.grad`` is written. What only a
    run shows (a growing loss, steps too long or too short, overfitting) is said by `fit`.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> x, y = tg.data.moons(100, rng=0)
    >>> model = tg.nn.MLP([2, 8, 2], rng=0)
    >>> model.layers[0].bias.data[...] = -9.0
    >>> found = diagnose(model, x, y, "cross_entropy").findings
    >>> [finding.kind for finding in found], found[0].where
    (['dead units', 'chance'], 'layers.0')
    """
    x, y = array_of(x), array_of(y)
    if not samples(x, y):
        raise ValueError("diagnose needs at least one sample, got none.")
    x, y = spaced(x, limit), spaced(y, limit)
    loss = loss_by_name(loss)
    wrong = in_the_data(x, y) or located(model, loss, (x, y), training=False)
    if wrong:
        lost = Finding("nan or inf", "", math.nan, "this pass is not finite", wrong)
        return Diagnosis([lost], None)
    seen = probe(model, loss, x, y)
    return Diagnosis([*judged(Look(seen, y))], seen)


def judged(look: Look) -> Iterator[Finding]:
    """What the rules say of a look."""
    for rule in BY_LOOK:
        finding = rule(look)
        if finding:
            yield finding
            if rule is symmetric_units:                    # the others would follow from it
                return


def spaced(array: Array, count: int) -> Array:
    """So many rows, evenly spaced; all if there are no more."""
    every = -(-len(array) // count)
    return array[::every]


def located(
    model: Model, loss: Loss, batch: tuple[Array, Array], *, training: bool,
    values: Mapping[str, Array] = MappingProxyType({}),
) -> str:
    """The operation that first gives nan or inf in a pass; empty if all goes well.

    The pass may be one with other values in parameters, which then lie in the same memory.
    """
    (x, y), parameters = batch, model.parameters()
    moved = moved_by_a_pass(model, parameters)
    now = _copies({name: parameters[name] for name in values})
    try:
        _write(parameters, values)
        with in_mode(model, training), detect_nonfinite():
            end = loss(model(x), y)
            backward_pass(end, first_gradient(end))
    except NonFiniteError as error:
        return str(error)
    finally:
        put_back(moved)
        _write(parameters, now)
    return ""


# ---- while it happens ----------------------------------------------------------------------------


class Watch(Callback):
    """Looks at a run now and then, and says each thing that goes wrong once.

    Each loss is compared with a bound. After 20 steps, 80, 320, and so on, a pass (of small batches
    two) is run as it is written, which gives the same numbers as a replay, and its graph is looked
    at before it is gone; so is the step that follows. Nothing is computed that the training would
    not compute. NumPy's own warnings of overflow and nan are silent meanwhile.
    """

    writes = True

    def on_begin(self, run: Run) -> None:
        self.said: set[str] = set()
        self.start = run.step
        self.first, self.bound = math.nan, MOST
        self.window = -(-ENOUGH // (run.batch_size * run.accumulate))
        self.above, self.latest = 0, -1                    # losses in a row above the bound
        self.due = FIRST_LOOK
        self.next = self.start + min(self.window, self.due)
        self.last_batch, self.kept = run.batch, _copies(run.parameters)
        self.waits, self.seen = False, []  # type: bool, list[Probe]
        self.passes = 2 if ENOUGH // 2 <= run.batch_size < ENOUGH else 1       # for one look
        self.validates = "val_loss" in run.history
        self.best, self.since = math.inf, run.epoch

    def on_loss(self, run: Run) -> None:
        if not run.loss <= self.bound:
            self._odd_loss(run)

    def on_step(self, run: Run) -> None:
        self.last_batch = run.batch
        if run.step >= self.next:
            self._look(run, run.step - self.start)

    def on_epoch(self, run: Run) -> None:
        if not self.validates:
            return
        value = run.history["val_loss"][-1]
        if value < self.best:
            self.best, self.since = value, run.epoch
        elif math.isfinite(value):
            self._say(run, overfitting(run.history, self.best, self.since))
        elif "nan or inf" not in self.said and not _lost(run.parameters):
            validation = run.validation or run.data
            wrong = in_the_data(*validation) or located(
                run.model, run.loss_function, validation, training=False)
            self._say(run, Finding("nan or inf", "", value, f"val_loss is {value}", wrong))

    def on_end(self, run: Run) -> None:
        """No later loss tells what the last step did."""
        lost = _lost(run.parameters)
        if lost and "nan or inf" not in self.said:
            self._say(run, Finding("nan or inf", lost, math.nan, "the last step was not finite",
                                   self.cause(run)))

    # ---- the loss ----

    def _odd_loss(self, run: Run) -> None:
        """It is not finite, or above the bound."""
        grown = run.loss > GROWN_AT_ONCE * self.first
        if math.isfinite(run.loss):
            self.above = self.above + 1 if run.step - self.latest <= 1 else 1
            self.latest = run.step
            if grown or (self.above >= 5 and self.above * run.batch_size >= STREAK):
                self._say(run, growing_loss(run.loss, self.first), run.step + 1)
        elif "nan or inf" not in self.said:
            self._say(run, Finding("nan or inf", "", run.loss, f"the loss is {run.loss}",
                                   self.cause(run)), run.step + 1)
        if grown or math.isnan(run.loss):
            self.next = sys.maxsize                        # what follows, follows from this

    def cause(self, run: Run) -> str:
        """Where the nan or inf of this loss comes from, and what to try."""
        lost, wrong = _lost(run.parameters), in_the_data(*run.batch)
        if wrong:
            return wrong + "."
        if lost and run.step == self.start:
            return (f"{lost} held nan or inf before the first step: look at how the weights begin,"
                    " or at the file that they were loaded from.")
        found = self._repeated(run, lost)
        if not found and not lost:                         # of several ranks, another's samples
            wrong = in_the_data(*run.data)
            if wrong:
                return wrong + "."
        past = [abs(v) for v in run.history.steps["loss"][self.start:] if math.isfinite(v)]
        grew = bool(past) and max(past) > 10 * past[0]
        if found and not grew and not goes_uphill(run):
            return f"step {run.step} wrote it into {lost}; {found}" if lost else found
        holds = f"{lost} is no longer finite; " if lost else ""
        before = ", ".join(f"{v:.3g}" for v in past[-3:]) or "none"
        cure = f"The weights have grown too large. {SMALLER_STEPS}"
        return f"{holds}losses before it: {before}. {UPHILL if goes_uphill(run) else cure}"

    def _repeated(self, run: Run, lost: str) -> str:
        """The operation that gave nan or inf: in this pass, or in the one whose step wrote it."""
        batch, values = (self.last_batch, self.kept) if lost else (run.batch, {})
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")                # they have been heard
            try:
                return located(run.model, run.loss_function, batch, training=True, values=values)
            except Exception:                              # it may not be repeatable
                return ""

    # ---- the model ----

    def _look(self, run: Run, steps: int) -> None:
        """Set the bound, once; then in turn ask to see the next pass, and judge it."""
        if math.isnan(self.first) and steps >= self.window:
            losses = run.history.steps["loss"][self.start:self.start + self.window]
            self.first = float(np.median(losses)) if self.window > 4 else losses[0]
            self.bound = min(GROWN * self.first, MOST) if self.first > 0 else MOST
        if len(self.seen) == self.passes:
            with np.errstate(all="ignore"):
                look = Look(merged(self.seen), run.data[1], steps, self._updates(run))
                found = [*judged(look)]
            self.waits, self.seen, self.due = False, [], EVERY * self.due
            for finding in found:
                self._say(run, finding)
        elif steps >= self.due:
            self.waits, self.kept = True, _copies(run.parameters)
            run.show(self._witness)
        self.next = run.step + 1 if self.waits else self.start + self.due

    def _witness(self, run: Run, prediction: object, loss: Tensor) -> None:
        """A pass before its graph is gone; the last batch of an epoch may be too small for it."""
        x, y = run.batch
        if len(x) >= min(ENOUGH, run.batch_size, len(run.data[0])):
            with np.errstate(all="ignore"):
                self.seen.append(probe_of(run.parameters, x, y, prediction, loss))

    def _updates(self, run: Run) -> dict[str, float]:
        """‖Δp‖ / ‖p‖ of the weights in the latest step; none where its schedule all but rests."""
        rates = run.history.steps["lr"][self.start:]       # those of stacked models are lists
        if np.max(rates[-1]) < 1e-3 * np.max(rates):
            return {}
        return {name: rms(p._array - self.kept[name]) / max(rms(self.kept[name]), 1e-30)
                for name, p in run.parameters.items() if p.ndim > 1 and p.requires_grad}

    def _say(self, run: Run, finding: Finding | None, step: int | None = None) -> None:
        """Once of each kind, as a warning at the line that called `fit`."""
        if finding is None or finding.kind in self.said:
            return
        self.said.add(finding.kind)
        if finding.kind in FROM_STEPS and goes_uphill(run):
            finding = replace(finding, hint=UPHILL)
        finding = replace(finding, step=run.step if step is None else step, epoch=run.epoch)
        is_told = bool(run.stopped)                        # as the reason
        run.found(finding)
        if not is_told:
            warnings.warn_explicit(str(finding), TrainingWarning, *caller_line())


# ---- details -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Guess:
    """How a classifier does beside one that guesses by the frequencies of the classes."""

    loss: float                                            # cross-entropy, in nats
    of_guessing: float                                     # of the same samples
    accuracy: float
    most_frequent: float                                   # share of that class
    deviation: float                                       # of that share, by chance
    sure: float                                            # share of answers of 0.99 and more


def _guess(look: Look) -> Guess | None:
    """None where the predictions are no scores of classes."""
    found = None if look.step is not None and len(look.probe.y) < ENOUGH else _classes(look)
    if found is None or not np.isfinite(found[0]).all():
        return None
    scores, y, every = found
    if look.probe.squashed_by:                             # these are probabilities
        logs = np.log(np.maximum(scores, 1e-30))
    else:
        logs = log_softmax(scores)
    shares = np.bincount(every) / len(every)
    most = float(shares.max())
    return None if most == 1 else Guess(                   # of one class nothing is to be guessed
        float(-logs[np.arange(len(y)), y].mean()), float(-np.log(shares[y]).mean()),
        float(np.mean(logs.argmax(axis=1) == y)), most, math.sqrt(most * (1 - most) / len(y)),
        float(np.mean(logs.max(axis=1) >= math.log(0.99))))


def _classes(look: Look) -> tuple[Array, Array, Array] | None:
    """Scores, a column for each class; the labels of the samples, and those of all."""
    scores, y, every = np.asarray(look.probe.prediction, float), look.probe.y, look.targets
    if scores.ndim == 2 and y.shape == scores.shape and scores.shape[1] > 1 and (
            np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all()):
        y, every = y.argmax(axis=1), every.argmax(axis=1)  # one-hot rows
    if scores.size == len(y) == y.size and {*np.unique(y)} in ({0, 1}, {-1, 1}):
        scores, top = scores.reshape(-1, 1), y.max()
        y, every = ((part.reshape(-1) == top).astype(int) for part in (y, every))
        other = 1 - scores if look.probe.squashed_by == "sigmoid" else np.zeros_like(scores)
        return np.hstack([other, scores]), y, every
    labels = scores.ndim == 2 and y.ndim == 1 and y.dtype.kind in "iu" and (
        0 <= y.min() and y.max() < scores.shape[1])
    return (scores, y, every) if labels else None


def _dead(layer: Layer) -> Iterator[Array]:
    """Of each ReLU in the layer, which units give 0 for all samples."""
    for values in layer.inside.get("relu", ()):
        axis = layer.units % values.ndim
        if len(values) >= ENOUGH:
            yield values.max(axis=tuple(i for i in range(values.ndim) if i != axis)) <= 0


def _share(name: str, arrays: list[Array]) -> float:
    """How much of what tanh or σ gave lies on its flat ends."""
    flat = [np.abs(2 * a - 1 if name == "sigmoid" else a) > (0.98 if name == "sigmoid" else 0.99)
            for a in arrays]
    return float(np.mean([part.mean() for part in flat]))


def _alike(values: Array, *beside: Array) -> bool:
    """Whether all units, of which there are several, have the same numbers."""
    axis = 0 if values.ndim > 2 else -1                    # of a convolution, of a product
    return values.ndim > 1 and values.size > 0 and values.shape[axis] > 1 and bool(
        np.ptp(values, axis).max() <= ALIKE * max(np.abs(part).max(initial=0) for part in beside))


def goes_uphill(run: Run) -> bool:
    return bool(getattr(run.optimizer, "maximize", False))


def _lost(parameters: dict[str, Tensor]) -> str:
    """The first parameter that holds nan or inf; empty if none does."""
    return next((n for n, p in parameters.items() if not np.isfinite(p._array).all()), "")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _copies(parameters: dict[str, Tensor]) -> dict[str, Array]:
    return {name: p._array.copy() for name, p in parameters.items()}


def _write(parameters: dict[str, Tensor], values: Mapping[str, Array]) -> None:
    for name, value in values.items():
        parameters[name]._array[...] = value
