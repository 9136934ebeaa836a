'use strict';

const { randomUUID } = require('node:crypto');

const { makeEvent } = require('./event');
const { settled, together } = require('./outcome');
const { Queue } = require('./queue');

/** Events of one call, as the server has it, and bytes, which leave room below its limit of 2 MB. */
const BATCH_EVENTS_MAX = 100;
const BATCH_BYTES_MAX = 1024 * 1024;
const PAUSE_MIN_MS = 250;
const PAUSE_MAX_MS = 15_000;

/**
 * Delivers events in their order, one batch at a time. A batch is tried until there is an answer, under the same
 * idempotency key, so that nothing is lost and nothing is there twice.
 */
class Publisher {
  #closed = false;
  #working = false;
  /** What `flush()` waits for. */
  #waiting = new Set();
  #stop = new AbortController();
  /** Whether the server was away at the last try; said once, not at every try. */
  #away = false;

  constructor(transport, settings) {
    Object.assign(this, { transport, settings, logger: settings.logger });
    this.queue = new Queue({ eventsMax: settings.queueMax, bytesMax: settings.queueBytesMax });
  }

  /**
   * @param {{topic: string, name: string, data?: object, ephemeral?: boolean, key?: string}[]} events
   * @returns {Promise<import('../index').Outcome>} when all are stored or one has failed; it never rejects
   */
  publish(events) {
    return Promise.all(events.map((event) => this.#enqueue(event))).then(together);
  }

  /** @returns {Promise<void>} when everything that was published so far has its outcome */
  async flush() {
    await Promise.all(this.#waiting);
  }

  /** Delivers what waits, for so long at most, and takes nothing more. */
  async close(timeoutMs) {
    this.#closed = true;
    const timer = this.settings.setTimeout(() => this.#stop.abort(new Error('it was closed')), timeoutMs);
    await this.flush();
    this.settings.clearTimeout(timer);
  }

  #enqueue(given) {
    let event;
    try {
      if (this.#closed) throw new Error(`${given.name} came after close()`);
      event = makeEvent(given);
    } catch (error) {
      this.logger.error(`[RealTimeAPI] ${error.message}`);
      return settled(this.#failure({ topic: given.topic, name: given.name }, error));
    }
    const outcome = new Promise((resolve) => {
      event.resolve = resolve;
    });
    this.#waiting.add(outcome);
    outcome.then(() => this.#waiting.delete(outcome));
    const { accepted, dropped } = this.queue.push(event);
    if (!accepted) this.#fail([event], this.#full());
    this.#drop(dropped);
    if (!this.#working) this.#work();
    return outcome;
  }

  async #work() {
    this.#working = true;
    // What is emitted in one go travels together.
    await null;
    while (this.queue.length > 0) {
      if (this.#stop.signal.aborted) this.#fail(this.queue.drain(), this.#undelivered());
      else await this.#deliver(this.queue.take(BATCH_EVENTS_MAX, BATCH_BYTES_MAX));
    }
    this.#working = false;
  }

  async #deliver(batch) {
    const body = `{"events":[${batch.map((event) => event.json).join(',')}]}`;
    const idempotencyKey = randomUUID();
    for (let attempt = 0; ; attempt += 1) {
      const answer = await this.transport.publish(body, idempotencyKey, this.#stop.signal);
      if (answer.published) return this.#delivered(batch, answer.published);
      if (answer.refused) return this.#refused(batch, answer);
      if (this.#stop.signal.aborted) return this.#fail(batch, this.#undelivered());
      if (!this.#away) this.logger.warn(`[RealTimeAPI] ${answer.again.message} Events wait.`);
      this.#away = true;
      await this.#pause(Math.max(answer.afterMs, this.#backoffMs(attempt)));
    }
  }

  #delivered(batch, published) {
    if (this.#away) this.logger.info('[RealTimeAPI] The server is back; waiting events are delivered.');
    this.#away = false;
    batch.forEach((event, index) => event.resolve({ status: 'published', published: [published[index]] }));
  }

  /** A batch is refused as a whole: its halves find out which event it is about. */
  async #refused(batch, { refused, all }) {
    if (all || batch.length === 1) return this.#fail(batch, refused);
    const middle = batch.length >> 1;
    await this.#deliver(batch.slice(0, middle));
    await this.#deliver(batch.slice(middle));
  }

  /** Doubles each time; half of it is left to chance, so that applications do not come back all at once. */
  #backoffMs(attempt) {
    const most = Math.min(PAUSE_MIN_MS * 2 ** attempt, PAUSE_MAX_MS);
    return (most * (1 + this.settings.random())) / 2;
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const { signal } = this.#stop;
      const over = () => {
        this.settings.clearTimeout(timer);
        signal.removeEventListener('abort', over);
        resolve();
      };
      const timer = this.settings.setTimeout(over, ms);
      signal.addEventListener('abort', over);
      if (signal.aborted) over();
    });
  }

  #fail(batch, error) {
    if (batch.length === 0) return;
    const more = batch.length > 1 ? ` and ${batch.length - 1} more` : '';
    this.logger.error(`[RealTimeAPI] ${batch[0].name} for ${batch[0].topic}${more}: ${error.message}`);
    for (const event of batch) event.resolve(this.#failure(event, error));
  }

  #failure({ topic, name }, error) {
    try {
      this.settings.onError?.(error, { topic, name });
    } catch (fault) {
      this.logger.error(`[RealTimeAPI] onError failed: ${fault.message}`);
    }
    return { status: 'failed', published: [], error };
  }

  #drop(events) {
    for (const event of events) event.resolve({ status: 'dropped', published: [] });
  }

  #full() {
    const { queueMax, queueBytesMax } = this.settings;
    const text = `The queue is full (${queueMax} events, ${queueBytesMax} bytes): the server is away or too slow`;
    return new Error(`${text}; bring it back, or raise queueMax and queueBytesMax.`);
  }

  #undelivered() {
    return new Error('Not delivered before close() ended; the server may or may not have it.');
  }
}

module.exports = { Publisher };
