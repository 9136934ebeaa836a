'use strict';

const NAME = /^[A-Za-z0-9_.:-]{1,100}$/;
/** Names that Socket.IO keeps for itself, and names that the chat alone publishes. */
const RESERVED = new Set([
  'connect', 'connect_error', 'disconnect', 'disconnecting', 'newListener', 'removeListener',
  'conversation_joined', 'conversation_left',
]);
const TOPIC_BYTES_MAX = 200;
const DATA_BYTES_MAX = 64 * 1024;

/** An event that cannot be published as it is. */
class EventError extends Error {}

/**
 * An event as it waits: its JSON is made now, so that later changes of `data` do not count.
 *
 * One event that the server refuses would refuse all that travel with it, so what it would refuse is refused here.
 *
 * @throws {EventError}
 */
function makeEvent({ topic, name, data = {}, ephemeral = false, key }) {
  checkName(name);
  checkTopic(topic);
  const text = write(name, data);
  const fields = [`"topic":${JSON.stringify(topic)}`, `"name":${JSON.stringify(name)}`, `"data":${text}`];
  if (ephemeral) fields.push('"ephemeral":true', `"key":${JSON.stringify(String(key ?? ''))}`);
  const json = `{${fields.join(',')}}`;
  return { topic, name, ephemeral, json, bytes: Buffer.byteLength(json) };
}

function checkName(name) {
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw new EventError(`${JSON.stringify(name)} cannot be the name of an event: 1 to 100 letters, digits, _ - . :`);
  }
  if (RESERVED.has(name)) throw new EventError(`The name ${name} is reserved; choose another one`);
}

function checkTopic(topic) {
  if (typeof topic !== 'string' || topic === '' || Buffer.byteLength(topic) > TOPIC_BYTES_MAX) {
    throw new EventError(`A topic has 1 to ${TOPIC_BYTES_MAX} bytes: ${JSON.stringify(topic)}`);
  }
  if (/[*\u0000-\u001f\u007f-\u009f]|(?! )\s/.test(topic) || /:(undefined|null)?$/.test(topic)) {
    throw new EventError(`${JSON.stringify(topic)} is not a topic; check the page or the user id`);
  }
}

function write(name, data) {
  const kind = data === null ? 'null' : Array.isArray(data) ? 'an array' : typeof data;
  let text;
  try {
    text = JSON.stringify(data);
  } catch (error) {
    throw new EventError(`The data of ${name} cannot be written as JSON: ${error.message}`);
  }
  if (!text?.startsWith('{')) throw new EventError(`The data of ${name} is ${kind}; pass an object`);
  if (Buffer.byteLength(text) > DATA_BYTES_MAX) {
    throw new EventError(`The data of ${name} has more than ${DATA_BYTES_MAX} bytes; publish where it can be fetched`);
  }
  return text;
}

module.exports = { EventError, makeEvent };
