"""The training loop.

Train for so many epochs on the whole of x and y with nn.cross_entropy, one step each. Return the
loss before each step as a list of numbers.
"""

import tinygrad_opt as tg


def train(model, optimizer, x, y, epochs):
    losses = []
    for _ in range(epochs):
        loss = tg.nn.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
