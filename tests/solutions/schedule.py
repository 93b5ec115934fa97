"""Warm-up, then a cosine.

The rate grows linearly from 0 at t = 0 to `base` at t = warmup, then falls as half a cosine to 0
at t = total. Return the rate at step t.
"""

import math


def rate(t, base, warmup, total):
    if t < warmup:
        return base * t / warmup
    return base * (1 + math.cos(math.pi * (t - warmup) / (total - warmup))) / 2
