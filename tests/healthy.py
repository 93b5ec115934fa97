"""Runs in which nothing goes wrong: what `fit` is given, by name. `diagnosis` has its limits from
what they show."""

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt import nn, optim
from tinygrad_opt.optim import schedules

SPIRAL, MOONS = tg.data.spiral(100, 3, rng=0), tg.data.moons(100, noise=0.1, rng=0)
DIGITS = (tg.data.digits()[0] / 16).astype(np.float32), tg.data.digits()[1]
X, X_TEST, Y, Y_TEST = tg.data.train_test_split(*DIGITS, test_size=0.25, rng=0)
TURN = np.linspace(0, 2 * np.pi, 100, dtype=np.float32)[:, None]


def run(model, data, loss="cross_entropy", optimizer=("adam", 0.05), seed=0, **options):
    name, lr, *more = optimizer
    return {"model": model, "x": data[0], "y": data[1], "loss": loss, "seed": seed,
            "optimizer": optim.get(name, lr=lr, **dict(*more)), "progress": False, **options}


def spiral(seed=0, activation="relu", **options):
    model = nn.MLP([2, 64, 3], activation=activation, rng=seed)
    return run(model, SPIRAL, seed=seed, **{"epochs": 300, "batch_size": 300} | options)


def moons(seed=0, activation="relu", optimizer=("adam", 0.02), **options):
    model = nn.MLP([2, 16, 2], activation=activation, rng=seed)
    return run(model, MOONS, optimizer=optimizer, seed=seed,
               **{"epochs": 100, "batch_size": 50} | options)


def hinge():
    data = MOONS[0], (2.0 * MOONS[1] - 1)[:, None]
    return run(nn.MLP([2, 16, 16, 1], rng=1), data, lambda p, y: np.maximum(0, 1 - y * p).mean(),
               ("sgd", 0.5), epochs=100, batch_size=100)


def digits(seed=0, optimizer=("adam", 0.003), hidden=(32,), epochs=10, batch_size=32, **network):
    return run(nn.MLP([64, *hidden, 10], rng=seed, **network), (X, Y), optimizer=optimizer,
               seed=seed, epochs=epochs, batch_size=batch_size, metrics=["accuracy"],
               validation_data=(X_TEST, Y_TEST))


def sine(seed=0, optimizer=("adam", 0.005), epochs=200, batch_size=20):
    return run(nn.MLP([1, 32, 32, 1], activation="tanh", rng=seed), (TURN, np.sin(TURN)), "mse",
               optimizer, epochs=epochs, batch_size=batch_size)


def cnn(seed=0):
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, rng=seed), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1, rng=seed + 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 10, rng=seed + 2))
    return run(model, (DIGITS[0][:600].reshape(-1, 1, 8, 8), DIGITS[1][:600]),
               optimizer=("adam", 0.004), epochs=6)


class Oracle(nn.Module):
    """Values of a wave in, the value that follows each of them out."""

    def __init__(self, cell):
        self.memory, self.speak = cell(1, 16, rng=0), nn.Linear(16, 1, rng=1)

    def forward(self, waves):
        return self.speak(self.memory(waves)[0])


def waves(cell):
    phase = np.random.default_rng(0).uniform(0, 6, (64, 1))
    wave = np.sin(phase + 0.3 * np.arange(21))[..., None].astype(np.float32)
    return run(Oracle(cell), (wave[:, :-1], wave[:, 1:]), "mse",
               ("adam", 0.01, {"clip_norm": 1.0}), epochs=40, batch_size=16)


def autoencoder():
    model = nn.Sequential(nn.MLP([64, 32, 8], "tanh", rng=0), nn.Tanh(),
                          nn.MLP([8, 32, 64], "tanh", rng=1), nn.Sigmoid())
    return run(model, (DIGITS[0], DIGITS[0]), "mse", ("adam", 0.005), epochs=8, batch_size=64)


RUNS = {
    "spiral": spiral, "spiral again": lambda: spiral(1),
    "spiral long": lambda: spiral(2, epochs=1000),
    "spiral sgd": lambda: spiral(optimizer=("sgd", 1.0, {"decay": 1e-3}), epochs=1000),
    "spiral momentum": lambda: spiral(3, optimizer=("momentum", 0.3), epochs=600),
    "spiral tanh": lambda: spiral(activation="tanh"),
    "spiral gelu rmsprop": lambda: spiral(activation="gelu", optimizer=("rmsprop", 0.01)),
    "spiral cosine": lambda: spiral(4, optimizer=("adam", schedules.cosine(0.05, 300))),
    "spiral adagrad": lambda: spiral(5, optimizer=("adagrad", 0.3), epochs=500),
    "spiral small batches": lambda: spiral(6, batch_size=32, epochs=40),
    "moons": moons, "moons sigmoid": lambda: moons(1, "sigmoid", epochs=200),
    "moons tanh nesterov": lambda: moons(2, "tanh", ("nesterov", 0.1)),
    "moons one by one": lambda: moons(3, optimizer=("sgd", 0.05), batch_size=1, epochs=10),
    "moons hinge": hinge,
    "digits": lambda: digits(epochs=30), "digits sgd": lambda: digits(1, ("sgd", 0.1)),
    "digits momentum": lambda: digits(2, ("momentum", 0.05)),
    "digits dropout": lambda: digits(3, dropout=0.3),
    "digits batch norm": lambda: digits(4, norm="batch"),
    "digits layer norm tanh": lambda: digits(5, norm="layer", activation="tanh"),
    "digits deep": lambda: digits(6, hidden=(32, 32, 32, 32)),
    "digits linear": lambda: digits(7, hidden=()),
    "digits adamw one cycle": lambda: digits(8, ("adamw", schedules.one_cycle(0.01, 430))),
    "digits lion": lambda: digits(9, ("lion", 0.0005)),
    "digits sigmoid": lambda: digits(10, activation="sigmoid", epochs=20),
    "digits wide": lambda: digits(11, hidden=(256,)),
    "digits small batches": lambda: digits(12, batch_size=8, epochs=3),
    "sine": sine, "sine momentum": lambda: sine(2, ("sgd", 0.05, {"momentum": 0.9})),
    "sine whole": lambda: sine(3, batch_size=100, epochs=500),
    "cnn": cnn, "cnn again": lambda: cnn(1),
    "rnn": lambda: waves(nn.RNN), "gru": lambda: waves(nn.GRU), "lstm": lambda: waves(nn.LSTM),
    "autoencoder": autoencoder,
}
