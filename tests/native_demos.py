"""The training runs of the demos, replayed by NumPy and as machine code: what each has learned.

    python tests/native_demos.py                  # a table
    python tests/native_demos.py moons vae
"""

import contextlib
import functools
import importlib
import io
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.compiler import step as compiled_steps

sys.path.insert(0, str(Path(__file__).parents[1] / "demos"))


def main_of(name, quick):
    """What the demo returns, which trains by `fit` or by a compiled step."""
    with tempfile.TemporaryDirectory() as folder:
        return importlib.import_module(name).main(folder, quick)


# those that write the loop out, by `fit` on the same model


def moons(quick):
    epochs = 10 if quick else 100
    x, y = tg.data.moons(50, noise=0.1, rng=1)
    sign = (2 * y - 1).reshape(-1, 1).astype(np.float32)
    model = nn.MLP([2, 16, 16, 1], activation="relu", rng=1)

    def loss(scores, sign):
        return (np.maximum(0, 1 - sign * scores).mean()
                + nn.l2_penalty(model.parameters(), 1e-4))

    rate = tg.optim.schedules.polynomial(1.0, epochs)
    tg.fit(model, x, sign, loss=loss, optimizer=tg.optim.SGD(lr=rate), epochs=epochs,
           batch_size=len(x), progress=False)
    return np.mean((model(x).data > 0) == (sign > 0))


def digits(quick):
    x, y = tg.data.digits()
    x_train, x_test, y_train, y_test = tg.data.train_test_split(x / 16, y, rng=0)
    model = nn.MLP([64, 32, 10], activation="relu", rng=0)
    tg.fit(model, x_train, y_train, loss="cross_entropy", optimizer=tg.optim.Adam(lr=0.003),
           epochs=3 if quick else 30, batch_size=32, seed=0, progress=False)
    return np.mean(np.argmax(model(x_test), axis=1) == y_test)


def autoencoder(quick):
    x = tg.data.digits()[0] / 16
    model = nn.Sequential(nn.MLP([64, 32, 8], "tanh", rng=0), nn.Tanh(),
                          nn.MLP([8, 32, 64], "tanh", rng=1), nn.Sigmoid())
    tg.fit(model, x, x, loss="mse", optimizer=tg.optim.Adam(lr=0.005), epochs=3 if quick else 40,
           batch_size=64, seed=0, progress=False)
    return nn.mse_loss(model(x), x).item() / np.var(x, axis=0).mean()


def sine_rnn(quick):
    demo = importlib.import_module("sine_rnn")
    model = demo.Oracle(rng=0)
    wave = demo.waves(160 if quick else 3200, 41, np.random.default_rng(0))
    history = tg.fit(model, wave[:, :-1], wave[:, 1:], loss="mse", epochs=1, batch_size=16,
                     optimizer=tg.optim.Adam(lr=0.01, clip_norm=1.0), seed=0, progress=False)
    return history["loss"][-1]


def spiral(quick):
    x, y = tg.data.spiral(100, rng=0)
    model = nn.MLP([2, 64, 3], "relu", rng=0)
    history = tg.fit(model, x, y, loss="cross_entropy", optimizer=tg.optim.Adam(lr=0.05),
                     epochs=100 if quick else 2000, batch_size=len(x), metrics=["accuracy"],
                     progress=False)
    return history["accuracy"][-1]


def rungs(quick):
    return {rung.name: rung.loss for rung in main_of("write_names", quick)}


# name: what gives numbers, and how far apart they may be. What rounding turns in another direction,
# as games and long runs on few rows do, ends elsewhere, as well.
RUNS = {
    "moons": (moons, 0.005), "spiral": (spiral, 0.02), "digits": (digits, 0.01),
    "digits_cnn": (functools.partial(main_of, "digits_cnn"), 0.015),
    "autoencoder": (autoencoder, 0.02), "sine_rnn": (sine_rnn, 0.01),
    "batch_sizes": (lambda quick: {
        size: run["loss"][-1] for size, run in main_of("batch_sizes", quick).items()}, 0.02),
    "write_names": (rungs, 0.02), "vae": (functools.partial(main_of, "vae"), 0.5),
    "gan": (functools.partial(main_of, "gan"), 0.1),
    "diffusion": (functools.partial(main_of, "diffusion"), 0.05),
    "differential_equation": (functools.partial(main_of, "differential_equation"), 0.02),
}


def learned(name, backend, quick=False):
    """The numbers that a run ends with, and its seconds."""
    run, _ = RUNS[name]
    with (pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()),
          contextlib.redirect_stderr(io.StringIO())):
        chosen = compiled_steps._backend(backend)
        patch.setattr(compiled_steps, "_backend", lambda name: chosen)
        begin = time.perf_counter()
        found = run(quick)
    seconds = time.perf_counter() - begin
    found = list(found.values()) if isinstance(found, dict) else found
    return np.atleast_1d(np.array(found, float)), seconds


def main(*names):
    print(f"{'demo':<22} {'NumPy':>8} {'native':>8} {'seconds':>14}")
    for name in names or RUNS:
        (wanted, slow), (found, fast) = (learned(name, b) for b in ("numpy", "native"))
        for a, b in zip(wanted, found):
            print(f"{name:<22} {a:8.4f} {b:8.4f} {slow:7.1f} {fast:6.1f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
