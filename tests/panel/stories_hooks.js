// What people do with webhooks, and how they watch events.
"use strict";
const { eventually } = require("./world");

const SETTLE = (page) => page.evaluate(() => new Promise((done) => setTimeout(done, 700)));

// A webhook is made, verified, tested, changed, given a new secret, and deleted.
async function webhooks({ gateway, receiver, wrong, say, visitor }, pictures) {
  const watched = await visitor("operator");
  const { page } = watched;
  const see = async (name) => wrong.push(...(await watched.examine(name, pictures)));
  await watched.go(`${gateway.origin}/webhooks`);
  await see("webhooks-none");
  await page.getByRole("link", { name: "Make the first one" }).click();
  await see("webhook-new");
  await page.getByLabel("URL").fill("ftp://shop.example/hooks");
  await page.getByLabel("Description").fill("Orders, to the shop");
  await page.getByLabel("post.failed").check();
  await page.getByLabel("Other names").fill("order.paid");
  watched.allowed = /status of 422/;
  await page.getByRole("button", { name: "Make the webhook" }).click();
  await page.getByRole("alert").waitFor();
  say("what is wrong stands at the URL", await page.getByLabel("URL").getAttribute("aria-invalid"), "true");
  say("what was written is there", [
    await page.getByLabel("URL").inputValue(),
    await page.getByLabel("Description").inputValue(),
    await page.getByLabel("post.failed").isChecked(),
    await page.getByLabel("post.delivered").isChecked(),
    await page.getByLabel("Other names").inputValue(),
  ], ["ftp://shop.example/hooks", "Orders, to the shop", true, false, "order.paid"]);
  await see("webhook-new-wrong");
  await page.getByLabel("URL").fill(`${receiver.origin}/gone/hook?token=canary`);
  await page.getByText("More", { exact: true }).click();
  await page.getByLabel("At most events").fill("20");
  await see("webhook-new-more");
  await page.getByRole("button", { name: "Make the webhook" }).click();
  const secret = await page.getByLabel("Secret").inputValue();
  say("the secret", /^whsec_\S{40,}$/.test(secret), true);
  await page.getByRole("button", { name: "Copy" }).click();
  await see("webhook-made");
  await page.getByRole("link", { name: "Verify it" }).click();
  const at = page.url().split("#")[0];
  await see("webhook-unverified");
  say("the page has no secret", (await page.content()).includes("whsec_") || (await page.content()).includes("canary"), false);
  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByText("Not verified", { exact: true }).waitFor();
  await see("webhook-not-verified");
  await page.getByRole("button", { name: "Send a test" }).click();
  await page.getByText("Not taken", { exact: true }).waitFor();
  await page.getByText("answer 404 <b>bold</b>").waitFor();
  await see("webhook-test");

  await watched.go(`${at}/edit`);
  say("the URL is shown without its secret", await page.getByLabel("URL").inputValue(), `${receiver.origin}/gone/hook?token=***`);
  await page.getByLabel("URL").fill(`${receiver.origin}/hook`);
  await see("webhook-edit");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByRole("status").filter({ hasText: "as you wrote" }).waitFor();
  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByRole("status").filter({ hasText: "from now on" }).waitFor();
  say("it is verified", (await gateway.ask("GET", "/webhooks")).webhooks[0].verified_by, "post");
  await gateway.ask("POST", "/events", Array(25).fill({ type: "order.paid", data: { recipient: "jane@customer.example" } }));
  await eventually("a batch on the page", () => page.getByRole("link", { name: /View details/ }).count());
  await eventually("all of them", async () => (await gateway.ask("GET", "/webhooks")).webhooks[0].last_success_at !== null);
  await SETTLE(page);
  await watched.go(at);
  await see("webhook-batches");
  await page.getByRole("link", { name: "Older" }).click();
  await page.getByRole("link", { name: "Newest" }).waitFor();
  await page.getByRole("link", { name: /View details/ }).first().click();
  await page.getByText("jane@customer.example").first().waitFor();
  await see("webhook-batch");

  await watched.go(at);
  await page.getByText("Send events again").click();
  await page.getByLabel("Only these events").fill("order.*");
  await page.getByRole("button", { name: "Count…" }).click();
  await page.getByRole("button", { name: "Send 25 events again" }).click();
  await page.getByRole("heading", { name: "Sent again" }).waitFor();
  await eventually("all once more", () => receiver.arrivals.filter(({ url }) => url === "/hook").length >= 51);
  await watched.go(`${gateway.origin}/webhooks`);
  await see("webhooks");
  await page.getByRole("button", { name: "Check all now" }).click();
  await page.getByText("taken", { exact: true }).waitFor();
  await see("webhooks-checked");
  for (const [button, sure] of [["New secret…", "Make a new secret"], ["Disable…", "Disable"], ["Delete…", "Delete"]]) {
    await watched.go(at);
    await page.getByRole("button", { name: button }).click();
    await see(`webhook-sure-${sure.split(" ")[0].toLowerCase()}`);
    await page.getByRole("button", { name: sure }).click();
    if (sure === "Make a new secret") {
      say("another secret", (await page.getByLabel("Secret").inputValue()) !== secret, true);
      await see("webhook-rotated");
    }
  }
  await page.getByText("There is no webhook yet").waitFor();
  say("it is gone", (await gateway.ask("GET", "/webhooks")).webhooks, []);
}

// Without script everything is there but what is live.
async function withoutScript({ gateway, receiver, say, visitor }) {
  const { context } = await visitor("operator");
  const plain = await context.browser().newContext({ javaScriptEnabled: false });
  await plain.addCookies(await context.cookies());
  const page = await plain.newPage();
  await page.goto(`${gateway.origin}/webhooks/new`);
  await page.getByLabel("URL").fill(`${receiver.origin}/plain`);
  await page.locator("#event-all").check();
  await page.getByRole("button", { name: "Make the webhook" }).click();
  say("a secret without script", (await page.getByLabel("Secret").inputValue()).startsWith("whsec_"), true);
  say("nothing to copy with", await page.getByRole("button", { name: "Copy" }).count(), 0);
  await gateway.ask("POST", "/events", { type: "order.paid", data: { order: 17 } });
  await eventually("the event in a list that is asked for again", async () => {
    await page.goto(`${gateway.origin}/events`);
    return page.getByText("order.paid", { exact: true }).count();
  });
  say("no button that would do nothing", await page.getByRole("button", { name: "Pause" }).count(), 0);
  await page.locator("summary", { hasText: "order.paid" }).click();
  await page.getByText('"order": 17').waitFor();
  await page.getByRole("link", { name: "Refresh" }).click();
  await plain.close();
}

// Events come by themselves, few of them or many, and stay where one reads.
async function live({ gateway, wrong, say, visitor }, pictures) {
  const watched = await visitor("admin");
  const { page, context } = watched;
  const publish = (events) => gateway.ask("POST", "/events", events);
  await watched.go(`${gateway.origin}/events`);
  await page.getByText("live", { exact: true }).waitFor();
  wrong.push(...(await watched.examine("events-none", pictures)));
  await publish([{ type: "order.paid", data: { recipient: "<img src=x onerror='window.owned=1'>", url: "javascript:window.owned=2", reason: "\u202Egnp.exe" } }, { type: "order.lost", data: { order: 17 } }]);
  await page.getByText("order.lost", { exact: true }).waitFor();
  say("they are words", await page.evaluate(() => [document.querySelectorAll("#events img, #events [onerror]").length, window.owned ?? null]), [0, null]);
  await page.locator("summary", { hasText: "order.lost" }).click();
  await page.getByText('"order": 17').waitFor();
  await page.getByText("paused", { exact: true }).waitFor();
  await publish({ type: "order.late", data: {} });
  await page.getByText("1 since you paused").waitFor();
  say("nothing moves while one reads", await page.getByText("order.late", { exact: true }).count(), 0);
  wrong.push(...(await watched.examine("events-paused", pictures)));
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByText("order.late", { exact: true }).waitFor();

  // A thousand a second, for some seconds.
  await page.evaluate(() => {
    window.longest = 0;
    let before = performance.now();
    const step = (now) => {
      [window.longest, before] = [Math.max(window.longest, now - before), now];
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  });
  const many = Array(250).fill({ type: "order.many", data: { url: "https://shop.example/orders", status: 200 } });
  const begun = Date.now();
  for (let number = 0; number < 20; number += 1) await publish(many);
  const seconds = (Date.now() - begun) / 1000;
  await publish({ type: "order.end", data: {} });
  await page.getByText("order.end", { exact: true }).waitFor();
  say("rows at most", await page.locator("#events > li").count(), 200);
  const longest = Math.round(await page.evaluate(() => window.longest));
  console.log(`     5,000 events in ${seconds.toFixed(1)} s; the longest between two frames took ${longest} ms`);
  say("it never stood still for five seconds", longest < 5_000, true);
  say("all were counted", /^5,00\d came/.test(await page.locator("#tail-count").textContent()), true);
  wrong.push(...(await watched.examine("events", pictures)));

  await page.goto(`${gateway.origin}/events?type=other.*`);
  await page.getByText("live", { exact: true }).waitFor();
  await publish([{ type: "order.paid", data: {} }, { type: "other.kind", data: {} }]);
  await page.getByText("other.kind", { exact: true }).waitFor();
  say("others are left out", await page.getByText("order.paid", { exact: true }).count(), 0);
  wrong.push(...watched.troubles());
  // Who signs out elsewhere is led to sign in here.
  const second = await context.newPage();
  await second.goto(`${gateway.origin}/`);
  await second.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("API key").waitFor();
}

module.exports = {
  HOOK_STORIES: [
    { name: "webhooks", play: webhooks },
    { name: "hooks-without-script", play: withoutScript },
    { name: "events-live", play: live },
  ],
};
