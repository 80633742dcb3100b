//! `postgate spool` on what a gateway left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use support::api::Scene;

/// All files below a directory, and what is in them.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => BTreeMap::from([(path.clone(), fs::read(&path).unwrap())]),
        })
        .collect()
}

fn log(scene: &Scene) -> PathBuf {
    scene.directory.path().join("postgate-data/spool/log")
}

fn checked(scene: &Scene) -> (i32, Value) {
    let (code, text, error) = scene.run(&["spool", "check", "--json"]);
    (code, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{error}")))
}

#[test]
fn a_whole_spool_is_told_of_unchanged_and_comes_out_as_it_is() {
    let mut scene = Scene::start("");
    let delivered = scene.send("/fine", "");
    scene.ends(&delivered);
    let failed = scene.post("/gone", "X-Postgate-Tag: bill\r\n", "failed");
    let deferred = scene.post("/busy?token=canary", "", "deferred");
    let held = scene.post("/busy", "", "deferred");
    assert_eq!(scene.run(&["queue", "hold", &held]).0, 0);
    scene.stands(&held, "held");
    let (code, _, error) = scene.run(&["spool", "check"]);
    assert!(code == 69 && error.contains("in use by another process"), "{code} {error}");
    let (code, _, error) = scene.run(&["spool", "export", "out"]);
    assert!(code == 69 && error.contains("in use by another process"), "{code} {error}");
    fs::remove_dir(scene.directory.path().join("out")).unwrap();
    assert_eq!(scene.gateway.end("-TERM"), 0);

    let before = files(&log(&scene));
    let (code, found) = checked(&scene);
    assert_eq!((code, &found["damages"]), (0, &json!([])));
    assert_eq!(found["posts"], json!({ "deferred": 1, "failed": 1, "held": 1 }));
    assert!(found["records"].as_u64() >= Some(7), "{found}");
    let (code, text, error) = scene.run(&["spool", "check"]);
    assert!(code == 0 && text.contains("nothing is damaged") && error.is_empty(), "{text}{error}");
    assert_eq!(files(&log(&scene)), before);

    let (code, text, error) = scene.run(&["spool", "export", "out"]);
    assert!(code == 0 && text.starts_with("3 posts are in out"), "{text}{error}");
    let out = scene.directory.path().join("out");
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    for (id, state, attempts) in [(&failed, "failed", 1), (&deferred, "deferred", 1), (&held, "held", 1)] {
        let text = fs::read_to_string(out.join(format!("{id}.json"))).unwrap();
        let post: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((post["id"].as_str(), post["state"].as_str()), (Some(id.as_str()), Some(state)));
        assert_eq!(post["history"].as_array().unwrap().len(), attempts, "{post}");
        assert!(!text.contains("canary"), "{text}");
        let octets = |field: &str| fs::read(out.join(post[field].as_str().unwrap())).unwrap();
        let message = String::from_utf8(octets("message")).unwrap();
        assert!(message.ends_with("Subject: x\r\n\r\nhello\r\n"), "{message:?} {post}");
        assert_eq!(serde_json::from_slice::<Value>(&octets("body")).unwrap()["text"], "hello\r\n");
    }
    let (code, _, error) = scene.run(&["spool", "export", "out"]);
    assert!(code == 64 && error.contains("out is not empty"), "{code} {error}");

    scene.again();
    for (id, state) in [(&failed, "failed"), (&deferred, "deferred"), (&held, "held")] {
        scene.stands(id, state);
    }
}

#[test]
fn damage_is_named_with_its_place_and_all_else_comes_out() {
    let mut scene = Scene::start("");
    let first = scene.post("/gone?first", "", "failed");
    let second = scene.post("/gone?second", "", "failed");
    scene.gateway.end("-KILL");
    assert_eq!(checked(&scene).0, 0);
    let path =
        files(&log(&scene)).into_keys().find(|path| path.extension().is_some_and(|it| it == "seg")).unwrap();
    let octets = fs::read(&path).unwrap();
    let at = octets.windows(5).position(|octets| octets == b"hello").unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"J", at as u64).unwrap();
    let before = files(&log(&scene));

    let (code, found) = checked(&scene);
    let damage = &found["damages"][0];
    assert_eq!((code, found["damages"].as_array().unwrap().len()), (65, 1), "{found}");
    assert_eq!(damage["file"], path.file_name().unwrap().to_str().unwrap());
    let (from, length) = (damage["offset"].as_u64().unwrap(), damage["octets"].as_u64().unwrap());
    assert!((from..from + length).contains(&(at as u64)), "{damage} {at}");
    let (code, text, error) = scene.run(&["spool", "check"]);
    assert!(
        code == 65 && text.contains(&from.to_string()) && error.contains("1 place is damaged"),
        "{text}{error}"
    );
    assert_eq!(files(&log(&scene)), before, "a look changes nothing");

    let (code, text, _) = scene.run(&["spool", "export", "out"]);
    assert!(code == 0 && text.starts_with("1 posts are in"), "{text}");
    let out = scene.directory.path().join("out");
    assert!(!out.join(format!("{first}.json")).exists() && out.join(format!("{second}.json")).exists());
    // Whoever opened it has set the octets aside.
    let found = checked(&scene).1;
    assert!(found["set_aside"][0].as_str().unwrap().starts_with("damaged-"), "{found}");
}

#[test]
fn damaged_notes_and_headers_are_named() {
    let mut scene = Scene::start("");
    scene.post("/gone", "", "failed");
    let piece = scene.origin_piece();
    scene.post_to(&format!("/api/v1/destinations/{piece}/pause"), r#"{"reason":"x"}"#);
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let segment =
        files(&log(&scene)).into_keys().find(|path| path.extension().is_some_and(|it| it == "seg")).unwrap();
    for path in [log(&scene).join("notes"), segment] {
        let octets = fs::read(&path).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[!octets[9]], 9).unwrap();
    }
    let (code, found) = checked(&scene);
    let named: Vec<_> =
        found["damages"].as_array().unwrap().iter().map(|one| one["meaning"].as_str().unwrap()).collect();
    assert_eq!((code, named.len()), (65, 2), "{found}");
    assert!(named[0].contains("the header is lost") && named[1].contains("pauses"), "{found}");
    assert_eq!(found["posts"], json!({ "failed": 1 }));
}

#[test]
fn where_there_is_no_spool_nothing_is_made() {
    let directory = tempfile::TempDir::new().unwrap();
    let output = support::program::postgate(directory.path()).args(["spool", "check"]).output().unwrap();
    let (code, _, error) = support::api::said(&output);
    assert!(code == 66 && error.contains("there is no spool in"), "{code} {error}");
    assert!(files(directory.path()).is_empty());
}
