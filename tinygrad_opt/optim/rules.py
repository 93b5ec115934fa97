"""The rules, in order of complexity, each as its paper writes it.

Every rule works in place on one vector of numbers: p the parameters, g their gradient (not to be
written), then its accumulators, then scratch vectors s and r. lr is the rate of this step, t
counts a parameter's updates from 1. Velocities hold displacements: what is added to p, rates of
the past included. Scalars are Python floats or, made by `scalars`, of the dtype of p, so that
float32 stays float32. A third argument of a NumPy function is what it writes into.

    rule       what it adds                           ε stands          starts from
    SGD        −lr g, with or without velocity                          v = 0
    Momentum   a velocity                                               v = 0
    Nesterov   the gradient at the point ahead                          v = 0
    AdaGrad    a rate for each number                 outside the root  h = initial_accumulator
    RMSprop    forgetting                             outside the root  h = m = v = 0
    AdaDelta   no rate at all                         inside the roots  h = d = 0
    Adam       a mean of gradients, both corrected    outside the root  m = v = 0
    AdamW      weight decay beside the step           as Adam
    Adamax     a maximum in the place of the root     with |g|          m = u = 0
    Nadam      Nesterov's momentum in Adam            outside the root  m = v = 0
    Lion       only the sign                                            m = 0
"""

from tinygrad_opt.optim.adam import Adam, AdamW, Nadam
from tinygrad_opt.optim.adaptive import AdaDelta, AdaGrad, RMSprop
from tinygrad_opt.optim.bounded import Adamax, Lion
from tinygrad_opt.optim.descent import SGD, Momentum, Nesterov

__all__ = [                                # noqa: RUF022 (sorted as Python sorts)
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Momentum",
    "Nadam",
    "Nesterov",
    "RMSprop",
    "SGD",
]
