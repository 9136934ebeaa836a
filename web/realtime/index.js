'use strict';

const AdminEvents = require('./AdminEvents');
const EventsManager = require('./EventsManager');
const ModuleEvents = require('./ModuleEvents');
const UserEvents = require('./UserEvents');
const { Publisher } = require('./lib/publisher');
const { readSettings } = require('./lib/settings');
const { Transport } = require('./lib/transport');

/** Milliseconds that `close()` waits for what is still to be delivered. */
const CLOSE_TIMEOUT_MS = 5000;

/**
 * Live events of an application, by way of a Relais server.
 *
 * Every `emit…` returns a promise of an outcome, which need not be awaited and never rejects: what could not be
 * delivered goes to `onError` and to the logger.
 */
class RealTimeAPI {
  /** @param {import('./index').Options} [options] */
  constructor(options = {}) {
    const settings = readSettings(options, process.env);
    this.logger = settings.logger;
    this.transport = new Transport(settings);
    this.publisher = new Publisher(this.transport, settings);
    this.eventsManager = new EventsManager(this.publisher);
    this.moduleEvents = new ModuleEvents(this.eventsManager, this.logger, settings);
    this.userEvents = new UserEvents(this.eventsManager, this.logger, settings);
    this.adminEvents = new AdminEvents(this.eventsManager, this.logger, settings);
  }

  /**
   * Asks the server once whether it takes the key. A server that cannot be reached is only logged: events wait for it.
   *
   * @param {unknown} [_io] what applications with a Socket.IO server of their own passed here; Relais has one
   * @returns {Promise<void>}
   * @throws {Error} if the address or the key cannot be used; the message says what to do
   */
  async initialize(_io) {
    const { reached, error } = await this.transport.check();
    if (!reached) this.logger.warn(`[RealTimeAPI] ${error.message} Events wait until it answers.`);
    else if (error) throw error;
    else this.logger.info(`[RealTimeAPI] Events go to ${this.transport.origin}`);
  }

  /** @returns {Promise<void>} when everything that was emitted so far is delivered, or has failed */
  flush() {
    return this.publisher.flush();
  }

  /**
   * Delivers what waits and ends. What is not delivered in time fails.
   *
   * @param {{timeoutMs?: number}} [options]
   * @returns {Promise<void>}
   */
  close({ timeoutMs = CLOSE_TIMEOUT_MS } = {}) {
    return this.publisher.close(timeoutMs);
  }

  emitModuleOnline(moduleId, data) {
    return this.moduleEvents.emitModuleOnline(moduleId, data);
  }

  emitModuleOffline(moduleId, data) {
    return this.moduleEvents.emitModuleOffline(moduleId, data);
  }

  emitModuleAdded(userId, data) {
    return this.moduleEvents.emitModuleAdded(userId, data);
  }

  emitModuleRemoved(userId, data) {
    return this.moduleEvents.emitModuleRemoved(userId, data);
  }

  emitModuleUpdated(userId, data) {
    return this.moduleEvents.emitModuleUpdated(userId, data);
  }

  emitTelemetryUpdated(moduleId, telemetry) {
    return this.moduleEvents.emitTelemetryUpdated(moduleId, telemetry);
  }

  emitUserLoggedIn(userId, data) {
    return this.userEvents.emitUserLoggedIn(userId, data);
  }

  emitUserLoggedOut(userId, data) {
    return this.userEvents.emitUserLoggedOut(userId, data);
  }

  emitUserProfileUpdated(userId, data) {
    return this.userEvents.emitUserProfileUpdated(userId, data);
  }

  emitGlobalStatsUpdated(stats) {
    return this.adminEvents.emitGlobalStatsUpdated(stats);
  }
}

module.exports = Object.assign(RealTimeAPI, { RealTimeAPI, EventsManager, ModuleEvents, UserEvents, AdminEvents });
