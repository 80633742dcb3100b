// What charts draw and tell: alone, of numbers that are known, and on the overview.
"use strict";
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { Watched } = require("./checks");
const { eventually } = require("./world");

const ASSETS = path.join(__dirname, "../../src/panel/assets");
const SERIES = ["in", "delivered", "deferred", "failed"];
const UNTIL = "2026-01-31T12:00:00.000Z";

// In what is drawn: where the runs of columns begin and end that have the colour of a series, how
// many dots of ink are beside and beneath the lines, and at an edge. To be used in the page.
function look(figure) {
  const canvas = figure.querySelector("canvas");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const at = (x, y) => data.subarray(4 * (y * width + x), 4 * (y * width + x) + 4);
  const runs = {};
  for (const name of ["in", "delivered", "deferred", "failed"]) {
    const colour = getComputedStyle(figure.querySelector(`.chart-${name}`)).color.match(/\d+/g).map(Number);
    // What covers a part of a dot has the colour, and less of it.
    const isInk = (dot) => dot[3] > 50 && colour.every((one, index) => Math.abs(one - dot[index]) <= 6);
    const found = [];
    for (let x = 0, wasInk = false; x < width; x += 1) {
      let hasInk = false;
      for (let y = 0; y < height && !hasInk; y += 1) hasInk = isInk(at(x, y));
      if (hasInk && !wasInk) found.push([x, x]);
      if (hasInk) found.at(-1)[1] = x;
      wasInk = hasInk;
    }
    runs[name] = found;
  }
  const [over, whole] = [figure.querySelector(".u-over"), canvas].map((node) => node.getBoundingClientRect());
  const [left, across, low] = [over.left - whole.left, over.width, over.bottom - whole.top].map((length) => length * devicePixelRatio);
  let [beside, beneath, edge] = [0, 0, 0];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (at(x, y)[3] === 0) continue;
      beside += x < left - 4;
      // Beneath the ticks as well.
      beneath += y > low + 5 * devicePixelRatio;
      // Between two letters there is room that is less than this.
      edge += Math.min(x, width - 1 - x) < 3 * devicePixelRatio || y === 0 || y === height - 1;
    }
  }
  const frame = figure.querySelector(".chart-frame");
  return {
    runs,
    labels: [beside, beneath],
    edge,
    // Where the lines are, in dots.
    plot: [left, across],
    // That of one beneath the other.
    sizes: [canvas.clientWidth, frame.clientWidth, width / devicePixelRatio],
  };
}

function spans() {
  const zeros = (length) => Array(length).fill(0);
  const isGap = (at) => at > 100 && at < 130;
  const wave = Array.from({ length: 360 }, (_, at) => (isGap(at) ? null : Math.round(500 + 300 * Math.sin(at / 20))));
  const like = (change) => wave.map((one) => one && change(one));
  return {
    hour: { step_seconds: 10, until: UNTIL, series: { in: wave, delivered: like((one) => one - 120), deferred: like(() => 60), failed: like(() => 0) } },
    // Known since ten minutes ago.
    day: { step_seconds: 60, until: UNTIL, series: { in: [...zeros(9), 1234567], delivered: zeros(10), deferred: zeros(10), failed: zeros(10) } },
    none: { step_seconds: 10, until: UNTIL, series: { in: [], delivered: [], deferred: [], failed: [] } },
    // Ten seconds after the very first beginning.
    first: { step_seconds: 10, until: UNTIL, series: { in: [9], delivered: [6], deferred: [3], failed: [0] } },
    // Nobody answers.
    silent: new Promise(() => {}),
  };
}

// The same a step later, of which these are the numbers.
function later({ step_seconds, until, series }, numbers) {
  const moved = SERIES.map((name, index) => [name, [...series[name].slice(1), numbers[index]]]);
  const at = new Date(Date.parse(until) + 1000 * step_seconds);
  return { step_seconds, until: at.toISOString(), series: Object.fromEntries(moved) };
}

// A server of a page with nothing but charts, under the policy of the panel. What is asked for is
// answered as it is known then; `null` is an error.
async function serve(spans) {
  const figures = Object.keys(spans).map((span) => `<figure class="card" data-history="/history?span=${span}"><figcaption>Posts, ${span}</figcaption></figure>`);
  const sheets = ["panel.css", "uplot.min.css"], scripts = ["uplot.min.js", "chart.js"];
  const links = sheets.map((name) => `<link rel="stylesheet" href="/${name}">`).concat(scripts.map((name) => `<script defer src="/${name}"></script>`));
  const page = `<!doctype html><html lang="en"><head><title>Charts</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width">${links.join("")}</head>
<body><main><h1>Charts</h1><div class="charts">${figures.join("")}<figure data-history="/refused"><figcaption>Refused</figcaption></figure></div></main></body></html>`;
  const files = { "/": ["text/html; charset=utf-8", page] };
  for (const name of sheets) files[`/${name}`] = ["text/css", fs.readFileSync(path.join(ASSETS, name))];
  for (const name of scripts) files[`/${name}`] = ["text/javascript", fs.readFileSync(path.join(ASSETS, name))];
  const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'";
  const server = http.createServer(async (request, response) => {
    const span = new URL(request.url, "http://x").searchParams.get("span");
    const told = files[request.url] ? {} : await spans[span];
    const [kind, text] = files[request.url] ?? ["application/json", JSON.stringify(told ?? {})];
    const status = request.url === "/refused" ? 403 : told === null ? 500 : 200;
    response.writeHead(status, { "Content-Type": kind, "Content-Security-Policy": policy }).end(text);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return server;
}

// Charts follow the size and the scheme by a frame or two.
function isDrawn(page) {
  return page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

// What is wrong with what is drawn, in the scheme and window there is.
async function examineDrawn(page, say) {
  const figures = await page.locator("figure").filter({ has: page.locator("canvas") }).all();
  const [hour, day, none, first] = await Promise.all(figures.map((figure) => figure.evaluate(look)));
  for (const [name, { sizes, edge, labels }] of Object.entries({ hour, day, none, first })) {
    say(`${name} is as wide as its frame, and sharp`, new Set(sizes.map(Math.round)).size, 1);
    say(`dots of ${name} at an edge, where something is cut`, edge, 0);
    say(`${name} has numbers beside it, and times beneath: ${labels}`, labels.every((dots) => dots > 99), true);
  }
  const [left, across] = hour.plot;
  const x = (at) => left + (across * at) / 359;
  // A dot at each side is half of it.
  const within = ([from, to], [low, high]) => from >= low - 4 && to <= high + 4;
  const parts = [[x(0), x(100)], [x(130), x(359)]];
  for (const name of SERIES) {
    const runs = hour.runs[name];
    say(`${name} is nowhere but where the gateway ran`, runs.filter((run) => !parts.some((part) => within(run, part))), []);
    const ends = parts.map((part) => runs.filter((run) => within(run, part))).map((of) => [of[0]?.[0], of.at(-1)?.[1]]);
    const isWhole = ends.every(([from, to], index) => from - parts[index][0] < 16 && parts[index][1] - to < 16);
    say(`${name} is there from end to end: ${ends}`, isWhole, true);
  }
  // Who sees no colours tells them by their dashes.
  say("the line of in is broken by the gap alone", hour.runs.in.length, 2);
  const dashes = SERIES.map((name) => hour.runs[name].length);
  // Where a line is steep, its dashes are above each other.
  say(`dashes, the shorter the more: ${dashes}`, dashes[1] > 4 && dashes[2] > 20 && dashes[3] > 1.5 * dashes[2], true);
  const late = day.plot[0] + (day.plot[1] * 1429) / 1439;
  say("the day begins late", SERIES.flatMap((name) => day.runs[name]).filter(([from]) => from < late - 4), []);
  say("of the day there is a line", day.runs.in.length, 1);
  say("lines of what is not known", SERIES.flatMap((name) => none.runs[name]), []);
  say("a lone step is a dot", SERIES.map((name) => first.runs[name].length), [1, 1, 1, 1]);
}

// What is told of the steps of a chart.
async function read({ page, known, say }) {
  const chart = page.getByRole("slider", { name: "Posts, hour" });
  const text = () => chart.getAttribute("aria-valuetext");
  const { in: wave } = known.hour.series;
  const told = (at) => `in ${wave[at]}, delivered ${wave[at] - 120}, deferred 60, failed 0`;
  const total = wave.reduce((all, one) => all + one, 0).toLocaleString("de-DE");
  say("all", (await text()).startsWith(`last hour: in ${total}, delivered `), true);
  say("there is no cursor", (await cursor(chart)) < 0, true);
  await chart.focus();
  await page.keyboard.press("ArrowLeft");
  say("the step before the last", await text(), `11:59:50: ${told(358)}`);
  say("its key in the legend", await page.locator(".chart-in").first().textContent(), `in ${wave[358]}`);
  say("its time in UTC", await chart.locator(".uplot").getAttribute("title"), "2026-01-31 11:59:50.000 UTC");
  say("the same beside it", await page.locator(".chart-when").first().getAttribute("title"), "2026-01-31 11:59:50.000 UTC");
  for (const held of ["altKey", "ctrlKey", "metaKey"]) {
    const event = { key: "ArrowLeft", [held]: true, bubbles: true, cancelable: true };
    say(`${held} and an arrow are the browser's`, await chart.evaluate((frame, event) => frame.dispatchEvent(new KeyboardEvent("keydown", event)), event), true);
  }
  say("the step after them", await text(), `11:59:50: ${told(358)}`);
  await page.keyboard.press("Home");
  say("the first step", await text(), `11:00:10: ${told(0)}`);
  say("the cursor", await cursor(chart), 0);
  const [line, words] = await Promise.all([".u-cursor-x", ".chart-when"].map((name) =>
    page.locator(name).first().evaluate((node) => [getComputedStyle(node).borderRightColor, getComputedStyle(node).color])));
  say("the colour of the cursor", line[0], words[1]);
  const box = await chart.locator(".u-over").boundingBox();
  // A third of the hour is within the gap.
  await page.mouse.move(box.x + (box.width * 115) / 359, box.y + 50);
  say("under the pointer", await text(), "11:19:20: not running");
  say("the cursor under it", await cursor(chart), 115);
  await page.mouse.move(0, 0);
  say("away", (await text()).slice(0, 9), "last hour");
  say("no cursor any more", (await cursor(chart)) < 0, true);
  const day = page.getByRole("slider", { name: "Posts, day" });
  await day.focus();
  await page.keyboard.press("Home");
  say("a day ago", await day.getAttribute("aria-valuetext"), "Fr., 12:01: not running");
  const none = page.getByRole("slider", { name: "Posts, none" });
  say("of nothing", await none.getAttribute("aria-valuetext"), "last hour: nothing is known");
  say("its keys", await page.locator("figure").filter({ has: none }).locator(".chart-key b").allTextContents(), ["–", "–", "–", "–"]);
}

// At which step the cursor is.
function cursor(chart) {
  return chart.evaluate((frame) => {
    const [line, plot] = [".u-cursor-x", ".u-over"].map((name) => frame.querySelector(name).getBoundingClientRect());
    return Math.round(((line.left - plot.left) * 359) / plot.width);
  });
}

// What becomes of charts that are asked for again.
async function refresh({ page, known, say }) {
  const chart = page.getByRole("slider", { name: "Posts, hour" });
  const figure = page.locator("figure").filter({ has: chart });
  const when = () => figure.locator(".chart-when").textContent();
  const text = () => chart.getAttribute("aria-valuetext");
  const isTold = (what, wanted) => eventually(what, async () => {
    // Its next turn is there.
    await page.clock.fastForward(10_000);
    return wanted(await text());
  });
  const { in: wave } = known.hour.series;
  const last = `12:00:00: in ${wave[359]}, delivered ${wave[359] - 120}, deferred 60, failed 0`;
  await chart.focus();
  await page.keyboard.press("End");
  const value = () => Promise.all(["aria-valuenow", "aria-valuemax"].map((name) => chart.getAttribute(name)));
  say("the last step", [await text(), ...(await value())], [last, "359", "359"]);
  const before = await figure.evaluate(look);
  known.hour = later(known.hour, [1700, 20, 3, 4]);
  await eventually("a step more", async () => {
    await page.clock.fastForward(10_000);
    return (await value())[0] === "358";
  });
  say("the same step after a refresh", await text(), last);
  say("the cursor after it", await cursor(chart), 358);
  say("the focus after it", await chart.evaluate((frame) => frame === document.activeElement), true);
  const after = await figure.evaluate(look);
  // Larger numbers want more room beside it.
  const [from, to] = [before, after].map(({ runs, plot: [left, across] }) => ((runs.in[0][1] - left) * 359) / across);
  say(`the gap is a step further: ${from}, ${to}`, Math.abs(from - to - 1) < 0.6, true);
  await page.keyboard.press("End");
  say("the new step", await text(), "12:00:10: in 1.700, delivered 20, deferred 3, failed 4");
  await page.setViewportSize({ width: 700, height: 900 });
  await isDrawn(page);
  say("the cursor in another width", await cursor(chart), 359);

  // Old numbers do not pass for those of now.
  const kept = known.hour;
  known.hour = null;
  const trouble = "The chart cannot be brought up to date: 500";
  await isTold("a trouble", (told) => told === trouble);
  const box = await chart.locator(".u-over").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + 50);
  await page.keyboard.press("ArrowLeft");
  await page.setViewportSize({ width: 1024, height: 900 });
  await isDrawn(page);
  say("the trouble stays", [await when(), await text()], [trouble, trouble]);
  say("keys beside a trouble", await figure.locator(".chart-key:visible").count(), 0);
  await page.mouse.move(0, 0);
  known.hour = later(kept, [1, 1, 0, 0]);
  await isTold("the trouble to be over", (told) => told.startsWith("last hour: in "));
  say("keys after it", await figure.locator(".chart-key:visible").count(), 4);
}

// What goes wrong while a chart is drawn is told, as what goes wrong before.
async function stumble({ page, known, answer, say }) {
  const figure = page.locator("figure").filter({ hasText: "Posts, broken" });
  const silent = page.locator("figure").filter({ hasText: "Posts, silent" });
  for (const [name, one] of Object.entries({ figure, silent }))
    say(`${name} before there are numbers`, [await one.getByRole("slider").count(), await one.locator(".chart-key:visible").count()], [0, 0]);
  await figure.locator(".chart-in b").evaluate((node) => Object.defineProperty(node, "textContent", { configurable: true, set: () => { throw Error("no ink"); } }));
  answer(known.first);
  await figure.getByText("The chart cannot be brought up to date: no ink").waitFor();
  say("a slider without a value", await figure.getByRole("slider").count(), 0);
  await figure.locator(".chart-in b").evaluate((node) => delete node.textContent);
  await page.clock.fastForward(10_000);
  await figure.getByRole("slider").waitFor();
  say("it is mended", await figure.getByRole("slider").getAttribute("aria-valuetext"), "last hour: in 9, delivered 6, deferred 3, failed 0");
}

// Charts on another screen, and in colours that somebody has chosen for all pages.
async function elsewhere({ page, context, say }) {
  const figure = page.locator("figure").first();
  const session = await context.newCDPSession(page);
  const dashes = async (ratio) => {
    const size = { width: 1024, height: 900, deviceScaleFactor: ratio, mobile: false };
    await session.send("Emulation.setDeviceMetricsOverride", size);
    // What asks for the ratio is told of it with what else has changed.
    await page.emulateMedia({ reducedMotion: ratio === 2 ? "reduce" : "no-preference" });
    await eventually("a sharp chart", async () => {
      const [canvas, seen] = (await figure.evaluate(look)).sizes.slice(1);
      return Math.abs(canvas - seen) <= 1;
    });
    await isDrawn(page);
    return (await figure.evaluate(look)).runs.deferred.length;
  };
  const [two, three] = [await dashes(2), await dashes(3)];
  say(`dashes are as long on another screen: ${two}, ${three}`, Math.abs(two - three) < 4, true);
  await session.detach();
  const key = () => figure.locator(".chart-failed").evaluate((node) => {
    const { color, backgroundImage, printColorAdjust } = getComputedStyle(node, "::before");
    return [getComputedStyle(node).color, color, backgroundImage.split("(")[0], printColorAdjust];
  });
  const [own] = await key();
  await page.emulateMedia({ forcedColors: "active" });
  await isDrawn(page);
  const [forced, line, looks, print] = await key();
  say("keys in forced colours", [forced !== own, line, looks, print], [true, forced, "repeating-linear-gradient", "exact"]);
  const { runs } = await figure.evaluate(look);
  say("lines in forced colours", runs.in.length > 0, true);
  await page.emulateMedia({ forcedColors: "none" });
}

// Nothing goes on for a chart that was taken from its page.
async function leave({ page, context, say }) {
  const session = await context.newCDPSession(page);
  await page.evaluate(() => {
    const figure = document.querySelector("figure");
    window.left = [figure, figure.querySelector(".uplot")].map((node) => new WeakRef(node));
    window.taken = figure.querySelector(".chart-frame");
    figure.remove();
  });
  await eventually("the chart to be destroyed", () => page.evaluate(() => !window.taken.firstChild));
  say("arrows where it was", await page.evaluate(() => window.taken.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft", cancelable: true }))), true);
  await page.evaluate(() => delete window.taken);
  await eventually("it to be forgotten", async () => {
    await session.send("HeapProfiler.collectGarbage");
    return page.evaluate(() => window.left.every((node) => node.deref() === undefined));
  });
}

// A page with nothing but charts, and what they are to show.
async function alone({ browser, pictures }) {
  const known = spans();
  let answer;
  // Answered when it is to be.
  known.broken = new Promise((done) => (answer = done));
  const server = await serve(known);
  // German says large numbers in long words.
  const context = await browser.newContext({ timezoneId: "UTC", locale: "de-DE", deviceScaleFactor: 2 });
  const watched = await Watched.open(context);
  const { page } = watched;
  // The browser itself says what was refused, and that what is drawn is looked at.
  watched.allowed = /status of (403|500)|^warning: Canvas2D: .* readback/;
  await page.clock.install();
  await watched.go(`http://127.0.0.1:${server.address().port}/`);
  await page.locator("figure canvas").nth(3).waitFor();
  await page.getByText("cannot be brought up to date: 403").waitFor();
  const wrong = [];
  const say = (what, told, expected) => {
    if (JSON.stringify(told) !== JSON.stringify(expected)) wrong.push(`${what}: ${JSON.stringify(told)}, and not ${JSON.stringify(expected)}`);
  };
  const seen = { page, context, known, answer, say };
  await stumble(seen);
  const colours = [];
  for (const [width, colorScheme] of [[1600, "light"], [1600, "dark"], [360, "dark"], [1024, "light"]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 900 });
    await isDrawn(page);
    await examineDrawn(page, (what, ...told) => say(`${width} ${colorScheme}: ${what}`, ...told));
    colours.push(await page.locator(".chart-in").first().evaluate((key) => getComputedStyle(key).color));
  }
  say("schemes have colours of their own", colours[0] !== colours[1], true);
  for (const part of [read, refresh, elsewhere]) await part(seen);
  // As long as everything on a page is waited for.
  await page.getByText("The chart cannot be brought up to date: no answer").waitFor({ timeout: 30_000 });
  wrong.push(...(await watched.examine("charts", pictures)));
  await leave(seen);
  wrong.push(...watched.troubles());
  await context.close();
  server.closeAllConnections();
  server.close();
  return [...new Set(wrong)];
}

// What passed is drawn for who is there for all tenants, and for nobody else.
async function overview({ gateway, receiver, wrong, say, visitor }, pictures) {
  await gateway.post(receiver.recipient("/gone/chart"), "Subject: Order\n\nOrder 17 is ready.\n", "failed");
  const sum = (values) => values.reduce((all, one) => all + one, 0);
  await eventually("a step to be over", async () => sum((await gateway.ask("GET", "/history?span=hour")).series.failed) === 1);
  const watched = await visitor("admin");
  const { page } = watched;
  await watched.go(`${gateway.origin}/`);
  const charts = page.locator("figure [role=slider]");
  await charts.nth(1).waitFor();
  const told = charts.first();
  await eventually("it to be told", async () => (await told.getAttribute("aria-valuetext")) !== null);
  say("the last hour", await told.getAttribute("aria-valuetext"), "last hour: in 1, delivered 0, deferred 0, failed 1");
  const { runs } = await page.locator("figure").first().evaluate(look);
  say("it is drawn", runs.failed.length > 0, true);
  await told.focus();
  await page.keyboard.press("Home");
  say("an hour ago", (await told.getAttribute("aria-valuetext")).endsWith(": not running"), true);
  wrong.push(...(await watched.examine("overview-charts", pictures)));
  const other = await visitor("operator");
  say("what a tenant is shown", await other.page.locator("figure").count(), 0);
  say("troubles of a tenant", other.troubles(), []);
}

module.exports = { CHARTS: { alone, overview } };
