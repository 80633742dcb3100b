//! Events in the panel: a page at a time, and as they happen, for as long as whoever looks
//! may.

use super::browser::{Browser, text};
use super::support::DEADLINE;
use super::support::api::Scene;
use super::support::program::eventually;
use super::{HOSTILE, block, has_marks, is_inert, key};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

const ALWAYS: &str = "[journal]\nalways = true\n";

/// The same as `with_keys`, with a journal.
fn with_keys() -> Scene {
    let keys: String = ["admin", "default-read", "default-operator", "club-operator"].map(block).concat();
    Scene::start(&format!("{ALWAYS}[[tenant]]\nname = \"club\"\n\n{keys}"))
}

/// Publishes events with a key, for a tenant where one is named.
fn publish(scene: &Scene, key: &str, tenant: Option<&str>, events: &Value) {
    let (host, body) = (scene.api, events.to_string());
    let tenant = tenant.map(|tenant| format!("X-Tenant-ID: {tenant}\r\n")).unwrap_or_default();
    let response = scene.raw(&format!(
        "POST /api/v1/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n\
         Content-Type: application/json\r\n{tenant}Connection: close\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(response.status, 202, "{response:?}");
}

/// A page, once all of this stands there: events are in the journal a moment after they happened.
fn looked(browser: &mut Browser<'_>, path: &str, wanted: &[&str]) -> String {
    eventually("events to be told", DEADLINE, || {
        let page = text(&browser.get(path));
        wanted.iter().all(|one| page.contains(one)).then_some(page)
    })
}

/// A stream of a browser: its lines, and who reads them.
struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Asks as the script of the page does.
    fn open(browser: &Browser<'_>, path: &str, lines: &str) -> Stream {
        let (host, cookie) = (browser.scene.api, browser.cookie.clone().unwrap_or_default());
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}\r\nHX-Request: true\r\n{lines}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        Stream(BufReader::new(stream))
    }

    /// The next line that has this text in it; nothing when the stream ended before.
    fn find(&mut self, wanted: &str) -> Option<String> {
        loop {
            let mut line = String::new();
            let count = self.0.read_line(&mut line).unwrap_or_else(|error| panic!("{wanted}: {error}"));
            if count == 0 || line.trim() == "0" {
                return None;
            }
            if line.contains(wanted) {
                return Some(line);
            }
        }
    }
}

#[test]
fn events_are_found_page_by_page() {
    let scene = Scene::start(ALWAYS);
    let mut browser = Browser::new(&scene);
    let none = text(&browser.get("/events"));
    assert!(none.contains("No event yet") && none.contains("Refresh"), "{none}");
    let events: Vec<_> = (0..60)
        .map(|number| json!({ "type": "order.paid", "data": { "order": number, "tag": "bill" } }))
        .collect();
    assert_eq!(scene.post_to("/api/v1/events", &json!(events).to_string()).status, 202);
    let id = scene.post("/gone", "X-Postgate-Tag: other\r\n", "failed");
    looked(&mut browser, "/events?type=post.failed", &["post.failed</code>"]);
    let page = text(&browser.get("/events?type=order.*&tag="));
    assert_eq!(page.matches("<li id=\"evt_").count(), 20, "{page}");
    assert!(page.contains("&#34;order&#34;: 59") && !page.contains("post.failed</code>"), "{page}");
    assert!(page.contains("data-stream=\"/events/stream?type=order.*\""), "{page}");
    let next =
        page.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let second = text(&browser.get(&next));
    assert_eq!(second.matches("<li id=\"evt_").count(), 20, "{second}");
    assert!(!second.contains("data-stream"), "what is past does not go on: {second}");
    for (query, count) in [
        ("tag=bill", 20),
        ("tag=oth*", 2),
        ("type=post.failed", 1),
        ("recipient=nobody", 0),
        ("until=2020-01-01T00:00:00Z", 0),
    ] {
        let page = text(&browser.get(&format!("/events?{query}")));
        assert_eq!(page.matches("<li id=\"evt_").count(), count, "{query}: {page}");
    }
    let origin: String = url::form_urlencoded::byte_serialize(scene.origin().as_bytes()).collect();
    let page = text(&browser.get(&format!("/events?destination={origin}&type=post.failed")));
    assert!(page.contains(&format!("href=\"/posts/{id}\"")) && page.contains("/gone · 404"), "{page}");
    for wrong in ["type=x", "since=yesterday", "destination=%20", "cursor=x"] {
        let refused = browser.get(&format!("/events?{wrong}"));
        if wrong != "destination=%20" {
            assert_eq!(refused.status, 422, "{wrong}");
        }
        has_marks(&refused);
    }
}

#[test]
fn events_are_words_and_each_sees_those_of_its_tenant() {
    let scene = with_keys();
    let data = json!({ "recipient": HOSTILE[1], "url": HOSTILE[3], "reason": HOSTILE[0], "x": HOSTILE, "postId": "\"><b>" });
    publish(&scene, &key("club-operator"), None, &json!({ "type": "order.paid", "data": data }));
    publish(&scene, &key("default-operator"), None, &json!({ "type": "order.lost", "data": {} }));
    let mut admin = Browser::with_key(&scene, &key("admin"));
    let page = looked(&mut admin, "/events", &["order.paid</code>", "order.lost</code>"]);
    is_inert(&page.replacen("<script defer src=\"/assets/events", "", 1));
    let page = text(&admin.get("/events?tenant=club"));
    assert!(page.contains("order.paid</code>") && !page.contains("order.lost</code>"), "{page}");
    assert!(
        page.contains("<option selected>club</option>") && page.contains("tenant=club\" hidden"),
        "{page}"
    );
    let mut own = Browser::with_key(&scene, &key("default-read"));
    let page = text(&own.get("/events"));
    assert!(page.contains("order.lost</code>") && !page.contains("order.paid</code>"), "{page}");
    assert_eq!(own.get("/events?tenant=club").status, 403);
    for word in HOSTILE {
        let piece: String = url::form_urlencoded::byte_serialize(word.as_bytes()).collect();
        for name in ["type", "tag", "destination", "recipient", "since", "tenant", "cursor"] {
            let page = admin.get(&format!("/events?{name}={piece}"));
            is_inert(&text(&page).replacen("<script defer src=\"/assets/events", "", 1));
        }
    }
}

#[test]
fn a_stream_tells_what_happens_until_whoever_looks_signs_out() {
    let scene = with_keys();
    let mut browser = Browser::with_key(&scene, &key("default-operator"));
    browser.get("/events");
    let plain = browser.get("/events/stream");
    assert_eq!(plain.status, 400, "{}", text(&plain));
    let mut stream = Stream::open(&browser, "/events/stream?type=order.*", "");
    assert!(stream.find("content-type").unwrap().contains("text/event-stream"));
    let policy = stream.find("content-security-policy");
    assert!(policy.is_some_and(|policy| policy.contains("default-src 'none'")));
    stream.find("id: ").unwrap();
    let key_of = key("default-operator");
    publish(
        &scene,
        &key_of,
        None,
        &json!([{ "type": "other.x", "data": {} }, { "type": "order.paid", "data": {} }]),
    );
    let told = stream.find("data: ").unwrap();
    assert!(told.contains("\"order.paid\""), "{told}");
    publish(&scene, &key("club-operator"), None, &json!({ "type": "order.secret", "data": {} }));
    // One of another session of the same key goes on.
    let elsewhere = Browser::with_key(&scene, &key_of);
    let mut other = Stream::open(&elsewhere, "/events/stream", "Last-Event-ID: 0\r\n");
    assert!(other.find("data: ").unwrap().contains("other.x"), "from the beginning");
    assert_eq!(browser.send("/sign-out", &[]).status, 303);
    assert_eq!(stream.find("order.secret"), None, "it ends, and has told nothing of another tenant");
    publish(&scene, &key_of, None, &json!({ "type": "order.last", "data": {} }));
    assert!(other.find("order.last").is_some());
    let late = Stream::open(&browser, "/events/stream", "").find("hx-redirect");
    assert!(late.unwrap().contains("/sign-in"));
}

#[test]
fn a_stream_ends_with_its_key_and_with_the_gateway() {
    let mut scene = with_keys();
    let viewer = Browser::with_key(&scene, &key("default-read"));
    let mut stream = Stream::open(&viewer, "/events/stream", "");
    stream.find("id: ").unwrap();
    let path = scene.directory.path().join("postgate.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace(&block("default-read"), "")).unwrap();
    let reload = format!(
        "POST /api/v1/reload HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        scene.api,
        key("admin")
    );
    assert_eq!(scene.raw(&reload).status, 200);
    assert_eq!(stream.find("data: "), None);
    assert!(Stream::open(&viewer, "/events/stream", "").find("hx-redirect").is_some());
    let admin = Browser::with_key(&scene, &key("admin"));
    let mut stream = Stream::open(&admin, "/events/stream", "");
    stream.find("id: ").unwrap();
    drop(admin);
    drop(viewer);
    scene.gateway.end("-TERM");
    assert_eq!(stream.find("data: "), None);
}
