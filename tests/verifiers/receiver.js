// As receiver.py, with packages for Node.

const crypto = require("crypto");
const fs = require("fs");
const http = require("http");
const path = require("path");
const { Webhook } = require("standardwebhooks");
const { httpbis, createVerifier } = require("http-message-signatures");
const httpSignature = require("http-signature");

const keys = path.join(__dirname, "keys");
const publicRsa = fs.readFileSync(path.join(keys, "rsa.public.pem"), "ascii");
const publicEd25519 = fs.readFileSync(path.join(keys, "ed25519.public.pem"), "ascii");
// The public half of the first key of RFC 8032 section 7.1, as DER.
const v1a = Buffer.from("302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "hex");

function insist(condition, why) {
  if (!condition) throw new Error(why);
}

const checks = {
  "standard-webhooks": (request, body) => {
    new Webhook("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").verify(body, request.headers);
  },
  "standard-webhooks-ed25519": (request, body) => {
    const head = `${request.headers["webhook-id"]}.${request.headers["webhook-timestamp"]}.`;
    const [version, signature] = request.headers["webhook-signature"].split(",");
    const key = crypto.createPublicKey({ key: v1a, format: "der", type: "spki" });
    const text = Buffer.concat([Buffer.from(head), body]);
    insist(version === "v1a" && crypto.verify(null, text, key, Buffer.from(signature, "base64")), "forged");
  },
  "hmac-hex": (request, body) => {
    const expected = crypto.createHmac("sha256", "It's a secret").update(body).digest("hex");
    insist(request.headers["x-mailtura-signature"] === expected, "forged");
  },
  cavage: (request, body) => {
    const digest = crypto.createHash("sha256").update(body).digest("base64");
    insist(request.headers.digest === `SHA-256=${digest}`, "another body");
    const headers = ["(request-target)", "host", "date", "content-length", "content-type", "digest", "x-nonce"];
    const parsed = httpSignature.parseRequest(request, { headers });
    insist(httpSignature.verifySignature(parsed, publicRsa), "forged");
  },
  rfc9421: async (request, body) => {
    const digest = crypto.createHash("sha256").update(body).digest("base64");
    insist(request.headers["content-digest"] === `sha-256=:${digest}:`, "another body");
    const url = `http://${request.headers.host}${request.url}`;
    const message = { method: request.method, url, headers: request.headers };
    const verify = createVerifier(publicEd25519, "ed25519");
    const known = { ed25519: { id: "ed25519", algs: ["ed25519"], verify } };
    const requiredFields = ["@method", "@authority", "@path", "@query", "content-digest", "content-type"];
    const keyLookup = async ({ keyid }) => known[keyid] ?? null;
    insist(await httpbis.verifyMessage({ keyLookup, requiredFields, tolerance: 5, maxAge: 60 }, message), "forged");
  },
  "secret-parameter": (request, body) => {
    insist(new URLSearchParams(body.toString()).get("SecretKey") === "a secret & more", "forged");
  },
};

const server = http.createServer((request, response) => {
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", async () => {
    const [, check, key] = request.url.split("?")[0].split("/");
    let [status, why] = [200, ""];
    try {
      await checks[check](request, Buffer.concat(parts));
    } catch (error) {
      [status, why] = [403, String(error)];
    }
    console.log(JSON.stringify({ check, key, status, why }));
    response.writeHead(status, { "Content-Length": 0 });
    response.end();
  });
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
