//! The HTTP API of the running program: what it tells of posts and destinations,
//! what it does to them, and what it refuses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use postgate::api::{self, Options};
use postgate::deliver::control::Control;
use postgate::spool::{Health, Spool};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use support::api::Scene;
use support::collector::{Answer, Collector};
use support::memory::MemorySpool;
use support::program::eventually;
use support::{DEADLINE, within_deadline};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;

fn ids(list: &Value) -> Vec<String> {
    list["posts"].as_array().unwrap().iter().map(|post| post["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn posts_are_listed_by_filter_the_newest_first_in_pages() {
    let scene = Scene::start("");
    let failed: Vec<_> = (0..3).map(|_| scene.post("/gone", "X-Postgate-Tag: bill\r\n", "failed")).collect();
    let deferred = scene.post("/busy", "", "deferred");
    scene.ends(&scene.send("/ok", ""));
    let all = scene.get("/api/v1/posts").json();
    let newest_first: Vec<_> = [&deferred].into_iter().chain(failed.iter().rev()).cloned().collect();
    assert_eq!((ids(&all), &all["next"]), (newest_first.clone(), &Value::Null));
    for (query, expected) in [
        ("state=failed", &newest_first[1..]),
        ("state=deferred", &newest_first[..1]),
        ("state=held", &[]),
        ("tag=bill", &newest_first[1..]),
        ("tag=other", &[]),
        ("destination=https%3A%2F%2Fshop.example", &[]),
        (&format!("destination={}&state=failed", scene.origin_piece()), &newest_first[1..]),
    ] {
        assert_eq!(ids(&scene.get(&format!("/api/v1/posts?{query}")).json()), expected, "{query}");
    }
    let (mut seen, mut path) = (Vec::new(), "/api/v1/posts?limit=1".to_owned());
    loop {
        let page = scene.get(&path).json();
        seen.extend(ids(&page));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/api/v1/posts?limit=1&cursor={next}");
    }
    assert_eq!(seen, newest_first);
}

#[test]
fn a_post_tells_everything_but_its_secrets() {
    let scene = Scene::start("");
    let headers = "X-XsHttp-Authorization: Bearer canary-1\r\nX-XsHttp-X-Api-Key: canary-2\r\n\
                   X-XsHttp-Content-Type: text/csv\r\nX-Postgate-Tag: a b\r\n";
    let id = scene.post("/busy?token=canary-3&n=1", headers, "deferred");
    let response = scene.get(&format!("/api/v1/posts/{id}"));
    let post = response.json();
    let origin = scene.origin();
    for (field, expected) in [
        ("id", json!(id)),
        ("method", json!("POST")),
        ("url", json!(format!("{origin}/busy?token=***&n=1"))),
        ("destination", json!(origin)),
        ("tenant", json!("default")),
        ("attempts", json!(1)),
        ("tags", json!(["a b"])),
        ("sender", json!("app@app.example")),
    ] {
        assert_eq!(post[field], expected, "{field} of {post}");
    }
    assert!(
        post["headers"].as_array().unwrap().contains(&json!({ "name": "Content-Type", "value": "text/csv" }))
    );
    for field in ["accepted_at", "next_attempt_at"] {
        let at = post[field].as_str().unwrap();
        assert!(at.len() == 24 && at.ends_with('Z') && at.as_bytes()[19] == b'.', "{field}: {at}");
    }
    let attempts = scene.get(&format!("/api/v1/posts/{id}/attempts")).json();
    let attempt = &attempts["attempts"][0];
    assert_eq!((&attempt["number"], &attempt["status"]), (&json!(1), &json!(500)), "{attempts}");
    for path in ["", "/attempts"] {
        let text = String::from_utf8(scene.get(&format!("/api/v1/posts/{id}{path}")).body).unwrap();
        assert!(!text.contains("canary"), "{text}");
    }
    assert!(!String::from_utf8(scene.get("/metrics").body).unwrap().contains("canary"));
}

#[test]
fn a_url_in_a_coded_recipient_is_not_shown_with_its_secrets() {
    let scene = Scene::start("");
    let url = format!("{}/busy?token=canary", scene.origin());
    let coded = format!("post+{}@postgate.local", data_encoding::BASE64URL_NOPAD.encode(url.as_bytes()));
    let reply = support::program::send(scene.gateway.smtp, std::slice::from_ref(&coded), "\r\nx\r\n");
    let text = String::from_utf8(scene.get(&format!("/api/v1/posts/{}", reply.id())).body).unwrap();
    assert!(!text.contains(&coded) && !text.contains("canary") && text.contains("token=***"), "{text}");
}

#[test]
fn bodies_and_messages_come_whole_and_no_browser_shows_them() {
    let scene = Scene::start("");
    let id = scene.post("/busy", "", "deferred");
    let body = scene.get(&format!("/api/v1/posts/{id}/body"));
    assert_eq!(body.body, scene.receiver.arrivals()[0].0.body);
    let message = scene.get(&format!("/api/v1/posts/{id}/message"));
    assert!(String::from_utf8(message.body.clone()).unwrap().ends_with("Subject: x\r\n\r\nhello\r\n"));
    for (response, name) in [(body, format!("{id}.bin")), (message, format!("{id}.eml"))] {
        assert_eq!(response.header("content-type"), Some("application/octet-stream"));
        let disposition = format!("attachment; filename=\"{name}\"");
        assert_eq!(response.header("content-disposition"), Some(disposition.as_str()));
    }
}

#[test]
fn single_posts_are_retried_held_released_rerouted_and_deleted() {
    let scene = Scene::start("");
    let id = scene.post("/busy", "", "deferred");
    let ask = |verb: &str, body: &str| scene.post_to(&format!("/api/v1/posts/{id}/{verb}"), body);
    assert_eq!(ask("retry", "").json(), json!({ "count": 1 }));
    scene.receiver.received(2);
    scene.stands(&id, "deferred");
    assert_eq!(ask("hold", "{}").status, 200);
    scene.stands(&id, "held");
    assert_eq!(ask("hold", "").status, 409);
    assert_eq!(ask("release", "").status, 200);
    scene.receiver.received(3);
    scene.stands(&id, "deferred");
    assert_eq!(ask("release", "").status, 409);
    let url = json!({ "url": format!("{}/elsewhere", scene.origin()) }).to_string();
    assert_eq!(ask("reroute", &url).status, 200);
    assert_eq!(scene.receiver.received(4)[3].path, "/elsewhere");
    scene.ends(&id);
    let id = scene.post("/gone", "", "failed");
    assert_eq!(scene.ask("DELETE", &format!("/api/v1/posts/{id}"), None).json(), json!({ "count": 1 }));
    scene.ends(&id);
    assert_eq!(scene.ask("DELETE", &format!("/api/v1/posts/{id}"), None).status, 404);
}

#[test]
fn delivered_posts_can_be_looked_at_where_they_are_kept() {
    let mut scene = Scene::start("[retention]\nkeep_bodies = true\n");
    let id = scene.post("/ok", "", "delivered");
    for start in 0..2 {
        let path = format!("/api/v1/posts/{id}");
        let post = scene.get(&path).json();
        assert!(post["kept_until"].is_string() && post["next_attempt_at"].is_null(), "{post}");
        assert_eq!(
            ids(&scene.get("/api/v1/posts?state=delivered").json()),
            std::slice::from_ref(&id),
            "start {start}"
        );
        assert_eq!(scene.get(&format!("{path}/body")).body, scene.receiver.arrivals()[0].0.body);
        let url = json!({ "url": format!("{}/elsewhere", scene.origin()) }).to_string();
        for (verb, body) in [("hold", ""), ("release", ""), ("retry", ""), ("reroute", &url)] {
            assert_eq!(scene.post_to(&format!("{path}/{verb}"), body).status, 409, "{verb}");
            let many = json!({ "action": verb, "all": true, "dry_run": true });
            let many = if body.is_empty() { many } else { json!({ "action": "hold", "all": true }) };
            assert_eq!(scene.post_to("/api/v1/posts/actions", &many.to_string()).json()["count"], 0);
        }
        scene.gateway.end("-KILL");
        scene.again();
    }
    assert_eq!(scene.ask("DELETE", &format!("/api/v1/posts/{id}"), None).json(), json!({ "count": 1 }));
    scene.ends(&id);
    assert_eq!(scene.receiver.arrivals().len(), 1, "it was sent again");
}

/// What proves who sends a post is for the origin that it was written for.
#[test]
fn a_reroute_to_another_origin_leaves_credentials_behind() {
    let scene = Scene::start("");
    let other = Collector::start(|_| Answer::Status(200));
    let headers =
        "X-XsHttp-Authorization: Bearer canary\r\nX-XsHttp-Cookie: canary\r\nX-XsHttp-X-Kind: order\r\n";
    for (origin, receiver, dropped) in [
        (scene.origin(), &scene.receiver, None),
        (format!("http://{}", other.address), &other, Some(json!(["Authorization", "Cookie"]))),
    ] {
        let id = scene.post("/busy", headers, "deferred");
        let url = format!("{origin}/elsewhere");
        let answer =
            scene.post_to(&format!("/api/v1/posts/{id}/reroute"), &json!({ "url": url }).to_string());
        let mut expected = json!({ "count": 1 });
        if let Some(dropped) = &dropped {
            expected["dropped_headers"] = dropped.clone();
        }
        assert_eq!(answer.json(), expected);
        scene.ends(&id);
        let arrivals = receiver.received(1);
        let sent = &arrivals.iter().find(|arrival| arrival.path == "/elsewhere").unwrap().headers;
        assert_eq!(sent["x-kind"], "order");
        for name in ["authorization", "cookie"] {
            assert_eq!(sent.contains_key(name), dropped.is_none(), "{name}");
        }
    }
    let id = scene.post("/busy", headers, "deferred");
    let url = format!("http://{}/once-more", other.address);
    let (_, told, warned) = scene.run(&["queue", "reroute", "--url", &url, &id]);
    assert_eq!((told.as_str(), warned), ("1 posts\n", format!("{id}: without Authorization, Cookie\n")));
}

#[test]
fn many_posts_are_counted_before_and_after() {
    let scene = Scene::start("");
    let failed: Vec<_> = (0..3).map(|_| scene.post("/gone", "", "failed")).collect();
    let deferred = scene.post("/busy", "X-Postgate-Tag: t\r\n", "deferred");
    let act = |body: Value| scene.post_to("/api/v1/posts/actions", &body.to_string());
    for (body, count) in [
        (json!({ "action": "hold", "all": true, "dry_run": true }), 1),
        (json!({ "action": "retry", "filter": { "state": "failed" }, "dry_run": true }), 3),
        (json!({ "action": "delete", "filter": { "tag": "t" }, "dry_run": true }), 1),
        (json!({ "action": "hold", "filter": { "tag": "t" } }), 1),
        (json!({ "action": "hold", "filter": { "tag": "t" } }), 0),
        (json!({ "action": "release", "filter": { "destination": "https://shop.example" } }), 0),
        (json!({ "action": "delete", "filter": { "state": "failed" } }), 3),
    ] {
        assert_eq!(act(body.clone()).json(), json!({ "count": count }), "{body}");
    }
    failed.iter().for_each(|id| scene.ends(id));
    scene.stands(&deferred, "held");
    let url = format!("{}/elsewhere", scene.origin());
    let reroute = json!({ "action": "reroute", "all": true, "url": url });
    assert_eq!(act(reroute).json(), json!({ "count": 1 }));
    scene.ends(&deferred);
}

#[test]
fn destinations_are_shown_paused_resumed_and_flushed() {
    let scene = Scene::start("");
    let path = format!("/api/v1/destinations/{}", scene.origin_piece());
    assert_eq!(scene.get(&path).status, 404);
    let id = scene.post("/busy", "", "deferred");
    let shown = scene.get(&path).json();
    let own = &shown["destinations"][0];
    assert_eq!(
        (&own["origin"], &own["queued"], &own["state"]),
        (&json!(scene.origin()), &json!(1), &json!("active"))
    );
    assert!(own["last_error"]["text"].as_str().unwrap().contains("500"), "{own}");
    assert_eq!(scene.get("/api/v1/destinations").json(), shown);
    // One post after another is refused.
    let group = json!({ "destinations": 1, "queued": 1 });
    let none = json!({ "destinations": 0, "queued": 0 });
    assert_eq!(
        (&own["standing"], &shown["in_trouble"], &shown["slowed"]),
        (&json!("trouble"), &group, &none)
    );
    let latency = &own["latency"];
    assert!(latency["p50"].as_f64().unwrap() > 0.0 && latency["p50"] == latency["p99"], "{own}");
    assert_eq!(latency["recent"], json!([latency["p50"]]));
    let accepted_at = scene.get(&format!("/api/v1/posts/{id}")).json()["accepted_at"].clone();
    let [accepted, oldest] =
        [&accepted_at, &own["oldest"]].map(|at| at.as_str().unwrap().parse::<jiff::Timestamp>().unwrap());
    // To the second, and the younger the nearer.
    assert!((0..2_100).contains(&(accepted.as_millisecond() - oldest.as_millisecond())), "{own}");
    assert_eq!(shown["oldest"], own["oldest"]);
    let paused = scene.post_to(&format!("{path}/pause"), &json!({ "reason": "moving house" }).to_string());
    assert_eq!(paused.json(), json!({ "count": 1 }));
    let second = scene.send("/ok", "");
    let own = scene.get(&path).json()["destinations"][0].clone();
    assert_eq!((&own["state"], &own["reason"]), (&json!("paused"), &json!("moving house")));
    scene.stands(&second, "queued");
    assert_eq!(scene.receiver.count(), 1);
    assert_eq!(scene.post_to(&format!("{path}/resume"), "").json(), json!({ "count": 1 }));
    scene.ends(&second);
    assert_eq!(scene.post_to(&format!("{path}/flush"), "").json(), json!({ "count": 1 }));
    scene.receiver.received(3);
    scene.stands(&id, "deferred");
}

#[test]
fn the_foremost_destinations_are_told_of_and_all_are_counted() {
    let scene = Scene::start("");
    let names = |query: &str| {
        let told = scene.get(&format!("/api/v1/destinations?{query}")).json();
        let names = told["destinations"].as_array().unwrap().iter();
        let host = |one: &Value| one["origin"].as_str().unwrap().split('.').next_back().unwrap().to_owned();
        (names.map(host).map(|host| host.split(':').next().unwrap().to_owned()).collect::<Vec<_>>(), told)
    };
    let url = |host: u8| format!("http://127.0.0.{host}:{}/x", scene.receiver.address.port());
    // Nobody listens there, but at the last one's.
    let posts: Vec<_> = [7, 5, 5, 6, 1].map(|host| json!({ "url": url(host), "body": "x" })).into();
    assert_eq!(scene.post_to("/api/v1/posts", &Value::from(posts).to_string()).status, 202);
    let pause = format!(
        "/api/v1/destinations/{}/pause",
        url(6).trim_end_matches("/x").replace(':', "%3A").replace('/', "%2F")
    );
    assert_eq!(scene.post_to(&pause, "").status, 200);
    let (_, told) = eventually("each to stand as it does", DEADLINE, || {
        Some(names("order=worst&limit=2")).filter(|(names, told)| {
            (names.join(" "), &told["in_trouble"])
                == ("5 7".to_owned(), &json!({ "destinations": 2, "queued": 3 }))
        })
    });
    assert_eq!((&told["total"], &told["slowed"]), (&json!(4), &json!({ "destinations": 1, "queued": 1 })));
    assert_eq!(names("order=worst").0, ["5", "7", "6", "1"]);
    assert_eq!(names("").0, ["1", "5", "6", "7"]);
    assert_eq!(names("limit=1").0, ["1"]);
}

/// What is refused, with the field that is at fault where there is one.
#[test]
fn what_cannot_be_meant_is_refused_with_a_problem() {
    let scene = Scene::start("");
    let id = scene.post("/busy", "", "deferred");
    let actions = "/api/v1/posts/actions";
    let reroute = format!("/api/v1/posts/{id}/reroute");
    let pause = "/api/v1/destinations/%2A/pause";
    let deep = format!("{{\"filter\":{}", "[".repeat(30_000));
    for (method, path, body, status, field) in [
        ("GET", "/api/v1/posts?stat=failed", "", 400, ""),
        ("GET", "/api/v1/posts?state=failed&state=held", "", 400, ""),
        ("GET", "/api/v1/posts?state=broken", "", 422, "state"),
        ("GET", "/api/v1/posts?limit=0", "", 422, "limit"),
        ("GET", "/api/v1/posts?limit=1001", "", 422, "limit"),
        ("GET", "/api/v1/posts?cursor=x", "", 422, "cursor"),
        ("GET", "/api/v1/posts?destination=shop.example", "", 422, "destination"),
        ("GET", "/api/v1/posts/52a0000000000002", "", 404, ""),
        ("GET", "/api/v1/posts/..%2F..%2Fetc", "", 404, ""),
        ("GET", "/api/v1/destinations?x=1", "", 400, ""),
        ("GET", "/api/v1/destinations?limit=0", "", 422, "limit"),
        ("GET", "/api/v1/destinations?limit=1001", "", 422, "limit"),
        ("GET", "/api/v1/destinations?order=best", "", 422, "order"),
        ("GET", "/api/v1/nothing", "", 404, ""),
        ("PUT", "/api/v1/posts", "", 405, ""),
        ("POST", "/healthz", "", 405, ""),
        ("POST", actions, "", 400, ""),
        ("POST", actions, r#"{"action":"hold"}"#, 422, "filter"),
        ("POST", actions, r#"{"action":"hold","filter":{}}"#, 422, "filter"),
        ("POST", actions, r#"{"action":"hold","filter":{"tag":"t"},"all":true}"#, 422, "filter"),
        ("POST", actions, r#"{"action":"hold","filter":{"tags":"t"}}"#, 400, ""),
        ("POST", actions, r#"{"action":"hold","all":true,"all":true}"#, 400, ""),
        ("POST", actions, r#"{"action":"burn","all":true}"#, 400, ""),
        ("POST", actions, r#"{"action":"hold","all":"yes"}"#, 400, ""),
        ("POST", actions, r#"{"action":"hold","all":true,"url":"https://h/"}"#, 422, "url"),
        ("POST", actions, r#"{"action":"reroute","all":true}"#, 422, "url"),
        ("POST", actions, r#"{"action":"reroute","all":true,"url":"ftp://h/"}"#, 422, "url"),
        ("POST", actions, &deep, 400, ""),
        ("POST", &reroute, r#"{"url":"https://user:canary@h/"}"#, 422, "url"),
        ("POST", &reroute, r#"{"url":"https://h/\r\nX: 1"}"#, 422, "url"),
        ("POST", &reroute, "", 400, ""),
        ("POST", "/api/v1/destinations/shop.example/pause", "", 422, "origin"),
        ("POST", pause, r#"{"reason":"a\nb"}"#, 422, "reason"),
        ("POST", pause, r#"{"why":"x"}"#, 400, ""),
        ("POST", pause, &format!("\"{}\"", "x".repeat(70_000)), 413, ""),
    ] {
        let response = scene.ask(method, path, (!body.is_empty()).then_some(body));
        let asked = format!("{method} {path} {}", &body[..body.len().min(80)]);
        assert_eq!(response.status, status, "{asked}: {response:?}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"), "{asked}");
        let problem = response.json();
        assert_eq!(problem["status"], status, "{asked}: {problem}");
        let fields = ["type", "title", "detail"];
        assert!(
            fields.iter().all(|field| problem[field].as_str().is_some_and(|text| !text.is_empty())),
            "{problem}"
        );
        assert_eq!(problem["errors"][0]["field"].as_str().unwrap_or_default(), field, "{asked}: {problem}");
        assert!(!problem.to_string().contains("canary"), "{problem}");
        if body.contains(r#"},"all":true"#) {
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("leave one of both out"), "{problem}");
        }
    }
    scene.stands(&id, "deferred");
}

/// Rows P3 and P4: what a browser on the same machine can be made to send; row L2.
#[test]
fn strangers_names_other_sites_and_own_requests_are_refused() {
    let scene = Scene::start("");
    let port = scene.api.port();
    let json = "Content-Type: application/json\r\n";
    scene.ends(&scene.send("/ok", ""));
    let own = scene.receiver.received(1)[0].headers["cdn-loop"].clone();
    for (host, more, status) in [
        ("127.0.0.1", String::new(), 200),
        ("localhost", String::new(), 200),
        ("LOCALHOST", String::new(), 200),
        ("[::1]", String::new(), 200),
        ("127.0.0.2", String::new(), 200),
        ("rebind.example", String::new(), 421),
        ("127.0.0.1.rebind.example", String::new(), 421),
        ("localhost.rebind.example", String::new(), 421),
        ("192.0.2.1", String::new(), 421),
        ("0.0.0.0", String::new(), 421),
        ("127.0.0.1", "Host: localhost\r\n".to_owned(), 400),
        ("127.0.0.1", "Origin: https://evil.example\r\n".to_owned(), 403),
        ("127.0.0.1", "Origin: null\r\n".to_owned(), 403),
        ("127.0.0.1", "Origin: http://127.0.0.1:1\r\n".to_owned(), 403),
        ("127.0.0.1", format!("Origin: http://127.0.0.1:{port}\r\n"), 200),
        ("127.0.0.1", "Sec-Fetch-Site: cross-site\r\n".to_owned(), 403),
        ("127.0.0.1", "Sec-Fetch-Site: same-site\r\n".to_owned(), 403),
        ("127.0.0.1", "Sec-Fetch-Site: same-origin\r\n".to_owned(), 200),
        ("127.0.0.1", format!("CDN-Loop: other, {own}\r\n"), 508),
        ("127.0.0.1", format!("CDN-Loop: other\r\nCDN-Loop: {}\r\n", own.replace("; ", ";v=1;")), 508),
        ("127.0.0.1", format!("CDN-Loop: {own}x\r\n"), 200),
        ("127.0.0.1", "CDN-Loop: postgate\r\n".to_owned(), 200),
    ] {
        let head = format!("POST /api/v1/destinations/%2A/flush HTTP/1.1\r\nHost: {host}:{port}\r\n");
        let rest = "Content-Length: 2\r\nConnection: close\r\n\r\n{}";
        let response = scene.raw(&format!("{head}{json}{more}{rest}"));
        assert_eq!(response.status, status, "{host} {more} {response:?}");
        for (name, value) in [("x-content-type-options", "nosniff"), ("cache-control", "no-store")] {
            assert_eq!(response.header(name), Some(value), "{host} {more}");
        }
    }
    for kind in ["", "Content-Type: text/plain\r\n", "Content-Type: application/x-www-form-urlencoded\r\n"] {
        let head = format!("POST /api/v1/destinations/%2A/flush HTTP/1.1\r\nHost: localhost\r\n{kind}");
        let response = scene.raw(&format!("{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"));
        assert_eq!(response.status, 415, "{kind}");
    }
    assert_eq!(scene.raw("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").status, 400);
}

#[test]
fn health_and_readiness_are_told() {
    let mut scene = Scene::start("");
    assert_eq!((scene.get("/healthz").status, scene.get("/readyz").status), (200, 200));
    assert_eq!(scene.gateway.end("-TERM"), 0);
}

/// An API of its own, whose dispatcher never answers.
async fn lonely(change: impl FnOnce(&mut Options)) -> (SocketAddr, Arc<MemorySpool>, impl Sized) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut options = Options::of("gateway.example".to_owned());
    change(&mut options);
    let (spool, (control, requests), (stop, stopped)) =
        (MemorySpool::new(), Control::new(), watch::channel(false));
    let shared = Arc::clone(&spool) as Arc<dyn Spool>;
    tokio::spawn(api::serve(listener, options, control, shared, Arc::default(), stopped));
    (address, spool, (requests, stop))
}

/// Writes these octets and reads until the end.
async fn talk(address: SocketAddr, octets: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(octets.as_bytes()).await.unwrap();
    let mut all = String::new();
    within_deadline("the end", stream.read_to_string(&mut all)).await.unwrap();
    all
}

const READY: &str = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn a_gateway_that_takes_no_posts_is_not_ready() {
    let (address, spool, _alive) = lonely(|_| ()).await;
    for (health, status) in
        [(Health::Full, 503), (Health::Failed("canary".to_owned()), 503), (Health::Open, 200)]
    {
        spool.set_health(health.clone());
        let response = talk(address, READY).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{health:?}: {response}");
        assert!(!response.contains("canary"), "{response}");
    }
}

#[tokio::test]
async fn slow_clients_and_slow_answers_are_cut_off_and_too_many_wait() {
    let short = Duration::from_millis(100);
    let (address, _spool, _alive) = lonely(|options| {
        (options.head_timeout, options.request_timeout, options.connections) = (short, short, 1);
    })
    .await;
    let head = "Host: localhost\r\nContent-Type: application/json\r\n";
    let kept = tokio::net::TcpStream::connect(address).await.unwrap();
    let ready = talk(address, READY).await;
    assert!(ready.starts_with("HTTP/1.1 200 "), "after the silent one was cut off: {ready}");
    drop(kept);
    assert_eq!(talk(address, "GET /healthz HTTP/1.1\r\nHost: loc").await, "");
    let flush = "POST /api/v1/destinations/%2A/flush HTTP/1.1\r\nConnection: close\r\n";
    for rest in ["Content-Length: 0\r\n\r\n", "Content-Length: 9\r\n\r\n{"] {
        let response = talk(address, &format!("{flush}{head}{rest}")).await;
        assert!(response.starts_with("HTTP/1.1 408 "), "{rest:?}: {response}");
    }
}

#[test]
fn one_connection_serves_many_requests_and_a_stop_ends_it() {
    let mut scene = Scene::start("");
    let mut stream = TcpStream::connect(scene.api).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut read = String::new();
    for count in 1..=3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut octets = [0; 1024];
        eventually("an answer", DEADLINE, || {
            let length = stream.read(&mut octets).unwrap();
            read.push_str(std::str::from_utf8(&octets[..length]).unwrap());
            (read.matches("ok\n").count() == count).then_some(())
        });
    }
    assert_eq!(scene.gateway.end("-TERM"), 0);
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
}
