// npm's ws as a client of spec/peers/weft_echo.lua: node client.mjs ws://HOST:PORT/echo
// Prints one JSON line per case: {"name", "ok", "why"}. The cases are those of client.py.
import { strict as assert } from "node:assert";
import { once } from "node:events";
import WebSocket from "ws";

const URL = process.argv[2];
const PATIENCE = 20_000;
const CLOSES = [[1000, ""], [1000, "bye"], [1001, "going away"], [3000, "r".repeat(123)], [4999, "bis später ✓"]];

// A client whose messages can be awaited one by one: a string for text, a Buffer for binary.
async function connect(query = "", { protocols = [], ...options } = {}) {
  const ws = new WebSocket(`${URL}?${query}`, protocols, { perMessageDeflate: false, ...options });
  const inbox = [], readers = [];
  ws.on("message", (data, binary) => {
    const message = binary ? data : data.toString();
    if (readers.length) readers.shift()(message);
    else inbox.push(message);
  });
  ws.next = () => inbox.length ? inbox.shift() : new Promise((done) => readers.push(done));
  ws.ended = new Promise((done) => ws.on("close", (code, reason) => done([code, reason.toString()])));
  ws.on("error", () => {}); // what matters then is the close that follows
  await once(ws, "open");
  return ws;
}

async function echoes(ws, message) {
  ws.send(message);
  const answer = await ws.next();
  assert.equal(typeof answer, typeof message);
  if (typeof message === "string" ? answer !== message : !answer.equals(message)) {
    throw new Error(`${message.length} came back as ${answer.length}, or changed`);
  }
}

const cases = {
  async "text"() {
    const ws = await connect();
    await echoes(ws, "hello");
    await echoes(ws, "Grüße, 世界 🧵 \0 and a NUL");
    return ws;
  },

  async "binary"() {
    const ws = await connect();
    await echoes(ws, Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
    return ws;
  },

  async "empty"() {
    const ws = await connect();
    await echoes(ws, "");
    await echoes(ws, Buffer.alloc(0));
    return ws;
  },

  async "lengths around each form of the header, to 1 MiB"() {
    const ws = await connect();
    for (const size of [124, 125, 126, 127, 65535, 65536, 2 ** 20]) {
      await echoes(ws, "x".repeat(size));
      await echoes(ws, Buffer.alloc(size).map((_, i) => i * 7));
    }
    return ws;
  },

  async "more than 1 MiB is refused with 1009"() {
    const ws = await connect("too_big");
    ws.send(Buffer.alloc(2 ** 20 + 1));
    assert.equal((await ws.ended)[0], 1009);
  },

  async "fragments, split inside a character"() {
    const ws = await connect(), data = Buffer.from("zwölf Fäden 🧵");
    for (let i = 0; i < data.length; i++) {
      ws.send(data.subarray(i, i + 1), { binary: false, fin: i === data.length - 1 });
    }
    assert.equal(await ws.next(), data.toString());
    for (const part of ["warp", "", " and "]) ws.send(Buffer.from(part), { fin: false });
    ws.send(Buffer.from("weft"));
    assert.equal((await ws.next()).toString(), "warp and weft");
    return ws;
  },

  async "ping between fragments"() {
    const ws = await connect();
    ws.send("one ", { fin: false });
    for (const payload of ["", "in between", "p".repeat(125)]) {
      ws.ping(payload);
      ws.send("more ", { fin: false });
      const [pong] = await once(ws, "pong");
      assert.equal(pong.toString(), payload);
    }
    ws.send("last", { fin: true });
    assert.equal(await ws.next(), "one more more more last");
    return ws;
  },

  async "answers the server's ping"() {
    const ws = await connect();
    ws.send("!ping");
    assert.equal(await ws.next(), "pong");
    return ws;
  },

  async "the first subprotocol of the server's that is offered"() {
    const ws = await connect("", { protocols: ["weft.v1", "other", "weft.v2"] });
    assert.equal(ws.protocol, "weft.v2");
    await echoes(ws, "hello");
    return ws;
  },

  // ws holds that a server must choose one of those offered; RFC 6455 4.2.2 lets it choose none.
  async "no subprotocol in common"() {
    await assert.rejects(connect("", { protocols: ["other"] }), /Server sent no subprotocol/);
  },

  async "headers, path and query"() {
    const ws = await connect("a=%20b", { headers: { "X-Thread": "indigo" } });
    ws.send("!header x-thread");
    assert.equal(await ws.next(), "indigo");
    ws.send("!path");
    assert.equal(await ws.next(), "/echo?a=%20b");
    return ws;
  },

  async "many messages in flight, in order"() {
    const ws = await connect();
    const sent = Array.from({ length: 500 }, (_, i) => `${i} ` + "y".repeat(i * 37 % 2000));
    for (const message of sent) ws.send(message);
    for (const expected of sent) assert.equal(await ws.next(), expected);
    return ws;
  },

  async "permessage-deflate is declined"() {
    const ws = await connect("", { perMessageDeflate: { threshold: 0 } });
    assert.equal(ws.extensions, "");
    await echoes(ws, "hello ".repeat(1000));
    return ws;
  },

  async "closes with codes and reasons"() {
    for (const [number, [code, reason]] of CLOSES.entries()) {
      const ws = await connect(`closes${number}`);
      await echoes(ws, "hello");
      ws.close(code, reason);
      assert.equal((await ws.ended)[0], code);
    }
  },

  async "is closed with codes and reasons"() {
    for (const [number, [code, reason]] of CLOSES.entries()) {
      const ws = await connect(`closed${number}`);
      ws.send(`!close ${code} ${reason}`);
      assert.deepEqual(await ws.ended, [code, reason]);
    }
  },

  async "vanishes without a close frame"() {
    const ws = await connect("vanishes");
    await echoes(ws, "hello");
    ws.terminate();
    await ws.ended;
  },
};

function bounded(promise) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not done in ${PATIENCE} ms`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

for (const [name, run] of Object.entries(cases)) {
  const result = { name, ok: true };
  try {
    const ws = await bounded(run());
    ws?.close();
    await (ws && bounded(ws.ended));
  } catch (error) {
    Object.assign(result, { ok: false, why: String(error.message).slice(0, 500) });
  }
  console.log(JSON.stringify(result));
}
process.exit();
