// uses common.js updates.js lab.js

const SHAPES = ["circle", "triangle", "square", "diamond", "cross", "star", "circle", "triangle"];
const BATCHES = [1, 2, 4, 8, 16, 32, 64, 128];
const RATES = {SGD: 0.3, Momentum: 0.03, Nesterov: 0.03, AdaGrad: 0.1, AdaDelta: 1, Lion: 0.003, Adam: 0.03, AdamW: 0.03};

let lab, playing = false, picked = {layer: 0, from: 0, to: 0, bias: false}, stage = null, frames = 0, curve = [];
let wires = [], columns = [];

function mark(pen, shape, x, y, r) {
  pen.beginPath();
  if (shape === "circle") pen.arc(x, y, r, 0, 7);
  else if (shape === "square") pen.rect(x - r * .9, y - r * .9, r * 1.8, r * 1.8);
  else if (shape === "cross") { pen.rect(x - r, y - r * .35, r * 2, r * .7); pen.rect(x - r * .35, y - r, r * .7, r * 2); }
  else {
    const corners = {triangle: [-90, 30, 150], diamond: [-90, 0, 90, 180], star: [-90, -18, 54, 126, 198]}[shape];
    corners.forEach((d, i) => pen[i ? "lineTo" : "moveTo"](x + 1.25 * r * Math.cos(d * Math.PI / 180), y + 1.25 * r * Math.sin(d * Math.PI / 180)));
    pen.closePath();
  }
}

function drawPoints(pen, width, height, radius) {
  const {x, y} = lab.all, scale = v => (v / lab.limit + 1) / 2;
  for (let i = 0; i < y.length; i++) {
    const held = i >= lab.n, color = theme.classes[y[i]];
    mark(pen, SHAPES[y[i]], scale(x[2 * i]) * width, (1 - scale(x[2 * i + 1])) * height, radius);
    pen.fillStyle = held ? css(theme.page) : css(color);
    pen.strokeStyle = held ? css(color) : css(theme.page);
    pen.lineWidth = held ? 1.6 : 1;
    pen.fill();
    pen.stroke();
  }
}

// ---- maps ----

function paintMap(canvas, values, offset, stride, most) {
  const size = lab.grid, pen = canvas.getContext("2d"), image = pen.createImageData(size, size), {data} = image;
  const {positive, negative, neutral} = theme;
  for (let i = 0; i < size * size; i++) {
    const v = Math.max(-1, Math.min(1, values[offset + i * stride] / most)), to = v > 0 ? positive : negative, t = Math.abs(v);
    data[4 * i] = neutral[0] + (to[0] - neutral[0]) * t;
    data[4 * i + 1] = neutral[1] + (to[1] - neutral[1]) * t;
    data[4 * i + 2] = neutral[2] + (to[2] - neutral[2]) * t;
    data[4 * i + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
}

function paintSurface(p) {
  const size = lab.grid, C = lab.classes, canvas = byId("surface"), pen = canvas.getContext("2d");
  const image = pen.createImageData(size, size), {data} = image, {page, classes} = theme;
  for (let i = 0; i < size * size; i++) {
    let r = 0, g = 0, b = 0, top = 0;
    for (let c = 0; c < C; c++) {
      const share = p[i * C + c], color = classes[c];
      r += share * color[0]; g += share * color[1]; b += share * color[2];
      top = Math.max(top, share);
    }
    const t = 0.18 + 0.42 * (top * C - 1) / (C - 1);
    data[4 * i] = page[0] + (r - page[0]) * t;
    data[4 * i + 1] = page[1] + (g - page[1]) * t;
    data[4 * i + 2] = page[2] + (b - page[2]) * t;
    data[4 * i + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
}

// ---- the network ----

function buildNetwork() {
  const box = byId("columns"), layers = lab.layers, given = Boolean(lab.given);
  box.replaceChildren();
  columns = [];
  byId("graph").hidden = byId("slowly").disabled = !layers.length;
  byId("undrawn").hidden = layers.length > 0;
  if (!layers.length) { wires = []; return; }
  const widest = Math.max(...layers.map(l => l.out), layers[0].in);
  byId("graph").style.setProperty("--size", `${innerWidth < 720 ? (widest > 8 ? 24 : 32) : widest > 12 ? 30 : widest > 8 ? 36 : 44}px`);
  const column = (kind, count, label) => {
    const neurons = Array.from({length: count}, (_, j) => make("button", {className: "neuron", type: "button"},
      make("canvas", {width: lab.grid, height: lab.grid})));
    const element = make("div", {className: `column ${kind}`, role: "group"}, ...neurons);
    element.setAttribute("aria-label", label);
    box.append(element);
    columns.push({element, neurons});
    return neurons;
  };
  column("inputs", layers[0].in, "Inputs").forEach((b, i) => {
    const name = FEATURES[lab.features[i]][0];
    b.append(make("span", {className: "name", textContent: name}));
    b.setAttribute("aria-label", `Input ${name}`);
    b.onclick = () => pick({layer: 0, from: i, to: picked.layer === 0 ? picked.to : 0, bias: false});
  });
  layers.forEach((layer, l) => {
    const last = l === layers.length - 1, what = last ? "Outputs" : `Hidden layer ${l + 1}`;
    column(last ? "outputs" : "hidden", layer.out, what).forEach((b, j) => {
      const name = last ? className(j) : "";
      if (last) b.append(make("span", {className: "name", textContent: name, title: name}));
      b.setAttribute("aria-label", last ? `Output for ${name}` : `${what}, neuron ${j + 1}`);
      b.onfocus = () => { b.title = aboutWire({layer: l, from: 0, to: j, bias: true}); };
      b.onclick = () => pick({layer: l, from: picked.layer === l ? picked.from : 0, to: j, bias: true});
    });
    if (!last && !given) {
      const widths = lab.settings.widths, width = h => change({widths: widths.map((w, k) => k === l ? h : w)});
      const tools = make("div", {className: "tools"},
        make("button", {textContent: "−", onclick: () => width(Math.max(layer.out - 1, 1)), disabled: layer.out < 2, ariaLabel: `One neuron less in layer ${l + 1}`}),
        String(layer.out),
        make("button", {textContent: "+", onclick: () => width(Math.min(layer.out + 1, 16)), disabled: layer.out > 15, ariaLabel: `One neuron more in layer ${l + 1}`}));
      columns.at(-1).element.prepend(tools);
    }
  });
  const names = [...columns.at(-1).element.querySelectorAll(".name")];
  columns.at(-1).element.style.paddingRight = `${Math.max(...names.map(x => x.offsetWidth)) + 24}px`;
  byId("depth").textContent = layers.length - 1;
  placeWires();
}

const className = c => lab.names[c] ? String(lab.names[c]) : `class ${c}`;

function placeWires() {
  const graph = byId("graph").getBoundingClientRect(), canvas = byId("wires");
  canvas.style.width = `${graph.width}px`;
  canvas.style.height = `${graph.height}px`;
  const place = (b, side) => {
    const r = b.getBoundingClientRect();
    return [(side ? r.right : r.left) - graph.left, r.top + r.height / 2 - graph.top];
  };
  wires = lab.layers.map((layer, l) => {
    const from = columns[l].neurons.map(b => place(b, true)), to = columns[l + 1].neurons.map(b => place(b, false));
    return {from, to};
  });
}

function parameterOf(l, bias) { return lab.parameters.filter(p => (p.shape.length < 2) === bias)[l]; }

function drawWires() {
  if (!wires.length) return;
  const {pen} = sharp(byId("wires")), what = byId("links").value;
  wires.forEach(({from, to}, l) => {
    const p = parameterOf(l, false), M = lab.net.memory, {out} = lab.layers[l];
    const value = what === "gradient" ? k => M[p.grad.at + k]
      : what === "change" && lab.updates.before ? k => M[p.at + k] - lab.updates.before.p[p.start + k] : k => M[p.at + k];
    let most = 1e-12;
    for (let k = 0; k < p.size; k++) most = Math.max(most, Math.abs(value(k)));
    if (what === "weight") most = Math.max(most, 1);
    for (let i = 0; i < from.length; i++) for (let j = 0; j < out; j++) {
      const v = value(i * out + j) / most, size = Math.abs(v), chosen = picked.layer === l && !picked.bias && picked.from === i && picked.to === j;
      if (size < 0.02 && !chosen) continue;
      const [x, y] = from[i], [u, w] = to[j], m = (x + u) / 2;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.bezierCurveTo(m, y, m, w, u, w);
      pen.lineWidth = chosen ? Math.max(3, 5 * size) : 0.4 + 4 * size;
      pen.strokeStyle = chosen ? css(theme.text) : css(v > 0 ? theme.positive : theme.negative, 0.25 + 0.6 * size);
      pen.stroke();
    }
  });
}

function wireAt(x, y) {
  let best = null, least = 6;
  wires.forEach(({from, to}, l) => from.forEach(([a, b], i) => to.forEach(([c, d], j) => {
    if (x < a || x > c) return;
    let low = 0, high = 1;                 // where the curve passes x
    for (let k = 0; k < 20; k++) {
      const t = (low + high) / 2, s = 1 - t, m = (a + c) / 2;
      if (s ** 3 * a + 3 * s * s * t * m + 3 * s * t * t * m + t ** 3 * c < x) low = t; else high = t;
    }
    const t = low, s = 1 - t, at = (s ** 3 + 3 * s * s * t) * b + (t ** 3 + 3 * s * t * t) * d;
    if (Math.abs(at - y) < least) { least = Math.abs(at - y); best = {layer: l, from: i, to: j, bias: false}; }
  })));
  return best;
}

function aboutWire({layer, from, to, bias}) {
  const p = parameterOf(layer, bias), k = bias ? to : from * lab.layers[layer].out + to, M = lab.net.memory;
  return `${p.name}[${bias ? to : `${from}, ${to}`}]\nvalue ${n(M[p.at + k])}\ngradient ${lab.lastStep ? n(M[p.grad.at + k]) : "none yet"}`;
}

// ---- one number ----

function pick(which) {
  picked = which;
  const p = parameterOf(which.layer, which.bias);
  byId("parameter").value = p.name;
  fillEntries();
  byId("entry").value = String(which.bias ? which.to : which.from * lab.layers[which.layer].out + which.to);
  columns.forEach(({neurons}, c) => neurons.forEach((b, j) => b.classList.toggle("picked",
    c === which.layer + 1 && j === which.to || !which.bias && c === which.layer && j === which.from)));
  drawWires();
  drawLines();
  if (stage) showStage();
}

function fillEntries() {
  const p = lab.parameters.find(q => q.name === byId("parameter").value), select = byId("entry");
  if (select.dataset.of === `${p.name} ${p.shape}`) return;
  select.dataset.of = `${p.name} ${p.shape}`;
  select.replaceChildren(...Array.from({length: p.size}, (_, k) => make("option", {value: k, textContent:
    p.shape.length > 1 ? `[${Math.floor(k / p.shape[1])}, ${k % p.shape[1]}]` : `[${k}]`})));
}

function fillParameters() {
  byId("parameter").replaceChildren(...lab.parameters.map(p => make("option", {value: p.name, textContent: p.name})));
  byId("entry").dataset.of = "";
  fillEntries();
}

function drawLines() {
  const box = byId("lines"), p = lab.parameters.find(q => q.name === byId("parameter").value);
  const lines = lab.updates.explain(p.start + Number(byId("entry").value));
  box.replaceChildren(...lines.flatMap(([name, formula, numbers, result]) => [
    make("div", {className: "formula", textContent: `${name} ← ${formula}`}),
    lab.updates.before ? make("div", {className: "with number"}, `${numbers} = `, make("b", {textContent: n(result, 6)}))
      : make("div", {className: "quiet", textContent: "take a step to see the numbers"})]));
}

// ---- charts ----

function drawChart() {
  const {pen, width, height} = sharp(byId("chart")), left = 34, bottom = height - 16, top = 6, right = width - 4;
  const last = curve.length ? curve.at(-1).step : 1, values = curve.flatMap(c => [c.train, c.test]).filter(Number.isFinite);
  const most = Math.max(...values, 0.1), least = Math.min(...values, most / 2);
  const log = most / least > 20, scale = v => log ? Math.log(Math.max(v, least)) : v, low = log ? Math.log(least) : 0, high = scale(most);
  const X = s => left + (right - left) * s / Math.max(last, 1), Y = v => bottom - (bottom - top) * (scale(v) - low) / (high - low || 1);
  pen.font = "11px Helvetica, Arial, sans-serif";
  pen.fillStyle = css(theme.muted);
  pen.strokeStyle = css(theme.grid);
  pen.textAlign = "right";
  for (const t of [0, 0.5, 1]) {
    const v = log ? Math.exp(low + (high - low) * t) : high * t, y = Y(log ? v : Math.max(v, 1e-9));
    pen.beginPath(); pen.moveTo(left, y); pen.lineTo(right, y); pen.stroke();
    pen.fillText(v === 0 ? "0" : v < 0.01 ? v.toExponential(0) : String(+v.toPrecision(2)), left - 5, y + 4);
  }
  pen.fillText(`step ${last}`, right, height - 3);
  for (const [key, color, dashes] of [["train", theme.value, []], ["test", theme.gradient, [2, 3]]]) {
    pen.beginPath();
    curve.forEach((c, i) => Number.isFinite(c[key]) && pen[i ? "lineTo" : "moveTo"](X(c.step), Y(c[key])));
    pen.setLineDash(dashes);
    pen.strokeStyle = css(color);
    pen.lineWidth = 2;
    pen.stroke();
  }
  pen.setLineDash([]);
}

function drawBars() {
  const {pen, width, height} = sharp(byId("bars")), weights = lab.parameters.filter(p => p.shape.length > 1);
  const rows = weights.length, room = (height - 18) / rows, left = 56, bins = 36, low = -9, high = 1;
  pen.font = "11px Helvetica, Arial, sans-serif";
  const told = [];
  weights.forEach((p, r) => {
    const counts = new Float64Array(bins), M = lab.net.memory, bottom = (r + 1) * room - 3;
    let zeros = 0, sum = 0;
    for (let k = 0; k < p.size; k++) {
      const g = Math.abs(M[p.grad.at + k]);
      sum += g;
      if (!g) zeros++;
      else counts[Math.max(0, Math.min(bins - 1, Math.floor((Math.log10(g) - low) / (high - low) * bins)))]++;
    }
    const most = Math.max(...counts, 1), step = (width - left) / bins;
    pen.fillStyle = css(theme.gradient);
    counts.forEach((c, b) => c && pen.fillRect(left + b * step + 0.5, bottom - (room - 8) * c / most, step - 1, (room - 8) * c / most));
    pen.fillStyle = css(theme.muted);
    pen.fillText(rows > 1 && r === rows - 1 ? "output" : `layer ${r + 1}`, 0, bottom - (room - 8) / 2 + 4);
    if (zeros && lab.lastStep) pen.fillText(`${zeros} × 0`, 0, Math.min(bottom - (room - 8) / 2 + 17, bottom));
    pen.fillStyle = css(theme.grid);
    pen.fillRect(left, bottom, width - left, 1);
    told.push(`layer ${r + 1}: mean size ${n(sum / p.size, 2)}${zeros ? `, ${zeros} of ${p.size} zero` : ""}`);
  });
  pen.fillStyle = css(theme.muted);
  [-8, -6, -4, -2, 0].forEach(e => {
    pen.textAlign = "center";
    pen.fillText(e ? `10${superscript(String(e))}` : "1", left + (e - low) / (high - low) * (width - left), height - 3);
  });
  pen.textAlign = "left";
  if (!playing) byId("bars").setAttribute("aria-label", `Sizes of gradients. ${told.join("; ")}`);
}

// ---- a frame ----

function draw() {
  drawMaps(true);
  drawWires();
  drawLines();
  drawBars();
}

function drawMaps(all) {
  const maps = lab.look(), C = lab.classes;
  paintSurface(maps.at(-1));
  if (!all || !columns.length) return;
  columns[0].neurons.forEach((b, i) => paintMap(b.firstChild, lab.grid_x, i, lab.features.length, Math.max(lab.limit * 0.7, 1)));
  lab.layers.forEach((layer, l) => {
    const last = l === lab.layers.length - 1, most = last || layer.activation === "tanh" || layer.activation === "sigmoid" ? 1 : 2;
    columns[l + 1].neurons.forEach((b, j) => paintMap(b.firstChild, maps[l], j, last ? C : layer.out, most));
  });
}

function tell() {
  const {train, test} = lab.measure();
  curve.push({step: lab.steps, train: train.loss, test: test.loss});
  if (curve.length > 800) curve = curve.filter((_, i) => i % 2 === 0 || i === curve.length - 1);
  byId("steps").textContent = lab.steps;
  byId("epoch").textContent = lab.epoch;
  byId("train-loss").textContent = n(train.loss, 3);
  byId("test-loss").textContent = n(test.loss, 3);
  byId("accuracy").textContent = `${(100 * test.accuracy).toFixed(1)} %`;
  byId("lr-told").textContent = lab.settings.schedule === "constant" ? n(lab.settings.lr, 3) : `${n(lab.settings.lr, 3)}, now ${n(lab.rate(), 3)}`;
  const broken = !Number.isFinite(train.loss);
  byId("train-loss").classList.toggle("broken", broken);
  if (broken && playing) { pause(); byId("state").textContent = "The loss is no longer finite: the learning rate is too large. Reset and try a smaller one."; }
  byId("surface").setAttribute("aria-label", `Decision surface after ${lab.steps} steps: ${(100 * train.accuracy).toFixed(0)} % of the training points and ${(100 * test.accuracy).toFixed(0)} % of the test points are right`);
  drawChart();
}

// Each frame trains for a few milliseconds, fewer where frames come late, and draws a part of the page
// in turn. `timing` tells what that costs.
let budget = 4, last = 0;
const PARTS = [() => drawMaps(false), drawWires, () => drawMaps(true), () => { drawLines(); drawBars(); }, tell];
const timing = {frames: 0, steps: 0, train: 0, draw: 0, began: 0};
function frame(now) {
  if (!playing) return;
  budget = Math.min(6, Math.max(0.5, budget * (now - last > 19 ? 0.7 : 1.04)));
  last = now;
  const began = performance.now();
  let count = 0;
  do { lab.step(); count++; } while (performance.now() - began < budget && count < 64);
  const trained = performance.now();
  PARTS[frames++ % PARTS.length]();
  timing.frames++;
  timing.steps += count;
  timing.train += trained - began;
  timing.draw += performance.now() - trained;
  requestAnimationFrame(frame);
}

function play() {
  if (stage) leave();
  playing = true;
  byId("play").textContent = "Pause";
  byId("state").textContent = "Training";
  Object.assign(timing, {frames: 0, steps: 0, train: 0, draw: 0, began: performance.now()});
  requestAnimationFrame(frame);
}

function pause() {
  playing = false;
  byId("play").textContent = "Play";
  draw();
  tell();
  byId("state").textContent = `Paused at step ${lab.steps}, training loss ${byId("train-loss").textContent}, test accuracy ${byId("accuracy").textContent}`;
}

function oneStep() {
  if (playing) pause();
  if (stage) leave();
  lab.step();
  draw();
  tell();
}

function reset() {
  if (playing) pause();
  if (stage) leave();
  lab.settings.seed = Math.max(0, Math.floor(Number(byId("seed").value) || 0));
  byId("seed").value = String(lab.settings.seed);
  writePython();
  lab.reset();
  curve = [];
  draw();
  tell();
}

function change(settings) {
  if (stage) leave();
  const control = document.activeElement, held = control?.ariaLabel;
  const before = lab.net;
  lab.change(settings);
  if (lab.net !== before) { afresh(); if (!("batch" in settings)) curve = []; }
  showSettings();
  draw();
  tell();
  if (!held || control.isConnected && !control.disabled) return;
  const same = [...document.querySelectorAll(".tools button, #shape button")], at = same.find(b => b.ariaLabel === held);
  (at?.disabled ? same.find(b => b.parentElement === at.parentElement && !b.disabled) : at ?? byId("fewer"))?.focus();
}

function afresh() {
  const {layers} = lab;
  const l = Math.min(picked.layer, Math.max(layers.length - 1, 0));
  buildNetwork();
  fillParameters();
  drawDots();
  if (layers.length) pick({...picked, layer: l, from: Math.min(picked.from, layers[l].in - 1), to: Math.min(picked.to, layers[l].out - 1)});
}

function drawDots() {
  const {pen, width, height} = sharp(byId("dots"));
  drawPoints(pen, width, height, Math.max(2.6, width / 95));
  byId("legend").replaceChildren(...Array.from({length: lab.classes}, (_, c) => {
    const canvas = make("canvas", {width: 28, height: 28, ariaHidden: "true"});
    canvas.style.cssText = "width:14px;height:14px;display:inline-block;vertical-align:-2px;margin-right:4px";
    const own = canvas.getContext("2d");
    own.scale(2, 2);
    mark(own, SHAPES[c], 7, 7, 5);
    own.fillStyle = css(theme.classes[c]);
    own.fill();
    return make("span", {}, canvas, className(c));
  }), make("span", {textContent: "filled: to train, hollow: to test"}));
}

// ---- inside a step ----

function enter() {
  if (playing) pause();
  if (stage) return leave();
  if (!lab.layers.length) return;
  lab.forwardBackward();
  stage = {at: 0, list: stagesOf(), updated: false};
  byId("inside").hidden = false;
  byId("slowly").setAttribute("aria-pressed", "true");
  byId("sample").max = lab.batch;
  showStage();
  byId("later").focus();
}

function leave() {
  if (stage && !stage.updated) { lab.update(); lab.losses.push(lab.lastStep.loss); }
  stage = null;
  byId("inside").hidden = true;
  byId("slowly").setAttribute("aria-pressed", "false");
  for (const {neurons} of columns) for (const b of neurons) b.querySelector(".value")?.remove();
  draw();
  tell();
}

function stagesOf() {
  const L = lab.layers.length, list = [{kind: "input"}];
  for (let l = 0; l < L; l++) list.push({kind: "sum", l}, ...(l < L - 1 ? [{kind: "activation", l}] : []));
  list.push({kind: "loss"});
  for (let l = L - 1; l >= 0; l--) {
    list.push(l === L - 1 ? {kind: "seed", l} : {kind: "through", l}, {kind: "weights", l});
    if (l) list.push({kind: "pass", l});
  }
  list.push({kind: "update"});
  return list;
}

// values[2 l] is what layer l sums up, values[2 l + 1] what its activation makes of it
const rowOf = (array, s, width) => Array.from(array.subarray(s * width, (s + 1) * width));
const terms = (list, total, glue = " + ") => {
  const most = 4, shown = list.slice(0, most).join(glue) + (list.length > most ? `${glue}… (${list.length} terms)` : "");
  return `${shown} = ${total}`;
};
const signed = x => x < 0 ? `(${n(x, 3)})` : n(x, 3);

function showStage() {
  const s = Math.min(Math.max(Number(byId("sample").value) || 1, 1), lab.batch) - 1, now = stage.list[stage.at];
  const {data, values, gradients, loss} = lab.lastStep, [x, y] = data, L = lab.layers.length, B = lab.batch, {l} = now;
  const layer = lab.layers[l ?? 0], j = l === undefined ? 0 : Math.min(picked.to, layer.out - 1), i = l === undefined ? 0 : Math.min(picked.from, layer.in - 1);
  const input = k => k === 0 ? rowOf(x, s, lab.layers[0].in) : rowOf(values[2 * k - 1], s, lab.layers[k].in);
  const weight = l === undefined ? null : parameterOf(l, false), M = lab.net.memory;
  const W = (a, b) => weight && stage.weights(weight, a * layer.out + b);
  stage.weights ??= (() => { const kept = lab.values(); return (p, k) => kept[p.start + k]; })();
  const table = [], out = [];
  let title = "", back = false;
  const z = l !== undefined ? rowOf(values[2 * l], s, layer.out) : [], dz = l !== undefined ? rowOf(gradients[2 * l], s, layer.out) : [];
  const subs = "₀₁₂₃₄₅₆₇₈₉", sub = k => String(k + 1).replace(/\d/g, d => subs[d]);
  if (now.kind === "input") {
    title = `Sample ${s + 1} of the batch of ${B} goes in`;
    out.push(`It is ${className(y[s])}. The ${B} samples are computed at once, as rows of X; here is one row.`);
    table.push(["x", input(0)]);
  } else if (now.kind === "sum") {
    const a = input(l), b = parameterOf(l, true);
    title = `Layer ${l + 1}: weighted sums, z = x W + b`;
    if (j < layer.out) out.push({sum: `z${sub(j)} = b${sub(j)} + Σ xᵢ wᵢ${sub(j)} = ${terms([signed(b ? stage.weights(b, j) : 0), ...a.map((v, k) => `${signed(v)} · ${signed(W(k, j))}`)], n(z[j]))}`});
    table.push(["x", a], ["z", z, j]);
  } else if (now.kind === "activation") {
    const a = rowOf(values[2 * l + 1], s, layer.out), name = layer.activation;
    title = `Layer ${l + 1}: activation, a = ${name} z`;
    out.push({sum: `a${sub(j)} = ${window.LIVE.texts?.[name]?.[0] ?? name}  with z = ${n(z[j])}: ${n(a[j])}`});
    table.push(["z", z, j], ["a", a, j]);
  } else if (now.kind === "loss") {
    const logits = rowOf(values.at(-1), s, lab.classes), top = Math.max(...logits), e = logits.map(v => Math.exp(v - top)), total = e.reduce((p, q) => p + q);
    title = "The loss: cross entropy";
    out.push({sum: `p = softmax z. The sample is ${className(y[s])}: its share of the loss is −log p = ${n(-Math.log(e[y[s]] / total))}`},
      {sum: `L, the mean over the ${B} samples = ${n(loss, 6)}`});
    table.push(["z", logits], ["p", e.map(v => v / total), y[s]]);
  } else if (now.kind === "seed") {
    back = true;
    title = "Back from the loss: ∂L/∂z = (p − y) / N";
    out.push(`Where p is too large the gradient is positive: z must fall. y is 1 for ${className(y[s])}, N = ${B}.`);
    table.push(["∂L/∂z", dz, j]);
  } else if (now.kind === "weights") {
    back = true;
    const a = input(l), g = weight.grad.at + i * layer.out + j, bias = parameterOf(l, true);
    const products = Array.from({length: B}, (_, r) => {
      const v = l === 0 ? x[r * layer.in + i] : values[2 * l - 1][r * layer.in + i];
      return `${signed(v)} · ${signed(gradients[2 * l][r * layer.out + j])}`;
    });
    title = `Layer ${l + 1}: gradients of its weights, ∂L/∂W = Xᵀ ∂L/∂Z`;
    out.push({sum: `∂L/∂w${sub(i)}${sub(j)} = Σ over the samples x${sub(i)} · ∂L/∂z${sub(j)} = ${terms(products, n(M[g], 6))}`});
    if (bias) out.push({sum: `∂L/∂b${sub(j)} = Σ ∂L/∂z${sub(j)} = ${n(M[bias.grad.at + j], 6)}`});
    out.push("Click a link or a neuron to see another one.");
    table.push(["x", a, i], ["∂L/∂z", dz, j]);
  } else if (now.kind === "pass") {
    back = true;
    const da = rowOf(gradients[2 * l - 1], s, layer.in);
    title = `Through layer ${l + 1}: ∂L/∂x = ∂L/∂z Wᵀ`;
    out.push({sum: `∂L/∂x${sub(i)} = Σⱼ ∂L/∂zⱼ w${sub(i)}ⱼ = ${terms(dz.map((v, k) => `${signed(v)} · ${signed(W(i, k))}`), n(da[i]))}`});
    table.push(["∂L/∂z", dz], ["∂L/∂x", da, i]);
  } else if (now.kind === "through") {
    back = true;
    const da = rowOf(gradients[2 * l + 1], s, layer.out), name = layer.activation;
    title = `Through the activation of layer ${l + 1}: ∂L/∂z = ∂L/∂a · ${name}′ z`;
    out.push({sum: `∂L/∂z${sub(j)} = ${window.LIVE.texts?.[name]?.[1] ?? `g · ${name}′ z`}  with g = ${n(da[j])}, z = ${n(z[j])}, a = ${n(values[2 * l + 1][s * layer.out + j])}: ${n(dz[j])}`});
    table.push(["∂L/∂a", da, j], ["∂L/∂z", dz, j]);
  } else {
    back = true;
    title = `${lab.settings.rule} changes every weight by its gradient`;
    if (!stage.updated) { stage.updated = true; lab.update(); lab.losses.push(loss); draw(); tell(); }
    out.push(`The formula with the numbers of one weight stands below, under "What the rule does to one number". The next step begins with another batch.`);
  }
  const box = byId("stage");
  box.className = back ? "back" : "";
  box.replaceChildren(make("h3", {textContent: title}),
    ...out.map(line => make("p", line.sum ? {className: "sum number", textContent: line.sum} : {textContent: line})),
    ...table.length ? [make("table", {}, ...table.map(([name, row, chosen]) => make("tr", {}, make("th", {textContent: name, scope: "row"}),
      ...row.map((v, k) => make("td", {className: k === chosen ? "number picked" : "number", textContent: n(v, 3)})))))] : []);
  byId("stage-count").textContent = `${stage.at + 1} / ${stage.list.length}`;
  byId("earlier").disabled = stage.at === 0;
  byId("later").textContent = stage.at === stage.list.length - 1 ? "Next step ▶" : "Next ▶";
  showOnNeurons(s);
}

// two digits in few letters, which have room on a neuron
const short = x => {
  const plain = String(+x.toPrecision(2)), text = plain.length > 6 || plain.includes("e") ? x.toExponential(0).replace("+", "") : plain;
  return text.replace(/-/g, "−").replace(/^(−?)0\./, "$1.");
};

// what has been computed by this stage stands on the neurons
function showOnNeurons(s) {
  const {data, values, gradients} = lab.lastStep, done = stage.list.slice(0, stage.at + 1);
  columns.forEach(({neurons}, c) => {
    let row = null, back = false;
    if (c === 0) row = rowOf(data[0], s, neurons.length);
    else {
      const l = c - 1, width = neurons.length, has = kind => done.some(d => d.kind === kind && d.l === l);
      if (has("sum")) row = rowOf(values[2 * l], s, width);
      if (has("activation")) row = rowOf(values[2 * l + 1], s, width);
      if (done.some(d => d.kind === "pass" && d.l === l + 1)) { row = rowOf(gradients[2 * l + 1], s, width); back = true; }
      if (has("through") || has("seed")) { row = rowOf(gradients[2 * l], s, width); back = true; }
    }
    neurons.forEach((b, j) => {
      let told = b.querySelector(".value");
      if (!row) return told?.remove();
      if (!told) b.append(told = make("span", {className: "value"}));
      told.className = back ? "value back" : "value";
      told.textContent = short(row[j]);
    });
  });
}

function moveStage(by) {
  const at = stage.at + by;
  if (at < 0) return;
  if (at >= stage.list.length) {
    lab.forwardBackward();
    stage = {at: 0, list: stagesOf(), updated: false};
  } else stage.at = at;
  showStage();
}

// ---- controls ----

function showSettings() {
  const s = lab.settings, set = lab.pack.data[s.data], told = (id, text) => { byId(id).textContent = text; };
  for (const b of byId("sets").children) b.setAttribute("aria-pressed", String(b.dataset.name === s.data));
  for (const b of byId("features").children) b.setAttribute("aria-pressed", String(s.features.includes(Number(b.dataset.k))));
  byId("noise-field").hidden = set.levels.length < 2;
  told("noise-told", n(set.levels[Math.min(s.noise, set.levels.length - 1)].noise, 2));
  byId("noise").setAttribute("aria-valuetext", byId("noise-told").textContent);
  told("test-told", `${lab.held.y.length}, ${Math.round(100 * s.test)} %`);
  told("batch-told", `${lab.batch} of ${lab.n}`);
  byId("batch").setAttribute("aria-valuetext", `${lab.batch}`);
  told("lr-told", n(s.lr, 3));
  byId("lr").value = Math.log10(s.lr);
  byId("lr").setAttribute("aria-valuetext", n(s.lr, 3));
  byId("rule").value = s.rule;
  byId("schedule").value = s.schedule;
  told("schedule-told", s.schedule === "constant" ? "" : `over ${s.horizon} steps`);
  if (s.activation) byId("activation").value = s.activation;
  byId("fewer").disabled = s.widths.length === 0;
  byId("more").disabled = s.widths.length >= deepest();
  byId("options").replaceChildren(...Object.entries(lab.rule.options).map(([name, [usual, ...range]]) =>
    optionField(name, s.rates[name] ?? usual, range, window.LIVE.letters, v => {
      lab.change({rates: {...lab.settings.rates, [name]: v}});
      writePython();
    })));
  writePython();
}

const deepest = () => Math.max(...Object.values(lab.pack.nets).map(list => list.length - 1), 0);

function writePython() {
  const s = lab.settings, set = lab.pack.data[s.data], own = Object.entries({lr: s.lr, ...s.rates});
  const level = set.levels[Math.min(s.noise, set.levels.length - 1)].noise, features = s.features.map(f => FEATURES[f][2]);
  const plain = features.length === 2 && s.features[0] === 0 && s.features[1] === 1;
  const digits = v => String(+v.toPrecision(15));
  const scheduled = lr => SCHEDULE_TEXTS[s.schedule]?.(lr, s.horizon) ?? lr;
  byId("python").textContent = [
    "import numpy as np", "import tinygrad_opt as tg", "from tinygrad_opt import nn, optim", "",
    set.names.length ? "x, y = tg.live.points(…)  # your CSV file, or (x, y)" : `x, y = tg.live.points("${s.data}", ${digits(level)})`,
    ...plain || lab.given ? [] : [`x = np.stack([${features.join(", ")}], axis=-1)`],
    `n = ${lab.n}  # the first rows train, the others test`,
    lab.given ? "model = …  # yours" : `model = nn.MLP([${[s.features.length, ...s.widths, lab.classes].join(", ")}], "${s.activation}", rng=${s.seed})`,
    `opt = optim.${s.rule}(model.parameters(), ${own.map(([k, v]) => `${k}=${k === "lr" ? scheduled(digits(v)) : digits(v)}`).join(", ")})`,
    `rng = np.random.default_rng(${s.seed})`,
    "", "@tg.compile", "def step(x, y):", "    loss = nn.cross_entropy(model(x), y)",
    "    opt.zero_grad(); loss.backward(); opt.step()", "    return loss", "",
    "for epoch in range(10):", `    for batch in tg.data.minibatches(x[:n], y[:n], ${lab.batch}, rng=rng, drop_last=True):`,
    "        print(step(*batch))"].join("\n");
}

function connect() {
  const on = (id, event, act) => byId(id).addEventListener(event, act), value = id => Number(byId(id).value);
  on("play", "click", () => playing ? pause() : play());
  on("step", "click", oneStep);
  on("reset", "click", reset);
  on("seed", "change", reset);
  on("slowly", "click", enter);
  on("close", "click", () => { leave(); byId("slowly").focus(); });
  on("later", "click", () => moveStage(1));
  on("earlier", "click", () => moveStage(-1));
  on("sample", "input", () => stage && showStage());
  on("noise", "input", () => change({noise: value("noise")}));
  on("test", "input", () => change({test: value("test") / 100}));
  on("batch", "input", () => change({batch: BATCHES[value("batch")]}));
  on("rule", "change", () => change({rule: byId("rule").value, rates: {}, lr: RATES[byId("rule").value] ?? 0.01}));
  on("lr", "input", () => change({lr: +(10 ** value("lr")).toPrecision(3)}));
  on("schedule", "change", () => change({schedule: byId("schedule").value}));
  on("activation", "change", () => change({activation: byId("activation").value}));
  on("given", "change", () => change({given: value("given")}));
  on("links", "change", drawWires);
  on("fewer", "click", () => change({widths: lab.settings.widths.slice(0, -1)}));
  on("more", "click", () => change({widths: [...lab.settings.widths, lab.settings.widths.at(-1) ?? 4]}));
  on("parameter", "change", () => { fillEntries(); pickFromSelects(); });
  on("entry", "change", pickFromSelects);
  const graph = byId("graph"), tip = byId("tip");
  const found = e => {
    const box = graph.getBoundingClientRect();
    return e.target.closest(".neuron, .tools") ? null : wireAt(e.clientX - box.left, e.clientY - box.top);
  };
  graph.addEventListener("pointermove", e => {
    const which = found(e);
    graph.style.cursor = which ? "pointer" : "";
    tip.hidden = !which;
    if (which) {
      tip.textContent = aboutWire(which);
      tip.style.left = `${Math.min(e.clientX + 14, innerWidth - 220)}px`;
      tip.style.top = `${e.clientY + 14}px`;
    }
  });
  graph.addEventListener("pointerleave", () => { tip.hidden = true; });
  graph.addEventListener("click", e => { const which = found(e); if (which) pick(which); });
  document.addEventListener("keydown", e => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, select, textarea, pre, #scroll")) return;
    const act = {" ": () => playing ? pause() : play(), ArrowRight: () => stage ? moveStage(1) : oneStep(),
      ArrowLeft: () => stage && moveStage(-1), r: reset, b: enter, Escape: () => stage && leave()}[e.key];
    if (!act || e.key === " " && e.target.closest("button, summary")) return;
    e.preventDefault();
    act();
  });
  const again = () => { readTheme(); placeWires(); drawDots(); thumbs(); draw(); drawChart(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  new ResizeObserver(() => { if (lab.layers.length) placeWires(); drawDots(); drawWires(); drawChart(); drawBars(); }).observe(byId("graph"));
  addEventListener("resize", () => { drawDots(); drawChart(); drawBars(); });
}

function pickFromSelects() {
  const name = byId("parameter").value, k = Number(byId("entry").value), p = lab.parameters.find(q => q.name === name);
  const same = lab.parameters.filter(q => q.shape.length === p.shape.length), layer = same.indexOf(p), bias = p.shape.length < 2;
  if (lab.layers.length && layer < lab.layers.length) pick({layer, bias, from: bias ? picked.from : Math.floor(k / p.shape[1]), to: bias ? k : k % p.shape[1]});
  else drawLines();
}

function thumbs() {
  const kept = lab.settings;
  for (const b of byId("sets").children) {
    const probe = Object.create(Lab.prototype), set = lab.pack.data[b.dataset.name];
    Object.assign(probe, {pack: lab.pack, settings: {...kept, data: b.dataset.name, noise: Math.min(1, set.levels.length - 1)}});
    const {x, y} = probe.points(), pen = b.firstChild.getContext("2d"), most = x.reduce((m, v) => Math.max(m, Math.abs(v)), 0) * 1.1;
    pen.setTransform(2, 0, 0, 2, 0, 0);
    pen.clearRect(0, 0, 44, 44);
    for (let i = 0; i < y.length; i++) {
      pen.fillStyle = css(theme.classes[y[i]]);
      pen.fillRect((x[2 * i] / most + 1) * 22 - 0.9, (1 - x[2 * i + 1] / most) * 22 - 0.9, 1.8, 1.8);
    }
  }
}

async function begin() {
  const pack = await unpacked("modules"), rules = Object.keys(pack.rules), activations = Object.keys(pack.nets);
  const rule = rules.includes("Adam") ? "Adam" : rules[0], given = pack.given.length ? 0 : undefined;
  lab = new Lab(pack, {data: Object.keys(pack.data)[0], noise: 1, rule, lr: RATES[rule] ?? 0.01, given,
    activation: activations.includes("relu") ? "relu" : activations[0], widths: given === undefined ? [16, 16].slice(0, Math.max(...Object.values(pack.nets).map(l => l.length - 1))) : []});
  readTheme();
  byId("sets").replaceChildren(...Object.keys(pack.data).map(name => {
    const b = make("button", {type: "button", onclick: () => change({data: name, noise: lab.settings.noise})}, make("canvas", {width: 88, height: 88, ariaHidden: "true"}), name);
    b.dataset.name = name;
    return b;
  }));
  byId("features").replaceChildren(...FEATURES.map(([name], k) => {
    const b = make("button", {type: "button", textContent: name, onclick: () => {
      const {features} = lab.settings, next = features.includes(k) ? features.filter(f => f !== k) : [...features, k].sort();
      if (next.length) change({features: next});
    }});
    b.dataset.k = k;
    return b;
  }));
  byId("features-field").hidden = byId("shape").hidden = given !== undefined;
  byId("given-field").hidden = pack.given.length < 2;
  byId("given").replaceChildren(...pack.given.map((g, k) => make("option", {value: k, textContent: `${k + 1}: ${g.name}`})));
  byId("rule").replaceChildren(...rules.map(r => make("option", {value: r, textContent: r})));
  byId("schedule").replaceChildren(...Object.keys(SCHEDULES).map(r => make("option", {value: r, textContent: r})));
  byId("activation").replaceChildren(...activations.map(a => make("option", {value: a, textContent: a})));
  connect();
  afresh();
  thumbs();
  showSettings();
  draw();
  tell();
  window.playground = {lab, timing, play, pause};
  document.documentElement.dataset.ready = "yes";
}
begin();
