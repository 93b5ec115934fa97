"""A differential equation solved by a network: its derivatives by t are part of the loss.

    python demos/differential_equation.py [--quick] [--out FOLDER]

A weight on a spring with friction, u'' + u'/2 + 4u = 0 from u(0) = 1, u'(0) = 0. The network N sits
in u(t) = 1 + tanh²(t) N(t), which starts right whatever N is; what is left of the equation at 100
times is made small (Lagaris et al., 1998). No solution is shown to the network.
"""

import numpy as np
from helpers import command_line, save_both

import tinygrad_opt as tg
from tinygrad_opt import nn
from tinygrad_opt.viz.figures import drawing

FRICTION, SPRING, END = 0.5, 4.0, 6.0


def exact(t):
    """e^(−ct/2) (cos ωt + c/(2ω) sin ωt) with ω² = k − c²/4."""
    omega = np.sqrt(SPRING - FRICTION**2 / 4)
    turn = np.cos(omega * t) + FRICTION / (2 * omega) * np.sin(omega * t)
    return np.exp(-FRICTION * t / 2) * turn


def solution(model, t):
    return 1 + np.tanh(t) ** 2 * model(2 * t / END - 1)


def residual(model, t):
    """u'' + c u' + k u. Every u depends on its own t alone, so Σu has the derivatives of each."""
    t = tg.Tensor(t, requires_grad=True)                   # so that derivatives are recorded, too
    u = solution(model, t)
    first = tg.grad(lambda t: solution(model, t).sum())
    second = tg.grad(lambda t: first(t).sum())
    return second(t) + FRICTION * first(t) + SPRING * u


def picture(model, t, theme):
    with tg.no_grad():
        u = solution(model, t).data
    with drawing((6.4, 4.0), theme=theme) as (figure, page):
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        above.plot(t, exact(t), color=page.grid, linewidth=7, label="exact")
        above.plot(t, u, "--", color=page.value, label="the network")
        above.legend()
        above.set(ylabel="u(t)")
        below.semilogy(t[1:], np.abs(u - exact(t))[1:], color=page.gradient)
        below.set(xlabel="t", ylabel="|error|")
    return figure


def main(out="runs", quick=False):
    model = nn.MLP([1, 32, 32, 1], np.sin, dtype="float64", rng=0)
    t, steps = np.linspace(0, END, 100)[:, None], 800 if quick else 4000
    opt = tg.optim.Adam(model.parameters(), lr=tg.optim.schedules.cosine(0.02, steps))

    @tg.compile
    def step():
        loss = (residual(model, t) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        opt.step()
        return loss

    before = np.abs(solution(model, t).data - exact(t)).max()
    for i in range(steps):
        loss = step()
        if i in (0, steps // 10, steps - 1):
            print(f"step {i + 1:4}  mean square of the equation {loss.item():.2g}")
    error = np.abs(solution(model, t).data - exact(t)).max()
    print(f"largest error {error:.2g}, before training {before:.2g}")
    save_both(lambda theme: picture(model, t, theme), out, "differential_equation")
    return error, before


if __name__ == "__main__":
    command_line(main, __doc__)
