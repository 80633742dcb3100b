"""What people write with aiosmtpd and an HTTP client: each message is posted before it is answered.
Nothing is kept, so a receiver that is away is the sender's trouble.

    python3 benches/others_aiosmtpd.py PORT URL"""

import asyncio
import sys

import aiohttp
from aiosmtpd.smtp import SMTP


class Post:
    def __init__(self, http, url):
        self.http, self.url = http, url

    async def handle_DATA(self, server, session, envelope):
        async with self.http.post(self.url, data=envelope.content) as answer:
            return "250 OK" if answer.ok else "451 the receiver did not take it"


async def main(port, url):
    connector = aiohttp.TCPConnector(limit=20)
    async with aiohttp.ClientSession(connector=connector) as http:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: SMTP(Post(http, url), loop=loop), "127.0.0.1", port)
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
