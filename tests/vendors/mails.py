"""The mails that are sent, and what every reader has to find in them."""

from email.message import EmailMessage

GIF = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")
CSV = "Größe;Menge\r\n17;ü\r\n".encode("latin-1")
PDF = b"%PDF-1.4\n" + bytes(range(256)) * 40
CASES = ["plain", "rich", "reply", "unicode", "many", "subjectless"]


def mail(case):
    """A mail and what is in it."""
    message = EmailMessage()
    message["From"] = "Ann Example <ann@example.com>"
    message["To"] = "orders@hooks.example"
    message["Date"] = "Sat, 31 Jan 2026 12:59:58 +0100"
    message["Message-ID"] = f"<{case}@example.com>"
    if case != "subjectless":
        message["Subject"] = f"Order 17, {case}"
    BUILD[case](message)
    return message, expected(message)


def plain(message):
    message.set_content("Hello,\n\none teapot, please.\n\nAnn\n")


def rich(message):
    message.set_content("See the picture.\n")
    message.add_alternative('<p>See <img src="cid:logo@example.com"> &amp; "more".</p>\n', subtype="html")
    message.get_payload()[1].add_related(GIF, "image", "gif", cid="<logo@example.com>", filename="logo.gif",
                                         disposition="inline")
    message.add_attachment(PDF, "application", "pdf", filename="Bericht März 2026 (v1).pdf")
    message.add_attachment(CSV, "text", "csv", filename="a, b; c.csv")


def reply(message):
    message["In-Reply-To"] = "<first@example.com>"
    message["References"] = "<zero@example.com> <first@example.com>"
    message.set_content("Yes, two.\n\nOn Mon, 26 Jan 2026 at 12:00, Shop <shop@example.com> wrote:\n> One or two?\n>\n> Shop\n")


def unicode(message):
    message.replace_header("Subject", "Grüße aus Köln – 注文 ☕")
    message.replace_header("From", "Jörg Müller <joerg@example.com>")
    message.set_content("Grüße!\nEin Tee für 5 €, ☕ und 注文.\n", cte="quoted-printable")


def many(message):
    message.replace_header("To", '"Orders, all of them" <orders@hooks.example>, Bob <bob@example.com>')
    message["Cc"] = "carol@example.com, Dave <dave@example.com>"
    message["Reply-To"] = "replies@example.com"
    message.set_content("To all of you.\n")


BUILD = {"plain": plain, "rich": rich, "reply": reply, "unicode": unicode, "many": many, "subjectless": plain}


def expected(message):
    """What is in a mail, as readers tell it."""
    def addresses(name):
        return [address.addr_spec for value in message.get_all(name, []) for address in value.addresses]
    text = message.get_body(("plain",)).get_content()
    html = message.get_body(("html",))
    parts = [part for part in message.walk() if part.get_filename()]
    return {
        "subject": message["Subject"] or "",
        "from": addresses("From"),
        "to": addresses("To"),
        "cc": addresses("Cc"),
        "reply_to": message.get_all("Reply-To"),
        "message_id": message["Message-ID"].strip("<>"),
        "text": text.rstrip(),
        "html": html.get_content().rstrip() if html else "",
        "stripped": text.split("\n\nOn Mon")[0].rstrip(),
        "attachments": sorted(
            [part.get_filename(), part.get_content_type(), (part["Content-ID"] or "").strip("<>"),
             part.get_payload(decode=True).hex()]
            for part in parts),
    }
