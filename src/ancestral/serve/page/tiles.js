/* A grid of events, each a button with its picture, its log p in nats, and its bits/dim. */

import { decimal, make, nats } from "./elements.js";
import { draw } from "./picture.js";

const SIDE = 96;

/**
 * Fill a grid with the events found.x [n, ...], of log-probabilities found.log_prob [n] in nats.
 *
 * Where a person chooses one, choose(event, label, name) is called.
 */
export function tiles(place, layout, word, found, labels, choose) {
  place.replaceChildren(...found.x.map((x, i) => {
    const label = labels?.[i] ?? null;
    const short = `${(found.first_index ?? 0) + i}${label === null ? "" : `, label ${label}`}`;
    const name = `${word} ${short}`;
    const event = x.flat(Infinity);
    const bits = -(found.log_prob[i] ?? -Infinity) / (layout.length * Math.LN2);
    const numbers = [nats(found.log_prob[i]), `${decimal(bits)} bits/dim`];
    const picture = make("canvas", { "aria-hidden": "true" });
    draw(picture, layout, event, { side: SIDE });
    const words = [short, ...numbers].map((each) => make("span", {}, each));
    const tile = make("button", { type: "button", className: "tile", "aria-pressed": "false" }, picture, ...words);
    tile.setAttribute("aria-label", `${name}: log p ${numbers.join(", ")}`);
    tile.addEventListener("click", () => {
      for (const each of document.querySelectorAll(".tile")) each.setAttribute("aria-pressed", each === tile);
      choose(event, label, name);
    });
    return tile;
  }));
}
