"""Relays in front of the gateway: private instances of Postfix and Exim.

They take mail for anybody on a port of their own, hand all of it to the gateway,
and drop the bounces. What they gave up is read from their logs.
"""

import re
import shutil

from harness.cases import SENDER_DOMAIN
from harness.world import free_port, listens, wait_for

POSTFIX_DAEMONS = "/usr/lib/postfix/sbin"
POSTFIX_SERVICES = """\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
smtp unix - - n - - smtp
lmtp unix - - n - - lmtp
postlog unix-dgram n - n - 1 postlogd
"""


class Relay:
    """A relay: its port, its log, and how that tells what was taken and given up."""

    def __init__(self, world, name, log, taken, given_up):
        self.root = world.fresh(name)
        self.port = free_port()
        self.log = self.root / log
        self.taken, self.given_up = re.compile(taken), re.compile(given_up)

    def told(self):
        """The lines of its log about each mail, by reverse-path."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        senders, told = {}, {}
        for line in lines:
            if taken := self.taken.search(line):
                senders[taken["id"]] = taken["sender"]
            for number in senders.keys() & set(re.findall(r"[\w-]+", line)):
                told.setdefault(senders[number], []).append(line)
        return told

    def has_given_up(self, lines):
        return any(self.given_up.search(line) for line in lines)


def postfix(world, client, gateway):
    relay = Relay(world, client["name"].replace(" ", "-"), "log",
                  r": (?P<id>\w+): from=<(?P<sender>[^>]*)>", r"status=bounced")
    root, protocol = relay.root, client["listener"]
    for name in ("etc", "data", "spool"):
        (root / name).mkdir()
    (root / "etc/main.cf").write_text(f"""
compatibility_level = 3.6
queue_directory = {root}/spool
data_directory = {root}/data
command_directory = /usr/sbin
daemon_directory = {POSTFIX_DAEMONS}
maillog_file = {relay.log}
maillog_file_prefixes = {root}
myhostname = relay.example
smtpd_peername_lookup = no
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
default_transport = {protocol}:inet:127.0.0.1:{gateway.ports[protocol]}
transport_maps = inline:{{ {{ {SENDER_DOMAIN} = discard: }} }}
""".replace("= smtp:inet:127.0.0.1", "= smtp:[127.0.0.1]"))
    (root / "etc/master.cf").write_text(
        f"127.0.0.1:{relay.port} inet n - n - - smtpd\n{POSTFIX_SERVICES}")
    shutil.chown(root / "data", "postfix")
    queues = "active bounce corrupt defer deferred flush hold incoming private saved trace"
    places = [(name, 0o700, None) for name in queues.split()]
    for name, mode, group in [*places, ("public", 0o710, "postdrop"), ("maildrop", 0o730, "postdrop")]:
        path = root / "spool" / name
        path.mkdir()
        path.chmod(mode)
        shutil.chown(path, "postfix", group)
    (root / "spool/pid").mkdir()
    process = world.run(root, f"{POSTFIX_DAEMONS}/master", "-c", root / "etc", "-d")
    wait_for(lambda: listens(relay.port), "Postfix listens", process)
    return relay


def exim(world, client, gateway):
    relay = Relay(world, client["name"].replace(" ", "-"), "mainlog",
                  r" (?P<id>\S+-\S+) <= (?P<sender>\S+) ", r" \*\* ")
    root, program = relay.root, client["files"] / "usr/sbin/exim4"
    (root / "spool").mkdir()
    # The line length is refused at the door, as in Debian's configuration.
    (root / "exim.conf").write_text(f"""
exim_path = {program}
spool_directory = {root}/spool
log_file_path = {root}/%slog
pid_file_path = {root}/exim.pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {relay.port}
primary_hostname = relay.example
keep_environment =
deliver_drop_privilege
smtp_accept_max_per_host = 0
host_lookup =
rfc1413_query_timeout = 0s
acl_smtp_rcpt = accept
acl_smtp_data = line_length
begin acl
line_length:
  deny message = maximum allowed line length is 998 octets
       condition = ${{if > {{$max_received_linelength}}{{998}}}}
  accept
begin routers
bounces:
  driver = redirect
  domains = {SENDER_DOMAIN}
  data = :blackhole:
gateway:
  driver = manualroute
  route_list = * 127.0.0.1
  transport = gateway
  self = send
begin transports
gateway:
  driver = smtp
  protocol = {client["listener"]}
  port = {gateway.ports[client["listener"]]}
""")
    # Exim gives up root at once, because this is not the configuration it was built with.
    for path in (root, root / "spool"):
        shutil.chown(path, "Debian-exim", "Debian-exim")
    process = world.run(root, program, "-C", root / "exim.conf", "-bdf", "-q1m")
    wait_for(lambda: listens(relay.port), "Exim listens", process)
    return relay


RELAYS = {"postfix": postfix, "exim": exim}

