// The pages of the other examples.
//    node pages.mjs SCREENSHOT_DIR CURSORS_URL WHITEBOARD_URL DASHBOARD_URL NOTIFY_URL TOKEN
// Prints as driver.mjs says.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { check, expect, launch, PATIENCE, Wire } from "./driver.mjs";

const [shots, cursorsUrl, boardUrl, dashboardUrl, notifyUrl, token] = process.argv.slice(2);
const WIDE = { viewport: { width: 1100, height: 720 } };
const DARK = { ...WIDE, colorScheme: "dark" };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };
const troubles = [];
let outage = false;

mkdirSync(shots, { recursive: true });
const browser = await launch();

async function open(url, options = WIDE) {
  const context = await browser.newContext(options), page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => troubles.push(`${url}: ${error}`));
  page.on("console", (message) => {
    const ours = message.text().includes("willReadFrequently"); // it is this script that reads the canvas
    if (["error", "warning"].includes(message.type()) && !outage && !ours) troubles.push(`${url}: ${message.text()}`);
  });
  await page.goto(url);
  await page.waitForSelector('#status[data-state="open"]');
  return page;
}

const shoot = (page, name) => page.screenshot({ path: join(shots, name + ".png") });
const close = (...pages) => Promise.all(pages.map((page) => page.context().close()));

async function fits(page) {
  const [wide, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  expect(wide <= room, `the page is ${wide} wide on a screen of ${room}`);
}

const counts = (page, number) =>
  page.waitForFunction((wanted) => document.getElementById("count").textContent === String(wanted), number);

// ---- cursors -------------------------------------------------------------------------------------

const [left, right, phone] = [await open(cursorsUrl), await open(cursorsUrl, DARK), await open(cursorsUrl, PHONE)];

// Where a page shows its n-th cursor, as shares of the field, once it rests there.
const rests = (page, x, y) => page.waitForFunction(([wantedX, wantedY]) =>
  [...document.querySelectorAll(".cursor")].some((one) => Math.abs(parseFloat(one.style.left) - wantedX) < 0.5
    && Math.abs(parseFloat(one.style.top) - wantedY) < 0.5), [x, y]);

const share = (page, x, y) => page.$eval("#field", (field, [clientX, clientY]) => {
  const box = field.getBoundingClientRect();
  return [100 * (clientX - box.left) / box.width, 100 * (clientY - box.top) / box.height];
}, [x, y]);

await check("cursors: each page sees where the others' mouse is", async () => {
  for (const page of [left, right, phone]) await counts(page, 3);
  await left.mouse.move(300, 200);
  await left.mouse.move(420, 300, { steps: 10 });
  await right.mouse.move(800, 500, { steps: 5 });
  for (const page of [right, phone]) await rests(page, ...await share(left, 420, 300));
  for (const page of [left, phone]) await rests(page, ...await share(right, 800, 500));
  expect(await left.$$eval(".cursor", (all) => all.length) === 1, "a page shows its own cursor");
});

await check("cursors: a click makes a wave everywhere", async () => {
  const waves = [left, right, phone].map((page) => page.waitForSelector(".wave", { state: "attached" }));
  await right.mouse.click(800, 500);
  await Promise.all(waves);
  await shoot(left, "cursors-desktop");
  await shoot(right, "cursors-dark");
  await shoot(phone, "cursors-phone");
  await fits(phone);
});

await check("cursors: a wave ends where nothing moves, too", async () => {
  const calm = await open(cursorsUrl, { ...WIDE, reducedMotion: "reduce" });
  const wave = calm.waitForSelector(".wave", { state: "attached" });
  await calm.mouse.click(400, 300);
  await wave;
  await calm.waitForFunction(() => !document.querySelector(".wave"));
  await close(calm);
  for (const page of [left, right, phone]) await counts(page, 3);
});

await check("cursors: who leaves takes the cursor along", async () => {
  await close(right);
  for (const page of [left, phone]) await counts(page, 2);
  await left.waitForFunction(() => !document.querySelector(".cursor"));
  await close(left, phone);
});

// ---- the whiteboard --------------------------------------------------------------------------------

// How much ink there is, and the whole picture as a text to compare.
const ink = (page) => page.$eval("#board", (it) =>
  it.getContext("2d").getImageData(0, 0, it.width, it.height).data.filter((byte, i) => i % 4 === 3 && byte).length);

async function stroke(page, at, steps = 40) {
  for (let i = 0; i <= steps; i++) {
    await page.mouse.move(...at(i / steps));
    if (!i) await page.mouse.down();
  }
  await page.mouse.up();
}

const hasInk = (page, least) => page.waitForFunction((wanted) => {
  const it = document.getElementById("board");
  const { data } = it.getContext("2d").getImageData(0, 0, it.width, it.height);
  let count = 0;
  for (let i = 3; i < data.length; i += 4) if (data[i]) count++;
  return count >= wanted;
}, least);

const drawer = await open(boardUrl), watcher = await open(boardUrl, DARK);

await check("whiteboard: what one draws the other sees, in its colour", async () => {
  await counts(drawer, 2);
  await stroke(drawer, (t) => [250 + 500 * t, 300 + 100 * Math.sin(9 * t)]);
  await drawer.click('#colours [title="Orange"]');
  await drawer.click("#widths :nth-child(3)");
  await stroke(drawer, (t) => [560 + 120 * Math.cos(6.3 * t), 380 + 120 * Math.sin(6.3 * t)]);
  await watcher.click('#colours [title="Green"]');
  await stroke(watcher, (t) => [300 + 60 * t * Math.cos(20 * t), 420 + 60 * t * Math.sin(20 * t)]);
  await hasInk(watcher, 0.95 * await ink(drawer));
  await hasInk(drawer, 0.95 * await ink(watcher));
  const orange = await watcher.$eval("#board", (it) => {
    const { data } = it.getContext("2d").getImageData(0, 0, it.width, it.height);
    for (let i = 0; i < data.length; i += 4) if (data[i] === 0xd9 && data[i + 1] === 0x5b && data[i + 2] === 0x1a) return true;
    return false;
  });
  expect(orange, "no pixel is orange");
});

await check("whiteboard: who comes late sees the same picture", async () => {
  const late = await open(boardUrl, PHONE);
  await hasInk(late, 2000);
  await fits(late);
  const box = await late.locator("#clear").boundingBox();
  expect(box.x >= 0 && box.x + box.width <= 390, "the tools are out of sight");
  await shoot(drawer, "whiteboard-desktop");
  await shoot(watcher, "whiteboard-dark");
  await shoot(late, "whiteboard-phone");
  await close(late);
});

await check("whiteboard: a click makes a dot", async () => {
  const before = await ink(watcher);
  await drawer.mouse.click(700, 200);
  await hasInk(watcher, before + 50);
});

await check("whiteboard: clearing clears it for all", async () => {
  await watcher.click("#clear");
  const empty = (page) => page.waitForFunction(() => {
    const it = document.getElementById("board");
    return !it.getContext("2d").getImageData(0, 0, it.width, it.height).data.some((byte) => byte);
  });
  await empty(drawer);
  await empty(watcher);
  const late = await open(boardUrl);
  await empty(late);
  await close(drawer, watcher, late);
});

await check("whiteboard: a page keeps as many strokes as the server does", async () => {
  const page = await open(boardUrl), corner = [100, 100];
  const say = (from, to, at) => page.evaluate(async ([first, last, [x, y]]) => {
    const { Weft } = await import("/weft.js");
    const weft = new Weft(), room = weft.subscribe("board"), all = [];
    for (let i = first; i <= last; i++) {
      all.push(room.publish({ id: `x${i}`, colour: 1, width: 20, points: [x, y, x, y] }).catch(() => {}));
      if (all.length === 50) await Promise.all(all.splice(0));
    }
    await Promise.all(all);
    weft.close();
  }, [from, to, at]);
  const before = await ink(page);
  await say(0, 0, corner);
  await hasInk(page, before + 20);
  await say(1, 5000, [800, 500]);
  await page.setViewportSize({ width: 900, height: 700 }); // draws all anew
  const late = await open(boardUrl, { viewport: { width: 900, height: 700 } });
  await hasInk(late, 10);
  await page.waitForFunction((wanted) => document.getElementById("board").width === wanted,
    await late.$eval("#board", (it) => it.width));
  expect(await ink(late) === await ink(page), "the boards differ");
  await page.click("#clear");
  await close(page, late);
});

// ---- the dashboard ---------------------------------------------------------------------------------

await check("dashboard: shows the server's numbers, and that they move", async () => {
  const page = await open(dashboardUrl);
  await page.waitForFunction(() => document.querySelectorAll(".card").length === 5
    && [...document.querySelectorAll(".card b")].every((one) => one.textContent !== "–"));
  await page.click("#load");
  await page.waitForFunction(() => +document.querySelector(".card b").textContent >= 1);
  await page.waitForFunction(() => [...document.querySelectorAll(".card canvas")].every((it) =>
    it.getContext("2d").getImageData(0, 0, it.width, it.height).data.filter((byte, i) => i % 4 === 3 && byte).length > 200));
  await page.waitForSelector("#load:enabled");
  await shoot(page, "dashboard-desktop");
  await close(page);
  for (const [options, name] of [[DARK, "dark"], [PHONE, "phone"]]) {
    const other = await open(dashboardUrl, options); // with what was before
    await other.waitForFunction(() => document.querySelector(".card b").textContent !== "–");
    await fits(other);
    await shoot(other, `dashboard-${name}`);
    await close(other);
  }
});

await check("dashboard: a server that is away for a while is asked by one connection, again and again", async () => {
  const page = await (await browser.newContext(WIDE)).newPage(), errors = [];
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => errors.push(String(error)));
  let asked = 0, recent = 0;
  const away = (route) => route.fulfill({ status: 502, contentType: "text/html", body: "<h1>Bad gateway</h1>" });
  await page.route("**/numbers", (route) => { asked++; return away(route); });
  await page.route("**/recent", (route) => { recent++; return away(route); });
  await page.goto(dashboardUrl);
  while (asked < 3) await page.waitForRequest("**/numbers");
  expect(Math.abs(asked - recent) < 2, `it asked ${asked} times for the numbers, ${recent} for the recent ones`);
  let sources = 0;
  page.on("response", (answer) => { if (answer.status() === 200 && answer.url().endsWith("/numbers")) sources++; });
  await page.unrouteAll({ behavior: "wait" });
  await page.waitForSelector('#status[data-state="open"]');
  await page.waitForFunction(() => document.querySelector(".card b").textContent !== "–");
  await page.evaluate(() => new Promise((done) => { // longer than two attempts are apart
    let left = 5;
    const mine = new EventSource("numbers?mine");
    mine.onmessage = () => { if (!--left) done(mine.close()); };
  }));
  expect(sources === 1, `it has ${sources} connections`);
  expect(!errors.length, errors.join(" | "));
  await close(page);
});

// ---- notices ---------------------------------------------------------------------------------------

const base = new URL(notifyUrl), wire = await Wire.to(base.port);

async function push(data) {
  const body = new URLSearchParams({ topic: "notices", data: typeof data === "string" ? data : JSON.stringify(data) });
  const answer = await fetch(new URL("/publish", base), { method: "POST", body, headers: { authorization: `Bearer ${token}` } });
  expect(answer.status === 200, `the publisher answered ${answer.status}`);
}

const titles = (page) => page.$$eval(".notice h2", (all) => all.map((one) => one.textContent));
const seesNotices = (page, number) =>
  page.waitForFunction((wanted) => document.querySelectorAll(".notice").length >= wanted, number);

const reader = await open(new URL("notify.html", wire.url).href), dim = await open(notifyUrl, DARK);
const small = await open(notifyUrl, PHONE);

await check("notify: what is pushed appears in every page, as text", async () => {
  await shoot(reader, "notify-empty");
  await push({ title: "Deploy began", text: "weft to production, 4 machines" });
  await push({ title: "Disk is filling", text: "/var is at 91 % on loom-2", level: "warning" });
  await push({ title: "Payments are down", text: "3 of 3 checks failed", level: "bad" });
  await push({ title: "<img src=x onerror=alert(1)>", text: "42 GB in 7 minutes", level: "good" });
  await push("just a text");
  for (const page of [reader, dim, small]) {
    await seesNotices(page, 5);
    expect((await titles(page)).join() === "just a text,<img src=x onerror=alert(1)>,Payments are down,Disk is filling,Deploy began",
      `it shows ${await titles(page)}`);
    expect(await page.$$eval("main img", (all) => all.length) === 0, "markup became an element");
  }
  await fits(small);
  await shoot(reader, "notify-desktop");
  await shoot(dim, "notify-dark");
  await shoot(small, "notify-phone");
});

await check("notify: an EventSource that was cut off resumes by its Last-Event-ID", async () => {
  outage = true;
  wire.cut();
  await reader.waitForSelector('#status[data-state="waiting"]');
  for (const title of ["first", "second", "third"]) await push({ title });
  wire.restore();
  await seesNotices(reader, 8);
  await push("and live again");
  await seesNotices(reader, 9);
  const got = (await titles(reader)).slice(0, 5);
  expect(got.join() === "and live again,third,second,first,just a text", `it shows ${got}`);
  outage = false;
});

await check("notify: a page that was answered by a proxy's error resumes, too", async () => {
  outage = true;
  await reader.route("**/notices*", (route) => route.fulfill({ status: 502, body: "Bad gateway" }));
  const refused = reader.waitForResponse((answer) => answer.status() === 502);
  wire.cut();
  await reader.waitForSelector('#status[data-state="waiting"]');
  wire.restore();
  await refused;
  await push({ title: "meanwhile" });
  await reader.unrouteAll({ behavior: "wait" });
  await reader.waitForSelector('#status[data-state="open"]');
  await push({ title: "afterwards" });
  await reader.waitForFunction(() => document.querySelector(".notice h2").textContent === "afterwards");
  const got = (await titles(reader)).slice(0, 3);
  expect(got.join() === "afterwards,meanwhile,and live again", `it shows ${got}`);
  outage = false;
});

await check("no page complains", async () => {
  expect(!troubles.length, troubles.join(" | "));
});

await browser.close();
console.log("done");
process.exit(0);
