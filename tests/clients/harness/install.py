"""What the clients need: Debian's packages, programs built from their sources.

A client that cannot be had is left out, with the reason.
"""

import os
import shutil
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.cases import CLIENTS

# Several clients may want the same package.
UNPACKING = threading.Lock()
# Debian starts the services it installs, unless this file says no.
POLICY = Path("/usr/sbin/policy-rc.d")


class Missing(Exception):
    """A client that cannot be had here."""


def install(clients):
    """Installs what is missing, as root on Debian; elsewhere what is there has to do."""
    missing = sorted({package for client in clients for package in client.get("packages", []) if not version(package)})
    if missing and os.getuid() == 0 and shutil.which("apt-get"):
        print(f"installing {' '.join(missing)}", flush=True)
        with services_stay_down():
            quietly("apt-get", "update")
            # All at once, or else each by itself, so that one does not keep the others away.
            if not apt_install(*missing) and len(missing) > 1:
                for package in missing:
                    apt_install(package)


def apt_install(*packages):
    return quietly("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)


def quietly(*command):
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        print(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}", flush=True)
    return done.returncode == 0


@contextmanager
def services_stay_down():
    is_ours = not POLICY.exists()
    if is_ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if is_ours:
            POLICY.unlink()


def version(package):
    """The version of a package that is installed, without its epoch."""
    with suppress(FileNotFoundError):
        query = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Version}", package]
        status = subprocess.run(query, capture_output=True, text=True).stdout.split()
        if status[:1] == ["installed"]:
            return status[1].rpartition(":")[2]
    return None


def prepare(client, places):
    """Makes a client ready to run and fills in its places; raises Missing."""
    cache = places["cache"]
    versions = [version(package) for package in client.get("packages", [])]
    if not all(versions):
        raise Missing(f"not all of {' '.join(client['packages'])} are installed")
    client["installed"] = versions[0] if versions else ""
    if "relay" in client and os.getuid() != 0:
        raise Missing("it needs root")
    if "unpack" in client:
        with UNPACKING:
            client["files"] = unpack(client["unpack"], cache)
        client["installed"] = (client["files"] / "version").read_text().strip()
    client.setdefault("listener", "smtp")
    environment = {name: value.format_map(places) for name, value in client.get("environment", {}).items()}
    # Nobody's settings and no machine's language.
    bare = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    client["environment"] = {**bare, **environment}
    client["run"] = [word.format_map(places) for word in client["run"]]
    if "build" in client:
        command = [word.format_map(places) for word in client["build"]]
        build(command, {**os.environ, **environment})
    if not shutil.which(client["run"][0]):
        raise Missing(f"there is no {client['run'][0]}")


def build(command, environment):
    try:
        done = subprocess.run(command, cwd=CLIENTS, env=environment, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise Missing(str(error)) from None
    if done.returncode:
        raise Missing(f"it cannot be built: {done.stderr[-1000:]}")


def unpack(wanted, cache):
    """A directory with the files of a package, and `version`; makes the user it expects."""
    package = wanted["package"]
    root = cache / package
    if not root.exists():
        archives = cache / f"{package}.download"
        shutil.rmtree(archives, ignore_errors=True)
        archives.mkdir(parents=True)
        # apt-get writes to where it is.
        done = subprocess.run(["apt-get", "download", "-qq", package], cwd=archives, capture_output=True, text=True)
        if done.returncode:
            raise Missing(f"{package} cannot be downloaded: {done.stderr[-500:]}")
        unpacked = archives / "files"
        for archive in archives.glob("*.deb"):
            subprocess.run(["dpkg-deb", "--extract", archive, unpacked], check=True)
            with (unpacked / "version").open("w") as file:
                subprocess.run(["dpkg-deb", "--field", archive, "Version"], stdout=file, check=True)
        # Last, so that it is there only when it is whole.
        unpacked.rename(root)
    user = wanted["user"]
    if subprocess.run(["getent", "passwd", user], capture_output=True).returncode:
        quietly("useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", user)
    return root
