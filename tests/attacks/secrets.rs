//! Section 2.11: secrets, files and what the process may do.

use crate::support::DEADLINE;
use crate::support::api::Scene;
use crate::support::collector::{Answer, Collector};
use crate::support::hostile::{Act, Hostile, write};
use crate::support::program::{CONFIG, Client, Gateway, eventually, postgate, send};
use postgate::compose::{Endpoint, LinkKey};
use postgate::deliver::profile::{Profile, Proof, Proxy, ProxyKind, Relay, Security};
use postgate::deliver::sign::{KeySettings, Scheme, SigningKey};
use postgate::fanout::webhook::{Settings, Webhook};
use postgate::post::{Field, Timestamp, Trust};
use postgate::seal::SealKey;
use postgate::smtp::auth::Secret;
use postgate::tenant::Tenant;
use serde_json::json;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use zeroize::{ZeroizeOnDrop, Zeroizing};

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// A file with a secret, as the configuration names it.
fn secret_file(directory: &Path, text: &str) -> String {
    let path = directory.join(format!("secret-{}", text.len()));
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    format!("{{ file = {path:?} }}")
}

/// Those that hold a text.
fn holding(directory: &Path, text: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        // Quick: a spool sets room apart.
        let octets = fs::read(path).unwrap_or_default();
        memchr::memmem::find(&octets, text.as_bytes()).is_some()
    };
    files(directory).into_iter().filter(holds).collect()
}

/// What the gateway knows of its own and what is named by a post, and what it is told
/// of a webhook: none of it is in the spool, in a log or in an answer.
#[test]
fn k1_k3_secrets_are_named_by_what_waits_and_written_nowhere() {
    let kept = TempDir::new().unwrap();
    let secret = |text: &str| secret_file(kept.path(), text);
    let scene = Scene::start(&format!(
        "[log]\nlevel = \"trace\"\n[journal]\nalways = true\n\
         [[signing_key]]\nname = \"main\"\nscheme = \"secret-parameter\"\nparameter = \"SecretKey\"\n\
         secrets = [{}]\n[[auth]]\nname = \"crm\"\ntype = \"bearer\"\ntoken = {}\n\
         [[destination]]\nmatch = \"*\"\nsign_with = \"main\"\nauth = \"crm\"\n",
        secret("kAnArY-signing"),
        secret("kAnArY-token"),
    ));
    let headers = "X-XsHttp-Content-Type: application/x-www-form-urlencoded\r\n";
    let id = scene.post("/busy", headers, "deferred");
    let sent = scene.receiver.received(1).remove(0);
    assert_eq!(sent.headers["authorization"], "Bearer kAnArY-token");
    assert!(String::from_utf8(sent.body).unwrap().ends_with("SecretKey=kAnArY-signing"));

    let webhook = json!({ "url": format!("{}/busy?token=kAnArY-url", scene.origin()), "events": ["*"],
        "secret": "kAnArY-webhook-secret-of-it", "headers": { "X-Own": "kAnArY-own" }, "verify": "skip" });
    let webhook = scene.post_to("/api/v1/webhooks", &webhook.to_string()).json();
    let own = format!("/api/v1/webhooks/{}", webhook["id"].as_str().unwrap());
    assert_eq!(scene.post_to(&format!("{own}/test"), "").json()["status"], 500);
    let sent = scene.receiver.received(2).into_iter().find(|arrival| arrival.path.contains("kAnArY-url"));
    assert_eq!(sent.unwrap().headers["x-own"], "kAnArY-own");

    for path in [
        "/metrics",
        "/api/v1/config",
        "/api/v1/webhooks",
        &own,
        "/api/v1/posts",
        &format!("/api/v1/posts/{id}"),
        &format!("/api/v1/posts/{id}/attempts"),
        &format!("/api/v1/posts/{id}/transcript"),
        "/api/v1/events",
        "/api/v1/destinations",
    ] {
        let response = scene.get(path);
        let text = String::from_utf8_lossy(&response.body);
        assert!(response.status == 200 && !text.contains("kAnArY"), "{path}: {text}");
    }
    for arguments in [&["check", "--effective"][..], &["config", "show"], &["webhook", "list", "--json"]] {
        let (_, said, wrong) = scene.run(arguments);
        assert!(!said.contains("kAnArY") && !wrong.contains("kAnArY"), "{arguments:?} {said}{wrong}");
    }
    let mut scene = scene;
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let directory = scene.directory.path();
    assert_eq!(holding(directory, "kAnArY"), Vec::<PathBuf>::new());
    assert!(!holding(directory, &id).is_empty(), "the post is somewhere");
}

/// The places where an answer tells of a post.
fn looks(id: &str) -> Vec<String> {
    let own = ["", "/attempts", "/transcript", "/message"];
    let own = own.iter().map(|place| format!("/api/v1/posts/{id}{place}"));
    let all =
        ["/metrics", "/api/v1/posts", "/api/v1/events", "/api/v1/destinations", "/api/v1/posts?q=kAnArY"];
    own.chain(all.map(str::to_owned)).collect()
}

/// Sends from a client that has logged in a message that repeats all that it is sent with.
fn steer(scene: &Scene, url: &str, secret: &str) -> String {
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let login = data_encoding::BASE64.encode(b"\0erp\0kAnArY-login");
    assert!(client.say(&format!("AUTH PLAIN {login}")).unwrap().starts_with("235"));
    let message = format!(
        "To: post@{url}\r\nX-XsHttp-Authorization: Bearer {secret}\r\nX-XsHttp-Cookie: a={secret}\r\n\r\nhello\r\n"
    );
    client.send(&[format!("post@{url}")], message.as_bytes()).id().to_owned()
}

/// What a message says of whom it is from, in fields and in its URL, is sealed until it is
/// sent: no file, log or answer has it, and every attempt has all of it, after a crash, by
/// hand, elsewhere.
#[test]
fn k1_k3_what_a_post_is_steered_with_is_sealed_until_it_is_sent() {
    let kept = TempDir::new().unwrap();
    let mut scene = Scene::start(&format!(
        "[log]\nlevel = \"trace\"\n[journal]\nalways = true\n[[user]]\nname = \"erp\"\npassword = {}\n",
        secret_file(kept.path(), "kAnArY-login"),
    ));
    let host = scene.receiver.address;
    let coded =
        data_encoding::BASE64URL_NOPAD.encode(format!("http://{host}/busy?token=kAnArY-4").as_bytes());
    let coded = [format!("post+{coded}@postgate.local")];
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let handed_in = json!({ "url": format!("http://u:kAnArY-5@{host}/busy?key=kAnArY-5"), "method": "PUT",
        "headers": { "X-Api-Key": "kAnArY-5" }, "body": "x" });
    let handed_in = scene.post_to("/api/v1/posts", &handed_in.to_string()).json();
    let basic = data_encoding::BASE64.encode(b"u:kAnArY-2");
    let message = b"X-XsHttp-X-Token: kAnArY-3\r\nX-Postgate-Payload: raw\r\n\r\nhello\r\n";
    let whole = String::from_utf8_lossy(message).into_owned();
    let ids = [
        steer(&scene, &format!("http://{host}/busy?token=kAnArY-1&n=7"), "kAnArY-1"),
        send(scene.gateway.smtp, &[format!("post@http://u:kAnArY-2@{host}/busy")], "\r\nx\r\n")
            .id()
            .to_owned(),
        client.send(&[scene.receiver.recipient("/busy")], message).id().to_owned(),
        client.send(&coded, b"\r\nhello\r\n").id().to_owned(),
        handed_in["id"].as_str().unwrap().to_owned(),
    ];
    let arrived = |scene: &Scene, count: usize| {
        let all = scene.receiver.received(count);
        let last = |id: &String| all.iter().rfind(|arrival| arrival.id() == id).unwrap().clone();
        let sent = ids.each_ref().map(last);
        assert_eq!(sent[0].headers["authorization"], "Bearer kAnArY-1");
        assert_eq!(sent[0].headers["cookie"], "a=kAnArY-1");
        assert!(String::from_utf8_lossy(&sent[0].body).contains("hello"));
        assert_eq!(sent[1].headers["authorization"], format!("Basic {basic}"));
        assert_eq!(sent[2].headers["x-token"], "kAnArY-3");
        assert!(String::from_utf8_lossy(&sent[2].body).ends_with(&whole));
        assert_eq!((&*sent[3].path, &*sent[4].path), ("/busy?token=kAnArY-4", "/busy?key=kAnArY-5"));
        assert_eq!(sent[4].headers["x-api-key"], "kAnArY-5");
        sent[0].path.clone()
    };
    let nowhere = |scene: &Scene| {
        for id in &ids {
            scene.stands(id, "deferred");
            for path in looks(id) {
                let response = scene.get(&path);
                let text = String::from_utf8_lossy(&response.body);
                // The message is its sender's; what it was steered with is not in it any more.
                let text = if path.ends_with("/message") {
                    text.split("\r\nX-XsHttp").skip(1).collect()
                } else {
                    text
                };
                assert!(!text.contains("kAnArY") && !text.contains(&basic), "{path}: {text}");
            }
            let (_, said, wrong) = scene.run(&["queue", "show", id]);
            assert!(!said.contains("kAnArY") && !wrong.contains("kAnArY"), "{said}{wrong}");
        }
        let body = scene.get(&format!("/api/v1/posts/{}/body", ids[2])).body;
        assert_eq!(String::from_utf8_lossy(&body), whole.replace("kAnArY-3", "***"));
        for secret in ["kAnArY", &basic, &coded[0][5..60]] {
            assert_eq!(holding(scene.directory.path(), secret), Vec::<PathBuf>::new());
        }
        assert!(!holding(scene.directory.path(), &ids[0]).is_empty(), "the post is somewhere");
    };
    let again = |scene: &Scene, action: &str| {
        let body = json!({ "action": action, "all": true }).to_string();
        assert_eq!(scene.post_to("/api/v1/posts/actions", &body).json()["count"], 5);
    };
    assert_eq!(arrived(&scene, 5), "/busy?token=kAnArY-1&n=7");
    nowhere(&scene);
    scene.gateway.end("-KILL");
    scene.again();
    again(&scene, "retry");
    assert_eq!(arrived(&scene, 10), "/busy?token=kAnArY-1&n=7");
    let elsewhere = json!({ "url": format!("http://{host}/busy?key=kAnArY-6") }).to_string();
    let own = format!("/api/v1/posts/{}", ids[0]);
    assert_eq!(scene.post_to(&format!("{own}/reroute"), &elsewhere).json()["count"], 1);
    assert_eq!(arrived(&scene, 11), "/busy?key=kAnArY-6");
    nowhere(&scene);

    // Without its key nothing is sent, and nothing is lost.
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let key = scene.directory.path().join("postgate-data/webhook-key");
    let elsewhere = kept.path().join("webhook-key");
    fs::rename(&key, &elsewhere).unwrap();
    scene.again();
    again(&scene, "retry");
    for id in &ids {
        scene.stands(id, "held");
        let reason = scene.get(&format!("/api/v1/posts/{id}")).json()["last_attempt"]["reason"].to_string();
        assert!(reason.contains("data_dir/webhook-key"), "{reason}");
    }
    let refused = client_of(&scene).send(&[scene.receiver.recipient("/ok")], message);
    assert!(!refused.is_accepted(), "{refused:?}");
    let open = scene.send("/ok", "");
    scene.ends(&open);
    assert_eq!(scene.receiver.received(12).len(), 12);
    assert_eq!(scene.gateway.end("-TERM"), 0);
    fs::rename(&elsewhere, &key).unwrap();
    scene.again();
    again(&scene, "release");
    assert_eq!(arrived(&scene, 17), "/busy?key=kAnArY-6");
    assert_eq!(scene.gateway.end("-TERM"), 0);
    assert_eq!(holding(scene.directory.path(), "kAnArY"), Vec::<PathBuf>::new());
}

/// The report of a failure repeats the message, and waits as that did.
#[test]
fn k1_k3_what_a_report_repeats_of_a_message_is_sealed_as_well() {
    // A port that nobody listens on.
    let relay = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut scene = Scene::start(&format!("[bounce]\nrelay = \"smtp://{relay}\"\n"));
    let url = format!("http://{}/gone?token=kAnArY-7", scene.receiver.address);
    let message = format!("To: post@{url}\r\nSubject: see\r\n\r\nkAnArY-7\r\n");
    let id = send(scene.gateway.smtp, &[format!("post@{url}")], &message).id().to_owned();
    scene.stands(&id, "failed");
    let report = eventually("a report that waits", DEADLINE, || {
        let posts = scene.get("/api/v1/posts?state=deferred").json()["posts"].clone();
        posts.as_array().unwrap().first().map(|post| post["id"].as_str().unwrap().to_owned())
    });
    let text = scene.get(&format!("/api/v1/posts/{report}/message")).body;
    assert!(String::from_utf8_lossy(&text).contains("Subject: see"), "it is whole for who may read it");
    assert_eq!(scene.gateway.end("-TERM"), 0);
    assert_eq!(holding(scene.directory.path(), "kAnArY"), Vec::<PathBuf>::new());
}

fn client_of(scene: &Scene) -> Client {
    Client::connect(scene.gateway.smtp).unwrap()
}

#[test]
fn k2_a_symbolic_link_in_the_place_of_a_file_is_not_followed() {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(|_| Answer::Status(503));
    let config = format!("{CONFIG}[journal]\nalways = true\n");
    let mut gateway = Gateway::start(directory.path(), &config);
    send(gateway.smtp, &[receiver.recipient("/")], "\r\nkept-here\r\n").id();
    receiver.received(1);
    let data = directory.path().join("postgate-data");
    let named =
        |folder: &str| files(&data.join(folder)).into_iter().find(|path| path.metadata().unwrap().len() > 0);
    let journal =
        eventually("the journal", DEADLINE, || data.join("journal").exists().then(|| named("journal")));
    assert_eq!(gateway.end("-TERM"), 0);
    let log = holding(&data.join("spool"), "kept-here").remove(0);
    for file in [log, journal.unwrap()] {
        let elsewhere = directory.path().join("elsewhere");
        fs::rename(&file, &elsewhere).unwrap();
        symlink(&elsewhere, &file).unwrap();
        let before = fs::read(&elsewhere).unwrap();
        let log = directory.path().join("stderr");
        fs::write(&log, "").unwrap();
        // Dropped, it is ended whatever it did.
        let started = Gateway::spawn(&mut postgate(directory.path()), directory.path());
        let ended = Gateway::at(started, gateway.smtp).ended();
        let said = fs::read_to_string(&log).unwrap();
        assert!(ended > 0 && said.contains("symbolic link"), "{}: {ended} {said}", file.display());
        assert!(fs::read(&elsewhere).unwrap() == before, "{}", file.display());
        fs::remove_file(&file).unwrap();
        fs::rename(&elsewhere, &file).unwrap();
    }
    Gateway::start(directory.path(), &config);
}

#[test]
fn k5_a_signed_id_has_no_dot_whatever_the_sender_wrote() {
    let kept = TempDir::new().unwrap();
    let secret = secret_file(kept.path(), "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
    let scene = Scene::start(&format!(
        "[[signing_key]]\nname = \"main\"\nscheme = \"standard-webhooks\"\nsecrets = [{secret}]\n\
         [[destination]]\nmatch = \"*\"\nsign_with = \"main\"\n"
    ));
    scene.send("/ok", "X-Postgate-Idempotency-Key: 1.2\r\nX-xsMessageId: 3.4\r\nMessage-ID: <5.6@x>\r\n");
    let sent = scene.receiver.received(1).remove(0);
    assert_eq!(sent.headers["idempotency-key"], "1.2");
    for name in ["webhook-id", "webhook-timestamp"] {
        assert!(!sent.headers[name].contains('.'), "{name}: {}", sent.headers[name]);
    }
}

/// What leaves the memory when its owner goes.
fn is_wiped<T: ZeroizeOnDrop>(_: &T) {}

#[test]
fn k8_what_holds_a_secret_shows_none_and_leaves_none() {
    let secret = || Zeroizing::new("kAnArY".to_owned());
    let keys = KeySettings {
        secrets: vec!["kAnArY".to_owned()].into(),
        scheme: Scheme::HmacHex,
        ..KeySettings::default()
    };
    is_wiped(&keys.secrets);
    let settings = Settings {
        url: "http://h/?token=kAnArY".to_owned(),
        secret: Some(secret()),
        headers: [("X-Own".to_owned(), "kAnArY".to_owned())].into(),
        ..Settings::default()
    };
    is_wiped(settings.secret.as_ref().unwrap());
    let webhook = Webhook::new(
        ("wh".to_owned(), Tenant::default()),
        Timestamp(0),
        settings.clone(),
        "kAnArY".to_owned(),
    );
    let webhook = Webhook { old_secret: Some((secret(), Timestamp(0))), ..webhook };
    is_wiped(&webhook.old_secret.as_ref().unwrap().0);
    let credentials = Some(("kAnArY".to_owned(), secret()));
    let host = || "h".to_owned();
    let relay =
        Relay { security: Security::Implicit, host: host(), port: 1, credentials: credentials.clone() };
    let proxy = Proxy { kind: ProxyKind::Http, host: host(), port: 1, credentials };
    is_wiped(&proxy.credentials.as_ref().unwrap().1);
    let proof = Proof::Bearer { token: "kAnArY".to_owned() };
    let profile = Profile { name: "crm".to_owned(), proof, origins: Vec::new() };
    let octets = *b"kAnArY-kAnArY-kAnArY-kAnArY-0123";
    let field = |name: &str| Field { name: name.to_owned(), value: b"kAnArY".to_vec() };
    let url: Endpoint = "https://u:kAnArY@h/".parse().unwrap();
    for shown in [
        format!("{:?}", SigningKey::new(keys).unwrap()),
        format!("{settings:?} {webhook:?} {:?}", webhook.subscriber(Trust::Wire).unwrap()),
        format!("{relay:?} {proxy:?} {proxy} {profile:?}"),
        format!(
            "{:?} {:?} {:?}",
            SealKey::new(&octets),
            SealKey::new(&octets).of_message([7; 16]),
            LinkKey::new(&octets)
        ),
        format!("{:?} {:?} {:?}", field("Authorization"), field("cookie"), field("X-Api-Key")),
        format!("{:?} {url:?} {url}", Secret::new("kAnArY")),
    ] {
        assert!(!shown.contains("kAnArY") && !shown.contains("107, 65"), "{shown}");
    }
    assert_eq!(format!("{:?}", field("X-Kind")), "X-Kind: \"kAnArY\"");
}

/// Whether a source starts other programs.
fn starts_programs(text: &str) -> bool {
    let names = |line: &str| line.contains("process::") && line.contains("Command");
    text.lines().any(names) || ["CommandExt", "execv", "posix_spawn"].iter().any(|sign| text.contains(sign))
}

#[test]
fn k9_it_starts_no_program_and_its_unit_gives_it_no_rights() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let sources = files(&root.join("src"));
    assert!(sources.len() > 200, "{}", sources.len());
    for path in sources {
        assert!(!starts_programs(&fs::read_to_string(&path).unwrap()), "{}", path.display());
    }
    let own = fs::read_to_string(root.join("tests/support/program.rs")).unwrap();
    assert!(starts_programs(&own), "the checker is blind");
    let unit = fs::read_to_string(root.join("config/systemd/postgate.service")).unwrap();
    let lines: Vec<_> = unit.lines().collect();
    for line in [
        "User=postgate",
        "UMask=0077",
        "NoNewPrivileges=yes",
        "LimitCORE=0",
        "CapabilityBoundingSet=CAP_NET_BIND_SERVICE",
        "ProtectSystem=strict",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
    ] {
        assert!(lines.contains(&line), "{line}");
    }
}

/// Row P9: what a receiver and a sender write stands escaped in every text, and has no
/// line of its own anywhere.
#[test]
fn p9_what_strangers_write_moves_no_cursor_and_forges_no_line() {
    let forged = "\u{1b}[2J\u{9b}1m\u{7} 2026-01-31T12:00:00.000Z forged";
    let body = format!("{forged}\n{forged}\r\n");
    let response = format!("HTTP/1.1 500 x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let receiver = Hostile::start(vec![Act::Request, write(&response)]);
    let scene = Scene::start("[log]\nlevel = \"trace\"\n");
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    for line in [format!("EHLO a{forged}"), format!("MAIL FROM:<a{forged}@b>"), format!("VRFY {forged}")] {
        client.say(&line).unwrap();
    }
    let message = format!("Subject: {forged}\r\nUser-Agent: {forged}\r\n\r\nx\r\n");
    let id = client.send(&[receiver.recipient()], message.as_bytes()).id().to_owned();
    scene.stands(&id, "deferred");
    let is_raw = |text: &str| text.chars().any(|char| char.is_control() && char != '\n');
    for arguments in [
        &["queue", "list"][..],
        &["queue", "show", &id],
        &["destination", "list"],
        &["trace", &id],
        &["log", "--post", &id],
        &["webhook", "show", "\u{1b}[2J"],
    ] {
        let (_, said, wrong) = scene.run(arguments);
        assert!(!is_raw(&said) && !is_raw(&wrong), "{arguments:?} {said:?} {wrong:?}");
    }
    assert!(scene.run(&["queue", "show", &id]).1.contains("forged"), "it is shown, but escaped");
    let mut scene = scene;
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let directory = scene.directory.path();
    let logs = files(&directory.join("postgate-data/log"));
    for path in logs.iter().chain([&directory.join("stderr")]) {
        let text = fs::read_to_string(path).unwrap();
        assert!(!is_raw(&text), "{}: {text:?}", path.display());
        let forged = text.lines().find(|line| line.trim_start().starts_with("2026-01-31T12:00:00"));
        assert_eq!(forged, None, "{}", path.display());
    }
    assert!(!logs.is_empty());
}
