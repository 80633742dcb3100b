"""A receiver that verifies requests with packages of others: 200 for what is
genuine, 403 for what is not. The first segment of the path says what to check."""

import base64
import hashlib
import hmac
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import http_message_signatures
import httpsig
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KEYS = Path(__file__).parent / "keys"
WEBHOOK = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# The public half of the first key of RFC 8032 section 7.1.
V1A = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


class Message:
    """A request as http_message_signatures wants it."""

    def __init__(self, request):
        self.method = request.command
        self.url = f"http://{request.headers['Host']}{request.path}"
        self.headers = request.headers


def standard_webhooks(request, body):
    headers = {name.lower(): value for name, value in request.headers.items()}
    standardwebhooks.Webhook(WEBHOOK).verify(body, headers)


def standard_webhooks_ed25519(request, body):
    head = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}."
    version, signature = request.headers["webhook-signature"].split(",")
    assert version == "v1a"
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(V1A))
    key.verify(base64.b64decode(signature), head.encode() + body)


def hmac_hex(request, body):
    expected = hmac.new(b"It's a secret", body, hashlib.sha256).hexdigest()
    assert request.headers["X-Mailtura-Signature"] == expected


def cavage(request, body):
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert request.headers["Digest"] == f"SHA-256={digest}"
    required = ["(request-target)", "host", "date", "content-length", "content-type", "digest", "x-nonce"]
    public = (KEYS / "rsa.public.pem").read_bytes()
    headers = dict(request.headers.items())
    verifier = httpsig.HeaderVerifier(
        headers, public, required, method=request.command, path=request.path, sign_header="signature"
    )
    assert verifier.verify()


def rfc9421(request, body):
    public = (KEYS / "ed25519.public.pem").read_bytes()
    keys = http_message_signatures.MappingKeyResolver(
        public_keys={"ed25519": public, "older": public}, private_keys={}
    )
    verifier = http_message_signatures.HTTPMessageVerifier(
        signature_algorithm=http_message_signatures.algorithms.ED25519, key_resolver=keys
    )
    covered = ("@method", "@authority", "@path", "@query", "content-digest", "content-type", "postgate-id")
    assert verifier.verify(Message(request), expect_tag="postgate", require_components=covered, body=body)


def secret_parameter(request, body):
    assert parse_qs(body.decode())["SecretKey"] == ["a secret & more"]


CHECKS = {
    "standard-webhooks": standard_webhooks,
    "standard-webhooks-ed25519": standard_webhooks_ed25519,
    "hmac-hex": hmac_hex,
    "cavage": cavage,
    "rfc9421": rfc9421,
    "secret-parameter": secret_parameter,
}


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _, check, key = self.path.partition("?")[0].split("/")
        try:
            CHECKS[check](self, body)
            status, why = 200, ""
        except Exception as error:
            status, why = 403, f"{type(error).__name__}: {error}"
        print(json.dumps({"check": check, "key": key, "status": status, "why": why}), flush=True)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_address[1], flush=True)
sys.stdout.flush()
server.serve_forever()
