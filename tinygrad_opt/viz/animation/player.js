"use strict";
const $ = id => document.getElementById(id), read = id => JSON.parse($(id).textContent);
const film = read("film"), canvas = $("canvas"), pen = canvas.getContext("2d");
const night = matchMedia("(prefers-color-scheme: dark)");

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// ---- from changes to frames ----------------------------------------------------------------------
function unfolded(frames) {
  let before = [];
  return frames.map(changes => before = changes ? changes.map(([style, kept, places, text], i) => {
    let all = before[i] ? before[i].all : [];
    // frames of a line that grows share one array, of which each shows its first `n` numbers
    if (!before[i] || kept < before[i].n || kept < all.length) all = all.slice(0, kept);
    for (const place of places) all.push(place);
    return {style, all, n: all.length, text};
  }) : before);
}

function pictures(image, cells) {          // each frame holds what has changed since the one before
  if (!image) return null;
  const n = image.rows * image.columns, part = cells.slice(image.at, image.at + n * film.frames);
  for (let i = n; i < part.length; i++) part[i] = part[i] + part[i - n] & 255;
  const sheet = new OffscreenCanvas(image.columns, image.rows), paint = sheet.getContext("2d");
  return frame => {
    const data = paint.createImageData(image.columns, image.rows);
    for (let i = 0; i < 4 * n; i++)
      data.data[i] = image.colors[4 * part[frame * n + (i >> 2)] + (i & 3)];
    paint.putImageData(data, 0, 0);
    return sheet;
  };
}

// ---- drawing -------------------------------------------------------------------------------------
function outline(places, n, x = 0, y = 0) {
  pen.beginPath();
  for (let i = 0, down = false; i < n; i += 2) {
    if (places[i] === null) down = false;
    else {
      pen[down ? "lineTo" : "moveTo"](x + places[i] / 10, y + places[i + 1] / 10);
      down = true;
    }
  }
}

function fillAndStroke(style) {
  if (style.fill) pen.fill();
  if (style.stroke) pen.stroke();
}

function draw({style, all, n, text}, styles, picture) {
  const s = styles[style];
  pen.save();
  pen.fillStyle = s.fill; pen.strokeStyle = s.stroke; pen.lineWidth = s.width || 1;
  pen.lineJoin = "round"; pen.lineCap = s.cap || "butt"; pen.setLineDash(s.dashes || []);
  if (s.clip) { pen.beginPath(); pen.rect(...s.clip); pen.clip(); }
  if (s.image) {
    pen.imageSmoothingEnabled = false;
    pen.drawImage(picture, ...all.slice(0, 4).map(v => v / 10));
  } else if (s.font) {
    pen.font = s.font; pen.textAlign = s.align;
    pen.fillText(text, all[0] / 10, all[1] / 10);
  } else if (s.shape) {
    for (let i = 0; i < n; i += 2) {
      outline(s.shape, s.shape.length, all[i] / 10, all[i + 1] / 10);
      fillAndStroke(s);
    }
  } else { outline(all, n); fillAndStroke(s); }
  pen.restore();
}

async function start() {
  const films = JSON.parse(new TextDecoder().decode(await inflate(read("drawn"))));
  const cells = await inflate(read("cells")), at = $("at");
  for (const f of films) {
    f.artists = f.artists.map(unfolded);
    f.images = f.images.map(image => pictures(image, cells));
    const background = new Image();
    background.src = f.background;
    await background.decode();
    f.background = background;
  }
  let frame = 0, timer = null;
  const fits = `calc((100vh - 90px) * ${film.width / film.height})`;   // with the bar below it
  canvas.style.maxWidth = `min(${2 * film.width}px, ${fits})`;
  canvas.setAttribute("aria-label", film.title);
  at.max = film.frames - 1;

  function show(f = frame) {
    frame = (f + film.frames) % film.frames;
    at.value = frame;
    $("count").textContent = `${frame + 1} / ${film.frames}`;
    const one = films[night.matches && films.length > 1 ? 1 : 0], k = canvas.width / film.width;
    pen.setTransform(k, 0, 0, k, 0, 0);
    pen.drawImage(one.background, 0, 0, film.width, film.height);
    one.artists.forEach((frames, i) => {
      for (const command of frames[frame])
        draw(command, one.styles, one.images[i] && one.images[i](frame));
    });
  }
  function resize() {
    const wide = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.width = wide;
    canvas.height = Math.round(wide * film.height / film.width);
    show();
  }
  function pause() { clearTimeout(timer); timer = null; $("play").textContent = "▶"; }
  function tick() {
    show(frame + 1);
    const rest = frame === film.frames - 1 ? 2000 : 0;
    timer = setTimeout(tick, rest + 1000 / film.fps / $("speed").value);
  }
  function play() { $("play").textContent = "❚❚"; tick(); }

  $("play").onclick = () => timer ? pause() : play();
  at.oninput = () => { pause(); show(+at.value); };
  document.onkeydown = e => {
    if (e.target.tagName === "SELECT") return;
    if (e.key === " " && e.target.tagName !== "BUTTON") {
      e.preventDefault();
      timer ? pause() : play();
    }
    const by = {ArrowLeft: -1, ArrowRight: 1}[e.key];
    if (by) { e.preventDefault(); pause(); show(frame + by); }
  };
  canvas.width = canvas.clientWidth;
  canvas.height = canvas.width * film.height / film.width;
  frame = film.frames - 1;
  new ResizeObserver(resize).observe(canvas);
  night.addEventListener("change", () => show());
  resize();
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play();
}
start().catch(e => { $("count").textContent = "needs a browser of 2023 or later: " + e; });
