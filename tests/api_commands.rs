//! `POST /commands`, `…/purge` and `…/transcript` of the running program, and the
//! commands for them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use support::DEADLINE;
use support::api::{Response, Scene};
use support::program::eventually;

fn command(scene: &Scene, line: &str) -> Response {
    scene.post_to("/api/v1/commands", &json!({ "command": line }).to_string())
}

#[test]
fn verbs_of_the_command_line_are_carried_out() {
    let scene = Scene::start("");
    let origin = scene.origin();
    let failed = scene.post("/gone", "X-Postgate-Tag: bill\r\n", "failed");
    let done = |line: &str| {
        let answer = command(&scene, line);
        let told = answer.json();
        assert_eq!((answer.status, &told["status"]), (200, &json!("success")), "{line}: {told}");
        assert!(told["message"].is_string());
        told["data"].clone()
    };
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
