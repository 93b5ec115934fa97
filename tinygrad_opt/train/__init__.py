"""The training loop, what it records, and what can be hung into it."""

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
