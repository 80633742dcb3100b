//! Section 2.10, as far as it is about the API: requests that are too much.

use crate::support::DEADLINE;
use crate::support::api::{Response, Scene};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

const ACTIONS: &str = "POST /api/v1/posts/actions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                       Content-Type: application/json\r\n";

fn body(scene: &Scene, text: &str) -> Response {
    scene.raw(&format!("{ACTIONS}Content-Length: {}\r\n\r\n{text}", text.len()))
}

#[test]
fn p8_what_means_two_things_or_hides_its_size_is_refused() {
    let scene = Scene::start("");
    let id = scene.post("/busy", "", "deferred");
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!(r#"{{"action":"delete","all":true,"filter":{{"state":{open}{close}}}}}"#)
    };
    for (text, status, reason) in [
        (nested(31), 400, "nested deeper than 32 levels"),
        // As deep as may be, and of the wrong type.
        (nested(30), 400, "invalid type"),
        (nested(30_000), 400, "nested deeper than 32 levels"),
        (nested(40_000), 413, "larger than this call takes"),
        (r#"{"action":"delete","all":false,"all":true}"#.to_owned(), 400, "\"all\" stands there twice"),
        (
            r#"{"action":"delete","filter":{"tag":"x","tag":"y"}}"#.to_owned(),
            400,
            "\"tag\" stands there twice",
        ),
        (r#"{"action":"delete","al\u006c":true,"all":true}"#.to_owned(), 400, "twice"),
        (r#"{"action":"delete","all":true} {}"#.to_owned(), 400, "trailing"),
        (r#"{"action":"delete","all":true,"tenant":"other"}"#.to_owned(), 400, "unknown field"),
    ] {
        let refused = body(&scene, &text);
        assert_eq!(refused.status, status, "{}: {refused:?}", &text[..text.len().min(99)]);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(reason), "{}: {detail}", &text[..text.len().min(99)]);
    }
    let all = r#"{"action":"delete","all":true}"#;
    for coding in ["gzip", "identity", "br"] {
        let head = format!("{ACTIONS}Content-Encoding: {coding}\r\nContent-Length: {}\r\n\r\n", all.len());
        assert_eq!(scene.raw(&format!("{head}{all}")).status, 415, "{coding}");
    }
    scene.stands(&id, "deferred");
}

#[test]
fn p8_a_query_of_a_hundred_thousand_parameters_is_not_looked_at() {
    let scene = Scene::start("");
    for (count, statuses) in [(100, &[400][..]), (20_000, &[400]), (100_000, &[414, 431])] {
        let query = format!("state=failed{}", "&x=".repeat(count));
        let response = scene.raw(&format!(
            "GET /api/v1/posts?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ));
        assert!(statuses.contains(&response.status), "{count}: {}", response.status);
    }
}

/// Whatever a path or a query says, it is answered as a problem, and shows no password.
#[test]
fn p7_paths_and_queries_of_strangers_mean_nothing() {
    let scene = Scene::start("");
    let id = scene.post("/busy", "", "deferred");
    let long = format!("posts?q={}", "a*".repeat(3000));
    let (types, samples) = (format!("events?type={}", ["a.b"; 101].join(",")), ["x.y"; 101].join(","));
    let samples = format!("events/samples?events={samples}");
    for (path, status) in [
        ("posts/%ff%fe", 400),
        ("posts/%00", 404),
        ("posts/%2e%2e%2f", 404),
        (&format!("posts/{id}-01"), 404),
        (&format!("posts/{id}-0"), 404),
        (&format!("posts/{id}%2fbody"), 404),
        ("destinations/%ff", 400),
        ("destinations/http:%2F%2Fuser:canary@h", 422),
        ("destinations/http:%2F%2Fh%0d%0aX", 422),
        ("webhooks/%ff", 400),
        ("webhooks/%2e%2e", 404),
        ("posts?cursor=____________", 422),
        ("posts?limit=18446744073709551617", 422),
        ("posts?since=9999999999999", 422),
        (&long, 422),
        (&types, 422),
        (&samples, 422),
        ("events?cursor=AAAA", 422),
    ] {
        let response = scene.get(&format!("/api/v1/{path}"));
        assert_eq!(response.status, status, "{path:.80} {response:?}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{path:.80}");
        assert!(!String::from_utf8_lossy(&response.body).contains("canary"), "{path:.80} {response:?}");
    }
    // The values of fields in their order are no object.
    for (path, list) in [
        ("posts/actions", r#"["delete",{},null,true,false]"#),
        ("commands", r#"["queue delete --all"]"#),
        ("events", r#"["a.b",{}]"#),
        ("events", r#"[["a.b",{}]]"#),
    ] {
        assert_eq!(scene.post_to(&format!("/api/v1/{path}"), list).status, 400, "{path} {list}");
    }
    scene.stands(&id, "deferred");
}

/// What is announced, and what comes without an announcement.
#[test]
fn p8_of_a_body_without_end_little_is_read() {
    let scene = Scene::start("");
    for framing in ["Content-Length: 1073741824", "Transfer-Encoding: chunked"] {
        let mut stream = TcpStream::connect(scene.api).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(format!("{ACTIONS}{framing}\r\n\r\n").as_bytes()).unwrap();
        let piece = format!("10000\r\n{}\r\n", "[".repeat(0x10000));
        // Until it is answered and nobody listens any more; far before the whole.
        let written = (0..1024).take_while(|_| stream.write_all(piece.as_bytes()).is_ok()).count();
        assert!(written < 1024, "{framing}: all of it was read");
        let mut answer = Vec::new();
        // It may have been reset behind the answer.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413 "), "{framing}: {answer}");
    }
    assert_eq!(scene.get("/healthz").status, 200);
}
