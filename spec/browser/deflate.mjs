// Chromium with permessage-deflate against weft: what the page gets back, and what is on the wire.
//    node deflate.mjs PORT WAY=EXTENSIONS...
// Each WAY is a path of the echo server at PORT; EXTENSIONS is what weft has to accept there.
// Prints as driver.mjs says.
import { check, expect, launch, PATIENCE, Wire } from "./driver.mjs";

const [port, ...ways] = process.argv.slice(2);

// The frames of one direction, without their payloads, from the bytes as they pass.
class Frames {
  #rest = Buffer.alloc(0);
  #skip = 0;
  head = "";
  list = [];

  take(data) {
    let bytes = Buffer.concat([this.#rest, data]);
    if (!this.head.endsWith("\r\n\r\n")) {
      const end = bytes.indexOf("\r\n\r\n");
      if (end < 0) { this.#rest = bytes; return; }
      this.head = bytes.toString("latin1", 0, end + 4);
      bytes = bytes.subarray(end + 4);
    }
    for (;;) {
      const skipped = Math.min(this.#skip, bytes.length);
      this.#skip -= skipped;
      bytes = bytes.subarray(skipped);
      const short = bytes[1] & 0x7f;
      const size = 2 + (short === 127 ? 8 : short === 126 ? 2 : 0) + (bytes[1] & 0x80 ? 4 : 0);
      if (this.#skip > 0 || bytes.length < 2 || bytes.length < size) break;
      const length = short === 127 ? Number(bytes.readBigUInt64BE(2))
        : short === 126 ? bytes.readUInt16BE(2) : short;
      this.list.push({ op: bytes[0] & 15, fin: bytes[0] >= 0x80, rsv: bytes[0] >> 4 & 7, length });
      this.#skip = length;
      bytes = bytes.subarray(size);
    }
    this.#rest = bytes;
  }

  // The data messages since the last call: was each compressed, and its bytes on the wire.
  messages() {
    const all = [];
    for (const { op, rsv, length } of this.list.splice(0)) {
      if (op === 1 || op === 2) all.push({ compressed: rsv === 4, length });
      if (op === 0) all.at(-1).length += length;
    }
    return all;
  }
}

const wire = await Wire.to(Number(port));
const browser = await launch();
const page = await browser.newPage();
page.setDefaultTimeout(PATIENCE);
await page.goto(wire.url);

// In the page: kinds of messages, made there, sent, and compared with what comes back.
const open = (path) => page.evaluate((path) => new Promise((done, failed) => {
  const ws = window.ws = new WebSocket(`ws://${location.host}/${path}`);
  ws.binaryType = "arraybuffer";
  ws.onopen = () => done(ws.extensions);
  ws.onclose = (event) => failed(new Error(`closed: ${event.code} ${event.reason}`));
}), path);

const exchange = (kind, size) => page.evaluate(async ([kind, size]) => {
  const ws = window.ws;
  let text = "";
  for (let i = 0; text.length < size; i++) text += `{"id":${i},"v":${i * 7919 % 100003},"name":"été €"},`;
  text = text.slice(0, size);
  let sent = text;
  if (kind === "binary") sent = new TextEncoder().encode(text).buffer;
  if (kind === "noise") {
    sent = new Uint8Array(size);
    for (let at = 0; at < size; at += 65536) crypto.getRandomValues(sent.subarray(at, at + 65536));
    sent = sent.buffer;
  }
  const came = await new Promise((done, failed) => {
    ws.onmessage = (event) => done(event.data);
    ws.onclose = (event) => failed(new Error(`closed: ${event.code} ${event.reason}`));
    ws.send(sent);
  });
  if (typeof sent === "string") return { same: came === sent, bytes: new TextEncoder().encode(sent).length };
  const [a, b] = [new Uint8Array(came), new Uint8Array(sent)];
  return { same: a.length === b.length && a.every((byte, i) => byte === b[i]), bytes: b.length };
}, [kind, size]);

const SMALL = 100; // under weft's threshold
const SIZES = [["text", 1], ["text", SMALL], ["text", 1000], ["text", 1000], ["text", 70_000],
  ["text", 3_000_000], ["binary", 20_000], ["noise", 200_000], ["text", 1000]];

for (const argument of ways) {
  const [path, expected] = [argument.slice(0, argument.indexOf("=")), argument.slice(argument.indexOf("=") + 1)];
  const up = new Frames(), down = new Frames();
  wire.tap = (fromPage, data) => (fromPage ? up : down).take(data);

  await check(`${path}: is offered, accepted, and told to the page`, async () => {
    const extensions = await open(path);
    expect(/sec-websocket-extensions: permessage-deflate/i.test(up.head), `offered: ${up.head}`);
    const accepted = /sec-websocket-extensions: ([^\r]*)/i.exec(down.head)?.[1] ?? "";
    expect(accepted === expected, `accepted: ${accepted}`);
    expect(extensions === expected, `in the page: ${extensions}`);
  });

  await check(`${path}: messages of all sizes come back, both ways as agreed`, async () => {
    for (const [kind, size] of SIZES) {
      const { same, bytes } = await exchange(kind, size);
      expect(same, `${kind} of ${size} came back changed`);
      const [[sent, ...more], [got, ...others]] = [up.messages(), down.messages()];
      expect(more.length + others.length === 0, "more messages than one");
      const packs = expected !== "" && kind !== "noise" && size > SMALL;
      for (const [who, { compressed, length }] of [["the page", sent], ["weft", got]]) {
        const told = `${who}: ${kind} of ${bytes} in ${length} bytes, compressed: ${compressed}`;
        if (packs) expect(compressed && length < bytes / 2, told);
        if (expected === "" || (who === "weft" && size <= SMALL)) expect(!compressed && length === bytes, told);
      }
    }
  });

  await check(`${path}: closes cleanly`, async () => {
    const code = await page.evaluate(() => new Promise((done) => {
      window.ws.onclose = (event) => done(`${event.code} ${event.wasClean}`);
      window.ws.close(4000, "enough");
    }));
    expect(code === "4000 true", code);
  });
}

await browser.close();
wire.server.close();
console.log("done");
process.exit(0);
