"""Optimizers over one dict of parameters: the rules, schedules, and minimising functions.

    opt = Adam(model.parameters(), lr=1e-2)     # dict: name -> Tensor
    loss.backward(); opt.step(); opt.zero_grad()

    opt = Adam(lr=1e-3)                         # unbound: plain dicts of arrays, in place
    opt.update(params, grads)
"""

from tinygrad_opt.optim import schedules
from tinygrad_opt.optim.lookup import get, names
from tinygrad_opt.optim.minimization import Result, conjugate_gradient, minimize
from tinygrad_opt.optim.optimizer import Optimizer
from tinygrad_opt.optim.rules import (
    SGD,
    AdaDelta,
    AdaGrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Momentum,
    Nadam,
    Nesterov,
    RMSprop,
)
from tinygrad_opt.optim.wolfe import LineSearch, line_search

__all__ = [                                # noqa: RUF022 (sorted as Python sorts)
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LineSearch",
    "Lion",
    "Momentum",
    "Nadam",
    "Nesterov",
    "Optimizer",
    "RMSprop",
    "Result",
    "SGD",
    "conjugate_gradient",
    "get",
    "line_search",
    "minimize",
    "names",
    "schedules",
]
