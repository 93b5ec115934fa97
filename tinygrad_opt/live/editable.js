// uses common.js updates.js

const nodes = JSON.parse(byId("nodes").textContent), leaves = nodes.filter(node => node.leaf), learning = leaves.filter(node => node.learns);
const SHOWN = 24;
let net, updates, result, first, trace = [], rates = {};
const size = node => node.shape.reduce((a, b) => a * b, 1);
const place = node => net.slots[node.id];
const flat = x => typeof x === "number" ? [x] : x;
const entryName = (node, k) => !node.shape.length ? node.name
  : `${node.name}[${node.shape.length > 1 ? `${Math.floor(k / node.shape.at(-1))}, ${k % node.shape.at(-1)}` : k}]`;

function read(node) {
  const {at} = place(node);
  return net.memory.subarray(at, at + size(node));
}

function gradient(node) {
  const slot = net.slots[`${node.id}.grad`];
  return slot ? net.memory.subarray(slot.at, slot.at + size(node)) : new Float32Array(size(node));
}

function gathered(of) { return Float32Array.from(learning.flatMap(node => [...of(node)])); }

function compute(what) {
  result = net.step([]);
  if (what) trace.push({loss: result.loss, what});
  show();
}

const brief = values => {
  const shown = Array.from(values).slice(0, 3).map(v => n(v, values.length > 1 ? 3 : 4)).join(", ");
  return values.length > 3 ? `${shown}, …` : shown;
};

function show() {
  for (const node of nodes) {
    const box = document.querySelector(`#view g.node[id="${node.id}"]`);
    if (!box) continue;
    const values = node.leaf ? read(node) : flat(result.values[node.id]);
    const slopes = node.leaf ? node.learns && gradient(node) : result.gradients[node.id] !== null && flat(result.gradients[node.id]);
    const data = box.querySelector(".data"), grad = box.querySelector(".grad");
    if (data) data.textContent = brief(values);
    if (grad && slopes) grad.textContent = brief(slopes);
  }
  for (const input of document.querySelectorAll(".entry input")) {
    const node = leaves[input.dataset.leaf], k = input.dataset.k;
    if (input !== document.activeElement) input.value = String(+read(node)[k].toPrecision(6));
    const slope = input.parentElement.querySelector(".slope");
    if (slope) {
      const g = gradient(node)[k];
      slope.textContent = `∂L ${n(g, 3)}${g ? g > 0 ? "  ↓ lower it" : "  ↑ raise it" : ""}`;
    }
  }
  byId("loss").textContent = n(result.loss, 5);
  byId("start").textContent = n(first, 5);
  byId("lr-told").textContent = n(rates.lr, 3);
  drawLines();
  drawChart();
}

function drawLines() {
  const k = Number(byId("one").value), {before} = updates;
  byId("lines").replaceChildren(...updates.explain(k).flatMap(([name, formula, numbers, value]) => [
    make("div", {className: "formula", textContent: `${name} ← ${formula}`}),
    before ? make("div", {className: "with number"}, `${numbers} = `, make("b", {textContent: n(value, 6)}))
      : make("div", {className: "quiet", textContent: "step downhill to see the numbers"})]));
}

function drawChart() {
  const {pen, width, height} = sharp(byId("chart")), left = 40, bottom = height - 8, values = trace.map(t => t.loss).filter(Number.isFinite);
  const most = Math.max(...values), least = Math.min(...values, 0), Y = v => bottom - (bottom - 8) * (v - least) / (most - least || 1);
  const X = i => left + (width - left - 6) * i / Math.max(trace.length - 1, 1);
  pen.font = "11px Helvetica, Arial, sans-serif";
  pen.textAlign = "right";
  for (const v of [most, least]) {
    pen.fillStyle = css(theme.muted);
    pen.fillText(n(v, 2), left - 5, Y(v) + 4);
    pen.fillStyle = css(theme.grid);
    pen.fillRect(left, Y(v), width - left, 1);
  }
  pen.beginPath();
  trace.forEach((t, i) => pen[i ? "lineTo" : "moveTo"](X(i), Y(t.loss)));
  pen.strokeStyle = css(theme.value);
  pen.lineWidth = 2;
  pen.stroke();
  trace.slice(-200).forEach((t, k) => {
    const i = k + Math.max(trace.length - 200, 0);
    pen.beginPath();
    if (t.what === "hand") pen.rect(X(i) - 3, Y(t.loss) - 3, 6, 6);
    else pen.arc(X(i), Y(t.loss), 2.5, 0, 7);
    pen.fillStyle = css(t.what === "hand" ? theme.gradient : theme.value);
    pen.fill();
  });
  byId("chart").setAttribute("aria-label", `Loss after ${trace.length - 1} changes: ${n(result.loss, 4)}; squares were made by hand`);
}

function downhill(times = 1) {
  for (let i = 0; i < times; i++) {
    const values = updates.step(gathered(read), gathered(gradient), rates);
    let at = 0;
    for (const node of learning) { read(node).set(values.subarray(at, at + size(node))); at += size(node); }
    result = net.step([]);
    trace.push({loss: result.loss, what: "rule"});
  }
  show();
  byId("state").textContent = `Loss ${n(result.loss, 4)}`;
}

function startAgain() {
  net.init();
  newRule();
  trace = [];
  compute("start");
}

function newRule() { updates = new Updates(window.LIVE.rules[byId("rule").value], learning.reduce((sum, node) => sum + size(node), 0)); }

function buildLeaves() {
  byId("leaves").replaceChildren(...leaves.map((node, l) => {
    const count = Math.min(size(node), SHOWN), box = make("fieldset", {}, make("legend", {}, node.name, " ",
      make("small", {textContent: node.learns ? "" : "data, without a gradient"})));
    for (let k = 0; k < count; k++) {
      const input = make("input", {type: "number", step: "any", id: `leaf-${l}-${k}`});
      Object.assign(input.dataset, {leaf: l, k});
      input.oninput = () => {
        if (!Number.isFinite(input.valueAsNumber)) return;
        read(node)[k] = input.valueAsNumber;
        compute("hand");
        mark(node.id);
      };
      input.onblur = show;                 // what was no number is again what it was
      input.onkeydown = e => {             // a tenth at a time, or a hundredth with shift
        const by = {ArrowUp: 1, ArrowDown: -1}[e.key];
        if (!by) return;
        e.preventDefault();
        input.value = String(+((input.valueAsNumber || 0) + by * (e.shiftKey ? 0.01 : 0.1)).toFixed(6));
        input.oninput();
      };
      const name = entryName(node, k);
      box.append(make("div", {className: "entry"}, make("label", {htmlFor: input.id, textContent: node.shape.length ? name.slice(node.name.length) : "="}), input,
        ...node.learns ? [make("span", {className: "slope number"})] : []));
      input.setAttribute("aria-label", name);
    }
    if (size(node) > count) box.append(make("p", {className: "quiet", textContent: `and ${size(node) - count} more`}));
    return box;
  }));
  byId("one").replaceChildren(...learning.flatMap(node => Array.from({length: size(node)}, (_, k) => entryName(node, k)))
    .map((name, k) => make("option", {value: k, textContent: name})));
}

function mark(id) {
  for (const box of document.querySelectorAll("#view g.node")) box.classList.toggle("changed", box.id === id);
}

async function begin() {
  const {make: program, rules} = await unpacked("modules");
  net = program();
  readTheme();
  byId("rule").replaceChildren(...Object.keys(rules).map(r => make("option", {value: r, textContent: r})));
  byId("rule").onchange = () => { rates = {lr: rules[byId("rule").value].lr}; byId("lr").value = Math.log10(rates.lr); newRule(); show(); };
  rates = {lr: Math.max(rules[byId("rule").value].lr, 0.01)};
  byId("lr").value = Math.log10(rates.lr);
  byId("lr").oninput = () => { rates.lr = +(10 ** byId("lr").value).toPrecision(3); byId("lr-told").textContent = n(rates.lr, 3); };
  byId("down").onclick = () => downhill();
  byId("ten").onclick = () => downhill(10);
  byId("back").onclick = startAgain;
  byId("one").onchange = drawLines;
  for (const button of ["down", "ten"]) byId(button).disabled = !learning.length;
  document.addEventListener("keydown", e => {
    if (e.key === "d" && !e.ctrlKey && !e.metaKey && !e.target.closest("input, select")) downhill();
  });
  for (const box of document.querySelectorAll("#view g.node")) {
    const l = leaves.findIndex(node => node.id === box.id);
    if (l >= 0) box.addEventListener("click", () => byId(`leaf-${l}-0`)?.focus());
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readTheme(); drawChart(); });
  addEventListener("resize", drawChart);
  const drawing = document.querySelector("#view > svg"), natural = Number(drawing.getAttribute("width"));
  Object.assign(drawing.style, {maxWidth: `${natural * 1.2}px`, minWidth: `${Math.min(natural * 0.6, 900)}px`});
  newRule();
  buildLeaves();
  first = net.step([]).loss;
  compute("start");
  window.editable = {net, read, gradient, downhill, nodes};
  document.documentElement.dataset.ready = "yes";
}
begin();
