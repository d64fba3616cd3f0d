// weft.js in node, against a server of npm's `ws` that says just what each check wants it to say.
//    node logic.mjs
// Prints "ok NAME" or "not ok NAME: why" for each check, and "done".
import { WebSocket, WebSocketServer } from "ws";
import { once } from "node:events";

// What a page has and node has not.
const page = new EventTarget(), reported = [];
globalThis.WebSocket = class extends WebSocket { // a page's needs no listener for errors
  constructor(...args) {
    super(...args);
    this.on("error", () => {});
  }
};
globalThis.addEventListener = page.addEventListener.bind(page);
globalThis.removeEventListener = page.removeEventListener.bind(page);
globalThis.reportError = (error) => reported.push(error.message);
const { Weft, WeftError } = await import("../../lua/weft/browser/weft.js");

const PATIENCE = 20_000, { setTimeout: wait, clearTimeout: forget } = globalThis;
const QUICK = { transports: ["websocket"], minDelay: 10, maxDelay: 40 };

function expect(condition, why) {
  if (!condition) throw new Error(why);
}

function same(wanted, got, what = "") {
  const [one, other] = [wanted, got].map((it) => JSON.stringify(it));
  expect(one === other, `${what} wanted ${one}, got ${other}`);
}

const bounded = (promise, what) => new Promise((done, failed) => {
  const timer = wait(() => failed(new Error(`${what} did not come`)), PATIENCE);
  promise.then(done, failed).finally(() => forget(timer));
});

// The next event of a Weft or Room for which `fits` holds: its arguments.
function next(emitter, event, fits = () => true) {
  return bounded(new Promise((done) => {
    const off = emitter.on(event, (...args) => {
      if (!fits(...args)) return;
      off();
      done(args);
    });
  }), event);
}

const becomes = (emitter, state) =>
  emitter.state === state ? null : next(emitter, "state", (now) => now === state);

async function fails(promise, code) {
  try {
    await bounded(promise, code);
  } catch (error) {
    expect(error instanceof WeftError && error.code === code, `wanted ${code}, got ${error.code}: ${error.message}`);
    return error;
  }
  throw new Error(`wanted ${code}, and it went well`);
}

// A server whose connections are taken and answered by hand. Pings are answered unless it is mute,
// or has said enough: then only the first of each connection.
class Server {
  #waiting = [];
  #came = [];
  mute = false;
  terse = false;

  static async start() {
    const self = new Server();
    self.server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "weft.1" });
    await once(self.server, "listening");
    self.url = `http://127.0.0.1:${self.server.address().port}/weft`;
    self.server.on("connection", (socket) => self.#take(socket));
    return self;
  }

  #take(socket) {
    const peer = { socket, inbox: [], wake: null, pings: 0 };
    peer.say = (...objects) => objects.forEach((it) => socket.send(JSON.stringify(it)));
    peer.take = async (type) => {
      while (!peer.inbox.length) await bounded(new Promise((done) => { peer.wake = done; }), type);
      const object = peer.inbox.shift();
      expect(object.type === type, `wanted a ${type}, got ${JSON.stringify(object)}`);
      return object;
    };
    peer.accept = async (data = {}) => {
      const request = await peer.take("subscribe");
      peer.say({ type: "reply", id: request.id, data: { topic: request.topic, ...data } });
      return request;
    };
    socket.on("message", (text) => this.#hear(peer, JSON.parse(text)));
    if (this.#waiting.length) this.#waiting.shift()(peer);
    else this.#came.push(peer);
  }

  #hear(peer, object) {
    peer.first ??= object.type;
    if (object.type === "ping") {
      peer.pings++;
      if (!this.mute && !(this.terse && peer.pings > 1)) peer.say({ type: "reply", id: object.id });
      return;
    }
    peer.inbox.push(object);
    peer.wake?.();
  }

  connection() {
    if (this.#came.length) return this.#came.shift();
    return bounded(new Promise((done) => this.#waiting.push(done)), "a connection");
  }

  stop() {
    this.server.clients.forEach((one) => one.terminate());
    this.server.close();
  }
}

async function check(name, body) {
  const server = await Server.start(), wefts = [];
  const connect = (options) => {
    const weft = new Weft(server.url, { ...QUICK, ...options });
    wefts.push(weft);
    return weft;
  };
  try {
    await body(server, connect);
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`not ok ${name}: ${String(error.stack).replace(/\s+/g, " ").slice(0, 500)}`);
  }
  wefts.forEach((weft) => weft.close());
  server.stop();
}

// A room that is subscribed, and the server's end of it.
async function enter(server, connect, reply = {}, options = {}) {
  const weft = connect(options.weft), room = weft.subscribe("room.1", options.room);
  const got = [];
  room.on("message", (data, { offset }) => got.push(offset === undefined ? data : [data, offset]));
  const peer = await server.connection();
  const request = await peer.accept(reply);
  await becomes(room, "subscribed");
  return { weft, room, peer, got, request };
}

const message = (data, offset, epoch = "e") => ({ type: "message", topic: "room.1", data, epoch, offset });

await check("subscribes with params and hands out messages", async (server, connect) => {
  const { room, peer, got, request, weft } = await enter(server, connect, { data: { hello: 1 } },
    { room: { params: async () => ({ token: "t" }) } });
  same({ token: "t" }, request.params);
  expect(!("epoch" in request) && !("offset" in request), "it resumed from nowhere");
  same({ hello: 1 }, room.data);
  same("websocket", weft.transport);
  const last = next(room, "message", (data) => data === "third");
  peer.say({ type: "message", topic: "room.1", data: "first" }, { type: "message", topic: "other", data: "not ours" },
    { type: "message", topic: "room.1", data: "third", event: "note" });
  same("note", (await last)[1].event);
  same(["first", "third"], got);
});

await check("takes what comes in one piece with the reply to subscribe", async (server, connect) => {
  const room = connect().subscribe("room.1"), got = [];
  room.on("message", (data) => got.push(data));
  const peer = await server.connection(), { id } = await peer.take("subscribe");
  const last = next(room, "message", (data) => data === "b");
  peer.socket._socket.cork();
  peer.say({ type: "reply", id, data: {} }, message("a", 1), message("b", 2));
  peer.socket._socket.uncork();
  await last;
  same(["a", "b"], got);
});

await check("drops what it has already", async (server, connect) => {
  const { room, peer, got } = await enter(server, connect, { epoch: "e", offset: 4 });
  const last = next(room, "message", (data) => data === "f");
  peer.say(message("d", 4), message("e", 5), message("e", 5), message("f", 6));
  await last;
  same([["e", 5], ["f", 6]], got);
  same(["e", 6], [room.epoch, room.offset]);
});

await check("a publication resolves with its place, and a refused one rejects", async (server, connect) => {
  const { room, peer } = await enter(server, connect);
  const first = room.publish({ text: "hi" });
  const request = await peer.take("publish");
  same({ text: "hi" }, request.data);
  peer.say({ type: "reply", id: request.id, data: { epoch: "e", offset: 1 } });
  same({ epoch: "e", offset: 1 }, await first);
  const error = next(room, "error"), second = room.publish(1);
  peer.say({ type: "error", id: (await peer.take("publish")).id, code: "forbidden", message: "not you" });
  same("not you", (await fails(second, "forbidden")).message);
  same("forbidden", (await error)[0].code);
});

await check("calls get their own answers, whatever their order", async (server, connect) => {
  const { room, peer } = await enter(server, connect);
  const calls = [room.call("add", [1, 2]), room.call("fail"), room.call("add", [3, 4])];
  const asked = [];
  for (let i = 0; i < 3; i++) asked.push(await peer.take("call"));
  same(["add", "fail", "add"], asked.map((it) => it.method));
  peer.say({ type: "reply", id: asked[2].id, data: 7 }, { type: "error", id: asked[1].id, code: "not_found", message: "" },
    { type: "reply", id: 999, data: "to nothing" }, { type: "reply", id: asked[0].id, data: 3 });
  same([3, 7], await Promise.all([calls[0], calls[2]]));
  await fails(calls[1], "not_found");
});

await check("a call ends after its time", async (server, connect) => {
  const { room, peer } = await enter(server, connect);
  const call = room.call("slow", null, { timeout: 30 });
  const { id } = await peer.take("call");
  await fails(call, "timeout");
  const alive = room.call("quick"); // the late answer to the first is nobody's
  peer.say({ type: "reply", id, data: 1 }, { type: "reply", id: (await peer.take("call")).id, data: 2 });
  same(2, await alive);
});

await check("comes back, resumes, and shows what it missed before what is live", async (server, connect) => {
  const { room, peer, got } = await enter(server, connect, { epoch: "e", offset: 2 });
  const third = next(room, "message");
  peer.say(message("c", 3));
  await third;
  const lost = next(room, "state", (state) => state === "subscribing");
  peer.socket.terminate();
  await lost;
  const again = await server.connection(), request = await again.take("subscribe");
  same(["e", 3], [request.epoch, request.offset]);
  const recovered = next(room, "recovered"), live = next(room, "message", (data) => data === "f");
  again.say({ type: "reply", id: request.id, data: { epoch: "e", offset: 5, recovered: true,
    messages: [{ offset: 4, data: "d" }, { offset: 5, data: "e" }] } }, message("e", 5), message("f", 6));
  same([2], await recovered);
  await live;
  same([["c", 3], ["d", 4], ["e", 5], ["f", 6]], got);
});

await check("says reset when nothing can be recovered", async (server, connect) => {
  const { room, peer, got } = await enter(server, connect, { epoch: "e", offset: 2, data: "old" });
  peer.socket.terminate();
  const again = await server.connection(), reset = next(room, "reset");
  const request = await again.accept({ epoch: "n", offset: 9, recovered: false, data: "new" });
  same(["e", 2], [request.epoch, request.offset]);
  await reset;
  same(["new", "n", 9], [room.data, room.epoch, room.offset]);
  const live = next(room, "message");
  again.say(message("x", 10, "n"));
  await live;
  same([["x", 10]], got);
});

await check("resumes from where an earlier page was", async (server, connect) => {
  const { request } = await enter(server, connect, { epoch: "e", offset: 7, recovered: true, messages: [] },
    { room: { since: { epoch: "e", offset: 7 } } });
  same(["e", 7], [request.epoch, request.offset]);
});

await check("what is said offline waits, in order, and no longer than it may", async (server, connect) => {
  const { room, peer } = await enter(server, connect);
  peer.socket.terminate();
  await becomes(room, "subscribing");
  const sent = ["a", "b", "c"].map((data) => room.publish(data)), late = room.publish("late", { timeout: 5 });
  const again = await server.connection(), request = await again.take("subscribe");
  await fails(late, "timeout");
  same(0, again.inbox.length, "before the reply to subscribe");
  again.say({ type: "reply", id: request.id, data: {} });
  for (const data of ["a", "b", "c"]) {
    const it = await again.take("publish");
    same(data, it.data);
    again.say({ type: "reply", id: it.id });
  }
  await Promise.all(sent);
});

await check("the queue has a cap", async (server, connect) => {
  const { room, peer } = await enter(server, connect, {}, { weft: { maxQueue: 2 } });
  peer.socket.terminate();
  await becomes(room, "subscribing");
  const sent = [room.publish(1), room.publish(2)];
  await fails(room.publish(3), "too_many");
  const again = await server.connection();
  await again.accept();
  for (let i = 1; i <= 2; i++) {
    const it = await again.take("publish");
    same(i, it.data);
    again.say({ type: "reply", id: it.id });
  }
  await Promise.all(sent);
});

await check("what was sent when the connection went is not sent again, and fails", async (server, connect) => {
  const { room, peer } = await enter(server, connect);
  const limbo = room.publish("limbo");
  await peer.take("publish");
  peer.socket.terminate();
  await fails(limbo, "closed");
  const again = await server.connection();
  await again.accept();
  await becomes(room, "subscribed");
  room.publish("next");
  same("next", (await again.take("publish")).data);
});

await check("what is volatile never waits", async (server, connect) => {
  const { room, peer } = await enter(server, connect);
  await room.publish(1, { volatile: true, event: "typing" });
  const it = await peer.take("publish");
  same([1, "typing", false], [it.data, it.event, "id" in it]);
  peer.socket.terminate();
  await becomes(room, "subscribing");
  await room.publish(2, { volatile: true });
  const again = await server.connection();
  await again.accept();
  await becomes(room, "subscribed");
  await room.publish(3, { volatile: true });
  same(3, (await again.take("publish")).data);
});

await check("keeps who is here", async (server, connect) => {
  const ann = { id: "ann", data: { age: 1 } }, bob = { id: "bob" };
  const { room, peer } = await enter(server, connect, { presence: [ann] });
  same([ann], room.presence);
  const seen = [];
  room.on("presence", (here, change) => seen.push([change.event, change.user.id, here.map((it) => it.id).join()]));
  const last = next(room, "presence", (here, change) => change.event === "leave");
  const tell = (event, user) => peer.say({ type: "presence", topic: "room.1", event, user });
  tell("join", bob);
  tell("join", bob);
  tell("update", { id: "ann", data: { age: 2 } });
  tell("leave", bob);
  await last;
  same([["join", "bob", "ann,bob"], ["join", "bob", "ann,bob"], ["update", "ann", "ann,bob"], ["leave", "bob", "ann"]], seen);
  same(2, room.presence[0].data.age);
});

await check("tells what the server left out", async (server, connect) => {
  const { room, peer } = await enter(server, connect);
  const missed = next(room, "missed");
  peer.say({ type: "missed", topic: "room.1", count: 3 });
  same([3], await missed);
});

await check("binary data comes as bytes", async (server, connect) => {
  const { room, peer } = await enter(server, connect);
  const came = next(room, "message");
  peer.say({ type: "message", topic: "room.1", data: "AP8=", encoding: "base64" });
  const [data] = await came;
  expect(data instanceof Uint8Array, "it is no Uint8Array");
  same([0, 255], [...data]);
});

await check("a refusal that may pass is asked again, another one ends the room", async (server, connect) => {
  const weft = connect(), room = weft.subscribe("room.1"), peer = await server.connection();
  const queued = room.publish("queued");
  for (const code of ["rate_limited", "internal"]) {
    const error = next(room, "error");
    peer.say({ type: "error", id: (await peer.take("subscribe")).id, code, message: "later" });
    same(code, (await error)[0].code);
  }
  const over = next(room, "state");
  peer.say({ type: "error", id: (await peer.take("subscribe")).id, code: "forbidden", message: "never" });
  const [state, why] = await over;
  same(["unsubscribed", "forbidden"], [state, why.code]);
  await fails(queued, "forbidden");
  await fails(room.publish("more"), "unsubscribed");
  expect(weft.subscribe("room.1") !== room, "the room that ended is given out again");
});

await check("the server may end a room", async (server, connect) => {
  const { room, peer } = await enter(server, connect);
  const over = next(room, "state"), call = room.call("x");
  peer.say({ type: "unsubscribed", topic: "room.1", code: "kicked", message: "out" });
  const [state, why] = await over;
  same(["unsubscribed", "kicked", "out"], [state, why.code, why.message]);
  await fails(call, "kicked");
});

await check("leaves a room, and can enter it anew", async (server, connect) => {
  const { weft, room, peer, got } = await enter(server, connect);
  const call = room.call("x");
  await peer.take("call");
  room.unsubscribe();
  room.unsubscribe();
  await fails(call, "unsubscribed");
  same("room.1", (await peer.take("unsubscribe")).topic);
  const other = weft.subscribe("room.1");
  await peer.accept();
  await becomes(other, "subscribed");
  const came = next(other, "message");
  peer.say({ type: "message", topic: "room.1", data: "new" });
  await came;
  same([], got);
  expect(weft.subscribe("room.1") === other, "the same topic is another room");
});

await check("notices a network that is dead", async (server, connect) => {
  const { weft, peer } = await enter(server, connect, {}, { weft: { pingInterval: 20, pingTimeout: 300 } });
  const lost = next(weft, "state", (state) => state === "waiting");
  server.mute = true;
  same("ping timeout", (await lost)[1].reason);
  server.mute = false;
  await (await server.connection()).accept();
  peer.socket.terminate();
});

await check("waits a random time below a bound that grows, and tells how long", async (server, connect) => {
  const weft = connect({ minDelay: 4, maxDelay: 64 }), peer = await server.connection(), delays = [];
  weft.on("state", (state, { delay }) => { if (state === "waiting") delays.push(delay); });
  server.server.close();
  peer.socket.terminate();
  while (delays.length < 12) await next(weft, "state", (state) => state === "waiting");
  expect(delays.every((it, i) => it >= 4 && it <= Math.min(64, 4 * 2 ** (i + 1))), `a delay is out of bounds: ${delays}`);
  expect(new Set(delays).size > 6, `they are not random: ${delays}`);
});

await check("comes back at once when the page is online again", async (server, connect) => {
  const { weft, room, peer } = await enter(server, connect, {}, { weft: { minDelay: 1e6, maxDelay: 1e6 } });
  const waiting = next(weft, "state", (state) => state === "waiting");
  page.dispatchEvent(new Event("offline"));
  same("offline", (await waiting)[1].reason);
  const queued = room.publish("kept");
  page.dispatchEvent(new Event("online"));
  const again = await server.connection();
  await again.accept();
  const it = await again.take("publish");
  again.say({ type: "reply", id: it.id });
  await queued;
  server.mute = true; // and when it is open, it asks whether it really is
  const lost = next(weft, "state", (state) => state === "waiting");
  page.dispatchEvent(new Event("online"));
  same("ping timeout", (await lost)[1].reason);
  peer.socket.terminate();
});

await check("does not come back to a server that wants no return, unless told to", async (server, connect) => {
  const { weft, room, peer } = await enter(server, connect, { epoch: "e", offset: 1 });
  const closed = next(weft, "state"), call = room.call("x");
  peer.socket.close(1008, "not you");
  const [state, { code, reason }] = await closed;
  same(["closed", 1008, "not you"], [state, code, reason]);
  await fails(call, "closed");
  await fails(room.publish("x"), "closed");
  weft.connect();
  const request = await (await server.connection()).accept({ epoch: "e", offset: 1, recovered: true, messages: [] });
  same(["e", 1], [request.epoch, request.offset]);
});

await check("close says goodbye and stays closed", async (server, connect) => {
  const { weft, room, peer } = await enter(server, connect);
  const gone = once(peer.socket, "close"), call = room.call("x");
  weft.close();
  weft.close();
  await fails(call, "closed");
  same([1000], [(await bounded(gone, "close"))[0]]);
  page.dispatchEvent(new Event("online"));
  same("closed", weft.state);
});

await check("a listener that throws disturbs nobody", async (server, connect) => {
  const { room, peer } = await enter(server, connect);
  const off = room.on("message", () => { throw new Error("a listener's own"); });
  const came = next(room, "message", (data) => data === 2);
  peer.say({ type: "message", topic: "room.1", data: 1 }, { type: "message", topic: "room.1", data: 2 });
  await came;
  off();
  same(["a listener's own", "a listener's own"], reported.splice(0));
});

await check("bears what is no weft.1", async (server, connect) => {
  const { weft, room, peer } = await enter(server, connect);
  const error = next(weft, "error"), refused = next(weft, "error", ({ code }) => code === "bad_request");
  peer.socket.send("no JSON");
  same("bad_reply", (await error)[0].code);
  const came = next(room, "message");
  for (const text of ["null", "7", "[]", '"x"', "{}", '{"type":7}', '{"type":"message"}', '{"type":"reply"}',
    '{"type":"pong"}', '{"type":"new","topic":"room.1"}', '{"type":"message","topic":"__proto__"}']) peer.socket.send(text);
  peer.say({ type: "error", code: "bad_request", message: "it had no id" }, { type: "message", topic: "room.1", data: "good" });
  await refused;
  same("good", (await came)[0]);
});

// What happened that nobody caught, while body runs.
async function quietly(body) {
  const uncaught = [], note = (error) => uncaught.push(String(error?.message ?? error));
  for (const event of ["uncaughtException", "unhandledRejection"]) process.on(event, note);
  await body();
  for (const event of ["uncaughtException", "unhandledRejection"]) process.off(event, note);
  same([], uncaught);
}

const turns = async (n) => { for (let i = 0; i < n; i++) await new Promise((done) => setTimeout(done)); };

await check("may be closed by every listener", (server, connect) => quietly(async () => {
  const weft = connect(), room = weft.subscribe("room.1"), states = [];
  const off = weft.on("state", (state) => { if (state === "open") weft.close(); });
  weft.on("state", (state) => states.push(state));
  const errors = [];
  room.on("error", (error) => errors.push(error.message));
  await next(weft, "state", (state) => state === "closed");
  await turns(20);
  same([["closed", "open"], []], [states.slice(-2).sort(), errors]);
  off();
  await (await server.connection()).socket.close();
  weft.connect();
  const peer = await server.connection();
  await peer.accept();
  await becomes(room, "subscribed");
  const closed = next(weft, "state", (state) => state === "closed");
  room.on("state", (state) => { if (state === "subscribing") weft.close(); });
  peer.socket.terminate();
  await closed;
  await turns(50);
  same("closed", weft.state);
}));

await check("a listener of what is lost may use the other rooms", (server, connect) => quietly(async () => {
  const { weft, room, peer } = await enter(server, connect);
  const other = weft.subscribe("room.2"), third = weft.subscribe("room.3");
  await peer.accept();
  await peer.accept();
  await becomes(third, "subscribed");
  let said, left = [];
  third.on("state", (state) => left.push(state));
  const off = room.on("state", () => {
    off();
    said = other.publish("kept");
    other.publish("left out", { volatile: true });
    third.unsubscribe();
  });
  peer.socket.terminate();
  const again = await server.connection();
  for (const topic of ["room.1", "room.2"]) same(topic, (await again.accept()).topic);
  const it = await again.take("publish");
  same(["kept", "room.2"], [it.data, it.topic]);
  again.say({ type: "reply", id: it.id });
  await said;
  same([["unsubscribed"], []], [left, reported.splice(0)]);
}));

await check("times may be endless", async (server, connect) => {
  const real = globalThis.setTimeout, delays = [];
  globalThis.setTimeout = (f, delay, ...args) => {
    delays.push(delay);
    return real(f, delay, ...args);
  };
  try {
    const { weft, room, peer } = await enter(server, connect, {},
      { weft: { pingInterval: Infinity, pingTimeout: Infinity, connectTimeout: Infinity, callTimeout: Infinity } });
    for (const timeout of [1e10, undefined]) {
      const call = room.call("echo", 1, { timeout });
      peer.say({ type: "reply", id: (await peer.take("call")).id, data: 1 });
      same(1, await call);
    }
    same("open", weft.state);
  } finally {
    globalThis.setTimeout = real;
  }
  expect(delays.every((it) => it === undefined || it < 2 ** 31), `timers that ring at once: ${delays}`);
});

await check("a refusal that the server calls closed is one like others", async (server, connect) => {
  const room = connect().subscribe("room.1"), peer = await server.connection(), over = next(room, "state");
  peer.say({ type: "error", id: (await peer.take("subscribe")).id, code: "closed", message: "come tomorrow" });
  const [state, why] = await over;
  same(["unsubscribed", "closed", "come tomorrow"], [state, why.code, why.message]);
});

await check("is alive where clocks are coarse", async (server, connect) => {
  const real = performance.now;
  performance.now = () => Math.floor(real.call(performance) / 2000) * 2000;
  try {
    const { peer } = await enter(server, connect, {}, { weft: { pingInterval: 1, pingTimeout: 4000 } });
    await bounded(once(peer.socket, "message"), "the next ping"); // it comes if the last one was answered
  } finally {
    performance.now = real;
  }
});

// A clock that goes on only when it is told to.
function fakeClock() {
  const real = { setTimeout, clearTimeout }, { now } = performance, timers = new Set();
  const clock = { time: 0 };
  performance.now = () => clock.time;
  globalThis.setTimeout = (f, delay = 0) => {
    const timer = { at: clock.time + delay, f };
    timers.add(timer);
    return timer;
  };
  globalThis.clearTimeout = (timer) => timers.delete(timer);
  clock.ring = () => {
    const [first] = [...timers].sort((one, other) => one.at - other.at);
    timers.delete(first);
    clock.time = Math.max(clock.time, first.at);
    first.f();
  };
  clock.restore = () => Object.assign(performance, { now }) && Object.assign(globalThis, real);
  return clock;
}

await check("is more patient with each connection that falls silent, until one answers", async (server, connect) => {
  const clock = fakeClock();
  try {
    const weft = connect(), room = weft.subscribe("room.1"), lasted = [], asked = [];
    const open = async () => {
      while (weft.state === "waiting") clock.ring();
      const peer = await server.connection();
      server.terse = true;
      await peer.take("subscribe").then(({ id }) => peer.say({ type: "reply", id, data: {} }));
      same("ping", peer.first); // that nothing long can be before its answer
      await becomes(room, "subscribed");
      return peer;
    };
    const lose = async (peer, since) => {
      while (weft.state === "open") clock.ring();
      lasted.push(Math.round((clock.time - since) / 1000));
      await bounded(once(peer.socket, "close"), "the end");
      asked.push(peer.pings - 1);
    };
    for (let i = 0; i < 6; i++) await lose(await open(), clock.time);
    same([35, 45, 65, 105, 185, 185], lasted.splice(0), "seconds:");
    same([1, 2, 4, 8, 16, 16], asked.splice(0), "pings:");
    const peer = await open(), came = next(room, "message"), opened = clock.time;
    while (clock.time < opened + 25_000) clock.ring();
    peer.say(message("it was long", 1));
    await came;
    await lose(peer, clock.time);
    await lose(await open(), clock.time);
    same([35, 45], lasted, "after an answer:");
  } finally {
    clock.restore();
  }
});

await check("bears what is only nearly weft.1", (server, connect) => quietly(async () => {
  const weft = connect(), room = weft.subscribe("room.1"), errors = [];
  weft.on("error", ({ code }) => errors.push(code));
  const peer = await server.connection();
  await peer.accept({ messages: null, presence: null, recovered: true });
  await becomes(room, "subscribed");
  same([], room.presence);
  const came = next(room, "message", (data) => data === "good");
  for (const user of [undefined, null, 7]) peer.say({ type: "presence", topic: "room.1", event: "leave", user });
  peer.say({ type: "message", topic: "room.1", data: "%", encoding: "base64" },
    { type: "message", topic: "room.1", data: null, encoding: "base64" });
  peer.socket.send(Buffer.from([1, 2, 3]));
  peer.say({ type: "message", topic: "room.1", data: "good" });
  await came;
  expect(errors.length && errors.every((code) => code === "bad_reply"), `errors: ${errors}`);
}));

await check("params that fail for a connection that is lost meanwhile delay no other", async (server, connect) => {
  const asked = [];
  const weft = connect({ minDelay: 20, maxDelay: 20 });
  const room = weft.subscribe("room.1", { params: () => new Promise((done, failed) => asked.push({ done, failed })) });
  room.on("error", () => {});
  const until = async (n) => { while (asked.length < n) await turns(1); };
  const peer = await server.connection();
  await until(1);
  peer.socket.terminate();
  const again = await server.connection();
  await until(2);
  asked[0].failed(new Error("of the first"));
  asked[1].failed(new Error("of the second"));
  await bounded(until(3), "the next try");
  await turns(50);
  asked.slice(2).forEach(({ done }, i) => done(i));
  await again.accept();
  await becomes(room, "subscribed");
  same(3, asked.length);
});

await check("a topic that is subscribed to when the connection opens is asked for once", async (server, connect) => {
  const weft = connect();
  weft.on("state", (state) => { if (state === "open") weft.subscribe("room.1"); });
  const peer = await server.connection();
  const request = await peer.take("subscribe");
  await turns(20);
  same(0, peer.inbox.length, "more than one request");
  peer.say({ type: "reply", id: request.id, data: {} });
  await becomes(weft.subscribe("room.1"), "subscribed");
});

// Server-Sent Events as a page has them, and POST, from a list of answers; each one is told.
function fakeSse(answers = []) {
  const fake = { sources: [], posts: [] };
  globalThis.EventSource = class extends EventTarget {
    constructor() {
      super();
      fake.sources.push(this);
      setTimeout(() => this.say("session", { session: "s", timeout: 60 }));
    }
    say(type, object) {
      const event = Object.assign(new Event(type), { data: JSON.stringify(object) });
      if (type === "message") this.onmessage?.(event);
      else this.dispatchEvent(event);
    }
    close() { this.closed = true; }
  };
  globalThis.fetch = async (url, { body }) => {
    const objects = JSON.parse(body), source = fake.sources.at(-1);
    fake.posts.push(objects.map(({ type }) => type));
    const answer = answers.shift() ?? { status: 204 };
    if (answer.status === 204) {
      setTimeout(() => objects.forEach(({ id }) => source.say("message", { type: "reply", id, data: {} })));
    }
    return { ok: answer.status < 300, status: answer.status, headers: new Headers(answer.headers) };
  };
  return fake;
}

await check("WebSocket is left alone once it failed twice where Server-Sent Events work", async (server, connect) => {
  const { fetch, WebSocket } = globalThis, fake = fakeSse();
  let tried = 0, sse = false;
  const Works = globalThis.EventSource;
  globalThis.EventSource = class { constructor() { if (sse) return new Works(); throw new Error("no network"); } };
  globalThis.WebSocket = class {
    constructor() {
      tried++;
      setTimeout(() => this.onclose?.({ code: 1006, reason: "" }));
    }
    close() {}
  };
  try {
    const weft = connect({ transports: ["websocket", "sse"], minDelay: 1, maxDelay: 2 });
    const room = weft.subscribe("room.1");
    while (tried < 4) await turns(1); // nothing works: that says nothing of WebSocket
    sse = true;
    const tries = [];
    for (let i = 0; i < 6; i++) {
      await becomes(room, "subscribed");
      tries.push(tried);
      fake.sources.at(-1).onerror();
    }
    same([1, 0, 0, 0, 0], tries.slice(1).map((it, i) => it - tries[i]));
  } finally {
    Object.assign(globalThis, { fetch, WebSocket });
  }
});

await check("waits as long as a busy server says, in whatever form", async (server, connect) => {
  const { fetch } = globalThis;
  const later = (value) => ({ status: 429, headers: { "retry-after": value } });
  const fake = fakeSse([later("Thu, 01 Jan 1970 00:00:00 GMT"), later("0"), later("soon")]);
  try {
    const weft = connect({ transports: ["sse"] }), room = weft.subscribe("room.1"), before = performance.now();
    await becomes(room, "subscribed");
    expect(performance.now() - before > 1500, "it came back at once");
    same(4, fake.posts.length);
  } finally {
    globalThis.fetch = fetch;
  }
});

await check("misuse raises", async (server, connect) => {
  const raises = (text, f) => {
    try {
      f();
    } catch (error) {
      return expect(error instanceof TypeError && error.message.includes(text), `"${error.message}" lacks "${text}"`);
    }
    throw new Error(`nothing was raised: ${text}`);
  };
  const weft = connect(), room = weft.subscribe("room.1");
  raises('no event "mesage"; there are message', () => room.on("mesage", () => {}));
  raises("must be a function", () => room.on("message"));
  raises('no option "delay"; there are transports', () => connect({ delay: 1 }));
  raises('no transport "smoke"; there are websocket, sse', () => connect({ transports: ["smoke"] }));
  raises("must be a string", () => weft.subscribe(7));
  raises("there is no data", () => room.publish());
});

console.log("done");
process.exit(0);
