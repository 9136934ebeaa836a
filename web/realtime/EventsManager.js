'use strict';

/** A user's topic; who signs in by an identity provider is named whole, `ext:<id>`. */
function topicOfUser(userId) {
  return /^(user|ext):/.test(String(userId)) ? String(userId) : `user:${userId}`;
}

/**
 * Says who hears an event. With `{ ephemeral: true }` it counts only now: it is not kept for whoever is away, and of
 * those with the same name and `key` a slow client gets the newest.
 */
class EventsManager {
  /** @param {import('./lib/publisher').Publisher} publisher */
  constructor(publisher) {
    this.publisher = publisher;
  }

  /** To everybody who is signed in. */
  broadcast(event, data, options) {
    return this.emitToTopics(['system'], event, data, options);
  }

  /** To administrators. */
  emitToAdmins(event, data, options) {
    return this.emitToTopics(['role:admin'], event, data, options);
  }

  /** To those who have a page open, such as `modules`; the page `admin` is open to administrators only. */
  emitToPage(page, event, data, options) {
    return this.emitToTopics([`page:${page}`], event, data, options);
  }

  /** To one user, on every device. */
  emitToUser(userId, event, data, options) {
    return this.emitToTopics([topicOfUser(userId)], event, data, options);
  }

  /**
   * To each of these topics.
   *
   * @param {string[]} topics
   * @param {string} event
   * @param {object} [data]
   * @param {import('./index').EmitOptions} [options]
   * @returns {Promise<import('./index').Outcome>}
   */
  emitToTopics(topics, event, data, options) {
    return this.publisher.publish(topics.map((topic) => ({ topic, name: event, data, ...options })));
  }

  /** Several events together, each `{topic, name, data, ephemeral?, key?}`, in this order. */
  emitAll(events) {
    return this.publisher.publish(events);
  }
}

module.exports = EventsManager;
module.exports.topicOfUser = topicOfUser;
