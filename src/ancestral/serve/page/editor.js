/* One event: where its nats are, its classes, a brush to erase and to paint, and completions. */

import { act, stop } from "./action.js";
import { job, post } from "./api.js";
import { bars, byId, decimal, nats, number } from "./elements.js";
import * as picture from "./picture.js";
import { settings } from "./sampling.js";
import { legend, onTheme } from "./scale.js";
import { tiles } from "./tiles.js";

const SHOWN = 12;
const DIGITS = 800; // milliseconds within which digits make one number

let bundle, layout, event, original, label, logProb;
let cursor = [0, 0];
let typed = { digits: "", at: 0 };
const canvas = byId("canvas");
const within = (value, least, most) => Math.min(most, Math.max(least, value));

export function open(found, its) {
  [bundle, layout, event] = [found, its, undefined];
  byId("classes-figure").hidden = !bundle.num_classes;
  byId("level").max = bundle.levels - 1;
  setLevel(bundle.levels - 1);
  byId("editor").hidden = true;
}

/** Show an event in the editor; a label that is undefined is chosen by Bayes. */
export function edit(flat, own, name, keep = false) {
  [event, original, label, logProb] = [[...flat], flat, own, undefined];
  cursor = [0, 0];
  byId("editor").hidden = false;
  byId("event-title").textContent = name;
  byId("cell").textContent = "";
  canvas.setAttribute("aria-label", `${name}: a picture of ${layout.height} rows and ${layout.width} columns, to paint on`);
  if (!keep) {
    byId("completion-note").textContent = "";
    byId("completions").replaceChildren();
  }
  redraw();
  inspect();
  byId("editor").scrollIntoView({ block: "nearest" });
}

function redraw() {
  if (event) picture.draw(canvas, layout, event, { cursor });
}

/** Ask for log p of each value, and for the classes, of an event that has no free values. */
function inspect() {
  const free = event.filter((value) => value < 0).length;
  byId("heat-figure").hidden = free > 0;
  byId("classes-figure").hidden = free > 0 || !bundle.num_classes;
  if (free) {
    stop("inspect");
    byId("event-nats").textContent = `${free} of ${layout.length} values are free`;
    return;
  }
  act("inspect", "Computing log p", async (signal) => {
    const x = [layout.nested(event)];
    const body = { model: bundle.name, x };
    if (bundle.num_classes) {
      const found = await post("v1/ancestral/classify", body, signal);
      if (label === undefined) [label] = found.label;
      bars(byId("classes"), "class", found.log_posterior[0].map((value, i) => [String(i), Math.exp(value ?? -Infinity)]));
    }
    const found = await post("v1/ancestral/log_prob", { ...body, labels: label ?? null, positions: true }, signal);
    logProb = found.position_log_prob[0].flat(Infinity);
    const given = (label ?? null) === null ? "log p(x)" : `log p(x | label ${label})`;
    byId("event-nats").textContent =
      `${given} = ${nats(found.log_prob[0])}, ${decimal(found.bits_per_dim[0])} bits/dim`;
    redrawHeat();
    return "Computed log p";
  });
}

function redrawHeat() {
  if (!event || !logProb) return;
  const most = picture.heat(byId("heat"), layout, logProb);
  const worst = logProb.reduce((best, value, i) => (value < logProb[best] ? i : best), 0);
  byId("heat").setAttribute("aria-label",
    `Nats by pixel: at most ${decimal(most)}; the least probable value is number ${worst} of ${layout.length}`);
  legend(byId("heat-legend"), decimal(most));
}

/* The editor */

function setLevel(value) {
  byId("level").value = value;
  byId("level-shown").textContent = value;
}

function set([row, column], value) {
  for (const site of layout.sites(row, column)) event[site] = value;
  moveTo([row, column]);
}

function moveTo([row, column]) {
  cursor = [row, column];
  const values = layout.sites(row, column).map((site) => (event[site] < 0 ? "free" : event[site]));
  byId("cell").textContent = `Row ${row}, column ${column}: ${values.join(", ") || "no value"}`;
  redraw();
}

const brush = () => (byId("brush-erase").checked ? -1 : Number(byId("level").value));

for (const name of ["pointerdown", "pointermove"]) {
  canvas.addEventListener(name, (pointer) => {
    if (!event || !(pointer.buttons & 1)) return;
    if (name === "pointerdown") canvas.setPointerCapture(pointer.pointerId);
    // A fast pointer passes several pixels between two events.
    const passed = pointer.getCoalescedEvents?.() ?? [];
    for (const each of [...passed, pointer]) set(picture.pixelAt(canvas, layout, each), brush());
  });
}
canvas.addEventListener("pointerup", inspect);

const MOVES = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

canvas.addEventListener("keydown", (key) => {
  if (key.ctrlKey || key.altKey || key.metaKey || !event) return;
  const move = MOVES[key.key];
  if (move) {
    typed.digits = "";
    moveTo([within(cursor[0] + move[0], 0, layout.height - 1), within(cursor[1] + move[1], 0, layout.width - 1)]);
  } else if (key.key === " ") {
    set(cursor, -1);
    inspect();
  } else if (/^\d$/.test(key.key)) {
    const before = Date.now() - typed.at < DIGITS ? typed.digits : "";
    const both = Number(before + key.key) < bundle.levels ? before + key.key : key.key;
    typed = { digits: both, at: Date.now() };
    setLevel(within(Number(both), 0, bundle.levels - 1));
    set(cursor, Number(byId("level").value));
    inspect();
  } else {
    return;
  }
  key.preventDefault();
});

byId("level").addEventListener("input", () => {
  byId("level-shown").textContent = byId("level").value;
  byId("brush-paint").checked = true;
});

byId("erase-half").addEventListener("click", () => {
  for (let row = layout.height >> 1; row < layout.height; row += 1) {
    for (let column = 0; column < layout.width; column += 1) {
      for (const site of layout.sites(row, column)) event[site] = -1;
    }
  }
  redraw();
  inspect();
});

byId("restore").addEventListener("click", () => {
  event = [...original];
  redraw();
  inspect();
});

function show(word, found, labels) {
  tiles(byId("completions"), layout, word, found, labels, (...chosen) => edit(...chosen, true));
}

byId("complete").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  act("complete", "Completing", async (signal, progress) => {
    const particles = number(byId("particles"));
    const body = { model: bundle.name, observed: layout.nested(event), particles, labels: label ?? null };
    const found = await job("complete", { ...body, seed: number(byId("seed")) }, progress, signal);
    const chosen = found.chosen.slice(0, SHOWN);
    const rows = { x: chosen.map((i) => found.x[i]), log_prob: chosen.map((i) => found.log_prob[i]) };
    show("Completion", rows, chosen.map(() => label ?? null));
    byId("completion-note").textContent = found.exact
      ? `log p(observed) = ${nats(found.log_prob_observed)}, exact; the completions are independent draws`
      : `log p(observed) is about ${nats(found.log_prob_observed)}; effective sample size `
        + `${decimal(found.ess, 1)} of ${particles}, resampled ${found.resampled} times`;
    return `Completed with ${particles} particles`;
  });
});

byId("continue").addEventListener("click", () => {
  act("complete", "Sampling", async (signal, progress) => {
    const body = { model: bundle.name, ...settings(), n: SHOWN, labels: label ?? null, observed: layout.nested(event) };
    const found = await job("sample", body, progress, signal);
    show("Continuation", found, found.labels);
    byId("completion-note").textContent = "Values are drawn given only the values before them.";
    return `Drew ${SHOWN} continuations`;
  });
});

onTheme(redrawHeat);
