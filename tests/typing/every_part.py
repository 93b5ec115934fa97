"""A script that uses every part of the package, as its users write it: it runs, and type-checks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import tinygrad_opt as tg
from tinygrad_opt import Tensor, data, nn, optim, train, viz

Array = np.ndarray

# ---- Tensors, operators, methods, NumPy's functions ----------------------------------------------

t = Tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, name="t")
u = tg.Tensor(np.ones((2, 2)))
total: Tensor = (1 + t * 2 - u / 3) ** 2 @ t.T
total += -abs(t) % 2
loss = (total.sum(axis=1, keepdims=True).mean() + t.reshape(4).max() + t[0, 1]).exp().log()
loss.backward()
gradient: Array | None = t.grad
assert gradient is not None and gradient.shape == t.shape == (2, 2)
larger: Array = t > 1.5
number: float = loss.item()
nested = [float(row.sum()) for row in t.detach()]
softened: Tensor = t.clip(0, 3).softmax(axis=-1).astype(np.float64)
root = np.sqrt(np.square(t).sum())
joined = np.concatenate([t, u], axis=0)
with tg.no_grad():
    t.data = t.data - 0.1 * gradient


# ---- functional forms ----------------------------------------------------------------------------


def bowl(x: Tensor) -> Tensor:
    return (x**2).sum() + x.prod()


point = np.array([1.0, 2.0])
slope = tg.grad(bowl)(point)
value, slopes = tg.value_and_grad(bowl)(point)
matrix = tg.jacobian(lambda x: x**2)(point)
curvature = tg.hessian(bowl)(point)
product = tg.hvp(bowl)(point, np.ones(2))
checked = tg.gradcheck(bowl, point)
assert checked.ok, checked


# ---- operations, modules and optimizers of one's own ---------------------------------------------

cube = tg.op("x³", lambda x: x**3, lambda g, z, x: g * 3 * x**2)
cube(Tensor([2.0], requires_grad=True)).sum().backward()


class Residual(nn.Module):
    def __init__(self, features: int, rng: np.random.Generator) -> None:
        self.inner = nn.Sequential(nn.Linear(features, features, rng=rng), nn.ReLU())
        self.norm = nn.LayerNorm(features)
        self.scale = Tensor(np.ones(features), requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.inner(x) * self.scale)


class Sign(optim.Optimizer):
    def rule(self, p: Array, g: Array, *, lr: float, t: int) -> Array:
        new: Array = p - lr * np.sign(g)
        return new


# ---- data, a model, a loop by hand ---------------------------------------------------------------

x, y = data.moons(60, rng=0)
x_train, x_test, y_train, y_test = data.train_test_split(x, y, rng=0)
rng = np.random.default_rng(0)
model = nn.Sequential(nn.Linear(2, 8, rng=rng), Residual(8, rng), np.tanh, nn.Linear(8, 2, rng=rng))
prediction: Tensor = model(x_train)
penalty = nn.mse_loss(prediction, np.zeros((len(x_train), 2))) * 0.01
opt = optim.Adam(
    model.parameters(), lr=optim.schedules.cosine(1e-2, 100), beta1=0.8, clip_norm=1.0,
    weight_decay=1e-4, overrides={"*.bias": {"weight_decay": 0.0}},
)
for xb, yb in data.minibatches(x_train, y_train, 16, rng=0):
    step_loss = nn.cross_entropy(model(xb), yb, label_smoothing=0.1)
    opt.zero_grad()
    step_loss.backward()
    opt.step()
shapes: dict[str, tuple[int, ...]] = {n: p.shape for n, p in model.parameters().items()}
rate: float = opt.current_lr
steps: int = opt.t
opt.lr = 1e-3
sign = Sign(model.parameters(), lr=1e-3, frozen="0.*")
others = [optim.SGD(lr=0.1, momentum=0.9), optim.AdamW(lr=1e-3), optim.get("rmsprop:lr=0.1")]


@tg.compile
def step(xb: Array, yb: Array) -> Tensor:
    loss = nn.cross_entropy(model(xb), yb)
    sign.zero_grad()
    loss.backward()
    sign.step()
    return loss


first: float = step(x_train, y_train).item()

# ---- fit, callbacks, history, diagnosis ----------------------------------------------------------


class Halve(train.Callback):
    def on_epoch(self, run: train.Run) -> None:
        if run.epoch % 2 == 0:
            run.optimizer.lr /= 2


recorder = viz.TrainingRecorder(model, x, y, frames=3, resolution=8)
history = tg.fit(
    model, x_train, y_train, loss="cross_entropy", optimizer=optim.Adam(lr=1e-2), epochs=3,
    validation_data=(x_test, y_test), metrics=["accuracy"], progress=False, seed=0,
    callbacks=[Halve(), train.EarlyStopping(2), recorder, lambda run: print(run.loss)],
)
best_epoch, best_loss = history.best("val_loss")
column: list[float] = history["loss"]
scores: dict[str, float] = train.evaluate(model, x_test, y_test, loss=nn.cross_entropy)
classes = train.predict(model, x_test).argmax(1)
report = tg.diagnose(model, x, y, nn.cross_entropy)
print(report, [finding.kind for finding in report.findings])

# ---- minimising ----------------------------------------------------------------------------------

found = optim.minimize(bowl, [1.0, 2.0], method="bfgs", steps=50)
assert found.steps >= 0 and isinstance(found.fun, float)

# ---- saving, loading, pictures -------------------------------------------------------------------

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder)
    tg.save(path / "run.npz", model, opt, history=history)
    extra = tg.load(path / "run.npz", model, opt)
    model.load_state_dict(model.state_dict())
    tg.draw(loss).save(path / "graph.svg")
    tg.playback(nn.cross_entropy(model(x_test), y_test), path / "play.html")
    viz.plot_history(history, theme="dark", size=(6.0, 4.0)).savefig(path / "curves.png")
    viz.decision_regions(model, x, y, resolution=8).savefig(path / "regions.png")
    race = viz.race("rosenbrock", {"Adam": optim.Adam(lr=0.1)}, start=(-1.0, 1.0), steps=5)
    race.plot(title="a race").savefig(path / "race.png")
    history.plot().savefig(path / "again.png")
