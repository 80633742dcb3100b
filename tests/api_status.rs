//! `GET /status` and `postgate status` of the running program: what passed is counted,
//! in our words and in PowerMTA's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use std::io::Read;
use std::process::{Command, Stdio};
use support::DEADLINE;
use support::api::Scene;
use support::program::{Client, eventually};

/// About half a kilobyte.
fn message() -> Vec<u8> {
    [b"Subject: x\r\n\r\n".as_slice(), &[b'x'; 500], b"\r\n"].concat()
}

fn volume(posts: u64, messages: u64) -> Value {
    json!([posts, messages])
}

#[test]
fn what_came_and_went_is_counted() {
    let scene = Scene::start("[limits]\nconnections = 77\n");
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let to = |paths: &[&str]| paths.iter().map(|path| scene.receiver.recipient(path)).collect::<Vec<_>>();
    client.send(&to(&["/ok", "/ok/2", "/busy"]), &message());
    let failed = client.send(&to(&["/gone"]), &message()).id().to_owned();
    scene.stands(&failed, "failed");
    let status = eventually("all attempts to end", DEADLINE, || {
        let status = scene.get("/api/v1/status").json();
        let queue = &status["queue"];
        let is_over = status["traffic"]["total"]["out"]["posts"] == 2 && queue["sending"] == 0;
        (is_over && queue["failed"] == 1).then_some(status)
    });
    for span in ["total", "last_hour", "last_minute", "peak_hour", "peak_minute"] {
        let way = |way: &str| {
            let volume = &status["traffic"][span][way];
            assert!(volume["kb"].as_f64().unwrap() > 0.0, "{span} {way}: {status}");
            json!([volume["posts"], volume["messages"]])
        };
        assert_eq!((way("in"), way("out")), (volume(4, 2), volume(2, 2)), "{span}");
    }
    assert_eq!(status["connections"]["in"], json!({ "cur": 1, "max": 77, "top": 1 }));
    assert!(status["connections"]["out"]["top"].as_u64().unwrap() >= 1, "{status}");
    let queue = json!({ "waiting": 1, "sending": 0, "held": 0, "failed": 1, "destinations": 1 });
    assert_eq!((&status["queue"], &status["status"]), (&queue, &json!("running")));
    for figure in ["size", "living", "disk_free", "disk_size"] {
        assert!(status["spool"][figure].as_u64().unwrap() > 0, "{figure}");
    }
    drop(client);
    eventually("the client to be gone", DEADLINE, || {
        (scene.get("/api/v1/status").json()["connections"]["in"]["cur"] == 0).then_some(())
    });

    let told = scene.get("/api/v1/status?format=json").json();
    assert_eq!(told["status"], "success");
    let theirs = &told["data"]["status"];
    for (path, expected) in [
        ("/status", json!("running")),
        ("/shuttingDown", json!(false)),
        ("/traffic/total/in/rcp", json!(4)),
        ("/traffic/topPerHr/in/msg", json!(2)),
        ("/traffic/lastMin/out/rcp", json!(2)),
        ("/conn/smtpIn", json!({ "cur": 0, "max": 77, "top": 1 })),
        ("/queue/httpDelivery/rcp", json!(1)),
        ("/queue/httpDelivery/dom", json!(1)),
        ("/spool/totalRcp", json!(2)),
        ("/spool/initPct", json!(100)),
    ] {
        assert_eq!(theirs.pointer(path), Some(&expected), "{path}: {told}");
    }
    assert_eq!(told["data"]["mta"]["product"]["version"], env!("CARGO_PKG_VERSION"));
    // The machine is nobody's who sees one tenant alone.
    let path = "GET /api/v1/status?format=json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    for (tenant, count) in [("", 4), ("X-Tenant-ID: default\r\n", 1)] {
        let told = scene.raw(&format!("{path}{tenant}\r\n")).json();
        assert_eq!(told["data"]["mta"].as_object().unwrap().len(), count, "{tenant} {told}");
    }
    assert_eq!(scene.get("/api/v1/status?format=xml").status, 422);
}

#[test]
fn the_command_shows_a_table_or_json() {
    let scene = Scene::start("");
    scene.post("/gone", "", "failed");
    let (code, table, _) = scene.run(&["status"]);
    assert_eq!(code, 0);
    for line in ["TRAFFIC", "peak per minute", "CONNECTIONS", "WAITING", "DISK FREE"] {
        assert!(table.contains(line), "{line}: {table}");
    }
    let (_, told, _) = scene.run(&["status", "--json"]);
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["queue"]["failed"], 1);
}

/// What a process has written, as soon as it holds a text.
fn output_with(output: &mut impl Read, text: &str) -> String {
    let (mut told, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let length = output.read(&mut piece).unwrap();
        told.extend_from_slice(&piece[..length]);
        let so_far = String::from_utf8_lossy(&told);
        if so_far.contains(text) {
            return so_far.into_owned();
        }
        assert!(length > 0, "it ended without {text:?}: {so_far}");
    }
}

#[test]
fn the_command_watches_until_it_is_ended() {
    let mut scene = Scene::start("");
    scene.post("/gone", "", "failed");
    let mut watch = scene.command(&["status", "--watch=50ms"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = watch.stdout.take().unwrap();
    let told = output_with(&mut output, "a second now");
    let (first, _) = told.split_once("\n\nPostgate").expect("a blank line between two looks");
    for line in ["peak per minute", "WAITING", "ORIGIN"] {
        assert!(first.contains(line), "{line}: {first}");
    }
    assert!(!told.contains('\x1b'), "no terminal is steered: {told:?}");
    scene.gateway.child.kill().unwrap();
    output_with(&mut output, "no gateway answers at");
    watch.kill().unwrap();
    watch.wait().unwrap();
    // Nothing to watch is an error at once.
    assert_eq!(scene.run(&["status", "--watch"]).0, 69);
    assert_eq!(scene.run(&["status", "--watch=0s"]).0, 64);
}

#[test]
fn a_terminal_shows_one_look_over_the_other() {
    let scene = Scene::start("");
    let line = format!("stty rows 10 cols 40; exec {} status --watch=50ms", env!("CARGO_BIN_EXE_postgate"));
    let mut script = Command::new("script");
    script.args(["--quiet", "--command", &line, "/dev/null"]);
    script.env("POSTGATE_API", format!("http://{}", scene.api));
    let mut watch = script.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let told = output_with(&mut watch.stdout.take().unwrap(), "a second now");
    let looks: Vec<_> = told.split("\x1b[H").skip(1).collect();
    assert!(looks.len() > 1, "{told:?}");
    assert!(looks[0].lines().count() <= 10 && looks[0].ends_with("\x1b[J"), "{:?}", looks[0]);
    watch.kill().unwrap();
    watch.wait().unwrap();
}
