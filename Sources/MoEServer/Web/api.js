// SPDX-License-Identifier: Apache-2.0
// Talking to the server: requests, typed failures, streams of events. The key lives in this tab's session only.

const KEY = "moe-infer.key";
const LONGEST_EVENT = 16 * 1024 * 1024;

export class Failure extends Error {
  constructor(message, { status = 0, type = "", code = "", retryAfter = null, requestID = null, key = "" } = {}) {
    super(message);
    Object.assign(this, { status, type, code, retryAfter, requestID });
    // Not for who shows or keeps it.
    Object.defineProperty(this, "key", { value: key });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/** The response to a request, or a Failure (an abort stays an AbortError). */
export async function call(path, { body, signal } = {}) {
  const headers = { accept: body?.stream ? "text/event-stream" : "application/json" };
  if (body) headers["content-type"] = "application/json";
  const used = key.get();
  if (used) headers.authorization = `Bearer ${used}`;
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("The server cannot be reached.", { type: "connection" });
  }
  if (response.ok) return response;
  let told = null;
  try {
    told = (await response.json()).error;
  } catch {
    // Not the server's own answer: a proxy's, or none.
  }
  throw new Failure(told?.message || `The server answered ${response.status}.`, {
    status: response.status,
    type: told?.type ?? "",
    code: told?.code ?? "",
    retryAfter: waitOf(response.headers),
    requestID: response.headers.get("x-request-id"),
    key: used,
  });
}

function waitOf(headers) {
  const milliseconds = Number(headers.get("retry-after-ms"));
  if (milliseconds > 0) return milliseconds / 1000;
  const wait = Number(headers.get("retry-after"));
  return wait > 0 ? wait : null;
}

export const read = async (path, options) => (await call(path, options)).json();

/** The JSON of each server-sent event until `[DONE]`. Fails if the server says so, or if the stream ends before that. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  try {
    for (;;) {
      let piece;
      try {
        piece = await reader.read();
      } catch (error) {
        if (error.name === "AbortError") throw error;
        throw new Failure("The connection broke before the answer was complete.", { type: "connection" });
      }
      if (piece.done) throw new Failure("The stream ended before the answer was complete.", { type: "connection" });
      rest += piece.value;
      if (rest.length > LONGEST_EVENT) throw new Failure("The server sent an event of over 16 MiB.", { type: "protocol" });
      let from = 0;
      for (;;) {
        const end = rest.indexOf("\n", from);
        if (end < 0) break;
        const line = rest.slice(from, end > from && rest[end - 1] === "\r" ? end - 1 : end);
        from = end + 1;
        if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
        if (line !== "" || data.length === 0) continue;
        const text = data.join("\n");
        data = [];
        if (text === "[DONE]") return;
        yield parse(text);
      }
      rest = rest.slice(from);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Failure("The server sent an event that is not JSON.", { type: "protocol" });
  }
  if (value?.error) {
    const { message, type, code } = value.error;
    throw new Failure(message || "The server failed.", { type: type ?? "", code: code ?? "" });
  }
  return value;
}
