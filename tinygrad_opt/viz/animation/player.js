"use strict";
const $ = id => document.getElementById(id), read = id => JSON.parse($(id).textContent);
const about = read("about"), svg = $("film"), at = $("at");
const night = matchMedia("screen and (prefers-color-scheme: dark)");

async function inflate(text) {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

async function start() {
  const films = JSON.parse(await inflate(read("drawn")));
  for (const film of films)                // 0: the same as in the frame before
    for (const frames of film.artists)
      frames.forEach((drawn, k) => { if (drawn === 0) frames[k] = frames[k - 1]; });
  const fits = `calc((100vh - 90px) * ${about.width / about.height})`;   // with the bar below it
  svg.setAttribute("viewBox", `0 0 ${about.width} ${about.height}`);
  svg.style.maxWidth = `min(${2.5 * about.width}px, ${fits})`;
  svg.setAttribute("aria-label", about.alt);
  at.max = about.frames - 1;
  let frame = about.frames - 1, timer = null, artists = [];

  function group(drawn) {
    const g = svg.appendChild(document.createElementNS(svg.namespaceURI, "g"));
    g.innerHTML = drawn;
    return {g, drawn};
  }
  function enter() {                       // the film of the reader's scheme
    const film = films[night.matches && films.length > 1 ? 1 : 0];
    svg.replaceChildren();
    group(film.still);
    artists = film.artists.map(frames => ({...group(""), frames}));
    show(frame);
  }
  function show(f) {
    frame = (f + about.frames) % about.frames;
    at.value = frame;
    $("count").textContent = `${frame + 1} / ${about.frames}`;
    for (const a of artists)
      if (a.drawn !== a.frames[frame]) a.g.innerHTML = a.drawn = a.frames[frame];
  }
  function pause() { clearTimeout(timer); timer = null; $("play").textContent = "▶"; }
  function tick() {
    show(frame + 1);
    const rest = frame === about.frames - 1 ? 2000 : 0;
    timer = setTimeout(tick, rest + 1000 / about.fps / $("speed").value);
  }
  function play() { $("play").textContent = "❚❚"; tick(); }

  $("whole").onclick = () => $("whole").textContent = svg.classList.toggle("large") ? "−" : "+";
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
  night.addEventListener("change", enter);
  enter();
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play();
}
start().catch(e => { $("count").textContent = "needs a browser of 2023 or later: " + e; });
