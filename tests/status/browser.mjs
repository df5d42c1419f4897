// Called by browser.sh with the browser, the pages of `leeward status-page preview`, and a folder for screenshots.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [executablePath, pages, shots] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const wrong = [];
const sizes = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 900 } };

for (const name of ["calm", "outage", "over"]) {
  for (const [size, viewport] of Object.entries(sizes)) {
    for (const colorScheme of ["light", "dark"]) {
      const context = await browser.newContext({ viewport, colorScheme });
      const page = await context.newPage();
      const asked = [];
      page.on("request", (request) => asked.push(request.url()));
      page.on("pageerror", (error) => wrong.push(`${name}: ${error}`));
      await page.goto(`file://${pages}/${name}/index.html`);
      await page.screenshot({ path: `${shots}/${name}-${size}-${colorScheme}.png`, fullPage: true });
      const foreign = asked.filter((url) => !url.startsWith("file:") && !url.startsWith("data:"));
      if (foreign.length) wrong.push(`${name}: fetched ${foreign}`);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      if (wide) wrong.push(`${name} at ${size}: scrolls sideways`);
      await page.evaluate(axe);
      const result = await page.evaluate(() => axe.run());
      for (const found of result.violations) {
        wrong.push(`${name} ${size} ${colorScheme}: ${found.id}: ${found.help} (${found.nodes.map((n) => n.target)})`);
      }
      console.log(`${name} ${size} ${colorScheme}: ${result.passes.length} rules passed`);
      await context.close();
    }
  }
}

// An hour later nobody has renewed it: it must not be green any more, and must say so.
const context = await browser.newContext({ viewport: sizes.phone });
const page = await context.newPage();
await page.addInitScript("const real = Date.now; Date.now = () => real() + 3600e3;");
await page.goto(`file://${pages}/calm/index.html`);
const old = await page.evaluate(() => ({
  shown: !document.getElementById("old").hidden,
  text: document.getElementById("old").textContent,
  said: document.getElementById("said").textContent,
  green: [...document.querySelectorAll(".operational svg")].some((mark) => mark.getBoundingClientRect().width > 0),
}));
await page.screenshot({ path: `${shots}/old-phone.png`, fullPage: true });
if (!old.shown || !old.text.includes("1 hour") || old.green) {
  wrong.push(`an old page does not warn: ${JSON.stringify(old)}`);
}
console.log(`old: ${old.said}`);

// Without script the time is there to be read.
const plain = await browser.newContext({ viewport: sizes.phone, javaScriptEnabled: false });
const bare = await plain.newPage();
await bare.goto(`file://${pages}/calm/index.html`);
await bare.screenshot({ path: `${shots}/no-script-phone.png`, fullPage: true });
const text = await bare.locator("#banner").innerText();
if (!/\d{4}-\d\d-\d\d \d\d:\d\d UTC/.test(text) || !text.includes("your clock")) {
  wrong.push(`without script: ${text}`);
}
await browser.close();
if (wrong.length) {
  console.error(wrong.join("\n"));
  process.exit(1);
}
