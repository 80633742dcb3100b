//! Attachments that are fetched from the running program: by whom, how, and for how
//! long; and receivers that find a body too large.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use data_encoding::{BASE64, HEXLOWER};
use postgate::compose::{LinkKey, Links};
use postgate::post::{PostId, Timestamp};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;
use support::DEADLINE;
use support::api::{Response, Scene};
use support::collector::{Answer, Arrival, Collector};
use support::program::{Client, Gateway, eventually};
use tempfile::TempDir;

/// Takes nothing below `/busy`, nor what is larger than this below `/small`.
const SMALL: usize = 10_000;

fn by_size(arrival: &Arrival) -> Answer {
    let is_large = arrival.body.len() > SMALL;
    match arrival.path.split(['/', '?']).nth(1) {
        Some("busy") => Answer::Status(500),
        Some("small") if is_large => Answer::Status(413),
        Some("tiny") => Answer::Status(413),
        _ => Answer::Status(200),
    }
}

/// Routes that name their way of posting, and what makes posts stay for a while.
fn start(more: &str) -> Scene {
    let directory = TempDir::new().unwrap();
    let receiver = Collector::start(by_size);
    let to = receiver.address;
    let route = |name: &str, path: &str, keys: &str| {
        format!("[[route]]\nrecipient = \"{name}@hooks.example\"\nurl = \"http://{to}{path}\"\n{keys}\n")
    };
    let config = format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[api]\naddress = \"127.0.0.1:0\"\n\
         [egress]\nallow = [\"127.0.0.0/8\"]\n[delivery]\nretry = [\"1h\"]\nbreaker = 0\n\
         [[destination]]\nmatch = \"http://{to}\"\non = {{ \"413\" = \"retry-with-urls\" }}\n{}{}{}{}{more}",
        route("url", "/busy", "attachments = \"url\"\ninline_limit = \"100B\""),
        route("taken", "/", "attachments = \"url\"\ninline_limit = \"100B\""),
        route("small", "/small", "payload = \"multipart\""),
        route("tiny", "/tiny", "mode = \"sync\""),
    );
    let gateway = Gateway::start(directory.path(), &config);
    let line = gateway.line("API at ");
    let api = line.trim_end_matches('/').rsplit('/').next().unwrap().parse().unwrap();
    Scene { directory, gateway, api, receiver }
}

/// A mail with one attachment.
fn mail(part: &str, octets: &[u8]) -> String {
    format!(
        "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhello\r\n--b\r\n{part}\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}\r\n--b--\r\n",
        BASE64.encode(octets)
    )
}

const PLAIN: &str = "Content-Type: application/pdf; name=a.pdf";

/// Octets of which no two neighbours are alike.
fn octets(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Hands a mail in; the id of its post.
fn send(scene: &Scene, recipient: &str, mail: &str) -> String {
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    client.send(&[recipient.to_owned()], mail.as_bytes()).id().to_owned()
}

/// The attachment as a receiver is told of it.
fn told(arrival: &Arrival) -> Value {
    let body: Value = serde_json::from_slice(&arrival.body).unwrap();
    body["attachments"][0].clone()
}

/// Path and query of an address at this gateway.
fn path(scene: &Scene, url: &Value) -> String {
    let base = format!("http://{}", scene.api);
    url.as_str().unwrap().strip_prefix(&base).unwrap_or_else(|| panic!("{url} is not at {base}")).to_owned()
}

/// A request with more fields, for any host.
fn ask(scene: &Scene, method: &str, host: &str, path: &str, fields: &str) -> Response {
    scene.raw(&format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Connection: close\r\n\r\n"))
}

fn fetch(scene: &Scene, path: &str, fields: &str) -> Response {
    ask(scene, "GET", "127.0.0.1", path, fields)
}

/// A mail whose attachment comes as an address; the address.
fn linked(scene: &Scene, part: &str, octets: &[u8]) -> String {
    let before = scene.receiver.arrivals().len();
    send(scene, "url@hooks.example", &mail(part, octets));
    let arrivals = scene.receiver.received(before + 1);
    let told = told(&arrivals[before]);
    assert_eq!((&told["content"], &told["size"]), (&Value::Null, &json!(octets.len())));
    path(scene, &told["url"])
}

#[test]
fn an_address_gives_the_octets_whole_or_in_parts() {
    let scene = start("");
    let octets = octets(100_000);
    let path = linked(&scene, PLAIN, &octets);
    let whole = fetch(&scene, &path, "");
    assert_eq!((whole.status, &whole.body), (200, &octets));
    let tag =
        format!("\"{}\"", HEXLOWER.encode(ring::digest::digest(&ring::digest::SHA256, &octets).as_ref()));
    for (name, value) in [
        ("content-type", "application/pdf"),
        ("content-length", "100000"),
        ("content-disposition", "attachment; filename=\"a.pdf\"; filename*=UTF-8''a.pdf"),
        ("etag", tag.as_str()),
        ("accept-ranges", "bytes"),
        ("cache-control", "private"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(whole.header(name), Some(value), "{name}");
    }
    for (range, content_range, piece) in [
        ("0-0", "bytes 0-0/100000", &octets[..1]),
        ("500-999", "bytes 500-999/100000", &octets[500..1000]),
        ("99990-", "bytes 99990-99999/100000", &octets[99_990..]),
        ("-10", "bytes 99990-99999/100000", &octets[99_990..]),
        ("0-", "bytes 0-99999/100000", &octets[..]),
    ] {
        for condition in
            ["".to_owned(), format!("If-Range: {tag}\r\n"), "If-None-Match: \"x\"\r\n".to_owned()]
        {
            let part = fetch(&scene, &path, &format!("Range: bytes={range}\r\n{condition}"));
            assert_eq!(
                (part.status, part.header("content-range")),
                (206, Some(content_range)),
                "{condition}"
            );
            assert!(part.body == piece && part.header("etag") == Some(&tag), "{range}");
        }
    }
    for fields in ["Range: bytes=0-1,5-6\r\n", "Range: bytes=0-1\r\nIf-Range: \"x\"\r\n"] {
        let whole = fetch(&scene, &path, fields);
        assert_eq!(
            (whole.status, whole.body.len(), whole.header("content-range")),
            (200, octets.len(), None)
        );
    }
    let past = fetch(&scene, &path, "Range: bytes=100000-\r\n");
    assert_eq!((past.status, past.header("content-range")), (416, Some("bytes */100000")));
    let known = fetch(&scene, &path, &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, Some(tag.as_str())));
    let head = ask(&scene, "HEAD", "127.0.0.1", &path, "Range: bytes=0-1\r\n");
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("100000"), 0));
    assert_eq!(ask(&scene, "DELETE", "127.0.0.1", &path, "").status, 405);
}

/// No key, and any name a proxy may have for the gateway: the signature is what counts.
#[test]
fn whoever_has_the_address_may_fetch_and_nobody_else() {
    let scene = start("");
    let path = linked(&scene, PLAIN, &octets(1000));
    for host in ["127.0.0.1", "gateway.example", "gateway.example:8443"] {
        assert_eq!(ask(&scene, "GET", host, &path, "").status, 200, "{host}");
    }
    assert_eq!(ask(&scene, "GET", "gateway.example", "/api/v1/posts", "").status, 421);
    let (signed, signature) = path.split_once("&signature=").unwrap();
    let (place, expires) = signed.split_once("?expires=").unwrap();
    let (post, _) = place.rsplit_once('/').unwrap();
    let later = expires.parse::<u64>().unwrap() + 1;
    let last = if signature.ends_with('0') { '1' } else { '0' };
    for forged in [
        format!("{post}/2?expires={expires}&signature={signature}"),
        format!("{post}-1/1?expires={expires}&signature={signature}"),
        format!("{place}?expires={later}&signature={signature}"),
        format!("{signed}&signature={}{last}", &signature[..63]),
        format!("{signed}&signature="),
        format!("{signed}&signature={}", "é".repeat(32)),
        signed.to_owned(),
        place.to_owned(),
        format!("{place}?signature={signature}"),
        format!("/attachments/..%2f..%2f/1?expires={expires}&signature={signature}"),
        format!("{post}/-1?expires={expires}&signature={signature}"),
    ] {
        let refused = fetch(&scene, &forged, "");
        assert_eq!((refused.status, refused.json()["status"].clone()), (403, json!(403)), "{forged}");
        assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    }
    // With the gateway's own key: beyond the end, and for what is not there.
    let key = fs::read(scene.directory.path().join("postgate-data/attachment-key")).unwrap();
    let life = Duration::from_secs(60);
    let key = LinkKey::new(&key.try_into().unwrap());
    let links = Links { key, base: String::new(), life, fallback: HashMap::new() };
    let id: PostId = post.rsplit('/').next().unwrap().parse().unwrap();
    let now = postgate::clock::wall();
    let gone = PostId { number: 7, ..id };
    for (id, number, at, status) in [
        (id, 1, now, 200),
        // A post that waits outlives the end that was foreseen.
        (id, 1, Timestamp(0), 200),
        (id, 2, now, 404),
        (id, 0, now, 404),
        (gone, 1, now, 410),
        (gone, 1, Timestamp(0), 410),
    ] {
        assert_eq!(fetch(&scene, &links.url(id, number, at), "").status, status, "{id} {number} {at:?}");
    }
}

/// What a stranger wrote is neither shown nor believed.
#[test]
fn hostile_attachments_are_files_without_a_path() {
    let scene = start("");
    let page = format!("<script>alert(1)</script>{}", " ".repeat(200));
    for (part, content_type, disposition) in [
        (
            "Content-Type: text/html\r\nContent-Disposition: attachment; filename=\"../../a.html\"",
            "text/html",
            "attachment; filename=\"a.html\"; filename*=UTF-8''a.html",
        ),
        (
            "Content-Type: image/svg+xml\r\nContent-Disposition: inline; filename*=UTF-8''a%22%3B%20x%3D%22b%0D%0AX-Y%3A%20z.svg",
            "image/svg+xml",
            "attachment; filename=\"a_; x=_bX-Y: z.svg\"; filename*=UTF-8''a%22%3B%20x%3D%22bX-Y%3A%20z.svg",
        ),
        (
            "Content-Type: a/b/c; name=\"=?utf-8?Q?invoice=E2=80=AEfdp.exe?=\"",
            "application/octet-stream",
            "attachment; filename=\"invoicefdp.exe\"; filename*=UTF-8''invoicefdp.exe",
        ),
    ] {
        let path = linked(&scene, part, page.as_bytes());
        let file = fetch(&scene, &path, "");
        assert_eq!((file.status, file.body.as_slice()), (200, page.as_bytes()));
        assert_eq!(file.header("content-type"), Some(content_type));
        assert_eq!(file.header("content-disposition"), Some(disposition));
        assert_eq!((file.header("x-content-type-options"), file.header("x-y")), (Some("nosniff"), None));
        assert!(file.header("content-security-policy").unwrap().starts_with("sandbox;"));
    }
}

/// Who fetches and reads nothing leaves half of the connections to everybody else.
#[test]
fn slow_readers_leave_connections_to_others() {
    let scene = start("");
    let path = linked(&scene, PLAIN, &octets(1000));
    for number in 0..60 {
        assert_eq!(fetch(&scene, &path, "").status, 200, "a place is free again, {number}");
    }
    // More than the system takes for who reads nothing.
    let path = linked(&scene, PLAIN, &octets(8 << 20));
    let fetching = |_| {
        let mut stream = TcpStream::connect(scene.api).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stream
    };
    let slow: Vec<_> = (0..100).map(fetching).collect();
    let refused = eventually("a fetch is refused", DEADLINE, || {
        Some(fetch(&scene, &path, "Range: bytes=0-0\r\n")).filter(|response| response.status == 429)
    });
    assert_eq!((refused.header("retry-after"), refused.header("connection")), (Some("10"), Some("close")));
    assert_eq!(fetch(&scene, "/healthz", "").status, 200);
    drop(slow);
}

/// A post that is delivered is gone as soon as its time is over, and not before.
#[test]
fn an_address_outlives_the_delivery_and_a_restart() {
    let mut scene = start("");
    let octets = octets(5000);
    send(&scene, "taken@hooks.example", &mail(PLAIN, &octets));
    let url = told(&scene.receiver.received(1)[0])["url"].clone();
    let id = url.as_str().unwrap().split('/').nth(4).unwrap().to_owned();
    let before = path(&scene, &url);
    scene.stands(&id, "delivered");
    assert_eq!(fetch(&scene, &before, "").body, octets);
    assert_eq!(scene.gateway.end("-TERM"), 0);
    scene.again();
    assert_eq!(fetch(&scene, &before, "").body, octets);
    assert_eq!(scene.ask("DELETE", &format!("/api/v1/posts/{id}"), None).status, 200);
    assert_eq!(fetch(&scene, &before, "").status, 410);
}

#[test]
fn who_finds_a_body_too_large_gets_addresses() {
    let scene = start("");
    let octets = octets(SMALL);
    let origin = format!("post@http://{}/small", scene.receiver.address);
    for recipient in ["small@hooks.example", &origin] {
        let before = scene.receiver.arrivals().len();
        let id = send(&scene, recipient, &mail(PLAIN, &octets));
        scene.receiver.received(before + 2);
        let arrivals = scene.receiver.arrivals();
        let [(first, refused), (second, taken)] = &arrivals[before..] else { panic!("{arrivals:?}") };
        assert_eq!((*refused, *taken), (Answer::Status(413), Answer::Status(200)));
        assert_eq!((first.id(), second.id(), first.attempt(), second.attempt()), (&*id, &*id, 1, 2));
        assert_eq!(first.headers["content-type"], second.headers["content-type"]);
        assert!(second.body.len() < 2000);
        let text = String::from_utf8(second.body.clone()).unwrap();
        let url = text.split("\"url\":\"").nth(1).unwrap().split('"').next().unwrap();
        let url = json!(url.replace("\\u0026", "&"));
        let file = fetch(&scene, &path(&scene, &url), "");
        assert_eq!((file.status, file.body), (200, octets.clone()), "{recipient}");
    }
}

/// A second refusal is judged as usual, and so is one of a mail without attachments.
#[test]
fn addresses_are_tried_once_and_whoever_waits_hears_of_that() {
    let scene = start("");
    for (mail, attempts) in [(mail(PLAIN, &octets(100)), 2), ("Subject: x\r\n\r\nhello\r\n".to_owned(), 1)] {
        let before = scene.receiver.arrivals().len();
        let mut client = Client::connect(scene.gateway.smtp).unwrap();
        let reply = client.send(&["tiny@hooks.example".to_owned()], mail.as_bytes());
        assert!(format!("{reply:?}").contains("554"), "{reply:?}");
        assert_eq!(scene.receiver.arrivals().len(), before + attempts);
    }
}
