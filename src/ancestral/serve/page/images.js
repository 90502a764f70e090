/* Samples of an autoregressive model that are pictures, and pictures from files. */

import { act } from "./action.js";
import { job } from "./api.js";
import * as editor from "./editor.js";
import { byId, number } from "./elements.js";
import { Layout, fromFile } from "./picture.js";
import { settings } from "./sampling.js";
import { tiles } from "./tiles.js";

let bundle, layout;

export function open(found) {
  [bundle, layout] = [found, new Layout(found)];
  const classes = bundle.num_classes ?? 0;
  byId("label-field").hidden = !classes;
  byId("label").replaceChildren(
    ...(classes ? [new Option("each in turn", "turn")] : []),
    ...Array.from({ length: classes }, (_, i) => new Option(String(i))),
    new Option("none", ""),
  );
  byId("grid").replaceChildren();
  editor.open(bundle, layout);
}

byId("draw").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const n = number(byId("n"));
  act("draw", `Drawing ${n} samples`, async (signal, progress) => {
    const wanted = byId("label").value;
    const labels = wanted === "turn" ? Array.from({ length: n }, (_, i) => i % bundle.num_classes)
      : wanted === "" ? null : Number(wanted);
    const found = await job("sample", { model: bundle.name, ...settings(), n, labels }, progress, signal);
    tiles(byId("grid"), layout, "Sample", found, found.labels, editor.edit);
    return `Drew ${n} samples`;
  });
});

byId("new-seed").addEventListener("click", () => {
  [byId("seed").value] = crypto.getRandomValues(new Uint32Array(1));
  byId("draw").requestSubmit();
});

byId("free").addEventListener("click", () => {
  const wanted = byId("label").value;
  const label = wanted === "" ? null : Number(wanted === "turn" ? 0 : wanted);
  editor.edit(new Array(layout.length).fill(-1), label, `A free picture${label === null ? "" : `, label ${label}`}`);
});

byId("image-file").addEventListener("change", () => {
  const [file] = byId("image-file").files;
  if (!file) return;
  act("file", "Reading the image", async (signal) => {
    const event = await fromFile(file, layout, byId("image-invert").checked);
    signal.throwIfAborted();
    editor.edit(event, undefined, file.name);
  });
});
