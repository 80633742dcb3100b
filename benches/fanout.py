"""What telling webhooks of events costs; benches/measure.py puts it into the report."""

import http.client
import json
import time

from front import OVER_HTTP
from servers import Broken, await_posts, own_time, settle

BATCH = 500


def call(connection, path, body):
    connection.request("POST", f"/api/v1{path}", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    if response.status not in (201, 202):
        raise Broken(f"POST {path} is answered {response.status} {answer[:200]}")


def fan_out(bench, webhooks, batches):
    """Events that are told in a second, each as often as there are webhooks, from the first that is
    published until the last batch is taken; processor time of one, in microseconds."""
    with bench.http_sink() as sink, bench.gateway(sink.url, "off", extra=OVER_HTTP) as process:
        connection = http.client.HTTPConnection(process.stdout.readline().split("API at http://")[1].split("/")[0])
        for number in range(webhooks):
            call(connection, "/webhooks", {
                "url": f"{sink.url}{number}", "events": ["*"], "verify": "skip", "format": "json",
                "batch": {"max_events": BATCH, "max_wait": "1h"}})
        arrived = await_posts(sink.url, 0)
        settle(process.pid)
        before, begun = own_time(process.pid), time.monotonic()
        for batch in range(batches):
            call(connection, "/events", [
                {"type": "order.paid", "data": {"order": batch * BATCH + number, "customer": "c" * 200}}
                for number in range(BATCH)])
        await_posts(sink.url, arrived + webhooks * batches)
        seconds = time.monotonic() - begun
        settle(process.pid)
        told = webhooks * batches * BATCH
        return told / seconds, (own_time(process.pid) - before) * 1e6 / told
