// weft.js: the page's side of weft.1, without dependencies. One Weft is one connection, by
// WebSocket or, where that is blocked, by Server-Sent Events and POST; it comes back by itself.
// A Room is a topic on it: what was missed meanwhile is asked for by epoch and offset, so that
// each message comes once and in order, or the room says that it cannot tell ("reset").
// The types and the manual are in weft.d.ts. Names with _ are between the classes of this file.

const DEFAULTS = {
  transports: ["websocket", "sse"],
  minDelay: 300, maxDelay: 15_000,              // milliseconds between two attempts
  connectTimeout: 10_000, callTimeout: 10_000,
  pingInterval: 25_000, pingTimeout: 10_000,    // a page cannot see the protocol's own pings
  maxQueue: 100,                                // requests that wait for the connection
};
const STABLE = 5_000;       // a connection that lasted as long makes the next wait short again
const PROBE = 5_000;        // how long a connection may be silent when it is asked out of turn
const BLOCKED = 600_000;    // how long WebSocket is left alone once it is known to be blocked
const FORBEARING = 4;       // how often the time for an answer doubles
const CROWDED = 1 << 16;    // bytes on their way, above which what is volatile is left out
const LATER = 1;            // seconds, when the server has too much under way and does not say how long
const BATCH = 1 << 15;      // characters of one POST, as long as one message is not longer
const MOST = 32;            // objects of one POST: max_in_flight of a server that sets nothing else
const LONGEST = 2 ** 31 - 1; // of a timer: a longer one, Infinity as well, would ring at once

// RFC 6455 7.4.1: the server has all it wanted, or will never want us.
const FINAL = [1000, 1003, 1008, 1010];
const TEMPORARY = ["rate_limited", "timeout", "internal"];

export class WeftError extends Error {
  name = "WeftError";
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const after = (delay, f) => setTimeout(f, Math.min(delay, LONGEST));

function checkNames(kind, names, known) {
  const wrong = names.find((name) => !Object.hasOwn(known, name));
  if (wrong !== undefined) {
    throw new TypeError(`no ${kind} "${wrong}"; there are ${Object.keys(known).join(", ")}`);
  }
}

class Emitter {
  #events;
  #listeners = new Map();

  constructor(...events) {
    this.#events = events;
  }

  on(event, listener) {
    if (!this.#events.includes(event)) {
      throw new TypeError(`no event "${event}"; there are ${this.#events.join(", ")}`);
    }
    if (typeof listener !== "function") throw new TypeError("the listener must be a function");
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event).add(listener);
    return () => this.off(event, listener);
  }

  off(event, listener) {
    this.#listeners.get(event)?.delete(listener);
  }

  // A listener that throws is reported, and takes nothing from the others.
  _emit(event, ...args) {
    for (const listener of [...this.#listeners.get(event) ?? []]) {
      try {
        listener(...args);
      } catch (error) {
        if (globalThis.reportError) reportError(error);
        else setTimeout(() => { throw error; });
      }
    }
  }
}

// ---- the two transports: (url, { open, text, lost }) -> { send, crowded, close } ----------------
// open(ms): from now on, and something has to be sent within so many milliseconds, each time.

const TRANSPORTS = {
  websocket(url, on) {
    const socket = new WebSocket(url.replace(/^http/, "ws"), "weft.1");
    socket.onopen = () => on.open(Infinity);
    socket.onmessage = (event) => on.text(event.data);
    socket.onclose = (event) => on.lost(event.code, event.reason);
    return {
      send: (text) => socket.send(text),
      crowded: () => socket.bufferedAmount > CROWDED,
      close() {
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close(1000);
      },
    };
  },

  // One POST at a time keeps the order; what is sent meanwhile goes with the next one.
  sse(url, on) {
    const source = new EventSource(url), abort = new AbortController(), target = new URL(url);
    let outbox = [], busy = false, most = MOST;

    function next() {
      const limit = Math.min(outbox.length, most);
      let count = 0, size = 0;
      while (count < limit && (!count || size + outbox[count].length < BATCH)) {
        size += outbox[count++].length;
      }
      return outbox.slice(0, count);
    }

    async function post(batch) {
      // As text/plain, for which a page of another site has to ask for no leave (Fetch 3.2.2).
      const answer = await fetch(target, { method: "POST", body: `[${batch}]`, signal: abort.signal });
      if (answer.status === 429) {
        const seconds = Number(answer.headers.get("retry-after")); // NaN: proxies may say a date
        return new Promise((done) => after((seconds > 0 ? seconds : LATER) * 1000, done));
      }
      if (answer.status === 413 && batch.length > 1) { // nothing of it was done
        most = batch.length >> 1;
        return;
      }
      if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
      outbox.splice(0, batch.length);
    }

    async function drain() {
      if (busy) return;
      busy = true;
      try {
        while (outbox.length) await post(next());
        busy = false;
      } catch (error) {
        if (!abort.signal.aborted) on.lost(1006, error.message);
      }
    }

    source.addEventListener("session", (event) => {
      const { session, timeout } = JSON.parse(event.data);
      target.searchParams.set("session", session);
      on.open(timeout * 500);
    });
    source.onmessage = (event) => on.text(event.data);
    source.onerror = () => on.lost(1006, ""); // it would return as another session, unasked
    return {
      send(text) {
        outbox.push(text);
        queueMicrotask(drain);
      },
      crowded: () => busy,
      close() {
        outbox = [];
        source.onmessage = source.onerror = null;
        source.close();
        abort.abort();
      },
    };
  },
};

// ---- a topic ------------------------------------------------------------------------------------

class Room extends Emitter {
  #weft;
  #params;
  #known = false;   // whether it was subscribed before, so that something may have been missed
  #turn = 0;        // of joining; what belongs to an earlier one comes too late
  #failures = 0;
  #timer = 0;

  state = "subscribing";
  presence = [];
  data = undefined;
  _link = null;     // where it has asked to join

  constructor(weft, topic, { params, since }) {
    super("message", "presence", "missed", "recovered", "reset", "state", "error");
    this.#weft = weft;
    this.#params = params;
    this.topic = topic;
    this.epoch = since?.epoch;
    this.offset = since?.offset;
    this.#known = since !== undefined;
  }

  publish(data, { event, timeout = 0, volatile = false } = {}) {
    if (data === undefined) throw new TypeError("publish: there is no data (null would do)");
    const object = { type: "publish", topic: this.topic, event, data };
    return volatile ? this.#weft._spare(this, object) : this.#weft._ask(this, object, timeout);
  }

  call(method, data, { timeout } = {}) {
    return this.#weft._ask(this, { type: "call", topic: this.topic, method, data }, timeout);
  }

  unsubscribe() {
    if (this.state !== "unsubscribed") this.#weft._leave(this);
  }

  // Says to the server that we are here; `send` (object, done, failed) is the current connection's.
  async _join(send) {
    const turn = ++this.#turn;
    clearTimeout(this.#timer);
    try {
      const params = typeof this.#params === "function" ? await this.#params() : this.#params;
      if (this.state !== "subscribing" || turn !== this.#turn) return;
      const { topic, epoch, offset } = this;
      send({ type: "subscribe", topic, params, ...epoch !== undefined && { epoch, offset } },
        (reply) => this.#joined(reply ?? {}), (error) => this.#refused(error, send));
    } catch (error) { // of params()
      if (turn === this.#turn) this.#refused(new WeftError("internal", String(error?.message ?? error)), send);
    }
  }

  #refused(error, send) {
    if (this.state !== "subscribing") return;
    this._emit("error", error);
    if (!TEMPORARY.includes(error.code)) return this.#weft._drop(this, error);
    this.#timer = after(this.#weft._delay(++this.#failures), () => this._join(send));
  }

  #joined({ epoch, offset, recovered, data, ...more }) {
    if (this.state !== "subscribing") return; // it was left before the answer came
    const messages = more.messages ?? [], presence = more.presence ?? [];
    const returned = this.#known;
    this.#known = true;
    this.#failures = 0;
    Object.assign(this, { state: "subscribed", data, presence });
    this.#weft._flush(this);
    if (recovered) {
      for (const message of messages) this.#message({ epoch, ...message });
      this._emit("recovered", messages.length);
    }
    if (this.state !== "subscribed") return;
    Object.assign(this, { epoch, offset });
    if (returned && !recovered) this._emit("reset");
    this._emit("presence", presence);
    this._emit("state", this.state);
  }

  #message({ data, event, epoch, offset, encoding }) {
    if (this.state !== "subscribed") return; // a listener has left it
    if (offset !== undefined) {
      if (epoch === this.epoch && offset <= this.offset) return; // we have it
      Object.assign(this, { epoch, offset });
    }
    if (encoding === "base64") data = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
    this._emit("message", data, { topic: this.topic, event, epoch, offset });
  }

  #present({ event, user }) {
    const at = this.presence.findIndex((one) => one.id === user.id);
    this.presence = [...this.presence];
    if (event !== "leave") this.presence.splice(at < 0 ? this.presence.length : at, 1, user);
    else if (at >= 0) this.presence.splice(at, 1);
    this._emit("presence", this.presence, { event, user });
  }

  _receive(object) {
    if (object.type === "message") this.#message(object);
    else if (this.state !== "subscribed") return;
    else if (object.type === "presence") this.#present(object);
    else if (object.type === "missed") this._emit("missed", object.count);
    else if (object.type === "unsubscribed") {
      this.#weft._drop(this, new WeftError(object.code, object.message ?? "the server ended it"));
    }
  }

  // The connection is. True: that is to be told, once all rooms know.
  _lost() {
    clearTimeout(this.#timer);
    this.#turn++;
    if (this.state !== "subscribed") return false;
    this.state = "subscribing";
    return true;
  }

  _end(error) {
    clearTimeout(this.#timer);
    if (this.state === "unsubscribed") return;
    this.state = "unsubscribed";
    this._emit("state", this.state, error);
  }
}

// ---- the connection -----------------------------------------------------------------------------

export class Weft extends Emitter {
  #url;
  #options;
  #rooms = new Map();
  #requests = new Map();    // id -> { room, text, sent, done, failed, timer }, in their order
  #id = 0;
  #link = null;
  #others = [];             // the transports that this round has not tried yet
  #timer = 0;               // until the next attempt, or for the one that is under way
  #pulse = 0;
  #heard = null;            // when something came last; null: nothing came on this link
  #since = 0;
  #least = Infinity;        // after how long the link wants to hear of us
  #probed = 0;
  #asked = false;           // since then nothing has come
  #patience = 0;            // how many links in a row were heard, and then did not answer
  #failures = 0;
  #without = false;         // this round had no WebSocket that said anything
  #refused = 0;             // how often that was so and another transport worked
  #blocked = 0;             // until when it is left alone

  state = "closed";
  transport = null;

  constructor(url = "/weft", options = {}) {
    super("state", "error");
    checkNames("option", Object.keys(options), DEFAULTS);
    this.#options = { ...DEFAULTS, ...options };
    checkNames("transport", this.#options.transports, TRANSPORTS);
    this.#url = new URL(url, globalThis.location?.href).href.replace(/^ws/, "http");
    this.state = "connecting"; // later, so that listeners can be added, and the page can close()
    queueMicrotask(() => { if (this.state === "connecting" && !this.#link) this.#begin(); });
  }

  subscribe(topic, options = {}) {
    if (typeof topic !== "string" || !topic) throw new TypeError("the topic must be a string");
    let room = this.#rooms.get(topic);
    if (!room) {
      room = new Room(this, topic, options);
      this.#rooms.set(topic, room);
      // later, so that listeners can be added before anything happens
      queueMicrotask(() => { if (this.state === "open") this.#join(room); });
    }
    return room;
  }

  connect() {
    if (this.state === "waiting" || this.state === "closed") this.#begin();
  }

  #begin() {
    this.#watch(true);
    this.#without = false;
    const names = this.#options.transports;
    const rest = names.filter((name) => name !== "websocket");
    this.#dial(rest.length && performance.now() < this.#blocked ? rest : names);
  }

  close() {
    this.#end("closed by the page");
  }

  // ---- attempts ----

  #show(state, info = {}) {
    this.state = state;
    this._emit("state", state, { transport: this.transport, ...info });
  }

  #dial([name, ...others]) {
    clearTimeout(this.#timer);
    this.transport = name;
    this.#others = others;
    this.#heard = null;
    const only = (f) => (...args) => { if (this.#link === link) f(...args); };
    const lost = (code, reason) => this.#lost(code, reason);
    let link = this.#link = { close() {} };
    try {
      link = this.#link = TRANSPORTS[name](this.#url, {
        open: only((least) => this.#opened(least)), text: only((text) => this.#text(text)), lost: only(lost),
      });
    } catch (error) { // the page's policy, or an environment without it
      queueMicrotask(only(() => lost(1006, error.message)));
    }
    this.#timer = after(this.#options.connectTimeout, only(() => lost(1006, "connect timeout")));
    this.#show("connecting");
  }

  #opened(least) {
    const link = this.#link;
    this.#least = least;
    this.#since = performance.now();
    this.#show("open");
    if (this.#link !== link) return; // a listener has closed it
    this.#probe(this.#options.pingTimeout); // that it opened proves nothing yet: proxies do, too
    for (const room of this.#rooms.values()) this.#join(room);
  }

  #join(room) {
    const link = this.#link;
    if (!link || room._link === link) return;
    room._link = link;
    const only = (f) => (...args) => { if (this.#link === link) f(...args); };
    room._join(only((object, done, failed) =>
      this.#transmit(this.#request(null, object, done, only(failed)))));
  }

  // The link is no more. Who was never heard gives way to the next transport at once.
  #lost(code, reason) {
    const silent = this.#heard === null;
    if (silent && this.transport === "websocket") this.#without = true;
    this.state = "waiting"; // already for listeners of what is lost now
    this.#drop();
    if (this.state !== "waiting") return; // one of them has closed it, or begun anew
    if (FINAL.includes(code)) return this.#end(reason, code);
    if (silent && this.#others.length) return this.#dial(this.#others);
    if (!silent && performance.now() - this.#since > STABLE) this.#failures = 0;
    const delay = this._delay(++this.#failures);
    this.#timer = after(delay, () => this.connect());
    this.#show("waiting", { delay, code, reason });
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#pulse);
    const link = this.#link;
    this.#link = null;
    link?.close();
    this.#fail((request) => request.sent, "closed", "the connection was lost before the answer came");
    for (const room of [...this.#rooms.values()].filter((it) => it._lost())) {
      if (room.state === "subscribing") room._emit("state", room.state);
    }
  }

  #end(reason, code = 1000) {
    if (this.state === "closed") return;
    this.#watch(false);
    this.state = "closed"; // already for listeners of what ends now
    this.#drop();
    this.#fail(() => true, "closed", "the connection was closed");
    if (this.state === "closed") this.#show("closed", { code, reason });
  }

  // Full jitter: the pages of a server that was restarted do not return together.
  _delay(failures) {
    const { minDelay, maxDelay } = this.#options;
    return minDelay + Math.random() * (Math.min(maxDelay, minDelay * 2 ** failures) - minDelay);
  }

  // When the page is seen or online again, it waits no longer, and wants to know how things are.
  #hurry = () => {
    if (globalThis.document?.hidden) return;
    if (this.state === "waiting") this.connect();
    else if (this.state === "open") this.#probe(PROBE);
  };

  // What is sent from now on shall wait in the queue, not be lost in a dead socket.
  #offline = () => {
    if (this.state === "open") this.#lost(1006, "offline");
  };

  #watch(on) {
    const name = on ? "addEventListener" : "removeEventListener";
    for (const event of ["online", "pageshow"]) globalThis[name]?.(event, this.#hurry);
    globalThis[name]?.("offline", this.#offline);
    globalThis.document?.[name]("visibilitychange", this.#hurry);
  }

  // ---- is it alive? ----

  // A page sees nothing of a message before its end, so one may be long under way. It was in vain if the
  // next link had no more time for it; and a server that pings wants to hear of us meanwhile.
  #probe(limit, left = limit * 2 ** (this.#heard === null ? 0 : this.#patience)) {
    this.#link.send(`{"type":"ping","id":${++this.#id}}`);
    this.#probed = performance.now();
    this.#asked = true; // clocks are too coarse to compare times, for privacy's sake
    clearTimeout(this.#pulse);
    const step = Math.min(limit, left, this.#least);
    this.#pulse = after(step, () => {
      if (!this.#asked) this.#beat();
      else if (step < left) this.#probe(limit, left - step);
      else this.#silent();
    });
  }

  #silent() {
    if (this.#heard !== null) this.#patience = Math.min(this.#patience + 1, FORBEARING);
    this.#lost(1006, "ping timeout");
  }

  #beat() {
    const now = performance.now(), { pingInterval, pingTimeout } = this.#options;
    const left = Math.min(this.#heard + pingInterval, this.#probed + this.#least) - now;
    if (left <= 0) return this.#probe(pingTimeout);
    this.#pulse = after(left, () => this.#beat());
  }

  #alive() {
    if (this.#heard === null) {
      clearTimeout(this.#timer); // connectTimeout
      if (this.transport === "websocket") this.#refused = 0;
      else if (this.#without && ++this.#refused > 1) {
        this.#blocked = performance.now() + BLOCKED;
        this.#refused = 0;
      }
    } else if (this.#asked) this.#patience = 0;
    this.#heard = performance.now();
    this.#asked = false;
  }

  // ---- what comes ----

  #text(text) {
    this.#alive();
    try {
      this.#take(JSON.parse(text));
    } catch (error) {
      this._emit("error", new WeftError("bad_reply", `the server sent what is no weft.1: ${error.message}`));
    }
  }

  #take(object) {
    const { type, id, code, message, data, topic } = object ?? {};
    if (type === "reply") this.#settle(id, null, data);
    else if (type !== "error") this.#rooms.get(topic)?._receive(object);
    else if (id === undefined) this._emit("error", new WeftError(code, message));
    else this.#settle(id, new WeftError(code, message));
  }

  #settle(id, error, data) {
    const request = this.#requests.get(id);
    if (!request) return; // it has ended, or it was a ping
    this.#requests.delete(id);
    clearTimeout(request.timer);
    if (error) request.failed(error);
    else request.done(data);
  }

  #fail(which, code, message) {
    for (const [id, request] of [...this.#requests]) {
      if (which(request)) this.#settle(id, new WeftError(code, message));
    }
  }

  // ---- what goes ----

  #request(room, object, done, failed) {
    const id = ++this.#id;
    const request = { id, room, text: JSON.stringify({ ...object, id }), sent: false, done, failed };
    this.#requests.set(id, request);
    return request;
  }

  #transmit(request) {
    request.sent = true;
    this.#link.send(request.text);
  }

  // Asks now, or once the room is subscribed (again). Who ignores the promise gets "error".
  _ask(room, object, timeout = this.#options.callTimeout) {
    const promise = new Promise((done, failed) => this.#queue(room, object, timeout, done, failed));
    promise.catch((error) => room._emit("error", error));
    return promise;
  }

  #queue(room, object, timeout, done, failed) {
    const ready = room.state === "subscribed";
    if (room.state === "unsubscribed") throw new WeftError("unsubscribed", `${room.topic} was left`);
    if (this.state === "closed") throw new WeftError("closed", "the connection is closed");
    if (!ready && [...this.#requests.values()].filter((it) => !it.sent).length >= this.#options.maxQueue) {
      throw new WeftError("too_many", `${this.#options.maxQueue} requests wait for the connection already`);
    }
    const request = this.#request(room, object, done, failed);
    if (timeout > 0 && timeout < Infinity) {
      const error = new WeftError("timeout", `no answer within ${timeout} ms`);
      request.timer = after(timeout, () => this.#settle(request.id, error));
    }
    if (ready) this.#transmit(request);
  }

  async _spare(room, object) {
    if (room.state === "subscribed" && !this.#link.crowded()) this.#link.send(JSON.stringify(object));
  }

  _flush(room) {
    for (const request of [...this.#requests.values()]) {
      if (request.room === room && !request.sent && room.state === "subscribed") this.#transmit(request);
    }
  }

  // ---- rooms that end ----

  _leave(room) {
    const { topic } = room;
    this._drop(room, new WeftError("unsubscribed", `${topic} was left`));
    if (this.state !== "open") return;
    this.#link.send(JSON.stringify({ type: "unsubscribe", topic, id: ++this.#id }));
  }

  _drop(room, error) {
    if (this.#rooms.get(room.topic) !== room) return;
    this.#rooms.delete(room.topic);
    room._end(error);
    this.#fail((request) => request.room === room, error.code, error.message);
  }
}

export default Weft;
