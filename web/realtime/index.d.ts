/** What became of what was emitted. */
export interface Outcome {
  /**
   * `published`: it is stored, or told if it is ephemeral. `unchanged`: the same was told before, so it was not sent.
   * `dropped`: it was ephemeral, and there was no room while the server was away. `failed`: `error` says why.
   */
  status: 'published' | 'unchanged' | 'dropped' | 'failed';
  /** Where each event was put; `offset` and `cursor` are absent if it is ephemeral. */
  published: { topic: string; offset?: number; cursor?: string }[];
  error?: Error;
}

export interface Logger {
  info(text: string): void;
  warn(text: string): void;
  error(text: string): void;
}

export interface Options {
  /** The server's address; RELAIS_URL if absent. */
  url?: string;
  /** A key with the scope `events:publish:*`; RELAIS_KEY if absent. */
  key?: string;
  /** Told of each event that failed. */
  onError?: (error: Error, event: { topic: string; name: string }) => void;
  /** Such as winston's; warnings and errors go to the console if absent. */
  logger?: Logger;
  /** The time zone of `lastSeenFormatted`, such as `Europe/Paris`; the computer's if absent. */
  timeZone?: string;
  /** Events that wait at most; 10,000. */
  queueMax?: number;
  /** Bytes that wait at most; 16 MiB. */
  queueBytesMax?: number;
  /** Milliseconds that one call may take; 10,000. */
  timeoutMs?: number;
  /** For tests: what calls the server, and the time. */
  fetch?: typeof fetch;
  setTimeout?: (call: () => void, ms: number) => unknown;
  clearTimeout?: (timer: any) => void;
  now?: () => number;
  random?: () => number;
}

export interface EmitOptions {
  /** It counts only now: it is not kept for whoever is away. */
  ephemeral?: boolean;
  /** Of an ephemeral event: of those with the same name and key, a slow client gets the newest. */
  key?: string;
}

export interface NewEvent extends EmitOptions {
  topic: string;
  name: string;
  data?: object;
}

export type Id = string | number;

export class EventsManager {
  broadcast(event: string, data?: object, options?: EmitOptions): Promise<Outcome>;
  emitToAdmins(event: string, data?: object, options?: EmitOptions): Promise<Outcome>;
  emitToPage(page: string, event: string, data?: object, options?: EmitOptions): Promise<Outcome>;
  emitToUser(userId: Id, event: string, data?: object, options?: EmitOptions): Promise<Outcome>;
  emitToTopics(topics: string[], event: string, data?: object, options?: EmitOptions): Promise<Outcome>;
  emitAll(events: NewEvent[]): Promise<Outcome>;
}

export class ModuleEvents {
  constructor(eventsManager: EventsManager, logger: Logger, options?: { now?: () => number; timeZone?: string });
  emitModuleOnline(moduleId: string, data?: object): Promise<Outcome>;
  emitModuleOffline(moduleId: string, data?: object): Promise<Outcome>;
  emitModuleAdded(userId: Id, data: object): Promise<Outcome>;
  emitModuleRemoved(userId: Id, data: object): Promise<Outcome>;
  emitModuleUpdated(userId: Id, data: object): Promise<Outcome>;
  emitTelemetryUpdated(moduleId: string, telemetry: object): Promise<Outcome>;
}

export class UserEvents {
  constructor(eventsManager: EventsManager, logger: Logger, options?: { now?: () => number });
  emitUserLoggedIn(userId: Id, data?: object): Promise<Outcome>;
  emitUserLoggedOut(userId: Id, data?: object): Promise<Outcome>;
  emitUserProfileUpdated(userId: Id, data?: object): Promise<Outcome>;
}

export class AdminEvents {
  constructor(eventsManager: EventsManager, logger: Logger, options?: { now?: () => number });
  emitGlobalStatsUpdated(stats: object): Promise<Outcome>;
}

export class RealTimeAPI {
  constructor(options?: Options);
  readonly eventsManager: EventsManager;
  readonly moduleEvents: ModuleEvents;
  readonly userEvents: UserEvents;
  readonly adminEvents: AdminEvents;
  /** Throws if the address or the key cannot be used; a server that is away is only logged. */
  initialize(io?: unknown): Promise<void>;
  flush(): Promise<void>;
  close(options?: { timeoutMs?: number }): Promise<void>;
  emitModuleOnline: ModuleEvents['emitModuleOnline'];
  emitModuleOffline: ModuleEvents['emitModuleOffline'];
  emitModuleAdded: ModuleEvents['emitModuleAdded'];
  emitModuleRemoved: ModuleEvents['emitModuleRemoved'];
  emitModuleUpdated: ModuleEvents['emitModuleUpdated'];
  emitTelemetryUpdated: ModuleEvents['emitTelemetryUpdated'];
  emitUserLoggedIn: UserEvents['emitUserLoggedIn'];
  emitUserLoggedOut: UserEvents['emitUserLoggedOut'];
  emitUserProfileUpdated: UserEvents['emitUserProfileUpdated'];
  emitGlobalStatsUpdated: AdminEvents['emitGlobalStatsUpdated'];
}

export default RealTimeAPI;
