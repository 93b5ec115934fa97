"""Nesterov's momentum.

As momentum, but the gradient is taken where the velocity is about to lead: at p + μ · v.
`gradient` is a function of p. Return the new p and the new v.
"""


def step(p, v, gradient, lr, mu):
    v = mu * v - lr * gradient(p + mu * v)
    p = p + v
    return p, v
