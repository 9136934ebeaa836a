'use strict';

const SILENT = { info() {}, warn: (text) => console.warn(text), error: (text) => console.error(text) };

/**
 * The options, completed. What is wrong with the address or the key is kept as `fault`: a constructor that throws
 * would end the application before it can say why.
 *
 * @param {import('../index').Options} options
 * @param {Record<string, string|undefined>} env
 */
function readSettings(options, env) {
  const settings = {
    key: options.key ?? env.RELAIS_KEY,
    logger: options.logger ?? SILENT,
    onError: options.onError,
    queueMax: options.queueMax ?? 10_000,
    queueBytesMax: options.queueBytesMax ?? 16 * 1024 * 1024,
    timeoutMs: options.timeoutMs ?? 10_000,
    fetch: options.fetch ?? ((...call) => globalThis.fetch(...call)),
    setTimeout: options.setTimeout ?? setTimeout,
    clearTimeout: options.clearTimeout ?? clearTimeout,
    now: options.now ?? Date.now,
    random: options.random ?? Math.random,
  };
  const url = options.url ?? env.RELAIS_URL ?? env.RELAIS_SERVER;
  const key = settings.key ? {} : { fault: noKey() };
  return { ...settings, ...readTimeZone(options.timeZone), ...key, ...readUrl(url) };
}

function readTimeZone(timeZone) {
  try {
    return { timeZone: new Intl.DateTimeFormat('fr-FR', { timeZone }).resolvedOptions().timeZone };
  } catch {
    return { fault: new Error(`timeZone: ${JSON.stringify(timeZone)} is not a time zone such as Europe/Paris`) };
  }
}

function readUrl(url) {
  if (!url) {
    return { fault: new Error('RELAIS_URL is not set: give the address of the server, such as http://127.0.0.1:8000') };
  }
  try {
    const { protocol, origin, pathname } = new URL(url);
    if (/^https?:$/.test(protocol)) return { origin: origin + pathname.replace(/\/+$/, '') };
  } catch {
    // Told below, together with other kinds of addresses.
  }
  return { fault: new Error(`RELAIS_URL: ${JSON.stringify(url)} is not an http:// or https:// address`) };
}

function noKey() {
  const command = "relais key add --name express --scope 'events:publish:*'";
  return new Error(`RELAIS_KEY is not set: make a key on the server with \`${command}\``);
}

module.exports = { readSettings };
