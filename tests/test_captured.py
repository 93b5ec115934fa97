"""Captured steps between whose calls everything changes are equal to eager ones, or refused."""

import captured
import pytest

from tinygrad_opt.compiler import bound, program

SHORT, LONG = 30, 2_000                          # steps in a block


def check(seeds):
    ended, changed, _ = captured.search(seeds)
    assert ended["equal"] > 0.8 * len(seeds) and ended["replays"] > 2 * len(seeds)
    return changed


@pytest.mark.parametrize("block", range(3))
def test_captured_steps_are_equal_or_refused(block):
    check(range(block * SHORT, (block + 1) * SHORT))


@pytest.mark.drill
@pytest.mark.parametrize("block", range(10))
def test_twenty_thousand_captured_steps_are_equal_or_refused(block):
    changed = check(range(block * LONG, (block + 1) * LONG))
    assert changed.keys() == captured.CHANGES.keys()       # each of them could be made


@pytest.mark.parametrize(("thing", "name", "broken"), [
    (bound, "all_of", lambda conditions: lambda: True),
    (program.Program, "lifetimes", lambda self: {}),
    (captured.nn.Module, "_note", lambda self: None),
], ids=["stale programs", "memory given away too early", "modules not noted"])
def test_the_search_finds_what_is_wrong(monkeypatch, thing, name, broken):
    monkeypatch.setattr(thing, name, broken)
    with pytest.raises(AssertionError, match=r"different|Error"):
        captured.search(range(100))


@pytest.mark.parametrize("use", captured.REFUSED)
def test_what_no_replay_could_repeat_is_refused(use):
    """Whatever else the step does: its other uses are left out."""
    ended = [captured.compare(seed, (use,))[0] for seed in range(8)]
    assert not any(how.startswith("different") for how in ended)
    assert sum(how.startswith("refused") for how in ended) > 4 or use == "made"
