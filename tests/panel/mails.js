// The mail that is in the gateway while its pages are looked at: some waits, some has
// failed, and some is hostile.
"use strict";

// What would tell if it ran: each sets this, asks for it, or changes the page.
const SCRIPT = "<script>window.owned = 1</script>";
const PICTURE = `"><img src=x onerror="window.owned = 2">`;
const RTL = "\u202Egnp.exe";
const TEMPLATE = "{{7*7}}${7*7}<%= 7*7 %>";

// `trap` is an origin where nobody may ever ask for anything.
const hostileHtml = (trap) => `<html><head><style>body{display:none} main{background:url(${trap}/css)}</style>
<base href="${trap}/"><meta http-equiv="refresh" content="0;url=${trap}/refresh"></head>
<body onload="window.owned = 3">${SCRIPT}<p id="hostile">Hello <b>there</b></p>
<img src="${trap}/pixel.gif"><img src="relative.gif"><img src=x onerror="parent.owned = 4; top.owned = 5">
<a href="javascript:window.owned=6">a link</a><iframe src="javascript:parent.owned=7"></iframe>
<form action="${trap}/form" method="post"><input name="password" autofocus><button>Go</button></form>
<svg onload="window.owned = 8"></svg><link rel="stylesheet" href="${trap}/sheet.css">
<object data="${trap}/o"></object><div style="position:fixed;inset:0;z-index:9;background:url(${trap}/style)">cover</div></body></html>`;

// In words of MIME, both as text and as HTML.
function hostileMail(trap) {
  return [
    `Subject: ${SCRIPT} ${TEMPLATE}`,
    `From: "${PICTURE.replaceAll('"', "'")}" <app@app.example>`,
    "X-Postgate-Tag: <b>tag</b>",
    "MIME-Version: 1.0",
    'Content-Type: multipart/mixed; boundary="b"',
    "",
    "--b",
    'Content-Type: multipart/alternative; boundary="a"',
    "",
    "--a",
    "Content-Type: text/plain; charset=utf-8",
    "",
    `${SCRIPT} ${PICTURE} ${RTL} javascript:window.owned=9`,
    "--a",
    "Content-Type: text/html; charset=utf-8",
    "",
    hostileHtml(trap),
    "--a--",
    "--b",
    `Content-Type: text/html; name="invoice.html"`,
    `Content-Disposition: attachment; filename="invoice${RTL}<b>.html"`,
    "",
    `<script>top.owned = 10</script>`,
    "--b--",
  ].join("\n");
}

// Hands in all of it; the ids of its posts.
async function furnish(gateway, receiver, trap) {
  const mail = (subject) => `Subject: ${subject}\nContent-Type: text/plain\n\nOrder 17 is ready.\n`;
  await gateway.send(receiver.recipient("/orders"), mail("Delivered"));
  const ids = {
    failed: await gateway.post(receiver.recipient("/gone/with/a/path/that/is/rather/long?and=a&query=of-some-length"), mail("Gone"), "failed"),
    waiting: await gateway.post(receiver.recipient("/busy/orders"), mail("Busy"), "deferred"),
    hostile: await gateway.post(receiver.recipient(`/busy/%3Cscript%3E?q=javascript:window.owned=11`), hostileMail(trap.origin), "deferred"),
    held: await gateway.post(receiver.recipient("/busy/held"), mail("Held"), "deferred"),
  };
  await gateway.ask("POST", `/posts/${ids.held}/hold`);
  for (let number = 0; number < 60; number += 1) await gateway.send(receiver.recipient(`/busy/many/${number}`), mail(`Number ${number}`));
  return ids;
}

module.exports = { furnish, hostileHtml, hostileMail };
