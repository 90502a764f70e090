/* The page: which bundle it shows, and what that bundle is. */

import { act, begin, stop } from "./action.js";
import { get, useKey } from "./api.js";
import { byId, make } from "./elements.js";
import * as images from "./images.js";
import * as latents from "./latents.js";
import * as parity from "./parity.js";
import * as text from "./text.js";

const PANELS = { images, text, latents };
let bundles = [];

function panelOf(bundle) {
  if (bundle.kind === "latent_variable") return "latents";
  return bundle.text ? "text" : "images";
}

function weightsOf({ compute, tensors }) {
  const bits = [...new Set(Object.values(tensors).map((each) => each.bits))].sort();
  return `${bits.map((each) => `int${each}`).join(" and ")}, activations ${compute}`;
}

function choose(name) {
  const bundle = bundles.find((each) => each.name === name) ?? bundles[0];
  stop();
  begin("");
  byId("bundle").value = bundle.name;
  history.replaceState(null, "", `#${encodeURIComponent(bundle.name)}`);
  const facts = {
    kind: bundle.kind.replace("_", " "),
    data: bundle.data,
    shape: bundle.event_shape.join(" \u00d7 "),
    levels: bundle.levels,
    classes: bundle.num_classes,
    latents: bundle.latent_shape?.join(" \u00d7 "),
    type: bundle.dtype,
    weights: bundle.quantisation && weightsOf(bundle.quantisation),
    ...Object.fromEntries((bundle.cost ?? []).filter(([name]) => name).map(([name, value]) => [name.trim(), value])),
    backend: bundle.backend,
    sha256: bundle.sha256,
  };
  const known = Object.entries(facts).filter(([, value]) => value !== null && value !== undefined);
  byId("facts").replaceChildren(...known.map(([term, value]) =>
    make("div", {}, make("dt", {}, term), make("dd", {}, String(value)))));
  const panel = panelOf(bundle);
  for (const each of Object.keys(PANELS)) byId(each).hidden = each !== panel;
  PANELS[panel].open(bundle);
  parity.open(bundle);
}

function load() {
  act("info", "Asking for the bundles", async (signal) => {
    bundles = (await get("v1/ancestral/info", signal)).bundles;
    byId("key-form").hidden = true;
    byId("bundle").replaceChildren(...bundles.map(({ name }) => new Option(name)));
    choose(decodeURIComponent(location.hash.slice(1)));
    return "";
  });
}

byId("bundle").addEventListener("change", () => choose(byId("bundle").value));

byId("key-form").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  useKey(byId("key").value.trim());
  byId("key").value = "";
  load();
});

load();
