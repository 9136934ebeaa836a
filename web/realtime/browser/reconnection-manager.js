/* ReconnectionManager: connects a page again and brings its state up to date. */
((root) => {
  'use strict';

  const DEFAULTS = { maxReconnectAttempts: 15, reconnectDelay: 1000, maxReconnectDelay: 15000, syncOnReconnect: true };
  /** After a connection that lasted for so long attempts count anew. */
  const GOOD_AFTER_MS = 5000;
  const ANSWER_WITHIN_MS = 10000;
  const PENDING_MAX = 1000;
  const CHANGES = ['added', 'updated', 'online', 'offline', 'removed'];

  /** Whether an answer is at least as new as an event, by its version or else by its place in the log. */
  function isIn({ version, cursor }, server) {
    if (version !== undefined) return version <= server.version;
    const [epoch, seq] = String(cursor).split('-');
    const [its, reached] = String(server.cursor).split('-');
    return epoch === its && Number(seq) <= Number(reached);
  }

  class ReconnectionManager {
    constructor(socketInitializer, options, window = root) {
      this.window = window;
      this.options = { ...DEFAULTS, ...window.RELAIS_RECONNECT, ...options };
      this.socketInitializer = socketInitializer;
      /** The modules that are known; `version` is that of the last answer, since events may come out of its order. */
      this.state = { version: 0, states: {} };
      this.pending = [];
      this.callbacks = { reconnect: [], disconnect: [], sync: [] };
      /** For the option `auth` of the socket: what is kept for somebody who was away comes with the connection. */
      this.auth = (give) => give(this.cursor ? { since: this.cursor } : {});
      window.mc_socketReconnect = () => this.reconnect();
      window.addEventListener('online', () => this.wake());
      window.addEventListener('offline', () => this.stopTimers());
      window.document.addEventListener('visibilitychange', () => window.document.hidden || this.wake());
    }

    onReconnect(call) { this.callbacks.reconnect.push(call); }
    onDisconnect(call) { this.callbacks.disconnect.push(call); }
    onSyncComplete(call) { this.callbacks.sync.push(call); }

    connect() {
      this.wanted = true;
      this.attempts = 0;
      this.open();
      return this.socket;
    }

    disconnect() {
      this.wanted = false;
      this.stopTimers();
      if (this.socket) this.socket.disconnect();
    }

    /** Connects anew, however alive the connection looks. */
    reconnect() {
      this.disconnect();
      return this.connect();
    }

    open() {
      this.stopTimers();
      if (!this.socket) this.take(this.socketInitializer());
      else if (!this.socket.connected) this.socket.connect();
    }

    take(socket) {
      this.socket = socket;
      // One of the two tries again: this one.
      if (socket.io) socket.io.reconnection(false);
      const on = (name, call) => socket.on(name, call);
      if (socket.onAny) socket.onAny((name, data) => this.note(name, data?.cursor));
      on('connect', () => this.connected());
      on('disconnect', () => this.lost());
      on('connect_error', () => this.later());
      on('client:auth:success', () => this.complete || this.sync());
      on('modules:initial:state', (states) => this.merge(states));
      on('module_states_sync', (data) => this.merge(data.states));
      on('state_sync_response', (server) => this.synced(server));
      on('rt_telemetry_updated', (data) => this.changed(data));
      for (const what of CHANGES) {
        const changed = (data) => this.changed(data, what);
        on(`rt_module_${what}`, changed);
        // Administrators see a module still that is theirs no more: the server knows.
        on(`user:module:${what}`, what === 'removed' ? () => this.sync() : changed);
      }
      if (socket.connected) this.connected();
      else if (!socket.active) socket.connect();
    }

    /**
     * The place in the server's log that the page has seen, of events that are kept. Those that come before the page is
     * registered are its user's alone: what the page itself has missed comes after.
     */
    note(name, cursor) {
      if (name === 'page_registered') this.registers = this.registered = true;
      if (typeof cursor === 'string' && (this.registered || !this.registers)) this.cursor = cursor;
    }

    connected() {
      this.registered = false;
      this.stopTimers();
      if (this.since) this.tell('reconnect', this.socket);
      this.since = this.window.Date.now();
      this.sync();
    }

    lost() {
      if (this.window.Date.now() - this.since >= GOOD_AFTER_MS) this.attempts = 0;
      this.tell('disconnect');
      this.later();
    }

    later() {
      this.stopTimers();
      const { maxReconnectAttempts, reconnectDelay, maxReconnectDelay } = this.options;
      const { navigator, Math } = this.window;
      if (!this.wanted || navigator.onLine === false || this.attempts >= maxReconnectAttempts) return;
      const most = Math.min(reconnectDelay * 2 ** this.attempts++, maxReconnectDelay);
      this.timer = this.window.setTimeout(() => this.open(), most * (1 + Math.random()) / 2);
    }

    stopTimers() {
      this.window.clearTimeout(this.timer);
      this.window.clearTimeout(this.answerTimer);
    }

    /** The page is back: no more waiting, and what looks alive has to show it. */
    wake() {
      if (!this.wanted) return;
      this.attempts = 0;
      if (!this.socket.connected) return this.open();
      if (!this.complete) return;
      this.sync();
      this.stopTimers();
      this.answerTimer = this.window.setTimeout(() => this.reconnect(), ANSWER_WITHIN_MS);
    }

    /** Asks for what is missing. Changes until the answer are kept, to stand above it. */
    sync() {
      this.pending = [];
      this.complete = false;
      if (this.options.syncOnReconnect) this.socket.emit('request_state_sync', { version: this.state.version });
    }

    synced(server) {
      this.stopTimers();
      if (server.full) this.state.states = {};
      this.merge(server.states);
      for (const id of server.removed || []) delete this.state.states[id];
      for (const [data, what] of this.pending) if (!isIn(data, server)) this.put(data.moduleId, data, what);
      this.pending = [];
      this.complete = true;
      this.state.version = server.version;
      this.tell('sync', server, this.state);
    }

    changed(data, what) {
      this.put(data.moduleId, data, what);
      if (!this.complete && this.pending.push([data, what]) > PENDING_MAX) this.sync();
    }

    merge(states) {
      for (const [id, state] of Object.entries(states || {})) this.put(id, state, 'added');
    }

    /** What is older than what is known does not count, nor what is said of a module that was removed. */
    put(id, data, what) {
      const { states } = this.state;
      if (what === 'removed') delete states[id];
      else if (states[id] ? !(data.version < states[id].version) : what === 'added') {
        states[id] = { ...states[id], ...data };
      }
    }

    tell(kind, ...values) {
      for (const call of this.callbacks[kind]) {
        try { call(...values); } catch (error) { console.error(error); }
      }
    }
  }

  root.ReconnectionManager = ReconnectionManager;
  if (typeof module === 'object') module.exports = ReconnectionManager;
})(globalThis);
