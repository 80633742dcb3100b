// What people do with the panel, one thing after another; each answers what was wrong.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { Watched } = require("./checks");

// A page with nothing but charts, and what they are to show.
async function charts({ browser, pictures }) {
  const until = "2026-01-31T12:00:00.000Z";
  const zeros = (length) => Array(length).fill(0);
  const wave = Array.from({ length: 360 }, (_, at) => (at > 100 && at < 130 ? null : Math.round(500 + 400 * Math.sin(at / 20))));
  const spans = {
    hour: { step_seconds: 10, until, series: { in: wave, delivered: wave.map((one) => one && one - 20), deferred: wave.map((one) => one && 20), failed: zeros(360) } },
    // Known since ten minutes ago.
    day: { step_seconds: 60, until, series: { in: [...zeros(9), 1234567], delivered: zeros(10), deferred: zeros(10), failed: zeros(10) } },
    none: { step_seconds: 10, until, series: { in: [], delivered: [], deferred: [], failed: [] } },
  };
  const figures = Object.keys(spans).map((span) => `<figure data-history="/history?span=${span}"><figcaption>Posts, ${span}</figcaption></figure>`);
  const sheet = ":root{color-scheme:light dark} .chart-frame{overflow:hidden} .chart{display:block} body{font:14px sans-serif}";
  const files = {
    "/": ["text/html; charset=utf-8", `<!doctype html><html lang="en"><head><title>Charts</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/sheet.css"><script defer src="/chart.js"></script></head>
<body><main><h1>Charts</h1>${figures.join("")}<figure data-history="/refused"><figcaption>Refused</figcaption></figure></main></body></html>`],
    "/sheet.css": ["text/css", sheet],
    "/chart.js": ["text/javascript", fs.readFileSync(path.join(__dirname, "../../src/panel/assets/chart.js"))],
  };
  const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'";
  const server = http.createServer((request, response) => {
    const span = new URL(request.url, "http://x").searchParams.get("span");
    const [kind, text] = files[request.url] ?? ["application/json", JSON.stringify(spans[span] ?? {})];
    const status = request.url === "/refused" ? 403 : 200;
    response.writeHead(status, { "Content-Type": kind, "Content-Security-Policy": policy }).end(text);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const context = await browser.newContext({ timezoneId: "UTC", locale: "en-GB" });
  const watched = await Watched.open(context);
  const { page } = watched;
  await watched.go(`http://127.0.0.1:${server.address().port}/`);
  await page.locator("figure svg").nth(2).waitFor();
  const refused = page.locator("figure").nth(3);
  await refused.getByText("cannot be brought up to date: status 403").waitFor();
  // The browser itself says that one was refused.
  watched.said = watched.said.filter((one) => !/status of 403/.test(one));
  const wrong = await watched.examine("charts", pictures);
  const say = (what, told, expected) => {
    if (told !== expected) wrong.push(`${what}: ${told}, and not ${expected}`);
  };
  const chart = page.locator("figure svg").first();
  const text = () => chart.getAttribute("aria-valuetext");
  const total = spans.hour.series.in.reduce((all, one) => all + one, 0).toLocaleString("en-GB");
  say("all", (await text()).split(",")[0] + ",", `last hour: in ${total.split(",")[0]},`);
  await chart.focus();
  await page.keyboard.press("ArrowLeft");
  say("the step before the last", await text(), `11:59:50: in ${wave[358]}, delivered ${wave[358] - 20}, deferred 20, failed 0`);
  await page.keyboard.press("Home");
  say("the first step", await text(), `11:00:10: in ${wave[0]}, delivered ${wave[0] - 20}, deferred 20, failed 0`);
  await page.keyboard.press("End");
  say("the last step", await chart.getAttribute("aria-valuenow"), "359");
  const box = await chart.boundingBox();
  // A third of the hour is within the gap.
  await page.mouse.move(box.x + 44 + ((box.width - 50) * 115) / 359, box.y + 50);
  say("under the pointer", await text(), "11:19:20: not running");
  await page.mouse.move(0, 0);
  say("away", (await text()).slice(0, 9), "last hour");
  say("lines", await chart.locator("path").count(), 4);
  const d = await chart.locator("path.chart-in").getAttribute("d");
  say("the line is interrupted once", d.split("M").length - 1, 2);
  say("the day begins late", (await page.locator("figure svg").nth(1).locator("path.chart-in").getAttribute("d")).split(/[ML]/).length - 1, 10);
  say("nothing known", await page.locator("figure svg").nth(2).locator("path.chart-in").getAttribute("d"), "");
  await context.close();
  server.closeAllConnections();
  server.close();
  return wrong;
}

const STORIES = [{ name: "charts", play: charts }];

module.exports = { STORIES };
