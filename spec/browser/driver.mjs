// What the scripts for browsers share. Each prints "ok NAME" or "not ok NAME: why" for each of its
// checks, and "done". Nothing sleeps: every step waits for what it needs to see, for a bounded time.
import { chromium } from "playwright-core";
import { createServer, connect } from "node:net";
import { once } from "node:events";

export const PATIENCE = 30_000; // milliseconds for one thing to appear

export async function check(name, body) {
  try {
    await body();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`not ok ${name}: ${String(error.stack ?? error).replace(/\s+/g, " ").slice(0, 600)}`);
  }
}

export function expect(condition, why) {
  if (!condition) throw new Error(why);
}

/** Chromium, with a fresh user data directory that is removed at the end. */
export const launch = () => chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run"],
});

// A network between a page and a port. tap(fromPage, bytes), if set, sees all that passes.
export class Wire {
  #pairs = new Set();
  #state = "open";

  static async to(port) {
    const self = new Wire();
    self.server = createServer((socket) => self.#take(socket, port));
    self.server.listen(0, "127.0.0.1");
    await once(self.server, "listening");
    self.url = `http://127.0.0.1:${self.server.address().port}/`;
    return self;
  }

  #take(socket, port) {
    if (this.#state === "cut") return socket.destroy();
    const pair = [socket, connect(port, "127.0.0.1")];
    this.#pairs.add(pair);
    pair.forEach((one, i) => {
      one.on("error", () => {});
      one.on("close", () => {
        pair[1 - i].destroy();
        this.#pairs.delete(pair);
      });
      one.on("data", (data) => {
        this.tap?.(i === 0, data);
        pair[1 - i].write(data);
      });
      one.on("end", () => pair[1 - i].end());
      if (this.#state === "stalled") one.pause();
    });
  }

  cut() {
    this.#state = "cut";
    for (const pair of this.#pairs) pair.forEach((one) => one.destroy());
  }

  stall() { // nothing gets through, and nobody is told
    this.#state = "stalled";
    for (const pair of this.#pairs) pair.forEach((one) => one.pause());
  }

  restore() {
    this.#state = "open";
    for (const pair of this.#pairs) pair.forEach((one) => one.resume());
  }
}
