// What people do with the panel, one thing after another; each answers what was wrong.
"use strict";
const http = require("node:http");
const { Watched } = require("./checks");
const { hostileHtml, hostileMail } = require("./mails");
const { CHARTS } = require("./stories_charts");
const { HOOK_STORIES } = require("./stories_hooks");
const { LIVE } = require("./stories_live");
const { TALK } = require("./stories_talk");
const { Gateway, Receiver, eventually } = require("./world");

// A gateway of a story's own, with keys; it ends with the story.
async function withKeys({ browser, receiver, program }, play) {
  const gateway = await Gateway.start(program, { withKeys: true });
  const contexts = [];
  const wrong = [];
  const scene = {
    gateway,
    receiver,
    wrong,
    // Notes what is not as expected.
    say(what, told, expected) {
      if (JSON.stringify(told) !== JSON.stringify(expected)) wrong.push(`${what}: ${JSON.stringify(told)}, and not ${JSON.stringify(expected)}`);
    },
    // Somebody with a browser who has signed in with this key, or has not.
    async visitor(key, timezoneId = "UTC") {
      const context = await browser.newContext({ timezoneId, locale: "en-GB" });
      contexts.push(context);
      const watched = await Watched.open(context);
      if (key) {
        await watched.go(`${gateway.origin}/sign-in`);
        await watched.page.getByLabel("API key").fill(gateway.keys[key]);
        await watched.page.getByRole("button", { name: "Sign in" }).click();
        await watched.page.getByRole("link", { name: "Overview" }).waitFor();
      }
      return Object.assign(watched, { context });
    },
  };
  try {
    await play(scene);
  } finally {
    await Promise.all(contexts.map((context) => context.close()));
    await gateway.stop();
  }
  return wrong;
}

const MAIL = "Subject: Order\nContent-Type: text/plain\n\nOrder 17 is ready.\n";

async function signIn({ gateway, wrong, say, visitor }, pictures) {
  const watched = await visitor();
  const { page, context } = watched;
  await watched.go(`${gateway.origin}/posts?state=failed`);
  say("who has not signed in is led to", new URL(page.url()).pathname, "/sign-in");
  wrong.push(...(await watched.examine("sign-in", pictures)));
  await page.getByLabel("API key").fill("pgk_nobody");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").waitFor();
  // The browser itself says that the page was a refusal.
  watched.said = watched.said.filter((one) => !/status of 403/.test(one));
  wrong.push(...(await watched.examine("sign-in-wrong", pictures)));
  await page.getByLabel("API key").fill(gateway.keys.operator);
  await page.keyboard.press("Enter");
  await page.waitForURL(`${gateway.origin}/posts?state=failed`);
  const cookies = await context.cookies();
  for (const { name, httpOnly, sameSite, value } of cookies) {
    say(`cookie ${name}`, { httpOnly, sameSite }, { httpOnly: true, sameSite: "Strict" });
    if (value.includes(gateway.keys.operator)) wrong.push(`cookie ${name} holds the key`);
  }
  say("there is a cookie", cookies.length > 0, true);
  await page.getByText("operator").first().waitFor();
  await page.keyboard.press("Tab");
  say("the first Tab leads to", await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  await page.keyboard.press("Enter");
  say("and Enter to", await page.evaluate(() => document.activeElement.id), "main");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByLabel("API key").waitFor();
  // The cookie of before is worth nothing, even to who has kept it.
  await context.addCookies(cookies);
  await watched.go(`${gateway.origin}/posts`);
  say("after signing out one is led to", new URL(page.url()).pathname, "/sign-in");
}

// What each may see and do.
async function roles({ gateway, receiver, say, visitor }) {
  const id = await gateway.post(receiver.recipient("/gone/roles"), MAIL, "failed");
  for (const [key, posts, buttons] of [["read", 1, 0], ["operator", 1, 4], ["admin", 1, 4], ["shop", 0, 0]]) {
    const watched = await visitor(key);
    await watched.go(`${gateway.origin}/posts`);
    say(`posts that ${key} sees`, await watched.page.getByRole("link", { name: id }).count(), posts);
    const actions = watched.page.getByRole("button", { name: /^(Retry|Hold|Release|Delete)/ });
    say(`what ${key} may do`, await actions.count(), buttons);
    say(`troubles of ${key}`, watched.troubles(), []);
  }
}

// Many posts are held, released and deleted, each after the number was seen.
async function bulk({ gateway, receiver, wrong, say, visitor }, pictures) {
  for (let number = 0; number < 3; number += 1) await gateway.post(receiver.recipient(`/busy/${number}`), MAIL, "deferred");
  await gateway.post(receiver.recipient("/gone/other"), MAIL, "failed");
  const states = async () => {
    const { posts } = await gateway.ask("GET", "/posts");
    return posts.map(({ state }) => state).sort().join(" ");
  };
  const watched = await visitor("operator");
  const { page } = watched;
  const order = async (state, action, count) => {
    await watched.go(`${gateway.origin}/posts?state=${state}`);
    const before = await states();
    await page.getByRole("button", { name: `${action}…` }).click();
    await page.getByRole("heading", { name: `${action}: ${count} post` }).waitFor();
    say(`${action} before it is confirmed`, await states(), before);
    wrong.push(...(await watched.examine(`confirm-${action.toLowerCase()}`, pictures)));
    await page.getByRole("button", { name: `${action}: ${count} post` }).click();
    await page.getByRole("status").filter({ hasText: "Done" }).waitFor();
    wrong.push(...(await watched.examine(`done-${action.toLowerCase()}`, pictures)));
  };
  await order("deferred", "Hold", 3);
  say("after holding", await states(), "failed held held held");
  await order("held", "Release", 3);
  await eventually("those that were released to be tried", async () => (await states()) === "deferred deferred deferred failed");
  await order("failed", "Delete", 1);
  say("after deleting", await states(), "deferred deferred deferred");
  // Back from the question, nothing happens.
  await watched.go(`${gateway.origin}/posts?state=deferred`);
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.getByRole("link", { name: "Back" }).click();
  await page.waitForURL(`${gateway.origin}/posts?state=deferred`);
  say("after going back", await states(), "deferred deferred deferred");
}

// A form of another site, sent with the visitor's cookies, changes nothing.
async function otherSite({ gateway, receiver, say, visitor }) {
  const id = await gateway.post(receiver.recipient("/busy/forged"), MAIL, "deferred");
  const { page } = await visitor("operator");
  const fields = { action: "delete", sure: "yes", state: "deferred" };
  const inputs = Object.entries(fields).map(([name, value]) => `<input name="${name}" value="${value}">`).join("");
  const form = `<form method="post" action="${gateway.origin}/posts/actions">${inputs}<button>Go</button></form>`;
  const server = http.createServer((_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end(form));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  // Another port is another origin; another name is another site.
  for (const host of ["127.0.0.1", "localhost"]) {
    await page.goto(`http://${host}:${server.address().port}/`);
    const answered = page.waitForResponse((response) => response.url().endsWith("/posts/actions"));
    await page.getByRole("button", { name: "Go" }).click();
    const status = (await answered).status();
    say(`what a form from ${host} is answered`, [303, 400, 401, 403].includes(status), true);
    say(`the post after a form from ${host}`, (await gateway.ask("GET", `/posts/${id}`)).state, "deferred");
  }
  server.closeAllConnections();
  server.close();
}

// Where nothing keeps it from that, hostile HTML does what it wants; or the story of it proves nothing.
async function obeyed(context, trap, say) {
  // But for its going away at once.
  const html = hostileHtml(trap.origin).replace(/<meta[^>]*>/, "");
  const server = http.createServer((_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end(html));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await eventually("the trap to be asked", () => trap.arrivals.some(({ url }) => url === "/pixel.gif"));
  say("control: its scripts run", await page.evaluate(() => window.owned > 0), true);
  await page.close();
  server.closeAllConnections();
  server.close();
  trap.arrivals.length = 0;
}

// Mail that wants to do something does nothing, wherever it is shown.
async function hostile({ gateway, receiver, wrong, say, visitor }, pictures) {
  const trap = await new Receiver().start();
  const id = await gateway.post(receiver.recipient("/busy/%3Cscript%3E?q=javascript:window.owned=11"), hostileMail(trap.origin), "deferred");
  const watched = await visitor("admin");
  const { page, context } = watched;
  // What was changed by it, in any frame.
  const owned = async () => (await Promise.all(page.frames().map((frame) => frame.evaluate(() => window.owned ?? null)))).filter(Boolean);
  await obeyed(context, trap, say);
  const at = `${gateway.origin}/posts/${id}`;
  for (const where of ["/", "/posts", "/posts?q=%3Cscript%3Ealert(1)%3C/script%3E", `/posts/${id}`, `/posts/${id}/transcript`]) {
    await watched.go(gateway.origin + where);
    const frame = page.locator("iframe");
    if (await frame.count()) await frame.scrollIntoViewIfNeeded();
    say(`${where} stays where it is`, page.url(), gateway.origin + where);
    say(`${where} is not changed`, await owned(), []);
    say(`${where} does nothing else`, watched.troubles(), []);
    say(`handlers in ${where}`, await page.locator("[onerror], [onload], [onclick], a[href^='javascript:' i]").count(), 0);
  }
  await watched.go(at);
  await page.getByText("<script>window.owned = 1</script>").first().waitFor();
  say("templates are text", await page.getByText("{{7*7}}").count() > 0, true);
  const element = page.locator("iframe");
  await element.scrollIntoViewIfNeeded();
  say("the frame may do nothing", await element.getAttribute("sandbox"), "");
  const frame = page.frameLocator("iframe");
  await frame.getByText("Hello there").waitFor();
  const harm = "script, form, iframe, object, link, base, meta[http-equiv], img[src*='http'], img[src='x'], [onload], [onerror]";
  say("what is left of the HTML", await frame.locator(harm).count(), 0);
  await frame.getByText("a link").click();
  say("the frame's link leads nowhere", [page.url(), await owned()], [at, []]);
  wrong.push(...(await watched.examine("post-hostile", pictures)));
  // On its own, as if somebody had opened the frame's address.
  await watched.go(`${at}/mail.html`);
  say("alone it stays where it is", [page.url(), await owned()], [`${at}/mail.html`, []]);
  for (const where of ["message", "body", "attachments/1"]) {
    const answer = await context.request.get(`${at}/${where}`);
    const { "content-type": kind, "content-disposition": disposition, "x-content-type-options": sniffing } = answer.headers();
    const told = [answer.status(), kind, disposition?.split(";")[0], sniffing];
    say(`the download of ${where}`, told, [200, "application/octet-stream", "attachment", "nosniff"]);
  }
  say("nobody asked for anything of it", trap.arrivals.map(({ url }) => url), []);
  trap.stop();
}

// One post is held, released, sent elsewhere and deleted on its own page.
async function one({ gateway, receiver, wrong, say, visitor }, pictures) {
  const id = await gateway.post(receiver.recipient("/gone/one"), MAIL, "failed");
  const watched = await visitor("operator");
  const { page } = watched;
  const at = `${gateway.origin}/posts/${id}`;
  await watched.go(at);
  wrong.push(...(await watched.examine("post-failed", pictures)));
  await page.getByRole("link", { name: "Protocol log of this post" }).click();
  await page.getByText("404").first().waitFor();
  wrong.push(...(await watched.examine("transcript", pictures)));
  await watched.go(at);
  await page.getByLabel("Reroute to this URL").fill(`${receiver.origin}/busy/rerouted`);
  await page.getByRole("button", { name: "Reroute" }).click();
  await gateway.stands(id, "deferred");
  for (const [action, state] of [["Hold", "held"], ["Release", "deferred"]]) {
    await watched.go(at);
    await page.getByRole("button", { name: action }).click();
    await gateway.stands(id, state);
  }
  await watched.go(at);
  await page.getByRole("button", { name: "Delete…" }).click();
  say("deleted before it is confirmed", (await gateway.ask("GET", `/posts/${id}`)).state, "deferred");
  await page.getByRole("button", { name: /^Delete/ }).click();
  await eventually("the post to be gone", async () => (await gateway.ask("GET", `/posts/${id}`)).status === 404);
  await watched.go(at);
  watched.said = [];
  wrong.push(...(await watched.examine("post-gone", pictures)));
}

// A destination is paused and resumed.
async function destinations({ gateway, receiver, wrong, say, visitor }, pictures) {
  const id = await gateway.post(receiver.recipient("/busy/paused"), MAIL, "deferred");
  const watched = await visitor("operator");
  const { page } = watched;
  await watched.go(`${gateway.origin}/destinations`);
  wrong.push(...(await watched.examine("destinations", pictures)));
  const state = async () => (await gateway.ask("GET", "/destinations")).destinations[0].state;
  await page.getByRole("button", { name: "Pause" }).click();
  await eventually("the destination to be paused", async () => (await state()) === "paused");
  await watched.go(`${gateway.origin}/destinations`);
  wrong.push(...(await watched.examine("destinations-paused", pictures)));
  await page.getByRole("button", { name: "Resume" }).click();
  await eventually("the destination to go on", async () => (await state()) !== "paused");
  const before = receiver.arrivals.length;
  await watched.go(`${gateway.origin}/destinations`);
  await page.getByRole("button", { name: "Retry all now" }).click();
  await eventually("another attempt", () => receiver.arrivals.length > before);
  await watched.go(`${gateway.origin}/destinations`);
  await page.getByLabel("Origin").fill(`${receiver.origin}`);
  await page.getByRole("button", { name: "Find" }).click();
  await page.locator("svg.spark polyline").waitFor();
  wrong.push(...(await watched.examine("destinations-found", pictures)));
  await page.getByLabel("Origin").fill("https://no.example");
  await page.getByRole("button", { name: "Find" }).click();
  await page.getByText("No destination is like").waitFor();
  say("the post waits again", (await gateway.ask("GET", `/posts/${id}`)).id, id);
}

// What is live is refreshed under the keyboard, which stays where it is.
async function focus({ gateway, receiver, say, visitor }) {
  await gateway.post(receiver.recipient("/busy/focus"), MAIL, "deferred");
  const { page } = Object.assign(await visitor("operator"));
  for (const where of ["/", "/destinations"]) {
    await page.goto(gateway.origin + where);
    const live = page.waitForResponse((response) => response.url().endsWith("/live"));
    await page.locator("#live a, #live button").last().focus();
    const name = () => page.evaluate(() => `${document.activeElement.tagName} ${document.activeElement.textContent.trim().slice(0, 30)}`);
    const before = await name();
    await (await live).finished();
    // It is put in its place within a few frames.
    await page.evaluate(() => new Promise((done) => setTimeout(done, 300)));
    say(`the focus on ${where} after it was refreshed`, await name(), before);
  }
}

const owned = (play) => (world) => withKeys(world, (scene) => play(scene, world.pictures));

const STORIES = [
  { name: "charts", play: CHARTS.alone },
  { name: "sign-in", play: owned(signIn) },
  { name: "roles", play: owned(roles) },
  { name: "bulk", play: owned(bulk) },
  { name: "other-site", play: owned(otherSite) },
  { name: "hostile", play: owned(hostile) },
  { name: "one-post", play: owned(one) },
  { name: "destinations", play: owned(destinations) },
  { name: "overview-charts", play: owned(CHARTS.overview) },
  { name: "focus", play: owned(focus) },
  { name: "config", play: owned(require("./stories_config").config) },
  ...HOOK_STORIES.map(({ name, play }) => ({ name, play: owned(play) })),
  { name: "whose", play: owned(require("./stories_whose").whose) },
  { name: "send", play: owned(TALK.send) },
  { name: "protocol-log", play: owned(TALK.log) },
  { name: "log-live", play: owned(TALK.live) },
  { name: "log-further", play: owned(LIVE.further) },
  { name: "hidden", play: owned(LIVE.hidden) },
  { name: "hidden-tail", play: owned(LIVE.hiddenTail) },
];

module.exports = { STORIES };
