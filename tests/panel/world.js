// A gateway with mail in it, the receiver behind it, and an SMTP client.
"use strict";
const { spawn } = require("node:child_process");
const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");
const os = require("node:os");
const path = require("node:path");
const { setTimeout: pause } = require("node:timers/promises");

const LIMIT = 30_000;

// Waits until a condition answers; for what happens in other processes.
async function eventually(what, condition) {
  const deadline = Date.now() + LIMIT;
  for (;;) {
    const answer = await condition();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`waited ${LIMIT} ms in vain: ${what}`);
    await pause(20);
  }
}

// Answers by the first piece of the path: /busy 500, /gone 404, all others 200.
class Receiver {
  constructor() {
    this.arrivals = [];
    this.server = http.createServer((request, response) => {
      const chunks = [];
      request.on("data", (chunk) => chunks.push(chunk));
      request.on("end", () => {
        this.arrivals.push({ url: request.url, body: Buffer.concat(chunks) });
        const status = { busy: 500, gone: 404 }[request.url.split(/[/?]/)[1]] ?? 200;
        response.writeHead(status, { "Content-Type": "text/plain" }).end(`answer ${status} <b>bold</b>\n`);
      });
    });
  }

  async start() {
    await new Promise((done) => this.server.listen(0, "127.0.0.1", done));
    this.origin = `http://127.0.0.1:${this.server.address().port}`;
    return this;
  }

  // The recipient whose mail goes to a path.
  recipient(where) {
    return `post@${this.origin}${where}`;
  }

  stop() {
    this.server.closeAllConnections();
    this.server.close();
  }
}

const CONFIG = (keys) => `
[server]
hostname = "gateway.example"
data_dir = "data"
[[listener]]
address = "127.0.0.1:0"
[api]
address = "127.0.0.1:0"
[egress]
allow = ["127.0.0.0/8"]
[delivery]
retry = ["1h"]
breaker = 0
[journal]
always = true
[[tenant]]
name = "shop"
${keys}`;

// Keys of every role, as they are shown, and as the configuration has them.
function makeKeys() {
  const roles = { admin: "", operator: "", read: "", shop: 'tenant = "shop"\n' };
  const keys = {}, blocks = [];
  for (const [name, more] of Object.entries(roles)) {
    keys[name] = `pgk_${crypto.randomBytes(32).toString("base64url")}`;
    const digest = crypto.createHash("sha256").update(keys[name]).digest("hex");
    const role = name === "shop" ? "operator" : name;
    blocks.push(`[[api_key]]\nname = "${name}"\nrole = "${role}"\n${more}digest = "sha256:${digest}"\n`);
  }
  return { keys, text: blocks.join("") };
}

class Gateway {
  // With keys, or with none, so that this machine may do everything.
  static async start(program, { withKeys }) {
    const gateway = new Gateway();
    gateway.home = fs.mkdtempSync(path.join(os.tmpdir(), "postgate-panel-"));
    const { keys, text } = makeKeys();
    gateway.keys = withKeys ? keys : {};
    fs.writeFileSync(path.join(gateway.home, "postgate.toml"), CONFIG(withKeys ? text : ""), { mode: 0o600 });
    const log = fs.openSync(path.join(gateway.home, "stderr"), "a");
    const options = { cwd: gateway.home, stdio: ["ignore", "pipe", log] };
    gateway.child = spawn(program, ["serve", "--config", "postgate.toml"], options);
    let said = "";
    gateway.child.stdout.on("data", (chunk) => (said += chunk));
    await eventually("the gateway to listen", () => {
      if (gateway.child.exitCode !== null) throw new Error(`the gateway ended: ${gateway.log()}`);
      const [smtp, api] = [/listens on \S*?127\.0\.0\.1:(\d+)/.exec(said), /API at (\S+?)\/?\n/.exec(said)];
      if (!smtp || !api) return false;
      [gateway.smtp, gateway.origin] = [Number(smtp[1]), api[1]];
      return true;
    });
    return gateway;
  }

  log() {
    return fs.readFileSync(path.join(this.home, "stderr"), "utf8");
  }

  // What the API answers, as an admin.
  async ask(method, where, body) {
    const headers = this.keys.admin ? { Authorization: `Bearer ${this.keys.admin}` } : {};
    if (body) headers["Content-Type"] = "application/json";
    const answer = await fetch(`${this.origin}/api/v1${where}`, { method, headers, body: body && JSON.stringify(body) });
    return answer.json();
  }

  // Hands in a mail over SMTP; the id that it was given.
  async send(recipient, message) {
    const socket = net.connect(this.smtp, "127.0.0.1");
    let unread = "";
    socket.setEncoding("utf8");
    socket.on("data", (chunk) => (unread += chunk));
    let broken;
    socket.on("error", (error) => (broken = error));
    const reply = () =>
      eventually("a reply", () => {
        if (broken) throw broken;
        const whole = /^(?:\d{3}-[^\n]*\n)*(\d{3}) [^\n]*\n/.exec(unread);
        if (!whole) return false;
        unread = unread.slice(whole[0].length);
        return whole[0].trim().split("\n").pop();
      });
    const say = async (line, code) => {
      if (line !== null) socket.write(`${line}\r\n`);
      const said = await reply();
      if (!said.startsWith(code)) throw new Error(`${line}: ${said}`);
      return said;
    };
    await say(null, "220");
    await say("EHLO app.example", "250");
    await say("MAIL FROM:<app@app.example>", "250");
    await say(`RCPT TO:<${recipient}>`, "250");
    await say("DATA", "354");
    const said = await say(`${message.replace(/\r?\n/g, "\r\n").replace(/^\./gm, "..")}\r\n.`, "250");
    socket.end("QUIT\r\n");
    return said.split(" ").pop().replace(/\.$/, "");
  }

  // Hands in a mail, and waits until its post stands so.
  async post(recipient, message, state) {
    const id = await this.send(recipient, message);
    await this.stands(id, state);
    return id;
  }

  stands(id, state) {
    return eventually(`${id} to be ${state}`, async () => (await this.ask("GET", `/posts/${id}`)).state === state);
  }

  async stop() {
    const ended = new Promise((done) => this.child.once("exit", done));
    this.child.kill("SIGTERM");
    await ended;
    fs.rmSync(this.home, { recursive: true, force: true });
  }
}

module.exports = { Gateway, Receiver, eventually };
