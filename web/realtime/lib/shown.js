'use strict';

/** Fields that nobody else may see, should an application pass its whole record of a user or a module. */
const PRIVATE = /^(password|passwd|pwd|hash|salt|secret|token|credential)|(password|hash|secret|token|credential)$/i;

/** What of a record may be told. */
function shown(record) {
  return Object.fromEntries(Object.entries(record ?? {}).filter(([field]) => !PRIVATE.test(field)));
}

module.exports = { shown };
