// The types of weft.js, and its manual. Times are milliseconds, as everywhere in a page.
//
//    import { Weft } from "/weft.js";
//    const weft = new Weft();                       // this host's /weft
//    const room = weft.subscribe("room.1");
//    room.on("message", (data) => show(data));
//    await room.publish({ text: "hello" });

/** What JSON can say. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

export interface Options {
  /** Which ways to try, in this order. Default: WebSocket, then Server-Sent Events with POST. */
  transports?: ("websocket" | "sse")[];
  /** The least and the longest pause between two attempts. The pause is random between the least
   *  and a bound that doubles with each failure. Default: 300 and 15,000. */
  minDelay?: number;
  maxDelay?: number;
  /** How long one attempt may take. Default: 10,000. */
  connectTimeout?: number;
  /** How long a call waits for its answer, unless told otherwise. Default: 10,000. */
  callTimeout?: number;
  /** After how long a silence the server is asked whether it is there, and how long it may take to
   *  say so. Default: 25,000 and 10,000; Infinity: never, and without end. A page sees nothing of a
   *  message before it is whole, so each connection that ends by this gives the next one twice the time
   *  to answer, up to 16 times, until one does. */
  pingInterval?: number;
  pingTimeout?: number;
  /** How many publications and calls may wait for the connection. Default: 100. */
  maxQueue?: number;
}

/** closed: the connection is, or it went before the answer came (what was asked may have happened).
 *  too_many: the queue is full. bad_reply: what the server sent is no weft.1. unsubscribed: the room
 *  was left. The others are the server's. */
export type Code =
  | "closed" | "timeout" | "too_many" | "unsubscribed" | "bad_reply" | "bad_request" | "unknown_type"
  | "bad_topic" | "forbidden" | "not_subscribed" | "already_subscribed" | "rate_limited"
  | "not_found" | "too_big" | "internal" | (string & {});

export declare class WeftError extends Error {
  constructor(code: Code, message: string);
  readonly code: Code;
}

/** connecting: an attempt is under way; open: connected; waiting: until the next attempt;
 *  closed: by close(), or by a server that wants no return (1000, 1003, 1008, 1010). */
export type State = "connecting" | "open" | "waiting" | "closed";

export interface StateInfo {
  transport: "websocket" | "sse" | null;
  /** With "waiting": how long until the next attempt. */
  delay?: number;
  /** With "waiting" and "closed": why, as a close code (RFC 6455 7.4.1) and its reason. */
  code?: number;
  reason?: string;
}

export interface WeftEvents {
  state: (state: State, info: StateInfo) => void;
  /** The server refused something that nobody waits for. */
  error: (error: WeftError) => void;
}

/** One connection to a weft server, which comes back by itself: after a random pause, at once when
 *  the page becomes visible or online again. */
export declare class Weft {
  /** @param url Where the server's channels are. Default: "/weft" on the page's own host. */
  constructor(url?: string | URL, options?: Options);
  readonly state: State;
  readonly transport: "websocket" | "sse" | null;
  /** The room of a topic. Who subscribes to a topic twice gets the same room. */
  subscribe<Message = any, Data = any, User = any>(
    topic: string, options?: SubscribeOptions): Room<Message, Data, User>;
  /** Tries at once, when it waits or was closed. */
  connect(): void;
  /** Ends it: what waits fails with "closed". connect() begins again, and its rooms return. */
  close(): void;
  on<E extends keyof WeftEvents>(event: E, listener: WeftEvents[E]): () => void;
  off<E extends keyof WeftEvents>(event: E, listener: WeftEvents[E]): void;
}

export interface SubscribeOptions {
  /** What the server's `join` gets: JSON, or a function that makes it anew at each return. */
  params?: unknown | (() => unknown | Promise<unknown>);
  /** Resume from where an earlier page was, by the `epoch` and `offset` of its room. */
  since?: Position;
}

export interface Presence<User = any> {
  id: string;
  data: User;
}

export interface MessageInfo {
  topic: string;
  /** The name that the server gave it, if any. */
  event?: string;
  /** Its place in the topic's history, if that has one. */
  epoch?: string;
  offset?: number;
}

export interface RoomEvents<Message, User> {
  /** Binary data comes as a Uint8Array. */
  message: (data: Message, info: MessageInfo) => void;
  /** Who is here, and what changed; without a change when the room was (re)subscribed. */
  presence: (here: Presence<User>[],
    change?: { event: "join" | "leave" | "update"; user: Presence<User> }) => void;
  /** The server left out so many messages, because this page was too slow. */
  missed: (count: number) => void;
  /** The room is back, and what was missed, so many messages, has just been delivered. */
  recovered: (count: number) => void;
  /** The room is back, and messages may be missing: load again what the page shows. */
  reset: () => void;
  state: (state: "subscribing" | "subscribed" | "unsubscribed", why?: WeftError) => void;
  /** Something failed: the subscription, or a publication or call (its promise tells, too). */
  error: (error: WeftError) => void;
}

export interface PublishOptions {
  /** A name that tells kinds of messages apart, of 1 to 64 bytes without control characters. */
  event?: string;
  /** How long it may take, waiting included. Default: without end. */
  timeout?: number;
  /** It never waits: offline, or while the connection is crowded, it is left out, and no answer is
   *  asked for. For what is worth nothing later, like where a mouse is. */
  volatile?: boolean;
}

/** A place in a topic's history. */
export interface Position {
  epoch: string;
  offset: number;
}

/** A topic. Messages come once and in order; after a loss "recovered" or "reset" tells which. */
export interface Room<Message = any, Data = any, User = any> {
  readonly topic: string;
  readonly state: "subscribing" | "subscribed" | "unsubscribed";
  /** What the server's `join` returned, of the latest (re)subscription. */
  readonly data: Data | undefined;
  /** Who is here; a new array with each change. */
  readonly presence: readonly Presence<User>[];
  /** Where in the topic's history this page is. */
  readonly epoch: string | undefined;
  readonly offset: number | undefined;
  /** Resolves when the server has taken it, with its place in the history, if there is one.
   *  Offline it waits in the queue. */
  publish(data: unknown, options?: PublishOptions): Promise<Position | undefined>;
  /** Calls a method of the channel, and resolves with its result. */
  call<Result = any>(method: string, data?: unknown, options?: { timeout?: number }): Promise<Result>;
  unsubscribe(): void;
  on<E extends keyof RoomEvents<Message, User>>(
    event: E, listener: RoomEvents<Message, User>[E]): () => void;
  off<E extends keyof RoomEvents<Message, User>>(
    event: E, listener: RoomEvents<Message, User>[E]): void;
}

export default Weft;
