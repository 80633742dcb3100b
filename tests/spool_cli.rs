//! `postgate spool` on what a gateway left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

#[path = "spool/exported.rs"]
mod exported;
#[path = "spool/stored.rs"]
mod stored;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
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

/// The files of segments, by their numbers.
fn segments(scene: &Scene) -> Vec<PathBuf> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    files(&log(scene)).into_keys().filter(is_segment).collect()
}

/// The damages that a check tells of, which must be some: file, place and meaning.
fn damages(scene: &Scene) -> Vec<(String, u64, String)> {
    let (code, found) = checked(scene);
    let damages = found["damages"].as_array().unwrap();
    assert!(code == 65 && !damages.is_empty(), "{code} {found}");
    let text = |damage: &Value, field: &str| damage[field].as_str().unwrap().to_owned();
    let told =
        |damage: &Value| (text(damage, "file"), damage["offset"].as_u64().unwrap(), text(damage, "meaning"));
    damages.iter().map(told).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn checked(scene: &Scene) -> (i32, Value) {
    let (code, text, error) = scene.run(&["spool", "check", "--json"]);
    (code, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{error}")))
}

#[test]
fn a_whole_spool_is_told_of_unchanged() {
    let mut scene = Scene::start("");
    let delivered = scene.send("/fine", "");
    scene.ends(&delivered);
    scene.post("/gone", "", "failed");
    scene.post("/busy", "", "deferred");
    let held = scene.post("/busy", "", "deferred");
    assert_eq!(scene.run(&["queue", "hold", &held]).0, 0);
    scene.stands(&held, "held");
    let (code, _, error) = scene.run(&["spool", "check"]);
    assert!(code == 69 && error.contains("in use by another process"), "{code} {error}");
    assert_eq!(scene.gateway.end("-TERM"), 0);

    let before = files(&log(&scene));
    let (code, found) = checked(&scene);
    assert_eq!((code, &found["damages"]), (0, &json!([])));
    assert_eq!(found["posts"], json!({ "deferred": 1, "failed": 1, "held": 1 }));
    assert!(found["records"].as_u64() >= Some(7), "{found}");
    let (code, text, error) = scene.run(&["spool", "check"]);
    assert!(code == 0 && text.contains("nothing is damaged") && error.is_empty(), "{text}{error}");
    // A copy has no lock, and may be open to others.
    fs::remove_file(scene.directory.path().join("postgate-data/spool/lock")).unwrap();
    fs::set_permissions(log(&scene), fs::Permissions::from_mode(0o555)).unwrap();
    assert_eq!(checked(&scene).0, 0);
    fs::set_permissions(log(&scene), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(files(&log(&scene)), before);
}

#[test]
fn each_kind_of_damage_is_named_with_its_place() {
    let mut scene = Scene::start("");
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(scene.post(&format!("/gone?{number}"), "", "failed"));
        scene.gateway.end("-KILL");
        assert_eq!(checked(&scene).0, 0);
        scene.again();
    }
    let piece = scene.origin_piece();
    scene.post_to(&format!("/api/v1/destinations/{piece}/pause"), r#"{"reason":"x"}"#);
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let place = |octets: &[u8]| octets.windows(5).position(|octets| octets == b"hello");
    let holds_mail = |path: &PathBuf| place(&fs::read(path).unwrap()).is_some();
    let path = segments(&scene).into_iter().find(holds_mail).unwrap();
    // The oldest message stands in the oldest segment.
    let hit = &ids[0];
    let whole = fs::read(&path).unwrap();
    let change = |path: &Path, at: usize| {
        let octets = fs::read(path).unwrap();
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&[!octets[at]], at as u64).unwrap();
    };

    let at = place(&whole).unwrap();
    change(&path, at);
    let before = files(&log(&scene));
    let found = checked(&scene).1;
    let (from, octets) = (&found["damages"][0]["offset"], &found["damages"][0]["octets"]);
    let from = from.as_u64().unwrap();
    assert!((from..from + octets.as_u64().unwrap()).contains(&(at as u64)), "{found} {at}");
    assert_eq!((&found["posts"], &found["missing"]), (&json!({ "failed": 2 }), &json!([hit])));
    let (code, text, error) = scene.run(&["spool", "check"]);
    assert!(code == 65 && text.contains(&from.to_string()), "{text}");
    assert!(text.contains(&format!("missing: {hit}\n")), "{text}");
    assert_eq!(error, "1 place is damaged, 1 post is missing\n");
    assert_eq!(files(&log(&scene)), before, "a look changes nothing");
    fs::write(&path, &whole).unwrap();

    change(&path, 9);
    let found = damages(&scene);
    assert!(found.len() == 1 && found[0].2.contains("the header is lost"), "{found:?}");
    fs::write(&path, &whole).unwrap();

    let notes = log(&scene).join("notes");
    change(&notes, 9);
    let found = damages(&scene);
    assert!(found.len() == 1 && found[0].0 == "notes", "{found:?}");
    change(&notes, 9);

    // Garbage is no segment that was never written to.
    let path = segments(&scene).pop().unwrap();
    fs::write(&path, [7; 4096]).unwrap();
    let found = damages(&scene);
    assert!(found.len() == 1 && found[0] == (name(&path), 0, found[0].2.clone()), "{found:?}");
    assert!(found[0].2.contains("neither"), "{found:?}");
    fs::write(&path, [0; 4096]).unwrap();
    assert_eq!(checked(&scene).0, 0);
}

#[test]
fn segments_that_are_missing_cut_or_empty_are_named() {
    let mut scene = Scene::start("");
    // A segment has 64 MiB.
    let large = format!("Subject: {}\r\n", "x".repeat(900));
    scene.post("/gone", "", "failed");
    let message = format!("{large}\r\n{}", "a line of a large mail\r\n".repeat(1 << 20));
    let mut client = support::program::Client::connect(scene.gateway.smtp).unwrap();
    while segments(&scene).len() < 3 {
        let reply = client.send(&[scene.receiver.recipient("/busy")], message.as_bytes());
        assert!(reply.is_accepted());
    }
    drop(client);
    assert_eq!(scene.gateway.end("-TERM"), 0);
    assert_eq!(checked(&scene).0, 0);
    let middle = &segments(&scene)[1];
    let aside = scene.directory.path().join("aside");
    fs::copy(middle, &aside).unwrap();
    let cut = |length: u64| fs::OpenOptions::new().write(true).open(middle).unwrap().set_len(length).unwrap();

    let length = middle.metadata().unwrap().len();
    cut(length / 2);
    let found = damages(&scene);
    assert!(
        found.iter().any(|(file, _, told)| *file == name(middle) && told.contains("the file ends there")),
        "{found:?}"
    );
    cut(0);
    let found = damages(&scene);
    assert!(found.len() == 1 && found[0].0 == name(middle) && found[0].2.contains("neither"), "{found:?}");
    fs::remove_file(middle).unwrap();
    let found = damages(&scene);
    assert!(found.len() == 1 && found[0].0 == name(middle) && found[0].2.contains("missing"), "{found:?}");
    fs::copy(&aside, middle).unwrap();
    assert_eq!(checked(&scene).0, 0);
}

#[test]
fn where_there_is_no_spool_nothing_is_made() {
    let directory = tempfile::TempDir::new().unwrap();
    let output = support::program::postgate(directory.path()).args(["spool", "check"]).output().unwrap();
    let (code, _, error) = support::api::said(&output);
    assert!(code == 66 && error.contains("there is no spool in"), "{code} {error}");
    assert!(files(directory.path()).is_empty());
}
