//! Who may come in, from outside: the running program with TLS, users and a
//! configuration that changes, and mail programs that know nothing of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use support::DEADLINE;
use support::collector::{Answer, Collector, Keep};
use support::ledger::Audit;
use support::load::Load;
use support::program::{CONFIG, Client, Gateway, Reply, eventually, postgate, send};
use support::tools::is_there;
use tempfile::TempDir;

/// What no log, no spool and no output may ever show.
const CANARY: &str = "kAnArY-47";

/// Users behind STARTTLS, and nobody who is trusted without a login.
const USERS: &str = r#"
[server]
trusted_networks = []

[tls]
self_signed = true

[log]
level = "trace"

[[tenant]]
name = "shop"
may_post_to = ["http://127.0.0.1:PORT"]

[[user]]
name = "erp"
password = { file = "erp.password" }
tenant = "shop"

[[user]]
name = "crm"
password = { env = "CRM_PASSWORD" }
"#;

/// [`CONFIG`] whose listener offers STARTTLS, with these users.
fn with_users(users: &str) -> String {
    CONFIG.replace("127.0.0.1:0\"", "127.0.0.1:0\"\ntls = \"starttls\"") + users
}

/// Starts a gateway for [`USERS`].
fn start(directory: &Path, config: &str) -> Gateway {
    fs::write(directory.join("postgate.toml"), config).unwrap();
    fs::write(directory.join("erp.password"), format!("{CANARY}\n")).unwrap();
    fs::set_permissions(directory.join("erp.password"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = postgate(directory);
    command.env("CRM_PASSWORD", CANARY);
    Gateway::listening(Gateway::spawn(&mut command, directory))
}

/// What a script of Python's smtplib says, with `HOST` connected to the gateway
/// and the certificate's issuer of no interest.
fn smtplib(gateway: &Gateway, script: &str) -> String {
    let before = format!(
        "import smtplib, ssl\n\
         context = ssl._create_unverified_context()\n\
         host = smtplib.SMTP('127.0.0.1', {})\n\
         host.ehlo('app.example')\n",
        gateway.smtp.port()
    );
    let output = Command::new("python3").args(["-c", &(before + script)]).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The end of a script: logs in with this password and says what came of it.
fn log_in(user: &str, password: &str) -> String {
    format!(
        "host.starttls(context=context)\n\
         try:\n    print(host.login('{user}', '{password}')[0])\n\
         except smtplib.SMTPAuthenticationError as error:\n    print(error.smtp_code)\n"
    )
}

/// Waits until a file holds `text`.
fn says(path: &Path, text: &str) {
    let read = || fs::read_to_string(path).unwrap_or_default().contains(text).then_some(());
    eventually(&format!("{text:?} in {}", path.display()), DEADLINE, read);
}

/// Every file below `directory`.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn holds(path: &Path, octets: &[u8]) -> bool {
    memchr::memmem::find(&fs::read(path).unwrap(), octets).is_some()
}

#[test]
fn users_log_in_over_starttls_and_strangers_post_nowhere() {
    if !is_there("python3") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let users = USERS.replace("PORT", &receiver.address.port().to_string());
    let config = with_users(&users).replace("\"starttls\"", "\"starttls\"\ncram_md5 = true");
    let gateway = start(directory.path(), &config);
    let direct = receiver.recipient("/hook");
    let stranger = send(gateway.smtp, std::slice::from_ref(&direct), "Subject: x\r\n\r\nx\r\n");
    assert!(matches!(&stranger, Reply::Said(line) if line.starts_with("550 5.7.1 ")), "{stranger:?}");
    // It tries all three mechanisms, and the third failure ends the connection.
    for (user, password, code) in
        [("erp", CANARY, "235"), ("crm", CANARY, "235"), ("erp", "wrong", "421"), ("nobody", "wrong", "421")]
    {
        assert_eq!(smtplib(&gateway, &log_in(user, password)), format!("{code}\n"), "{user} {password}");
    }
    // A form that smtplib does not mangle.
    let url = format!("http://{}/hook", receiver.address);
    let encoded = data_encoding::BASE64URL_NOPAD.encode(url.as_bytes());
    let post = format!(
        "for mechanism in ('PLAIN', 'LOGIN', 'CRAM-MD5'):\n    \
             host = smtplib.SMTP('127.0.0.1', {})\n    \
             host.starttls(context=context); host.ehlo()\n    \
             host.user, host.password = 'erp', '{CANARY}'\n    \
             print(host.auth(mechanism, getattr(host, 'auth_' + mechanism.lower().replace('-', '_')))[0])\n    \
             print(host.sendmail('', ['post+{encoded}@postgate.local'], 'Subject: x\\r\\n\\r\\nlogged in'))\n    \
             print(host.docmd('MAIL', 'FROM:<>')[0])\n    \
             print(host.docmd('RCPT', 'TO:<post@https://shop.example/elsewhere>')[0])\n",
        gateway.smtp.port()
    );
    assert_eq!(smtplib(&gateway, &post), "235\n{}\n250\n550\n".repeat(3));
    let arrivals = receiver.received(3);
    for arrival in arrivals {
        let document: serde_json::Value = serde_json::from_slice(&arrival.body).unwrap();
        let envelope = &document["envelope"];
        assert!(envelope["user"] == "erp" && envelope["tls"] == "TLSv1.3", "{document}");
    }
    no_canary_is_anywhere(directory.path(), gateway);
}

/// Nothing that was written shows the password, as it is or in base64.
fn no_canary_is_anywhere(directory: &Path, mut gateway: Gateway) {
    let effective = postgate(directory).env("CRM_PASSWORD", CANARY).args(["check", "--effective"]).output();
    let effective = String::from_utf8(effective.unwrap().stdout).unwrap();
    assert!(effective.contains("name = \"erp\"") && !effective.contains(CANARY), "{effective}");
    assert_eq!(gateway.end("-TERM"), 0);
    let base64 = |text: String| data_encoding::BASE64.encode(text.as_bytes());
    let secrets = [CANARY.to_owned(), base64(CANARY.to_owned()), base64(format!("\0erp\0{CANARY}"))];
    let mut seen = Vec::new();
    for path in files(directory).iter().filter(|path| !path.ends_with("erp.password")) {
        for secret in &secrets {
            assert!(!holds(path, secret.as_bytes()), "{secret} is in {}", path.display());
        }
        // The search finds what is there.
        seen.extend(holds(path, b"AUTH PLAIN ***").then_some(path.clone()));
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn a_changed_configuration_is_in_force_without_a_restart_and_a_bad_one_changes_nothing() {
    if !is_there("python3") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let (config, stderr) = (directory.path().join("postgate.toml"), directory.path().join("stderr"));
    let users = USERS.replace("PORT", "1");
    let gateway = start(directory.path(), &with_users(&users));
    let mut open = Client::connect(gateway.smtp).unwrap();
    assert_eq!(smtplib(&gateway, "print(host.has_extn('auth'), host.has_extn('starttls'))"), "False True\n");
    let says_of = |user: &str| smtplib(&gateway, &log_in(user, CANARY));
    fs::write(&config, "[log]\nlevle = 1\n\n[[user]]\nname = \"a\"\npassword = 5\n").unwrap();
    gateway.signal("-HUP");
    says(&stderr, "postgate.toml:2:1: log.levle: unknown key");
    says(&stderr, "postgate.toml:6:12: user.password: an integer stands here");
    says(&stderr, "the new configuration is bad; the old one stays in force");
    assert_eq!(says_of("erp"), "235\n");
    // A route and a user come, another goes; what is delivered to stays as it was.
    let route = "[[route]]\nrecipient = \"new@hooks.example\"\nurl = \"http://127.0.0.1:1/\"\n[spool]\nflush_interval = \"3ms\"\n";
    fs::write(&config, with_users(&users.replace("\"erp\"", "\"new\"")) + route).unwrap();
    assert!(open.say("MAIL FROM:<>").unwrap().starts_with("250 "));
    assert!(open.say("RCPT TO:<new@hooks.example>").unwrap().starts_with("550 "));
    gateway.signal("-HUP");
    says(&stderr, "what needs a restart is as before: spool");
    assert_eq!(says_of("erp"), "535\n");
    assert_eq!(says_of("new"), "235\n");
    // Who was there before sees it, too.
    assert!(open.say("RCPT TO:<new@hooks.example>").unwrap().starts_with("250 "));
    // A file that is gone, as while it is replaced, is not the built-in configuration.
    fs::remove_file(&config).unwrap();
    gateway.signal("-HUP");
    says(&stderr, "postgate.toml: cannot be read");
    assert_eq!(says_of("new"), "235\n");
    // Nor is one that is there, but not written yet.
    fs::write(&config, "").unwrap();
    gateway.signal("-HUP");
    says(&stderr, "postgate.toml: is empty");
    assert_eq!(says_of("new"), "235\n");
}

#[test]
fn a_listener_that_is_gone_from_the_configuration_keeps_no_user_that_is() {
    let directory = TempDir::new().unwrap();
    let (config, stderr) = (directory.path().join("postgate.toml"), directory.path().join("stderr"));
    let users = USERS.replace("PORT", "1");
    let gateway = start(directory.path(), &with_users(&users));
    let says_of = |user: &str| smtplib(&gateway, &log_in(user, CANARY));
    assert_eq!(says_of("crm"), "235\n");
    // Its own terms stay: nobody is trusted there, and it has its certificate.
    let socket = format!("unix:{}", directory.path().join("new.sock").display());
    let trusting = users.replace("trusted_networks = []", "").replace("self_signed = true", "");
    let elsewhere = CONFIG.replace("127.0.0.1:0", &socket) + &trusting.replace("\"crm\"", "\"new\"");
    for reload in 1..=2 {
        fs::write(&config, &elsewhere).unwrap();
        gateway.signal("-HUP");
        let said = || fs::read_to_string(&stderr).unwrap_or_default().matches(" goes on, listener ").count();
        eventually("the reload", DEADLINE, || (said() == reload).then_some(()));
        assert_eq!((says_of("crm"), says_of("new")), ("535\n".to_owned(), "235\n".to_owned()));
        let reply = send(gateway.smtp, &["post@https://shop.example/".to_owned()], "Subject: x\r\n\r\nx\r\n");
        assert!(matches!(&reply, Reply::Said(line) if line.starts_with("550 5.7.1 ")), "{reply:?}");
    }
}

/// DER as a file of text (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[test]
fn certificates_change_at_a_reload() {
    if !is_there("python3") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path();
    let write = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = pem("CERTIFICATE", made.cert.der());
        fs::write(path.join("cert.pem"), &certificate).unwrap();
        fs::write(path.join("key.pem"), pem("PRIVATE KEY", &made.signing_key.serialize_der())).unwrap();
        fs::set_permissions(path.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        certificate
    };
    let old = write(&["old.example"]);
    let tls = "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n";
    let config = CONFIG.replace("127.0.0.1:0\"", "127.0.0.1:0\"\ntls = \"implicit\"") + tls;
    let gateway = Gateway::start(path, &config);
    let shown = || {
        let port = gateway.smtp.port();
        let script = format!("import ssl; print(ssl.get_server_certificate(('127.0.0.1', {port})))");
        let output = Command::new("python3").args(["-c", &script]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().replace('\n', "")
    };
    let is = |pem: &str| pem.replace(['\r', '\n'], "");
    assert_eq!(shown(), is(&old));
    let new = write(&["new.example"]);
    gateway.signal("-HUP");
    says(&path.join("stderr"), "the new configuration is in force");
    assert_eq!(shown(), is(&new));
    // A key of another certificate is found wherever it is looked at.
    let other = fs::read(path.join("key.pem")).unwrap();
    write(&["third.example"]);
    fs::write(path.join("key.pem"), other).unwrap();
    gateway.signal("-HUP");
    says(&path.join("stderr"), "the key does not match the certificate");
    assert_eq!(shown(), is(&new));
    for command in ["check", "serve"] {
        let output = postgate(path).arg(command).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(78) && error.contains("does not match"), "{command}: {error}");
    }
}

#[test]
fn reloads_under_load_drop_nothing() {
    let directory = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Collector::on(socket, Keep::ChecksumsOnly, |_| Answer::Status(200));
    let mut gateway = Gateway::start(directory.path(), CONFIG);
    let load = Load::begin(8, receiver.address);
    load.turn_to(gateway.smtp);
    let stderr = directory.path().join("stderr");
    for reload in 1..=20 {
        let changed = format!("{CONFIG}\n[[tenant]]\nname = \"t{reload}\"\n[tls]\nself_signed = true\n");
        let good =
            CONFIG.replace("connection_rate", &format!("messages = {}\nconnection_rate", 5000 + reload));
        let text = [&changed, &good, "bad = 1"][reload % 3];
        fs::write(directory.path().join("postgate.toml"), text).unwrap();
        let said = |text: &str| fs::read_to_string(&stderr).unwrap_or_default().matches(text).count();
        gateway.signal("-HUP");
        let lines = || said("configuration is in force") + said("the new configuration is bad");
        eventually("the reload", DEADLINE, || (lines() == reload).then_some(()));
        let enough = load.accepted() + 20;
        eventually("mail to be accepted", DEADLINE, || (load.accepted() >= enough).then_some(()));
    }
    let sent = load.end();
    for message in &sent {
        let number: usize = message.paths[0].split('/').nth(2).unwrap().parse().unwrap();
        match &message.reply {
            // The load hangs up and sends what is refused, by itself.
            Reply::Unsent => assert!(number.is_multiple_of(31), "{message:?}"),
            Reply::Said(line) if number.is_multiple_of(19) => {
                assert!(line.starts_with("550 5.6.0 "), "{line}")
            }
            reply => assert!(reply.is_accepted(), "{message:?}"),
        }
    }
    eventually("all posts", DEADLINE, || Audit::of(&sent, &receiver.arrivals()).is_settled().then_some(()));
    let audit = Audit::of(&sent, &receiver.arrivals());
    assert!(audit.wrongs().is_empty() && audit.repeated.is_empty(), "{:?} {audit:#?}", audit.wrongs());
    assert_eq!(gateway.end("-TERM"), 0);
}

#[test]
fn all_descriptors_that_the_system_allows_are_there_for_clients() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("postgate.toml"), CONFIG).unwrap();
    for (most, warning) in [("5000", false), ("700", true)] {
        let program = env!("CARGO_BIN_EXE_postgate");
        let script = format!("ulimit -S -n 300 && ulimit -H -n {most} && exec {program}");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).current_dir(directory.path()).env_remove("POSTGATE_CONFIG");
        let mut gateway = Gateway::listening(Gateway::spawn(&mut command, directory.path()));
        let limits = fs::read_to_string(format!("/proc/{}/limits", gateway.child.id())).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        assert_eq!(line.split_whitespace().nth(3), Some(most));
        assert_eq!(gateway.end("-TERM"), 0);
        let stderr = fs::read_to_string(directory.path().join("stderr")).unwrap();
        assert_eq!(stderr.contains("700 open files, too few"), warning, "{stderr}");
    }
}

#[test]
fn every_listener_is_announced() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("lmtp.sock");
    let config = format!(
        "{CONFIG}\n[tls]\nself_signed = true\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"starttls\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n\
         [[listener]]\naddress = \"unix:{}\"\nprotocol = \"lmtp\"\n",
        socket.display()
    );
    let mut gateway = Gateway::start(directory.path(), &config);
    assert!(gateway.line("listens on 127.0.0.1:").ends_with(" (SMTP, STARTTLS)"));
    assert!(gateway.line("listens on 127.0.0.1:").ends_with(" (SMTP, TLS)"));
    let lmtp = gateway.line("listens on unix:");
    assert!(lmtp.ends_with(&format!(" listens on unix:{} (LMTP)", socket.display())), "{lmtp}");
    says(&directory.path().join("stderr"), "made by ourselves: for tests");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o002, 0);
    assert_eq!(gateway.end("-TERM"), 0);
    assert!(!socket.exists());
}
