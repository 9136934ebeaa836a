'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { accept, away, quiet, refuse, reply, world } = require('./world');

const names = (count, from = 0) => Array.from({ length: count }, (_, index) => `event_${from + index}`);

test('what is emitted in one go travels together, a hundred at a time and in order', async () => {
  const { api, server } = world();
  const outcomes = names(250).map((name) => api.eventsManager.broadcast(name, {}));
  await api.flush();
  assert.deepEqual(server.batches(), [names(100), names(100, 100), names(50, 200)]);
  assert.equal((await outcomes[249]).published[0].offset, 50);
  assert.equal(server.calls[0].url, 'http://relais.test/api/v1/events');
  assert.equal(server.calls[0].headers.authorization, 'Bearer rk_1_x');
});

test('a batch stays below the size that the server takes', async () => {
  const { api, server } = world();
  for (const name of names(40)) api.eventsManager.broadcast(name, { text: 'x'.repeat(60_000) });
  await api.flush();
  assert.deepEqual(server.batches().map((batch) => batch.length), [17, 17, 6]);
});

test('while the server is away the same call is made again, ever less often, and nothing overtakes it', async () => {
  const { api, server, clock, logged } = world();
  server.answers = [away, () => reply(503, 'down'), () => reply(200, '<html>'), accept];
  const first = api.eventsManager.broadcast('first', {});
  await quiet();
  api.eventsManager.broadcast('second', {});
  for (const pause of [250, 500, 1000]) {
    assert.deepEqual(clock.pending(), [pause]);
    await clock.advance(pause);
  }
  assert.equal((await first).status, 'published');
  await api.flush();
  assert.deepEqual(server.batches(), [['first'], ['first'], ['first'], ['first'], ['second']]);
  const keys = server.calls.map(({ headers }) => headers['idempotency-key']);
  assert.equal(new Set(keys.slice(0, 4)).size, 1);
  assert.notEqual(keys[4], keys[0]);
  assert.deepEqual(logged.map((line) => line.slice(0, 4)), ['warn', 'info']);
});

test('pauses end at fifteen seconds, and half of each is chance', async () => {
  const { api, server, clock } = world({ random: () => 0 });
  server.answers = Array.from({ length: 12 }, () => away);
  api.eventsManager.broadcast('event', {});
  await quiet();
  for (let attempt = 0; attempt < 11; attempt += 1) await clock.advance(clock.pending()[0]);
  assert.deepEqual(clock.pending(), [7500]);
});

test('the pause that the server asks for is kept, in seconds or until a date', async () => {
  const { api, server, clock } = world();
  const date = new Date(clock.now() + 60_000).toUTCString();
  server.answers = [
    () => reply(429, { code: 'too_many' }, { 'retry-after': '7' }),
    () => reply(503, { code: 'draining' }, { 'retry-after': date }),
  ];
  api.eventsManager.broadcast('event', {});
  await quiet();
  assert.deepEqual(clock.pending(), [7000]);
  await clock.advance(7000);
  assert.deepEqual(clock.pending(), [53_000]);
});

test('a server that does not answer is given up after a time, and asked again', async () => {
  const { api, server, clock } = world({ timeoutMs: 2000 });
  const silent = ({ signal }) => new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason));
  });
  server.answers = [silent];
  const outcome = api.eventsManager.broadcast('event', {});
  await quiet();
  await clock.advance(2000);
  await clock.advance(250);
  assert.equal((await outcome).status, 'published');
});

test('an event that is refused fails alone, and the others keep their order', async () => {
  const { api, server, failed } = world();
  const isWrong = ({ name }) => name === 'event_2';
  const picky = (call) => (call.events.some(isWrong) ? refuse('forbidden', 403)() : accept(call));
  server.answers = Array.from({ length: 9 }, () => picky);
  const outcomes = names(5).map((name) => api.eventsManager.broadcast(name, {}));
  await api.flush();
  const statuses = (await Promise.all(outcomes)).map(({ status }) => status);
  assert.deepEqual(statuses, ['published', 'published', 'failed', 'published', 'published']);
  assert.deepEqual(failed.map(([name]) => name), ['event_2']);
  assert.match(failed[0][1], /403 forbidden.*scope/);
  assert.deepEqual(server.batches().slice(1), [names(2), names(3, 2), names(1, 2), names(2, 3)]);
});

test('a key that is not known fails everything at once', async () => {
  const { api, server, failed } = world();
  server.answers = [refuse('unauthenticated', 401)];
  for (const name of names(3)) api.eventsManager.broadcast(name, {});
  await api.flush();
  assert.deepEqual([server.calls.length, failed.length], [1, 3]);
  assert.match(failed[0][1], /relais key add/);
});

test('what cannot be published is refused before it can hold up others', async () => {
  const { api, server, failed } = world();
  const loop = {};
  loop.self = loop;
  const wrong = [
    api.eventsManager.broadcast('no spaces', {}),
    api.eventsManager.broadcast('disconnect', {}),
    api.eventsManager.broadcast('event', 'text'),
    api.eventsManager.broadcast('event', [1]),
    api.eventsManager.broadcast('event', loop),
    api.eventsManager.broadcast('event', { text: 'x'.repeat(65_536) }),
    api.eventsManager.emitToUser(undefined, 'event', {}),
    api.eventsManager.emitToPage('mod*', 'event', {}),
  ];
  api.eventsManager.broadcast('user:module:online', {});
  await api.flush();
  for (const outcome of wrong) assert.equal((await outcome).status, 'failed');
  assert.equal(failed.length, wrong.length);
  assert.deepEqual(server.batches(), [['user:module:online']]);
});

test('data counts as it was when it was emitted', async () => {
  const { api, server } = world();
  const data = { n: 1 };
  api.eventsManager.broadcast('event', data);
  data.n = 2;
  await api.flush();
  assert.deepEqual(server.calls[0].events[0].data, { n: 1 });
});

test('without room the oldest ephemeral events go first, then new ones fail', async () => {
  const { api, server, clock, failed } = world({ queueMax: 3 });
  server.answers = [away];
  api.eventsManager.broadcast('under_way', {});
  await quiet();
  const telemetry = ['t1', 't2'].map((name) => api.eventsManager.broadcast(name, {}, { ephemeral: true }));
  names(3).forEach((name) => api.eventsManager.broadcast(name, {}));
  const late = [api.eventsManager.broadcast('late', {}), api.eventsManager.broadcast('t3', {}, { ephemeral: true })];
  assert.deepEqual((await Promise.all(telemetry)).map(({ status }) => status), ['dropped', 'dropped']);
  assert.deepEqual((await Promise.all(late)).map(({ status }) => status), ['failed', 'failed']);
  assert.match(failed[0][1], /queue is full \(3 events.*queueMax/);
  await clock.advance(250);
  await api.flush();
  assert.deepEqual(server.batches(), [['under_way'], ['under_way'], names(3)]);
});

test('room is counted in bytes, too', async () => {
  const { api, server, failed } = world({ queueBytesMax: 1000 });
  server.answers = [away];
  api.eventsManager.broadcast('under_way', {});
  await quiet();
  for (const name of names(3)) api.eventsManager.broadcast(name, { text: 'x'.repeat(400) });
  assert.deepEqual(failed.map(([name]) => name), ['event_2']);
});

test('an error that nobody handles harms nobody', async () => {
  const { api, server, logged } = world({ onError: () => { throw new Error('mine'); } });
  server.answers = [refuse('invalid_event')];
  api.eventsManager.broadcast('event', {});
  await api.flush();
  assert.ok(logged.some((line) => line.includes('onError failed: mine')));
});

test('closing delivers what waits, and takes nothing more', async () => {
  const { api, server } = world();
  const waiting = api.eventsManager.broadcast('event', {});
  await api.close();
  assert.equal((await waiting).status, 'published');
  assert.equal((await api.eventsManager.broadcast('late', {})).status, 'failed');
  assert.equal(server.calls.length, 1);
});

test('closing ends in time when the server is away, and says what was not delivered', async () => {
  const { api, server, clock, failed } = world();
  server.answers = [away, away, away];
  api.eventsManager.broadcast('event', {});
  await quiet();
  api.eventsManager.broadcast('another', {});
  const closed = api.close({ timeoutMs: 100 });
  await clock.advance(100);
  await closed;
  assert.deepEqual(failed.map(([name]) => name), ['event', 'another']);
  assert.deepEqual(clock.pending(), []);
});
