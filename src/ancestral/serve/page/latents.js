/* Latents: two of them by sliders, decoded; an event's reconstruction, and its bound. */

import { act } from "./action.js";
import { post } from "./api.js";
import { byId, decimal, fill, nats, number } from "./elements.js";
import * as picture from "./picture.js";

let bundle, layout, z;
let waiting = false;
let busy = false;
const SLIDERS = ["first", "second"];

export function open(found) {
  [bundle, layout] = [found, new picture.Layout(found)];
  const size = found.latent_shape.reduce((a, b) => a * b, 1);
  SLIDERS.forEach((name, i) => {
    const dims = Array.from({ length: size }, (_, at) => new Option(`z[${at}]`, at));
    byId(`${name}-dim`).replaceChildren(...dims);
    byId(`${name}-dim`).selectedIndex = Math.min(i, size - 1);
    Object.assign(byId(`${name}-z`), found.codes ? { type: "number", min: 0, max: "", step: 1 }
      : { type: "range", min: -4, max: 4, step: 0.05 });
    byId(`${name}-shown`).hidden = found.codes;
  });
  byId("bound").replaceChildren();
  for (const name of ["event", "reconstruction"]) picture.draw(byId(name), layout, new Array(layout.length).fill(0));
  byId("event-words").textContent = "Draw a sample, or choose a file";
  setLatents(new Array(size).fill(0));
}

const call = (name, body, signal) => post(`v1/ancestral/${name}`, { model: bundle.name, ...body }, signal);

function setLatents(flat) {
  z = flat;
  showSliders();
  decode();
}

function showSliders() {
  for (const name of SLIDERS) {
    const value = z[byId(`${name}-dim`).value];
    byId(`${name}-z`).value = value;
    byId(`${name}-shown`).textContent = decimal(value);
  }
}

/** Decode z; while an answer is awaited, only the newest z is kept. */
async function decode() {
  waiting = true;
  if (busy) return;
  busy = true;
  while (waiting) {
    waiting = false;
    await act("decode", undefined, async (signal) => {
      const found = await call("decode", { z: [picture.nested(z, bundle.latent_shape)] }, signal);
      show("decoded", found.x_mean[0].flat(Infinity), "E[x | z] of the latents of the sliders");
    });
  }
  busy = false;
}

function show(name, event, words) {
  picture.draw(byId(name), layout, event);
  const mean = event.reduce((sum, value) => sum + value, 0) / event.length;
  byId(name).setAttribute("aria-label", `${words}; mean level ${decimal(mean)} of 0 to ${bundle.levels - 1}`);
}

/** Show an event, its reconstruction and its bound. */
async function look(event, words, signal) {
  show("event", event, words);
  byId("event-words").textContent = words;
  const x = [layout.nested(event)];
  const reconstructed = await call("reconstruct", { x }, signal);
  show("reconstruction", reconstructed.x_mean[0].flat(Infinity), "Reconstruction of the event");
  const seed = number(byId("latent-seed"));
  const found = await call("bound", { x, k: number(byId("k")), seed, labels: label() }, signal);
  const row = (name, value, error) =>
    [name, `${nats(value)} \u00b1 ${decimal(error ?? Infinity)}`, `${decimal(-value / (layout.length * Math.LN2))} bits/dim`];
  fill(byId("bound"), ["lower bound on log p(x)", "nats \u00b1 standard error", "at most"], [
    row("evidence lower bound (ELBO)", found.elbo[0], found.stderr_elbo[0]),
    row(`importance-weighted, k = ${found.k}`, found.iwae[0], found.stderr_iwae[0]),
    ["effective sample size", `${decimal(found.ess[0], 1)} of ${found.k}`, found.ess[0] < 10 ? "too small to trust the error" : ""],
  ]);
}

const label = () => number(byId("latent-label"));

byId("latent-form").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  act("latents", "Drawing a sample", async (signal) => {
    const seed = number(byId("latent-seed"));
    const temperature = number(byId("latent-temperature"));
    const found = await call("sample", { n: 1, seed, temperature, labels: label() }, signal);
    setLatents(found.z[0].flat(Infinity));
    await look(found.x[0].flat(Infinity), `A sample of seed ${seed}`, signal);
    return "Drew a sample";
  });
});

byId("latent-file").addEventListener("change", () => {
  const [file] = byId("latent-file").files;
  if (!file) return;
  act("latents", "Reading the image", async (signal) => {
    const event = await picture.fromFile(file, layout, byId("latent-invert").checked);
    const q = await call("encode", { x: [layout.nested(event)] }, signal);
    setLatents((q.mean ?? q.codes)[0].flat(Infinity));
    await look(event, file.name, signal);
    return "Encoded the image";
  });
});

byId("latent-zero").addEventListener("click", () => setLatents(z.map(() => 0)));

for (const name of SLIDERS) {
  byId(`${name}-dim`).addEventListener("change", showSliders);
  byId(`${name}-z`).addEventListener("input", () => {
    z[byId(`${name}-dim`).value] = Number(byId(`${name}-z`).value);
    showSliders();
    decode();
  });
}
