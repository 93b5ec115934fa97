// Training without a page: random numbers as NumPy draws them, data, networks, optimizers.

// ---- numpy.random.default_rng(seed): PCG64, seeded by SeedSequence ----

const U64 = (1n << 64n) - 1n, U128 = (1n << 128n) - 1n;

class Generator {
  constructor(seed) {
    const entropy = [];
    for (let rest = BigInt(seed); rest > 0n || !entropy.length; rest >>= 32n) entropy.push(Number(rest & 0xffffffffn));
    let constant = 0x43b0d7e5;
    const hashed = value => {
      value = (value ^ constant) >>> 0;
      constant = Math.imul(constant, 0x931e8875) >>> 0;
      value = Math.imul(value, constant) >>> 0;
      return (value ^ value >>> 16) >>> 0;
    };
    const mixed = (x, y) => {
      const r = (Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715)) >>> 0;
      return (r ^ r >>> 16) >>> 0;
    };
    const pool = [0, 1, 2, 3].map(i => hashed(entropy[i] ?? 0));
    for (let s = 0; s < 4; s++) for (let d = 0; d < 4; d++) if (s !== d) pool[d] = mixed(pool[d], hashed(pool[s]));
    for (let s = 4; s < entropy.length; s++) for (let d = 0; d < 4; d++) pool[d] = mixed(pool[d], hashed(entropy[s]));
    constant = 0x8b51f9dd;
    const words = Array.from({length: 8}, (_, i) => {
      let value = (pool[i % 4] ^ constant) >>> 0;
      constant = Math.imul(constant, 0x58f38ded) >>> 0;
      value = Math.imul(value, constant) >>> 0;
      return BigInt((value ^ value >>> 16) >>> 0);
    });
    const [a, b, c, d] = [0, 2, 4, 6].map(i => words[i] | words[i + 1] << 32n);
    this.increment = ((c << 64n | d) << 1n | 1n) & U128;
    this.state = 0n;
    this.advance();
    this.state = this.state + (a << 64n | b) & U128;
    this.advance();
    this.half = null;
  }
  advance() { this.state = this.state * 0x2360ed051fc65da44385df649fccf645n + this.increment & U128; }
  next64() {
    this.advance();
    const x = (this.state >> 64n ^ this.state) & U64, r = this.state >> 122n;
    return (x >> r | x << (64n - r & 63n)) & U64;
  }
  next32() {
    if (this.half !== null) { const x = this.half; this.half = null; return x; }
    const x = this.next64();
    this.half = Number(x >> 32n);
    return Number(x & 0xffffffffn);
  }
  random() { return Number(this.next64() >> 11n) / 2 ** 53; }
  uniform(low, high) { return low + (high - low) * this.random(); }
  below(n) {                               // one of 0, …, n − 1, by rejection
    const mask = n > 1 ? 2 ** (32 - Math.clz32(n - 1)) - 1 : 0;
    for (;;) {
      const value = (this.next32() & mask) >>> 0;
      if (value < n) return value;
    }
  }
  permutation(n) {
    const order = Array.from({length: n}, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }
}

// ---- rates that change: t -> factor, tested against optim.schedules ----

const SCHEDULES = {
  constant: () => 1,
  step: (t, n) => 0.5 ** Math.floor(t / (n / 4)),
  exponential: (t, n) => 0.01 ** (t / n),
  cosine: (t, n) => (1 + Math.cos(Math.PI * Math.min(t / n, 1))) / 2,
  "inverse time": (t, n) => 1 / (1 + 10 / n * t),
  "warm up": (t, n) => Math.min((t + 1) / (n / 10), 1),
};

// the same in Python
const SCHEDULE_TEXTS = {
  step: (lr, n) => `optim.schedules.step(${lr}, every=${n / 4}, factor=0.5)`,
  exponential: (lr, n) => `optim.schedules.exponential(${lr}, rate=0.01 ** (1 / ${n}))`,
  cosine: (lr, n) => `optim.schedules.cosine(${lr}, ${n})`,
  "inverse time": (lr, n) => `optim.schedules.inverse_time(${lr}, decay=10 / ${n})`,
  "warm up": (lr, n) => `optim.schedules.warm_up(${lr}, ${n / 10 - 1}, start=${lr} / ${n / 10})`,
};

// ---- features ----

const FEATURES = [
  ["x₁", (x, y) => x, "x[:, 0]"], ["x₂", (x, y) => y, "x[:, 1]"],
  ["x₁²", (x, y) => x * x, "x[:, 0] ** 2"], ["x₂²", (x, y) => y * y, "x[:, 1] ** 2"],
  ["x₁x₂", (x, y) => x * y, "x[:, 0] * x[:, 1]"],
  ["sin x₁", (x, y) => Math.sin(x), "np.sin(x[:, 0])"], ["sin x₂", (x, y) => Math.sin(y), "np.sin(x[:, 1])"],
];

function floats(text) {
  return new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
}

// ---- the lab ----

class Lab {
  // pack: {nets: {activation: [make of depth 0, 1, …]}, starts, given: [network], rules, data}
  constructor(pack, settings) {
    this.pack = pack;
    this.grid = 40;
    this.settings = {seed: 0, test: 0.25, batch: 32, features: [0, 1], schedule: "constant", horizon: 2000,
      rates: {}, noise: 1, ...settings};
    this.build();
  }

  get rule() { return this.pack.rules[this.settings.rule]; }
  get given() { return this.pack.given?.[this.settings.given]; }

  change(settings) {
    const before = this.settings;
    this.settings = {...before, ...settings};
    const only = names => Object.keys(settings).every(name => names.includes(name));
    if (only(["rates", "lr", "schedule", "horizon"])) return;
    if (only(["rule", "rates", "lr"])) this.newRule();
    else if (only(["batch"]) && !this.given) this.rebuild();
    else this.build();
  }

  points() {
    const set = this.pack.data[this.settings.data];
    const level = set.levels[Math.min(this.settings.noise, set.levels.length - 1)];
    return {x: floats(level.x), y: Uint8Array.from(atob(set.y), c => c.charCodeAt(0)), noise: level.noise,
      classes: set.classes, names: set.names};
  }

  build() {
    const {x, y, classes, names} = this.points(), s = this.settings, n = y.length;
    this.names = names;
    this.features = this.given ? [0, 1] : s.features;
    const width = this.features.length, all = new Float32Array(n * width);
    for (let i = 0; i < n; i++) this.features.forEach((f, k) => {
      all[i * width + k] = FEATURES[f][1](x[2 * i], x[2 * i + 1]);
    });
    const nTest = Math.min(Math.max(Math.round(s.test * n), 1), n - 2);
    this.n = n - nTest;
    this.all = {x, y, classes};
    this.train = {x: all.subarray(0, this.n * width), y: Float32Array.from(y.subarray(0, this.n))};
    this.held = {x: all.subarray(this.n * width), y: Float32Array.from(y.subarray(this.n))};
    this.limit = x.reduce((m, v) => Math.max(m, Math.abs(v)), 0) * 1.08;
    this.classes = classes;
    this.layers = this.given?.layers ?? this.shapes(width, classes);
    this.rebuild(true);
  }

  shapes(width, classes) {
    const sizes = [width, ...this.settings.widths, classes];
    return sizes.slice(1).map((m, i) => ({in: sizes[i], out: m,
      activation: i < sizes.length - 2 ? this.settings.activation : ""}));
  }

  instance(B, G, N) {
    if (this.given) return this.given.make({B, G, N});
    const sizes = {B, G, N, I: this.features.length, C: this.classes};
    this.settings.widths.forEach((h, i) => { sizes[`H${i}`] = h; });
    return this.pack.nets[this.settings.activation][this.settings.widths.length](sizes);
  }

  rebuild(fresh = false) {
    const kept = this.net && !fresh ? this.values().slice() : null;
    this.batch = Math.min(this.settings.batch, this.n);
    this.net = this.instance(this.batch, this.grid ** 2, this.n);
    this.probe = this.instance(1, 1, this.held.y.length);
    this.parameters = Object.entries(this.net.slots).filter(([, slot]) => slot.kind === "leaf")
      .map(([name, slot]) => ({name, ...slot, grad: this.net.slots[`${name}.grad`],
        size: slot.shape.reduce((a, b) => a * b, 1)}));
    const places = this.parameters.map(p => p.name);
    const order = name => name.split(".").map(part => part === "bias" ? "z" : part.padStart(8, "0")).join(".");
    places.sort((a, b) => order(a) < order(b) ? -1 : 1);
    this.parameters.sort((a, b) => places.indexOf(a.name) - places.indexOf(b.name));
    let at = 0;
    for (const p of this.parameters) { p.start = at; at += p.size; }
    this.total = at;
    this.grid_x = this.gridOf();
    if (kept) { this.write(kept); return; }
    this.reset();
  }

  gridOf() {
    const n = this.grid, width = this.features.length, out = new Float32Array(n * n * width);
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
      const x = ((j + 0.5) / n * 2 - 1) * this.limit, y = (1 - (i + 0.5) / n * 2) * this.limit;
      this.features.forEach((f, k) => { out[(i * n + j) * width + k] = FEATURES[f][1](x, y); });
    }
    return out;
  }

  reset() {
    this.net.init();
    if (!this.given) this.draw(new Generator(this.settings.seed));
    this.rng = new Generator(this.settings.seed);
    this.order = [];
    this.steps = 0;
    this.epoch = 0;
    this.losses = [];
    this.newRule();
    this.lastStep = null;
  }

  draw(rng) {                              // as nn.MLP does: weights by the activation, biases 0
    const {family, gain} = this.pack.starts[this.settings.activation] ?? {};
    this.parameters.forEach(p => {
      if (p.shape.length < 2) return this.net.memory.fill(0, p.at, p.at + p.size);
      const last = p === this.parameters.findLast(q => q.shape.length > 1), [n, m] = p.shape;
      const bound = last || family === "xavier" ? (last ? 1 : gain) * Math.sqrt(6 / (n + m)) : gain * Math.sqrt(3 / n);
      for (let i = 0; i < p.size; i++) this.net.memory[p.at + i] = rng.uniform(-bound, bound);
    });
  }

  newRule() { this.updates = new Updates(this.rule, this.total); }

  values() { return this.gathered("at"); }
  gradients() { return this.gathered("grad"); }

  gathered(what) {
    const out = new Float32Array(this.total);
    for (const p of this.parameters) {
      const at = what === "at" ? p.at : p.grad.at;
      out.set(this.net.memory.subarray(at, at + p.size), p.start);
    }
    return out;
  }

  write(values, net = this.net) {
    for (const p of this.parameters) net.memory.set(values.subarray(p.start, p.start + p.size), net.slots[p.name].at);
  }

  nextBatch() {
    if (this.order.length < this.batch) {
      this.order = this.rng.permutation(this.n);
      if (this.steps) this.epoch++;
    }
    return this.order.splice(0, this.batch);
  }

  batchOf(rows) {
    const width = this.features.length, x = new Float32Array(rows.length * width), y = new Float32Array(rows.length);
    rows.forEach((r, i) => {
      x.set(this.train.x.subarray(r * width, (r + 1) * width), i * width);
      y[i] = this.train.y[r];
    });
    return [x, y];
  }

  rate() {
    const {lr, schedule, horizon} = this.settings;
    return lr * SCHEDULES[schedule](this.steps, horizon);
  }

  forwardBackward() {
    const rows = this.nextBatch(), data = this.batchOf(rows);
    this.lastStep = {rows, data, ...this.net.step(data)};
    return this.lastStep;
  }

  update() {
    const rates = {...this.settings.rates, lr: this.rate()};
    this.write(this.updates.step(this.values(), this.gradients(), rates));
    this.steps++;
  }

  step() {
    const {loss} = this.forwardBackward();
    this.update();
    this.losses.push(loss);
    return loss;
  }

  measure() {
    const told = (net, {x, y}) => {
      const {loss, logits} = net.measure([x, y]), C = this.classes;
      let right = 0;
      for (let i = 0; i < y.length; i++) {
        let best = 0;
        for (let c = 1; c < C; c++) if (logits[i * C + c] > logits[i * C + best]) best = c;
        right += best === y[i];
      }
      return {loss, accuracy: right / y.length};
    };
    this.write(this.values(), this.probe);
    return {train: told(this.net, this.train), test: told(this.probe, this.held)};
  }

  look() { return this.net.look([this.grid_x]); }
}
