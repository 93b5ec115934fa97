"""Penalties on the size of parameters, to be added to a loss."""

from __future__ import annotations

from typing import Any

from tinygrad_opt.nn.module import matching
from tinygrad_opt.tensor import Tensor

__all__ = ["l1_penalty", "l2_penalty"]


def l1_penalty(parameters: dict[str, Tensor], strength: float, pattern: str = "*") -> Tensor:
    """strength · Σ |p|, to be added to a loss: it drives parameters to 0.

    Parameters
    ----------
    parameters : dict of str to Tensor
        ``model.parameters()``.
    strength : float
    pattern : str
        Which names, as in a shell: ``"*weight"`` leaves the biases alone.

    Raises
    ------
    ValueError
        If no name matches.

    Examples
    --------
    >>> from tinygrad_opt import nn
    >>> model = nn.Linear(2, 1, init=nn.init.constant)
    >>> float(nn.l1_penalty(model.parameters(), 0.1, "*weight"))
    0.0
    """
    return _penalty(parameters, strength, pattern, lambda p: abs(p).sum())


def l2_penalty(parameters: dict[str, Tensor], strength: float, pattern: str = "*") -> Tensor:
    """strength · Σ p²; parameters as for `l1_penalty`. Its gradient is 2 · strength · p.

    Examples
    --------
    >>> import tinygrad_opt as tg
    >>> from tinygrad_opt import nn
    >>> w = tg.Tensor([3.0, 4.0], requires_grad=True)
    >>> float(nn.l2_penalty({"w": w}, 2.0))
    50.0
    """
    return _penalty(parameters, strength, pattern, lambda p: (p * p).sum())


def _penalty(parameters: Any, strength: float, pattern: str, size: Any) -> Tensor:
    first, *rest = [size(p) for p in matching(parameters, pattern).values()]
    for part in rest:
        first = first + part
    return strength * first
