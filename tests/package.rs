//! The Debian package, made of this build and taken through its life by dpkg: installed,
//! upgraded, removed and purged, with mail that waits meanwhile.
//!
//! The machine of it is this one seen through an overlay in memory, with a network of its
//! own: what is done there is over when the test is. It has no systemd; what the package
//! asks of it is written down, and the gateway is run as the unit says. It needs root and
//! Debian's tools, and is left out without them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use support::DEADLINE;
use support::program::{Gateway, eventually};
use support::tools::{self, is_there, leave_out};
use tempfile::TempDir;

/// Where the unit has it look, and where it keeps what it has.
const CONFIG: &str = "/etc/postgate/postgate.toml";
const DATA: &str = "/var/lib/postgate";
/// Mail for it waits: nobody receives there.
const ROUTE: &str =
    "\n[[route]]\nrecipient = \"orders@hooks.example\"\nurl = \"http://127.0.0.1:9/orders\"\n";

/// Whether there is all that the test needs.
fn has_tools() -> bool {
    if !rustix::process::geteuid().is_root() {
        leave_out("only root may make a machine within this one");
        return false;
    }
    let tools = ["python3", "dpkg-deb", "dpkg-shlibdeps", "deb-systemd-helper", "adduser", "unshare", "ip"];
    tools.iter().all(|tool| is_there(tool))
}

/// A package of this build.
fn package(revision: &str) -> PathBuf {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/debian/build");
    let options = ["--fast", "--revision", revision, "--program", env!("CARGO_BIN_EXE_postgate")];
    let built = Command::new(build).args(options).output().unwrap();
    assert!(built.status.success() && built.stderr.is_empty(), "{built:?}");
    PathBuf::from(text(&built).trim())
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What `dpkg-deb` tells of a package.
fn told(what: &[&str], package: &Path) -> String {
    let output = Command::new("dpkg-deb").args(what).arg(package).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    text(&output)
}

/// Another machine: this one's files, of which none is changed, and no systemd.
struct Machine {
    holder: Child,
    directory: TempDir,
}

/// Makes the machine in the directory that is its argument, and keeps it until its input ends.
const BOOT: &str = r#"set -e
    ip link set lo up
    mount -t tmpfs -o mode=755 tmpfs "$0"
    mkdir "$0/above" "$0/work" "$0/root"
    mount -t overlay -o "lowerdir=/,upperdir=$0/above,workdir=$0/work" overlay "$0/root"
    for place in proc dev sys; do mount --rbind "/$place" "$0/root/$place"; done
    mount -t tmpfs -o mode=755 tmpfs "$0/root/run"
    mkdir "$0/root/run/postgate-packages"
    echo ready
    exec cat"#;

/// Writes down what it is asked, and knows what is enabled and what runs.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$@" >> /run/asked
for unit; do
    case "$*" in
        *start\ *) touch "/run/active-$unit" ;;
        *stop\ *) rm -f "/run/active-$unit" ;;
    esac
done
case "$*" in
    *is-enabled*) test -L /etc/systemd/system/*.wants/"$unit" && echo enabled ;;
    *is-active*) test -e "/run/active-$unit" ;;
esac
"#;

impl Machine {
    /// Nothing where this one lets nobody mount anything.
    fn boot() -> Option<Machine> {
        let directory = TempDir::new().unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--net", "sh", "-c", BOOT]).arg(directory.path());
        let mut holder = unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "ready\n" {
            leave_out(format!("no machine can be made here: {}", holder.wait().unwrap()));
            return None;
        }
        Some(Machine { holder, directory })
    }

    /// A program there, not yet started.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        let machine = self.holder.id().to_string();
        command.args(["--mount", "--net", "--target", &machine, "chroot"]);
        command.arg(self.directory.path().join("root")).arg(program);
        command.env("LC_ALL", "C").env("DEBIAN_FRONTEND", "noninteractive");
        command.env_remove("POSTGATE_CONFIG").stdin(Stdio::null());
        command
    }

    /// Runs a line of a shell to its end; what it printed, if it went well.
    fn try_run(&self, line: &str) -> Result<String, String> {
        let output = self.command("sh").args(["-c", line]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        if output.status.success() { Ok(text(&output)) } else { Err(format!("{line}: {error}")) }
    }

    fn run(&self, line: &str) -> String {
        self.try_run(line).unwrap()
    }

    /// A program there.
    fn write(&self, path: &str, content: &str) {
        let mut tee = self.command("tee");
        let mut child = tee.arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        self.run(&format!("chmod 755 {path}"));
    }

    /// Installs a package, or another version of it.
    fn install(&self, package: &Path) {
        let octets = fs::File::open(package).unwrap();
        let mut unpack = self.command("sh");
        let line = "cat > /run/package.deb && dpkg --force-confold --install /run/package.deb";
        let output = unpack.args(["-c", line]).stdin(octets).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// What its systemd was told to do since it was looked at last, options left out.
    fn asked(&self) -> Vec<String> {
        let asked = self.run("cat /run/asked; : > /run/asked");
        let words =
            |line: &str| line.split(' ').filter(|word| !word.starts_with("--")).collect::<Vec<_>>().join(" ");
        let is_deed =
            |line: &String| ["start ", "restart ", "stop "].iter().any(|verb| line.starts_with(verb));
        asked.lines().map(words).filter(is_deed).collect()
    }

    /// Runs the gateway as the unit says, until it takes mail.
    fn serve(&self) -> Gateway {
        let unit = self.run("cat /usr/lib/systemd/system/postgate.service");
        let value = |key: &str| {
            let mut values = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            values.next().unwrap().to_owned()
        };
        let (umask, place, start) = (value("UMask"), value("WorkingDirectory"), value("ExecStart"));
        let mut command = self.command("setpriv");
        command.args(["--reuid", &value("User"), "--regid", &value("User"), "--clear-groups", "sh", "-c"]);
        command.arg(format!("umask {umask}; cd {place}; exec {start}"));
        let gateway = Gateway::listening(Gateway::spawn(&mut command, self.directory.path()));
        assert_eq!(gateway.smtp, "127.0.0.1:2525".parse().unwrap());
        gateway
    }

    /// The states of all posts, as the installed program tells them.
    fn states(&self) -> Vec<String> {
        let listed: serde_json::Value =
            serde_json::from_str(&self.run("postgate queue list --json")).unwrap();
        let posts = listed["posts"].as_array().unwrap();
        posts.iter().map(|post| post["state"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Its namespaces end with it, and what is in them.
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

/// A package has everything in its place, and says what it needs.
fn look_into(package: &Path) {
    let name = package.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(concat!("postgate_", env!("CARGO_PKG_VERSION"), "-1_")), "{name}");
    let control = told(&["--field"], package);
    let depends = control.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap();
    // The C library, and nothing that a plain machine has not.
    let named: Vec<_> = depends.split(", ").map(|named| named.split(' ').next().unwrap()).collect();
    assert_eq!(named, ["libc6", "libgcc-s1", "adduser"], "{depends}");
    let contents = told(&["--contents"], package);
    for (mode, path) in [
        ("-rwxr-xr-x", "usr/bin/postgate"),
        ("drwxr-xr-x", "usr/bin/"),
        ("-rw-r--r--", "etc/postgate/postgate.toml"),
        ("-rw-r--r--", "usr/lib/systemd/system/postgate.service"),
        ("-rw-r--r--", "usr/lib/systemd/system/postgate.socket"),
        ("-rw-r--r--", "usr/share/doc/postgate/changelog.Debian.gz"),
        ("-rw-r--r--", "usr/share/man/man1/postgate-queue-list.1.gz"),
        ("-rw-r--r--", "usr/share/bash-completion/completions/postgate"),
        ("-rw-r--r--", "usr/share/zsh/vendor-completions/_postgate"),
        ("-rw-r--r--", "usr/share/fish/vendor_completions.d/postgate.fish"),
    ] {
        let begin = format!("{mode} root/root ");
        let is_there = |line: &str| line.starts_with(&begin) && line.ends_with(&format!(" ./{path}"));
        assert!(contents.lines().any(is_there), "{mode} {path} in {contents}");
    }
    // Who holds rights in what is built in, in their own words.
    let copyright = Command::new("sh").args(["-c", COPYRIGHT]).arg(package).output().unwrap();
    let copyright = text(&copyright);
    for named in ["Postgate is copyright", "\n  tokio ", "Copyright (c) Tokio Contributors", "htmx"] {
        assert!(copyright.contains(named), "{named} in {copyright}");
    }
}

/// What Debian's own checker finds: nobody has said yet where the maintainers are reached,
/// Debian itself has not been asked to take it, and what is packed fast is not compressed.
const FOUND: [&str; 5] = [
    "bogus-mail-host",
    "bogus-mail-host-in-debian-changelog",
    "initial-upload-closes-no-bugs",
    "uses-no-compression-for-control-tarball",
    "uses-no-compression-for-data-tarball",
];

/// Debian's own checker finds in a package what it has to, and nothing else.
fn have_checked(package: &Path) {
    let Some(checked) = tools::output(Command::new("lintian").arg("--allow-root").arg(package)) else {
        return;
    };
    let printed = text(&checked);
    let found: BTreeSet<_> = printed.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(found, BTreeSet::from(FOUND), "{printed}");
}

/// Prints that file of a package.
const COPYRIGHT: &str = r#"dpkg-deb --fsys-tarfile "$0" | tar -xO ./usr/share/doc/postgate/copyright"#;

#[test]
fn what_waits_and_what_was_configured_outlive_an_upgrade_and_end_with_a_purge() {
    if !has_tools() {
        return;
    }
    let first = package("1");
    look_into(&first);
    have_checked(&first);
    let Some(machine) = Machine::boot() else { return };
    machine.run("test ! -e /run/systemd/system");
    machine.install(&first);
    let owned = machine.run(&format!("stat -c '%a %U:%G' {DATA} /etc/postgate {CONFIG}"));
    assert_eq!(owned, "700 postgate:postgate\n700 postgate:postgate\n600 postgate:postgate\n");
    assert_eq!(machine.run(&format!("postgate check --config {CONFIG}")), format!("{CONFIG}: good\n"));
    let wanted = "/etc/systemd/system/multi-user.target.wants/postgate.service";
    machine.run(&format!("test -L {wanted}"));

    machine.run(&format!("cat >> {CONFIG} <<'END'{ROUTE}END"));
    let mut gateway = machine.serve();
    machine.run("printf 'Subject: x\\n\\nhello\\n' | postgate send --to orders@hooks.example");
    let waits =
        || eventually("a post that waits", DEADLINE, || (machine.states() == ["deferred"]).then_some(()));
    waits();
    assert_eq!(gateway.end("-TERM"), 0);

    // From here on there is somebody to ask for starts and stops.
    machine.write("/usr/bin/systemctl", SYSTEMCTL);
    machine.run("mkdir -p /run/systemd/system; : > /run/asked; rm -f /usr/sbin/policy-rc.d");
    let second = package("2");
    machine.run("systemctl start postgate.service; : > /run/asked");
    machine.install(&second);
    assert_eq!(machine.asked(), ["restart postgate.service"]);
    assert!(machine.run("dpkg-query --show postgate").ends_with("-2\n"));
    assert!(machine.run(&format!("cat {CONFIG}")).ends_with(ROUTE));
    let mut gateway = machine.serve();
    waits();
    assert_eq!(gateway.end("-TERM"), 0);

    // Somebody wants the socket, as systemctl enable --now has it.
    let sockets = "/etc/systemd/system/sockets.target.wants";
    machine.run(&format!("mkdir -p {sockets}; ln -s /usr/lib/systemd/system/postgate.socket {sockets}"));
    machine.run("dpkg --remove postgate");
    assert_eq!(machine.asked(), ["stop postgate.socket postgate.service"]);
    assert!(machine.try_run("command -v postgate").is_err());
    machine.run(&format!("test -s {CONFIG} && test -d {DATA}/spool"));
    machine.install(&second);
    assert_eq!(machine.asked(), ["start postgate.socket", "restart postgate.service"]);
    let mut gateway = machine.serve();
    waits();
    assert_eq!(gateway.end("-TERM"), 0);

    machine.run("dpkg --purge postgate");
    for gone in [CONFIG, "/etc/postgate", DATA, wanted, "/usr/bin/postgate"] {
        assert!(machine.try_run(&format!("ls -d {gone}")).is_err(), "{gone} is still there");
    }
    assert!(machine.try_run("getent passwd postgate || getent group postgate").is_err());
    assert_eq!(machine.run("find /etc/systemd /var/lib/systemd -name '*postgate*'"), "");

    // Of a disk that is mounted there the place stays.
    machine.run(&format!("mkdir {DATA} && mount -t tmpfs tmpfs {DATA}"));
    machine.install(&second);
    machine.run(&format!("mkdir {DATA}/spool && touch {DATA}/spool/lock {DATA}/.hidden"));
    machine.run("dpkg --purge postgate");
    assert_eq!(machine.run(&format!("mountpoint -q {DATA} && ls -A {DATA}")), "");
    assert!(machine.try_run("ls -d /etc/postgate").is_err());
}
