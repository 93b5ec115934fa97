"""Past one process: many trainings at once.

trials      sweep(train, grid): trials over joblib, Dask or an MPI pool, with a log to resume from
ranks       mpi: one training on several processes, each with a part of every batch
training    Training: what `fit` is given, for a sweep, which trains small networks as one
"""

from typing import TYPE_CHECKING

from tinygrad_opt.hints import nothing_called
from tinygrad_opt.parallel.ranks import Ranks, mpi
from tinygrad_opt.parallel.training import Training
from tinygrad_opt.parallel.trials import Sweep, Trial, sweep

__all__ = ["Ranks", "Sweep", "Training", "Trial", "mpi", "sweep"]

if not TYPE_CHECKING:
    __getattr__ = nothing_called("parallel", __all__)
