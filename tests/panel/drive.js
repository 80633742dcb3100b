// Looks at every page of the panel, and plays through what people do there.
"use strict";
const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");
const { Watched } = require("./checks");
const controls = require("./controls");
const { STORIES } = require("./stories");
const { Gateway, Receiver } = require("./world");
const { furnish } = require("./mails");

// Every page, with the mail of mails.js in the gateway; `ids` are those of its posts.
const PAGES = [
  { name: "overview", path: () => "/" },
  { name: "posts", path: () => "/posts" },
  { name: "posts-failed", path: () => "/posts?state=failed" },
  { name: "posts-none", path: () => "/posts?q=nothing-is-like-this" },
  { name: "post-waiting", path: (ids) => `/posts/${ids.waiting}` },
  { name: "post-held", path: (ids) => `/posts/${ids.held}` },
  { name: "events-of-mail", path: () => "/events?type=post.*" },
  { name: "destinations", path: () => "/destinations" },
  { name: "config", path: () => "/config" },
  { name: "missing", path: () => "/nowhere", status: 404 },
];

const PICTURES = path.join(process.env.HOME_PATH, "pictures");

async function main(words) {
  const begun = Date.now();
  const isWanted = ({ name }) => words.length === 0 || words.some((word) => name.includes(word));
  fs.rmSync(PICTURES, { recursive: true, force: true });
  fs.mkdirSync(PICTURES, { recursive: true });
  const browser = await chromium.launch({
    executablePath: process.env.BROWSER_PATH,
    // Its sandbox does not start as root. Nothing but our own pages is shown.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  const problems = [];
  const attempt = async (name, work) => {
    const from = Date.now();
    const wrong = await work().catch((error) => [error.stack]);
    problems.push(...wrong.map((one) => `${name}: ${one}`));
    console.log(`${wrong.length ? "WRONG" : "good "} ${name} (${((Date.now() - from) / 1000).toFixed(1)} s)`);
  };
  const context = await browser.newContext();
  if (words.length === 0 || words.includes("controls")) {
    await attempt("controls", async () => controls.checkControls(await Watched.open(context)));
  }
  // What hostile mail wants to be asked for.
  const trap = await new Receiver().start();
  const program = path.resolve(process.env.PROGRAM);
  const look = async () => {
    const [receiver, gateway] = [await new Receiver().start(), await Gateway.start(program, { withKeys: false })];
    try {
      const ids = await furnish(gateway, receiver, trap);
      for (const page of PAGES.filter(isWanted)) {
        await attempt(`page ${page.name}`, async () => {
          const watched = await Watched.open(context);
          const status = await watched.go(gateway.origin + page.path(ids));
          const expected = page.status ?? 200;
          // A page of this status says so in the console as well.
          if (status >= 400 && status === expected) watched.said = [];
          const wrong = await watched.examine(page.name, PICTURES);
          await watched.page.close();
          return status === expected ? wrong : [`it answers ${status}`, ...wrong];
        });
      }
    } finally {
      await gateway.stop();
      receiver.stop();
    }
  };
  const play = async () => {
    for (const story of STORIES.filter(isWanted)) {
      const receiver = await new Receiver().start();
      await attempt(`story ${story.name}`, () => story.play({ browser, receiver, program, pictures: PICTURES }));
      receiver.stop();
    }
  };
  // A page that is examined and one that is used have nothing in common.
  await Promise.all([look(), play()]);
  problems.push(...trap.arrivals.map(({ url }) => `hostile mail was obeyed: somebody asked for ${url}`));
  trap.stop();
  await browser.close();
  problems.forEach((problem) => console.log(`\n== ${problem}`));
  const seconds = ((Date.now() - begun) / 1000).toFixed(0);
  const pictures = fs.readdirSync(PICTURES).length;
  console.log(`${controls.count} controls, ${pictures} pictures in ${PICTURES}, ${problems.length} problems, ${seconds} s`);
  return problems.length ? 1 : 0;
}

main(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error) => {
    console.error(`tests/panel/run: ${error.stack}`);
    process.exit(1);
  },
);
