"""What editors and type checkers see of the package."""

import inspect
from typing import get_type_hints

import pytest

from tinygrad_opt import optim
from tinygrad_opt.optim.options import Options

RULES = [getattr(optim, name) for name in optim.__all__
         if inspect.isclass(getattr(optim, name)) and issubclass(getattr(optim, name),
                                                                 optim.Optimizer)]

# ---- options of optimizers -----------------------------------------------------------------------


def test_options_are_typed_as_the_base_class_takes_them():
    taken = get_type_hints(optim.Optimizer.__init__)
    for name in ("params", "lr", "rule", "return"):
        del taken[name]
    assert get_type_hints(Options) == taken


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_signature_tells_every_option_and_its_default(rule):
    parameters = inspect.signature(rule).parameters
    assert {*parameters} == {"params", "overrides", "frozen", *rule.options}
    opt = rule()
    for name in rule.options:
        assert parameters[name].default == getattr(opt, name), name


def test_a_signature_tells_options_without_an_init_of_their_own():
    class Slow(optim.SGD):
        options = optim.SGD.options | {"extra": lambda name, value: value}

        def rule(self, p, g, *, lr, t):
            return p - lr * g

    assert "extra" in inspect.signature(Slow).parameters


def test_a_signature_stops_where_options_are_not_handed_on():
    class Plain(optim.Adam):
        def __init__(self, params=None, size=3):
            super().__init__(params, lr=1 / size)

    assert [*inspect.signature(Plain).parameters] == ["params", "size"]
