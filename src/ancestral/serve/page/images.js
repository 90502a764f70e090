/* Samples of an autoregressive model that are pictures: drawn, looked into, erased and completed. */

import { act, stop } from "./action.js";
import { job, post } from "./api.js";
import { bars, byId, decimal, make, nats, number } from "./elements.js";
import * as picture from "./picture.js";
import { legend, onTheme } from "./scale.js";

const TILE = 96;
const SHOWN = 12;
const DIGITS = 800; // milliseconds within which digits make one number

let bundle, layout, event, original, label, logProb;
let cursor = [0, 0];
let typed = { digits: "", at: 0 };
const canvas = byId("canvas");
const within = (value, least, most) => Math.min(most, Math.max(least, value));

export function open(found) {
  [bundle, layout, event] = [found, new picture.Layout(found), undefined];
  const classes = bundle.num_classes ?? 0;
  byId("label-field").hidden = byId("classes-figure").hidden = !classes;
  byId("label").replaceChildren(
    ...(classes ? [new Option("each in turn", "turn")] : []),
    ...Array.from({ length: classes }, (_, i) => new Option(String(i))),
    new Option("none", ""),
  );
  byId("level").max = bundle.levels - 1;
  setLevel(bundle.levels - 1);
  byId("editor").hidden = true;
  byId("grid").replaceChildren();
}

function settings() {
  const filters = { top_p: number(byId("top-p")), top_k: number(byId("top-k")) };
  const chosen = Object.entries(filters).filter(([, value]) => value !== null);
  const seed = number(byId("seed"));
  return { model: bundle.name, seed, temperature: number(byId("temperature")), ...Object.fromEntries(chosen) };
}

function drawSamples() {
  const n = number(byId("n"));
  act("draw", `Drawing ${n} samples`, async (signal, progress) => {
    const wanted = byId("label").value;
    const labels = wanted === "turn" ? Array.from({ length: n }, (_, i) => i % bundle.num_classes)
      : wanted === "" ? null : Number(wanted);
    const found = await job("sample", { ...settings(), n, labels }, progress, signal);
    tiles(byId("grid"), "Sample", found, found.labels);
    return `Drew ${n} samples`;
  });
}

/** Show events as buttons; one that is chosen is shown in the editor. */
function tiles(place, word, found, labels) {
  place.replaceChildren(...found.x.map((x, i) => {
    const own = labels?.[i] ?? null;
    const name = `${word} ${(found.first_index ?? 0) + i}${own === null ? "" : `, label ${own}`}`;
    const flat = x.flat(Infinity);
    const bits = -(found.log_prob[i] ?? -Infinity) / (layout.length * Math.LN2);
    const numbers = [nats(found.log_prob[i]), `${decimal(bits)} bits/dim`];
    const small = make("canvas", { "aria-hidden": "true" });
    picture.draw(small, layout, flat, { side: TILE });
    const tile = make("button", { type: "button", className: "tile", "aria-pressed": "false" },
      small, name, make("br"), numbers[0], make("br"), numbers[1]);
    tile.setAttribute("aria-label", `${name}: log p ${numbers.join(", ")}`);
    tile.addEventListener("click", () => {
      for (const each of document.querySelectorAll(".tile")) each.setAttribute("aria-pressed", each === tile);
      edit(flat, own, name, place.id === "completions");
    });
    return tile;
  }));
}

/** Show an event in the editor; a label that is undefined is chosen by Bayes. */
function edit(flat, own, name, keep = false) {
  [event, original, label] = [[...flat], flat, own];
  cursor = [0, 0];
  byId("editor").hidden = false;
  byId("event-title").textContent = name;
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
    set(picture.pixelAt(canvas, layout, pointer), brush());
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

byId("complete").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  act("complete", "Completing", async (signal, progress) => {
    const particles = number(byId("particles"));
    const body = { model: bundle.name, observed: layout.nested(event), particles, labels: label ?? null };
    const found = await job("complete", { ...body, seed: number(byId("seed")) }, progress, signal);
    const chosen = found.chosen.slice(0, SHOWN);
    const rows = { x: chosen.map((i) => found.x[i]), log_prob: chosen.map((i) => found.log_prob[i]) };
    tiles(byId("completions"), "Completion", rows, chosen.map(() => label ?? null));
    byId("completion-note").textContent = found.exact
      ? `log p(observed) = ${nats(found.log_prob_observed)}, exact; the completions are independent draws`
      : `log p(observed) is about ${nats(found.log_prob_observed)}; effective sample size `
        + `${decimal(found.ess, 1)} of ${particles}, resampled ${found.resampled} times`;
    return `Completed with ${particles} particles`;
  });
});

byId("continue").addEventListener("click", () => {
  act("complete", "Sampling", async (signal, progress) => {
    const body = { ...settings(), n: SHOWN, labels: label ?? null, observed: layout.nested(event) };
    const found = await job("sample", body, progress, signal);
    tiles(byId("completions"), "Continuation", found, found.labels);
    byId("completion-note").textContent = "Values are drawn given only the values before them.";
    return `Drew ${SHOWN} continuations`;
  });
});

byId("draw").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  drawSamples();
});

byId("new-seed").addEventListener("click", () => {
  byId("seed").value = crypto.getRandomValues(new Uint32Array(1))[0];
  byId("draw").requestSubmit();
});

byId("image-file").addEventListener("change", () => {
  const [file] = byId("image-file").files;
  if (!file) return;
  act("file", "Reading the image", async () => {
    edit(await picture.fromFile(file, layout, byId("image-invert").checked), undefined, file.name);
  });
});

onTheme(redrawHeat);
