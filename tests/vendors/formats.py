"""Which routes there are, who reads what comes of each, and what a reader must find."""

ALL = ["subject", "from", "to", "cc", "message_id", "text", "html", "attachments"]
ENVELOPE = ["sender", "recipient"]
SHOWN = ["subject", "text"]


class Format:
    """A route with its payload, and who reads it."""

    def __init__(self, payload, *readers, key=None, auth=None, headers=""):
        self.payload, self.readers, self.key, self.auth, self.headers = payload, readers, key, auth, headers


class Reader:
    """A program, its part in it, what it finds, and the field that it cannot do without."""

    def __init__(self, name, program, finds, needs=None, nameless=False, idless=False):
        self.name, self.program, self.finds = name, program, finds
        self.needs, self.nameless, self.idless = needs, nameless, idless


def anymail(name, needs, *more):
    return Reader(f"anymail-{name}", "python", [*ALL, *ENVELOPE, *more], needs)


FORMATS = {
    "multipart": Format("multipart", Reader("django-form", "python", [*ALL, *ENVELOPE, "stripped", "recipients"], b'name="message"')),
    "cloudmailin-multipart": Format("cloudmailin-multipart", Reader(
        "rack-cloudmailin", "ruby", [*ALL, *ENVELOPE, "stripped", "recipients"], b'name="plain"', idless=True)),
    "slack": Format("template:slack", Reader("slack-types", "node", SHOWN, b'"section"')),
    "discord": Format("template:discord", Reader("discord-types", "node", SHOWN, b'"embeds"')),
    "teams": Format("template:teams", Reader("adaptive-cards", "node", SHOWN, b'"TextBlock"')),
    "postmark": Format("postmark", anymail("postmark", b'"TextBody"', "stripped")),
    "cloudmailin": Format("cloudmailin", Reader("cloudmailin", "node", [*ALL, *ENVELOPE, "stripped", "recipients"], b'"helo_domain"')),
    "postal": Format("postal", Reader("postal-hash", "python", [*ALL, *ENVELOPE, "reply_to"], b'"rcpt_to"', idless=True), key="postal"),
    "postal-raw": Format("postal-raw", anymail("postal", b'"message"'), Reader("postal-signature", "python", []), key="postal"),
    "ses-sns": Format("ses-sns", anymail("amazon-ses", b'"Message"'), Reader("sns-validator", "node", [], b'"Timestamp"'), key="sns-1"),
    "ses-sns-2": Format("ses-sns", anymail("amazon-ses", b'"Message"'), Reader("sns-validator", "node", [], b'"MessageId"'), key="sns-2",
                        headers='{ x-amz-sns-topic-arn = "arn:aws:sns:eu-west-1:123456789012:mail" }'),
    "smtp2http": Format("smtp2http", Reader(
        "smtp2http", "go", ["subject", "cc", "message_id", "text", "html", "attachments", *ENVELOPE], b'"data"', nameless=True)),
    "action-mailbox": Format("action-mailbox", Reader("rails-relay", "ruby", ALL), auth="rails"),
    "sendgrid": Format("sendgrid", anymail("sendgrid", b'name="envelope"'), Reader("sendgrid-signature", "python", []),
                       Reader("sendgrid-eventwebhook", "node", []), key="sendgrid"),
    "sendgrid-raw": Format("sendgrid-raw", anymail("sendgrid", b'name="email"'), Reader("rails-sendgrid", "ruby", ALL), auth="rails"),
    "mailgun": Format("mailgun", anymail("mailgun", b"body-plain", "stripped"), key="mailgun"),
    "mailgun-mime": Format("mailgun-mime", anymail("mailgun", b"body-mime"), Reader("rails-mailgun", "ruby", ALL), key="mailgun"),
}

# The readers that check a signature: one octet of the body is altered, or of this header.
SIGNED = {
    "postal-hash": "x-postal-signature", "anymail-postal": "x-postal-signature",
    "postal-signature": "x-postal-signature-256", "sns-validator": None, "anymail-mailgun": None,
    "rails-mailgun": None, "sendgrid-signature": "x-twilio-email-event-webhook-signature",
    "sendgrid-eventwebhook": "x-twilio-email-event-webhook-signature",
}
