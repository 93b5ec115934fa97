"""Optimizers over one dict of parameters: the rules, schedules, and minimising functions.

    opt = Adam(model.parameters(), lr=1e-2)     # dict: name -> Tensor
    loss.backward(); opt.step(); opt.zero_grad()

    opt = Adam(lr=1e-3)                         # unbound: plain dicts of arrays, in place
    opt.update(params, grads)

    opt = get("sgd:lr=1,decay=1e-3,momentum=.8")    # by name, as on the command line

The rules, in order of complexity, each as its paper writes it. Velocities hold displacements: what
is added to p, rates of the past included.

    rule       what it adds                           ε stands          starts from
    SGD        −lr g, with or without velocity                          v = 0
    Momentum   a velocity                                               v = 0
    Nesterov   the gradient at the point ahead                          v = 0
    AdaGrad    a rate for each number                 outside the root  h = initial_accumulator
    RMSprop    a decay rate                           outside the root  h = m = v = 0
    AdaDelta   no rate at all                         inside the roots  h = d = 0
    Adam       first moment, both without bias        outside the root  m = v = 0
    AdamW      weight decay beside the step           as Adam
    Adamax     infinity norm in place of the root     with |g|          m = u = 0
    Nadam      Nesterov's momentum in Adam            outside the root  m = v = 0
    Lion       only the sign                                            m = 0
"""

from typing import TYPE_CHECKING

from tinygrad_opt.hints import nothing_called
from tinygrad_opt.optim import schedules
from tinygrad_opt.optim.adam import Adam, Adamax, AdamW, Lion, Nadam
from tinygrad_opt.optim.adaptive import AdaDelta, AdaGrad, RMSprop
from tinygrad_opt.optim.descent import SGD, Momentum, Nesterov
from tinygrad_opt.optim.for_scipy import as_scipy
from tinygrad_opt.optim.line_searches import LineSearch, line_search
from tinygrad_opt.optim.lookup import get, names
from tinygrad_opt.optim.minimization import Result, conjugate_gradient, minimize
from tinygrad_opt.optim.optimizer import Optimizer

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
    "as_scipy",
    "conjugate_gradient",
    "get",
    "line_search",
    "minimize",
    "names",
    "schedules",
]

if not TYPE_CHECKING:
    __getattr__ = nothing_called("optim", __all__)
