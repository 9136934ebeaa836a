'use strict';

const assert = require('node:assert/strict');
const { readFileSync } = require('node:fs');
const { join } = require('node:path');
const { test } = require('node:test');

const ReconnectionManager = require('../browser/reconnection-manager');
const { FakeClock } = require('./world');

/** A socket that does what the test says, as socket.io-client's does. */
class FakeSocket {
  constructor() {
    Object.assign(this, { connected: false, active: true, listeners: {}, asked: [], attempts: 1 });
    this.io = { reconnection: (on) => { this.retriesByItself = on; } };
  }

  on(name, call) {
    (this.listeners[name] ??= []).push(call);
  }

  onAny(call) {
    this.any = call;
  }

  hear(name, ...values) {
    this.any?.(name, ...values);
    for (const call of this.listeners[name] ?? []) call(...values);
  }

  emit(name, fields) {
    this.asked.push([name, fields]);
  }

  connect() {
    Object.assign(this, { active: true, attempts: this.attempts + 1 });
  }

  disconnect() {
    this.active = false;
    if (this.connected) this.lose();
  }

  succeed() {
    this.connected = true;
    this.hear('connect');
  }

  fail() {
    this.hear('connect_error', new Error('refused'));
  }

  lose() {
    this.connected = false;
    this.hear('disconnect', 'transport close');
  }
}

class FakeWindow {
  constructor(clock) {
    this.navigator = { onLine: true };
    this.listeners = {};
    const listen = (name, call) => { this.listeners[name] = call; };
    this.addEventListener = listen;
    this.document = { hidden: false, addEventListener: listen };
    this.Date = { now: clock.now };
    this.Math = { ...Math, min: Math.min, random: () => 1 };
    Object.assign(this, { setTimeout: clock.setTimeout, clearTimeout: clock.clearTimeout });
  }
}

function start(options, changes = {}) {
  const [clock, socket, heard] = [new FakeClock(), new FakeSocket(), []];
  const window = Object.assign(new FakeWindow(clock), changes);
  let made = 0;
  const manager = new ReconnectionManager(() => { made += 1; return socket; }, options, window);
  manager.onReconnect((given) => heard.push(['reconnect', given === socket]));
  manager.onDisconnect(() => heard.push(['disconnect']));
  manager.onSyncComplete((server, client) => heard.push(['sync', server.version, { ...client }]));
  manager.connect();
  assert.equal(made, 1);
  return { clock, heard, manager, socket, window };
}

/** A manager that is connected and complete: one module at version 5. */
function complete(options) {
  const here = start(options);
  here.socket.succeed();
  answer(here, { version: 5, full: true, states: { a: { version: 5, online: true } } });
  here.heard.length = 0;
  here.socket.asked.length = 0;
  return here;
}

function answer({ socket }, fields) {
  socket.hear('state_sync_response', { full: false, states: {}, removed: [], ...fields });
}

test('pauses double up to the longest, and end after the last attempt', async () => {
  const { clock, socket } = start({ maxReconnectAttempts: 6, reconnectDelay: 1000, maxReconnectDelay: 9000 });
  assert.equal(socket.retriesByItself, false);
  const pauses = [];
  socket.fail();
  while (clock.pending().length > 0) {
    pauses.push(clock.pending()[0]);
    await clock.advance(pauses.at(-1));
    socket.fail();
  }
  assert.deepEqual(pauses, [1000, 2000, 4000, 8000, 9000, 9000]);
  assert.equal(socket.attempts, 7);
});

test('half of a pause is chance', () => {
  const { clock, socket, window } = start();
  window.Math.random = () => 0;
  socket.fail();
  assert.deepEqual(clock.pending(), [500]);
});

test('the server says how to come back, unless the page does', () => {
  const served = { maxReconnectAttempts: 3, reconnectDelay: 200, maxReconnectDelay: 400 };
  const { manager } = start({ reconnectDelay: 50 }, { RELAIS_RECONNECT: served });
  const { maxReconnectAttempts, reconnectDelay, maxReconnectDelay, syncOnReconnect } = manager.options;
  assert.deepEqual([maxReconnectAttempts, reconnectDelay, maxReconnectDelay, syncOnReconnect], [3, 50, 400, true]);
});

test('a lost connection is made again on the same socket, and the page is told', async () => {
  const { clock, heard, socket } = complete();
  await clock.advance(60_000);
  socket.lose();
  await clock.advance(1000);
  socket.succeed();
  assert.deepEqual(heard, [['disconnect'], ['reconnect', true]]);
  assert.deepEqual(socket.asked, [['request_state_sync', { version: 5 }]]);
});

test('a connection that does not last does not count as a success', async () => {
  const { clock, socket } = start();
  const pauses = [];
  for (const lasted of [10, 10, 10, 5000]) {
    socket.succeed();
    await clock.advance(lasted);
    socket.lose();
    pauses.push(clock.pending()[0]);
    await clock.advance(pauses.at(-1));
  }
  assert.deepEqual(pauses, [1000, 2000, 4000, 1000]);
});

test('who leaves stays away', async () => {
  const { clock, manager, socket, window } = complete();
  manager.disconnect();
  window.listeners.online();
  assert.deepEqual([clock.pending(), socket.attempts, socket.connected], [[], 1, false]);
});

test('one call connects anew, also after the last attempt', () => {
  const { heard, socket, window } = complete({ maxReconnectAttempts: 0 });
  window.mc_socketReconnect();
  assert.deepEqual([socket.connected, socket.attempts], [false, 2]);
  socket.succeed();
  assert.deepEqual(heard, [['disconnect'], ['reconnect', true]]);
});

test('without a network nothing is tried; when it is back, at once', () => {
  const { clock, socket, window } = complete();
  window.navigator.onLine = false;
  window.listeners.offline();
  socket.lose();
  assert.deepEqual(clock.pending(), []);
  window.navigator.onLine = true;
  window.listeners.online();
  assert.equal(socket.attempts, 2);
});

test('a page that is seen again does not wait', async () => {
  const { clock, socket, window } = complete();
  socket.lose();
  window.document.hidden = true;
  window.listeners.visibilitychange();
  assert.equal(socket.attempts, 1);
  window.document.hidden = false;
  window.listeners.visibilitychange();
  assert.deepEqual([socket.attempts, clock.pending()], [2, []]);
});

test('a connection that only looks alive is noticed when the page is seen again', async () => {
  const here = complete();
  here.window.listeners.visibilitychange();
  assert.equal(here.socket.asked.length, 1);
  answer(here, { version: 6 });
  await here.clock.advance(10_000);
  assert.equal(here.socket.attempts, 1);
  here.window.listeners.visibilitychange();
  await here.clock.advance(10_000);
  assert.equal(here.socket.attempts, 2);
});

test('an answer adds to what is known, or replaces it when it is full', () => {
  const here = complete();
  answer(here, { version: 7, states: { b: { version: 6, online: false } } });
  assert.deepEqual(here.manager.state,
    { version: 7, states: { a: { version: 5, online: true }, b: { version: 6, online: false } } });
  answer(here, { version: 8, removed: ['a'] });
  assert.deepEqual(Object.keys(here.manager.state.states), ['b']);
  answer(here, { version: 9, full: true, states: { c: { version: 9 } } });
  assert.deepEqual(here.manager.state, { version: 9, states: { c: { version: 9 } } });
  assert.deepEqual(here.heard.map(([, version]) => version), [7, 8, 9]);
  assert.deepEqual(here.heard.at(-1), ['sync', 9, { version: 9, states: { c: { version: 9 } } }]);
});

test('a server that begins again with smaller versions is believed', () => {
  const here = complete();
  here.socket.lose();
  here.socket.succeed();
  answer(here, { version: 2, full: true, states: { a: { version: 1, online: false } } });
  assert.deepEqual(here.manager.state, { version: 2, states: { a: { version: 1, online: false } } });
});

test('events change what is known; older ones do not count', () => {
  const { manager, socket } = complete();
  socket.hear('rt_telemetry_updated', { moduleId: 'a', telemetry: { speed: 1 }, version: 7 });
  socket.hear('rt_module_offline', { moduleId: 'a', online: false, version: 6 });
  socket.hear('rt_module_added', { moduleId: 'b', name: 'B', version: 8 });
  socket.hear('rt_module_updated', { moduleId: 'b', name: 'C', version: 9 });
  socket.hear('rt_module_removed', { moduleId: 'a', version: 10 });
  socket.hear('rt_module_online', { moduleId: 'a', online: true, version: 9 });
  assert.deepEqual(manager.state, { version: 5, states: { b: { moduleId: 'b', name: 'C', version: 9 } } });
  socket.hear('module_states_sync', { states: { b: { name: 'old', version: 8 }, c: { version: 4 } } });
  socket.hear('modules:initial:state', { b: { online: true, version: 11 } });
  assert.deepEqual(manager.state.states.b, { moduleId: 'b', name: 'C', online: true, version: 11 });
  assert.deepEqual(Object.keys(manager.state.states), ['b', 'c']);
});

test('owners are told under names of their own', () => {
  const { manager, socket } = complete();
  socket.hear('user:module:added', { moduleId: 'b', name: 'B' });
  assert.deepEqual(Object.keys(manager.state.states), ['a', 'b']);
});

test('whether a module that is somebody else\'s now is still seen, the server knows', () => {
  const here = complete();
  const asked = here.socket.asked.length;
  here.socket.hear('user:module:removed', { moduleId: 'a' });
  assert.deepEqual(here.socket.asked.slice(asked), [['request_state_sync', { version: 5 }]]);
  answer(here, { version: 6, removed: ['a'] });
  assert.deepEqual(here.manager.state.states, {});
});

test('a module that is gone does not come back by what was on its way', () => {
  const { manager, socket } = complete();
  socket.hear('rt_module_removed', { moduleId: 'a' });
  socket.hear('rt_telemetry_updated', { moduleId: 'a', version: 9 });
  assert.deepEqual(manager.state.states, {});
});

test('what an answer has already is not put above it', () => {
  const here = complete();
  here.socket.lose();
  here.socket.succeed();
  here.socket.hear('rt_module_removed', { moduleId: 'a', cursor: '07-4' });
  here.socket.hear('rt_module_added', { moduleId: 'a', name: 'A', cursor: '07-5' });
  here.socket.hear('rt_module_updated', { moduleId: 'a', name: 'B', cursor: '07-7' });
  answer(here, { version: 9, full: true, cursor: '07-6', states: { a: { version: 8, online: true, name: 'A' } } });
  assert.deepEqual(here.manager.state.states,
    { a: { version: 8, online: true, name: 'B', moduleId: 'a', cursor: '07-7' } });
});

test('events without a version count as they come', () => {
  const { manager, socket } = complete();
  socket.hear('rt_module_offline', { moduleId: 'a', online: false });
  assert.deepEqual(manager.state, { version: 5, states: { a: { moduleId: 'a', online: false, version: 5 } } });
});

test('what is asked for begins at the last answer: events may have been on their way still', () => {
  const here = complete();
  here.socket.hear('rt_telemetry_updated', { moduleId: 'a', version: 9 });
  here.socket.lose();
  here.socket.succeed();
  assert.deepEqual(here.socket.asked, [['request_state_sync', { version: 5 }]]);
});

test('an event that overtakes the answer is not lost', () => {
  const here = complete();
  here.socket.lose();
  here.socket.succeed();
  here.socket.hear('rt_module_added', { moduleId: 'b', online: true, version: 9 });
  answer(here, { version: 8, full: true, states: { a: { version: 7, online: false } } });
  const states = { a: { version: 7, online: false }, b: { moduleId: 'b', online: true, version: 9 } };
  assert.deepEqual(here.manager.state, { version: 8, states });
});

test('a flood of events before the answer asks anew', () => {
  const { socket, manager } = start();
  socket.succeed();
  for (let version = 1; version <= 1001; version += 1) socket.hear('rt_module_online', { moduleId: 'a', version });
  assert.deepEqual(socket.asked.length, 2);
  assert.deepEqual(manager.pending, []);
});

test('who is let in later asks then', () => {
  const here = start();
  here.socket.succeed();
  here.socket.hear('client:auth:success', {});
  assert.equal(here.socket.asked.length, 2);
  answer(here, { version: 1 });
  here.socket.hear('client:auth:success', {});
  assert.equal(here.socket.asked.length, 2);
});

test('a page that does not want to be brought up to date is not', () => {
  const { socket } = start({ syncOnReconnect: false });
  socket.succeed();
  assert.deepEqual(socket.asked, []);
});

test('a callback that fails does not keep others from being called', (t) => {
  const logged = t.mock.method(console, 'error', () => {});
  const here = start();
  let called = 0;
  here.manager.onSyncComplete(() => { throw new Error('mine'); });
  here.manager.onSyncComplete(() => { called += 1; });
  here.socket.succeed();
  answer(here, { version: 1 });
  assert.deepEqual([called, logged.mock.callCount()], [1, 1]);
});

test('a socket that is connected already, or waits to be told, is taken as it is', () => {
  const window = new FakeWindow(new FakeClock());
  const early = Object.assign(new FakeSocket(), { connected: true });
  new ReconnectionManager(() => early, {}, window).connect();
  assert.equal(early.asked.length, 1);
  const idle = Object.assign(new FakeSocket(), { active: false });
  new ReconnectionManager(() => idle, {}, window).connect();
  assert.equal(idle.attempts, 2);
});

test('it is small, and there as a module, too', async () => {
  assert.ok(readFileSync(join(__dirname, '../browser/reconnection-manager.js')).length <= 8 * 1024);
  assert.equal((await import('../browser/reconnection-manager.mjs')).default, ReconnectionManager);
});

test('the socket names the last event that is kept, so that what was missed comes with the next connection', () => {
  const { manager, socket } = start();
  const given = () => {
    let auth;
    manager.auth((value) => { auth = value; });
    return auth;
  };
  assert.deepEqual(given(), {});
  socket.succeed();
  socket.hear('page_registered', { page: 'modules', cursor: '07-4' });
  socket.hear('rt_telemetry_updated', { moduleId: 'm', version: 1 });
  assert.deepEqual(given(), { since: '07-4' });
  socket.hear('user:module:added', { moduleId: 'm', cursor: '07-9' });
  socket.hear('nothing');
  assert.deepEqual(given(), { since: '07-9' });
});
