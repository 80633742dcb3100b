// Pages that break one rule each: a check that does not find them proves nothing.
"use strict";
const http = require("node:http");

const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'";
const page = (body, script = "") =>
  `<!doctype html><html lang="en"><head><title>Control</title><link rel="icon" href="data:,">` +
  `<link rel="stylesheet" href="/sheet.css">${script}</head><body><main><h1>Control</h1>${body}</main></body></html>`;

const SHEET = "body{background:#fff;color:#111} .faint{color:#bbb} .wide{width:3000px} .dark{color:#111} .card{width:90%} .row{min-width:340px}" +
  "@media (prefers-color-scheme: dark){.dark{background:#222;color:#333}}";

// Each with what has to be said of it; nothing of the first.
const CONTROLS = {
  "good": [page("<p>Good.</p>"), null],
  "inline script": [page("<p>x</p><script>document.title = 'changed'</script>"), /^policy: script-src/],
  "inline handler": [page(`<img src="data:image/gif;base64,x" alt="" onerror="document.title = 'changed'">`), /^policy: script-src/],
  "inline style": [page(`<p style="color: red">x</p>`), /^policy: style-src/],
  "low contrast": [page(`<p class="faint">You cannot read this.</p>`), /axe color-contrast/],
  "low contrast in the dark alone": [page(`<p class="dark">You cannot read this.</p>`), /^360 dark, 1024 dark, 1600 dark: axe color-contrast/],
  "a field without a name": [page("<input>"), /axe label/],
  "too wide": [page(`<p class="wide">x</p>`), /^360 light, 360 dark: it is 3\d\d\d wide/],
  "a table beside its card": [page(`<div class="card"><table><tr><td class="row">x</td></tr></table></div>`), /^360 light, 360 dark: a table is wider/],
  "an exception": [page("<p>x</p>", `<script defer src="/broken.js"></script>`), /^exception: broken/],
  "an error in the console": [page("<p>x</p>", `<script defer src="/grumble.js"></script>`), /^error: grumble/],
  "too heavy": [page("<p>x</p>", `<script defer src="/heavy.js"></script>`), /octets were transferred/],
  "a stranger's picture": [page(`<img src="http://127.0.0.1:1/x.gif" alt="">`), /^policy: img-src/],
  "something that is missing": [page("<p>x</p>", `<script defer src="/missing.js"></script>`), /^error: .*404/],
};

const FILES = {
  "/sheet.css": ["text/css", SHEET],
  "/broken.js": ["text/javascript", "throw new Error('broken');"],
  "/grumble.js": ["text/javascript", "console.error('grumble');"],
  "/heavy.js": ["text/javascript", `"${"x".repeat(160_000)}";`],
};

// What is wrong with the checks themselves.
async function checkControls(watched) {
  const server = http.createServer((request, response) => {
    const control = CONTROLS[decodeURIComponent(request.url.slice(1))];
    const [kind, text] = control ? ["text/html", control[0]] : FILES[request.url] ?? ["text/plain", ""];
    const status = control || FILES[request.url] ? 200 : 404;
    response.writeHead(status, { "Content-Type": `${kind}; charset=utf-8`, "Content-Security-Policy": POLICY }).end(text);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const wrong = [];
  for (const [name, [, expected]] of Object.entries(CONTROLS)) {
    await watched.go(`http://127.0.0.1:${server.address().port}/${encodeURIComponent(name)}`);
    const found = await watched.examine(name, null);
    const isFound = expected === null ? found.length === 0 : found.some((one) => expected.test(one));
    if (!isFound) wrong.push(`control "${name}": ${expected ? `no ${expected}` : "not good"}: ${JSON.stringify(found)}`);
  }
  server.closeAllConnections();
  server.close();
  return wrong;
}

module.exports = { checkControls, count: Object.keys(CONTROLS).length };
