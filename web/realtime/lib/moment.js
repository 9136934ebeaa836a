'use strict';

/**
 * `lastSeen` as an ISO text, and as people in France read it.
 *
 * @param {Date|number|string|undefined} given
 * @param {number} now milliseconds, for when nothing usable is given
 * @param {string} [timeZone] the computer's if absent
 */
function lastSeen(given, now, timeZone) {
  const moment = new Date(given ?? now);
  const date = Number.isNaN(moment.getTime()) ? new Date(now) : moment;
  return { lastSeen: date.toISOString(), lastSeenFormatted: date.toLocaleString('fr-FR', { timeZone }) };
}

module.exports = { lastSeen };
