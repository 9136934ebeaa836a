'use strict';

const { topicOfUser } = require('./EventsManager');
const { Latest } = require('./lib/latest');
const { lastSeen } = require('./lib/moment');
const { shown } = require('./lib/shown');

const ADMINS = 'role:admin';
const PAGE = 'page:modules';

/** What has happened to modules, the machines in the field. */
class ModuleEvents {
  constructor(eventsManager, logger, { now = Date.now, timeZone } = {}) {
    Object.assign(this, { eventsManager, logger, now, timeZone });
    /** What was told last, so that the same is not told again. */
    this.moduleStates = new Latest();
    this.online = new Latest();
  }

  emitModuleOnline(moduleId, data) {
    return this.#presence(moduleId, true, data);
  }

  emitModuleOffline(moduleId, data) {
    const at = new Date(this.now()).toISOString();
    return this.#presence(moduleId, false, { disconnectedAt: at, ...data });
  }

  emitModuleAdded(userId, data) {
    return this.#change('added', userId, data);
  }

  emitModuleRemoved(userId, data) {
    return this.#change('removed', userId, data);
  }

  emitModuleUpdated(userId, data) {
    return this.#change('updated', userId, data);
  }

  /** `telemetry` is what was measured, alone or as the field `telemetry` beside others. */
  emitTelemetryUpdated(moduleId, telemetry) {
    const { telemetry: measured, ...more } = telemetry?.telemetry ? telemetry : { telemetry };
    return this.moduleStates.tell(moduleId, measured, () => {
      const data = {
        ...more,
        moduleId,
        telemetry: measured,
        ...lastSeen(more.lastSeen, this.now(), this.timeZone),
        timestamp: new Date(this.now()).toISOString(),
      };
      const options = { ephemeral: true, key: String(moduleId) };
      return this.eventsManager.emitToTopics([PAGE, ADMINS], 'rt_telemetry_updated', data, options);
    });
  }

  /** Tells the page, administrators and, if `data.userId` names them, the owner; only when it has changed. */
  #presence(moduleId, online, data) {
    const what = online ? 'online' : 'offline';
    return this.online.tell(moduleId, online, () => {
      const fields = {
        ...shown(data),
        moduleId,
        online,
        ...lastSeen(data?.lastSeen ?? data?.disconnectedAt, this.now(), this.timeZone),
        timestamp: new Date(this.now()).toISOString(),
      };
      this.logger.info(`[ModuleEvents] Module ${moduleId} is now ${what.toUpperCase()}`);
      const events = [PAGE, ADMINS].map((topic) => ({ topic, name: `rt_module_${what}`, data: fields }));
      return this.eventsManager.emitAll([...events, ...ofOwner(what, data?.userId, fields)]);
    });
  }

  /** Tells administrators and the owner. */
  #change(action, id, data) {
    const fields = moduleFields(action, id, data, this.now());
    if (action === 'removed') {
      this.moduleStates.forget(fields.moduleId);
      this.online.forget(fields.moduleId);
    }
    this.logger.info(`[ModuleEvents] Module ${fields.moduleId} ${action}`);
    const toAdmins = { topic: ADMINS, name: `rt_module_${action}`, data: fields };
    return this.eventsManager.emitAll([toAdmins, ...ofOwner(action, fields.userId, fields)]);
  }
}

function ofOwner(what, userId, data) {
  const known = userId !== undefined && userId !== null && userId !== '';
  return known ? [{ topic: topicOfUser(userId), name: `user:module:${what}`, data }] : [];
}

/** Nested and flat. Where `data` does not name the module, the first argument is the module and not its owner. */
function moduleFields(action, id, given, now) {
  const data = shown(given);
  const named = data.moduleId ?? data.module_id ?? data.module?.module_id;
  const moduleId = named ?? id;
  const userId = data.userId ?? data.module?.userId ?? (named === undefined ? undefined : id);
  const name = data.name ?? data.module?.name;
  const type = data.type ?? data.module?.type;
  const module = { ...shown(data.module), module_id: moduleId, name, type, userId };
  return { ...data, action, module, moduleId, name, type, userId, timestamp: new Date(now).toISOString() };
}

module.exports = ModuleEvents;
