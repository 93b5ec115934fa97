// Pages inside the page, and <picture>: they follow the colour switch, and are as tall as they need.
(() => {
  const QUESTION = "(prefers-color-scheme: dark)", system = matchMedia(QUESTION);
  const frames = document.querySelectorAll("iframe[srcdoc]"), sources = document.querySelectorAll("picture source");
  const originals = new Map();

  // what asks the reader's system for its colours is given the answer of the switch
  function follow() {
    const chosen = document.body.dataset.theme, dark = chosen === "dark" || chosen !== "light" && system.matches;
    const put = (element, property) => {
      if (!originals.has(element)) originals.set(element, element[property]);
      const original = originals.get(element), answer = dark ? "(min-width: 0)" : "(max-width: 0)";
      const text = dark === system.matches ? original : original.replaceAll(QUESTION, answer);
      if (element[property] !== text) element[property] = text;
    };
    sources.forEach(source => put(source, "media"));
    frames.forEach(frame => put(frame, "srcdoc"));
  }

  // nobody should have to scroll inside a page that scrolls
  function grow(frame) {
    const {body, documentElement} = frame.contentDocument, least = frame.clientHeight;
    new ResizeObserver(() => {
      frame.style.height = `${Math.max(least, documentElement.offsetHeight, body.scrollHeight)}px`;
    }).observe(body);
  }

  frames.forEach(frame => {
    frame.addEventListener("load", () => grow(frame));
    if (frame.contentDocument.readyState === "complete" && frame.contentDocument.body.childElementCount) grow(frame);
  });
  follow();
  system.addEventListener("change", follow);
  new MutationObserver(follow).observe(document.body, {attributeFilter: ["data-theme"]});
})();
