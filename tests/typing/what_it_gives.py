"""What expressions are to a type checker, and what it refuses. Not to be run."""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false, reportUnknownLambdaType=false

import numpy as np
from typing_extensions import assert_type

import tinygrad_opt as tg
from tinygrad_opt import Tensor, nn, optim, train, viz

t = Tensor([1.0, 2.0], requires_grad=True)
model = nn.MLP([2, 3, 1])

assert_type(model(np.ones((1, 2))), Tensor)
assert_type(t + 1, Tensor)
assert_type(1 + t, Tensor)
assert_type(-t @ t, Tensor)
assert_type(t[0], Tensor)
assert_type(t.sum(), Tensor)
assert_type(t.reshape(2, 1).T, Tensor)
assert_type(t.grad, np.ndarray | None)
assert_type(t > 0, np.ndarray)
assert_type(t.argmax(), np.ndarray)
assert_type(t.item(), float)
assert_type(t.shape, tuple[int, ...])
assert_type(np.exp(t), np.ndarray)             # to NumPy's stubs; a Tensor, so go on with t.exp()
assert_type(t.exp(), Tensor)
assert_type(nn.cross_entropy(t, [1]), Tensor)
assert_type(model.parameters(), dict[str, Tensor])
assert_type(model.eval(), nn.MLP)
assert_type(optim.get("adam"), optim.Optimizer)
history = tg.fit(model, t, t, loss=nn.mse_loss)
assert_type(history, train.History)
assert_type(history["loss"], list[float])
assert_type(train.predict(model, t), np.ndarray)
assert_type(viz.plot_history(history), viz.Picture)
assert_type(viz.race("beale", {}), viz.Race)
assert_type(tg.draw(t), viz.GraphView)


@tg.no_grad()
def shapes(x: int) -> str:
    return "×" * x


@tg.compile
def step(x: np.ndarray) -> Tensor:
    return model(x)


assert_type(shapes(2), str)
assert_type(step(np.ones(2)), Tensor)

optim.Adam(lrr=1e-3)  # type: ignore[call-arg]
optim.Adam(clip_norm="large")  # type: ignore[arg-type]
optim.SGD(model.parameters(), beta1=0.9)  # type: ignore[call-arg]
optim.Adam([t])  # type: ignore[arg-type]
model.forwrd  # type: ignore[attr-defined]  # noqa: B018
t.summ()  # type: ignore[attr-defined]
nn.Linear(2, "three")  # type: ignore[arg-type]
tg.fit(model, t, t, loss=3)  # type: ignore[arg-type]
viz.plot_history(history, them="dark")  # type: ignore[call-arg]
