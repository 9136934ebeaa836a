'use strict';

/** What administrators see of the whole application. */
class AdminEvents {
  constructor(eventsManager, logger, { now = Date.now } = {}) {
    Object.assign(this, { eventsManager, logger, now });
  }

  emitGlobalStatsUpdated(stats) {
    const timestamp = new Date(this.now()).toISOString();
    const data = { stats: { ...stats, lastUpdate: stats?.lastUpdate ?? timestamp }, timestamp };
    return this.eventsManager.emitToAdmins('rt_global_stats_updated', data, { ephemeral: true, key: 'stats' });
  }
}

module.exports = AdminEvents;
