"""What the ranks of `test_mpi.py` run: ``mpiexec -n 2 python -m mpi4py mpi_programs.py NAME ...``.

Each program returns what its rank has to tell, which goes to a file of its own.
"""

import hashlib
import json
import os
import signal
import sys
import time
import warnings

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt import nn, optim
from tinygrad_opt.parallel import mpi
from tinygrad_opt.train import Callback, Checkpoint, CSVLog, EarlyStopping, StopOnNonFinite

X = np.random.default_rng(0).normal(size=(101, 4))
Y = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)


def model(dtype="float64", **options):
    """Another one on each rank: training must start from that of rank 0."""
    return nn.MLP([4, 9, 3], "tanh", rng=mpi.rank, dtype=dtype, **options)


def fitted(made, parallel=None, n=101, **options):
    usual = {"loss": "cross_entropy", "optimizer": "adam:lr=0.02", "epochs": 3, "batch_size": 20,
             "seed": 0, "progress": False, "metrics": ["accuracy"], "diagnose": False}
    return tg.fit(made, X[:n], Y[:n], parallel=mpi() if parallel is None else parallel,
                  **usual | options)


def digest(parameters):
    return hashlib.sha256(b"".join(p.data.tobytes() for p in parameters.values())).hexdigest()


def told(made, history):
    return {"digest": digest(made.parameters()), "steps": history.steps,
            "values": [p.data.tolist() for p in made.parameters().values()],
            "stopped": history.stopped,
            "columns": {k: v for k, v in history.items() if k != "seconds"}}


def fit(compile="None", n="101", batch_size="20", epochs="3", dtype="float64",
        optimizer="adam:lr=0.02"):
    made = model(dtype)
    compile = {"None": None, "False": False, "True": True}.get(compile, compile)
    return told(made, fitted(made, n=int(n), compile=compile, epochs=int(epochs),
                             batch_size=int(batch_size), optimizer=optimizer))


def options(text):
    """`fit` with any options, as Python text."""
    made = model()
    return told(made, fitted(made, **eval(f"dict({text})")))


def several(name, *texts):
    """A program once for each text of arguments."""
    return [globals()[name](*text.split()) for text in texts]


def own_loop(compiled):
    """The loop that the README shows, on unequal shards."""
    made = model()
    mpi.broadcast(made.parameters())
    opt = optim.Adam(made.parameters(), lr=0.02, reduce=mpi.sum, clip_norm=0.5)
    x, y = (X[:7], Y[:7]) if mpi.rank == 0 else (X[7:], Y[7:])
    share = mpi.share(len(x))

    def step(x, y):
        loss = nn.cross_entropy(made(x), y) * share
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    step = step if compiled == "no" else tg.compile(step, backend=compiled)
    for _ in range(10):
        step(x, y)
    return {"digest": digest(made.parameters()),
            "values": [p.data.tolist() for p in made.parameters().values()]}


def branches(bits="32"):
    """Ranks that use other parameters, and one that nobody uses."""
    w = {name: tg.Tensor(np.ones(3), requires_grad=True, name=name) for name in "abcd"}
    opt = optim.Adam(w, lr=0.1, reduce=mpi(bits=int(bits)).mean)
    for k in range(6):
        used = "ab"[mpi.rank % 2] if k < 4 else "c"
        loss = (w[used] * (1.0 + mpi.rank)).sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
    counts = {n: r["updates"] for n, r in opt.state_dict()["parameters"].items()}
    return {"digest": digest(w), "counts": counts, "d": w["d"].data.tolist(), "t": opt.t,
            "grads": [p.grad is not None for p in w.values()]}


def differ(what):
    """Parameters that differ between the ranks."""
    shape = (3,) if what == "shape" and mpi.rank else (2,)
    dtype = "float32" if what == "dtype" and mpi.rank else "float64"
    names = ["b", "a"] if what == "order" and mpi.rank else ["a", "b"]
    if what == "name" and mpi.rank:
        names = ["a", "c"]
    w = {n: tg.Tensor(np.ones(shape, dtype), requires_grad=True, name=n) for n in names}
    opt = optim.SGD(w, 0.1, reduce=mpi.mean)
    sum(p.sum() for p in w.values()).backward()
    try:
        opt.step()
    except ValueError as error:
        return {"error": str(error)}
    return {"error": None}


def differ_in_fit(one):
    given = {"batch_size": (20, 21), "compile": (False, "native"),
             "loss": (nn.cross_entropy, nn.l1_loss)}[one]
    try:
        fitted(model(), **{one: given[mpi.rank]})
    except ValueError as error:
        return {"error": str(error)}
    return {"error": None}


class Bad(Callback):
    """Something happens to the last rank alone."""

    def __init__(self, what, step=7):
        self.what, self.at = what, step

    def on_step(self, run):
        if mpi.rank == mpi.size - 1 and run.step == self.at:
            if self.what == "raise":
                raise RuntimeError("rank failed")
            if self.what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.what == "interrupt":
                signal.raise_signal(signal.SIGINT)
            if self.what == "stop":
                run.stop("enough")
            if self.what == "interrupt twice":
                raise KeyboardInterrupt
            if self.what == "exit":
                sys.exit(3)


def bad(what, step="7"):
    signal.signal(signal.SIGINT, signal.default_int_handler)       # also where it is ignored
    made = model()
    return told(made, fitted(made, epochs=1000, callbacks=[Bad(what, int(step))]))


def own_bad(what):
    """The same in a loop of one's own."""
    made = model()
    opt = optim.SGD(made.parameters(), 0.1, reduce=mpi.mean)
    for k in range(100000):
        if k == 5 and mpi.rank == 1:
            if what == "raise":
                raise RuntimeError("rank failed")
            os.kill(os.getpid(), signal.SIGKILL)
        opt.zero_grad()
        nn.cross_entropy(made(X), Y).backward()
        opt.step()
    return {}


def drift(what):
    """A callback changes something on one rank alone."""
    def change(run):
        if mpi.rank == 1 and what == "lr":
            run.optimizer.lr = 0.5
        elif mpi.rank == 1 and what == "value":
            run.model.layers[0].weight.data = run.model.layers[0].weight.data + 1

    try:
        fitted(model(), callbacks=[change])
    except ValueError as error:
        return {"error": str(error)}
    return {"error": None}


def interrupted_command(folder):
    """Ctrl-C for the last rank of the command line, while the first takes long to write."""
    import tinygrad_opt.cli.train as command
    from tinygrad_opt.cli import main
    from tinygrad_opt.cli.learning import Learning

    train, drawing = Learning.fit, command._drawing
    Learning.fit = lambda self, *own, **named: train(self, *own, Bad("interrupt"), **named)
    command._drawing = lambda *own: time.sleep(0.5) or drawing(*own)
    sys.exit(main(["train", "moons", "--parallel", "mpi", "--quiet", "--out", folder]))


def early():
    made = model()
    history = fitted(made, epochs=60, validation_data=(X, Y), optimizer="adam:lr=0.3",
                     callbacks=[EarlyStopping(2)])
    return told(made, history)


def nonfinite():
    """A nan in the samples of one rank stops all before the step."""
    x = X.copy()
    x[60] = np.nan
    made = model()
    history = tg.fit(made, x, Y, loss="cross_entropy", optimizer="sgd", epochs=3, batch_size=101,
                     progress=False, seed=0, callbacks=[StopOnNonFinite()], diagnose=False,
                     parallel=mpi())
    return told(made, history) | {"finite": bool(np.isfinite(made.layers[0].weight.data).all())}


def noticed():
    """What is wrong with the samples of the second rank is known to all."""
    x = X.copy()
    x[60] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        history = tg.fit(model(), x, Y, loss="cross_entropy", epochs=1, batch_size=101,
                         progress=False, seed=0, parallel=mpi())
    return {"hints": [finding.hint for finding in history.findings]}


def files(folder):
    """All write into one folder, the first alone does."""
    made = model()
    writers = [Checkpoint(f"{folder}/best-{{epoch}}.npz"), CSVLog(f"{folder}/log.csv")]
    fitted(made, callbacks=writers, diagnose=True)
    return {}


def resumed(path, dropout):
    """Three epochs, against two and then one from a file."""
    def made():
        return model(dropout=0.3, norm="batch") if dropout == "yes" else model()

    whole = made()
    opt = optim.Adam(whole.parameters(), lr=0.02)
    fitted(whole, optimizer=opt, n=100)
    first = made()
    opt = optim.Adam(first.parameters(), lr=0.02)
    history = fitted(first, optimizer=opt, epochs=2, n=100)
    if mpi.rank == 0:
        tg.save(path, first, opt, history=history)
    mpi.comm.Barrier()
    second = made()
    opt = optim.Adam(second.parameters())
    saved = tg.load(path, second, opt)
    history = fitted(second, optimizer=opt, epochs=1, n=100, history=tg.History(**saved["history"]))
    return {"whole": digest(whole.parameters()), "digest": digest(second.parameters()),
            "epochs": history.epochs}


def state():
    """An optimizer that rank 0 alone has used before."""
    made = model()
    opt = optim.Adam(made.parameters(), lr=0.02)
    if mpi.rank == 0:
        opt.lr = 0.01
        for _ in range(3):
            nn.cross_entropy(made(X), Y).backward()
            opt.step()
            opt.zero_grad()
    fitted(made, optimizer=opt)
    return {"digest": digest(made.parameters()), "t": opt.t, "lr": opt.lr}


def noise():
    """Dropout and batch normalisation."""
    made = model(dropout=0.5, norm="batch")
    made.dropout.rng = np.random.default_rng(5)            # the same on all ranks
    seen = []

    class See(Callback):
        def on_step(self, run):
            seen.append(nn.dropout(np.ones(50), rng=run.model.dropout.rng).data.tolist())

    before = made.dropout.rng.bit_generator.state
    history = fitted(made, epochs=2, n=100, callbacks=[See()])
    return told(made, history) | {
        "mask": seen[0], "same": before == made.dropout.rng.bit_generator.state,
        "buffers": [made.norms[0].running_mean.tolist(), made.norms[0].running_var.tolist()]}


def variant(every, bits, epochs="30", optimizer="adam:lr=0.02"):
    made = model()
    history = fitted(made, parallel=mpi(int(every), bits=int(bits)), epochs=int(epochs),
                     optimizer=optimizer)
    return told(made, history)


def sizes():
    try:
        mpi(size=5)
    except ValueError as error:
        return {"error": str(error)}


def pieces():
    a, b = mpi.shard(np.arange(7), np.arange(7) * 10)
    return {"a": a.tolist(), "b": b.tolist(), "alone": mpi.shard(np.arange(2)).tolist(),
            "share": mpi.share(len(a))}


def pool():
    """A sweep on the ranks themselves."""
    from mpi4py.futures import MPIPoolExecutor
    from test_sweep import descent, outcomes

    from tinygrad_opt.parallel import sweep

    with MPIPoolExecutor() as pool:
        found = sweep(descent, {"lr": [0.1, 0.01, 0.2]}, seed=0, backend=pool, progress=False)
    return {"equal": outcomes(found) == outcomes(
        sweep(descent, {"lr": [0.1, 0.01, 0.2]}, seed=0, progress=False))}


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    found = globals()[name](*arguments)
    with open(f"rank-{0 if name == 'pool' else mpi.rank}.json", "w") as file:
        json.dump(found, file)
