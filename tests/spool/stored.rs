//! A spool of the format that is written today, kept in `tests/spool/v6` with what was in
//! it: later versions open it, and lose nothing.
//!
//! It is made anew, when the format changes and under another name, by
//!
//! ```sh
//! cargo test --test spool_cli -- --ignored a_spool_is_stored
//! ```
//!
//! Its posts go to addresses at which nobody listens, through a proxy that leads to the
//! receiver of the test.

use super::files;
use super::support::DEADLINE;
use super::support::api::{Scene, said};
use super::support::collector::{Answer, Arrival, Collector};
use super::support::program::{Client, eventually, postgate, within};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _, copy};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

/// Where most of its posts go.
const ORIGIN: &str = "http://127.0.0.1:8099";
/// What is paused.
const PAUSED: &str = "http://127.0.0.2:8099";

/// What is in it, in the words of an export.
const POSTS: &str = "posts.json";

/// Where the stored spool is: what a data directory holds, and [`POSTS`].
fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spool/v6")
}

/// A proxy that leads to `receiver`, whatever it is asked for (RFC 9110 section 9.3.6).
fn proxy_to(receiver: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut asked = BufReader::new(client.try_clone()?);
                let mut line = String::new();
                while asked.read_line(&mut line)? > 2 {
                    line.clear();
                }
                client.write_all(b"HTTP/1.1 200 x\r\n\r\n")?;
                let mut server = TcpStream::connect(receiver)?;
                let mut answers = server.try_clone()?;
                std::thread::spawn(move || copy(&mut answers, &mut client));
                copy(&mut asked, &mut server)
            });
        }
    });
    address
}

/// Nothing is forgotten before its posts are looked at, however late that is.
fn config(proxy: SocketAddr) -> String {
    format!(
        "proxy = \"http://{proxy}\"\nmax_age = \"36500d\"\n\n\
         [retention]\nfailed = \"36500d\"\nheld = \"36500d\"\ndelivered = \"36500d\"\nkeep_bodies = true\n"
    )
}

/// The exported posts by their ids; in place of the names of files what is in them.
fn listing(place: &Path) -> Map<String, Value> {
    let (code, text, error) = run(place, &["spool", "export", "posts", "--with-secrets"]);
    assert!(code == 0 && error.starts_with("posts has secrets"), "{text}{error}");
    let directory = place.join("posts");
    let mut listing = Map::new();
    for (path, octets) in files(&directory) {
        if path.extension().is_some_and(|extension| extension == "json") {
            let mut post: Value = serde_json::from_slice(&octets).unwrap();
            for name in ["body", "message"] {
                let file = post[name].as_str().map(|file| fs::read(directory.join(file)).unwrap());
                post[name] = json!(file.map(|octets| [octets.len(), crc32c::crc32c(&octets) as usize]));
            }
            listing.insert(post["id"].as_str().unwrap().to_owned(), post);
        }
    }
    listing
}

fn run(place: &Path, arguments: &[&str]) -> (i32, String, String) {
    said(&postgate(place).args(arguments).output().unwrap())
}

/// Copies all files below a directory, which are nobody else's there.
fn copied(from: &Path, to: &Path) {
    for (path, octets) in files(from) {
        let place = to.join(path.strip_prefix(from).unwrap());
        let mut directories = fs::DirBuilder::new();
        directories.recursive(true).mode(0o700).create(place.parent().unwrap()).unwrap();
        let file = fs::File::options().write(true).create_new(true).mode(0o600).open(place);
        file.unwrap().write_all(&octets).unwrap();
    }
}

/// A copy of the stored spool, as a gateway has left it.
fn copy_of_the_stored() -> TempDir {
    let directory = TempDir::new().unwrap();
    copied(&stored(), &directory.path().join("postgate-data"));
    let config = config(([127, 0, 0, 1], 9).into());
    let ports = "[[listener]]\naddress = \"127.0.0.1:0\"\n[api]\naddress = \"off\"\n";
    fs::write(directory.path().join("postgate.toml"), format!("{ports}[delivery]\n{config}")).unwrap();
    directory
}

#[test]
#[ignore = "stores the spool anew"]
fn a_spool_is_stored() {
    let scene = Scene::start_in(TempDir::new().unwrap(), |receiver| config(proxy_to(receiver)));
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let mut mail = |paths: &[&str], headers: &str, text: &str| {
        let recipients: Vec<_> = paths.iter().map(|path| format!("post@{ORIGIN}{path}")).collect();
        let message = format!("{headers}From: a@shop.example\r\nSubject: stored\r\n\r\n{text}\r\n");
        client.send(&recipients, message.as_bytes()).id().to_owned()
    };
    let hand_in = |asked: Value| {
        let response = scene.post_to("/api/v1/posts", &asked.to_string());
        assert_eq!(response.status, 202, "{response:?}");
        response.json()["id"].as_str().unwrap().to_owned()
    };
    let one = mail(&["/busy"], "X-Postgate-Tag: red\r\nX-XsHttp-X-Shop: 7\r\n", "deferred");
    let raw = mail(&["/gone?a=b"], "X-Postgate-Payload: raw\r\n", "failed");
    let held = mail(&["/busy"], "", "held");
    let many = mail(&["/busy/1", "/fine/2", "/busy/3"], "", "of one mail");
    let secret = mail(&["/busy?token=canary"], "X-XsHttp-Authorization: Bearer canary\r\n", "sealed");
    let line = "a line of a large mail, 64 octets long with its end, as all are\r\n";
    let large = mail(&["/busy"], "X-Postgate-Payload: raw\r\n", &line.repeat(1200));
    let elsewhere = mail(&["/busy"], "", "sent on");
    let direct = hand_in(json!({
        "url": format!("{ORIGIN}/busy/direct"), "body": "handed in", "idempotency_key": "own",
        "headers": { "Authorization": "Bearer canary", "X-Shop": "8" },
    }));
    let first =
        hand_in(json!({ "url": format!("{ORIGIN}/busy/line"), "body": "first", "ordering_key": "k" }));
    for id in [&one, &held, &secret, &large, &elsewhere, &direct, &first] {
        scene.stands(id, "deferred");
    }
    let behind =
        hand_in(json!({ "url": format!("{ORIGIN}/busy/line"), "body": "behind", "ordering_key": "k" }));
    [1, 3].into_iter().for_each(|number| scene.stands(&format!("{many}-{number}"), "deferred"));
    scene.stands(&format!("{many}-2"), "delivered");
    scene.stands(&raw, "failed");
    assert_eq!(scene.run(&["queue", "hold", &held]).0, 0);
    let url = format!("{ORIGIN}/gone/elsewhere");
    assert_eq!(scene.run(&["queue", "reroute", &elsewhere, "--url", &url]).0, 0);
    scene.stands(&elsewhere, "failed");
    scene.stands(&behind, "queued");
    let piece = PAUSED.replace(':', "%3A").replace('/', "%2F");
    let waiting = hand_in(json!({ "url": format!("{PAUSED}/busy"), "body": "one" }));
    scene.stands(&waiting, "deferred");
    let paused = scene.post_to(&format!("/api/v1/destinations/{piece}/pause"), r#"{"reason":"stored"}"#);
    assert_eq!(paused.status, 200, "{paused:?}");
    let queued = hand_in(json!({ "url": format!("{PAUSED}/waits"), "body": "" }));
    scene.stands(&queued, "queued");
    let webhook = json!({ "url": format!("{ORIGIN}/busy/hook"), "events": ["order.*"], "verify": "skip" });
    let made = scene.post_to("/api/v1/webhooks", &webhook.to_string());
    assert_eq!(made.status, 201, "{made:?}");
    let event = json!([{ "type": "order.paid", "data": { "order": 1 } }]);
    assert_eq!(scene.post_to("/api/v1/events", &event.to_string()).status, 202);
    eventually("a batch", DEADLINE, || {
        scene.receiver.arrivals().iter().any(|(arrival, _)| arrival.path == "/busy/hook").then_some(())
    });
    let Scene { directory, mut gateway, .. } = scene;
    assert_eq!(gateway.end("-TERM"), 0);
    store(&directory.path().join("postgate-data"));
}

/// Keeps what a gateway left: no logs, and of segments what was written.
fn store(data: &Path) {
    let _ = fs::remove_dir_all(stored());
    let is_kept =
        |path: &Path| !["log", "spool/lock", "spool/log/reserve"].iter().any(|left| path.starts_with(left));
    for (path, mut octets) in files(data) {
        let place = path.strip_prefix(data).unwrap();
        if is_kept(place) {
            let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
            let is_segment = place.extension().is_some_and(|extension| extension == "seg");
            octets.truncate(if is_segment { end.next_multiple_of(8) } else { octets.len() });
            fs::create_dir_all(stored().join(place).parent().unwrap()).unwrap();
            fs::write(stored().join(place), octets).unwrap();
        }
    }
    let directory = copy_of_the_stored();
    let posts = format!("{:#}\n", Value::Object(listing(directory.path())));
    fs::write(stored().join(POSTS), posts).unwrap();
}

#[test]
fn a_stored_spool_is_whole_and_all_of_it_is_delivered() {
    let directory = copy_of_the_stored();
    let told: Map<String, Value> = serde_json::from_slice(&fs::read(stored().join(POSTS)).unwrap()).unwrap();
    let states: Vec<_> = told.values().map(|post| post["state"].as_str().unwrap()).collect();
    let count = |state| states.iter().filter(|own| **own == state).count();
    assert_eq!(["queued", "deferred", "held", "failed"].map(count), [2, 9, 1, 2]);
    let (code, text, error) = run(directory.path(), &["spool", "check"]);
    assert!(code == 0 && text.ends_with("nothing is damaged\n"), "{text}{error}");
    let found = listing(directory.path());
    for (id, post) in &told {
        assert_eq!(found.get(id), Some(post), "{id}");
    }
    assert_eq!(found.len(), told.len());
    assert_eq!(run(directory.path(), &["spool", "check"]).1, text);

    let receiver = Collector::start(|_| Answer::Status(200));
    let scene = Scene::start_in(directory, |_| config(proxy_to(receiver.address)));
    let paused = scene.get("/api/v1/destinations").json();
    assert!(paused.to_string().contains(r#""reason":"stored""#), "{paused}");
    let piece = PAUSED.replace(':', "%3A").replace('/', "%2F");
    assert_eq!(scene.post_to(&format!("/api/v1/destinations/{piece}/resume"), "").status, 200);
    assert_eq!(scene.run(&["queue", "retry", "--all"]).0, 0);
    let arrivals = receiver.received(told.len());
    told.keys().for_each(|id| scene.stands(id, "delivered"));
    let arrivals: BTreeMap<_, _> = arrivals.iter().map(|arrival| (arrival.id(), arrival)).collect();
    for (id, post) in &told {
        let Arrival { headers, body, checksum, path, .. } = arrivals[id.as_str()];
        assert_eq!(headers["idempotency-key"], post["idempotency_key"].as_str().unwrap());
        assert_eq!(
            arrivals[id.as_str()].attempt() as usize,
            post["attempt_list"].as_array().unwrap().len() + 1
        );
        assert_eq!(json!([body.len(), checksum]), post["body"], "{id}");
        // The path of a batch is its webhook's.
        let is_batch = post.get("webhook").is_some();
        assert!(is_batch || post["url"].as_str().unwrap().ends_with(path.as_str()), "{path} {post}");
    }
    let sealed: Vec<_> =
        arrivals.values().filter_map(|arrival| arrival.headers.get("authorization")).collect();
    assert_eq!(sealed, ["Bearer canary"; 2]);
}

/// What makes another of a file.
type Change = dyn Fn(&mut Vec<u8>);

/// Changes a file of a spool.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut octets = fs::read(path).unwrap();
    change(&mut octets);
    fs::write(path, octets).unwrap();
}

#[test]
fn a_spool_of_a_newer_version_is_refused_as_it_is() {
    let record = |octets: &mut Vec<u8>| {
        octets[64 + 5] = 7;
        let head = crc32c::crc32c_append(crc32c::crc32c(&octets[8..16]), &octets[64..80]);
        let meta = u32::from_le_bytes(octets[72..76].try_into().unwrap()) as usize;
        let sum = crc32c::crc32c_append(head, &octets[88..88 + meta]);
        octets[80..84].copy_from_slice(&sum.to_le_bytes());
    };
    let header = |octets: &mut Vec<u8>| {
        octets[7] = b'7';
        let sum = crc32c::crc32c(&octets[..40]);
        octets[40..44].copy_from_slice(&sum.to_le_bytes());
    };
    let notes = |octets: &mut Vec<u8>| {
        octets[7] = b'7';
        let sum = crc32c::crc32c_append(crc32c::crc32c(&octets[..8]), &octets[12..]);
        octets[8..12].copy_from_slice(&sum.to_le_bytes());
    };
    let segment = "0000000000000001.seg";
    let parts: [(&str, &Change); 3] = [(segment, &record), (segment, &header), ("notes", &notes)];
    for (name, part) in parts {
        let directory = copy_of_the_stored();
        let spool = directory.path().join("postgate-data/spool");
        change(&spool.join("log").join(name), part);
        // Of these a gateway would make and remove some.
        fs::write(spool.join("lock"), "").unwrap();
        fs::write(spool.join("log/0000000000000002.seg"), [0; 4096]).unwrap();
        let before = files(&spool);
        let mut served = postgate(directory.path());
        let mut served = served.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let code = within(DEADLINE, || served.try_wait().unwrap());
        // One that was not refused would go on.
        let _ = served.kill();
        let output = served.wait_with_output().unwrap();
        assert!(code.is_some_and(|code| code.code() == Some(74)), "{name}: {output:?}");
        let told = "of format 7, written by a newer version of Postgate; run that one";
        assert!(String::from_utf8_lossy(&output.stderr).contains(told), "{name}: {output:?}");
        assert_eq!(files(&spool), before, "{name}");
        for command in [&["spool", "check"][..], &["spool", "export", "posts"]] {
            let (code, _, error) = run(directory.path(), command);
            assert!(code == 74 && error.contains(told), "{name}, {command:?}: {code} {error}");
            assert_eq!(files(&spool), before, "{name}, {command:?}");
        }
        assert!(!directory.path().join("posts").exists());
    }
}

#[test]
fn a_damaged_digit_is_no_newer_version() {
    let directory = copy_of_the_stored();
    let log = directory.path().join("postgate-data/spool/log");
    let segment = log.join("0000000000000001.seg");
    let whole = fs::read(&segment).unwrap();
    let sealed = |digit: u8| {
        move |octets: &mut Vec<u8>| {
            octets[7] = digit;
            let sum = crc32c::crc32c(&octets[..40]);
            octets[40..44].copy_from_slice(&sum.to_le_bytes());
        }
    };
    let damaged = |octets: &mut Vec<u8>| octets[7] = b'3';
    // There was none before the first.
    let parts: [&Change; 2] = [&damaged, &sealed(b'0')];
    for part in parts {
        change(&segment, part);
        let (code, text, error) = run(directory.path(), &["spool", "check"]);
        assert!(code == 65 && text.contains("the header is lost"), "{code} {text}{error}");
        fs::write(&segment, &whole).unwrap();
    }
}

#[test]
fn a_damaged_digit_of_notes_loses_none_of_them() {
    // One octet, of which a bit or two are others: some of these are digits.
    for digit in [b'3', b'5', b'9', b'0', b'q'] {
        let directory = copy_of_the_stored();
        let notes = directory.path().join("postgate-data/spool/log/notes");
        change(&notes, |octets| octets[7] = digit);
        let (code, text, error) = run(directory.path(), &["spool", "check"]);
        assert!(code == 65 && text.contains("all that it says is whole"), "{code} {text}{error}");
        let receiver = Collector::start(|_| Answer::Status(200));
        let scene = Scene::start_in(directory, |_| config(proxy_to(receiver.address)));
        let paused = scene.get("/api/v1/destinations").json();
        assert!(paused.to_string().contains(r#""reason":"stored""#), "{digit}: {paused}");
    }
    // What they say is damaged as well.
    let directory = copy_of_the_stored();
    let log = directory.path().join("postgate-data/spool/log");
    change(&log.join("notes"), |octets| (octets[7], octets[20]) = (b'5', !octets[20]));
    let (code, text, error) = run(directory.path(), &["spool", "check"]);
    assert!(code == 65 && text.contains("webhooks and keys are lost"), "{code} {text}{error}");
    let receiver = Collector::start(|_| Answer::Status(200));
    let scene = Scene::start_in(directory, |_| config(proxy_to(receiver.address)));
    let paused = scene.get("/api/v1/destinations").json();
    assert!(!paused.to_string().contains(r#""reason":"stored""#), "{paused}");
    assert!(scene.directory.path().join("postgate-data/spool/log/damaged-notes").exists());
}
