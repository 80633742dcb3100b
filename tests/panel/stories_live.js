// What goes on by itself: for as long as somebody sees it, and no longer than it says.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { eventually } = require("./world");

const MAIL = "Subject: Order\nContent-Type: text/plain\n\nOrder 17 is ready.\n";

// Puts a tab behind others, or before them, as far as its page can tell.
function put(page, { isHidden }) {
  return page.evaluate((isHidden) => {
    Object.defineProperty(document, "hidden", { get: () => isHidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, isHidden);
}

// A tab that is put behind others asks for nothing, and goes on when it is seen again.
async function hidden({ gateway, receiver, say, visitor }) {
  await gateway.post(receiver.recipient("/busy/hidden"), MAIL, "deferred");
  const { page } = await visitor("admin");
  let asked = [];
  page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  // A minute is over in a moment.
  await page.clock.install();
  for (const [where, ...live] of [["/", "/overview/live", "/history"], ["/destinations", "/destinations/live"], ["/webhooks", "/webhooks/live"], ["/log/live", "/log/lines"]]) {
    await page.goto(gateway.origin + where);
    const refreshed = async (what) => {
      asked = [];
      await eventually(what, async () => {
        await page.clock.runFor(1_000);
        return live.every((one) => asked.includes(one));
      });
    };
    await refreshed(`${where} to refresh itself`);
    await put(page, { isHidden: true });
    asked = [];
    await page.clock.runFor(60_000);
    say(`what ${where} asks for while nobody sees it`, asked.filter((one) => live.includes(one)), []);
    await put(page, { isHidden: false });
    await refreshed(`${where} to go on`);
  }
}

// The stream of events ends with the sight of its page; what happened meanwhile is told afterwards.
async function hiddenTail({ gateway, receiver, say, visitor }) {
  const { page } = await visitor("admin");
  const isStream = (one) => new URL(one.url()).pathname === "/events/stream";
  await page.goto(`${gateway.origin}/events`);
  await page.locator("#tail-state").getByText("live").waitFor();
  await gateway.post(receiver.recipient("/gone/seen"), MAIL, "failed");
  await page.getByText("/gone/seen").first().waitFor();
  const over = page.waitForEvent("requestfailed", isStream);
  await put(page, { isHidden: true });
  await over;
  let streams = 0;
  page.on("request", (request) => (streams += isStream(request) ? 1 : 0));
  await gateway.post(receiver.recipient("/gone/unseen"), MAIL, "failed");
  await eventually("the event", async () => JSON.stringify(await gateway.ask("GET", "/events?type=post.failed")).includes("/gone/unseen"));
  say("streams of a page that nobody sees", streams, 0);
  say("what it shows of it", await page.getByText("/gone/unseen").count(), 0);
  await put(page, { isHidden: false });
  await page.getByText("/gone/unseen").first().waitFor();
  say("streams after it was seen again", streams, 1);
}

// A search of much goes on by itself, under the keyboard, and shows times of where one is.
async function further({ gateway, wrong, say, visitor }, pictures) {
  const line = (name, peer) => `2020-01-31T23:30:00.123Z ${name} * connected from ${peer}:25\n`;
  const file = path.join(gateway.home, "data", "log", "protocol-2020-01-31.log");
  // Each of these begins like what is looked for.
  fs.writeFileSync(file, line("S0001", "192.0.2.7") + line("S0002", "192.0.2.77").repeat(120_000));
  const watched = await visitor("admin", "Asia/Tokyo");
  const { page } = watched;
  await watched.go(`${gateway.origin}/log?peer=192.0.2.7&day=2020-01-31`);
  await page.getByRole("link", { name: "Look further back" }).focus();
  const turn = page.waitForResponse((response) => response.url().includes("/log/further?"));
  await (await turn).finished();
  await page.waitForFunction(() => /turn=[3-9]/.test(document.getElementById("further").getAttribute("hx-get") ?? ""));
  say("the focus", await page.evaluate(() => document.activeElement.textContent), "Look further back");
  await page.locator("details", { hasText: "S0001" }).waitFor();
  await page.getByText("that is all there is").waitFor();
  say("it asks no more", await page.locator("[hx-get]").count(), 0);
  const summary = page.locator("summary");
  if (!(await page.locator("details[open]").count())) await summary.click();
  const time = page.locator("pre time");
  say("the time in Tokyo", await time.textContent(), "08:30:00.123");
  say("the time in UTC", await time.getAttribute("title"), "2020-01-31 23:30:00.123 UTC");
  wrong.push(...(await watched.examine("log-further", pictures)));
}

module.exports = { LIVE: { hidden, hiddenTail, further } };
