// Drives chromium through the pages of examples/chat.lua and examples/push.lua.
//    node chat.mjs CHAT_URL PUSH_URL SCREENSHOT_DIR
// Prints as driver.mjs says. The server's life is in the hands of the caller: "please stop" and
// "please start" ask it to kill the chat server and to start it again.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { check, expect, launch, PATIENCE } from "./driver.mjs";

const [chatUrl, pushUrl, shots] = process.argv.slice(2);
const troubles = [];          // what the pages complained about on their consoles
let outage = false;

const browser = await launch();

async function open(context, url) {
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("console", (message) => {
    const lost = /WebSocket connection to .* failed|Failed to load resource/.test(message.text());
    if (["error", "warning"].includes(message.type()) && !(outage && lost)) troubles.push(message.text());
  });
  await page.goto(url);
  return page;
}

const connected = (page) => page.waitForSelector('#status[data-state="open"]');

async function enter(page, name) {
  await page.waitForSelector("#ask[open]");
  await page.fill("#name", name);
  await page.press("#name", "Enter");
  await connected(page);
}

const LINES = ".lines:not([hidden])";

const bubbles = (page) => page.$$eval(LINES + " .line:not(.waiting) .bubble", (all) => all.map((one) => one.textContent));

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

const sees = (page, text) => page.waitForFunction(
  (wanted) => [...document.querySelectorAll(".lines:not([hidden]) .line:not(.waiting) .bubble")].some((one) => one.textContent === wanted), text);

const seesPeople = (page, names) => page.waitForFunction(
  (wanted) => [...document.querySelectorAll("#who bdi")].map((one) => one.textContent).join() === wanted,
  names.join());

const shoot = (page, name) => page.screenshot({ path: join(shots, name + ".png") });

mkdirSync(shots, { recursive: true });
const desktop = await browser.newContext({ viewport: { width: 1100, height: 720 } });
const dark = await browser.newContext({ viewport: { width: 1100, height: 720 }, colorScheme: "dark" });
const phone = await browser.newContext({
  viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true,
});

const ada = await open(desktop, chatUrl);
const grace = await open(desktop, chatUrl);

await check("bears an address that is no room's", async () => {
  const page = await open(await browser.newContext(), `${chatUrl}#%`);
  await enter(page, "Percy");
  expect(await page.textContent("#where") === "lobby", "it is somewhere else");
  await page.context().close();
});

await check("asks for a name, once", async () => {
  await ada.waitForSelector("#ask[open]");
  await shoot(ada, "chat-name");
  await enter(ada, "Ada");
  await ada.reload();
  await connected(ada);
  expect(!await ada.isVisible("#ask"), "it asked again after a reload");
});

await check("shows in both tabs who is here", async () => {
  await enter(grace, "Grace");
  await seesPeople(ada, ["Ada", "Grace"]);
  await seesPeople(grace, ["Ada", "Grace"]);
  await ada.locator(LINES).getByText("Grace joined").waitFor();
});

await check("brings the messages of each tab to the other, with the name", async () => {
  await say(ada, "Good morning! Is the loom ready?");
  await sees(grace, "Good morning! Is the loom ready?");
  await say(grace, "Nearly. The warp is on, and I am threading the last heddles.");
  await sees(ada, "Nearly. The warp is on, and I am threading the last heddles.");
  const names = await ada.$$eval(LINES + " .line:not(.mine) .head bdi", (all) => all.map((one) => one.textContent));
  expect(names.join() === "Grace", `the line is said to be by ${names}`);
  expect(await ada.inputValue("#text") === "", "the message stayed in the input");
});

await check("shows markup as text", async () => {
  const attack = `<img src=x onerror="document.title='pwned'"><b>bold</b>&lt;`;
  const mallory = await open(desktop, chatUrl);
  await enter(mallory, `<b onclick=hi()>M</b>`);
  await say(mallory, attack);
  for (const page of [ada, grace, mallory]) await sees(page, attack);
  await seesPeople(ada, ["<b onclick=hi()>M</b>", "Ada", "Grace"].sort((a, b) => a.localeCompare(b)));
  expect(await ada.$$eval(".lines img, .lines b, #who b", (all) => all.length) === 0, "markup became elements");
  expect(!(await ada.title()).includes("pwned"), "the script in the message ran");
  await mallory.close();
});

await check("shows who leaves", async () => {
  await seesPeople(ada, ["Ada", "Grace"]);
  await ada.locator(LINES).getByText("M</b> left").waitFor();
});

await check("takes two tabs of one person for one, who leaves with the second", async () => {
  const people = ["Ada", "Grace", "Twin"], left = (name) => ada.locator(LINES).getByText(`${name} left`);
  const one = await open(dark, chatUrl), two = await open(dark, chatUrl);
  for (const page of [one, two]) await enter(page, "Twin");
  for (const page of [ada, one, two]) await seesPeople(page, people);
  await one.close();
  const later = await open(dark, chatUrl);
  await enter(later, "Later");
  await later.close();
  await left("Later").waitFor(); // by then the first tab would be missed, too
  await seesPeople(ada, people);
  expect(await left("Twin").count() === 0, "the first tab's end was told");
  await say(two, "still here");
  await sees(ada, "still here");
  await two.close();
  await left("Twin").waitFor();
  await seesPeople(ada, ["Ada", "Grace"]);
  expect(await ada.locator(LINES).getByText("Twin joined").count() === 1, "the second tab was told");
});

await check("sends nothing for a blank line, and keeps to the limits", async () => {
  const before = (await bubbles(ada)).length;
  await say(ada, "   ");
  expect(await ada.isDisabled("#send"), "a blank line could be sent");
  expect(await ada.getAttribute("#text", "maxlength") === "500", "no limit on the input");
  await ada.fill("#text", "y".repeat(499));
  await ada.type("#text", "yyy");
  expect((await ada.inputValue("#text")).length === 500, "more than 500 characters could be typed");
  await ada.press("#text", "Enter");
  await sees(grace, "y".repeat(500));
  await sees(ada, "y".repeat(500));
  expect((await bubbles(ada)).length === before + 1, "the blank line became a message");
});

await check("keeps lines of several rows", async () => {
  await ada.fill("#text", "over");
  await ada.press("#text", "Shift+Enter");
  await ada.type("#text", "under");
  await ada.press("#text", "Enter");
  await sees(grace, "over\nunder");
});

await check("gives a newcomer the last 50 messages", async () => {
  for (let i = 1; i <= 55; i++) await say(grace, `pick ${i}`);
  await sees(ada, "pick 55");
  const late = await open(dark, chatUrl);
  await enter(late, "Linus");
  await sees(late, "pick 55");
  const got = await bubbles(late);
  expect(got.length === 50, `${got.length} lines came`);
  expect(got[0] === "pick 6", `the first was "${got[0]}"`);
  const end = await late.$eval(LINES, (it) => it.scrollHeight - it.scrollTop - it.clientHeight);
  expect(end < 2, "the newest line is not in view");
  await late.close();
});

await check("does not pull down who reads further up", async () => {
  await ada.$eval(LINES, (it) => { it.scrollTop = 0; });
  await ada.waitForFunction(() => document.querySelector(".lines:not([hidden])").scrollTop === 0);
  await say(grace, "are you there?");
  await sees(ada, "are you there?");
  await ada.waitForSelector("#newest", { state: "visible" });
  expect(await ada.$eval(LINES, (it) => it.scrollTop) === 0, "the lines moved");
  await ada.click("#newest");
  await ada.waitForSelector("#newest", { state: "hidden" });
});

await check("asks again when the server refuses a name", async () => {
  const page = await open(desktop, chatUrl);
  await page.waitForSelector("#ask[open]");
  await page.evaluate(() => sessionStorage.setItem("weft.name", "n".repeat(25)));
  await page.reload();
  await page.getByText("A name has 1 to 24 characters.").waitFor();
  await enter(page, "Nora");
  await seesPeople(page, ["Ada", "Grace", "Nora"]);
  await page.close();
  await seesPeople(ada, ["Ada", "Grace"]);
});

await check("shows who is writing", async () => {
  await ada.type("#text", "hm");
  await grace.getByText("Ada is writing …").waitFor();
  await ada.fill("#text", "");
  await grace.waitForFunction(() => !document.getElementById("writing").textContent);
});

await check("has rooms, and counts what came in the others", async () => {
  await grace.click(".room >> text=workshop");
  await grace.waitForFunction(() => location.hash === "#workshop");
  await say(grace, "only in the workshop");
  await sees(grace, "only in the workshop");
  await ada.waitForFunction(() => document.querySelector(".room:nth-child(2) .badge:not([hidden])")?.textContent === "1");
  expect(!(await bubbles(ada)).includes("only in the workshop"), "it is shown in the lobby");
  expect(await ada.title() === "(1) weft chat", `the title is ${await ada.title()}`);
  await ada.click(".room >> text=workshop");
  await sees(ada, "only in the workshop");
  for (const page of [ada, grace]) await page.click(".room >> text=lobby");
  expect(await ada.title() === "weft chat", "the title still counts");
});

await check("shows what was missed while the page was offline", async () => {
  outage = true;
  await desktop.setOffline(true);
  await ada.waitForSelector('#status[data-state="waiting"]');
  const late = await open(dark, chatUrl);
  await enter(late, "Linus");
  for (const text of ["one", "two", "three"]) await say(late, `while you were away ${text}`);
  await sees(late, "while you were away three");
  await say(ada, "said offline");
  await desktop.setOffline(false);
  await sees(ada, "said offline");
  for (const page of [ada, grace, late]) {
    await sees(page, "said offline");
    const got = (await bubbles(page)).filter((one) => /away|offline/.test(one)).join();
    expect(got === "while you were away one,while you were away two,while you were away three,said offline", got);
  }
  await ada.locator(LINES).getByText("Back again: 3 came meanwhile").waitFor();
  await late.close();
  await seesPeople(ada, ["Ada", "Grace"]);
  outage = false;
});

await check("shows hundreds of missed lines at once, with few layouts", async () => {
  outage = true;
  const session = await desktop.newCDPSession(ada);
  await session.send("Performance.enable");
  const layouts = async () =>
    (await session.send("Performance.getMetrics")).metrics.find((one) => one.name === "LayoutCount").value;
  await desktop.setOffline(true);
  await ada.waitForSelector('#status[data-state="waiting"]');
  const bulk = await open(dark, chatUrl);
  await bulk.evaluate(async () => {
    const { Weft } = await import("/weft.js");
    const weft = new Weft("/weft", { maxQueue: 400 });
    const room = weft.subscribe("room.lobby", { params: { name: "Bulk" } });
    await Promise.all(Array.from({ length: 400 }, (_, i) => room.publish({ text: `bulk ${i + 1}` })));
    weft.close();
  });
  const before = await layouts();
  await desktop.setOffline(false);
  await sees(ada, "bulk 400");
  const count = await layouts() - before;
  expect(count < 200, `${count} layouts for 400 lines`);
  const got = (await bubbles(ada)).filter((one) => one.startsWith("bulk "));
  expect(got.every((one, i) => one === `bulk ${i + 1}`) && got.length === 400, `it shows ${got.join()}`);
  const end = await ada.$eval(LINES, (it) => it.scrollHeight - it.scrollTop - it.clientHeight);
  expect(end < 2, "the newest line is not in view");
  await bulk.close();
  await seesPeople(ada, ["Ada", "Grace"]);
  outage = false;
});

await check("says so in both tabs when the server is gone", async () => {
  outage = true;
  console.log("please stop");
  await ada.waitForSelector('#status:not([data-state="open"])');
  await grace.waitForSelector('#status:not([data-state="open"])');
  await ada.waitForFunction(() => {
    const status = document.getElementById("status");
    return status.dataset.state === "waiting" && /^Offline, trying again in \d+ s$/.test(status.textContent.trim());
  });
});

await check("keeps what is said while the server is gone", async () => {
  await say(ada, "said in the dark");
  await say(ada, "twice");
  const waiting = await ada.$$eval(".waiting .bubble", (all) => all.map((one) => one.textContent));
  expect(waiting.join() === "said in the dark,twice", `what waits is "${waiting}"`);
  await shoot(ada, "chat-offline");
});

await check("comes back in both tabs by itself", async () => {
  console.log("please start");
  await ada.waitForSelector('#status[data-state="open"]', { timeout: 40_000 });
  await grace.waitForSelector('#status[data-state="open"]', { timeout: 40_000 });
  outage = false;
  for (const page of [ada, grace]) await seesPeople(page, ["Ada", "Grace"]);
  expect((await bubbles(ada)).includes("pick 55"), "the lines from before are gone");
});

await check("says that the new server knows nothing of before", async () => {
  for (const page of [ada, grace]) {
    await page.locator(LINES).getByText("The server began anew: something may be missing here").waitFor();
  }
});

await check("sends what waited, once and in order", async () => {
  for (const page of [ada, grace]) {
    await sees(page, "twice");
    const got = (await bubbles(page)).filter((one) => ["said in the dark", "twice"].includes(one));
    expect(got.join() === "said in the dark,twice", `it came as "${got}"`);
  }
  await ada.waitForFunction(() => !document.querySelector(".waiting"));
});

await check("goes on chatting after the return", async () => {
  await say(grace, "and we are back");
  await sees(ada, "and we are back");
});

await check("fits a phone", async () => {
  const page = await open(phone, chatUrl);
  await enter(page, "Hedy");
  for (const [who, line] of [
    [ada, "I would like to try the new pattern today."],
    [grace, "Give me five minutes, the last heddles are threaded."],
    [page, "I can bring the indigo yarn along."],
    [ada, "Please do! The weft is the thread that a loom weaves across all the others."],
    [grace, "<b>Bold</b> stays what it is here: text."],
  ]) {
    await say(who, line);
    await sees(page, line);
  }
  const extent = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  expect(extent[0] <= extent[1], `the page is ${extent[0]} wide on a screen of ${extent[1]}`);
  expect(await page.isVisible("#send"), "the button is out of sight");
  await shoot(page, "chat-phone");
  await page.click("#toggle");
  await page.waitForSelector("#people", { state: "visible" });
  await seesPeople(page, ["Ada", "Grace", "Hedy"]);
  await shoot(page, "chat-phone-people");
  await shoot(ada, "chat-desktop");
  await ada.emulateMedia({ colorScheme: "dark" });
  await shoot(ada, "chat-desktop-dark");
  await page.close();
});

const push = await open(desktop, pushUrl);

await check("push: values arrive several times a second", async () => {
  await push.waitForFunction(() => +document.getElementById("rate").textContent >= 5);
  const first = await push.textContent("#value");
  await push.waitForFunction((value) => document.getElementById("value").textContent !== value, first);
});

await check("push: the plot moves", async () => {
  const picture = () => push.locator("#plot").screenshot();
  const before = await picture();
  await push.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  expect(!before.equals(await picture()), "two frames later the picture is the same");
  const drawn = await push.$eval("#plot", (it) =>
    it.getContext("2d").getImageData(0, 0, it.width, it.height).data.filter((byte, i) => i % 4 === 3 && byte).length);
  expect(drawn > 1000, `only ${drawn} pixels are drawn`);
});

await check("push: as many pixels as the screen has", async () => {
  const page = await open(phone, pushUrl);
  await page.waitForFunction(() => +document.getElementById("rate").textContent >= 5);
  const [pixels, width] = await page.$eval("#plot", (it) => [it.width, it.getBoundingClientRect().width]);
  expect(pixels === Math.round(2 * width), `${pixels} pixels for a width of ${width} at ratio 2`);
  await page.close();
});

await check("push: takes screenshots of a full plot", async () => {
  await push.waitForFunction(() => +document.getElementById("rate").textContent >= 15);
  await shoot(push, "push-desktop");
  await push.emulateMedia({ colorScheme: "dark" });
  await push.setViewportSize({ width: 390, height: 844 });
  await push.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  await shoot(push, "push-phone-dark");
});

await check("leaves nothing on the console", async () => {
  expect(troubles.length === 0, troubles.join(" | "));
});

await browser.close();
console.log("done");
