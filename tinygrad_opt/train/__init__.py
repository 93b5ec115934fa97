"""The training loop, the history that it records, and callbacks."""

from typing import TYPE_CHECKING

from tinygrad_opt.hints import nothing_called
from tinygrad_opt.train.callbacks import (
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    LambdaCallback,
    ReduceOnPlateau,
    StopOnNonFinite,
)
from tinygrad_opt.train.diagnosis import Diagnosis, TrainingWarning, diagnose
from tinygrad_opt.train.history import Finding, History
from tinygrad_opt.train.loop import Run, fit
from tinygrad_opt.train.measure import evaluate, predict

__all__ = [
    "CSVLog",
    "Callback",
    "Checkpoint",
    "Diagnosis",
    "EarlyStopping",
    "Finding",
    "History",
    "LambdaCallback",
    "ReduceOnPlateau",
    "Run",
    "StopOnNonFinite",
    "TrainingWarning",
    "diagnose",
    "evaluate",
    "fit",
    "predict",
]

if not TYPE_CHECKING:
    __getattr__ = nothing_called("train", __all__)
