"""A rule as text: its formula in Unicode and LaTeX, and one update with the numbers put in.

A rule states its algorithm as assignments in Python's notation, ``m = beta1*m + (1 - beta1)*g``.
The same lines are typeset, filled with values and worked out here; a test holds them to what the
rule does.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_opt.errors import GraphError
from tinygrad_opt.optim.options import nearest

if TYPE_CHECKING:
    from tinygrad_opt.optim.optimizer import Optimizer

__all__ = ["Formula", "explanation", "work_out"]

# how names are written: (Unicode, LaTeX); all others stand for themselves
SYMBOLS = {
    "beta1": ("β₁", r"\beta_1"), "beta2": ("β₂", r"\beta_2"), "eps": ("ε", r"\varepsilon"),
    "rho": ("ρ", r"\rho"), "momentum": ("μ", r"\mu"), "dampening": ("τ", r"\tau"),
    "weight_decay": ("λ", r"\lambda"), "lr": ("η", r"\eta"), "m_hat": ("m̂", r"\hat m"),
    "v_hat": ("v̂", r"\hat v"), "v_max": ("vₘₐₓ", r"v_{\max}"), "delta": ("Δ", r"\Delta"),
    "psi": ("ψ", r"\psi"), "mu": ("μₜ", r"\mu_t"), "mu_next": ("μₜ₊₁", r"\mu_{t+1}"),
    "product": ("Πμ", r"\Pi\mu"),
}
FUNCTIONS: dict[str, Callable[..., float]] = {
    "sqrt": math.sqrt, "abs": abs, "max": max, "sign": lambda x: float(np.sign(x)),
}
_PRECEDENCE = {ast.Add: 1, ast.Sub: 1, ast.Mult: 2, ast.Div: 2, ast.USub: 3, ast.Pow: 4}


class Formula:
    """The lines of a rule: LaTeX in a notebook, Unicode when printed."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.name = type(optimizer).__name__
        self.lines = lines_of(optimizer)

    def __str__(self) -> str:
        return "\n".join(unicode_line(line) for line in self.lines)

    def __repr__(self) -> str:
        return f"{self.name}\n{self}"

    @property
    def latex(self) -> str:
        """The lines as LaTeX, one below the other."""
        rows = []
        for line in self.lines:
            target, expression = _parts(line)
            rows.append(rf"{_symbol(target, 1)} &\leftarrow {_latex(expression)}")
        return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"

    def _repr_latex_(self) -> str:
        return f"$$\n{self.latex}\n$$"


def lines_of(optimizer: Any) -> list[str]:
    """The rule's lines, with weight decay where it comes in."""
    if not optimizer.weight_decay:
        return list(optimizer.algorithm())
    if optimizer.decoupled:
        return ["p = p - lr*weight_decay*p", *optimizer.algorithm()]
    return ["g = g + weight_decay*p", *optimizer.algorithm()]


def work_out(line: str, values: dict[str, float]) -> float:
    """The value of a line's right side."""
    return float(_value(_parts(line)[1], values))


def unicode_line(line: str, values: dict[str, float] | None = None) -> str:
    """The line in Unicode, with numbers in the place of its symbols if `values` are given."""
    target, expression = _parts(line)
    shown = _unicode(expression, values)
    return f"{_symbol(target, 0)} ← {shown}" if values is None else shown


def explanation(optimizer: Any, name: str, index: Any) -> str:
    """How the last step changed one entry of one parameter, as text."""
    entries = optimizer._entries
    if name not in entries:
        raise KeyError(f"no parameter {name!r}; {nearest(name, entries)}")
    e = entries[name]
    place = _place(e, index)
    run, lr, t = _last(optimizer, e)
    pack, options = run.pack, run.options
    before, state = pack.before
    values = {n: v for n in options.options if isinstance(v := getattr(options, n), float)}
    values |= options.constants(t) | {"t": t, "lr": lr}
    values |= {"p": float(before[place]), "g": float(pack.g[place])}
    values |= {slot: float(row[place]) for slot, row in zip(pack.slots, state)}
    label = f"{name}[{', '.join(map(str, _as_tuple(index)))}]" if e.shape else name
    now = float(e.values()[index] if e.shape else e.values()[()])
    lines = lines_of(options)
    used = {n.id for line in lines for n in ast.walk(_parts(line)[1]) if isinstance(n, ast.Name)}
    out = [f"{type(optimizer).__name__}, update {t} of {label}", "", "with"]
    out += [f"  {_symbol(n, 0)} = {_number(v)}{_meaning(n)}"
            for n, v in values.items() if n in used]
    for i, line in enumerate(lines):
        target = _parts(line)[0]
        result = work_out(line, values)
        end = _exact(now, e.dtype) if i == len(lines) - 1 else _number(result)
        out += ["", f"  {unicode_line(line)}",
                f"  {' ' * len(_symbol(target, 0))} = {unicode_line(line, values)}",
                f"  {' ' * len(_symbol(target, 0))} = {end}"]
        values[target] = result
    before_step = float(before[place])
    rounding = 1e3 * float(np.finfo(e.dtype).eps) * max(abs(before_step), abs(values["p"]))
    if abs(values["p"] - now) > rounding:
        raise GraphError(
            f"{label} has been changed since the last step, which left it at"
            f" {_number(values['p'])}: it is {_exact(now, e.dtype)} now"
        )
    return "\n".join(out)


def _last(optimizer: Any, e: Any) -> Any:
    """The last step of the run that holds the parameter, if its values were kept."""
    if optimizer._last is None:
        raise GraphError(
            "there is nothing to explain: no step has been taken, or the last one was left out"
        )
    for run, lr, t in optimizer._last:
        if any(other is e for other in run.entries):
            if run.pack is not e.pack or not e.in_place():
                raise GraphError(f"{e.name!r} has been moved since the last step: step() once more")
            if run.pack.before is None:
                optimizer.__dict__["_remembers"] = True
                optimizer._forget_plan()
                raise GraphError(
                    "a large model keeps the values before a step only when asked to: now it"
                    " does, so call explain() again after the next step"
                )
            return run, lr, t
    raise GraphError(f"the last step did not update {e.name!r}: it is frozen or had no gradient")


def _place(e: Any, index: Any) -> int:
    """Position of one entry of a parameter in its pack."""
    index = _as_tuple(index)
    if len(index) != len(e.shape) or not all(
        isinstance(i, int | np.integer) and -n <= i < n for i, n in zip(index, e.shape)
    ):
        first = f"; the first is explain({e.name!r}, {(0,) * len(e.shape)})" if e.size else ""
        what = f"no entry {index}" if index else "say which entry"
        raise IndexError(f"{e.name!r} has shape {e.shape}: {what}{first}")
    inside = [i % n for i, n in zip(index, e.shape)]
    return e.place.start + (int(np.ravel_multi_index(inside, e.shape)) if inside else 0)


def _as_tuple(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _meaning(name: str) -> str:
    meanings = {"p": "before the step", "g": "the gradient, clipped if asked for",
                "lr": "the rate of this step", "t": "which update this is"}
    return f"   ({meanings[name]})" if name in meanings else ""


def _number(x: float) -> str:
    return f"{x:.7g}"


def _exact(x: float, dtype: Any) -> str:
    """All digits that tell a number of this dtype from its neighbours."""
    return str(np.dtype(dtype).type(x))


# ---- one notation, four uses ---------------------------------------------------------------------


def _parts(line: str) -> tuple[str, ast.expr]:
    statement = ast.parse(line).body[0]
    assert isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    return statement.targets[0].id, statement.value


def _symbol(name: str, notation: int) -> str:
    return SYMBOLS.get(name, (name, name))[notation]


def _value(node: ast.expr, values: dict[str, float]) -> float:
    if isinstance(node, ast.Constant):
        return node.value                                              # type: ignore[return-value]
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.UnaryOp):
        return -_value(node.operand, values)
    if isinstance(node, ast.Call):
        return FUNCTIONS[node.func.id](*(_value(a, values) for a in node.args))  # type: ignore
    assert isinstance(node, ast.BinOp)
    x, y = _value(node.left, values), _value(node.right, values)
    match node.op:
        case ast.Add():
            return x + y
        case ast.Sub():
            return x - y
        case ast.Mult():
            return x * y
        case ast.Div():
            return x / y
    return x**y


def _unicode(node: ast.expr, values: dict[str, float] | None, least: int = 0) -> str:
    """The expression, in parentheses where it binds less than `least`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        if values is None:
            return _symbol(node.id, 0)
        shown = _number(values[node.id])
        return f"({shown})" if shown.startswith("-") or (least > 3 and "e" in shown) else shown
    if isinstance(node, ast.UnaryOp):
        return f"−{_unicode(node.operand, values, 3)}"
    if isinstance(node, ast.Call):
        inside = ", ".join(_unicode(a, values) for a in node.args)
        match node.func.id:                                            # type: ignore[attr-defined]
            case "sqrt":
                return f"√{inside}" if isinstance(node.args[0], ast.Name) else f"√({inside})"
            case "abs":
                return f"|{inside}|"
            case other:
                return f"{other}({inside})"
    assert isinstance(node, ast.BinOp)
    binds = _PRECEDENCE[type(node.op)]
    left = _unicode(node.left, values, binds)
    if isinstance(node.op, ast.Pow):
        power = _unicode(node.right, values)
        raised = {"2": "²", "t": "ᵗ"}.get(power) or f"^{power}"
        if not isinstance(node.right, ast.Constant | ast.Name):
            raised = f"^({power})"
        text = f"{_unicode(node.left, values, 5)}{raised}"
    else:
        right = _unicode(node.right, values, binds + isinstance(node.op, ast.Sub | ast.Div))
        sign = {ast.Add: " + ", ast.Sub: " − ", ast.Div: " / ", ast.Mult: " · "}[type(node.op)]
        text = f"{left}{sign}{right}"
    return f"({text})" if binds < least else text


def _latex(node: ast.expr, least: int = 0) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.Name):
        return _symbol(node.id, 1)
    if isinstance(node, ast.UnaryOp):
        return f"-{_latex(node.operand, 3)}"
    if isinstance(node, ast.Call):
        inside = ", ".join(_latex(a) for a in node.args)
        name = node.func.id                                            # type: ignore[attr-defined]
        left, right = {"sqrt": (r"\sqrt{", "}"), "abs": (r"\left|", r"\right|")}.get(
            name, (rf"\operatorname{{{name}}}\left(", r"\right)"))
        return left + inside + right
    assert isinstance(node, ast.BinOp)
    if isinstance(node.op, ast.Div):
        return rf"\frac{{{_latex(node.left)}}}{{{_latex(node.right)}}}"
    if isinstance(node.op, ast.Pow):
        return f"{_latex(node.left, 5)}^{{{_latex(node.right)}}}"
    binds = _PRECEDENCE[type(node.op)]
    sign = {ast.Add: " + ", ast.Sub: " - ", ast.Mult: r"\,"}[type(node.op)]
    right = _latex(node.right, binds + isinstance(node.op, ast.Sub))
    text = f"{_latex(node.left, binds)}{sign}{right}"
    return rf"\left({text}\right)" if binds < least else text
