// Drives an EventSource in chromium through a cut and through a new server.
//    node events.mjs URL
// Prints "ok NAME" or "not ok NAME: why" for each check. "please restart" asks the caller to kill
// the server and to start it again at the same port.
import { chromium } from "playwright-core";

const [url] = process.argv.slice(2);

async function check(name, body) {
  try {
    await body();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`not ok ${name}: ${String(error.message ?? error).replace(/\s+/g, " ").slice(0, 400)}`);
  }
}

const post = (path, body) => fetch(url + path, {
  method: "POST", body, headers: { authorization: "Bearer 0123456789abcdef" },
});

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run"],
});
const page = await browser.newPage();
page.setDefaultTimeout(60_000);
await page.goto(url);

async function sees(...wanted) {
  try {
    await page.waitForFunction((text) => seen.join("|").endsWith(text), wanted.join("|"));
  } catch (error) {
    throw new Error("it saw " + await page.evaluate(() => seen.join("|")));
  }
}

await check("opens", () => sees("open"));

await check("gets what is published, with its event", async () => {
  await post("publish?topic=news.a", "1");
  await post("publish?topic=news.a&event=tick", "2");
  await sees("open", "1", "tick 2");
});

await check("resumes by itself after a cut: each once, in order", async () => {
  await post("cut");
  await sees("open", "3", "4");
  await post("publish?topic=news.a", "5");
  await sees("open", "1", "tick 2", "open", "3", "4", "5");
});

await check("is told when another server cannot go on", async () => {
  console.log("please restart");
  await sees("5", "open", 'reset {"recovered":false}');
  await post("publish?topic=news.a", "6");
  await sees('reset {"recovered":false}', "6");
});

await browser.close();
console.log("done");
