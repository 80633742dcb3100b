"""Python's smtplib with an EmailMessage, as its documentation sends mail."""

import smtplib
import sys
from email.message import EmailMessage

host, port, sender, recipient, body, *headers = sys.argv[1:]
message = EmailMessage()
message["From"], message["To"], message["Subject"] = sender, recipient, "post"
for header in headers:
    name, value = header.split(": ", 1)
    message[name] = value
with open(body, encoding="utf-8") as text:
    message.set_content(text.read())
with smtplib.SMTP(host, int(port)) as server:
    server.send_message(message, sender, [recipient])
