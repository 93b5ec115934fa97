"""Optimizers by name, with options under the names that other libraries give them."""

from __future__ import annotations

import re
from typing import Any

from tinygrad_opt.optim.adam import Adam, Adamax, AdamW, Lion, Nadam
from tinygrad_opt.optim.adaptive import AdaDelta, AdaGrad, RMSprop
from tinygrad_opt.optim.descent import SGD, Momentum, Nesterov
from tinygrad_opt.optim.optimizer import Optimizer
from tinygrad_opt.optim.options import nearest

__all__ = ["get", "names"]

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
# Keras's and torch's names; clipnorm of Keras is per variable
_OPTIONS = {
    "learning_rate": "lr", "beta_1": "beta1", "beta_2": "beta2", "epsilon": "eps",
    "clipnorm": "clip_norm_each", "clipvalue": "clip_value", "global_clipnorm": "clip_norm",
    "initial_accumulator_value": "initial_accumulator", "lr_decay": "decay",
    "momentum_decay": "psi",
}


def names() -> list[str]:
    """The names that `get` knows, without aliases.

    Examples
    --------
    >>> names()[:4]
    ['adadelta', 'adagrad', 'adam', 'adamax']
    """
    return sorted(_RULES)


def get(name: Any, params: Any = None, **options: Any) -> Optimizer:
    """An optimizer by its name.

    Parameters
    ----------
    name : str, class or Optimizer
        One of `names` or an alias such as ``"rms_prop"`` and ``"nag"``, in any case; the class;
        or an optimizer, which is returned as it is.
    params : dict of str to Tensor, optional
        What it updates; none for ``update(params, grads)``.
    **options
        Options of that optimizer. Keras's names are understood: learning_rate, beta_1, beta_2,
        epsilon, clipnorm (per parameter), global_clipnorm, clipvalue; torch's betas and alpha.

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
    >>> get("adm")
    Traceback (most recent call last):
    ValueError: no optimizer is called 'adm'; did you mean 'adam'?
    """
    if isinstance(name, Optimizer):
        if params is not None or options:
            raise TypeError(f"{name!r} has its parameters and options; set them on it")
        return name
    rule = name if isinstance(name, type) and issubclass(name, Optimizer) else _rule(name)
    return rule(params, **_translated(rule, options))


def _rule(name: Any) -> type[Optimizer]:
    if not isinstance(name, str):
        raise TypeError(f"an optimizer is named by a string or its class, got {name!r}")
    word = re.sub(r"[\s_-]", "", name).lower()
    word = _ALIASES.get(word, word)
    if word not in _RULES:
        raise ValueError(f"no optimizer is called {name!r}; {nearest(word, _RULES)}")
    return _RULES[word]


def _translated(rule: type[Optimizer], given: dict[str, Any]) -> dict[str, Any]:
    """The options under our names; refuses one that the rule lacks or that comes twice."""
    known = [*rule.options, "overrides", "frozen"]
    ours = _OPTIONS | ({"alpha": "rho"} if "rho" in known else {})
    pairs = [(word, ours.get(word, word), value) for word, value in given.items()]
    if "betas" in given:
        pairs = [pair for pair in pairs if pair[0] != "betas"]
        pairs += [("betas", *pair) for pair in zip(("beta1", "beta2"), given["betas"], strict=True)]
    options: dict[str, Any] = {}
    for word, name, value in pairs:
        if name not in known:
            synonyms = [synonym for synonym, name in ours.items() if name in known]
            raise TypeError(
                f"{rule.__name__} has no option {word!r}; {nearest(word, [*known, *synonyms])}"
            )
        if name in options:
            raise TypeError(f"{name} is given twice, once as {word!r}")
        options[name] = value
    return options
