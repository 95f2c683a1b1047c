/**
 * Decodes Server-Sent Events (WHATWG HTML section 9.2) that arrive in pieces of text. Pure. An EventSource cannot send
 * the header with the token.
 */

/** `retry` is in milliseconds, null until the server sends it; `id` is the last id sent. */
export class Decoder {
  retry = null;
  #rest = "";
  #data = [];
  #name = "";

  constructor(id = "") {
    this.id = id;
  }

  /** Returns the events `{name, data, id}` that `text` completes. */
  feed(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    const events = [];
    for (const line of lines) {
      const event = this.#take(line.endsWith("\r") ? line.slice(0, -1) : line);
      if (event) events.push(event);
    }
    return events;
  }

  #take(line) {
    if (!line) return this.#dispatch();
    const at = line.indexOf(":");
    const field = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (field === "data") this.#data.push(value);
    else if (field === "event") this.#name = value;
    else if (field === "id") this.id = value;
    else if (field === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
    return null;
  }

  #dispatch() {
    const [data, name] = [this.#data, this.#name];
    this.#data = [];
    this.#name = "";
    return data.length ? { name: name || "message", data: data.join("\n"), id: this.id } : null;
  }
}

/** Yields the events in the body of a response. */
export async function* eventsOf(body, decoder = new Decoder()) {
  for await (const text of textsOf(body)) {
    const events = decoder.feed(text);
    if (events.length) yield events;
  }
}

/** Yields the text of a body as it arrives. */
export async function* textsOf(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}
