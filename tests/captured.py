"""Random training steps, eager against captured, while whatever may change between calls does.

    python tests/captured.py 20000                # so many steps, from seed 0
    python tests/captured.py 1 4711               # the step of one seed, with its changes

A step is drawn from the layers and losses of `test_nn_compiled`, the optimizers, ways to use
arrays outside, forms of a step, and dtypes, layouts and names of its arguments; between its calls
one or two of CHANGES are made. What every call leaves anywhere (results, parameters, gradients,
buffers, the optimizer's state, generators, results of calls before) must be the eager step's to
the bit, or the call is refused by a `CaptureError`. What the documentation of `compile` says cannot
be noticed is not changed here: numbers, functions and arrays that a name outside stands for.
"""

import collections
import concurrent.futures
import copy
import functools
import gc
import math
import pickle
import random
import sys
import warnings

import numpy as np
from test_nn_compiled import LOSSES, MODELS

import tinygrad_opt as tg
from tinygrad_opt import Tensor, nn, optim
from tinygrad_opt.compiler import CompiledStep
from tinygrad_opt.errors import CaptureError

CALLS = 8
FLOATS = ["f2", "f4", "f8", ">f4", ">f8"]
INTEGERS = ["u1", "i2", "i4", "i8", ">i4", "u8"]


# ---- what a step is made of ----------------------------------------------------------------------


def cast(array, dtype):
    """The array in a dtype, integers with a few different values."""
    kind = np.dtype(dtype).kind
    if array.dtype.kind == "f" and kind in "iu":
        array = np.rint(3 * array)
        array = abs(array) if kind == "u" else array
    return (array > 0 if kind == "b" else array).astype(dtype)


LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2] if a.ndim else a,
    "backwards": lambda a: a[::-1].copy()[::-1] if a.ndim else a,
    "both backwards": lambda a: np.flip(np.flip(a).copy()),
    "part of a larger one": lambda a: np.pad(a, 1)[(slice(1, -1),) * a.ndim],
    "transposed": lambda a: a.T.copy().T,
    "read-only": lambda a: locked(a.copy()),
    "repeated": lambda a: np.broadcast_to(a[:1], a.shape) if a.ndim else a,
    "Tensor": lambda a: Tensor(a),
    "Tensor F": lambda a: Tensor(np.asfortranarray(a)),
    "leaf": lambda a: Tensor(a, requires_grad=a.dtype.kind == "f"),
}


def locked(array):
    array.flags.writeable = False
    return array


NAMES = ["x", "self", "out", "axis", "dtype", "values", "grad", "name", "args", "function", "t",
         "key", "kernel", "shared", "where", "naïve"]

REFUSED = ["looks", "counts", "keeps", "carries", "shown", "saved", "made"]      # most of these


def scaled(z, by, power=1):
    return (z * by) ** power


def in_place(z, change):
    """What a change leaves of z."""
    z = z * 1
    change(z)
    return z


def add_twice(z, other):
    z += other
    z += z * 0.5


def without_recording(z):
    with tg.no_grad():
        return z * 2


def hooked(z, factor):
    z = z * 1
    if z.requires_grad:
        z.register_hook(lambda g: g * factor)
    return z


def slope_of(part, z):
    return z + tg.grad(lambda t: (t ** 3 * part.items[0]).sum())(z.detach())


def looks(part, z):
    return z if np.abs(z).max() < 1e9 else z * 0


def counts(part, z):
    part.count += 1
    return z


def keeps(part, z):
    part.last = z
    return z


def carries(part, z):
    z = z + part.carried
    part.carried = z.detach()
    return z


USES = {                                 # of what a module or a closure holds, in the forward pass
    "factor": lambda part, z: z * part.factor,
    "function": lambda part, z: part.function(z),
    "shift": lambda part, z: z + part.table["shift"],
    "number": lambda part, z: z * part.items[0],
    "maximum": lambda part, z: np.maximum(z, part.table["shift"]),
    "clip": lambda part, z: np.clip(z, None, part.items[1]),
    "where": lambda part, z: np.where(part.mask, z, z * 0.5),
    "constant": lambda part, z: z * part.constant,
    "pair": lambda part, z: z * part.pair[0] + part.pair[1],
    "stack": lambda part, z: np.stack([z, z * part.items[0]]).mean(axis=0),
    "index": lambda part, z: z[..., part.index],
    "branch": lambda part, z: z * 2 if part.switch else z + 1,
    "mode": lambda part, z: z * 3 if part.training else z,
    "dropout": lambda part, z: nn.dropout(z, 0.25, training=part.training),
    "seeded": lambda part, z: nn.dropout(z, 0.25, rng=part.rng),
    "named": lambda part, z: math.prod([z, *part.named.values()]),
    "partial": lambda part, z: part.scaled(z),
    "einsum": lambda part, z: np.einsum("...i,i->...i", z, part.table["shift"]),
    "in place": lambda part, z: in_place(z, lambda z: add_twice(z, part.items[0])),
    "set": lambda part, z: in_place(z, lambda z: z.__setitem__(0, z[-1] * part.items[0])),
    "set from outside": lambda part, z: in_place(
        z, lambda z: z.__setitem__(0, part.table["shift"])),
    "detached": lambda part, z: z * z.detach(),
    "no_grad": lambda part, z: z + without_recording(z),
    "hook": lambda part, z: hooked(z, part.factor),
    "slope": slope_of,
    "compiled": lambda part, z: part.twice(z),
    "views": lambda part, z: z.T[::-1].T * 2 + z[..., ::-1],
    "sorted": lambda part, z: np.sort(z, axis=-1) + np.cumsum(z, axis=-1),
    "asked": lambda part, z: z * (z > 0) + np.argmax(z, axis=-1, keepdims=True),
    "gathered": lambda part, z: np.take_along_axis(z, np.argsort(z, axis=-1), axis=-1),
    "new": lambda part, z: z * Tensor([0.5]),
    "made": lambda part, z: nn.LayerNorm(z.shape[-1])(z) * nn.Dropout(0.5).eval()(z),
    "joined": lambda part, z: np.concatenate([z, z * part.table["shift"]])[: len(z)],
    "looks": looks,
    "counts": counts,
    "keeps": keeps,
    "carries": carries,
    "shown": lambda part, z: z * len(repr(z)),
    "saved": lambda part, z: z * len(part.state_dict()),
    "outside": lambda part, z: z * part.held[0],
    "outside Tensor": lambda part, z: z + part.held[1],
    "outside module": lambda part, z: part.held[2](z),
}


class Part(nn.Module):
    """A module of the user's own, which holds things of every kind."""

    def __init__(self, net, width, dtype, rng):
        def drawn(*shape):
            return cast(rng.normal(size=shape), dtype)

        self.net, self.factor, self.function, self.switch = net, 1.5, np.tanh, False
        self.table, self.items = {"shift": drawn(width)}, [drawn(), drawn(width)]
        self.mask, self.index = rng.random(width) < 0.5, rng.permutation(width)
        self.constant, self.pair = Tensor(drawn(width)), (drawn(width), 2.0)
        self.rng = np.random.default_rng(5)
        self.scaled = functools.partial(scaled, by=drawn(width))
        self.named = {"a": drawn(), "b": Tensor(1.5)}
        self.uses, self.count, self.last, self.carried = (), 0, None, np.zeros(())
        self.twice = TWICE
        self.held = Held([drawn(width), Tensor(drawn(width)), nn.Dropout(0.3, rng=3)])

    def forward(self, x):
        z = self.net(x)
        for use in self.uses:
            z = USES[use](self, z)
        return z


class Held:
    """Things that no attribute of a module leads to: they stay, and what is in them changes."""

    def __init__(self, things):
        self.things = things

    def __getitem__(self, i):
        return self.things[i]


TWICE = tg.compile(lambda z: z * 2)
pair = collections.namedtuple("pair", "x y")


def forms(w):
    """Ways to write a step."""
    def update(loss):
        w.opt.zero_grad()
        loss.backward()
        w.opt.step()
        return loss

    def forget_last(x, y):
        loss = w.loss(x, y)
        loss.backward()
        w.opt.step()
        w.opt.zero_grad()
        return {"loss": loss, "more": (loss * 2, [w.part.factor])}

    def accumulate(x, y):
        w.opt.zero_grad()
        for rows in (slice(None, 3), slice(3, None)):
            w.loss(x[rows], y[rows]).backward()
        w.opt.step()

    def no_step(x, y):
        loss = w.loss(x, y)
        loss.backward()
        return loss

    def adds_up(x, y):
        loss = w.loss(x, y)
        loss.backward()
        return [p.grad * 2 for p in w.parameters if p.grad is not None]

    def evaluated(x, y):
        with tg.no_grad():
            return w.part(x), w.loss(x, y)

    def penalised(x, y):
        return update(w.loss(x, y) + nn.l2_penalty(w.part.parameters(), 0.01))

    def looks_at_gradients(x, y):
        loss = w.loss(x, y)
        w.opt.zero_grad()
        loss.backward()
        norms = [np.sqrt((p.grad ** 2).sum()) for p in w.parameters if p.grad is not None]
        w.opt.step()
        return loss, norms, w.parameters[0]

    def by_function(x, y):
        p = w.parameters[0]
        value, slope = tg.value_and_grad(lambda p: w.loss(x, y) + (p * p).sum())(p)
        return value, slope, p

    def steep(x, y):
        loss = w.loss(x, y)
        w.opt.zero_grad()
        loss.backward(create_graph=True)
        slope = sum((p.grad * p.grad).sum() for p in w.parameters if type(p.grad) is Tensor)
        w.opt.zero_grad()
        (w.loss(x, y) + 0.1 * slope).backward()
        w.opt.step()
        return loss

    def modes(x, y):
        w.part.train()
        loss = update(w.loss(x, y))
        w.part.eval()
        return loss, w.part(x)

    def by_hand(x, y):
        for p in w.parameters:
            p.grad = None
        loss = w.loss(x, y)
        loss.backward(np.full(loss.shape, 0.5))
        for p in w.parameters:
            if p.grad is not None:
                p.grad = p.grad * 2
        w.opt.step()
        return pair(loss, x)

    return {
        "plain": lambda x, y: update(w.loss(x, y)), "forget last": forget_last,
        "accumulate": accumulate, "no step": no_step, "adds up": adds_up, "evaluated": evaluated,
        "penalised": penalised, "gradients": looks_at_gradients, "function": by_function,
        "second order": steep, "modes": modes, "by hand": by_hand,
    }


SCHEDULES = [
    lambda: optim.schedules.cosine(0.02, 4), lambda: optim.schedules.exponential(0.02, 0.9),
    lambda: optim.schedules.step(0.02, 2), lambda: optim.schedules.one_cycle(0.02, 9),
    lambda: optim.schedules.warm_up(0.02, 3), lambda: lambda t: 0.02 / (1 + t),
    lambda: optim.schedules.polynomial(0.02, 5), lambda: optim.schedules.inverse_time(0.02, 0.5),
    lambda: optim.schedules.reduce_on_plateau(0.02, patience=1),
]
OPTIONS = {
    "weight_decay": [0.0, 0.1], "decay": [0.0, 0.1], "clip_norm": [None, 0.1, 1.0],
    "clip_value": [None, 0.01], "clip_norm_each": [None, 0.1], "beta1": [0.5, 0.9],
    "beta2": [0.9, 0.999], "eps": [1e-8, 1e-3], "momentum": [0.0, 0.9], "rho": [0.9, 0.5],
    "amsgrad": [False, True], "nesterov": [False], "check_finite": [None, "skip"],
    "maximize": [False, True],
}


class World:
    """A step, what it rests on, and its arguments: all of it follows from the seed."""

    def __init__(self, seed):
        self.rng, self.numbers = random.Random(seed), np.random.default_rng(seed)
        rng = self.rng
        tg.seed(seed)
        if rng.random() < 0.5:
            name = rng.choice(list(MODELS))
            make, self.draw_x = MODELS[name]
            net, head, self.draw_y = make(), None, None
        else:
            name = rng.choice(list(LOSSES))
            head, self.draw_y = LOSSES[name]
            net, self.draw_x = classifier(rng), lambda numbers: numbers.normal(size=(6, 3))
        first = copy.deepcopy(net)(self.draw_x(np.random.default_rng(0)))
        dtype = rng.choice([*FLOATS, *INTEGERS, "?"])
        self.part = Part(net, first.shape[-1], dtype, self.numbers)
        wanted = [name for name in USES if name not in REFUSED or rng.random() < 0.1]
        self.part.uses = tuple(rng.sample(wanted, rng.choice([0, 1, 1, 2, 3])))
        if rng.random() < 0.3:
            self.part.astype(rng.choice(["f2", "f8"]))
        self.draws = rng.choice([1, 1, 9]) if head is None else 1
        self.head, self.target = head, cast(self.numbers.normal(size=first.shape[-1]), dtype)
        self.parameters = list(self.part.parameters().values())
        if not self.parameters:
            self.parameters = [Tensor([1.5], requires_grad=True, name="own")]
        self.aside = Tensor([1.0, 2.0], requires_grad=True, name="aside")
        self.opt = self.optimizer()
        self.forms = rng.sample(list(forms(self)), rng.choice([1, 1, 2]))
        self.x_dtype = rng.choice(INTEGERS[:5] if first_kind(self) in "iu"
                                  else ["f4", "f4", *FLOATS, *INTEGERS, "?"])
        self.y_dtype = rng.choice(["f4", *FLOATS, *INTEGERS])
        self.layout = [rng.choice(list(LAYOUTS)) if rng.random() < 0.5 else "C" for _ in "xy"]
        self.names = rng.sample(NAMES, 2)
        self.passing = rng.choice(["position", "position", "name", "dict", "tuple", "more"])
        self.more = [rng.choice([0, 1, True, 0.0, -0.0, None, "a"]), np.float32(0.5)]
        self.around = ["plain"]
        self.size, self.given, self.kept, self.removers = None, None, [], []
        self.before = []                 # results of earlier calls
        self.name = (f"{name}, {self.forms}, uses {self.part.uses}, {self.opt.__class__.__name__},"
                     f" x {self.x_dtype} y {self.y_dtype} {self.layout} {self.passing}")

    def optimizer(self):
        rng, options = self.rng, {"lr": 0.02}
        rule = optim.get(rng.choice(optim.names())).__class__
        for name in rng.sample(list(OPTIONS), 4):
            if name in rule.options:
                options[name] = rng.choice(OPTIONS[name])
        if rng.random() < 0.3:
            options["lr"] = rng.choice(SCHEDULES)()
        parameters = {p.name: p for p in [*self.parameters, self.aside]}
        if rng.random() < 0.2:
            options["overrides"] = {rng.choice(list(parameters)): {"lr": 0.001}}
        try:
            return rule(parameters, **options)
        except (TypeError, ValueError):                    # options that do not go together
            return rule(parameters)

    def loss(self, x, y):
        z = self.part(x)
        if z.requires_grad is False and self.parameters[0].name == "own":
            z = z * self.parameters[0]
        if self.head is not None:
            return self.head(z, y)
        return np.square(z * 0.5 - self.target if self.draw_y is None else z - y).mean()

    def step(self, form, /, *args, **kwargs):
        """The step of a form, under all the ways in which arguments are passed."""
        if self.passing == "dict":
            x, y = args[0]["x"], args[0]["y"]
        elif self.passing == "tuple":
            x, y = args[0]
        elif self.passing == "name":
            x, y = (kwargs[name] for name in self.names)
        else:
            x, y = args[:2]
        if self.passing == "more" and x.dtype.kind == "f":
            number = args[2] if isinstance(args[2], int | float) else 2
            x = x * args[3] + math.copysign(0.25 if type(number) is bool else 0.5, number)
        return forms(self)[form](x, y)

    def arguments(self):
        """The next batch, or the one before, in its dtype, layout and way."""
        if self.given is None:
            x = np.concatenate([self.draw_x(self.numbers) for _ in range(self.draws)])
            y = (self.numbers.normal(size=self.target.shape) if self.draw_y is None
                 else self.draw_y(self.numbers))
            x = cast(x, self.x_dtype)
            y = cast(y, self.y_dtype if y.dtype.kind == "f" or self.y_dtype in INTEGERS else "i8")
            if self.size:
                x, y = x[:self.size], y[:self.size] if self.draw_y else y
            self.given = [LAYOUTS[layout](a) for layout, a in zip(self.layout, (x, y))]
        x, y = self.given
        return {"dict": ([{"y": y, "x": x}], {}), "tuple": ([pair(x, y)], {}),
                "name": ([], dict(zip(self.names, (x, y)))),
                "more": ([x, y, *self.more], {})}.get(self.passing, ([x, y], {}))


def first_kind(w):
    return np.asarray(w.draw_x(np.random.default_rng(0))).dtype.kind


def classifier(rng):
    """A network from three numbers to three."""
    makers = {
        "Linear": lambda: nn.Linear(3, 3, rng=1), "batch": lambda: nn.BatchNorm1d(3),
        "layer": lambda: nn.LayerNorm(3), "drop": lambda: nn.Dropout(0.3, rng=2),
        "own drop": lambda: nn.Dropout(0.3), "tanh": lambda: np.tanh, "ELU": nn.ELU,
        "GELU": nn.GELU, "leaky": lambda: nn.LeakyReLU(0.1), "relu": lambda: nn.relu,
        "MLP": lambda: nn.MLP([3, 4, 3], dropout=0.2, norm="batch", rng=3),
    }
    middle = [makers[rng.choice(list(makers))]() for _ in range(rng.randrange(3))]
    return nn.Sequential(nn.Linear(3, 3, rng=0), *middle)


# ---- what changes between two calls --------------------------------------------------------------


class Impossible(Exception):
    """There is nothing to which a change could be made."""


def some(w, kind=object):
    """A module of the tree, of a kind."""
    return pick(w, [m for m in w.part.named_modules().values() if isinstance(m, kind)])


def pick(w, things):
    things = list(things)
    if not things:
        raise Impossible
    return w.rng.choice(things)


def parameter(w):
    return pick(w, w.parameters)


def fill(w, array):
    """Write other numbers of its kind into an array."""
    if not array.flags.writeable:
        raise Impossible
    array[...] = cast(w.numbers.normal(size=array.shape), array.dtype)


def arrays_outside(w):
    part = w.part
    return [part.table["shift"], *part.items, part.mask, part.pair[0], part.held[0],
            part.named["a"], part.scaled.keywords["by"], w.target]


def other_dtype(w, array):
    return cast(np.asarray(array, np.float64), w.rng.choice([*FLOATS, *INTEGERS]))


def number_in_a_module(w):
    """A module and the name of a number that it holds."""
    return pick(w, [(m, name) for m in w.part.named_modules().values()
                    for name, value in vars(m).items() if type(value) is float])


def with_list(w):
    """A list of layers in the tree."""
    return pick(w, [value for m in w.part.named_modules().values() for value in vars(m).values()
                    if type(value) is list and value and all(map(callable, value))])


def option(w):
    return pick(w, [name for name in OPTIONS if name in w.opt.options])


def set_option(w):
    name = option(w)
    setattr(w.opt, name, w.rng.choice(OPTIONS[name]))


def replace_parameter(w):
    module, name = pick(w, [(m, n) for m in w.part.named_modules().values()
                            for n, p in vars(m).items() if type(p) is Tensor and p.requires_grad])
    old = vars(module)[name]
    setattr(module, name, Tensor(old._array * 0.5, requires_grad=True))


def tie(w):
    places = [(m, n, p) for m in w.part.named_modules().values() for n, p in vars(m).items()
              if type(p) is Tensor and p.requires_grad]
    (_, _, p), (module, name, q) = pick(w, places), pick(w, places)
    if p.shape != q.shape:
        raise Impossible
    setattr(module, name, p)


def buffer(w):
    return pick(w, [(m, n) for m in w.part.named_modules().values() for n, _ in m._buffers()])


def replace_buffer(w):
    module, name = buffer(w)
    setattr(module, name, np.abs(getattr(module, name) * 0.5) + 0.25)


def generators(w):
    return pick(w, w.part.generators().values())


def set_grad(w):
    p = parameter(w)
    p.grad = w.numbers.normal(size=p.shape)


def write_kept_gradient(w):
    pick(w, w.kept)[...] = 7


def remember_gradients(w):
    w.kept += [p.grad for p in w.parameters if isinstance(p.grad, np.ndarray)]


def scale_gradient(w):
    p = parameter(w)
    if not isinstance(p.grad, np.ndarray):
        raise Impossible
    p.grad *= 2


def hook(w):
    p, factor = parameter(w), w.rng.choice([0.5, 2.0])
    if not p.requires_grad:
        raise Impossible
    w.removers.append(p.register_hook(lambda g: g * factor))


def unhook(w):
    remove = pick(w, w.removers)
    w.removers.remove(remove)
    remove()


def write_result(w):
    for array in arrays_in(pick(w, w.before)):
        if array.flags.writeable:
            array[...] = 1


def feed_result_back(w):
    shape = np.shape(w.given[0]) if w.given else None
    w.given = [pick(w, [a for r in w.before for a in arrays_in(r) if a.shape == shape]), w.given[1]]


def write_argument(w):
    if w.given is None:
        raise Impossible
    fill(w, as_array(w.given[0]))


def share(w):
    """Pass an array that is used in another way too."""
    if w.given is None:
        w.arguments()
    x, y = w.given
    places = arrays_outside(w) + [p._array for p in w.parameters] + [p.grad for p in w.parameters]
    w.given = [x, pick(w, [a for a in (*places, as_array(x))
                           if np.shape(a) == y.shape and isinstance(a, np.ndarray)])]


def load_scaled(w):
    w.part.load_state_dict({k: np.abs(v) * 0.5 for k, v in w.part.state_dict().items()})


def copied_optimizer(w):
    twin = pickle.loads(pickle.dumps(w.opt)) if w.rng.random() < 0.5 else copy.deepcopy(w.opt)
    w.opt.load_state_dict(twin.state_dict())


def step_outside(w):
    if not any(isinstance(p.grad, np.ndarray) for p in w.opt.parameters.values()):
        raise Impossible
    w.opt.step()


def accumulator(w):
    array = pick(w, [a for slots in w.opt.state.values() for a in slots.values()])
    array[...] = np.abs(array) * 0.5


def failing_call(w):
    """A call that ends in an error, such as by labels that are no classes."""
    w.arguments()
    w.given = [w.given[0], as_array(w.given[1]) + as_array(w.given[1]).dtype.type(77)]


def set_attr(thing, name, value):
    setattr(thing, name, value)


def swap(items, i, value):
    items[i] = value


def turn(w, what):
    setattr(w, what, w.rng.choice(getattr(w, what)))


CHANGES = {
    # parameters
    "values written": lambda w: fill(w, parameter(w)._array),
    "values by put": lambda w: parameter(w)._array.put([0], [0.5]),
    "data replaced": lambda w: set_attr(p := parameter(w), "data", p.data * 0.9),
    "data the same": lambda w: set_attr(p := parameter(w), "data", p.data),
    "parameter aside": lambda w: set_attr(w.aside, "data", w.aside.data * 2),
    "frozen": lambda w: set_attr(p := parameter(w), "requires_grad", not p.requires_grad),
    "frozen by pattern": lambda w: w.part.requires_grad_("*bias*", w.rng.random() < 0.5),
    "renamed": lambda w: set_attr(parameter(w), "name", f"n{w.rng.random()}"),
    "hooked": hook,
    "unhooked": unhook,
    "parameter replaced": replace_parameter,
    "parameters tied": tie,
    "state loaded": load_scaled,
    "state of a copy loaded": lambda w: w.part.load_state_dict(
        copy.deepcopy(w.part).state_dict()),
    "another float dtype": lambda w: w.part.astype(w.rng.choice(["f2", "f4", "f8"])),
    "bias removed": lambda w: set_attr(pick(w, [
        m for m in w.part.named_modules().values() if vars(m).get("bias") is not None]),
        "bias", None),
    # gradients
    "gradient scaled": scale_gradient,
    "gradient set": set_grad,
    "gradient forgotten": lambda w: set_attr(parameter(w), "grad", None),
    "gradients forgotten by the model": lambda w: w.part.zero_grad(),
    "gradients forgotten by the optimizer": lambda w: w.opt.zero_grad(),
    "gradients kept": remember_gradients,
    "kept gradient written": write_kept_gradient,
    # modules
    "evaluation": lambda w: w.part.eval(),
    "training": lambda w: w.part.train(),
    "one module evaluated": lambda w: some(w).train(w.rng.random() < 0.5),
    "number of a module": lambda w: set_attr(*number_in_a_module(w), w.rng.choice([0.1, 0.25])),
    "generator replaced": lambda w: set_attr(some(w, nn.Dropout), "rng",
                                             np.random.default_rng(w.rng.randrange(9))),
    "generator None": lambda w: set_attr(some(w, nn.Dropout), "rng", None),
    "generator advanced": lambda w: generators(w).random(3),
    "generator set back": lambda w: set_attr(generators(w).bit_generator, "state",
                                             np.random.default_rng(4).bit_generator.state),
    "own generator advanced": lambda w: w.part.rng.random(),
    "own generator replaced": lambda w: set_attr(w.part, "rng", np.random.default_rng(8)),
    "package seeded": lambda w: tg.seed(w.rng.randrange(9)),
    "layer replaced": lambda w: swap(layers := with_list(w), 0, copy.deepcopy(layers[0])),
    "layer appended": lambda w: with_list(w).append(nn.Identity()),
    "layer inserted": lambda w: with_list(w).insert(0, nn.LeakyReLU(0.2)),
    "layer removed": lambda w: with_list(w).pop(),
    "layers reversed": lambda w: with_list(w).reverse(),
    "network replaced": lambda w: set_attr(w.part, "net", copy.deepcopy(w.part.net)),
    "activation": lambda w: set_attr(some(w, nn.MLP), "activation", nn.tanh),
    "buffer written": lambda w: (b := buffer(w)) and swap(getattr(*b), ..., 0.75),
    "buffer replaced": replace_buffer,
    "hidden module": lambda w: set_attr(w.part.held[2], "p", w.rng.choice([0.0, 0.5])),
    "hidden module evaluated": lambda w: w.part.held[2].train(w.rng.random() < 0.5),
    # what a module of one's own holds
    "own number": lambda w: set_attr(w.part, "factor", w.rng.choice([1.5, 2.0, 3, -0.0])),
    "own function": lambda w: set_attr(w.part, "function", w.rng.choice([np.sin, nn.relu])),
    "own flag": lambda w: set_attr(w.part, "switch", w.rng.random() < 0.5),
    "own array replaced": lambda w: set_attr(w.part, "mask", ~w.part.mask),
    "own indices": lambda w: set_attr(w.part, "index", w.part.index[::-1].copy()),
    "own indices written": lambda w: w.part.index.sort(),
    "own constant": lambda w: set_attr(w.part.constant, "data", w.part.constant.data * 2),
    "own constant written": lambda w: fill(w, w.part.constant._array),
    "own constant replaced": lambda w: set_attr(w.part, "constant", Tensor(
        other_dtype(w, w.part.constant._array))),
    "own tuple": lambda w: set_attr(w.part, "pair", (w.part.pair[0], w.rng.choice([1, 0.5]))),
    "entry of a dict": lambda w: swap(w.part.table, "shift", w.part.table["shift"].copy()),
    "entry of a dict, dtype": lambda w: swap(w.part.table, "shift",
                                             other_dtype(w, w.part.table["shift"])),
    "entry of a dict, added": lambda w: swap(w.part.named, f"c{len(w.part.named)}", np.array(0.5)),
    "entry of a list": lambda w: swap(w.part.items, 0, np.array(w.rng.random())),
    "entry of a list, dtype": lambda w: swap(w.part.items, 1, other_dtype(w, w.part.items[1])),
    "keyword of a partial": lambda w: w.part.scaled.keywords.update(power=w.rng.choice([1, 2])),
    "array of a partial": lambda w: w.part.scaled.keywords.update(
        by=other_dtype(w, w.part.scaled.keywords["by"])),
    "partial replaced": lambda w: set_attr(w.part, "scaled", functools.partial(scaled, by=0.5)),
    "uses": lambda w: set_attr(w.part, "uses", w.part.uses[::-1]),
    # arrays that stay, and what is in them
    "array outside written": lambda w: fill(w, pick(w, arrays_outside(w))),
    "arrays outside written": lambda w: [fill(w, a) for a in arrays_outside(w)
                                         if a.flags.writeable],
    "array outside locked": lambda w: locked(pick(w, arrays_outside(w))),
    "array outside unlocked": lambda w: set_attr(pick(w, arrays_outside(w)).flags,
                                                 "writeable", True),
    "Tensor outside": lambda w: set_attr(t := w.part.held[1], "data", t.data + 1),
    "Tensor outside written": lambda w: fill(w, w.part.held[1]._array),
    "Tensor outside trained": lambda w: set_attr(t := w.part.held[1], "requires_grad",
                                                 t._array.dtype.kind == "f"),
    # the optimizer
    "rate": lambda w: set_attr(w.opt, "lr", w.rng.choice([0.1, 0.01])),
    "schedule": lambda w: set_attr(w.opt, "lr", w.rng.choice(SCHEDULES)()),
    "option": set_option,
    "another option": set_option,
    "optimizer frozen": lambda w: w.opt.freeze(pick(w, w.opt.parameters)),
    "optimizer unfrozen": lambda w: w.opt.unfreeze(),
    "overrides": lambda w: set_attr(w.opt, "overrides", {
        pick(w, w.opt.parameters): {"lr": w.rng.choice([0.1, 0.001])}}),
    "overrides removed": lambda w: set_attr(w.opt, "overrides", {}),
    "state of the optimizer loaded": lambda w: w.opt.load_state_dict(w.opt.state_dict()),
    "state of a copied optimizer": copied_optimizer,
    "accumulator written": accumulator,
    "step outside": step_outside,
    "plateau told": lambda w: [w.opt.lr.update(1.0) for _ in range(3)],
    # arguments
    "same arrays again": lambda w: set_attr(w, "fixed", True),
    "argument written": write_argument,
    "dtype of x": lambda w: w.x_dtype in FLOATS and set_attr(w, "x_dtype", w.rng.choice(FLOATS)),
    "dtype of y": lambda w: set_attr(w, "y_dtype", w.rng.choice([*FLOATS, *INTEGERS])),
    "layout": lambda w: swap(w.layout, w.rng.randrange(2), w.rng.choice(list(LAYOUTS))),
    "fewer rows": lambda w: set_attr(w, "size", w.rng.choice([None, 4])),
    "other names": lambda w: set_attr(w, "names", w.rng.sample(NAMES, 2)),
    "other numbers": lambda w: swap(w.more, 0, w.rng.choice([0, 1, True, 0.0, -0.0, None])),
    "other NumPy number": lambda w: swap(w.more, 1, w.rng.choice([np.float64(2), np.int8(3)])),
    "argument shared": share,
    "result written": write_result,
    "result fed back": feed_result_back,
    # around it
    "default dtype": lambda w: tg.set_default_dtype(w.rng.choice(["f4", "f8"])),
    "without recording": lambda w: w.around.append("no_grad"),
    "in another thread": lambda w: w.around.append("thread"),
    "inside a step": lambda w: w.around.append("inside"),
    "inside a derivative": lambda w: w.around.append("derivative"),
    "a call that fails": failing_call,
    "run as it is written": lambda w: w.around.append("written"),
    "collected": lambda w: gc.collect(),
    "copied and pickled": lambda w: pickle.loads(pickle.dumps(copy.deepcopy(w.part))),
    "shown": lambda w: (repr(w.part), repr(w.opt), w.part.state_dict(), w.part.summary()),
    "nothing": lambda w: None,
}


OF_ARGUMENTS = list(CHANGES)[list(CHANGES).index("same arrays again"):][:12]


# ---- how it is played ----------------------------------------------------------------------------


def as_array(x):
    return np.asarray(x._array if type(x) is Tensor else x)


def arrays_in(x):
    """The arrays of a result."""
    if isinstance(x, list | tuple):
        return [a for v in x for a in arrays_in(v)]
    if isinstance(x, dict):
        return arrays_in(list(x.values()))
    return [as_array(x)] if type(x) is Tensor or isinstance(x, np.ndarray) else []


def frozen(x):
    """Anything as bytes that stay; one nan is as good as another."""
    if type(x) is Tensor or isinstance(x, np.ndarray | np.generic):
        x = as_array(x)
        if x.dtype.kind == "f":
            x = np.where(np.isnan(x), x.dtype.type("nan"), x)
        return str(x.dtype), x.shape, x.tobytes()
    if isinstance(x, list | tuple):
        return [frozen(v) for v in x]
    return {k: frozen(v) for k, v in x.items()} if isinstance(x, dict) else repr(x)


def left(w):
    """Whatever a call may have changed."""
    return {
        "parameters": frozen([*w.parameters, w.aside]),
        "gradients": frozen([p.grad for p in w.parameters] if w.rng.random() < 0.5 else []),
        "state": frozen(w.part.state_dict()), "optimizer": frozen(w.opt.state_dict()),
        "generators": frozen([g.bit_generator.state for g in w.part.generators().values()]),
        "earlier results": frozen(w.before), "kept gradients": frozen(w.kept),
        "arrays outside": frozen(arrays_outside(w)), "modes": [
            m.training for m in w.part.named_modules().values()],
        "arguments": frozen(w.given or []),
        "their gradients": frozen([x.grad for x in w.given or [] if type(x) is Tensor]),
    }


def called(w, written, step):
    """The result of a call under the circumstances of this one, which end with it."""
    around, (args, kwargs) = w.around[-1], w.arguments()
    if around == "no_grad":
        with tg.no_grad():
            return step(*args, **kwargs)
    if around == "thread":
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(step, *args, **kwargs).result()
    if around == "written":
        return copied(written(*args, **kwargs))
    if around == "inside" and isinstance(step, CompiledStep):
        return tg.compile(lambda *args, **kwargs: step(*args, **kwargs))(*args, **kwargs)
    if around == "derivative":
        tg.grad(lambda t: (t * t).sum() + 0 * w.loss(*w.given).detach())(np.ones(2))
    return step(*args, **kwargs)


def played(seed, wrap, uses=None):
    """The log of a seed: what was changed, and what each call returned and left behind."""
    w, runs = World(seed), [0]
    if uses is not None:
        w.part.uses = uses

    def written(form):
        def step(*args, **kwargs):
            runs[0] += 1
            return w.step(form, *args, **kwargs)
        return step

    steps = [(written(form), wrap(written(form))) for form in w.forms]
    w.fixed = False
    yield w.name
    for _ in range(CALLS):
        try:
            result = called(w, *w.rng.choice(steps))
        except CaptureError:
            raise
        except Exception as error:
            w.opt.zero_grad()                              # an eager step leaves half of them
            w.part.zero_grad()
            yield {"error": type(error).__name__} | left(w)
        else:
            yield {"result": frozen(result), "kind": kinds(result)} | left(w)
            w.before.append(result if wrap is tg.compile else copied(result))
        w.around = ["plain"]
        if not w.fixed:
            w.given = None
        for _ in range(w.rng.choice([0, 0, 1, 1, 2])):
            name = w.rng.choice(list(CHANGES) if w.rng.random() < 0.7 else OF_ARGUMENTS)
            try:
                CHANGES[name](w)
            except Exception as error:                     # impossible here; so it is for the twin
                yield f"{name}: {type(error).__name__}"
            else:
                yield name
    yield runs[0]


def copied(x):
    """A result as a captured step gives it: in memory of its own, without a graph."""
    if type(x) is Tensor or isinstance(x, np.ndarray):
        return np.array(as_array(x))
    if isinstance(x, list | tuple):
        return [copied(v) for v in x]
    return {k: copied(v) for k, v in x.items()} if isinstance(x, dict) else x


def kinds(x):
    if isinstance(x, list | tuple):
        return type(x).__name__, [kinds(v) for v in x]
    return {k: kinds(v) for k, v in x.items()} if isinstance(x, dict) else type(x).__name__


def compare(seed, uses=None):
    """How the captured step of a seed went, and the changes that it was asked to notice."""
    default, changes = np.dtype("f4"), []
    eager, captured = [], []
    ended = "equal"
    for log, wrap in ((eager, lambda step: step), (captured, tg.compile)):
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for entry in played(seed, wrap, uses):
                    log.append(entry)
        except CaptureError as error:
            ended = f"refused: {error}"
        finally:
            tg.set_default_dtype(default)
    for a, b in zip(eager, captured):
        if isinstance(a, str):
            changes.append(a)
            assert a == b
        elif isinstance(a, dict):
            if "error" in a or "error" in b:
                changes.append(f"{a.get('error')}, {b.get('error')}")
            for key in {**a, **b}:
                if a.get(key) != b.get(key):
                    return f"different: {key}", changes, 0
    if ended == "equal" and len(eager) != len(captured):
        return "different: length", changes, 0
    replays = eager[-1] - captured[-1] if ended == "equal" and isinstance(eager[-1], int) else 0
    return ended, changes, replays


def search(seeds):
    """Counts of how steps went, and by kind of change, how often a step went on past it."""
    ended, noticed, reasons = collections.Counter(), collections.Counter(), collections.Counter()
    for seed in seeds:
        try:
            how, changes, replays = compare(seed)
        except Exception as error:
            raise AssertionError(f"captured.compare({seed}): {error!r}") from error
        kind = how.split(":")[0]
        if kind == "different":
            raise AssertionError(f"captured.compare({seed}): {how} after {changes}")
        ended[kind] += 1
        ended["replays"] += replays
        if kind == "refused":
            reasons[how[9:70]] += 1
        noticed.update(name for name in changes if name in CHANGES)
    return ended, noticed, reasons


def main(count, first=0):
    if count == 1:
        for part in compare(first):
            print(part)
        return
    totals = [collections.Counter() for _ in range(3)]
    different = []
    for start in range(first, first + count, 100):
        for seed in range(start, min(start + 100, first + count)):
            try:
                for total, part in zip(totals, search([seed])):
                    total.update(part)
            except AssertionError as error:
                different.append(str(error))
                print(error, flush=True)
    for total in totals:
        print(dict(total.most_common()))
    print(f"{count} steps: {totals[0]['equal']} equal, {totals[0]['refused']} refused,"
          f" {len(different)} different; {totals[0]['replays']} calls replayed")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
