// What every live page shows things with.

const n = (x, digits = 4) => {
  if (!Number.isFinite(x)) return String(x).replace("Infinity", "∞").replace("-", "−");
  const size = Math.abs(x);
  if (!size || (size >= 1e-4 && size < 1e6)) return String(+x.toPrecision(digits)).replace("-", "−");
  const [mantissa, exponent] = x.toExponential(Math.max(digits - 2, 0)).split("e");
  return `${String(+mantissa).replace("-", "−")} · 10${superscript(String(+exponent))}`;
};
const told = x => x < 0 || (x && Math.abs(x) < 1e-4) ? `(${n(x)})` : n(x);
const superscript = text => text.replace(/[-\d]/g, c => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(c)]);
const make = (tag, options = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), options);
  element.append(...children);
  return element;
};

// A slider for an option of a rule. Rates go by their logarithm, and what is nearly 1 by what it lacks.
function optionField(name, value, [low, high], letters, changed) {
  const near = high > 0.99 && high < 1, rate = name === "lr", id = `option-${name}`;
  const to = rate ? v => 10 ** v : near ? v => 1 - 10 ** -v : v => v;
  const from = rate ? v => Math.log10(Math.max(v, 10 ** low)) : near ? v => -Math.log10(1 - v) : v => v;
  const words = name.replace(/_/g, " ").replace(/(\D)(\d)/, "$1 $2"), letter = letters[name];
  const label = rate ? "Learning rate η" : `${words[0].toUpperCase()}${words.slice(1)}${letter && letter !== name ? ` ${letter}` : ""}`;
  const output = make("output", {textContent: n(value, 4)}), input = make("input", {type: "range", id, step: "any"});
  Object.assign(input, rate ? {min: low, max: high} : {min: from(low), max: from(high)});
  input.value = from(value);
  input.setAttribute("aria-valuetext", n(value, 4));
  input.oninput = () => {
    const v = +to(Number(input.value)).toPrecision(4);
    output.textContent = n(v, 4);
    input.setAttribute("aria-valuetext", n(v, 4));
    changed(v);
  };
  return make("div", {className: "field"}, make("label", {htmlFor: id, textContent: label}), output, input);
}

// ---- colours ----

let theme;

function readTheme() {
  const style = getComputedStyle(document.documentElement), rgb = name => {
    const hex = style.getPropertyValue(`--${name}`).trim();
    return [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
  };
  const dark = style.colorScheme.includes("dark") && !style.colorScheme.includes("light");
  const hues = JSON.parse(byId("colors").textContent)[dark ? "dark" : "light"];
  theme = Object.fromEntries(["page", "panel", "text", "muted", "grid", "positive", "negative", "neutral", "value", "gradient", "edge"]
    .map(name => [name, rgb(name)]));
  theme.classes = hues.map(hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16)));
}
const css = ([r, g, b], alpha = 1) => `rgba(${r},${g},${b},${alpha})`;
const mixed = (a, b, t) => a.map((v, i) => v + (b[i] - v) * t);

// canvases are as sharp as the screen
function sharp(canvas) {
  const {width, height} = canvas.getBoundingClientRect(), ratio = Math.min(devicePixelRatio || 1, 2);
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return {pen, width, height};
}
