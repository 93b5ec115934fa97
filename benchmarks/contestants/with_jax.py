"""JAX: a jitted step, one that gives its old memory back, and many steps in one `lax.scan`.

"jit" is the step as a first program has it. "donated" is the fastest form that was found for one
core: old weights donated, and computed in the thread that asks (``jax_cpu_enable_async_dispatch``
off). A step ends when its loss is there, as everybody's does.
"""

from __future__ import annotations

import jax
from jax import lax
from jax import numpy as jnp

from contestants import BETA1, BETA2, EPS, LEARNING_RATE, CannotError, Job

SCANNED = 20                                       # steps in one scan


def logits(work, p, x):
    if work.kind == "rnn":
        def cell(h, x):
            return jnp.tanh(x @ p["in_x"] + p["bias_x"] + h @ p["in_h"] + p["bias_h"]), None

        start = jnp.zeros((x.shape[0], p["in_h"].shape[0]), x.dtype)
        x, _ = lax.scan(cell, start, x.swapaxes(0, 1))
    elif work.kind == "char":
        x = p["table"][x].reshape(x.shape[0], -1)
    between = jax.nn.relu if work.kind == "mlp" else jnp.tanh
    *hidden, (W, b) = work.layers
    for V, c in hidden:
        x = between(x @ p[V] + p[c])
    return x @ p[W] + p[b]


def adam(p, grads, m, v, t):
    m = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grads)
    v = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grads)
    one, two = 1 - BETA1**t, 1 - BETA2**t
    p = jax.tree.map(
        lambda p, m, v: p - LEARNING_RATE * (m / one) / (jnp.sqrt(v / two) + EPS), p, m, v
    )
    return p, m, v


def starting_state(work):
    """Weights, both accumulators and the count of steps."""
    p = {name: jnp.array(a) for name, a in work.weights.items()}
    zeros = [{name: jnp.zeros_like(a) for name, a in p.items()} for _ in range(2)]
    return p, *zeros, jnp.zeros((), jnp.float32)


def training_step(work, variant):
    def loss_of(p, x, y):
        z = jax.nn.log_softmax(logits(work, p, x))
        return -jnp.take_along_axis(z, y[:, None], axis=1).mean()

    def one_step(state, x, y):
        p, m, v, t = state
        loss, grads = jax.value_and_grad(loss_of)(p, x, y)
        return (*adam(p, grads, m, v, t + 1), t + 1), loss

    def many_steps(state, x, y):
        return lax.scan(lambda state, _: one_step(state, x, y), state, length=SCANNED)

    steps = SCANNED if variant == "scan" else 1
    advance = compiled(many_steps if variant == "scan" else one_step, variant)
    state, x, y = starting_state(work), jnp.array(work.x), jnp.array(work.y)

    def step():
        nonlocal state
        state, loss = advance(state, x, y)
        return loss.block_until_ready()

    return Job(step, steps=steps)


def compiled(function, variant):
    """The jitted function of a state, which it may overwrite unless the variant is plain."""
    if variant == "jit":
        return jax.jit(function)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return jax.jit(function, donate_argnums=0)


def optimizer(work, variant):
    if variant == "scan":
        raise CannotError("a step at a time")
    state = starting_state(work)
    grads = jax.tree.map(jnp.ones_like, state[0])

    def one_update(state, grads):
        p, m, v, t = state
        return *adam(p, grads, m, v, t + 1), t + 1

    update = compiled(one_update, variant)

    def step():
        nonlocal state
        state = jax.block_until_ready(update(state, grads))

    return Job(step)


def single_op(variant):
    if variant != "jit":
        raise CannotError("as JAX jit")
    x = jnp.ones((8, 8), jnp.float32)
    return Job(lambda: (x * x).block_until_ready())


def chain(length, variant):
    raise CannotError("records no graph outside a trace, and would compile each operation of it")
