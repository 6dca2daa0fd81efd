/** An item of an event's context. */
export type Item = string | number | boolean | null | undefined;

export interface Event {
  /** Who, 1 to 128 characters. Default: the option `customer`. */
  customer?: string;
  /** Where, 1 to 128 characters. Default: the option `product`. */
  product?: string;
  /** What happened, 1 to 128 characters. */
  type: string;
  /** The details, at most 100 items. */
  context?: Item[];
  /** When it happened, as a Date or in milliseconds since 1970. Default: now. */
  timestamp?: Date | number;
  /** Of the product. Default: the option `version`. */
  version?: string;
}

export interface Options {
  /** Address of the service, with its path if it has one. */
  url: string;
  /** Ingest key, if the service requires one (`INGEST_AUTH=key`). Everybody can read it in a page. */
  key?: string;
  /** Of events that `record({ type, … })` records without one. */
  customer?: string;
  product?: string;
  version?: string;
  /** Node.js: the folder where events wait (none: in memory). Browsers: the name of the database. */
  spool?: string;
  /** Maximum size of a batch. Browsers: 48,000, which they still send as the page ends. Node.js: 1,000,000. */
  batchBytes?: number;
  /** How long an event waits for others. Default: 1. */
  batchSeconds?: number;
  /** Maximum size of what waits, with each batch counted as a full one. Browsers: 8 million. Node.js: 256 million. */
  maxBytes?: number;
  /** Called when events are rejected or dropped, with these, and when sending begins to fail. Default: a warning. */
  onError?: (message: string, events: object[]) => void;
}

export interface Stats {
  /** Calls of `record`. */
  recorded: number;
  /** Events that the service stored, including those of other tabs and processes that this one sent. */
  sent: number;
  /** Events that the service refused for good. */
  rejected: number;
  /** Events that were removed because too many waited or the disk was full, or that came after `close`. */
  dropped: number;
  /** Failed attempts in sequence until now. */
  failures: number;
  /** Why the latest failed attempt failed, or empty. */
  lastError: string;
  /** The service's clock minus this one, in milliseconds, to about a second. */
  skew: number;
}

export class Tally {
  constructor(options: Options);
  readonly stats: Stats;
  /** Record that something happened. It never throws; the promise resolves when the event is in the queue. */
  record(customer: string, product: string, type: string, ...context: Item[]): Promise<void>;
  record(event: Event): Promise<void>;
  /** Send now. Return whether everything was stored or rejected. */
  flush(): Promise<boolean>;
  /** Send now, and end. What could not be sent waits for the next page or process. */
  close(): Promise<boolean>;
}
