// What no page may do: each check answers what is wrong, in words.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const AXE = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const WIDTHS = [360, 1024, 1600];
const SCHEMES = ["light", "dark"];
// Octets of a page with all that it loads, headers included, by an empty cache.
const MOST_OCTETS = 150_000;

// A page of the browser that remembers what happened on it; what is like `allowed` may be said.
class Watched {
  static async open(context) {
    const watched = new Watched();
    watched.page = await context.newPage();
    watched.page.setDefaultTimeout(15_000);
    await watched.listen(context);
    return watched;
  }

  async listen(context) {
    const { page } = this;
    [this.said, this.octets, this.strangers] = [[], 0, []];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) this.said.push(`${message.type()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => this.said.push(`exception: ${error.message}`));
    page.on("dialog", (dialog) => {
      this.said.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("request", (request) => {
      const url = new URL(request.url());
      if (this.origin && url.protocol !== "data:" && url.origin !== this.origin) this.strangers.push(request.url());
    });
    // In every document, before any of its own scripts; no policy holds for it.
    await page.exposeFunction("tellViolation", (text) => this.said.push(`policy: ${text}`));
    await page.addInitScript(() =>
      document.addEventListener("securitypolicyviolation", (event) =>
        window.tellViolation?.(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`)));
    const session = await context.newCDPSession(page);
    await session.send("Network.enable");
    await session.send("Network.setCacheDisabled", { cacheDisabled: true });
    const { frameTree } = await session.send("Page.getFrameTree");
    // What a page before still loads, until this one takes its place, is not of this one.
    const loaders = new Map(), past = new Set();
    let current = null;
    session.on("Network.requestWillBeSent", ({ requestId, loaderId, frameId }) => {
      loaders.set(requestId, loaderId);
      if (requestId !== loaderId || frameId !== frameTree.frame.id || loaderId === current) return;
      past.add(current);
      current = loaderId;
      this.octets = 0;
    });
    session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
      if (!past.has(loaders.get(requestId))) this.octets += encodedDataLength;
    });
  }

  // Goes to an address, and waits for all that it loads at once.
  async go(url) {
    [this.said, this.octets, this.strangers] = [[], 0, []];
    this.origin = new URL(url).origin;
    const answer = await this.page.goto(url, { waitUntil: "load" });
    return answer.status();
  }

  // What the page did that it must not do, since it was gone to.
  troubles() {
    const said = this.said.filter((one) => !this.allowed?.test(one));
    const foreign = this.strangers.map((url) => `it asks a stranger: ${url}`);
    const heavy = this.octets > MOST_OCTETS ? [`${this.octets} octets were transferred`] : [];
    return [...said, ...foreign, ...heavy];
  }

  // What axe-core finds.
  async inaccessible() {
    await this.page.evaluate(AXE);
    const found = await this.page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"], iframes: false }));
    return found.violations.flatMap(({ id, nodes }) =>
      nodes.map((node) => `axe ${id}: ${node.html.slice(0, 160)} ${node.failureSummary.split("\n").slice(1, 3).join("; ")}`));
  }

  // Whether the page is wider than its window, and by what.
  overflow() {
    return this.page.evaluate(() => {
      const { scrollWidth, clientWidth } = document.documentElement;
      if (scrollWidth <= clientWidth) return [];
      const wide = [...document.body.querySelectorAll("*")].filter((one) => one.getBoundingClientRect().right > clientWidth + 1);
      const names = wide.slice(0, 5).map((one) => one.outerHTML.slice(0, 100));
      return [`it is ${scrollWidth} wide in a window of ${clientWidth}: ${names.join(" | ")}`];
    });
  }

  // Tables that do not fit into what stands around them, and cannot be scrolled there.
  spilt() {
    return this.page.evaluate(() => {
      const edge = (table) => table.closest(".card").getBoundingClientRect().right;
      const wide = [...document.querySelectorAll(".card table")].filter((table) =>
        !table.closest(".scroll") && table.getBoundingClientRect().right > edge(table));
      return wide.map((table) => `a table is wider than its card: ${table.textContent.trim().slice(0, 60)}`);
    });
  }

  // All of that in every width and scheme, with a picture of each; `name` is for the file.
  async examine(name, pictures) {
    // What is wrong, and in which windows.
    const found = new Map();
    for (const scheme of SCHEMES) {
      await this.page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      for (const width of WIDTHS) {
        await this.page.setViewportSize({ width, height: 900 });
        // What a script draws anew follows the size by a frame or two.
        await this.page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
        for (const one of [...(await this.overflow()), ...(await this.spilt()), ...(await this.inaccessible())])
          found.set(one, [...(found.get(one) ?? []), `${width} ${scheme}`]);
        if (pictures) await this.page.screenshot({ path: path.join(pictures, `${name}-${width}-${scheme}.png`), fullPage: true });
      }
    }
    const windows = [...found].map(([one, where]) => `${where.join(", ")}: ${one}`);
    return [...new Set(this.troubles()), ...windows];
  }
}

module.exports = { Watched };
