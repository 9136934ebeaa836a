'use strict';

const { isDeepStrictEqual } = require('node:util');

const { settled } = require('./outcome');

/** Keys that are remembered at most; the one that has been silent for longest is forgotten. */
const KEYS_MAX = 10_000;

/** What was told last of each key, so that the same value is not told twice in a row. */
class Latest extends Map {
  /**
   * Calls `emit` unless `value` is what was told last. A value that did not get through does not count as told.
   *
   * @param {string} key
   * @param {unknown} value
   * @param {() => Promise<import('../index').Outcome>} emit
   */
  tell(key, value, emit) {
    // A copy: the application may go on changing its own object.
    const told = copy(value);
    if (this.has(key) && isDeepStrictEqual(this.get(key), told)) return settled({ status: 'unchanged', published: [] });
    this.delete(key);
    this.set(key, told);
    if (this.size > KEYS_MAX) this.delete(this.keys().next().value);
    const outcome = emit();
    outcome.then(({ status }) => {
      if (status !== 'published' && this.get(key) === told) this.delete(key);
    });
    return outcome;
  }

  forget(key) {
    this.delete(key);
  }
}

/** As JSON has it; what JSON cannot have is refused later, with a reason. */
function copy(value) {
  try {
    return { value: JSON.parse(JSON.stringify(value)) };
  } catch {
    return { value };
  }
}

module.exports = { Latest };
