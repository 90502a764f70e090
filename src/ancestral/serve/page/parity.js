/* The table of `verify`: the engine of this server compared with float64 PyTorch. */

import { act } from "./action.js";
import { job } from "./api.js";
import { byId, decimal, fill } from "./elements.js";

const ROWS = {
  events: "events",
  max_abs_nats: "max |\u0394 log p|, nats",
  limit_nats: "\u2003limit",
  own_nats: "\u2003PyTorch float32's own",
  mean_abs_nats: "\u2003mean |\u0394 log p|",
  bits_per_dim: "bits/dim",
  max_abs_term_nats: "max |\u0394| of a term, nats",
  max_abs_step_nats: "max |\u0394 log p| along the cached steps, nats",
  max_abs_top_nats: "max |\u0394 log p| of the most probable, nats",
  max_kl: "max KL of a next value, nats",
  limit_kl: "\u2003limit",
  draws: "values drawn",
  near_ties: "\u2003near ties",
  unexplained: "\u2003unexplained",
  filtered_draws: "\u2003of them with filters",
  filtered_unexplained: "\u2003\u2003unexplained",
};

let model;

export function open(bundle) {
  model = bundle.name;
  byId("parity").replaceChildren();
  byId("parity-words").textContent = "";
}

byId("verify").addEventListener("click", () => {
  byId("verify").disabled = true;
  act("verify", "Verifying", async (signal, progress) => {
    const report = (await job("verify", { model }, progress, signal)).backends[0];
    const words = report.passed ? "passed" : `failed: ${report.failures.join("; ")}`;
    byId("parity-words").textContent =
      `${report.backend} on ${report.device}, ${report.dtype}: ${words}`;
    const names = Object.keys(ROWS).filter((name) => name in report.sampled);
    const what = "max_abs_term_nats" in report.sampled ? "log w" : "log p";
    const rows = names.map((name) => [ROWS[name].replace("log p", what), number(report.sampled[name]), number(report.noise[name])]);
    if ("max_abs_mean" in report) {
      rows.push(["max |\u0394 E[x | z]|, levels", number(report.max_abs_mean), ""],
        ["values drawn", number(report.draws), ""], ["\u2003unexplained", number(report.unexplained), ""]);
    }
    fill(byId("parity"), ["", "sampled events", "events of noise"], rows);
    return `Verified: ${words}`;
  }).finally(() => { byId("verify").disabled = false; });
});

function number(value) {
  if (value === null) return "not finite";
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) < 0.01 ? value.toExponential(2) : decimal(value, 4);
}
