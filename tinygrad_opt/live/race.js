// uses common.js updates.js formula.js

const looks = JSON.parse(byId("looks").textContent), GRID = 160;
let pack, surface, start, runners = [], chosen = "", playing = false, steps = 0, frames = 0;

// a surface: heights and gradients, by a captured program or by a formula that was typed
class Ground {
  constructor(told) {
    Object.assign(this, told);
    this.program = told.make?.({n: GRID * GRID});
  }
  look(x, y) {
    if (!this.program) return {height: this.formulaOf.height(x, y), gradient: this.formulaOf.gradient(x, y)};
    this.program.memory.set([x, y], this.program.slots.at.at);
    const {height, gradient} = this.program.step([]);
    return {height, gradient: Array.from(gradient)};
  }
  heights() {
    const xs = new Float64Array(GRID * GRID), ys = xs.slice();
    for (let i = 0; i < GRID; i++) for (let j = 0; j < GRID; j++) {
      xs[i * GRID + j] = this.x[0] + (j + 0.5) / GRID * (this.x[1] - this.x[0]);
      ys[i * GRID + j] = this.y[1] - (i + 0.5) / GRID * (this.y[1] - this.y[0]);
    }
    return this.program ? this.program.heights([xs, ys]) : xs.map((x, k) => this.formulaOf.height(x, ys[k]));
  }
}

class Runner {
  constructor(name, on, rate) {
    this.name = name;
    this.rule = pack.rules[name];
    this.on = on;
    this.rates = {lr: rate};
    this.begin();
  }
  begin() {
    this.updates = new Updates(this.rule, 2);
    this.path = [[...start]];
    this.told = surface.look(...start);
    this.heights = [this.told.height];
    this.gone = false;
  }
  step() {
    if (!this.on || this.gone) return;
    const from = this.path.at(-1), to = Array.from(this.updates.step(from, this.told.gradient, this.rates));
    this.path.push(to);
    this.told = surface.look(...to);
    this.heights.push(this.told.height);
    this.gone = ![...to, this.told.height, ...this.told.gradient].every(v => Math.abs(v) < 1e30);
  }
}

const dark = () => getComputedStyle(document.documentElement).colorScheme === "dark";
const lookOf = name => looks[dark() ? "dark" : "light"][name];
const current = () => runners.find(r => r.name === chosen);

function marker(pen, shape, x, y, r) {
  const corners = {s: [45, 135, 225, 315], D: [0, 90, 180, 270], d: [0, 90, 180, 270], "^": [-90, 30, 150], v: [90, 210, 330], "<": [180, 300, 60],
    ">": [0, 120, 240], p: [-90, -18, 54, 126, 198], h: [0, 60, 120, 180, 240, 300], H: [30, 90, 150, 210, 270, 330], "8": [0, 45, 90, 135, 180, 225, 270, 315]}[shape];
  pen.beginPath();
  if (corners) { corners.forEach((d, i) => pen[i ? "lineTo" : "moveTo"](x + (shape === "d" ? 0.6 : 1.2) * r * Math.cos(d * Math.PI / 180), y + 1.2 * r * Math.sin(d * Math.PI / 180))); pen.closePath(); }
  else if (shape === "X" || shape === "P") for (const d of shape === "X" ? [45, 135] : [0, 90]) {
    const a = d * Math.PI / 180, c = Math.cos(a) * r * 1.2, s = Math.sin(a) * r * 1.2, w = 0.4;
    pen.moveTo(x - c - s * w, y - s + c * w); pen.lineTo(x + c - s * w, y + s + c * w); pen.lineTo(x + c + s * w, y + s - c * w); pen.lineTo(x - c + s * w, y - s - c * w); pen.closePath();
  } else pen.arc(x, y, r, 0, 7);
}

// ---- the map ----

function drawGround() {
  const values = surface.heights(), canvas = byId("ground"), pen = canvas.getContext("2d"), image = pen.createImageData(GRID, GRID);
  const finite = Array.from(values).filter(Number.isFinite), least = finite.reduce((a, b) => Math.min(a, b), Infinity), most = finite.reduce((a, b) => Math.max(a, b), -Infinity);
  const shift = 1e-3 * Math.sqrt(most - least) || 1e-9, scale = v => surface.log ? Math.log(v - least + shift) : v;
  const low = scale(least), high = scale(most), bands = 24;
  const near = theme.value.map((v, i) => v + (theme.page[i] - v) * 0.15), far = mixed(theme.page, theme.text, dark() ? 0.04 : 0.02);
  values.forEach((v, k) => {
    const t = Number.isFinite(v) ? Math.floor((scale(v) - low) / (high - low || 1) * bands) / bands : 1;
    const color = mixed(near, far, Math.min(1, 0.25 + 0.85 * t));
    for (let c = 0; c < 3; c++) image.data[4 * k + c] = color[c];
    image.data[4 * k + 3] = 255;
  });
  pen.putImageData(image, 0, 0);
}

const toMap = ([x, y], width, height) => [(x - surface.x[0]) / (surface.x[1] - surface.x[0]) * width, (surface.y[1] - y) / (surface.y[1] - surface.y[0]) * height];

function arrow(pen, [x, y], [u, v], color, most) {
  const long = Math.hypot(u, v), size = Math.min(long, most);
  if (!(long > 0)) return;
  const [a, b] = [x + u / long * size, y + v / long * size], turn = Math.atan2(v, u);
  pen.strokeStyle = pen.fillStyle = color;
  pen.lineWidth = 3;
  pen.beginPath(); pen.moveTo(x, y); pen.lineTo(a, b); pen.stroke();
  pen.beginPath();
  for (const d of [0, 2.5, -2.5]) pen[d ? "lineTo" : "moveTo"](a + 9 * Math.cos(turn + d), b + 9 * Math.sin(turn + d));
  pen.fill();
}

function draw() {
  const {pen, width, height} = sharp(byId("map")), inside = p => toMap(p, width, height);
  pen.font = "20px sans-serif";
  pen.textAlign = "center";
  for (const m of surface.minima) {
    const [x, y] = inside(m);
    pen.strokeStyle = css(theme.page); pen.lineWidth = 4; pen.strokeText("★", x, y + 7);
    pen.fillStyle = css(theme.text); pen.fillText("★", x, y + 7);
  }
  for (const r of runners) {
    if (!r.on) continue;
    const [color, shape] = lookOf(r.name), points = r.path.filter(p => p.every(Number.isFinite)), first = Math.max(points.length - 2000, 0);
    pen.strokeStyle = color;
    pen.lineWidth = r.name === chosen ? 2.6 : 1.6;
    pen.beginPath();
    points.slice(first).forEach((p, i) => pen[i ? "lineTo" : "moveTo"](...inside(p)));
    pen.stroke();
    const [x, y] = inside(points.at(-1));
    marker(pen, shape, x, y, r.name === chosen ? 8 : 6);
    pen.fillStyle = color; pen.strokeStyle = css(theme.page); pen.lineWidth = 1.5;
    pen.fill(); pen.stroke();
  }
  const r = current(), here = r?.path.at(-1);
  if (r && here.every(Number.isFinite)) {
    const at = inside(here), unit = Math.min(width, height) / 4, [gx, gy] = r.told.gradient;
    const scaled = (dx, dy) => { const [a, b] = inside([here[0] + dx, here[1] + dy]); return [a - at[0], b - at[1]]; };
    const down = scaled(-gx, -gy), long = Math.hypot(...down) || 1;
    arrow(pen, at, down.map(v => v / long * unit * Math.min(1, 0.35 + long / (4 * unit))), css(theme.gradient), unit);
    if (r.path.length > 1) {
      const before = r.path.at(-2), made = scaled(here[0] - before[0], here[1] - before[1]), size = Math.hypot(...made) || 1;
      arrow(pen, inside(before), made.map(v => v / size * Math.max(size, 22)), css(theme.value), unit * 2);
    }
  }
  const [x, y] = inside(start);
  pen.strokeStyle = css(theme.text); pen.lineWidth = 2;
  pen.beginPath(); pen.arc(x, y, 5, 0, 7); pen.stroke();
  byId("map").setAttribute("aria-label", `Map of ${surface.name}. Step ${steps}. ${runners.filter(q => q.on).map(q => `${q.name} at ${q.path.at(-1).map(v => n(v, 3)).join(", ")}, height ${n(q.told.height, 3)}`).join("; ")}. Arrow keys move the start.`);
}

function drawCurve() {
  const {pen, width, height} = sharp(byId("curve")), left = 46, bottom = height - 18, on = runners.filter(r => r.on);
  const all = on.flatMap(r => r.heights).filter(Number.isFinite), least = Math.min(...all, ...surface.minima.map(m => surface.look(...m).height)), most = Math.max(...all);
  const log = surface.log, S = v => log ? Math.log(Math.max(v - least, 1e-10)) : v, above = all.filter(v => v - least > 1e-9).reduce((a, v) => Math.min(a, v - least), most - least || 1), low = log ? Math.log(above / 2) : least, high = S(most);
  const last = Math.max(steps, 1), X = k => left + (width - left - 8) * k / last, Y = v => bottom - (bottom - 8) * (Math.max(S(v), low) - low) / (high - low || 1);
  pen.font = "11px Helvetica, Arial, sans-serif";
  pen.fillStyle = css(theme.muted);
  pen.textAlign = "right";
  pen.fillText(n(most, 2), left - 5, 14);
  pen.fillText(log ? n(Math.exp(low), 1) : n(least, 2), left - 5, bottom);
  pen.fillText(`step ${steps}${log ? ", above the lowest, logarithmic" : ""}`, width - 8, height - 4);
  pen.fillStyle = css(theme.grid);
  pen.fillRect(left, bottom, width - left - 8, 1);
  for (const r of on) {
    const [color] = lookOf(r.name), every = Math.max(1, Math.floor(r.heights.length / 400));
    pen.strokeStyle = color;
    pen.lineWidth = r.name === chosen ? 2.6 : 1.6;
    pen.beginPath();
    r.heights.forEach((v, k) => (k % every === 0 || k === r.heights.length - 1) && Number.isFinite(v) && pen[k ? "lineTo" : "moveTo"](X(k), Y(v)));
    pen.stroke();
  }
}

// ---- rules ----

function drawTable() {
  for (const r of runners) {
    r.row.className = r.name === chosen ? "chosen" : "";
    r.cell.textContent = r.on ? r.gone ? "diverged" : n(r.told.height, 3) : "";
    r.cell.classList.toggle("broken", r.gone);
  }
}

function drawLines() {
  const r = current(), axis = Number(byId("axis").value) || 0;
  byId("lines").replaceChildren(...r.updates.explain(axis).flatMap(([name, formula, numbers, value]) => [
    make("div", {className: "formula", textContent: `${name} ← ${formula}`}),
    ...r.updates.before ? [make("div", {className: "with number"}, `${numbers} = `, make("b", {textContent: n(value, 6)}))] : []]));
}

function showOptions() {
  const r = current(), fields = {lr: [r.rates.lr, -5, 2], ...r.rule.options};
  byId("h-one").textContent = chosen;
  byId("options").replaceChildren(...Object.entries(fields).map(([name, [usual, ...range]]) =>
    optionField(name, r.rates[name] ?? usual, range, pack.letters, v => {
      r.rates[name] = v;
      if (name === "lr") r.rate.value = v;
      again();
    })));
}

// new numbers: the race is run again up to where it was
function again() {
  const count = steps;
  for (const r of runners) r.begin();
  for (let k = 0; k < count; k++) for (const r of runners) r.step();
  show();
}

function choose(name) {
  chosen = name;
  showOptions();
  show();
}

function show() { draw(); drawCurve(); drawTable(); drawLines(); byId("steps").textContent = steps; }

function buildRules() {
  const before = new Map(runners.map(r => [r.name, r.on]));
  const usual = ["SGD", "Momentum", "RMSprop", "Adam"], names = Object.keys(pack.rules), few = usual.filter(u => names.includes(u));
  runners = names.map(name => new Runner(name, before.get(name) ?? (few.length ? few.includes(name) : true), surface.rates[name.toLowerCase()] ?? pack.rules[name].lr));
  byId("rules").replaceChildren(...runners.map(r => {
    const box = make("input", {type: "checkbox", checked: r.on, ariaLabel: `${r.name} takes part`}), dot = make("canvas", {width: 32, height: 32, ariaHidden: "true"});
    box.onchange = () => { r.on = box.checked; again(); };
    r.box = box;
    r.dot = dot;
    r.cell = make("td", {className: "number"});
    r.rate = make("input", {type: "number", step: "any", min: 0, value: r.rates.lr, ariaLabel: `Learning rate of ${r.name}`});
    r.rate.onchange = () => { if (r.rate.valueAsNumber > 0) { r.rates.lr = r.rate.valueAsNumber; if (r.name === chosen) showOptions(); again(); } };
    r.row = make("tr", {}, make("td", {}, box), make("td", {}, make("button", {type: "button", onclick: () => choose(r.name)}, dot, r.name)), r.cell, make("td", {}, r.rate));
    return r.row;
  }));
  drawDots();
}

function drawDots() {
  for (const r of runners) {
    const pen = r.dot.getContext("2d"), [color, shape] = lookOf(r.name);
    pen.clearRect(0, 0, 32, 32);
    marker(pen, shape, 16, 16, 11);
    pen.fillStyle = color;
    pen.fill();
  }
}

// ---- running ----

function forward() { steps++; for (const r of runners) r.step(); }

function frame() {
  if (!playing) return;
  if (frames++ % 2 === 0) { forward(); draw(); drawTable(); byId("steps").textContent = steps; }
  else if (frames % 6 === 0) { drawCurve(); drawLines(); }
  if (steps >= 3000) pause(); else requestAnimationFrame(frame);
}

function play() { playing = true; byId("play").textContent = "Pause"; requestAnimationFrame(frame); }
function pause() {
  playing = false;
  byId("play").textContent = "Start";
  show();
  const best = runners.filter(r => r.on && !r.gone).sort((a, b) => a.told.height - b.told.height)[0];
  byId("state").textContent = best ? `Step ${steps}: ${best.name} is lowest, at ${n(best.told.height, 3)}` : "";
}

function startAt(x, y) {
  start = [Math.min(Math.max(x, surface.x[0]), surface.x[1]), Math.min(Math.max(y, surface.y[0]), surface.y[1])];
  byId("sx").value = +start[0].toPrecision(4);
  byId("sy").value = +start[1].toPrecision(4);
  steps = 0;
  for (const r of runners) r.begin();
  show();
}

function useSurface(told) {
  if (playing) pause();
  surface = new Ground(told);
  byId("formula").value = told.typed ?? "";
  byId("formula").placeholder = told.formula;
  byId("axis").replaceChildren(...surface.axes.map((a, i) => make("option", {value: i, textContent: a})));
  start = [...told.start];
  steps = 0;
  buildRules();
  if (!current() || !current().on) chosen = (runners.find(r => r.on && r.name === "Adam") ?? runners.find(r => r.on) ?? runners[0]).name;
  drawGround();
  showOptions();
  startAt(...told.start);
}

function connect() {
  byId("play").onclick = () => playing ? pause() : play();
  byId("step").onclick = () => { if (playing) pause(); forward(); show(); };
  byId("reset").onclick = () => { if (playing) pause(); startAt(...start); };
  byId("surface").onchange = () => useSurface(pack.surfaces[byId("surface").value] ?? byId("surface").selectedOptions[0].told);
  for (const id of ["sx", "sy"]) byId(id).onchange = () => startAt(byId("sx").valueAsNumber || 0, byId("sy").valueAsNumber || 0);
  byId("axis").onchange = drawLines;
  byId("all").onclick = () => { for (const r of runners) r.on = r.box.checked = true; again(); };
  byId("only").onclick = () => { for (const r of runners) r.on = r.box.checked = r.name === chosen; again(); };
  byId("own").onsubmit = e => {
    e.preventDefault();
    const text = byId("formula").value;
    try {
      const formulaOf = new Formula(text, pack.operations), view = surface.program || surface.typed === undefined ? [-3, 3] : surface.x;
      useSurface({name: "your formula", formula: text, typed: text, formulaOf, x: view, y: view, start: [view[0] * 0.8, view[1] * 0.7], minima: [], log: false, rates: surface.rates, axes: ["x", "y"]});
      byId("complaint").textContent = "";
      let own = byId("surface").querySelector("[value=own]");
      if (!own) byId("surface").append(own = make("option", {value: "own", textContent: "your formula"}));
      own.told = surface;
      byId("surface").value = "own";
    } catch (error) { byId("complaint").textContent = error.message; }
  };
  const map = byId("map");
  map.onclick = e => {
    const box = map.getBoundingClientRect(), x = (e.clientX - box.left) / box.width, y = (e.clientY - box.top) / box.height;
    startAt(surface.x[0] + x * (surface.x[1] - surface.x[0]), surface.y[1] - y * (surface.y[1] - surface.y[0]));
  };
  document.addEventListener("keydown", e => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, select")) return;
    const by = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[e.key];
    if (e.target === map && by) {
      e.preventDefault();
      const [x, y] = ["x", "y"].map((axis, i) => start[i] + by[i] * (surface[axis][1] - surface[axis][0]) / 40);
      return startAt(x, y);
    }
    const act = {" ": () => byId("play").click(), ArrowRight: () => byId("step").click(), r: () => byId("reset").click()}[e.key];
    if (!act || e.key === " " && e.target.closest("button, summary")) return;
    e.preventDefault();
    act();
  });
  const redraw = () => { readTheme(); drawGround(); drawDots(); show(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("resize", () => { draw(); drawCurve(); });
}

async function begin() {
  pack = await unpacked("modules");
  readTheme();
  byId("surface").replaceChildren(...pack.surfaces.map((s, k) => make("option", {value: k, textContent: s.name})));
  connect();
  useSurface(pack.surfaces[0]);
  window.race = {runnersOf: () => runners, forward, startAt, ground: () => surface, useSurface, pack};
  document.documentElement.dataset.ready = "yes";
}
begin();
