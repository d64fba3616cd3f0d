// Opens the page at the given URL in chromium, and ends when it has set its title to "done".
//    node origin.mjs URL
import { chromium } from "playwright-core";

const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic", "--no-first-run"],
});
const page = await browser.newPage();
await page.goto(process.argv[2]);
await page.waitForFunction(() => document.title === "done", null, { timeout: 60_000 });
await browser.close();
