// Pages with weft.js in rooms of a real server, over a network that is cut, stalls, or lets no
// WebSocket through.   node rooms.mjs SERVER_PORT NGINX_PORT NARROW_PORT
// nginx, as it is without settings for it, passes no upgrade on. Prints as driver.mjs says; "please
// stop" and "please start" ask the caller for the server's end and its return.
import { check, expect, launch, PATIENCE, Wire } from "./driver.mjs";

const [serverPort, nginxPort, narrowPort] = process.argv.slice(2);
const troubles = [];
const browser = await launch();

async function open(url, name) {
  const context = await browser.newContext(), page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => troubles.push(`${name}: ${error}`));
  await page.goto(`${url}?name=${name}`);
  await subscribed(page);
  return page;
}

const subscribed = (page) => page.waitForFunction(() => window.room?.state === "subscribed");
const lost = (page) => page.waitForFunction(() => window.room.state === "subscribing");
const log = (page) => page.evaluate(() => window.log);
const forget = (...pages) => Promise.all(pages.map((page) =>
  page.evaluate(() => Object.assign(window.log, { got: [], recovered: 0, resets: 0, missed: 0, why: [] }))));

// Says from..to, each when the one before was taken.
const say = (page, from, to) => page.evaluate(async ([first, last]) => {
  for (let i = first; i <= last; i++) await window.room.publish(i);
}, [from, to]);

async function has(page, from, to) {
  await page.waitForFunction((last) => window.log.got.includes(last), to);
  const { got } = await log(page), wanted = Array.from({ length: to - from + 1 }, (_, i) => from + i);
  expect(got.join() === wanted.join(), `wanted ${from} to ${to}, got ${got.join().slice(0, 300)}`);
}

const direct = `http://127.0.0.1:${serverPort}/`;
const wire = await Wire.to(serverPort), blocked = await Wire.to(nginxPort);
const ann = await open(wire.url, "ann"), bob = await open(direct, "bob"), pages = [ann, bob];

await check("a network that is cut and restored: every message once and in order", async () => {
  const speaking = say(bob, 1, 200);
  for (let i = 0; i < 4; i++) {
    wire.cut();
    await lost(ann);
    wire.restore();
    await subscribed(ann);
  }
  await speaking;
  await say(bob, 201, 202);
  await has(ann, 1, 202);
  await has(bob, 1, 202);
  const { recovered, resets } = await log(ann);
  expect(recovered === 4 && resets === 0, `recovered ${recovered} times, reset ${resets}`);
});

await check("a page that is switched offline and online: the same", async () => {
  await forget(...pages);
  const speaking = say(bob, 1, 60);
  for (let i = 0; i < 3; i++) {
    await ann.context().setOffline(true);
    await lost(ann);
    await ann.context().setOffline(false);
    await subscribed(ann);
  }
  await speaking;
  await say(bob, 61, 61);
  await has(ann, 1, 61);
  expect((await log(ann)).resets === 0, "it was reset");
});

await check("a network that stalls: the page notices, and gets what it missed", async () => {
  await forget(...pages);
  wire.stall();
  await say(bob, 1, 20);
  await ann.waitForFunction(() => window.log.why.includes("ping timeout"));
  expect((await log(ann)).got.length === 0, "the network does not stall");
  wire.restore();
  await subscribed(ann);
  await say(bob, 21, 21);
  await has(ann, 1, 21);
});

await check("what is said offline arrives once and in order", async () => {
  await forget(...pages);
  wire.cut();
  await lost(ann);
  await ann.evaluate(() => { window.said = Promise.all([1, 2, 3, 4, 5].map((i) => window.room.publish(i))); });
  wire.restore();
  const places = await ann.evaluate(() => window.said);
  expect(places.every((place, i) => !i || place.offset === places[i - 1].offset + 1), "the offsets do not follow");
  for (const page of pages) await has(page, 1, 5);
});

await check("presence shows who is away, and who is back", async () => {
  const here = (page, names) => page.waitForFunction((wanted) =>
    window.room.presence.map((one) => one.id).sort().join() === wanted, names);
  await here(bob, "ann,bob");
  wire.cut();
  await here(bob, "bob");
  wire.restore();
  await here(bob, "ann,bob");
  await here(ann, "ann,bob");
});

// A Weft of this page's as window.mine, with a room.
const connect = (page, topic, options, url = "/weft") => page.evaluate(async ([name, given, at]) => {
  const { Weft } = await import("/weft.js");
  const weft = new Weft(at, given), room = weft.subscribe(name, { params: { name: "mine" } }), got = [];
  room.on("message", (data) => got.push(data));
  window.mine = { weft, room, got };
}, [topic, options, url]);
const reaches = (page, state) => page.waitForFunction((wanted) => window.mine.weft.state === wanted, state);

await check("a page that waits comes back at once when it is seen or online again", async () => {
  const page = await open(wire.url, "dan");
  await connect(page, "room.2", { minDelay: 6e5, maxDelay: 6e5 }); // ten minutes
  await reaches(page, "open");
  wire.cut();
  await reaches(page, "waiting");
  wire.restore();
  const see = (visible, event) => page.evaluate(([seen, name]) => { // without a head, chromium hides no page
    Object.defineProperty(document, "hidden", { configurable: true, get: () => !seen });
    (name === "online" ? window : document).dispatchEvent(new Event(name));
    return window.mine.weft.state;
  }, [visible, event]);
  for (const event of ["visibilitychange", "online"]) {
    expect(await see(false, event) === "waiting", `it came back by ${event} although nobody sees it`);
  }
  expect(await see(true, "visibilitychange") === "connecting", "it still waits");
  await reaches(page, "open");
  await page.context().setOffline(true);
  await reaches(page, "waiting");
  await page.context().setOffline(false);
  await reaches(page, "open");
  await page.waitForFunction(() => window.mine.room.state === "subscribed");
  await page.context().close();
});

const cid = await open(blocked.url, "cid");
pages.push(cid);

await check("where WebSocket is blocked, Server-Sent Events take over", async () => {
  expect(await cid.evaluate(() => window.weft.transport) === "sse", "it is no SSE");
  expect(await bob.evaluate(() => window.weft.transport) === "websocket", "it is no WebSocket");
  await forget(...pages);
  await say(bob, 1, 10);
  await say(cid, 11, 30);
  for (const page of pages) await has(page, 1, 30);
  expect(await cid.evaluate(() => window.room.call("add", [20, 22])) === 42, "a call does not work");
  await bob.waitForFunction(() => window.room.presence.some((one) => one.id === "cid"));
});

await check("Server-Sent Events that are cut: every message once and in order", async () => {
  await forget(...pages);
  const speaking = say(bob, 1, 100);
  for (let i = 0; i < 3; i++) {
    blocked.cut();
    await lost(cid);
    blocked.restore();
    await subscribed(cid);
  }
  await speaking;
  await say(bob, 101, 101);
  await has(cid, 1, 101);
  const { recovered, resets } = await log(cid);
  expect(recovered >= 3 && resets === 0, `recovered ${recovered} times, reset ${resets}`);
  expect(await cid.evaluate(() => window.weft.transport) === "sse", "it is no SSE any more");
});

await check("a session stays while nothing is said", async () => {
  await forget(cid);
  await cid.waitForFunction(() => new Promise((done) => {
    const before = performance.now(); // some pings long
    setTimeout(() => done(performance.now() - before > 2900), 3000);
  }));
  await say(bob, 1, 1);
  await has(cid, 1, 1);
  expect((await log(cid)).why.length === 0, `it was lost: ${(await log(cid)).why}`);
});

async function narrow(site = `http://127.0.0.1:${narrowPort}/`) {
  const page = await (await browser.newContext()).newPage(), statuses = [];
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => troubles.push(`narrow: ${error}`));
  page.on("response", (answer) => statuses.push(answer.status()));
  await page.goto(site);
  await connect(page, "room", { transports: ["sse"], minDelay: 50, maxDelay: 200 },
    `http://127.0.0.1:${narrowPort}/weft`);
  return [page, statuses];
}

await check("a server that takes no more sessions (503) is asked again, until it does", async () => {
  const [first] = await narrow();
  await reaches(first, "open");
  const [second, statuses] = await narrow();
  for (let i = 0; i < 2; i++) await second.waitForEvent("response", (answer) => answer.status() === 503);
  await reaches(second, "waiting");
  await first.context().close();
  await second.waitForFunction(() => window.mine.room.state === "subscribed");
  expect(statuses.filter((one) => one === 503).length > 1, `it was answered ${statuses}`);
  await second.context().close();
});

for (const [what, site] of [[", once and in order", undefined], [": a page of another site, too", `${direct}?name=far`]]) {
await check(`a server with too much under way (429, 413) gets everything${what}`, async () => {
  const [page, statuses] = await narrow(site);
  await page.waitForFunction(() => window.mine.room.state === "subscribed");
  await page.evaluate(() =>
    Promise.all(Array.from({ length: 40 }, (_, i) => window.mine.room.publish(i + 1))));
  await page.waitForFunction(() => window.mine.got.at(-1) === 40);
  const got = await page.evaluate(() => window.mine.got);
  expect(got.join() === Array.from({ length: 40 }, (_, i) => i + 1).join(), `it got ${got}`);
  for (const status of [413, 429]) expect(statuses.includes(status), `it was answered ${statuses}`);
  await page.context().close();
});
}

await check("a server that is killed and comes back: all are told that messages may be missing", async () => {
  await say(bob, 2, 2);
  for (const page of pages) await page.waitForFunction(() => window.log.got.at(-1) === 2);
  await forget(...pages);
  const before = await bob.evaluate(() => window.room.epoch);
  console.log("please stop");
  await Promise.all(pages.map(lost));
  console.log("please start");
  await Promise.all(pages.map(subscribed));
  for (const page of pages) {
    const { resets, recovered } = await log(page);
    expect(resets >= 1 && recovered === 0, `reset ${resets} times, recovered ${recovered}`);
    expect(await page.evaluate(() => window.room.epoch) !== before, "the epoch is the same");
  }
  await say(bob, 1, 10);
  for (const page of pages) await has(page, 1, 10);
});

await check("README's page does what it says", async () => {
  const page = await (await browser.newContext()).newPage(), said = [];
  page.on("pageerror", (error) => troubles.push(`README: ${error}`));
  const all = new Promise((done) => page.on("console", (message) => {
    said.push(message.text());
    if (message.text().endsWith("here")) done();
  }));
  await page.goto(`${direct}readme`);
  await Promise.race([all, page.waitForEvent("close", { timeout: PATIENCE })]);
  expect(said.includes("[Ada]") && said.includes("undefined: hello") && said.at(-1) === "1 here", said.join(" | "));
});

await check("no page has an error of its own", async () => {
  expect(!troubles.length, troubles.join(" | "));
});

await browser.close();
console.log("done");
process.exit(0);
