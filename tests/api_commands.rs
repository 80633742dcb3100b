//! `POST /commands`, `…/purge` and `…/transcript` of the running program, and the
//! commands for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use support::DEADLINE;
use support::api::{Response, Scene};
use support::collector::{Answer, Collector};
use support::program::{Client, eventually};

fn command(scene: &Scene, line: &str) -> Response {
    scene.post_to("/api/v1/commands", &json!({ "command": line }).to_string())
}

#[test]
fn verbs_of_the_command_line_are_carried_out() {
    let scene = Scene::start("");
    let origin = scene.origin();
    let failed = scene.post("/gone", "X-Postgate-Tag: bill\r\n", "failed");
    let done = |line: &str| done(&scene, line);
    assert_eq!(done(&format!("pause destination {origin} --reason 'moving house'")), json!({ "count": 1 }));
    let waiting = scene.send("/ok", "");
    scene.stands(&waiting, "queued");
    let own = done("show queues")["destinations"][0].clone();
    assert_eq!((&own["state"], &own["reason"]), (&json!("paused"), &json!("moving house")));
    assert_eq!(done("list --tag bill")["posts"][0]["id"], json!(failed));
    assert_eq!(done(&format!("queue show {failed} {waiting}"))[1]["id"], json!(waiting));
    assert_eq!(done("delete --queue * --dry-run")["count"], 2);
    assert_eq!(done("queue delete --tag bill"), json!({ "count": 1 }));
    scene.ends(&failed);
    assert_eq!(done(&format!("resume queue {origin}")), json!({ "count": 1 }));
    scene.ends(&waiting);
    assert_eq!(done("show status")["queue"]["waiting"], 0);
    assert_eq!(done("reload"), json!({ "ok": true, "restart": [] }));
    assert!(done("show settings").as_str().unwrap().contains("[[listener]]"));
    for (line, status, said) in [
        ("dance", 422, "purge destination"),
        ("rotate log", 422, "keep_days"),
        ("disable source 10.1.2.3", 422, "no sources"),
        ("check spf example.org", 422, "nobody checks SPF"),
        ("show vmtas", 422, "show queues"),
        ("rotate acct", 404, "[accounting] path"),
        ("set queue https://x", 422, "--mode=normal"),
        ("set queue https://x --mode=slow", 422, "--mode=normal"),
        ("pause job", 422, "JOB"),
        ("pause job spring --jobId summer", 422, "leave it out"),
        ("pause job ''", 422, "it is empty"),
        ("show topqueues --sort size", 422, "rcpt"),
        ("show topqueues --paused --errors", 422, "at a time"),
        ("show queues --colour red", 422, "colour"),
        ("status --maxitems 3", 422, "limit"),
        ("delete --jobId spring --no-accounting", 422, "accounted for"),
        ("pause destination", 422, "ORIGIN"),
        ("pause destination shop.example", 422, "origin"),
        ("delete", 422, "names no post"),
        ("list --colour red", 422, "colour"),
        ("queue show 52a0000000000009", 404, "no such post"),
        ("reload now", 422, "now"),
    ] {
        let answer = command(&scene, line);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(answer.status == status && detail.contains(said), "{line}: {answer:?}");
    }
}

/// What a command that is carried out tells.
fn done(scene: &Scene, line: &str) -> Value {
    let answer = command(scene, line);
    let told = answer.json();
    assert_eq!((answer.status, &told["status"]), (200, &json!("success")), "{line}: {told}");
    assert!(told["message"].is_string());
    told["data"].clone()
}

#[test]
fn all_names_are_looked_at_before_anything_is_done_and_what_was_done_is_told() {
    let scene = Scene::start("");
    let origin = scene.origin();
    let [one, two, three] = [(); 3].map(|()| scene.post("/busy", "", "deferred"));
    let webhook = json!({ "url": "https://r.example/in", "events": ["post.failed"] });
    let [first, second] =
        [(); 2].map(|()| scene.post_to("/api/v1/webhooks", &webhook.to_string()).json()["id"].clone());
    let [first, second] = [&first, &second].map(|id| id.as_str().unwrap());
    let missing = "52a0000000000009";
    for (line, status) in [
        (format!("purge destination {origin} *"), 422),
        (format!("pause destination {origin} shop.example"), 422),
        (format!("schedule {origin} ''"), 422),
        (format!("delete {one} nonsense"), 404),
        (format!("queue hold {one} {missing}"), 404),
        (format!("queue reroute {one} {missing} --url https://b.example"), 404),
        ("pause job spring ''".to_owned(), 422),
        (format!("webhook rotate-secret {first} wh_x"), 404),
        (format!("webhook delete {first} wh_x"), 404),
    ] {
        let answer = command(&scene, &line);
        assert_eq!(answer.status, status, "{line}: {answer:?}");
    }
    for id in [&one, &two, &three] {
        scene.stands(id, "deferred");
    }
    assert_eq!(done(&scene, "show queues")["destinations"][0]["state"], "active");
    for id in [first, second] {
        let shown = scene.get(&format!("/api/v1/webhooks/{id}"));
        assert_eq!((shown.status, shown.header("etag")), (200, Some("\"1\"")), "{shown:?}");
    }
    let both = done(&scene, &format!("webhook rotate-secret {first} {second}"));
    assert!(both[0]["secret"].is_string() && both[1]["secret"].is_string(), "{both}");

    done(&scene, &format!("queue hold {two}"));
    let told = command(&scene, &format!("queue hold {one} {two} {three}"));
    let again = json!({ "name": two, "error": "the post is held: there is nothing to be done" });
    let data = json!([{ "count": 1 }, again, { "count": 1 }]);
    let message = "1 of 3 names failed; error says why";
    assert_eq!(
        (told.status, told.json()),
        (200, json!({ "data": data, "status": "partial", "message": message }))
    );
    // Nothing has been done where it fails for the first.
    assert_eq!(command(&scene, &format!("queue hold {two} {one}")).status, 409);
}

/// The ids of posts that a command lists, sorted.
fn listed(scene: &Scene, line: &str) -> Vec<String> {
    let told = done(scene, line);
    let ids = told["posts"].as_array().unwrap().iter().map(|post| post["id"].as_str().unwrap().to_owned());
    let mut ids: Vec<_> = ids.collect();
    ids.sort();
    ids
}

#[test]
fn the_posts_of_a_job_are_held_released_listed_and_deleted() {
    let scene = Scene::start("");
    let headers = |job: &str, id: &str| format!("X-xsMailingId: {job}\r\nX-xsMessageId: {id}\r\n");
    let spring = scene.post("/busy", &headers("spring", "17"), "deferred");
    let other = scene.post("/busy", &headers("spring sale", "17"), "deferred");
    let none = scene.post("/busy", "", "deferred");
    // Over HTTP a job is a campaign.
    let mail = json!({
        "return_path": "app@app.example",
        "recipients": [{ "address": scene.receiver.recipient("/busy") }],
        "content": { "email_rfc822": "Subject: x\r\n\r\nhello\r\n" },
        "campaign_id": "spring",
    });
    let answer = scene.post_to("/api/v1/messages", &mail.to_string());
    let campaign = answer.json()["posts"][0].as_str().unwrap().to_owned();
    scene.stands(&campaign, "deferred");
    let mut both = [spring.clone(), campaign.clone()];
    both.sort();
    assert_eq!(listed(&scene, "list --jobId spring"), both);
    assert_eq!(listed(&scene, "list --jobId=spring --envId=17"), [&*spring]);
    assert_eq!(listed(&scene, "list --envId 17 --maxitems 5").len(), 2);
    assert_eq!(done(&scene, "pause job spring --dry-run"), json!({ "count": 2 }));
    scene.stands(&spring, "deferred");
    assert_eq!(done(&scene, "pause job spring 'spring sale'"), json!([{ "count": 2 }, { "count": 1 }]));
    for (id, state) in [(&spring, "held"), (&campaign, "held"), (&other, "held"), (&none, "deferred")] {
        scene.stands(id, state);
    }
    assert_eq!(done(&scene, "resume job spring"), json!({ "count": 2 }));
    let page = scene.get("/api/v1/posts?job=spring&state=held").json();
    assert_eq!(page["posts"], json!([]));
    scene.stands(&other, "held");
    let body = json!({ "action": "hold", "filter": { "job": "spring", "xs_message_id": "17" } });
    assert_eq!(scene.post_to("/api/v1/posts/actions", &body.to_string()).json(), json!({ "count": 1 }));
    let (code, text, _) = scene.run(&["queue", "release", "--job", "spring"]);
    assert_eq!((code, text.as_str()), (0, "1 posts\n"));
    assert_eq!(done(&scene, "delete --jobId spring --older-than 1h"), json!({ "count": 0 }));
    let (code, text, _) = scene.run(&["queue", "delete", "--older-than", "1h30m", "--dry-run"]);
    assert_eq!((code, text.as_str()), (0, "0 posts\n"));
    assert_eq!(done(&scene, "delete --jobId spring --older-than 0s"), json!({ "count": 2 }));
    scene.ends(&spring);
    scene.ends(&campaign);
    scene.stands(&other, "held");
    scene.stands(&none, "deferred");
}

#[test]
fn a_destination_goes_into_backoff_by_order_and_comes_back() {
    let mut scene = Scene::start("[accounting]\npath = \"acct.ndjson\"\n");
    let origin = scene.origin();
    // Its breaker never opens by itself; the next probe would be in an hour.
    let command = format!("set queue {origin} --mode=backoff --reason 'too slow'");
    assert_eq!(done(&scene, &command), json!({ "count": 0 }));
    let deferred = scene.post("/busy", "", "deferred");
    assert_eq!(done(&scene, &command), json!({ "count": 1 }));
    assert_eq!(done(&scene, &command), json!({ "count": 0 }));
    let waiting = scene.send("/ok", "");
    let shown = |scene: &Scene| {
        let told = done(scene, "show topqueues --mode=backoff");
        let own = &told["destinations"][0];
        assert_eq!(
            (&own["state"], &own["reason"]),
            (&json!("backoff"), &json!("by order: too slow")),
            "{told}"
        );
    };
    shown(&scene);
    assert_eq!(done(&scene, "show topqueues --mode=normal")["destinations"], json!([]));
    assert_eq!(scene.get(&format!("/api/v1/posts/{waiting}")).json()["state"], "queued");
    let told = |scene: &Scene, kind: &str, reason: &str| {
        eventually(&format!("the event destination.{kind}"), DEADLINE, || {
            let page = scene.get(&format!("/api/v1/events?type=destination.{kind}")).json();
            let data = page["events"][0]["data"].clone();
            (data["destination"] == origin && data["reason"] == reason).then_some(())
        });
    };
    told(&scene, "backoff", "by order: too slow");
    let records = scene.directory.path().join("postgate-data/acct.ndjson");
    eventually("its record", DEADLINE, || {
        let text = std::fs::read_to_string(&records).unwrap_or_default();
        let mut records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let is_it = |record: &Value| record["type"] == "tq" && record["reason"] == "by order: too slow";
        records.find(is_it)
    });
    assert_eq!(scene.gateway.end("-TERM"), 0);
    scene.again();
    shown(&scene);
    let (code, text, _) = scene.run(&["destination", "recover", &scene.origin()]);
    assert_eq!((code, text), (0, format!("{}: 1 backoffs ended\n", scene.origin())));
    scene.ends(&waiting);
    scene.stands(&deferred, "deferred");
    told(&scene, "recovered", "by order");
    assert_eq!(done(&scene, &format!("set queue {} --mode normal", scene.origin())), json!({ "count": 0 }));
    let (code, text, _) = scene.run(&["destination", "backoff", "*"]);
    assert_eq!((code, text.as_str()), (0, "*: 1 destinations went into backoff\n"));
    assert_eq!(done(&scene, "schedule * --retry-recipients"), json!({ "count": 1 }));
    eventually("its second attempt", DEADLINE, || {
        let post = scene.get(&format!("/api/v1/posts/{deferred}")).json();
        (post["attempts"] == 2).then_some(())
    });
    assert_eq!(done(&scene, "show queues --mode backoff")["destinations"], json!([]));
}

#[test]
fn the_foremost_destinations_are_those_where_most_waits() {
    let scene = Scene::start("");
    let others = [Collector::start(|_| Answer::Status(500)), Collector::start(|_| Answer::Status(200))];
    let [busy, well] = others.each_ref().map(|other| format!("http://{}", other.address));
    scene.post("/busy", "", "deferred");
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    for _ in 0..2 {
        let reply = client.send(&[others[0].recipient("/x")], b"Subject: x\r\n\r\nhello\r\n");
        scene.stands(reply.id(), "deferred");
    }
    let reply = client.send(&[others[1].recipient("/x")], b"Subject: x\r\n\r\nhello\r\n");
    scene.ends(reply.id());
    let origins = |line: &str| {
        let told = done(&scene, line);
        let all = told["destinations"].as_array().unwrap().iter();
        all.map(|one| one["origin"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let own = scene.origin();
    assert_eq!(origins("show topqueues"), [&*busy, &*own, &*well]);
    assert_eq!(origins("show topdomains --maxitems=1"), [&*busy]);
    let mut named = vec![busy.clone(), own.clone()];
    named.sort();
    assert_eq!(origins("show queues --errors"), named);
    assert_eq!(origins("show topqueues --errors --sort name --maxitems 1"), named[..1]);
    assert_eq!(origins("show topqueues --paused"), Vec::<String>::new());
    done(&scene, &format!("pause queue {well}"));
    assert_eq!(origins("show topqueues --paused"), [&*well]);
    assert_eq!(origins(&format!("show queues {busy}")), [&*busy]);
    let page = scene.get("/api/v1/destinations?only=paused&order=fullest").json();
    assert_eq!((&page["destinations"][0]["origin"], &page["total"]), (&json!(well), &json!(3)));
    assert_eq!(scene.get("/api/v1/destinations?only=sad").status, 422);
    let (code, text, _) =
        scene.run(&["destination", "list", "--only", "errors", "--order", "fullest", "--limit", "1"]);
    assert!(code == 0 && text.contains(&busy) && !text.contains(&own), "{text}");
}

#[test]
fn what_waits_for_a_destination_is_purged_and_nothing_else() {
    let scene = Scene::start("");
    let path = format!("/api/v1/destinations/{}", scene.origin_piece());
    let failed = scene.post("/gone", "", "failed");
    let deferred = scene.post("/busy", "", "deferred");
    let held = scene.post("/busy", "", "deferred");
    assert_eq!(scene.post_to(&format!("/api/v1/posts/{held}/hold"), "").status, 200);
    scene.stands(&held, "held");
    for (path, body, status, count) in [
        (path.as_str(), r#"{"dry_run":true}"#, 200, 2),
        ("/api/v1/destinations/https%3A%2F%2Fshop.example", "", 200, 0),
        ("/api/v1/destinations/%2A", r#"{"all":true,"dry_run":true}"#, 200, 2),
        ("/api/v1/destinations/%2A", "", 422, 0),
        ("/api/v1/destinations/%2A", r#"{"dry_run":true}"#, 422, 0),
        (path.as_str(), r#"{"some":true}"#, 400, 0),
    ] {
        let answer = scene.post_to(&format!("{path}/purge"), body);
        assert_eq!(answer.status, status, "{path} {body}");
        if status == 200 {
            assert_eq!(answer.json(), json!({ "count": count }), "{path} {body}");
        }
    }
    let (code, told, _) = scene.run(&["destination", "purge", &scene.origin()]);
    assert_eq!((code, told), (0, format!("{}: 2 posts\n", scene.origin())));
    scene.ends(&deferred);
    scene.ends(&held);
    scene.stands(&failed, "failed");
}

#[test]
fn a_transcript_has_the_session_and_the_exchanges() {
    let scene = Scene::start("");
    let busy = scene.post("/busy?token=canary", "", "deferred");
    let done = scene.send("/ok", "");
    let told = |id: &str, line: &str| {
        eventually("the protocol log to be written", DEADLINE, || {
            let answer = scene.get(&format!("/api/v1/posts/{id}/transcript"));
            let text = String::from_utf8(answer.body.clone()).unwrap();
            (answer.status == 200 && text.contains(line)).then(|| answer.json())
        })
    };
    let whole = told(&busy, "500 Internal");
    let holds = |part: &str, line: &str| {
        let lines = whole[part].as_array().unwrap();
        lines.iter().any(|other| other.as_str().unwrap().contains(line))
    };
    for (part, line) in [
        ("smtp", "* connected from 127.0.0.1"),
        ("smtp", "< MAIL FROM:<app@app.example>"),
        ("smtp", &format!("queued as {busy}")),
        ("http", &format!("{busy} attempt 1: connected to")),
        ("http", "> POST /busy?token=*** HTTP/1.1"),
    ] {
        assert!(holds(part, line), "{part}: {line}: {whole}");
    }
    assert_eq!(whole["truncated"], json!(false));
    assert!(!whole.to_string().contains("canary") && !whole.to_string().contains(&done));
    told(&done, "200 OK");
    let (code, text, _) = scene.run(&["trace", &done]);
    assert!(code == 0 && text.contains("< MAIL FROM") && text.contains("200 OK"), "{text}");
    let gone = scene.get("/api/v1/posts/52a0000000000009/transcript");
    assert_eq!(gone.status, 404);

    let scene = Scene::start("[log]\nprotocol_log = \"off\"\n");
    let id = scene.post("/busy", "", "deferred");
    let off = scene.get(&format!("/api/v1/posts/{id}/transcript"));
    assert_eq!(off.status, 404);
    assert!(off.json()["detail"].as_str().unwrap().contains("log.protocol_log"), "{off:?}");
}

#[test]
fn the_configuration_is_shown_checked_and_put_in_force() {
    let scene = Scene::start("");
    let (code, text, _) = scene.run(&["config", "show"]);
    let file = scene.directory.path().join("postgate.toml");
    assert_eq!((code, text.trim()), (0, std::fs::read_to_string(&file).unwrap().trim()));
    let other = scene.directory.path().join("other.toml");
    std::fs::write(&other, format!("{text}[limits]\nconnections = 55\n")).unwrap();
    let other = other.to_str().unwrap();
    for (arguments, said) in
        [(["config", "check", other], "good\n"), (["config", "put", other], "in force\n")]
    {
        assert_eq!(scene.run(&arguments), (0, said.to_owned(), String::new()));
    }
    assert_eq!(scene.get("/api/v1/status").json()["connections"]["in"]["max"], 55);
    assert_eq!(scene.run(&["reload", "--json"]).1, "{\"ok\":true,\"restart\":[]}\n");
    std::fs::write(other, "x = 1\n").unwrap();
    let (code, _, text) = scene.run(&["config", "put", other]);
    assert!(code == 65 && text.starts_with("line 1, column 1: x: "), "{code} {text}");
    let told: Value = serde_json::from_str(&scene.run(&["config", "show", "--json"]).1).unwrap();
    assert!(told["config"].as_str().unwrap().contains("connections = 55"));
}
