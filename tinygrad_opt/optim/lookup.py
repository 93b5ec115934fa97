"""Optimizers by name, with options under the names that other libraries give them.

    get("adam", lr=0.01)        get("sgd:lr=1,decay=1e-3,momentum=.8")        get("sgd:0.1")
"""

from __future__ import annotations

import re
from typing import Any

from tinygrad_opt.optim.adam import Adam, Adamax, AdamW, Lion, Nadam
from tinygrad_opt.optim.adaptive import AdaDelta, AdaGrad, RMSprop
from tinygrad_opt.optim.descent import SGD, Momentum, Nesterov
from tinygrad_opt.optim.optimizer import Optimizer, Params
from tinygrad_opt.optim.options import SYNONYMS, meant, nearest

__all__ = ["get", "names", "read", "says_rate"]

_RULES: dict[str, type[Optimizer]] = {
    rule.__name__.lower(): rule
    for rule in (SGD, Momentum, Nesterov, AdaGrad, RMSprop, AdaDelta, Adam, AdamW, Adamax, Nadam,
                 Lion)
}
_ALIASES = {
    "gd": "sgd", "gradientdescent": "sgd", "stochasticgradientdescent": "sgd",
    "nag": "nesterov", "nesterovaccelerated": "nesterov", "heavyball": "momentum",
    "rms": "rmsprop",
}
# what other texts leave unsaid, where it is not what is left unsaid here
_DEFAULTS: dict[str, dict[str, dict[str, float]]] = {
    "ours": {},
    "keras": {"adagrad": {"eps": 1e-7}, "rmsprop": {"lr": 0.001, "rho": 0.9, "eps": 1e-7},
              "adadelta": {"rho": 0.95, "eps": 1e-7}, "adam": {"eps": 1e-7},
              "adamax": {"eps": 1e-7}, "nadam": {"eps": 1e-7}},
    "nnfs": {"sgd": {"lr": 1.0}, "momentum": {"lr": 1.0}, "adagrad": {"lr": 1.0, "eps": 1e-7},
             "rmsprop": {"lr": 0.001, "rho": 0.9, "eps": 1e-7}, "adam": {"eps": 1e-7}},
    "dlfs": {"adagrad": {"eps": 1e-7}, "rmsprop": {"eps": 1e-7}, "adam": {"eps": 1e-7}},
}


def names() -> list[str]:
    """The names that `get` knows, without aliases.

    Examples
    --------
    >>> names()[:4]
    ['adadelta', 'adagrad', 'adam', 'adamax']
    """
    return sorted(_RULES)


def read(text: str) -> tuple[str, dict[str, Any]]:
    """A name and its options, as one text has them.

    Parameters
    ----------
    text : str
        ``name``, ``name:option=value,option=value``, or ``name:0.1`` for ``name:lr=0.1``. Values
        are numbers, true, false, none, or words.

    Raises
    ------
    ValueError
        If it is written in another way.

    Examples
    --------
    >>> read("sgd:lr=1,momentum=.8,nesterov=true")
    ('sgd', {'lr': 1, 'momentum': 0.8, 'nesterov': True})
    """
    name, colon, rest = text.partition(":")
    options: dict[str, object] = {}
    for i, part in enumerate(rest.split(",") if colon else ()):
        word, equals, value = map(str.strip, part.partition("="))
        if not equals and not i:
            word, value = "lr", word
        if not word.isidentifier() or not value or word in options:
            raise ValueError(f"{text!r} is not a name and options, such as sgd:lr=0.1,momentum=0.9")
        options[word] = _value(value)
    return name.strip(), options


def says_rate(text: str) -> bool:
    """Whether such a text says the learning rate too."""
    return not {"lr", "learning_rate", "defaults"}.isdisjoint(read(text)[1])


def _value(text: str) -> object:
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def get(
    name: str | Optimizer | type[Optimizer], params: Params = None, *, defaults: str | None = None,
    **options: object,
) -> Optimizer:
    """An optimizer by its name.

    Parameters
    ----------
    name : str, class or Optimizer
        One of `names` or an alias such as ``"rms_prop"`` and ``"nag"``, in any case, and with
        options if you like, ``"sgd:lr=1,decay=1e-3,momentum=.8"``; the class; or an optimizer,
        which is returned as it is.
    params : dict of str to Tensor, optional
        What it updates; none for ``update(params, grads)``.
    defaults : {"ours", "keras", "nnfs", "dlfs"}, optional
        Whose values stand for options that are not given: ours, those of Keras 2, of *Neural
        networks from scratch in Python* (2020), or of *Deep learning from scratch* (2016); in the
        last three ε is 1e-7. The rules stay ours.
    **options
        Options of that optimizer. Keras's names are understood: learning_rate, beta_1, beta_2,
        epsilon (None: Keras's 1e-7), clipnorm (per parameter; Keras before 2.4 took the norm of
        all together), global_clipnorm, clipvalue; torch's betas and alpha.

    Returns
    -------
    Optimizer

    Raises
    ------
    ValueError
        For an unknown name.
    TypeError
        For an option that this optimizer does not have, or that is given twice.

    Examples
    --------
    >>> get("RMS_prop", learning_rate=0.1, epsilon=1e-7).eps
    1e-07
    >>> get("rmsprop:decay=1e-3", defaults="keras")
    RMSprop(lr=0.001, decay=0.001, rho=0.9, eps=1e-07; 0 parameters, t=0)
    >>> get("adm")
    Traceback (most recent call last):
    ValueError: no optimizer is called 'adm'; did you mean 'adam'?
    """
    if isinstance(name, Optimizer):
        if params is not None or options:
            raise TypeError(f"{name!r} has its parameters and options; set them on it")
        return name
    given = [*options.items()]
    if isinstance(name, str):
        name, own = read(name)
        given = [*own.items(), *given]
    rule = name if isinstance(name, type) and issubclass(name, Optimizer) else _rule(name)
    chosen = str(dict(given).get("defaults", defaults) or "ours")
    if chosen not in _DEFAULTS:
        raise ValueError(f"no defaults are called {chosen!r}; {nearest(chosen, _DEFAULTS)}")
    usual = _DEFAULTS[chosen].get(rule.__name__.lower(), {})
    ours = _translated(rule, [pair for pair in given if pair[0] != "defaults"])
    return rule(params, **usual | ours)


def _rule(name: object) -> type[Optimizer]:
    if not isinstance(name, str):
        raise TypeError(f"an optimizer is named by a string or its class, got {name!r}")
    word = re.sub(r"[\s_-]", "", name).lower()
    word = _ALIASES.get(word, word)
    if word not in _RULES:
        raise ValueError(f"no optimizer is called {name!r}; {nearest(word, _RULES)}")
    return _RULES[word]


def _translated(rule: type[Optimizer], given: list[tuple[str, object]]) -> dict[str, object]:
    """The options under our names; refuses one that the rule lacks or that comes twice."""
    known = [*rule.options, "overrides", "frozen"]
    ours = SYNONYMS | ({"alpha": "rho"} if "rho" in known else {})
    pairs = []
    for word, value in given:
        if word == "betas":
            if not isinstance(value, tuple | list) or len(value) != 2:
                raise TypeError(f"betas must be a pair, got {value!r}; or give beta1 and beta2")
            pairs += [(word, *pair) for pair in zip(("beta1", "beta2"), value, strict=True)]
        else:
            keras = word == "epsilon" and value is None
            pairs.append((word, ours.get(word, word), 1e-7 if keras else value))
    options: dict[str, object] = {}
    for word, name, value in pairs:
        if name not in known:
            raise TypeError(f"{rule.__name__} has no option {word!r}; {meant(word, known)}")
        if name in options:
            raise TypeError(f"{name} is given twice, once as {word!r}")
        options[name] = value
    return options
