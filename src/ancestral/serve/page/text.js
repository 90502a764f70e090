/* Text: continued as it is drawn, each token coloured by its nats, with its alternatives. */

import { act, say, stop } from "./action.js";
import { Problem, post, stream } from "./api.js";
import { bars, byId, decimal, make, nats, number } from "./elements.js";
import { legend, onTheme, paint } from "./scale.js";

const MOST = 10; // nats of the strongest colour
const TOP = 5;

let bundle, tokens, text;
const list = byId("token-list");

export function open(found) {
  bundle = found;
  const [context] = bundle.event_shape;
  Object.assign(byId("tokens"), { max: context, value: Math.min(64, context) });
  clear();
  legend(byId("text-legend"), MOST, " or more; drawn tokens are underlined");
}

function clear() {
  [tokens, text] = [[], ""];
  list.replaceChildren();
  byId("alternatives").replaceChildren();
  byId("text-total").textContent = "";
  byId("adopt").disabled = true;
}

/** Add the tokens of a choice; those of the prompt have no log q, as they were not drawn. */
function add(choice) {
  const found = choice.logprobs;
  text += choice.text;
  found?.tokens.forEach((token, i) => {
    const place = tokens.length;
    const span = make("span", { role: "option", tabIndex: place ? -1 : 0, "aria-selected": "false" });
    span.textContent = token.replace(/\n/g, "\u21b5\n");
    const logProb = found.token_logprobs[i];
    const own = { token, logProb, top: found.top_logprobs?.[i] ?? {}, drawn: found.log_q[i] !== null, span };
    span.classList.toggle("drawn", own.drawn);
    span.setAttribute("aria-label", `${quoted(token)}, ${given(logProb)}`);
    span.addEventListener("focus", () => select(place));
    span.addEventListener("pointerenter", () => select(place));
    tokens.push(own);
    list.append(span);
    colour(own);
  });
}

function colour({ span, logProb }) {
  paint(span, logProb === null ? 0 : -logProb / MOST);
}

const quoted = (token) => `\u201c${token.replace(/\n/g, "\\n")}\u201d`;
const given = (logProb) => (logProb === null ? "given, without a probability" : nats(logProb));

/** Show the alternatives of a token. */
function select(place) {
  tokens.forEach(({ span }, i) => {
    span.setAttribute("aria-selected", String(i === place));
    span.tabIndex = i === place ? 0 : -1;
  });
  const { token, logProb, top } = tokens[place];
  byId("token-title").textContent = `${quoted(token)}: ${given(logProb)}`;
  const rows = Object.entries(top).sort((a, b) => b[1] - a[1]);
  bars(byId("alternatives"), "token", rows.map(([each, value]) => [make("code", {}, quoted(each)), Math.exp(value)]));
}

list.addEventListener("keydown", (key) => {
  const at = tokens.findIndex(({ span }) => span === document.activeElement);
  const to = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: tokens.length - 1 }[key.key];
  if (to === undefined) return;
  key.preventDefault();
  tokens[to]?.span.focus();
});

function total() {
  const words = [["the prompt", false], ["the continuation", true]].flatMap(([name, drawn]) => {
    const some = tokens.filter((each) => each.drawn === drawn && each.logProb !== null);
    if (!some.length) return [];
    const sum = some.reduce((part, each) => part + each.logProb, 0);
    return [`log p of ${name}: ${nats(sum)} over ${some.length} tokens, perplexity ${decimal(Math.exp(-sum / some.length))}`];
  });
  byId("text-total").textContent = words.join(". ");
}

const body = () => ({
  model: bundle.name, prompt: byId("prompt").value, echo: true, logprobs: TOP, log_q: true, seed: number(byId("text-seed")),
});

byId("text-form").addEventListener("submit", async (submitted) => {
  submitted.preventDefault();
  begun();
  const wanted = {
    ...body(),
    max_tokens: number(byId("tokens")),
    temperature: number(byId("text-temperature")),
    top_p: number(byId("text-top-p")),
  };
  await act("text", "Drawing tokens", async (signal) => {
    for await (const { data } of stream("v1/completions", wanted, signal)) {
      if (data === "[DONE]") return `Drew ${tokens.filter((each) => each.drawn).length} tokens`;
      const { choices, error } = JSON.parse(data);
      if (error) throw new Problem(500, error.message);
      for (const choice of choices) add(choice);
    }
    throw new Problem(0, "The server ended the connection before the end of the text.");
  });
  ended();
});

byId("score").addEventListener("click", async () => {
  begun();
  await act("text", "Computing log p", async (signal) => {
    const found = await post("v1/completions", { ...body(), max_tokens: 0 }, signal);
    add(found.choices[0]);
    return "Computed log p of the prompt";
  });
  ended();
});

function running(yes) {
  byId("text-continue").disabled = byId("score").disabled = yes;
  byId("text-stop").disabled = !yes;
}

function begun() {
  clear();
  running(true);
}

function ended() {
  running(false);
  byId("adopt").disabled = !text;
  total();
}

byId("text-stop").addEventListener("click", () => {
  stop("text");
  say("Stopped");
});

byId("adopt").addEventListener("click", () => {
  byId("prompt").value = text;
  byId("prompt").focus();
});

onTheme(() => {
  tokens?.forEach(colour);
  if (bundle) legend(byId("text-legend"), MOST, " or more; drawn tokens are underlined");
});
