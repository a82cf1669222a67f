// What a reader with other eyes, hands or tools would stumble over; each returns a list of what is wrong.

/** Controls that a screen reader could not name. */
function nameless() {
  const name = (e) => (e.getAttribute("aria-label") || e.textContent || e.labels?.[0]?.textContent || "").trim();
  const controls = [...document.querySelectorAll("a, button, input, select, summary")];
  return controls.filter((e) => !e.closest("dialog") && !name(e)).map((e) => e.outerHTML.slice(0, 120));
}

/** Pairs of texts or controls that are drawn over one another. */
function overlaps() {
  const kinds = "h1, h2, h3, p, dt, dd, th, td, button, summary, legend, label > span, input, select, .strip .x, .chip";
  const drawn = (e) => e.checkVisibility() && !e.closest("dialog, .out-of-sight, .ends") && e.offsetWidth > 2;
  const all = [...document.querySelectorAll(kinds)].filter((e) => drawn(e) && !e.querySelector(kinds));
  const boxes = all.map((e) => e.getBoundingClientRect());
  const found = [];
  all.forEach((one, i) => {
    for (let j = i + 1; j < all.length; j++) {
      const [a, b] = [boxes[i], boxes[j]];
      const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      // An input may lie in its own label's box, and a search field under its key's sign.
      if (x > 2 && y > 2 && !one.contains(all[j])) found.push(`${one.outerHTML.slice(0, 90)} over ${all[j].outerHTML.slice(0, 90)}`);
    }
  });
  return found;
}

/** What makes the page wider than its window. */
function beyond() {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const wide = [...document.querySelectorAll("#atlas *")].filter((e) => e.getBoundingClientRect().right > width + 1);
  return wide.map((e) => e.outerHTML.slice(0, 120));
}

/** Texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, level AA). */
function unreadable() {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (css, under) => {
    canvas.fillStyle = `rgb(${under.join(" ")})`;
    canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = css;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
  };
  const ground = (e) => over(getComputedStyle(e).backgroundColor, e.parentElement ? ground(e.parentElement) : [255, 255, 255]);
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const luminance = (rgb) => rgb.reduce((sum, c, i) => sum + linear(c / 255) * [0.2126, 0.7152, 0.0722][i], 0);
  const speaks = (e) => [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    if (!speaks(e) || !e.checkVisibility() || e.closest("dialog, .out-of-sight, .skip, select, noscript")) continue;
    const under = ground(e);
    const [a, b] = [luminance(under), luminance(over(getComputedStyle(e).color, under))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)} ${e.outerHTML.slice(0, 90)}`);
  }
  return found;
}
