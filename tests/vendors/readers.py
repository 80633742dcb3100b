"""Reads requests as receivers in Python do: django-anymail's inbound views, Django's forms, the
signatures with what sendgrid and cryptography offer. Requests come as JSON on
standard input; what was found, or why nothing was, goes out the same way."""

import base64
import hashlib
import json
import sys
from email.utils import getaddresses
from pathlib import Path

import django
from django.conf import settings
from django.test import RequestFactory

KEYS = Path(__file__).parents[1] / "verifiers/keys"


def public_key(name):
    """A public key in PEM without its first and last line."""
    return "".join((KEYS / name).read_text().split("-----")[2].split())


settings.configure(
    ALLOWED_HOSTS=["*"],
    DATA_UPLOAD_MAX_MEMORY_SIZE=None,
    ANYMAIL={"MAILGUN_WEBHOOK_SIGNING_KEY": "mailgun-secret", "POSTAL_WEBHOOK_KEY": public_key("rsa.public.pem")},
)
django.setup()

from anymail.signals import inbound
from anymail.webhooks.amazon_ses import AmazonSESInboundWebhookView
from anymail.webhooks.mailgun import MailgunInboundWebhookView
from anymail.webhooks.postal import PostalInboundWebhookView
from anymail.webhooks.postmark import PostmarkInboundWebhookView
from anymail.webhooks.sendgrid import SendGridInboundWebhookView
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

EVENTS = []


def keep(sender, event, esp_name, **_):
    EVENTS.append(event)


inbound.connect(keep)


def django_request(request):
    """The request as Django gives it to a view."""
    body = base64.b64decode(request["body"])
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in request["headers"].items()}
    return RequestFactory().generic("POST", request["target"], body, request["headers"]["content-type"], **headers)


def view(view):
    def read(request):
        EVENTS.clear()
        response = view.as_view()(django_request(request))
        assert response.status_code == 200, response
        message = EVENTS[0].message
        return {
            "subject": message.subject or "",
            "from": [message.from_email.addr_spec],
            "to": [address.addr_spec for address in message.to],
            "cc": [address.addr_spec for address in message.cc],
            "message_id": (message["Message-ID"] or "").strip("<>"),
            "text": (message.text or "").rstrip(),
            "html": (message.html or "").rstrip(),
            "stripped": message.stripped_text,
            "sender": message.envelope_sender,
            "recipient": message.envelope_recipient,
            "attachments": [
                [part.get_filename(), part.get_content_type(), (part["Content-ID"] or "").strip("<>"),
                 part.get_content_bytes().hex()]
                for part in message.attachments + message.inlines],
        }
    return read


def django_form(request):
    """The form as Django gives it to a view: the document, and the files that it speaks of."""
    form = django_request(request)
    mail = json.loads(form.POST["message"])
    files = [form.FILES[f"attachment-{number}"] for number, _ in enumerate(mail["attachments"], 1)]
    contents = [file.read() for file in files]
    for told, file, content in zip(mail["attachments"], files, contents):
        assert told["content"] is None and told["size"] == len(content), told
        assert told["sha256"] == hashlib.sha256(content).hexdigest(), told
        assert (told["filename"], told["content_type"]) == (file.name, file.content_type), told
    return {
        "subject": mail["subject"] or "",
        **{name: [mailbox["address"] for mailbox in mail[name]] for name in ("from", "to", "cc")},
        "message_id": mail["message_id"].strip("<>"),
        "text": mail["text"].rstrip(),
        "html": (mail["html"] or "").rstrip(),
        "stripped": mail["text_reply"],
        "sender": mail["envelope"]["from"],
        "recipient": mail["envelope"]["to"],
        "recipients": mail["envelope"]["recipients"],
        "attachments": [
            [told["filename"], told["content_type"], told["content_id"] or "", content.hex()]
            for told, content in zip(mail["attachments"], contents)],
    }


def postal_hash(request):
    """Postal's format hash, by the names of its documentation."""
    postal_signature(request)
    body = json.loads(base64.b64decode(request["body"]))
    assert body["attachment_quantity"] == len(body["attachments"]) and body["spam_status"] == "NotChecked"
    return {
        "subject": body["subject"] or "",
        "from": [address for _, address in getaddresses([body["from"]])],
        "to": [address for _, address in getaddresses([body["to"]])],
        "cc": [address for _, address in getaddresses([body["cc"] or ""]) if address],
        "message_id": body["message_id"],
        "reply_to": body["reply_to"],
        "text": (body["plain_body"] or "").rstrip(),
        "html": (body["html_body"] or "").rstrip(),
        "sender": body["mail_from"],
        "recipient": body["rcpt_to"],
        "attachments": [
            [file["filename"], file["content_type"], None, base64.b64decode(file["data"]).hex()]
            for file in body["attachments"]],
    }


def postal_signature(request):
    """Anymail checks the one signature, cryptography the other."""
    PostalInboundWebhookView().validate_request(django_request(request))
    public = serialization.load_pem_public_key((KEYS / "rsa.public.pem").read_bytes())
    signature = base64.b64decode(request["headers"]["x-postal-signature-256"])
    public.verify(signature, base64.b64decode(request["body"]), padding.PKCS1v15(), hashes.SHA256())
    assert request["headers"]["x-postal-signature-kid"] == "postal"
    return {}


def sendgrid_signature(request):
    """SendGrid's own library; it takes text alone."""
    from sendgrid.helpers.eventwebhook import EventWebhook

    webhook = EventWebhook(public_key("p256.public.pem"))
    headers = request["headers"]
    signature = headers["x-twilio-email-event-webhook-signature"]
    timestamp = headers["x-twilio-email-event-webhook-timestamp"]
    assert webhook.verify_signature(base64.b64decode(request["body"]).decode(), signature, timestamp)
    return {}


READERS = {
    "anymail-amazon-ses": view(AmazonSESInboundWebhookView),
    "anymail-mailgun": view(MailgunInboundWebhookView),
    "anymail-postal": view(PostalInboundWebhookView),
    "anymail-postmark": view(PostmarkInboundWebhookView),
    "anymail-sendgrid": view(SendGridInboundWebhookView),
    "django-form": django_form,
    "postal-hash": postal_hash,
    "postal-signature": postal_signature,
    "sendgrid-signature": sendgrid_signature,
}


def answer(request):
    try:
        return READERS[request["reader"]](request)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300]}


json.dump([answer(request) for request in json.load(sys.stdin)], sys.stdout)
