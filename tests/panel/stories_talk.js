// Sending a test message, and looking into the protocol log.
"use strict";
const { eventually } = require("./world");

// Somebody who has never been here sends a first post, and sees both sides of it.
async function send({ gateway, receiver, wrong, say, visitor }, pictures) {
  const watched = await visitor("operator");
  const { page } = watched;
  await page.getByRole("link", { name: "Send", exact: true }).click();
  await page.getByRole("heading", { name: "Send a test message" }).waitFor();
  await watched.go(`${gateway.origin}/send`);
  wrong.push(...(await watched.examine("send", pictures)));
  await page.getByLabel("To", { exact: true }).fill(receiver.recipient("/first"));
  await page.keyboard.press("Enter");
  await page.getByRole("status").getByText("Accepted").waitFor();
  // It comes by itself.
  await page.locator("#exchange").getByText("delivered in").waitFor();
  say("what arrived", receiver.arrivals.filter(({ url }) => url === "/first").map(({ body }) => body.toString().trim()), ['{"hello": "world"}']);
  wrong.push(...(await watched.examine("sent", pictures)));
  say("it asks no more", await page.locator("#exchange[hx-get]").count(), 0);
  await page.getByLabel("To", { exact: true }).fill("nobody@nowhere.example");
  await page.getByText("Listener, login and further header lines").click();
  await page.getByLabel("Further header lines").fill("X-Postgate-Tag: test");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByRole("alert").getByText("550 5.1.1").waitFor();
  say("what was written is still there", await page.getByLabel("Further header lines").inputValue(), "X-Postgate-Tag: test");
  wrong.push(...(await watched.examine("send-refused", pictures)));
  const viewer = await visitor("read");
  say("what a viewer is offered", await viewer.page.getByRole("link", { name: "Send", exact: true }).count(), 0);
  const other = await visitor("shop");
  await other.go(`${gateway.origin}/send`);
  await other.page.getByText("SMTP user (of your tenant)").waitFor();
  wrong.push(...(await other.examine("send-tenant", pictures)));
}

const MAIL = "Subject: Order\nContent-Type: text/plain\n\nOrder 17 is ready.\n";

// The dialogues of a post are found, opened, and left for those of everybody.
async function log({ gateway, receiver, wrong, say, visitor }, pictures) {
  const watched = await visitor("admin");
  const { page } = watched;
  const id = await gateway.post(receiver.recipient("/busy/<script>window.owned=1</script>"), MAIL, "deferred");
  await gateway.post(receiver.recipient("/gone/log"), MAIL, "failed");
  await eventually("the dialogue", async () => (await gateway.ask("GET", `/protocol-log?post=${id}`)).dialogues.length === 2);
  await page.getByRole("link", { name: "Protocol log", exact: true }).click();
  await page.getByRole("heading", { name: "Protocol log" }).waitFor();
  await watched.go(`${gateway.origin}/log`);
  say("dialogues", await page.locator("details").count(), 4);
  wrong.push(...(await watched.examine("log", pictures)));
  const first = page.locator("summary").first();
  await first.focus();
  await page.keyboard.press("Enter");
  await page.locator("details[open] pre").waitFor();
  wrong.push(...(await watched.examine("log-open", pictures)));
  await page.getByLabel("Post", { exact: true }).fill(id);
  await page.keyboard.press("Enter");
  await page.waitForURL(/post=/);
  say("dialogues of one post", await page.locator("details").count(), 2);
  await page.locator("summary", { hasText: "SMTP" }).click();
  await page.getByRole("link", { name: /^All of S/ }).click();
  await page.locator("details[open]").getByText("queued as").first().waitFor();
  wrong.push(...(await watched.examine("log-session", pictures)));
  await watched.go(`${gateway.origin}/log?peer=192.0.2.99`);
  await page.getByText("The log has nothing of that").waitFor();
  wrong.push(...(await watched.examine("log-none", pictures)));
  say("nothing ran", await page.evaluate(() => window.owned ?? null), null);
  const other = await visitor("shop");
  say("what a tenant is offered", await other.page.getByRole("link", { name: "Protocol log", exact: true }).count(), 0);
}

// Lines appear as they are written, and the focus stays where it was.
async function live({ gateway, receiver, wrong, say, visitor }, pictures) {
  const watched = await visitor("admin");
  const { page } = watched;
  await watched.go(`${gateway.origin}/log`);
  await page.getByRole("link", { name: "Live" }).click();
  await page.getByRole("heading", { name: "Protocol log, live" }).waitFor();
  await watched.go(`${gateway.origin}/log/live`);
  await page.getByLabel("Peer").focus();
  await gateway.post(receiver.recipient("/gone/live"), MAIL, "failed");
  await page.locator(".line").getByText("POST /gone/live").waitFor();
  say("the focus", await page.evaluate(() => document.activeElement.id), "peer");
  const stamps = await page.locator(".line time").evaluateAll((all) => all.map((one) => one.dateTime));
  say("the newest is first", stamps.length > 5 && stamps[0] >= stamps[stamps.length - 1], true);
  say("each is there once", await page.getByText("RCPT TO").count() <= 2, true);
  wrong.push(...(await watched.examine("log-live", pictures)));
}

module.exports = { TALK: { send, log, live } };
