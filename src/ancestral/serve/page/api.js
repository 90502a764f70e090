/* Requests to the server that this page came from. */

let key = "";
export const useKey = (value) => { key = value; };

/** What the server, or the browser, says is wrong. */
export class Problem extends Error {
  constructor(status, words) {
    super(words);
    this.status = status;
  }
}

async function send(path, body, signal) {
  const headers = { Accept: "application/json, text/event-stream" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const request = { headers, signal };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    Object.assign(request, { method: "POST", body: JSON.stringify(body) });
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem(0, "The server does not answer. It may have stopped.");
  }
  if (!response.ok) throw new Problem(response.status, await wordsOf(response));
  return response;
}

async function wordsOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text).error.message;
  } catch {
    return `The server answered with status ${response.status}.`;
  }
}

export const get = async (path, signal) => (await send(path, undefined, signal)).json();
export const post = async (path, body, signal) => (await send(path, body, signal)).json();

/** Yield the events of a stream, as {event, data}, with data as text. */
export async function* stream(path, body, signal) {
  const response = await send(path, { ...body, stream: true }, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value.replaceAll("\r", "")).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const found = { event: "message", data: "" };
        for (const line of block.split("\n")) {
          const [, name, content] = /^(event|data): ?(.*)$/.exec(line) ?? [];
          if (name === "event") found.event = content;
          if (name === "data") found.data += content;
        }
        if (found.data) yield found;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Return the result of a call that takes long, and report its progress as (done, total). */
export async function job(name, body, progress, signal) {
  for await (const { event, data } of stream(`v1/ancestral/${name}`, body, signal)) {
    const content = JSON.parse(data);
    if (event === "progress") progress(content.done, content.total);
    if (event === "error") throw new Problem(500, content.error.message);
    if (event === "result") return content;
  }
  throw new Problem(0, "The server ended the connection before the result.");
}
