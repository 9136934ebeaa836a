'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');

const RealTimeAPI = require('..');
const { away, refuse, reply, world } = require('./world');

test('a key that the server knows is fine', async () => {
  const { api, server } = world();
  server.answers = [() => reply(200, { principal: 'key:1', user: null })];
  await api.initialize({ sockets: 'of before' });
  assert.deepEqual(server.calls.map(({ method, url }) => [method, url]), [['GET', 'http://relais.test/api/auth/me']]);
});

test('what cannot work is said at the start, with a remedy', async () => {
  const answers = [
    [refuse('unauthenticated', 401), /relais key add/],
    [() => reply(200, { principal: 'user:7' }), /is a user's token.*relais key add/],
    [() => reply(404, '<html>'), /not as Relais does; check RELAIS_URL/],
    [() => reply(301, '', { location: 'https://relais.test/' }), /points to https:\/\/relais.test\//],
  ];
  for (const [answer, remedy] of answers) {
    const { api, server } = world();
    server.answers = [answer];
    await assert.rejects(api.initialize(), remedy);
  }
});

test('a server that is away does not keep the application from starting', async () => {
  for (const answer of [away, () => reply(502, 'bad gateway'), refuse('draining', 503)]) {
    const { api, server, logged } = world();
    server.answers = [answer];
    await api.initialize();
    assert.match(logged[0], /^warn: .*relais\.test/);
  }
});

test('settings come from the environment, and what is missing is said', async () => {
  const quiet = { info() {}, warn() {}, error() {} };
  const cases = [
    [{}, /RELAIS_URL is not set/],
    [{ url: 'ftp://relais.test', key: 'k' }, /not an http/],
    [{ url: 'nowhere', key: 'k' }, /not an http/],
    [{ url: 'http://relais.test' }, /RELAIS_KEY is not set/],
    [{ url: 'http://relais.test', key: 'k', timeZone: 'Mars' }, /not a time zone/],
  ];
  for (const [options, remedy] of cases) {
    const api = new RealTimeAPI({ ...options, logger: quiet });
    await assert.rejects(api.initialize(), remedy);
    assert.equal((await api.eventsManager.broadcast('event', {})).status, 'failed');
  }
  Object.assign(process.env, { RELAIS_URL: 'http://relais.test:9/', RELAIS_KEY: 'k' });
  assert.equal(new RealTimeAPI().transport.origin, 'http://relais.test:9');
});

test('it is there for require and for import', async () => {
  const loaded = await import('../index.mjs');
  assert.equal(loaded.default, RealTimeAPI);
  assert.equal(loaded.RealTimeAPI, RealTimeAPI.RealTimeAPI);
});
