"""aiosmtplib with an EmailMessage."""

import asyncio
import sys
from email.message import EmailMessage

import aiosmtplib

host, port, sender, recipient, body, *headers = sys.argv[1:]
message = EmailMessage()
message["From"], message["To"], message["Subject"] = sender, recipient, "post"
for header in headers:
    name, value = header.split(": ", 1)
    message[name] = value
with open(body, encoding="utf-8") as text:
    message.set_content(text.read())
asyncio.run(aiosmtplib.send(message, sender=sender, recipients=[recipient], hostname=host, port=int(port)))
