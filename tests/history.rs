//! `GET /history` of the running program: what passed is there step by step, and outlives
//! a stop wholly and a kill but for the last minute.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use postgate::clock;
use postgate::spool::Spool;
use postgate::spool::embedded::{Embedded, Options};
use serde_json::Value;
use std::fs;
use support::DEADLINE;
use support::api::Scene;
use support::program::{eventually, within};

const SERIES: [&str; 4] = ["in", "delivered", "deferred", "failed"];

fn history(scene: &Scene, span: &str) -> Value {
    let response = scene.get(&format!("/api/v1/history?span={span}"));
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// The steps of a series of the last hour.
fn steps(scene: &Scene, series: &str) -> Vec<Option<u64>> {
    let history = history(scene, "hour");
    history["series"][series].as_array().unwrap().iter().map(Value::as_u64).collect()
}

/// Waits until the steps that are over have all of this.
fn shows(scene: &Scene, expected: [u64; 4]) {
    let mut last = [0; 4];
    let seen = within(DEADLINE, || {
        last = SERIES.map(|series| steps(scene, series).into_iter().flatten().sum());
        (last == expected).then_some(())
    });
    assert!(seen.is_some(), "{last:?}, and not {expected:?}");
}

/// Waits until a step has just begun.
fn a_step_begins() {
    eventually("a step to begin", DEADLINE, || (clock::wall().0 % 10_000 < 2_000).then_some(()));
}

#[test]
fn what_passed_adds_up_and_outlives_a_stop() {
    let mut scene = Scene::start("");
    for path in ["/ok", "/ok/2", "/busy", "/gone"] {
        scene.send(path, "");
    }
    shows(&scene, [4, 2, 1, 1]);
    let day = history(&scene, "day");
    assert_eq!((&day["step_seconds"], day["series"]["in"].is_array()), (&60.into(), true), "{day}");
    let hour = history(&scene, "hour");
    let lengths = SERIES.map(|series| hour["series"][series].as_array().unwrap().len());
    assert_eq!((hour["step_seconds"].as_u64(), lengths), (Some(10), [lengths[0]; 4]));
    let until = hour["until"].as_str().unwrap();
    let now = clock::rfc3339(clock::wall());
    assert!(until.ends_with("0.000Z") && until <= now.as_str() && until[..16] <= now[..16], "{until} {now}");
    // What is under way when it is told to stop, and was not shown.
    let last = scene.send("/gone/2", "");
    scene.stands(&last, "failed");
    assert_eq!(scene.gateway.end("-TERM"), 0);
    scene.again();
    shows(&scene, [5, 2, 1, 2]);
}

#[test]
fn a_kill_costs_the_last_minute_and_leaves_a_gap() {
    a_step_begins();
    let mut scene = Scene::start("");
    scene.post("/busy", "", "deferred");
    shows(&scene, [1, 0, 1, 0]);
    let notes = scene.directory.path().join("postgate-data/spool/log/notes");
    eventually("the history to be kept", DEADLINE, || {
        let notes = fs::read(&notes).ok()?;
        notes.windows(9).any(|octets| octets == b"pghistory").then_some(())
    });
    scene.post("/gone", "", "failed");
    shows(&scene, [2, 0, 1, 1]);
    assert_eq!(scene.gateway.end("-KILL"), -1);
    a_step_begins();
    scene.again();
    let after = steps(&scene, "in");
    assert_eq!(after.iter().flatten().sum::<u64>(), 1, "{after:?}");
    assert_eq!(after.last(), Some(&None), "{after:?}");
}

#[test]
fn a_foreign_history_is_dropped_with_a_warning() {
    let mut scene = Scene::start("");
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let spool = Embedded::open(Options::at(scene.directory.path().join("postgate-data/spool"))).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let foreign = Some(Bytes::from_static(b"pghistory9 of another version"));
    runtime.block_on(spool.set_note("history", foreign, None)).unwrap();
    spool.close().unwrap();
    drop(spool);
    a_step_begins();
    scene.again();
    assert_eq!(steps(&scene, "in"), []);
    let log = fs::read_to_string(scene.directory.path().join("stderr")).unwrap();
    assert!(log.contains("the history for charts cannot be read and begins anew"), "{log}");
}

#[test]
fn it_is_of_all_tenants_and_of_two_spans() {
    let scene = Scene::start("");
    let path = "GET /api/v1/history?span=hour HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    // Without tenants all is that of the one that has no name.
    for (lines, status) in [("", 200), ("X-Tenant-ID: default\r\n", 200), ("X-Tenant-ID: shop\r\n", 403)] {
        assert_eq!(scene.raw(&format!("{path}{lines}\r\n")).status, status, "{lines}");
    }
    assert_eq!(scene.get("/api/v1/history").json()["step_seconds"], 10);
    for query in ["?span=", "?span=week", "?span=hour&span=day", "?span=hour&step=1"] {
        let response = scene.get(&format!("/api/v1/history{query}"));
        assert!([400, 422].contains(&response.status), "{query}: {response:?}");
    }
}
