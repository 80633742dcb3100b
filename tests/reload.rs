//! What a changed configuration changes about delivery while the gateway runs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use support::DEADLINE;
use support::collector::{Answer, Collector};
use support::program::{CONFIG, Client, Gateway, Reply, eventually, send};
use tempfile::TempDir;

const MESSAGE: &str = "Subject: x\r\n\r\nx\r\n";

/// Writes another configuration, and waits until the log says `text`.
fn reload(gateway: &Gateway, directory: &Path, config: &str, text: &str) {
    let stderr = directory.join("stderr");
    let said = || fs::read_to_string(&stderr).unwrap().matches(text).count();
    let before = said();
    let path = directory.join("postgate.toml");
    fs::write(&path, config).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    gateway.signal("-HUP");
    eventually(text, DEADLINE, || (said() > before).then_some(()));
}

#[test]
fn destinations_keys_profiles_and_egress_change_without_a_restart() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let url = format!("http://{}/in", receiver.address);
    let route = format!("[[route]]\nrecipient = \"a@hooks.example\"\nurl = \"{url}\"\npayload = \"raw\"\n");
    let gateway = Gateway::start(directory.path(), &(CONFIG.to_owned() + &route));
    let to_route = ["a@hooks.example".to_owned()];
    assert!(send(gateway.smtp, &to_route, MESSAGE).is_accepted());
    let first = receiver.received(1).remove(0);
    assert!(!first.headers.contains_key("x-source") && !first.headers.contains_key("authorization"));

    let origin = format!("http://{}", receiver.address);
    let named = format!(
        "{route}sign_with = \"hex\"\n\
         [[destination]]\nmatch = \"{origin}\"\nheaders = {{ X-Source = \"mail\" }}\nauth = \"token\"\n\
         [[destination]]\nmatch = \"https://self.example\"\ninsecure = true\n\
         [[signing_key]]\nname = \"hex\"\nscheme = \"hmac-hex\"\nsecrets = [\"kAnArY\"]\nheader = \"X-Mark\"\n\
         [[auth]]\nname = \"token\"\ntype = \"bearer\"\ntoken = \"kAnArY\"\n"
    );
    reload(&gateway, directory.path(), &(CONFIG.to_owned() + &named), "the new configuration is in force");
    let stderr = fs::read_to_string(directory.path().join("stderr")).unwrap();
    let warning = "insecure = true: whoever answers for https://self.example is believed";
    assert!(stderr.contains(warning) && !stderr.contains("kAnArY"), "{stderr}");
    assert!(send(gateway.smtp, &to_route, MESSAGE).is_accepted());
    let second = receiver.received(2).remove(1);
    assert_eq!(second.headers["x-source"], "mail");
    assert_eq!(second.headers["authorization"], "Bearer kAnArY");
    assert_eq!(second.headers["x-mark"].len(), 64);

    // What is wrong with a part changes nothing of the whole.
    let bad = named.replace("auth = \"token\"", "auth = \"tokn\"");
    reload(&gateway, directory.path(), &(CONFIG.to_owned() + &bad), "the old one stays in force");
    assert!(send(gateway.smtp, &to_route, MESSAGE).is_accepted());
    assert_eq!(receiver.received(3)[2].headers["authorization"], "Bearer kAnArY");

    let closed = CONFIG.replace("127.0.0.0/8", "192.0.2.0/24") + &route;
    let direct = [receiver.recipient("/direct")];
    assert!(send(gateway.smtp, &direct, MESSAGE).is_accepted());
    receiver.received(4);
    reload(&gateway, directory.path(), &closed, "the new configuration is in force");
    let refused = send(gateway.smtp, &direct, MESSAGE);
    assert!(matches!(&refused, Reply::Said(line) if line.starts_with("550 ")), "{refused:?}");
}

#[test]
fn templates_change_with_the_configuration_and_a_broken_one_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(200));
    let templates = directory.path().join("templates");
    fs::create_dir(&templates).unwrap();
    let write = |file: &str, text: &str| fs::write(templates.join(file), text).unwrap();
    write("own.json.j2", "{\"a\": {{ subject|tojson }}, \"b\": \"{{ vars.b }}\"}");
    let config = format!(
        "{CONFIG}[[route]]\nrecipient = \"a@hooks.example\"\nurl = \"http://{}/in\"\n\
         payload = \"template:own\"\nvars = {{ b = \"c\" }}\n",
        receiver.address
    );
    let gateway = Gateway::start(directory.path(), &config);
    let to_route = ["a@hooks.example".to_owned()];
    let next = |count: usize| {
        assert!(send(gateway.smtp, &to_route, MESSAGE).is_accepted());
        receiver.received(count).remove(count - 1)
    };
    let first = next(1);
    assert_eq!(first.headers["content-type"], "application/json");
    assert_eq!(first.body, b"{\"a\": \"x\", \"b\": \"c\"}");

    write("own.json.j2", "[{{ subject|tojson }}]");
    reload(&gateway, directory.path(), &config, "the new configuration is in force");
    assert_eq!(next(2).body, b"[\"x\"]");

    write("own.json.j2", "[\n{{ subject");
    reload(&gateway, directory.path(), &config, "the old one stays in force");
    let stderr = fs::read_to_string(directory.path().join("stderr")).unwrap();
    assert!(stderr.contains("own.json.j2:2: syntax error"), "{stderr}");
    assert_eq!(next(3).body, b"[\"x\"]");

    // What fails on a message is posted all the same.
    write("own.json.j2", "[{{ vars.c }}]");
    reload(&gateway, directory.path(), &config, "own.json.j2:1 wants vars.c");
    assert_eq!(next(4).body, b"[\"x\"]");
    write("own.json.j2", "[{{ attachments[0].filename|tojson }}]");
    reload(&gateway, directory.path(), &config, "the new configuration is in force");
    let failed = next(5);
    assert_eq!(failed.headers["postgate-template"], "failed");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&failed.body).unwrap()["subject"], "x");
    let stderr = fs::read_to_string(directory.path().join("stderr")).unwrap();
    assert!(stderr.contains("own.json.j2:1: undefined value: [0].filename"), "{stderr}");
}

/// Whose mail a route takes is judged at RCPT and again when the message is there; who
/// is asked about a recipient, at RCPT.
#[test]
fn a_route_that_closes_takes_nothing_more() {
    let directory = TempDir::new().unwrap();
    let route = |settings: &str| {
        format!(
            "{CONFIG}[[route]]\nrecipient = \"a@hooks.example\"\nurl = \"http://127.0.0.1:9/\"\n{settings}\n"
        )
    };
    let gateway = Gateway::start(directory.path(), &route(""));
    let mut client = Client::connect(gateway.smtp).unwrap();
    client.say("EHLO a").unwrap();
    for (settings, message, next) in [
        (
            "allow_from = \"192.0.2.0/24\"",
            "550 5.7.1 this recipient does not take mail from this client",
            "550 ",
        ),
        ("check_url = \"http://127.0.0.1:9/\"", "250 2.0.0 ", "451 4.4.1 "),
    ] {
        reload(&gateway, directory.path(), &route(""), "the new configuration is in force");
        for (line, expected) in [("MAIL FROM:<a@b>", "250 "), ("RCPT TO:<a@hooks.example>", "250 ")] {
            assert!(client.say(line).unwrap().starts_with(expected), "{settings}: {line}");
        }
        reload(&gateway, directory.path(), &route(settings), "the new configuration is in force");
        for (line, expected) in [
            ("DATA", "354 "),
            ("x\r\n.", message),
            ("MAIL FROM:<a@b>", "250 "),
            ("RCPT TO:<a@hooks.example>", next),
            ("RSET", "250 "),
        ] {
            let said = client.say(line).unwrap();
            assert!(said.starts_with(expected), "{settings}: {line}: {said}");
        }
    }
}

/// Addresses of attachments begin with what the configuration in force says, so that
/// others never get the API's own, which stays as it is; without it all comes as it is.
#[test]
fn addresses_are_public_as_soon_as_somebody_gets_them() {
    let receiver = Collector::start(|_| Answer::Status(200));
    let api = |more: &str| CONFIG.replace("address = \"off\"", &format!("address = \"127.0.0.1:0\"\n{more}"));
    let public = api("public_url = \"https://gateway.example\"");
    let route = format!(
        "[[route]]\nrecipient = \"a@hooks.example\"\nurl = \"http://{}/in\"\nattachments = \"url\"\n\
         inline_limit = \"1B\"\n",
        receiver.address
    );
    let message = "Content-Type: application/pdf; name=a.pdf\r\n\r\n%PDF\r\n";
    let in_force = "the new configuration is in force";
    let attachment = |gateway: &Gateway| {
        let before = receiver.count();
        assert!(send(gateway.smtp, &["a@hooks.example".to_owned()], message).is_accepted());
        let body = receiver.received(before + 1)[before].body.clone();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        body["attachments"][0].clone()
    };

    let directory = TempDir::new().unwrap();
    let gateway = Gateway::start(directory.path(), &api(""));
    let own = gateway.line("API at ");
    let own = own.split("API at ").nth(1).unwrap().trim_end_matches('/');
    for (config, base) in [(&public, "https://gateway.example"), (&api(""), own)] {
        reload(&gateway, directory.path(), &(config.clone() + &route), in_force);
        let said = fs::read_to_string(directory.path().join("stderr")).unwrap();
        assert!(!said.contains("restart"), "{said}");
        let url = attachment(&gateway)["url"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&format!("{base}/attachments/")), "{url}");
    }

    let directory = TempDir::new().unwrap();
    let gateway = Gateway::start(directory.path(), CONFIG);
    let later = "the new configuration is in force, but what needs a restart is as before: api.address";
    reload(&gateway, directory.path(), &(public + &route), later);
    let whole = attachment(&gateway);
    assert!(whole["url"].is_null() && whole["content"].is_string(), "{whole}");
}
