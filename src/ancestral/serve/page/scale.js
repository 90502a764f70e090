/* Colours of nats. Their lightness is even, and their hues are yellow and blue, which people who
   confuse red and green can tell apart. 0 nats has the colour that is nearest to the page's. */

import { make } from "./elements.js";

const ANCHORS = [[255, 248, 214], [238, 210, 122], [150, 160, 138], [72, 108, 142], [20, 40, 92]];
const dark = matchMedia("(prefers-color-scheme: dark)");

export const onTheme = (redraw) => dark.addEventListener("change", redraw);

/** Return red, green and blue of a share of the most nats, 0 .. 1. */
export function shade(share) {
  const within = Math.min(1, Math.max(0, share));
  const at = (dark.matches ? 1 - within : within) * (ANCHORS.length - 1);
  const low = Math.min(Math.floor(at), ANCHORS.length - 2);
  return ANCHORS[low].map((from, i) => Math.round(from + (at - low) * (ANCHORS[low + 1][i] - from)));
}

/** Colour an element, and its text so that it can be read. */
export function paint(element, share) {
  const [r, g, b] = shade(share);
  element.style.backgroundColor = `rgb(${r}, ${g}, ${b})`;
  element.style.color = 0.299 * r + 0.587 * g + 0.114 * b > 125 ? "#10131a" : "#fff";
}

/** Show which colour stands for which nats. */
export function legend(place, most, words = "") {
  const canvas = make("canvas", { width: 128, height: 1, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  for (let i = 0; i < 128; i += 1) {
    context.fillStyle = `rgb(${shade(i / 127)})`;
    context.fillRect(i, 0, 1, 1);
  }
  place.replaceChildren(make("span", { className: "legend" }, "0", canvas, `${most} nats${words}`));
}
