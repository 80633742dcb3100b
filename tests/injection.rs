//! Posts and mail that are handed in over HTTP, at the running program.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;
use support::DEADLINE;
use support::api::{Response, Scene};
use support::program::eventually;
use support::small_disk::SmallDisk;

const POSTS: &str = "/api/v1/posts";
const MESSAGES: &str = "/api/v1/messages";

fn inject(scene: &Scene, post: &Value) -> Response {
    scene.post_to(POSTS, &post.to_string())
}

/// What is wrong, by field.
fn wrongs(response: &Response) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let body = response.json();
    let errors = body["errors"].as_array().cloned().unwrap_or_default();
    errors.iter().map(|wrong| (text(&wrong["field"]), text(&wrong["detail"]))).collect()
}

fn ids(response: &Response) -> Vec<String> {
    assert!([200, 202].contains(&response.status), "{response:?}");
    let answer = response.json();
    let list = answer["ids"].as_array().or(answer["posts"].as_array()).unwrap();
    list.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

fn kept(scene: &Scene) -> usize {
    let (mut count, mut query) = (0, "limit=1000".to_owned());
    loop {
        let page = scene.get(&format!("{POSTS}?{query}")).json();
        count += page["posts"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { return count };
        query = format!("limit=1000&cursor={next}");
    }
}

/// A request with these header lines.
fn raw(scene: &Scene, path: &str, lines: &str, body: &str) -> Response {
    let (host, length) = (scene.api, body.len());
    let head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n");
    scene.raw(&format!("{head}{lines}Connection: close\r\n\r\n{body}"))
}

/// A scene with more configuration, for nobody else to read; `RECEIVER` is its
/// receiver's origin.
fn with(more: &str) -> Scene {
    let mut scene = Scene::start("");
    let path = scene.directory.path().join("postgate.toml");
    let config = fs::read_to_string(&path).unwrap() + &more.replace("RECEIVER", &scene.origin());
    scene.gateway.end("-TERM");
    fs::write(&path, config).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    scene.again();
    scene
}

/// Events are made whether or not somebody listens.
const ALWAYS: &str = "[journal]\nalways = true\n";
const JSON: &str = "Content-Type: application/json\r\n";
const MAIL: &str = "Content-Type: message/rfc822\r\n";

#[test]
fn every_field_of_a_post_is_what_is_sent_and_shown() {
    let scene = with("[[auth]]\nname = \"shop\"\ntype = \"bearer\"\ntoken = \"kAnArY\"\n");
    let response = inject(
        &scene,
        &json!({
            "url": format!("{}/busy?a=%20b&token=secret", scene.origin()),
            "method": "put",
            "headers": { "X-One": "1", "x-two": ["2", "3"] },
            "content_type": "text/csv",
            "body": "a,b\n",
            "not_before": "2020-01-01T00:00:00Z",
            "expires": "2h",
            "priority": 2,
            "ordering_key": "k",
            "idempotency_key": "once",
            "tags": ["a b", "c"],
            "auth": "shop",
        }),
    );
    assert_eq!(response.status, 202, "{response:?}");
    let id = response.json()["id"].as_str().unwrap().to_owned();
    let arrival = scene.receiver.received(1).remove(0);
    assert_eq!(arrival.path, "/busy?a=%20b&token=secret");
    assert_eq!((arrival.id(), arrival.body.as_slice()), (id.as_str(), &b"a,b\n"[..]));
    for (name, value) in [
        ("content-type", "text/csv"),
        ("x-one", "1"),
        ("idempotency-key", "once"),
        ("authorization", "Bearer kAnArY"),
    ] {
        assert_eq!(arrival.headers[name], value, "{name}");
    }
    assert!(["2", "3"].contains(&arrival.headers["x-two"].as_str()));
    scene.stands(&id, "deferred");
    let post = scene.get(&format!("{POSTS}/{id}")).json();
    for (field, value) in [
        ("method", json!("PUT")),
        ("priority", json!(2)),
        ("ordering_key", json!("k")),
        ("idempotency_key", json!("once")),
        ("tags", json!(["a b", "c"])),
        ("auth", json!("shop")),
        ("not_before", json!("2020-01-01T00:00:00.000Z")),
        ("url", json!(format!("{}/busy?a=%20b&token=***", scene.origin()))),
        ("sender", json!("")),
        ("recipient", json!("")),
        ("body_size", json!(4)),
    ] {
        assert_eq!(post[field], value, "{field} of {post}");
    }
    assert_eq!(scene.get(&format!("{POSTS}/{id}/body")).body, b"a,b\n");
    let mail = scene.get(&format!("{POSTS}/{id}/message"));
    assert!(mail.status == 404 && mail.json()["detail"].as_str().unwrap().contains("over HTTP"), "{mail:?}");
    // Its dialogue is in the protocol log as a session would be.
    let shown = || {
        let (_, lines, _) = scene.run(&["log", "--post", &id]);
        (lines.contains("handed in over HTTP, queued as") && lines.contains("attempt 1")).then_some(lines)
    };
    let lines = eventually("the log of the post", DEADLINE, shown);
    assert!(!lines.contains("secret") && !lines.contains("kAnArY"), "{lines}");
}

#[test]
fn a_body_comes_as_text_as_base64_or_as_the_json_that_was_written() {
    let scene = Scene::start("");
    let url = format!("{}/ok", scene.origin());
    let url = format!("\"url\": {url:?}");
    for (number, (fields, body, kind)) in [
        (r#""body": "grüß \u0000""#, "grüß \0".as_bytes(), Some("text/plain; charset=utf-8")),
        (r#""body": """#, b"", Some("text/plain; charset=utf-8")),
        (r#""body_base64": "AAEC/w==""#, &[0, 1, 2, 255], Some("application/octet-stream")),
        (
            r#""json": {"b": 1.10, "a" : [12345678901234567890, null]}"#,
            br#"{"b": 1.10, "a" : [12345678901234567890, null]}"#,
            Some("application/json"),
        ),
        (r#""json": null"#, b"null", Some("application/json")),
        (
            r#""json": 1, "content_type": "application/cloudevents+json""#,
            b"1",
            Some("application/cloudevents+json"),
        ),
        (r#""body": "x", "headers": {"content-type": "a/b"}"#, b"x", Some("a/b")),
        (r#""method": "GET""#, b"", None),
        (r#""method": "DELETE", "body": null"#, b"", None),
    ]
    .into_iter()
    .enumerate()
    {
        let response = scene.post_to(POSTS, &format!("{{{url}, {fields}}}"));
        assert_eq!(response.status, 202, "{fields}: {response:?}");
        let arrival = scene.receiver.received(number + 1).remove(number);
        assert_eq!(arrival.body, body, "{fields}");
        assert_eq!(arrival.headers.get("content-type").map(String::as_str), kind, "{fields}");
    }
    // Credentials in a URL become a header, as in a recipient.
    let url = format!("http://user:pass@{}/ok", scene.receiver.address);
    assert_eq!(inject(&scene, &json!({ "url": url, "json": {} })).status, 202);
    assert_eq!(scene.receiver.received(10)[9].headers["authorization"], "Basic dXNlcjpwYXNz");
}

#[test]
fn what_is_wrong_is_told_by_field_and_nothing_is_kept() {
    let scene = Scene::start("[limits]\nmessage_size = \"64KiB\"\n");
    let url = format!("{}/ok", scene.origin());
    let large = "x".repeat(64 * 1024 + 1);
    for (fields, field, detail) in [
        (json!({ "url": null }), "url", "where to?"),
        (json!({ "url": 7 }), "url", "expected a text"),
        (json!({ "url": "ftp://h/" }), "url", "does not begin with http"),
        (json!({ "url": "http://h/ x" }), "url", "a blank"),
        (json!({ "url": "http://h/\r\nX: 1" }), "url", "control"),
        (json!({ "url": "http://10.0.0.1/" }), "url", "10.0.0.1"),
        (json!({ "url": "http://[::1]/" }), "url", "::1"),
        (json!({ "url": "http://2852039166/" }), "url", "169.254.169.254"),
        (json!({ "method": "CONNECT" }), "method", "expected one of POST"),
        (json!({ "headers": [] }), "headers", "expected an object"),
        (json!({ "headers": { "Host": "h" } }), "headers.Host", "cannot be set"),
        (json!({ "headers": { "webhook-id": "h" } }), "headers.webhook-id", "cannot be set"),
        (json!({ "headers": { "CDN-Loop": "h" } }), "headers.CDN-Loop", "cannot be set"),
        (json!({ "headers": { "a b": "h" } }), "headers.a b", "no name"),
        (json!({ "headers": { "A": "1\r\nB: 2" } }), "headers.A", "control character"),
        (json!({ "headers": { "A": 1 } }), "headers.A", "expected a text"),
        (json!({ "headers": { "A": "x".repeat(9000) } }), "headers.A", "more than 8192"),
        (
            json!({ "headers": { "Content-Type": "a/b" }, "content_type": "a/b" }),
            "headers.Content-Type",
            "twice",
        ),
        (json!({ "content_type": "a\nb" }), "content_type", "control"),
        (json!({ "body": 1 }), "body", "expected a text"),
        (json!({ "json": 1 }), "json", "one of body"),
        (json!({ "body": null }), "body", "a POST needs body"),
        (json!({ "body": null, "body_base64": "a" }), "body_base64", "not base64"),
        (json!({ "body": large }), "body", "larger than 65536"),
        (json!({ "not_before": "soon" }), "not_before", "expected a time"),
        (json!({ "expires": "0s" }), "expires", "over before"),
        (json!({ "priority": 10 }), "priority", "0 (first)"),
        (json!({ "priority": -1 }), "priority", "0 (first)"),
        (json!({ "priority": "1" }), "priority", "0 (first)"),
        (json!({ "ordering_key": "" }), "ordering_key", "no value"),
        (json!({ "idempotency_key": "ü" }), "idempotency_key", "ASCII"),
        (json!({ "tags": "a" }), "tags", "a list of texts"),
        (json!({ "tags": ["1", "2", "3", "4", "5", "6"] }), "tags[5]", "more than 5"),
        (json!({ "tags": ["a\u{7}"] }), "tags[0]", "control"),
        (json!({ "sign_with": "none" }), "sign_with", "no signing key"),
        (json!({ "auth": "none" }), "auth", "no auth profile"),
        (json!({ "subject": "x" }), "subject", "no such field"),
    ] {
        let mut post = json!({ "url": url, "body": "x" });
        post.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let response = inject(&scene, &post);
        let wrong = wrongs(&response);
        let is_told = wrong.iter().any(|(name, text)| name == field && text.contains(detail));
        assert!(response.status == 422 && is_told, "{field}: {:?}", String::from_utf8_lossy(&response.body));
        let list = json!([{ "url": url, "body": "x" }, post]);
        let wrong = wrongs(&inject(&scene, &list));
        assert!(wrong.iter().any(|(name, _)| *name == format!("[1].{field}")), "{field}: {wrong:?}");
    }
    let user = json!({ "url": "http://u:p@127.0.0.1/", "body": "", "headers": { "Authorization": "x" } });
    assert_eq!(wrongs(&inject(&scene, &user))[0].0, "headers.Authorization");
    // All that is wrong is told at once.
    let many = json!([{ "url": 1, "x": 2 }, {}, { "url": url, "body": "x" }, []]);
    let told: Vec<_> = wrongs(&inject(&scene, &many)).into_iter().map(|(field, _)| field).collect();
    assert_eq!(told, ["[0].url", "[0].x", "[0].url", "[1].url", "[3]", "[3].url"]);
    assert_eq!((kept(&scene), scene.receiver.arrivals().len()), (0, 0));
}

#[test]
fn what_is_no_request_is_refused_before_it_is_read() {
    let scene = Scene::start("[limits]\nmessage_size = \"1MiB\"\n");
    let one = json!({ "url": format!("{}/ok", scene.origin()), "body": "x" }).to_string();
    let list = |count| format!("[{}]", vec![one.as_str(); count].join(","));
    for (lines, body, status) in [
        (JSON, "", 400),
        (JSON, "{", 400),
        (JSON, "7", 400),
        (JSON, "{\"url\": \"\u{0}\"}", 400),
        (JSON, &one.replace('x', "\\ud800"), 400),
        (JSON, &format!("{one} {one}"), 400),
        (JSON, &one.replace('{', "{\"url\": \"http://h/\","), 400),
        (JSON, &format!("{{\"json\": {}", "[".repeat(1_000_000)), 400),
        (JSON, &one.replace("\"x\"", &format!("{}{}", "[".repeat(40), "]".repeat(40))), 400),
        (JSON, "[]", 422),
        (JSON, &list(1001), 400),
        (JSON, &format!("[{}0]", "0,".repeat(900_000)), 400),
        (MAIL, &one, 415),
        ("Content-Type: text/plain\r\n", &one, 415),
        ("", &one, 415),
        ("Content-Type: application/json\r\nContent-Encoding: gzip\r\n", &one, 415),
        ("Content-Type: application/json\r\nCDN-Loop: postgate; id=other\r\n", &one, 202),
        ("Content-Type: application/json; charset=utf-8\r\n", &list(1000), 202),
    ] {
        let response = raw(&scene, POSTS, lines, body);
        assert_eq!(response.status, status, "{lines} {:.80}: {response:?}", body);
    }
    assert_eq!(raw(&scene, &format!("{POSTS}?x=1"), JSON, &one).status, 400);
    let is_done = || (scene.receiver.arrivals().len() >= 1001).then_some(());
    eventually("the good ones", DEADLINE, is_done);
}

/// `security.md` P8.
#[test]
fn p8_a_body_of_a_gigabyte_is_refused_in_little_memory_and_its_client_hears_it() {
    let scene = Scene::start("");
    let host = scene.api;
    let head = |rest: &str| {
        format!("POST {POSTS} HTTP/1.1\r\nHost: {host}\r\n{JSON}Connection: close\r\n{rest}\r\n")
    };
    let announced = head("Content-Length: 1073741824\r\n");
    let chunked = head("Transfer-Encoding: chunked\r\n");
    for (head, chunk) in [(announced, None), (chunked, Some("100000\r\n"))] {
        let mut stream = TcpStream::connect(scene.api).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let piece = vec![b' '; 1 << 20];
        for _ in 0..1024 {
            let written = [chunk.unwrap_or_default().as_bytes(), &piece].concat();
            let end: &[u8] = if chunk.is_some() { b"\r\n" } else { b"" };
            // Whoever goes on for long is cut off.
            if stream.write_all(&written).and_then(|()| stream.write_all(end)).is_err() {
                break;
            }
        }
        if chunk.is_some() {
            let _ = stream.write_all(b"0\r\n\r\n");
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413");
    }
    let status = fs::read_to_string(format!("/proc/{}/status", scene.gateway.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 200 * 1024, "{peak} kB");
}

/// Octets that a process has had at most.
fn peak(scene: &Scene) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", scene.gateway.child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// `security.md` P8: a list or an object of millions is refused before it is one.
#[test]
fn p8_what_is_made_of_a_body_is_no_more_than_a_few_times_its_size() {
    const SIZE: usize = 3 << 20;
    let scene = Scene::start("");
    let url = format!("\"url\":\"{}/ok\",\"body\":\"x\"", scene.origin());
    let texts = format!("[{}\"a\"]", "\"a\",".repeat(SIZE / 4));
    let names: Vec<_> = (0..SIZE / 12).map(|number| format!("\"{number:07}\":0")).collect();
    let names = format!("{{{}}}", names.join(","));
    let headers = (0..128).map(|number| format!("\"X-{number}\":[{}\"a\"]", "\"a\",".repeat(50)));
    let headers = headers.collect::<Vec<_>>().join(",");
    let long = "x".repeat(SIZE);
    let posts = |post: &str| format!("[{}]", vec![post; 1000].join(","));
    for (body, status, says) in [
        (format!("{{{url},\"tags\":{texts}}}"), 422, "tags: a list of more than 100"),
        (format!("{{{url},\"headers\":{{\"a\":{texts}}}}}"), 422, "headers.a: a list of more than 100"),
        (format!("{{{url},\"headers\":{{{headers}}}}}"), 422, "headers: more than 200 of them"),
        (format!("{{{url},\"json\":{names}}}"), 400, "an object of more than 10000 names"),
        (format!("{{{url},\"{long}\":1}}"), 422, "there is no such field"),
        (format!("{{{url},\"{long}\":1,\"{long}\":1}}"), 400, "stands there twice"),
        (format!("{{{url},\"method\":\"{long}\"}}"), 422, "method: expected one of"),
        (posts(&format!("{{{url},\"tags\":[{}\"a\"]}}", "\"a\",".repeat(98))), 422, "things are wrong"),
        (posts(&format!("{{{}}}", ["\"x\":1"; 1].join(","))), 422, "things are wrong"),
    ] {
        let response = raw(&scene, POSTS, JSON, &body);
        assert_eq!(response.status, status, "{body:.80}");
        let told = response.json()["detail"].as_str().unwrap().to_owned();
        assert!(told.contains(says) && told.len() < 3000, "{says}: {told:.200}");
        assert!(response.body.len() < 100_000, "{says}: {} octets", response.body.len());
    }
    assert!(peak(&scene) < 120 << 20, "{} kB", peak(&scene) / 1024);
}

#[test]
fn bodies_that_nobody_takes_are_few() {
    let scene = Scene::start("");
    let post =
        json!({ "url": format!("{}/ok", scene.origin()), "body": "x".repeat(20 << 20), "not_before": "1h" });
    let id = inject(&scene, &post).json()["id"].as_str().unwrap().to_owned();
    let ask = || {
        let stream = TcpStream::connect(scene.api).unwrap();
        let (host, call) = (scene.api, format!("GET {POSTS}/{id}/body HTTP/1.1"));
        write!(&stream, "{call}\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        stream
    };
    let is_answered = |stream: &TcpStream, longest| {
        stream.set_read_timeout(Some(longest)).unwrap();
        stream.peek(&mut [0]).is_ok_and(|octets| octets > 0)
    };
    let streams: Vec<_> = (0..8).map(|_| ask()).collect();
    let (blink, soon) = (Duration::from_millis(20), Duration::from_millis(300));
    let is_any = || streams.iter().any(|stream| is_answered(stream, blink)).then_some(());
    eventually("the first", DEADLINE, is_any);
    // All could be by then.
    let (answered, mut others): (Vec<_>, Vec<_>) =
        streams.into_iter().partition(|stream| is_answered(stream, soon));
    assert!((1..=3).contains(&answered.len()), "{}", answered.len());
    drop(answered);
    // Some of the others may have had room late: whoever has it, it goes round.
    while !others.is_empty() {
        eventually("room to be given to the next", DEADLINE, || {
            let all = others.len();
            others.retain(|stream| !is_answered(stream, blink));
            (others.len() < all).then_some(())
        });
    }
}

#[test]
fn who_waits_to_be_told_to_go_on_is_told_so_or_refused_at_once() {
    let scene = Scene::start("[limits]\nmessage_size = \"1MiB\"\n");
    let body = json!({ "url": format!("{}/ok", scene.origin()), "body": "x" }).to_string();
    for (length, expected) in [(body.len(), "HTTP/1.1 100"), (100 << 20, "HTTP/1.1 413")] {
        let mut stream = TcpStream::connect(scene.api).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let host = scene.api;
        let head = format!("POST {POSTS} HTTP/1.1\r\nHost: {host}\r\n{JSON}Connection: close\r\n");
        write!(stream, "{head}Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(std::str::from_utf8(&answer).unwrap(), expected);
        if length == body.len() {
            stream.write_all(body.as_bytes()).unwrap();
            let mut rest = String::new();
            stream.read_to_string(&mut rest).unwrap();
            assert!(rest.contains("HTTP/1.1 202"), "{rest}");
        }
    }
}

#[test]
fn lists_are_kept_whole_survive_a_kill_and_are_not_kept_twice() {
    let mut scene = Scene::start("");
    let post = |number: usize| json!({ "url": format!("{}/{number}", scene.origin()), "json": number, "not_before": "1h" });
    let list = Value::from((0..300).map(post).collect::<Vec<_>>()).to_string();
    let keyed = format!("{JSON}Idempotency-Key: all-of-it\r\n");
    let first = raw(&scene, POSTS, &keyed, &list);
    assert_eq!(first.status, 202);
    let ids_of_first = ids(&first);
    let message = ids_of_first[0].strip_suffix("-1").unwrap();
    let expected: Vec<_> = (1..=300).map(|number| format!("{message}-{number}")).collect();
    assert_eq!(ids_of_first, expected);
    let single = json!({ "url": format!("{}/one", scene.origin()), "body": "1", "not_before": "1h",
                         "idempotency_key": "one" });
    let one = inject(&scene, &single).json();
    for signal in ["-KILL", "-TERM"] {
        scene.gateway.end(signal);
        scene.again();
        assert_eq!(kept(&scene), 301, "{signal}");
        let again = raw(&scene, POSTS, &keyed, &list);
        assert_eq!((again.status, &again.json()["repeated"]), (200, &json!(true)));
        assert_eq!(ids(&again), ids_of_first);
        for lines in [JSON.to_owned(), format!("{JSON}Idempotency-Key: one\r\n")] {
            let again = raw(&scene, POSTS, &lines, &single.to_string());
            assert_eq!((again.status, again.json()), (200, json!({ "id": one["id"], "repeated": true })));
        }
        assert_eq!(kept(&scene), 301);
    }
    let other = raw(&scene, POSTS, &format!("{JSON}Idempotency-Key: other\r\n"), &single.to_string());
    assert_eq!(wrongs(&other)[0].0, "idempotency_key");
    let body = scene.get(&format!("{POSTS}/{message}-17/body"));
    assert_eq!(body.body, b"16");
    // The key of one tenant is none of another's.
    let lines = format!("{JSON}X-Tenant-ID: shop\r\n");
    let elsewhere = raw(&scene, POSTS, &lines, &single.to_string());
    assert_eq!(elsewhere.status, 202);
    let hidden = raw(&scene, &format!("{POSTS}/{message}-1/hold"), &lines, "{}");
    assert_eq!(hidden.status, 404);
}

/// What a request with a key is answered: its status and ids.
fn kept_under(scene: &Scene, path: &str, lines: &str, body: &str) -> (u16, Value) {
    let response = raw(scene, path, lines, body);
    let answer = response.json();
    if response.status == 422 {
        assert!(response.head.contains("application/problem+json"), "{response:?}");
        assert!(answer["detail"].as_str().unwrap().contains("idempotency key"), "{answer}");
    }
    let ids = ["id", "ids", "posts"].map(|field| answer[field].clone());
    (response.status, Value::from(ids.to_vec()))
}

#[test]
fn a_key_that_comes_with_something_else_is_refused() {
    let mut scene = Scene::start(ALWAYS);
    let url = format!("{}/ok", scene.origin());
    let post = |body: &str| json!({ "url": url, "body": body, "not_before": "1h" });
    let list = |count| Value::from(vec![post("x"); count]).to_string();
    let direct = scene.receiver.recipient("/mail");
    let mail = |to: &[&str]| {
        let mut query = url::form_urlencoded::Serializer::new(format!("{MESSAGES}?from="));
        query.extend_pairs(to.iter().map(|to| ("to", to)));
        query.finish()
    };
    let (one, both) = (mail(&[&direct]), mail(&[&direct, &direct]));
    let event = mail(&["event+order.paid@postgate.local"]);
    let (one, both, event) = (one.as_str(), both.as_str(), event.as_str());
    let late = |text: &str| format!("X-Postgate-Not-Before: 1h\r\nSubject: {text}\r\n\r\n{{}}\r\n");
    let keyed = |kind: &str, key: &str| format!("{kind}Idempotency-Key: {key}\r\n");
    // A path, a kind, a key and a body, and others under that key.
    let cases = [
        (POSTS, JSON, "1", post("x").to_string(), vec![(POSTS, post("y").to_string()), (POSTS, list(2))]),
        (POSTS, JSON, "2", list(3), vec![(POSTS, list(2)), (POSTS, list(4))]),
        (one, MAIL, "3", late("x"), vec![(one, late("y")), (both, late("x")), (POSTS, list(1))]),
        (event, MAIL, "4", late("x"), vec![(event, late("y")), (one, late("x"))]),
    ];
    let mut firsts: Vec<_> = Vec::new();
    for (path, kind, key, body, _) in &cases {
        let (status, ids) = kept_under(&scene, path, &keyed(kind, key), body);
        assert_eq!(status, 202, "{key}");
        firsts.push(ids);
    }
    for signal in [None, Some("-KILL")] {
        if let Some(signal) = signal {
            scene.gateway.end(signal);
            scene.again();
        }
        for ((path, kind, key, body, others), ids) in cases.iter().zip(&firsts) {
            let again = kept_under(&scene, path, &keyed(kind, key), body);
            assert_eq!(again, (200, ids.clone()), "{key}");
            for (path, body) in others {
                let kind = if *path == POSTS { JSON } else { MAIL };
                assert_eq!(kept_under(&scene, path, &keyed(kind, key), body).0, 422, "{key} {body:.80}");
            }
        }
        assert_eq!(kept(&scene), 1 + 3 + 1);
    }
    let is_told = |event: &Value| event["type"] == "order.paid";
    let told = || scene.get("/api/v1/events?limit=1000").json()["events"].as_array().unwrap().clone();
    let told = eventually("the event", DEADLINE, || Some(told()).filter(|told| told.iter().any(is_told)));
    assert_eq!(told.iter().filter(|event| is_told(event)).count(), 1);
    // A message's own key is for mail that is written anew: nobody compares it.
    let own = |text: &str| format!("X-Postgate-Idempotency-Key: own\r\n{}", late(text));
    let first = kept_under(&scene, both, MAIL, &own("x"));
    assert_eq!((first.0, first.1[2].as_array().unwrap().len()), (202, 2));
    assert_eq!(kept_under(&scene, one, MAIL, &own("y")), (200, first.1));
}

#[test]
fn who_leaves_behind_the_last_octet_has_handed_it_in() {
    let scene = Scene::start("");
    let large = "x".repeat(2 << 20);
    for (number, body) in ["small", &large].into_iter().enumerate() {
        let body = json!({ "url": format!("{}/ok", scene.origin()), "body": body }).to_string();
        let mut stream = TcpStream::connect(scene.api).unwrap();
        let (host, length) = (scene.api, body.len());
        let head = format!("POST {POSTS} HTTP/1.1\r\nHost: {host}\r\n{JSON}Content-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        drop(stream);
        scene.receiver.received(number + 1);
    }
}

#[test]
fn tenants_have_their_limits_and_their_urls() {
    let scene = with(
        "[[tenant]]\nname = \"shop\"\nmay_post_to = [\"RECEIVER\"]\nrate = \"3/h\"\n\
         [[tenant]]\nname = \"day\"\ndaily_limit = 2\n\
         [[tenant]]\nname = \"events\"\ndaily_limit = 5\n",
    );
    let url = format!("{}/ok", scene.origin());
    let one = json!({ "url": url, "body": "x" });
    let as_tenant = |tenant: &str, body: &Value| {
        raw(&scene, POSTS, &format!("{JSON}X-Tenant-ID: {tenant}\r\n"), &body.to_string())
    };
    let other = json!({ "url": "https://other.example/", "body": "x" });
    let wrong = wrongs(&as_tenant("shop", &other));
    assert!(wrong[0].0 == "url" && wrong[0].1.contains("you may not post to"), "{wrong:?}");
    assert_eq!(as_tenant("shop", &json!([one, one])).status, 202);
    let refused = as_tenant("shop", &json!([one, one]));
    assert_eq!(refused.status, 429, "{refused:?}");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1100..=1200).contains(&wait), "{wait}");
    let keyed = |key: &str, path: &str, kind: &str, body: &str| {
        let lines = format!("{kind}X-Tenant-ID: shop\r\nIdempotency-Key: {key}\r\n");
        raw(&scene, path, &lines, body).status
    };
    assert_eq!(keyed("a", POSTS, JSON, &one.to_string()), 202);
    // Before its body is read.
    assert_eq!(as_tenant("shop", &json!("nonsense")).status, 429);
    // What was taken is nothing new; under its key nothing else is taken, either.
    let mail = format!("{MESSAGES}?from=&to=event%2Ba.b@postgate.local");
    for (key, path, kind, body, status) in [
        ("a", POSTS, JSON, one.to_string(), 200),
        ("a", POSTS, JSON, json!([one, one]).to_string(), 422),
        ("a", &mail, MAIL, "\n{}".to_owned(), 422),
        ("b", POSTS, JSON, one.to_string(), 429),
    ] {
        assert_eq!(keyed(key, path, kind, &body), status, "{key} {path} {body}");
    }
    assert_eq!(as_tenant("day", &json!([one, one, one])).status, 422);
    assert_eq!(as_tenant("day", &json!([one, one])).status, 202);
    let refused = as_tenant("day", &one);
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(refused.status == 429 && (1..=86_400).contains(&wait), "{refused:?}");
    // Events are units as posts are, by mail and over HTTP.
    let event = |tenant: &str, path: &str, kind: &str, body: &str| {
        let response = raw(&scene, path, &format!("{kind}X-Tenant-ID: {tenant}\r\n"), body);
        (response.status, response.header("retry-after").is_some())
    };
    let two = r#"[{"type":"a.b"},{"type":"a.b"}]"#;
    let mail = format!("{MESSAGES}?from=&to=event%2Ba.b@postgate.local&to=event%2Bc.d@postgate.local");
    assert_eq!(event("events", "/api/v1/events", JSON, two), (202, false));
    assert_eq!(event("events", &mail, MAIL, "\n{}"), (202, false));
    assert_eq!(event("events", &mail, MAIL, "\n{}"), (429, true));
    assert_eq!(event("events", "/api/v1/events", JSON, two), (429, true));
    assert_eq!(event("events", "/api/v1/events", JSON, r#"{"type":"a.b"}"#), (202, false));
    assert_eq!(event("events", "/api/v1/events", JSON, "nonsense"), (429, true));
    assert_eq!(scene.receiver.received(5).len(), 5);
    let metrics = String::from_utf8(scene.get("/metrics").body).unwrap();
    for line in [
        "postgate_injections_total{result=\"accepted\"} 4",
        "postgate_injections_total{result=\"refused\"} 9",
        "postgate_posts_accepted_total 5",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line}: {metrics}");
    }
}

#[test]
fn a_full_disk_refuses_and_says_when_to_come_again() {
    let mut scene = Scene::start("[limits]\nmessage_size = \"1MiB\"\n");
    scene.gateway.end("-TERM");
    let data = scene.directory.path().join("postgate-data");
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    let Some(disk) = SmallDisk::mount(&data, 200 << 20, 0) else { return };
    scene.again();
    let post = json!({ "url": format!("{}/ok", scene.origin()), "body": "x" });
    assert_eq!(inject(&scene, &post).status, 202);
    disk.fill();
    let is_refused = || Some(inject(&scene, &post)).filter(|response| response.status == 507);
    let refused = eventually("a refusal", DEADLINE, is_refused);
    assert_eq!(refused.header("retry-after"), Some("30"), "{refused:?}");
    let mail = raw(&scene, &format!("{MESSAGES}?from=&to=post@postgate.local"), MAIL, "x");
    assert_eq!(mail.status, 507, "{mail:?}");
    disk.relieve();
    eventually("room", DEADLINE, || (inject(&scene, &post).status == 202).then_some(()));
    scene.gateway.end("-TERM");
}

const ROUTES: &str = "[[route]]\nrecipient = \"raw@hooks.example\"\nurl = \"RECEIVER/raw\"\npayload = \"raw\"\n\
                      [[route]]\nrecipient = \"json+*@hooks.example\"\nurl = \"RECEIVER/json\"\n\
                      [[route]]\nrecipient = \"small@hooks.example\"\nurl = \"RECEIVER/small\"\n\
                      message_size = \"10B\"\nallow_from = [\"127.0.0.0/8\"]\n\
                      [[route]]\nrecipient = \"far@hooks.example\"\nurl = \"RECEIVER/far\"\n\
                      allow_from = [\"192.0.2.0/24\"]\n\
                      [[route]]\nrecipient = \"sync@hooks.example\"\nurl = \"RECEIVER/gone\"\nmode = \"sync\"\n";

#[test]
fn mail_comes_as_it_is_and_goes_the_ways_of_smtp() {
    let scene = with(ROUTES);
    let mail = "From: Shop <a@app.example>\nSubject: Order 17\n\nhello\n";
    let path = |from: &str, to: &[&str]| {
        let mut query = url::form_urlencoded::Serializer::new(format!("{MESSAGES}?"));
        query.append_pair("from", from);
        to.iter().for_each(|to| {
            query.append_pair("to", to);
        });
        query.finish().replace("?&", "?")
    };
    let direct = scene.receiver.recipient("/ok");
    let to = ["raw@hooks.example", "<json+17@hooks.example>", direct.as_str()];
    let response = raw(&scene, &path("a@app.example", &to), MAIL, mail);
    assert_eq!(response.status, 202, "{response:?}");
    let ids_of_posts = ids(&response);
    assert_eq!(response.json()["id"].as_str().unwrap(), ids_of_posts[0].strip_suffix("-1").unwrap());
    let arrivals = scene.receiver.received(3);
    let to_path = |path: &str| arrivals.iter().find(|arrival| arrival.path == path).unwrap();
    assert_eq!(to_path("/raw").body, mail.as_bytes());
    assert_eq!(to_path("/raw").id(), ids_of_posts[0]);
    let posted: Value = serde_json::from_slice(&to_path("/json").body).unwrap();
    assert_eq!(posted["subject"], "Order 17");
    for (field, value) in [
        ("from", json!("a@app.example")),
        ("to", json!("json+17@hooks.example")),
        ("detail", json!("17")),
        ("remote_ip", json!("127.0.0.1")),
    ] {
        assert_eq!(posted["envelope"][field], value, "{posted}");
    }
    let logged = || {
        let (_, lines, _) = scene.run(&["log", "--post", &ids_of_posts[1]]);
        lines.contains("handed in over HTTP").then_some(())
    };
    eventually("the log of the mail", DEADLINE, logged);

    // The mail's own controls, and the key of the request.
    let steered = format!("X-XsHttp-X-One: 1\r\nX-Postgate-Url: {}/steered\r\n{mail}", scene.origin());
    let keyed = format!("{MAIL}Idempotency-Key: k\r\n");
    let header = path("", &["post@postgate.local"]);
    let first = raw(&scene, &header, &keyed, &steered);
    assert_eq!(first.status, 202, "{first:?}");
    let again = raw(&scene, &header, &keyed, &steered);
    assert_eq!((again.status, &again.json()["repeated"]), (200, &json!(true)));
    assert_eq!(again.json()["id"], first.json()["id"]);
    let arrivals = scene.receiver.received(4);
    assert_eq!((arrivals.len(), arrivals[3].headers["x-one"].as_str()), (4, "1"));
    let large = format!("{mail}{}", "x".repeat(2 << 20));
    assert_eq!(raw(&scene, &path("", &["raw@hooks.example"]), MAIL, &large).status, 202);
    assert_eq!(scene.receiver.received(5)[4].body, large.as_bytes());

    // One who is refused keeps the others from it.
    for (to, field, detail) in [
        (&["raw@hooks.example", "nobody@hooks.example"][..], "to[1]", "550 5.1."),
        (&["post@https"], "to[0]", "550 5.1.3 your mail library cut the URL"),
        (&["a\r\nb@hooks.example"], "to[0]", "501 5.1.3"),
        (&["post@http://10.0.0.1/"], "to[0]", "550 5.7.1"),
        (&["small@hooks.example"], "to[0]", "552 5.3.4"),
        (&["far@hooks.example"], "to[0]", "550 5.7.1"),
    ] {
        let response = raw(&scene, &path("a@app.example", to), MAIL, mail);
        let wrong = wrongs(&response);
        assert!(wrong.len() == 1 && wrong[0].0 == field && wrong[0].1.contains(detail), "{to:?}: {wrong:?}");
        assert!([422, 413].contains(&response.status), "{response:?}");
    }
    for (path, mail, status) in [
        (path("", &["sync@hooks.example"]), mail, 422),
        (path("", &[]), mail, 422),
        (path("a b@\u{7}", &["raw@hooks.example"]), mail, 422),
        (path("", &["post@postgate.local"]), mail, 422),
        (path("", &["post@postgate.local"]), "X-Postgate-Priority: 99\n\n", 422),
        (format!("{MESSAGES}?to=raw@hooks.example"), mail, 422),
        (format!("{MESSAGES}?from=&to=raw@hooks.example&cc=x"), mail, 422),
    ] {
        let response = raw(&scene, &path, MAIL, mail);
        assert_eq!(response.status, status, "{path}: {response:?}");
        assert!(response.json()["detail"].is_string());
    }
    let many: Vec<_> = (0..1001).map(|number| format!("json+{number}@hooks.example")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(raw(&scene, &path("", &many), MAIL, mail).status, 422);
    let delivered: Vec<_> = scene.receiver.arrivals().into_iter().map(|(arrival, _)| arrival.path).collect();
    assert_eq!(delivered.iter().filter(|path| *path != "/gone").count(), 5, "{delivered:?}");
}

#[test]
fn mail_comes_in_the_shape_of_transmissions() {
    let scene = with(ROUTES);
    let mail = "From: Shop <a@app.example>\r\nSubject: Order 17\r\n\r\nhello\r\n";
    let origin = scene.origin();
    let transmission = json!({
        "return_path": "bounces@app.example",
        "campaign_id": "spring",
        "options": { "smtputf8": false },
        "recipients": [
            { "address": "raw@hooks.example" },
            { "address": { "email": format!("post@{origin}/busy") }, "return_path": "bounces@app.example",
              "substitution_data": { "*custommessageid": "m-17" } },
        ],
        "content": { "email_rfc822": mail },
    });
    let ask = |body: &Value| scene.post_to(MESSAGES, &body.to_string());
    let response = ask(&transmission);
    assert_eq!(response.status, 202, "{response:?}");
    let answer = response.json();
    let results = json!({ "total_accepted_recipients": 2, "total_rejected_recipients": 0 });
    assert_eq!(answer["results"], results);
    let raw_mail = scene.receiver.received(2).into_iter().find(|arrival| arrival.path == "/raw").unwrap();
    assert_eq!(raw_mail.body, mail.as_bytes());
    let second = &ids(&response)[1];
    scene.stands(second, "deferred");
    let post = scene.get(&format!("{POSTS}/{second}")).json();
    for (field, value) in
        [("sender", "bounces@app.example"), ("xs_mailing_id", "spring"), ("xs_message_id", "m-17")]
    {
        assert_eq!(post[field], value, "{field} of {post}");
    }
    let stored = scene.get(&format!("{POSTS}/{second}/message"));
    assert_eq!(stored.body, mail.as_bytes());

    for (place, value, field) in [
        ("/return_path", Value::Null, "return_path"),
        ("/return_path", json!("other@app.example"), "recipients"),
        ("/recipients", json!([]), "recipients"),
        ("/recipients", json!("a@b"), "recipients"),
        ("/recipients/0", json!({ "address": "nobody@hooks.example" }), "recipients[0].address"),
        ("/recipients/0", json!({ "address": 1 }), "recipients[0].address"),
        ("/recipients/0", json!({ "addres": "a@b" }), "recipients[0].addres"),
        ("/recipients/0/address", json!({ "email": "a@b", "x": 1 }), "recipients[0].address.x"),
        ("/recipients/1/substitution_data", json!({ "x": 1 }), "recipients[1].substitution_data.x"),
        ("/content", json!({ "text": "x" }), "content.text"),
        ("/content", json!({}), "content.email_rfc822"),
        ("/options", json!({ "open_tracking": true }), "options.open_tracking"),
        ("/campaign_id", json!("x".repeat(256)), "campaign_id"),
    ] {
        let mut wrong = transmission.clone();
        *wrong.pointer_mut(place).unwrap() = value;
        if place == "/return_path" && field == "return_path" {
            wrong["recipients"].as_array_mut().unwrap().truncate(1);
        }
        let response = ask(&wrong);
        let told = wrongs(&response);
        assert!(
            response.status == 422 && told.iter().any(|(name, _)| name == field),
            "{field}: {response:?}"
        );
    }
    let mut unknown = transmission.clone();
    unknown["metadata"] = json!({});
    assert_eq!(wrongs(&ask(&unknown))[0].0, "metadata");
    assert_eq!(scene.post_to(&format!("{MESSAGES}?from="), &transmission.to_string()).status, 422);
    assert_eq!(scene.receiver.arrivals().len(), 2);
}

#[test]
fn another_configuration_is_another_door() {
    let scene = Scene::start("");
    let path = scene.directory.path().join("postgate.toml");
    let post = json!({ "url": format!("{}/ok", scene.origin()), "body": "x" });
    assert_eq!(inject(&scene, &post).status, 202);
    let config = fs::read_to_string(&path).unwrap().replace("127.0.0.0/8", "192.0.2.0/24");
    fs::write(&path, config).unwrap();
    scene.gateway.signal("-HUP");
    let is_refused = || (inject(&scene, &post).status == 422).then_some(());
    eventually("the door of the new configuration", DEADLINE, is_refused);
}
