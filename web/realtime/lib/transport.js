'use strict';

/** Answers that say "later", although they are of the 4xx kind. */
const LATER = new Set([408, 425, 429]);
/** The longest pause that a server may ask for. */
const RETRY_AFTER_MAX_MS = 10 * 60_000;

/** Calls the server, and says what its answer means. */
class Transport {
  constructor({ origin, key, fault, fetch, timeoutMs, setTimeout, clearTimeout, now }) {
    Object.assign(this, { origin, key, fault, fetch, timeoutMs, setTimeout, clearTimeout, now });
  }

  /**
   * Whether the server takes the key.
   *
   * @returns {Promise<{reached: boolean, error?: Error}>} `reached: false` if another try may go better
   */
  async check() {
    if (this.fault) return { reached: true, error: this.fault };
    const answer = await this.#call('GET', '/api/auth/me', {});
    if (answer.status === undefined || (answer.status >= 500 && !answer.body?.code)) {
      return { reached: false, error: answer.error ?? new Error(`${this.origin} answered ${answer.status}.`) };
    }
    if (answer.status === 200 && String(answer.body?.principal).startsWith('key:')) return { reached: true };
    if (answer.status === 200 && answer.body?.principal) return { reached: true, error: notAKey() };
    if (answer.status === 401) return { reached: true, error: this.#keyRefused() };
    if (LATER.has(answer.status) || answer.status >= 500) {
      return { reached: false, error: new Error(`${this.origin} answered ${answer.status}.`) };
    }
    return { reached: true, error: this.#notRelais(answer) };
  }

  /**
   * Publishes events, all or none.
   *
   * @param {string} body
   * @param {string} idempotencyKey makes a second try the same call
   * @param {AbortSignal} signal
   * @returns {Promise<{published: object[]} | {refused: Error, all?: boolean} | {again: Error, afterMs: number}>}
   */
  async publish(body, idempotencyKey, signal) {
    if (this.fault) return { refused: this.fault, all: true };
    const headers = { 'content-type': 'application/json', 'idempotency-key': idempotencyKey };
    const answer = await this.#call('POST', '/api/v1/events', headers, body, signal);
    if (answer.error) return { again: answer.error, afterMs: 0 };
    const { status, body: reply } = answer;
    if (status === 200 && Array.isArray(reply?.published)) return { published: reply.published };
    // A refusal counts if Relais said it, and not a proxy whose server is away.
    if (status === 401 && reply?.code) return { refused: this.#keyRefused(), all: true };
    if (status >= 400 && status < 500 && !LATER.has(status) && reply?.code) return { refused: refusal(status, reply) };
    const again = status < 400 ? this.#notRelais(answer) : new Error(`${this.origin} answered ${status}.`);
    return { again, afterMs: this.#retryAfterMs(answer.retryAfter) };
  }

  async #call(method, path, headers, body, signal) {
    const abort = new AbortController();
    const timer = this.setTimeout(() => abort.abort(new Error(`no answer in ${this.timeoutMs} ms`)), this.timeoutMs);
    const stop = () => abort.abort(signal.reason);
    signal?.addEventListener('abort', stop);
    if (signal?.aborted) stop();
    try {
      const response = await this.fetch(this.origin + path, {
        method,
        body,
        headers: { ...headers, authorization: `Bearer ${this.key}` },
        // A key is for this server, not for where it may point.
        redirect: 'manual',
        signal: abort.signal,
      });
      return {
        status: response.status,
        body: parse(await response.text()),
        retryAfter: response.headers.get('retry-after'),
        location: response.headers.get('location'),
      };
    } catch (error) {
      const reason = error.cause?.message || error.cause?.code || error.message;
      return { error: new Error(`${this.origin} cannot be reached (${reason}); check RELAIS_URL and the server.`) };
    } finally {
      this.clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    }
  }

  /** Seconds or a date (RFC 9110, 10.2.3), in milliseconds from now. */
  #retryAfterMs(text) {
    if (!text) return 0;
    const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - this.now();
    return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), RETRY_AFTER_MAX_MS) : 0;
  }

  #keyRefused() {
    return new Error(`${this.origin} does not know RELAIS_KEY, or it was revoked; make a key with \`relais key add\`.`);
  }

  #notRelais({ status, location }) {
    const moved = location ? ` It points to ${location}: set RELAIS_URL to where the server is.` : '';
    return new Error(`${this.origin} answered ${status}, but not as Relais does; check RELAIS_URL.${moved}`);
  }
}

function notAKey() {
  const command = "relais key add --name express --scope 'events:publish:*'";
  return new Error(`RELAIS_KEY is a user's token; publishing needs a key: \`${command}\`.`);
}

function refusal(status, { code, message }) {
  const remedy = code === 'forbidden' ? ' The key needs a scope such as events:publish:*.' : '';
  return Object.assign(new Error(`Refused with ${status} ${code}: ${message}.${remedy}`), { status, code });
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

module.exports = { Transport };
