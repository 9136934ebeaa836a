'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');

const { quiet, refuse, world } = require('./world');

const NOW = '2026-11-21T13:04:05.000Z';
const SEEN = { lastSeen: NOW, lastSeenFormatted: '21/11/2026 14:04:05' };
const STATION = 'MC-1001-STN';

/** What was sent, as `[topic, name, data]`. */
async function sent({ api, server }) {
  await api.flush();
  return server.calls.flatMap(({ events }) => events).map(({ topic, name, data }) => [topic, name, data]);
}

test('each way to target is a topic', async () => {
  const here = world();
  const { eventsManager } = here.api;
  eventsManager.broadcast('event_name', {});
  eventsManager.emitToAdmins('admin_event', {});
  eventsManager.emitToPage('modules', 'module_event', {});
  eventsManager.emitToUser(7, 'user_event', {});
  eventsManager.emitToUser('ext:f3a1', 'user_event', {});
  const topics = (await sent(here)).map(([topic]) => topic);
  assert.deepEqual(topics, ['system', 'role:admin', 'page:modules', 'user:7', 'ext:f3a1']);
});

test('a module that comes is told to the page, to administrators and to its owner, once', async () => {
  const here = world();
  const { api } = here;
  api.emitModuleOnline(STATION, { name: 'Quai 1', type: 'Station', userId: 7 });
  assert.equal((await api.emitModuleOnline(STATION, {})).status, 'unchanged');
  api.emitModuleOffline(STATION);
  api.emitModuleOnline(STATION);
  const told = await sent(here);
  const data = { name: 'Quai 1', type: 'Station', userId: 7, moduleId: STATION, online: true, ...SEEN, timestamp: NOW };
  assert.deepEqual(told.slice(0, 3), [
    ['page:modules', 'rt_module_online', data],
    ['role:admin', 'rt_module_online', data],
    ['user:7', 'user:module:online', data],
  ]);
  assert.deepEqual(told.slice(3).map(([, name]) => name),
    ['rt_module_offline', 'rt_module_offline', 'rt_module_online', 'rt_module_online']);
  assert.deepEqual(told[3][2],
    { disconnectedAt: NOW, moduleId: STATION, online: false, ...SEEN, timestamp: NOW });
});

test('a module that is added, changed or removed is told nested and flat', async () => {
  const here = world();
  const { api } = here;
  const given = { moduleId: STATION, name: 'Quai 1', type: 'Station', userId: 7 };
  api.emitModuleAdded(7, given);
  api.emitModuleUpdated(7, { moduleId: STATION, name: 'Quai 2', type: 'Station' });
  api.emitModuleRemoved(STATION, { userId: 7 });
  const told = await sent(here);
  const module = { module_id: STATION, name: 'Quai 1', type: 'Station', userId: 7 };
  const data = { ...given, action: 'added', module, timestamp: NOW };
  assert.deepEqual(told.slice(0, 2),
    [['role:admin', 'rt_module_added', data], ['user:7', 'user:module:added', data]]);
  assert.deepEqual(told.slice(2).map(([topic, name]) => [topic, name]), [
    ['role:admin', 'rt_module_updated'], ['user:7', 'user:module:updated'],
    ['role:admin', 'rt_module_removed'], ['user:7', 'user:module:removed'],
  ]);
  assert.equal(told[2][2].module.name, 'Quai 2');
  assert.equal(told[4][2].moduleId, STATION);
});

test('telemetry counts now, and is told when it has changed', async () => {
  const here = world();
  const { api, server } = here;
  const measured = { speed: 3, parts: [1, 2] };
  api.emitTelemetryUpdated(STATION, measured);
  const same = { telemetry: { parts: [1, 2], speed: 3 } };
  assert.equal((await api.emitTelemetryUpdated(STATION, same)).status, 'unchanged');
  measured.speed = 4;
  api.emitTelemetryUpdated(STATION, measured);
  const told = await sent(here);
  assert.deepEqual(told.map(([topic]) => topic), ['page:modules', 'role:admin', 'page:modules', 'role:admin']);
  assert.deepEqual(told[0][2], { moduleId: STATION, telemetry: { speed: 3, parts: [1, 2] }, ...SEEN, timestamp: NOW });
  assert.equal(told[2][2].telemetry.speed, 4);
  for (const event of server.calls[0].events) assert.deepEqual([event.ephemeral, event.key], [true, STATION]);
});

test('what did not get through may be told again', async () => {
  const { api, server } = world();
  server.answers = [refuse('forbidden', 403), refuse('forbidden', 403), refuse('forbidden', 403)];
  assert.equal((await api.emitModuleOnline(STATION)).status, 'failed');
  await quiet();
  assert.equal((await api.emitModuleOnline(STATION)).status, 'published');
});

test('users are told to administrators, without what is theirs alone', async () => {
  const here = world();
  const { api } = here;
  const jean = { id: 7, name: 'Jean', email: 'jean@example.fr', isAdmin: false, passwordHash: 'x', resetToken: 'y' };
  api.emitUserLoggedIn(7, jean);
  api.emitUserLoggedOut(7, { name: 'Jean' });
  api.emitUserProfileUpdated(7, { name: 'Jean M.', email: 'jean@example.fr' });
  const told = await sent(here);
  const { passwordHash, resetToken, ...shown } = jean;
  const user = { ...shown, lastLogin: NOW };
  assert.deepEqual(told[0],
    ['role:admin', 'rt_user_logged_in', { ...user, action: 'login', user, timestamp: NOW }]);
  assert.deepEqual(told[1], ['role:admin', 'rt_user_logged_out',
    { logoutTime: NOW, name: 'Jean', action: 'logout', user: { id: 7, name: 'Jean' }, id: 7, timestamp: NOW }]);
  assert.deepEqual([told[2][1], told[2][2].user.name], ['rt_user_profile_updated', 'Jean M.']);
  assert.ok(here.logged.includes('info: [UserEvents] User logged in: Jean (ID: 7)'));
});

test('statistics are told to administrators', async () => {
  const here = world();
  here.api.emitGlobalStatsUpdated({ totalUsers: 3 });
  const data = { stats: { totalUsers: 3, lastUpdate: NOW }, timestamp: NOW };
  assert.deepEqual(await sent(here), [['role:admin', 'rt_global_stats_updated', data]]);
});

test('events of one\'s own are emitted as ever', async () => {
  class CustomEvents {
    constructor(eventsManager, logger) {
      Object.assign(this, { eventsManager, logger });
    }

    emitCustomEvent(data) {
      this.eventsManager.broadcast('rt_custom_event', data);
    }
  }
  const here = world();
  new CustomEvents(here.api.eventsManager, here.api.logger).emitCustomEvent({ n: 1 });
  assert.deepEqual(await sent(here), [['system', 'rt_custom_event', { n: 1 }]]);
});
