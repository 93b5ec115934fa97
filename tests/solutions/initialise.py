"""First weights.

Return weights of shape (fan_in, fan_out) for a layer that ReLU follows: normal, with mean 0 and
such a standard deviation that twenty layers neither blow the signal up nor let it vanish.
rng is a NumPy generator.
"""


def weights(fan_in, fan_out, rng):
    return rng.normal(0, (2 / fan_in) ** 0.5, (fan_in, fan_out))
