/**
 * A client of the relay: send, list, fetch and listen, without losing an event. No dependencies; Node 20.3 or
 * newer.
 */

const PAUSE_MAX_MS = 30_000;
/** The server sends a sign of life every 25 s; a stream without one for this long is dead. */
const SILENCE_MAX_MS = 75_000;

/** The server said no. `detail` says why; `line` and `column` say where, for JSON that is not valid. */
export class RelayError extends Error {
  constructor(status, body) {
    const place = body.line ? `, line ${body.line}, column ${body.column}` : "";
    super(`${body.detail ?? "no reason given"} (${status}${place})`);
    this.status = status;
    this.detail = body.detail;
    this.line = body.line;
    this.column = body.column;
  }
}

/** One server, and the right to use it. */
export class Relay {
  #server;
  #headers;

  constructor(server, key) {
    this.#server = server.replace(/\/+$/, "");
    this.#headers = key ? { Authorization: `Bearer ${key}` } : {};
  }

  async societes() {
    return (await (await this.#call("GET", ["societes"])).json()).societes;
  }

  async files(societe) {
    return (await (await this.#call("GET", ["societe", societe, "files"])).json()).files;
  }

  /** Sends a file. The same content again changes nothing and tells nobody. */
  async upload(societe, filename, content) {
    const form = new FormData();
    form.append("file", new Blob([content], { type: "application/json" }), filename);
    return (await this.#call("POST", ["upload", societe], { body: form })).json();
  }

  /**
   * The content as text, and its ETag. With the ETag of a copy that is still the present one, `content` is null.
   */
  async download(societe, filename, etag) {
    const headers = etag ? { "If-None-Match": etag } : {};
    const answer = await this.#call("GET", ["download", societe, filename], { headers });
    const content = answer.status === 304 ? null : await answer.text();
    return { content, etag: answer.headers.get("ETag") };
  }

  async delete(societe, filename) {
    await this.#call("DELETE", ["delete", societe, filename]);
  }

  /**
   * Yields `{event, cursor}` for ever, across lost connections.
   *
   * Keep the cursor once the event is dealt with. Given to the next `listen`, it continues there: nothing is
   * missed and nothing comes twice. An event of type `resync` means that the server no longer knows what happened
   * since the cursor: list the files again.
   */
  async *listen({ societes = [], cursor, signal } = {}) {
    for (let failures = 0; !signal?.aborted; failures = Math.min(failures + 1, 16)) {
      try {
        for await (const message of this.#stream(societes, cursor, signal)) {
          failures = 0;
          cursor = message.id || cursor;
          const event = JSON.parse(message.data);
          if (message.event === "connection") {
            if (event.recovered === false) yield { event: { type: "resync" }, cursor };
          } else if (message.event !== "close") {
            yield { event, cursor };
          } else if (event.reconnect === false) {
            throw new RelayError(event.code, { detail: event.reason });
          }
        }
      } catch (error) {
        const passes = !(error instanceof RelayError) || error.status === 429 || (error.status >= 500 && error.status < 600);
        if (signal?.aborted) return;
        if (!passes || error instanceof SyntaxError) throw error;
      }
      // Chance keeps many clients from coming back in the same moment.
      const pause = Math.min(PAUSE_MAX_MS, 500 * 2 ** failures) * (0.5 + Math.random() / 2);
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** The messages of one connection to the event stream. */
  async *#stream(societes, cursor, signal) {
    const silence = new AbortController();
    const watch = setInterval(() => Date.now() - heard > SILENCE_MAX_MS && silence.abort(), 5000);
    let heard = Date.now();
    try {
      const query = new URLSearchParams(societes.map((societe) => ["societe", societe]));
      const headers = { Accept: "text/event-stream", ...(cursor && { "Last-Event-ID": cursor }) };
      const signals = AbortSignal.any([silence.signal, ...(signal ? [signal] : [])]);
      const answer = await this.#call("GET", ["events"], { headers, query, signal: signals });
      const text = new TextDecoder();
      let rest = "";
      for await (const piece of answer.body) {
        heard = Date.now();
        rest += text.decode(piece, { stream: true });
        const blocks = rest.split("\n\n");
        rest = blocks.pop();
        yield* blocks.map(parse).filter((message) => message.data);
      }
    } finally {
      clearInterval(watch);
    }
  }

  async #call(method, path, { headers, query, ...options } = {}) {
    const address = `${this.#server}/api/files/${path.map(encodeURIComponent).join("/")}?${query ?? ""}`;
    const answer = await fetch(address, { method, headers: { ...this.#headers, ...headers }, ...options });
    if (answer.ok || answer.status === 304) return answer;
    throw new RelayError(answer.status, await answer.json().catch(() => ({ detail: answer.statusText })));
  }
}

/** One block of the event stream: `field: value` lines. */
function parse(block) {
  const message = { id: "", event: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (field in message) message[field] = value;
  }
  return message;
}
