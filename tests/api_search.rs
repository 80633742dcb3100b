//! `GET /posts` and `POST /posts/actions` of the running program by everything that
//! posts can be searched by.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use support::api::Scene;
use support::program::send;

fn ids(list: &Value) -> Vec<String> {
    list["posts"].as_array().unwrap().iter().map(|post| post["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_same_filters_find_count_and_steer() {
    let receiver = support::collector::Collector::start(|_| support::collector::Answer::Status(404));
    let route = format!(
        "[[route]]\nrecipient = \"orders+*@hooks.example\"\nurl = \"http://{}/hook\"\n",
        receiver.address
    );
    let scene = Scene::start(&route);
    let plain = scene.post("/gone/Plain?token=canary", "X-Postgate-Tag: bill\r\n", "failed");
    let tagged = scene.post("/gone/b", "X-xsMailingId: Spring-7\r\n", "failed");
    let routed = send(scene.gateway.smtp, &["orders+7@hooks.example".to_owned()], "Subject: x\r\n\r\nx\r\n");
    let routed = routed.id().to_owned();
    scene.stands(&routed, "failed");
    let accepted = |id: &str| {
        let post = scene.get(&format!("/api/v1/posts/{id}")).json();
        post["accepted_at"].as_str().unwrap().to_owned()
    };
    let (all, none): (&[&str], &[&str]) = (&[&routed, &tagged, &plain], &[]);
    let (first, last) = (accepted(&plain), accepted(&routed));
    for (field, value, expected) in [
        ("sender", "app@app.example", all),
        ("sender", "*@APP.*", all),
        ("sender", "other@app.example", none),
        ("recipient", "orders+7@hooks.example", &all[..1]),
        ("recipient", "*canary*", none),
        ("route", "orders+*@hooks.example", &all[..1]),
        ("route", "*", &all[..1]),
        ("q", "spring-7", &all[1..2]),
        ("q", "PLAIN", &all[2..]),
        ("q", "canary", none),
        ("q", &tagged, &all[1..2]),
        ("since", &first, all),
        ("since", "2100-01-01T00:00:00Z", none),
        ("until", "2100-01-01T01:00:00+01:00", all),
        ("until", &first, none),
        ("since", &last, &all[..1]),
    ] {
        let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let list = scene.get(&format!("/api/v1/posts?{field}={encoded}")).json();
        assert_eq!(
            (ids(&list).iter().map(String::as_str).collect::<Vec<_>>(), &list["next"]),
            (expected.to_vec(), &Value::Null),
            "{field}={value}"
        );
        let act = json!({ "action": "delete", "filter": { field: value }, "dry_run": true }).to_string();
        let counted = scene.post_to("/api/v1/posts/actions", &act).json();
        assert_eq!(counted, json!({ "count": expected.len() }), "{field}={value}");
        let (_, told, _) = scene.run(&["queue", "list", "--json", &format!("--{field}"), value]);
        assert_eq!(ids(&serde_json::from_str(&told).unwrap()), expected, "--{field} {value}");
    }
    let act = json!({ "action": "delete", "filter": { "route": "*" } }).to_string();
    assert_eq!(scene.post_to("/api/v1/posts/actions", &act).json(), json!({ "count": 1 }));
    assert_eq!(ids(&scene.get("/api/v1/posts").json()), all[1..]);
    for (query, field) in [
        ("since=yesterday", "since"),
        ("until=1", "until"),
        ("cursor=52a0000000000002", "cursor"),
        ("q=", "q"),
        ("sender=", "sender"),
    ] {
        let problem = scene.get(&format!("/api/v1/posts?{query}"));
        assert_eq!((problem.status, &problem.json()["errors"][0]["field"]), (422, &json!(field)));
    }
    let act = json!({ "action": "delete", "filter": { "q": "" } }).to_string();
    assert_eq!(scene.post_to("/api/v1/posts/actions", &act).status, 422, "it would mean all");
    assert_eq!(ids(&scene.get("/api/v1/posts").json()), all[1..]);
}
