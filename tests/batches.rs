//! What was sent to webhooks, as the API of the running program tells it, and sending it
//! again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::DEADLINE;
use support::api::{Response, Scene};
use support::collector::Arrival;
use support::program::eventually;

const WEBHOOKS: &str = "/api/v1/webhooks";

/// A webhook that wants what applications publish, at this path of the receiver.
fn made(scene: &Scene, path: &str, more: Value) -> String {
    let mut asked =
        json!({ "url": format!("{}{path}", scene.origin()), "events": ["order.*"], "verify": "skip" });
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let response = scene.post_to(WEBHOOKS, &asked.to_string());
    assert_eq!(response.status, 201, "{response:?}");
    response.json()["id"].as_str().unwrap().to_owned()
}

/// Publishes events of the name `order.paid` with these numbers; their ids.
fn publish(scene: &Scene, orders: std::ops::Range<u32>) -> Vec<String> {
    let mut ids = Vec::new();
    let orders: Vec<_> = orders.collect();
    for orders in orders.chunks(1000) {
        let event = |order: &u32| json!({ "type": "order.paid", "data": { "order": order, "tag": format!("t{}", order % 2) } });
        let events: Vec<_> = orders.iter().map(event).collect();
        let answer = scene.post_to("/api/v1/events", &json!(events).to_string());
        assert_eq!(answer.status, 202, "{answer:?}");
        let told = answer.json();
        ids.extend(told["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    ids
}

fn batches(scene: &Scene, webhook: &str, query: &str) -> Value {
    let response = scene.get(&format!("{WEBHOOKS}/{webhook}/batches{query}"));
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// Waits until the newest batch of a webhook stands so.
fn stands(scene: &Scene, webhook: &str, state: &str) -> Value {
    eventually(&format!("a batch that is {state}"), DEADLINE, || {
        let batch = batches(scene, webhook, "")["batches"][0].clone();
        (batch["state"] == state).then_some(batch)
    })
}

/// The requests that came to a path.
fn to(scene: &Scene, path: &str) -> Vec<Arrival> {
    let arrivals = scene.receiver.arrivals().into_iter().map(|(arrival, _)| arrival);
    arrivals.filter(|arrival| arrival.path == path).collect()
}

/// How often each event came to a path, by its id.
fn events(scene: &Scene, path: &str) -> BTreeMap<String, usize> {
    let mut events = BTreeMap::new();
    for arrival in to(scene, path) {
        for line in arrival.body.split(|octet| *octet == b'\n').filter(|line| !line.is_empty()) {
            let event: Value = serde_json::from_slice(line).unwrap();
            *events.entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
        }
    }
    events
}

#[test]
fn batches_are_listed_with_what_came_of_them_and_shown_whole() {
    let scene = Scene::start("");
    let taken = made(&scene, "/ok", json!({ "format": "ndjson" }));
    let refused = made(&scene, "/busy", json!({ "format": "ndjson" }));
    let gone = made(&scene, "/gone", json!({}));
    publish(&scene, 0..3);
    let delivered = stands(&scene, &taken, "delivered");
    for (field, value) in [
        ("events", json!(3)),
        ("attempts", json!(1)),
        ("response_code", json!(200)),
        ("failure_code", Value::Null),
        ("next_attempt_at", Value::Null),
    ] {
        assert_eq!(delivered[field], value, "{field} of {delivered}");
    }
    let arrival = to(&scene, "/ok").remove(0);
    assert_eq!(delivered["batch_id"], json!(arrival.headers["webhook-id"]));
    assert!(delivered["created_at"].as_str().unwrap().ends_with('Z'));
    // It is not kept, but made once more.
    let whole = scene.get(&format!("{WEBHOOKS}/{taken}/batches/{}", arrival.headers["webhook-id"])).json();
    assert_eq!(whole["body"].as_str().unwrap().as_bytes(), arrival.body);
    assert_eq!(whole["attempt_list"][0]["status"], 200);

    let deferred = stands(&scene, &refused, "deferred");
    for (field, value) in
        [("attempts", json!(1)), ("response_code", json!(500)), ("failure_code", json!("500"))]
    {
        assert_eq!(deferred[field], value, "{field} of {deferred}");
    }
    assert!(deferred["next_attempt_at"].is_string());
    let id = deferred["batch_id"].as_str().unwrap();
    let whole = scene.get(&format!("{WEBHOOKS}/{refused}/batches/{id}")).json();
    let arrival = to(&scene, "/busy").remove(0);
    assert_eq!(whole["body"].as_str().unwrap().as_bytes(), arrival.body);
    assert_eq!(
        (&whole["attempt_list"][0]["status"], &whole["attempt_list"][0]["number"]),
        (&json!(500), &json!(1))
    );
    assert_eq!(whole["post"]["method"], "POST");
    // One batch an event, and each of them is over.
    let failed = eventually("three failures", DEADLINE, || {
        let page = batches(&scene, &gone, "?state=failed");
        (page["batches"].as_array().unwrap().len() == 3).then_some(page)
    });
    assert_eq!(failed["batches"][0]["failure_code"], "404");
    let first = batches(&scene, &gone, "?limit=2");
    assert_eq!(first["batches"].as_array().unwrap().len(), 2);
    let second = batches(&scene, &gone, &format!("?limit=2&cursor={}", first["next"].as_str().unwrap()));
    assert_eq!(second["batches"][0]["batch_id"], failed["batches"][2]["batch_id"]);
    assert_eq!(batches(&scene, &gone, "?until=2020-01-01T00:00:00Z")["batches"], json!([]));

    // SparkPost tells only of those that were not taken at once.
    let status = |webhook: &str| scene.get(&format!("{WEBHOOKS}/{webhook}/batch-status?limit=1000")).json();
    assert_eq!(status(&taken), json!({ "results": [] }));
    let told = status(&refused)["results"][0].clone();
    assert!(told["ts"].as_str().unwrap().ends_with('Z'), "{told}");
    let expected = json!({ "batch_id": id, "ts": told["ts"], "attempts": 1, "response_code": "500", "failure_code": "500" });
    assert_eq!(told, expected);

    for (path, status) in [
        (format!("{taken}/batches/{id}"), 404),
        (format!("{taken}/batches/x"), 404),
        (format!("{taken}/batches?state=lost"), 422),
        (format!("{taken}/batches?limit=0"), 422),
        (format!("{taken}/batches?cursor=x"), 422),
        (format!("{taken}/batches?colour=red"), 400),
        ("wh_01ARYZ6S410000000000000000/batches".to_owned(), 404),
    ] {
        assert_eq!(scene.get(&format!("{WEBHOOKS}/{path}")).status, status, "{path}");
    }
    for (line, field) in [
        ("webhook list".to_owned(), "webhooks"),
        (format!("webhook show {taken}"), "status"),
        (format!("webhook batches {refused} --limit 1"), "batches"),
        (format!("webhook batch {refused} {id}"), "attempt_list"),
        (format!("webhook test {taken} --event order.paid"), "delivered"),
        (format!("webhook replay {taken} --event order.* --dry-run"), "count"),
        (format!("webhook replays {taken}"), "replays"),
        (format!("webhook disable {taken}"), "status"),
    ] {
        let told = scene.post_to("/api/v1/commands", &json!({ "command": line }).to_string()).json();
        assert!(told["status"] == "success" && !told["data"][field].is_null(), "{line}: {told}");
    }
    let (code, table, _) = scene.run(&["webhook", "batches", &refused]);
    assert!(code == 0 && table.contains(id) && table.contains("deferred"), "{table}");
    let (_, shown, _) = scene.run(&["webhook", "batch", &refused, id]);
    assert!(shown.contains("TRY") && shown.contains("order.paid"), "{shown}");
    let (_, body, _) = scene.run(&["webhook", "batch", &refused, id, "--body"]);
    assert_eq!(body.trim_end().as_bytes(), arrival.body.trim_ascii_end());
}

fn replay(scene: &Scene, webhook: &str, asked: Value) -> Response {
    scene.post_to(&format!("{WEBHOOKS}/{webhook}/replay"), &asked.to_string())
}

fn replays(scene: &Scene, webhook: &str) -> Value {
    scene.get(&format!("{WEBHOOKS}/{webhook}/replays")).json()["replays"].clone()
}

#[test]
fn events_are_sent_again_by_time_and_filter_under_their_ids() {
    let scene = Scene::start("");
    let webhook = made(&scene, "/ok", json!({ "format": "ndjson" }));
    let ids = publish(&scene, 0..10);
    eventually("the events", DEADLINE, || (events(&scene, "/ok").len() == 10).then_some(()));
    for (asked, count) in [
        (json!({ "all": true }), 10),
        (json!({ "since": "2020-01-01T00:00:00Z" }), 10),
        (json!({ "until": "2020-01-01T00:00:00Z" }), 0),
        (json!({ "since": "2100-01-01T00:00:00Z" }), 0),
        (json!({ "filter": { "tag": "t1" } }), 5),
        (json!({ "filter": { "events": ["order.*"], "tag": ["t1", "t0"] } }), 10),
        (json!({ "filter": { "events": ["email.*"] } }), 0),
    ] {
        let mut dry = asked.clone();
        dry["dry_run"] = json!(true);
        let told = replay(&scene, &webhook, dry);
        assert_eq!((told.status, told.json()), (200, json!({ "count": count, "exact": true })), "{asked}");
    }
    assert_eq!(replays(&scene, &webhook), json!([]));
    for asked in [
        json!({}),
        json!({ "all": true, "since": "2020-01-01T00:00:00Z" }),
        json!({ "since": "soon" }),
        json!({ "filter": { "events": ["x"] } }),
    ] {
        assert_eq!(replay(&scene, &webhook, asked.clone()).status, 422, "{asked}");
    }

    let first: Vec<_> =
        to(&scene, "/ok").iter().map(|arrival| arrival.headers["webhook-id"].clone()).collect();
    let told = replay(&scene, &webhook, json!({ "filter": { "tag": "t1" } }));
    assert_eq!((told.status, &told.json()["count"]), (202, &json!(5)), "{told:?}");
    let again = |events: BTreeMap<String, usize>| {
        events.into_iter().filter(|(_, count)| *count == 2).map(|(id, _)| id).collect::<Vec<_>>()
    };
    let mut odd: Vec<_> = ids.iter().skip(1).step_by(2).cloned().collect();
    odd.sort();
    eventually("the odd ones again", DEADLINE, || (again(events(&scene, "/ok")) == odd).then_some(()));
    let done = eventually("the end of the replay", DEADLINE, || {
        let replay = replays(&scene, &webhook)[0].clone();
        (replay["state"] == "done").then_some(replay)
    });
    assert_eq!(
        (&done["sent"], &done["id"], &done["looked_at"]),
        (&json!(5), &told.json()["id"], &done["to_look_at"])
    );
    let batch = to(&scene, "/ok").pop().unwrap();
    assert!(!first.contains(&batch.headers["webhook-id"]), "it is another batch");
    // Until it has ended its body is there.
    stands(&scene, &webhook, "delivered");
    let shown = |id: &str| scene.get(&format!("{WEBHOOKS}/{webhook}/batches/{id}")).json()["body"].clone();
    assert_eq!(shown(&batch.headers["webhook-id"]), Value::Null, "nobody knows which events those were");
    assert_eq!(events(&scene, "/ok").len(), 10, "nothing else came");

    let unverified =
        scene.post_to(WEBHOOKS, &json!({ "url": scene.origin(), "events": ["*"] }).to_string()).json();
    assert_eq!(replay(&scene, unverified["id"].as_str().unwrap(), json!({ "all": true })).status, 409);
    let (code, told, _) = scene.run(&["webhook", "replay", &webhook, "--all", "--dry-run"]);
    assert_eq!((code, told.as_str()), (0, "10 events\n"));
    assert_eq!(scene.run(&["webhook", "replay", &webhook]).0, 64);
    let (_, table, _) = scene.run(&["webhook", "replays", &webhook]);
    assert!(table.contains("done"), "{table}");
}

#[test]
fn a_replay_goes_on_after_a_kill() {
    let mut scene = Scene::start("");
    let webhook = made(&scene, "/ok", json!({ "format": "ndjson", "batch": { "max_events": 10 } }));
    let ids = publish(&scene, 0..5000);
    let came = |scene: &Scene, times: usize| {
        let events = events(scene, "/ok");
        ids.iter().filter(|id| events.get(*id).is_some_and(|count| *count >= times)).count()
    };
    eventually("all events", DEADLINE, || (came(&scene, 1) == ids.len()).then_some(()));
    assert_eq!(replay(&scene, &webhook, json!({ "all": true })).json()["count"], 5000);
    eventually("some of them again", DEADLINE, || (came(&scene, 2) > 0).then_some(()));
    scene.gateway.end("-KILL");
    scene.again();
    eventually("all of them again", DEADLINE, || (came(&scene, 2) == ids.len()).then_some(()));
    eventually("the end", DEADLINE, || (replays(&scene, &webhook)[0]["state"] == "done").then_some(()));
}
