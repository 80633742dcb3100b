//! `postgate queue` and `postgate destination` against a running gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use std::net::TcpListener;
use support::api::{Scene, said};
use support::collector::{Answer, Collector};
use support::program::{postgate, send};
use tempfile::TempDir;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_queue_is_listed_shown_and_steered() {
    let scene = Scene::start("");
    let failed = scene.post("/gone", "X-Postgate-Tag: bill\r\n", "failed");
    let deferred = scene.post("/busy/bot17:canary/send?key=canary", "", "deferred");
    let (code, text, _) = scene.run(&["queue", "list"]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!((code, lines.len()), (0, 3), "{text}");
    assert!(lines[0].starts_with("ID  ") && lines[1].starts_with(&deferred) && lines[2].starts_with(&failed));
    assert!(lines[1].contains(" deferred ") && lines[1].contains(&scene.origin()), "{text}");
    let (code, text, _) = scene.run(&["queue", "list", "--tag", "bill", "--json"]);
    assert_eq!((code, json(&text)["posts"][0]["id"].as_str()), (0, Some(failed.as_str())));
    let (_, text, _) = scene.run(&["queue", "list", "--limit", "1", "--json"]);
    assert_eq!((json(&text)["posts"].as_array().unwrap().len(), json(&text)["next"].is_string()), (1, true));

    let (code, text, _) = scene.run(&["queue", "show", &deferred]);
    assert_eq!(code, 0);
    for part in [
        "/busy/bot***/send?key=***",
        "state            deferred",
        "500",
        &format!("postgate log --post {deferred}"),
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("canary"), "{text}");

    assert_eq!(scene.run(&["queue", "hold", &deferred]), (0, "1 posts\n".to_owned(), String::new()));
    scene.stands(&deferred, "held");
    assert_eq!(scene.run(&["queue", "release", "--state", "held", "--dry-run"]).1, "1 posts\n");
    assert_eq!(scene.run(&["queue", "release", "--state", "held", "--json"]).1, "{\"count\":1}\n");
    scene.receiver.received(3);
    scene.stands(&deferred, "deferred");
    assert_eq!(scene.run(&["queue", "retry", &deferred]).0, 0);
    scene.receiver.received(4);
    scene.stands(&deferred, "deferred");
    let url = format!("{}/elsewhere", scene.origin());
    assert_eq!(scene.run(&["queue", "reroute", "--url", &url, &deferred]).0, 0);
    scene.ends(&deferred);
    assert_eq!(scene.run(&["queue", "delete", "--all"]).1, "1 posts\n");
    scene.ends(&failed);
}

#[test]
fn one_post_that_is_refused_stops_no_other() {
    let scene = Scene::start("");
    let deferred = scene.post("/busy", "", "deferred");
    let (code, text, told) = scene.run(&["queue", "hold", "52a0000000000002", &deferred]);
    assert_eq!((code, text.as_str()), (65, ""));
    assert!(told.starts_with("52a0000000000002: no such post") && told.contains("done: 1 of 2"), "{told}");
    scene.stands(&deferred, "held");
}

#[test]
fn destinations_are_listed_paused_resumed_and_flushed() {
    let scene = Scene::start("");
    scene.post("/busy", "", "deferred");
    let origin = scene.origin();
    let (code, text, _) = scene.run(&["destination", "list"]);
    assert_eq!((code, text.lines().count()), (0, 2), "{text}");
    assert!(text.lines().nth(1).unwrap().starts_with(&format!("{origin}  default  active")), "{text}");
    let (code, text, _) = scene.run(&["destination", "pause", &origin, "--reason", "moving house"]);
    let paused = format!("{origin}: paused; 1 destinations with posts now, and those to come\n");
    assert_eq!((code, text), (0, paused));
    let (_, text, _) = scene.run(&["destination", "list", &origin]);
    assert!(text.contains(" paused ") && text.contains("moving house"), "{text}");
    assert_eq!(scene.run(&["destination", "resume", &origin]).1, format!("{origin}: 1 pauses ended\n"));
    assert_eq!(scene.run(&["destination", "flush", "*", "--json"]).1, "{\"count\":1}\n");
    scene.receiver.received(2);
}

#[test]
fn a_pause_before_there_are_posts_is_listed_outlives_a_restart_and_its_end_is_counted() {
    let mut scene = Scene::start("");
    let (named, pattern) = ("https://shop.example", "https://*.shop.example");
    let (_, text, _) = scene.run(&["destination", "pause", named, pattern, "--reason", "moving"]);
    let expected = [named, pattern]
        .map(|one| format!("{one}: paused; 0 destinations with posts now, and those to come\n"));
    assert_eq!(text, expected.concat());
    assert_eq!(scene.gateway.end("-TERM"), 0);
    scene.again();
    let (_, text, _) = scene.run(&["destination", "list"]);
    let rows: Vec<_> = text.lines().skip(1).collect();
    assert_eq!(rows.len(), 1, "{text}");
    assert!(rows[0].starts_with(&format!("{named}  default  paused  0 ")) && rows[0].contains("moving"));
    let (code, text, _) = scene.run(&["destination", "list", named, "--json"]);
    assert_eq!((code, &json(&text)["destinations"][0]["queued"]), (0, &json!(0)), "{text}");
    let (_, text, _) = scene.run(&["destination", "resume", "https://x.shop.example", "*"]);
    assert_eq!(text, "https://x.shop.example: 0 pauses ended\n*: 2 pauses ended\n");
    assert_eq!(scene.run(&["destination", "list"]).1.lines().count(), 1);
}

#[test]
fn orders_say_which_posts_wait_for_the_end_of_a_pause() {
    let scene = Scene::start("");
    let first = scene.post("/busy", "X-Postgate-Tag: bill\r\n", "deferred");
    scene.post("/busy", "", "deferred");
    let origin = scene.origin();
    let receiver = Collector::start(|_| Answer::Status(500));
    let other = send(scene.gateway.smtp, &[receiver.recipient("/")], "\r\nx\r\n").id().to_owned();
    scene.stands(&other, "deferred");
    scene.run(&["destination", "pause", &origin]);
    let wait = |count| format!("; {count} of them wait because {origin} is paused\n");
    // How often the other destination was asked before, and how its post stands.
    for (asked, state, arguments, expected) in [
        (
            1,
            "deferred",
            &["destination", "flush", &origin][..],
            format!("{origin}: 2 posts due now{}", wait(2)),
        ),
        (1, "deferred", &["queue", "retry", "--tag", "bill"], format!("1 posts{}", wait(1))),
        (1, "deferred", &["queue", "retry", &first], format!("1 posts{}", wait(1))),
        (1, "deferred", &["queue", "retry", &first, &other], format!("2 posts{}", wait(1))),
        (2, "deferred", &["destination", "flush", "*"], format!("*: 3 posts due now{}", wait(2))),
        (3, "deferred", &["queue", "hold", "--all"], "3 posts\n".to_owned()),
        (3, "held", &["queue", "release", "--all"], format!("3 posts{}", wait(2))),
    ] {
        receiver.received(asked);
        scene.stands(&other, state);
        assert_eq!(scene.run(arguments).1, expected, "{arguments:?}");
    }
    let piece = scene.origin_piece();
    let answer = scene.post_to(&format!("/api/v1/destinations/{piece}/flush"), "").json();
    assert_eq!(answer, json!({ "count": 2, "paused": [{ "origin": origin, "count": 2 }] }));
}

#[test]
fn a_dead_proxy_is_named_where_its_destination_is_listed() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = free.local_addr().unwrap();
    drop(free);
    let scene = Scene::start(&format!("proxy = \"http://{proxy}\"\n"));
    for _ in 0..5 {
        scene.post("/ok", "", "deferred");
        let (_, text, _) = scene.run(&["destination", "list"]);
        let row = text.lines().nth(1).unwrap_or_default();
        assert!(row.contains("proxy") && row.contains("refused"), "{text}");
    }
}

/// Arguments, exit code and a part of what is said.
#[test]
fn what_goes_wrong_is_said_with_a_code_and_a_remedy() {
    let scene = Scene::start("");
    for (arguments, code, part) in [
        (&["queue", "hold"][..], 64, "--all"),
        (&["queue", "hold", "--all", "--tag", "t"], 64, "--all"),
        (&["queue", "hold", "52a0000000000002", "--tag", "t"], 64, "--tag"),
        (&["queue", "show", "52a0"], 64, "16 hexadecimal digits"),
        (&["queue", "show", "52a0000000000002"], 65, "no such post"),
        (&["queue", "list", "--state", "broken"], 65, "write queued, deferred"),
        (&["queue", "reroute", "--url", "ftp://h/", "--all"], 65, "http://"),
        (&["destination", "pause", "shop.example"], 65, "write one like https://shop.example"),
        (&["destination", "list", "--api", "ftp://h"], 64, "write a URL such as"),
        (&["destination", "list", "--api", "http://u:canary@127.0.0.1:1"], 64, "write a URL such as"),
        (&["destination", "list", "--key", "ca\nnary"], 64, "a key has no blanks"),
    ] {
        let (got, _, told) = scene.run(arguments);
        assert!(
            got == code && told.contains(part) && !told.contains("canary"),
            "{arguments:?}: {got} {told}"
        );
    }
}

#[test]
fn without_a_gateway_it_is_said_what_to_do() {
    let directory = TempDir::new().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("http://{}", free.local_addr().unwrap());
    drop(free);
    let mut command = postgate(directory.path());
    let (code, _, told) = said(&command.args(["queue", "list", "--api", &api]).output().unwrap());
    assert_eq!(code, 69, "{told}");
    assert!(
        told.contains(&api) && told.contains("start it with `postgate`") && told.contains("--api"),
        "{told}"
    );
}
