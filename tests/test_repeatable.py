"""The same seed gives the same bits: twice in a row, in another process, and after a break."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_opt as tg
from tinygrad_opt import nn, optim
from tinygrad_opt.errors import CheckpointError
from tinygrad_opt.train import Checkpoint, History, fit

MADE = ("blobs", "circles", "moons", "sine", "spiral", "vertical", "xor")
INITIALISERS = ("fan_in_uniform", "kaiming_normal", "kaiming_uniform", "normal", "orthogonal",
                "uniform", "xavier_normal", "xavier_uniform")


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def contents(model):
    return [digest(array) for array in model.state_dict().values()]


def network(seed):
    """A model that is random in training, too: batch norm, dropout of its own and the package's."""
    tg.seed(seed)
    return nn.Sequential(nn.MLP([2, 16, 8], norm="batch", dropout=0.3, rng=seed), nn.Dropout(0.2),
                         nn.Linear(8, 3))


def train(model, optimizer, epochs, **options):
    x, y = tg.data.spiral(23, 3, rng=0)
    return fit(model, x, y, loss=nn.cross_entropy, optimizer=optimizer, epochs=epochs,
               batch_size=16, progress=False, metrics=["accuracy"], **options)


def everything():
    """Digests, orders and texts of all that could depend on more than the seed."""
    model = network(3)
    optimizer = optim.Adam(model.parameters(), lr=0.02, overrides={"*bias": {"lr": 0.05},
                                                                   "2.*": {"beta1": 0.8}})
    history = train(model, optimizer, 2, seed=5)
    x, y = tg.data.spiral(4, 3, rng=0)
    drawn = tg.draw(nn.cross_entropy(model.eval()(x), y)).dot
    made = {name: getattr(tg.data, name)(rng=1) for name in MADE}
    return {
        "weights": {name: digest(p.data) for name, p in model.parameters().items()},
        "state": {name: digest(array) for name, array in model.state_dict().items()},
        "moments": {name: [digest(array) for array in state.values()]
                    for name, state in optimizer.state.items()},
        "losses": history.steps["loss"],
        "data": {name: digest(*arrays) for name, arrays in made.items()},
        "split": digest(*tg.data.train_test_split(*made["moons"], rng=2)),
        "digits": digest(*tg.data.digits()),
        "names": hashlib.sha256(" ".join(tg.data.names()).encode()).hexdigest(),
        "initialisers": {name: digest(getattr(nn.init, name)((4, 5), rng=3))
                         for name in INITIALISERS},
        "drawn": drawn,
    }


def elsewhere(expression, **environment):
    """What an expression of this file gives in a process of its own."""
    code = f"import json, sys; from tests.test_repeatable import *; print(json.dumps({expression}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=os.environ | environment, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout)


def test_the_same_seed_gives_the_same_bits_again_and_in_processes_that_hash_otherwise():
    here = json.loads(json.dumps(everything()))
    assert json.loads(json.dumps(everything())) == here
    for seed in ("0", "1"):
        there = elsewhere("everything()", PYTHONHASHSEED=seed)
        assert list(map(list, there["weights"].items())) == list(
            map(list, here["weights"].items()))              # dicts are equal in any order
        assert list(there["state"]) == list(here["state"])
        assert there == here


# ---- a run with a break --------------------------------------------------------------------------


def resumed(path, seed):
    """Go on for two epochs with a model and an optimizer that were made from another seed."""
    model = network(seed)
    optimizer = optim.Adam(model.parameters(), lr=9.0)
    saved = tg.load(path, model, optimizer)
    history = train(model, optimizer, 2, history=History(**saved["history"]))
    return contents(model), history.steps, history["accuracy"]


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_run_that_goes_on_in_another_process_ends_with_the_bits_of_one_that_never_stopped(
    tmp_path, suffix
):
    model = network(0)
    whole = train(model, optim.Adam(model.parameters(), lr=0.02), 4)
    seed = whole.seed                                        # none was given: it is in the history
    first = network(0)
    path = tmp_path / f"run.{suffix}"
    train(first, optim.Adam(first.parameters(), lr=0.02), 2, seed=seed,
          callbacks=[Checkpoint(path)])
    expected = [contents(model), whole.steps, whole["accuracy"]]
    assert list(resumed(path, 8)) == expected
    assert elsewhere(f"resumed({str(path)!r}, 9)") == expected


def test_a_loop_of_ones_own_goes_on_too(tmp_path):
    def steps(model, optimizer, n):
        x, y = tg.data.spiral(20, 3, rng=0)
        for _ in range(n):
            loss = nn.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    model = network(0)
    optimizer = optim.Adam(model.parameters(), lr=0.02)
    steps(model, optimizer, 3)
    path = tg.save(tmp_path / "run.npz", model, optimizer)
    steps(model, optimizer, 3)
    other = network(1)
    second = optim.Adam(other.parameters())
    tg.load(path, other, second)
    steps(other, second, 3)
    assert contents(other) == contents(model)


def test_generators_that_modules_share_are_still_shared_and_any_kind_is_kept(tmp_path):
    def twice(seed):
        rng = np.random.Generator(np.random.MT19937(seed))   # its state holds an array
        return nn.Sequential(nn.Dropout(0.5, rng=rng), nn.Linear(2, 2, rng=0),
                             nn.Dropout(0.5, rng=rng))

    model, other = twice(1), twice(2)
    model(np.ones((3, 2)))
    tg.load(tg.save(tmp_path / "x.npz", model), other)
    x = np.ones((9, 2))
    assert [model(x).tolist() for _ in "ab"] == [other(x).tolist() for _ in "ab"]


def test_checkpoints_from_before_generators_were_kept_still_load(tmp_path):
    model, other = network(0), network(1)
    path = tg.save(tmp_path / "old.npz", model.state_dict())
    states = [g.bit_generator.state for g in other.generators().values()]
    assert list(tg.load(path, other)) == ["model"]
    assert contents(other) == contents(model)
    assert [g.bit_generator.state for g in other.generators().values()] == states


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path):
    def state(model, optimizer):
        return (contents(model), optimizer.lr,
                [g.bit_generator.state for g in model.generators().values()])

    model = network(0)
    path = tg.save(tmp_path / "run.npz", model, optim.SGD(model.parameters()))
    other = network(1)
    optimizer = optim.Adam(other.parameters())
    before = state(other, optimizer)
    with pytest.raises(CheckpointError, match=r"cannot load .*run\.npz: (?s:.*) saved by SGD"):
        tg.load(path, other, optimizer)
    assert state(other, optimizer) == before
    bare = nn.Sequential(nn.MLP([2, 16, 8], norm="batch"), nn.Identity(), nn.Linear(8, 3))
    with pytest.raises(CheckpointError, match=r"random generators .*, the model has none"):
        tg.load(path, bare)
    with pytest.raises(CheckpointError, match="it holds no optimizer, only model"):
        tg.load(tg.save(path, model.state_dict()), None, optimizer)
    twister = nn.Sequential(
        nn.MLP([2, 16, 8], norm="batch", dropout=0.3, rng=np.random.Generator(
            np.random.MT19937(0))), nn.Dropout(0.2), nn.Linear(8, 3))
    with pytest.raises(CheckpointError, match="MT19937"):
        tg.load(tg.save(path, model), twister)
    with pytest.raises(CheckpointError, match="the name 'random' is taken"):
        tg.save(path, model, random=1)
