"""Every public class and function of `nn` and `nn.init` is documented in the form of numpydoc."""

import inspect
import re

import pytest

from tinygrad_opt import nn

SECTIONS = ("Parameters", "Attributes", "Returns", "Raises", "Notes", "References", "Examples")
THINGS = {
    **{name: getattr(nn, name) for name in nn.__all__ if name not in ("init", "Summary")},
    **{f"init.{name}": getattr(nn.init, name) for name in nn.init.__all__},
    **{f"Module.{name}": x for name, x in vars(nn.Module).items()
       if inspect.isfunction(x) and not name.startswith("_") and name != "forward"},
}


def sections(thing):
    """What stands under each heading, and the summary."""
    text = inspect.getdoc(thing)
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
    return parts[0], dict(zip(parts[1::2], parts[2::2]))


def documented(section):
    """The names that stand before the colons, or alone on a line."""
    heads = re.findall(r"^(\S.*)$", section, flags=re.MULTILINE)
    return [name.strip().lstrip("*") for head in heads for name in head.split(" : ")[0].split(",")]


def arguments(thing):
    return [name for name in inspect.signature(thing).parameters if name != "self"]


@pytest.mark.parametrize("name", THINGS)
def test_parameters_results_and_an_example_are_documented(name):
    thing = THINGS[name]
    summary, found = sections(thing)
    assert summary.strip() and set(found) <= set(SECTIONS)
    assert [s for s in SECTIONS if s in found] == list(found)              # numpydoc's order
    taken = [] if name == "Module" else arguments(thing)
    assert documented(found.get("Parameters", "")) == taken
    assert ">>> " in found["Examples"]
    result = inspect.signature(thing).return_annotation
    if inspect.isfunction(thing) and result not in ("None", None):
        assert found["Returns"].strip()
