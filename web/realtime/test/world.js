'use strict';

const RealTimeAPI = require('..');

/** A clock whose timers fire when it is moved. */
class FakeClock {
  constructor() {
    this.ms = Date.parse('2026-11-21T13:04:05Z');
    this.timers = new Set();
    this.now = () => this.ms;
    this.setTimeout = (call, ms) => {
      const timer = { call, at: this.ms + ms };
      this.timers.add(timer);
      return timer;
    };
    this.clearTimeout = (timer) => this.timers.delete(timer);
  }

  /** Milliseconds until each timer, the nearest first. */
  pending() {
    return [...this.timers].map(({ at }) => at - this.ms).sort((one, other) => one - other);
  }

  async advance(ms) {
    this.ms += ms;
    for (const timer of [...this.timers].filter(({ at }) => at <= this.ms)) {
      this.timers.delete(timer);
      timer.call();
    }
    await quiet();
  }
}

/** Lets everything happen that needs no time. */
function quiet() {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A server that answers as it is told to: functions of a call, used up one by one; then it accepts everything. */
class FakeServer {
  constructor() {
    this.answers = [];
    this.calls = [];
    this.fetch = async (url, { method, headers, body, signal }) => {
      const call = { url, method, headers, signal, events: body && JSON.parse(body).events };
      this.calls.push(call);
      const answer = this.answers.shift() ?? accept;
      return answer(call);
    };
  }

  /** Names of the events of each call. */
  batches() {
    return this.calls.map(({ events }) => events.map(({ name }) => name));
  }
}

function reply(status, body, headers = {}) {
  return new Response(typeof body === 'string' ? body : JSON.stringify(body), { status, headers });
}

function accept({ events }) {
  return reply(200, { published: events.map(({ topic }, index) => ({ topic, offset: index + 1 })) });
}

function refuse(code, status = 400) {
  return () => reply(status, { code, message: 'non' });
}

function away() {
  throw Object.assign(new TypeError('fetch failed'), { cause: new Error('connect ECONNREFUSED') });
}

/** The class with a fake server and a fake clock; keeps what is logged and what fails. */
function world(options = {}) {
  const [server, clock, logged, failed] = [new FakeServer(), new FakeClock(), [], []];
  const log = (level) => (text) => logged.push(`${level}: ${text}`);
  const api = new RealTimeAPI({
    url: 'http://relais.test/',
    key: 'rk_1_x',
    logger: { info: log('info'), warn: log('warn'), error: log('error') },
    onError: (error, event) => failed.push([event.name, error.message]),
    timeZone: 'Europe/Paris',
    random: () => 1,
    fetch: server.fetch,
    setTimeout: clock.setTimeout,
    clearTimeout: clock.clearTimeout,
    now: clock.now,
    ...options,
  });
  return { api, server, clock, logged, failed };
}

module.exports = { FakeClock, accept, away, quiet, refuse, reply, world };
