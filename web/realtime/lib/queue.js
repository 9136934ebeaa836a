'use strict';

/** Events that wait, in their order, limited in number and in bytes. */
class Queue {
  constructor({ eventsMax, bytesMax }) {
    Object.assign(this, { eventsMax, bytesMax });
    this.events = [];
    this.bytes = 0;
  }

  get length() {
    return this.events.length;
  }

  /**
   * Takes an event in. To make room, ephemeral ones go, the oldest first.
   *
   * @returns {{accepted: boolean, dropped: object[]}} nothing is dropped for an event that finds no room all the same
   */
  push(event) {
    const gone = this.#oldestEphemeral(this.length + 1 - this.eventsMax, this.bytes + event.bytes - this.bytesMax);
    if (!gone) return { accepted: false, dropped: [] };
    if (gone.size > 0) {
      this.events = this.events.filter((waiting) => !gone.has(waiting));
      for (const event of gone) this.bytes -= event.bytes;
    }
    this.events.push(event);
    this.bytes += event.bytes;
    return { accepted: true, dropped: [...gone] };
  }

  /** The next events, as many as may travel together; always at least one. */
  take(eventsMax, bytesMax) {
    let [count, bytes] = [0, 0];
    for (const event of this.events.slice(0, eventsMax)) {
      if (count > 0 && bytes + event.bytes > bytesMax) break;
      bytes += event.bytes;
      count += 1;
    }
    this.bytes -= bytes;
    return this.events.splice(0, count);
  }

  /** Everything that waits. */
  drain() {
    this.bytes = 0;
    return this.events.splice(0);
  }

  /** The oldest ephemeral events that together free so much; nothing if there are too few. */
  #oldestEphemeral(count, bytes) {
    const gone = new Set();
    for (const event of this.events) {
      if (count <= 0 && bytes <= 0) break;
      if (!event.ephemeral) continue;
      gone.add(event);
      count -= 1;
      bytes -= event.bytes;
    }
    return count <= 0 && bytes <= 0 ? gone : undefined;
  }
}

module.exports = { Queue };
