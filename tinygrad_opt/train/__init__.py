"""The training loop, the history that it records, and callbacks."""

from tinygrad_opt.train.callbacks import (
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    LambdaCallback,
    ReduceOnPlateau,
    StopOnNonFinite,
)
from tinygrad_opt.train.history import History
from tinygrad_opt.train.loop import Run, fit
from tinygrad_opt.train.measure import evaluate, predict

__all__ = [
    "CSVLog",
    "Callback",
    "Checkpoint",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "ReduceOnPlateau",
    "Run",
    "StopOnNonFinite",
    "evaluate",
    "fit",
    "predict",
]
