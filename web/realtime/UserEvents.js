'use strict';

const { shown: visible } = require('./lib/shown');

/** What users have done; administrators are told. */
class UserEvents {
  constructor(eventsManager, logger, { now = Date.now } = {}) {
    Object.assign(this, { eventsManager, logger, now });
  }

  emitUserLoggedIn(userId, data) {
    const lastLogin = data?.lastLogin ?? new Date(this.now()).toISOString();
    return this.#tell('logged_in', 'login', userId, { lastLogin, ...data }, 'User logged in');
  }

  emitUserLoggedOut(userId, data) {
    const logoutTime = data?.logoutTime ?? new Date(this.now()).toISOString();
    return this.#tell('logged_out', 'logout', userId, { logoutTime, ...data }, 'User logged out');
  }

  emitUserProfileUpdated(userId, data) {
    return this.#tell('profile_updated', 'profile_updated', userId, data, 'Profile updated');
  }

  /** Nested and flat. */
  #tell(what, action, userId, data, text) {
    const shown = visible(data);
    const id = shown.id ?? userId;
    const user = { id, name: shown.name, email: shown.email, isAdmin: shown.isAdmin, lastLogin: shown.lastLogin };
    const fields = { ...shown, action, user, id, timestamp: new Date(this.now()).toISOString() };
    this.logger.info(`[UserEvents] ${text}: ${shown.name ?? ''} (ID: ${id})`);
    return this.eventsManager.emitToAdmins(`rt_user_${what}`, fields);
  }
}

module.exports = UserEvents;
