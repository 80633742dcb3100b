//! `postgate spool export`: what is left of a spool, as files.

use super::support;
use super::support::api::Scene;
use super::support::collector::Arrival;
use super::support::program::{Client, postgate};
use super::{damages, files, log, segments};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// Posts that were delivered are kept as well.
const KEEPING: &str = "[retention]\nkeep_bodies = true\n";

/// Exports into a new directory; exit code, what was said as JSON, standard error.
fn export(scene: &Scene, name: &str) -> (i32, Value, String) {
    let (code, text, error) = scene.run(&["spool", "export", name, "--json"]);
    (code, serde_json::from_str(&text).unwrap_or_default(), error)
}

fn target(scene: &Scene, name: &str) -> PathBuf {
    scene.directory.path().join(name)
}

/// The files of an export by their names.
fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    files(directory).into_iter().map(|(path, octets)| (name(path), octets)).collect()
}

fn told(files: &BTreeMap<String, Vec<u8>>, id: &str) -> Value {
    serde_json::from_slice(files.get(&format!("{id}.json")).unwrap_or_else(|| panic!("{id} is not there")))
        .unwrap()
}

fn arrival(scene: &Scene, id: &str) -> Arrival {
    let arrivals = scene.receiver.arrivals();
    arrivals.into_iter().map(|(arrival, _)| arrival).find(|arrival| arrival.id() == id).unwrap()
}

/// A post that was handed in over HTTP, of which this comes.
fn hand_in(scene: &Scene, path: &str, more: Value, state: &str) -> String {
    let mut asked = json!({ "url": format!("{}{path}", scene.origin()), "body": "handed in" });
    asked.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let response = scene.post_to("/api/v1/posts", &asked.to_string());
    assert_eq!(response.status, 202, "{response:?}");
    let id = response.json()["id"].as_str().unwrap().to_owned();
    scene.stands(&id, state);
    id
}

#[test]
fn each_living_post_is_exported_as_it_is_sent() {
    let mut scene = Scene::start(KEEPING);
    let delivered = scene.post("/fine", "", "delivered");
    let failed = scene.post("/gone?a=b", "X-Postgate-Tag: red\r\nX-XsHttp-X-Shop: 7\r\n", "failed");
    let handed_in = hand_in(&scene, "/busy", json!({ "idempotency_key": "own" }), "deferred");
    let held = scene.post("/busy", "", "deferred");
    assert_eq!(scene.run(&["queue", "hold", &held]).0, 0);
    let gone_on = scene.post("/busy", "", "deferred");
    let elsewhere = format!("{}/gone/elsewhere", scene.origin());
    assert_eq!(scene.run(&["queue", "reroute", &gone_on, "--url", &elsewhere]).0, 0);
    scene.stands(&gone_on, "failed");
    // Two posts of one mail, of which one is over.
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let recipients = ["/busy/1", "/fine/2", "/busy/3"].map(|path| scene.receiver.recipient(path));
    let message = "Subject: three\r\nX-Postgate-Payload: raw\r\n\r\nof one mail\r\n";
    let mail = client.send(&recipients, message.as_bytes()).id().to_owned();
    let [first, third] = [1, 3].map(|number| format!("{mail}-{number}"));
    [&first, &third].into_iter().for_each(|id| scene.stands(id, "deferred"));
    scene.stands(&format!("{mail}-2"), "delivered");
    let pause = format!("/api/v1/destinations/{}/pause", scene.origin_piece());
    scene.post_to(&pause, r#"{"reason":"x"}"#);
    let queued = scene.post("/fine", "", "queued");

    let (code, _, error) = export(&scene, "running");
    assert!(code == 69 && error.contains("in use by another process"), "{code} {error}");
    assert!(!target(&scene, "running").exists());
    // Nothing is closed in order.
    scene.gateway.end("-KILL");
    let spool = log(&scene);
    fs::remove_file(spool.join("../lock")).unwrap();
    let before = files(spool.parent().unwrap());
    let (code, text, error) = scene.run(&["spool", "export", "posts/"]);
    assert_eq!((code, error.as_str()), (0, ""), "{text}");
    let summary = "exported 7 posts (3 deferred, 2 failed, 1 held, 1 queued) to posts\nnothing is damaged\n";
    assert_eq!(text, summary);
    assert_eq!(files(spool.parent().unwrap()), before, "the spool is as it was");

    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    let directory = target(&scene, "posts");
    assert_eq!(mode(&directory), 0o700);
    assert!(files(&directory).into_keys().all(|path| mode(&path) == 0o600));
    let found = content(&directory);
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    let mut expected: Vec<_> = [&failed, &held, &gone_on, &queued]
        .into_iter()
        .flat_map(|id| ["body", "eml", "json"].map(|suffix| format!("{id}.{suffix}")))
        .chain(["body", "eml", "json"].map(|suffix| format!("{first}.{suffix}")))
        .chain(["body", "json"].map(|suffix| format!("{handed_in}.{suffix}")))
        .chain([format!("{third}.json")])
        .collect();
    expected.sort();
    assert_eq!(names, expected);
    assert!(!names.iter().any(|name| name.starts_with(&delivered)));

    for (id, state) in
        [(&failed, "failed"), (&handed_in, "deferred"), (&first, "deferred"), (&third, "deferred")]
    {
        let (told, arrived) = (told(&found, id), arrival(&scene, id));
        assert_eq!((&told["id"], &told["state"]), (&json!(id), &json!(state)));
        assert_eq!(told["url"], format!("{}{}", scene.origin(), arrived.path));
        assert_eq!(found[told["body"].as_str().unwrap()], arrived.body);
        assert_eq!(told["body_is_masked"], false);
        assert_eq!(told["idempotency_key"], arrived.headers["idempotency-key"]);
        for header in told["headers"].as_array().unwrap() {
            let name = header["name"].as_str().unwrap().to_ascii_lowercase();
            assert_eq!(header["value"], arrived.headers[&name], "{name}");
        }
        let list = told["attempt_list"].as_array().unwrap();
        assert_eq!((list.len(), &list[0]["number"]), (1, &json!(1)));
        assert!(list[0]["started_at"].is_string() && list[0]["reason"].is_string(), "{list:?}");
    }
    let one = told(&found, &failed);
    let shop = json!({ "name": "X-Shop", "value": "7" });
    assert!(one["headers"].as_array().unwrap().contains(&shop), "{one}");
    assert_eq!((&one["tags"], &one["tenant"]), (&json!(["red"]), &json!("default")));
    for (id, due) in [(&queued, "next_attempt_at"), (&held, "kept_until"), (&failed, "kept_until")] {
        assert!(told(&found, id)[due].is_string(), "{}", told(&found, id));
    }
    assert_eq!(told(&found, &third)["message"], format!("{first}.eml"));
    assert_eq!(told(&found, &third)["message_id"], json!(mail));
    assert!(String::from_utf8_lossy(&found[&format!("{first}.eml")]).ends_with(message));
    assert_eq!(told(&found, &handed_in).get("message"), None);
    let rerouted = told(&found, &gone_on);
    assert_eq!((&rerouted["url"], &rerouted["attempt_list"][1]["status"]), (&json!(elsewhere), &json!(404)));

    // What is there is not written over, and what others can see is not written into.
    let told_of = |name: &str, wrong: &str| {
        let (code, _, error) = export(&scene, name);
        assert!(code == 64 && error.contains(wrong) && error.contains("name a new"), "{code} {error}");
    };
    told_of("posts", "is not empty");
    assert_eq!(content(&directory), found);
    let empty = target(&scene, "empty");
    fs::create_dir(&empty).unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o755)).unwrap();
    told_of("empty", "is open to others");
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&empty, target(&scene, "link")).unwrap();
    fs::write(target(&scene, "file"), "x").unwrap();
    ["link", "link/", "file"].into_iter().for_each(|name| told_of(name, "is no directory"));
    assert!(files(&empty).is_empty());
    assert_eq!(export(&scene, "empty").0, 0);
    assert_eq!(content(&empty), found);
    assert_eq!(export(&scene, "no/where").0, 74);
}

#[test]
fn secrets_are_nowhere_in_what_is_exported() {
    let mut scene = Scene::start("");
    let headers = "X-XsHttp-Authorization: Bearer canary-1\r\nX-XsHttp-X-Api-Key: canary-2\r\n\
                   X-XsHttp-Cookie: session=canary-3\r\nX-XsHttp-X-Password: canary-4\r\n\
                   X-XsHttp-Referer: http://u:canary-5@h/?token=canary-6\r\nX-XsHttp-X-Open: 7\r\n";
    let raw = "X-Postgate-Payload: raw\r\n";
    let url = format!("X-Postgate-Url: {}/gone/key/canary-7?token=canary-8", scene.origin());
    let steered = format!("{url}\r\n{raw}Subject: x\r\n\r\nhello\r\n");
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let mails = [
        scene.post("/busy?api_key=canary-a", &format!("{headers}{raw}"), "deferred"),
        scene.post("/gone/services/T0/B0/canary-b", headers, "failed"),
        scene.post(
            "/busy/json?token=canary-c",
            &format!("{headers}X-Postgate-Payload: json\r\n"),
            "deferred",
        ),
        client.send(&["post@postgate.local".to_owned()], steered.as_bytes()).id().to_owned(),
    ];
    scene.stands(&mails[3], "failed");
    let secret = json!({ "headers": { "Authorization": "Bearer canary-d", "X-Open": "7" } });
    let handed_in = hand_in(&scene, "/busy?sig=canary-e", secret, "deferred");
    let open = scene.post("/busy", "", "deferred");
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let (code, summary, error) = export(&scene, "posts");
    assert_eq!((code, &summary["unreadable"]), (0, &json!(0)), "{error}");
    let found = content(&target(&scene, "posts"));
    for (name, octets) in &found {
        let text = String::from_utf8_lossy(octets);
        assert!(!text.contains("canary"), "{name}: {text}");
    }
    for id in mails.iter().chain([&handed_in]) {
        let told = told(&found, id);
        assert!(told["url"].as_str().unwrap().contains("***"), "{told}");
        let values = told["headers"].as_array().unwrap();
        let open = json!({ "name": "X-Open", "value": "7" });
        assert!(id == &mails[3] || values.contains(&open), "{told}");
        let body = &found[told["body"].as_str().unwrap()];
        let expected: &[u8] = if id == &handed_in { b"handed in" } else { b"hello" };
        assert!(body.windows(expected.len()).any(|octets| octets == expected), "{told}");
        // All others say who the recipient is.
        assert_eq!(told["body_is_masked"], id != &handed_in, "{told}");
    }
    let mail = String::from_utf8_lossy(&found[&format!("{}.eml", mails[1])]);
    assert!(mail.contains("X-XsHttp-Authorization: ***\r\n") && mail.contains("Subject: x\r\n"), "{mail}");

    // What was sealed with a key that is lost says so, and the rest is there.
    fs::write(scene.directory.path().join("postgate-data/webhook-key"), [7; 32]).unwrap();
    let (code, summary, error) = export(&scene, "without");
    assert_eq!(
        (code, &summary["unreadable"], &summary["exported"]),
        (65, &json!(5), &json!({ "deferred": 1 }))
    );
    assert!(error.ends_with("5 posts could not be read\n") && error.contains("webhook-key"), "{error}");
    assert!(mails.iter().chain([&handed_in]).all(|id| error.contains(id)), "{error}");
    let found = content(&target(&scene, "without"));
    assert_eq!(found.len(), 3);
    assert_eq!(told(&found, &open)["state"], "deferred");
}

#[test]
fn what_is_damaged_is_named_and_the_rest_exported() {
    let mut scene = Scene::start("");
    let ids: Vec<_> = (0..3).map(|number| scene.post(&format!("/gone?{number}"), "", "failed")).collect();
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let path = segments(&scene).remove(0);
    let octets = fs::read(&path).unwrap();
    let mut bodies = (0..octets.len()).filter(|at| octets[*at..].starts_with(b"hello"));
    let at = bodies.nth(octets.windows(5).filter(|octets| octets == b"hello").count() / 2).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"j", at as u64).unwrap();
    let (code, summary, error) = export(&scene, "posts");
    assert_eq!((code, error.as_str()), (65, "1 place is damaged\n"));
    assert_eq!(summary["exported"], json!({ "failed": 2 }));
    let found = damages(&scene);
    assert_eq!(summary["damages"][0]["offset"], found[0].1);
    let there = content(&target(&scene, "posts"));
    assert!(
        there.len() == 6 && [&ids[0], &ids[2]].into_iter().all(|id| told(&there, id)["state"] == "failed")
    );
    let (code, text, _) = scene.run(&["spool", "export", "again"]);
    assert!(code == 65 && text.starts_with("exported 2 posts (2 failed) to again\nDAMAGED"), "{text}");
    assert!(text.contains(&found[0].1.to_string()), "{text}");
}

#[test]
fn without_a_spool_no_directory_is_made() {
    let directory = tempfile::TempDir::new().unwrap();
    let output = postgate(directory.path()).args(["spool", "export", "posts"]).output().unwrap();
    let (code, _, error) = support::api::said(&output);
    assert!(code == 66 && error.contains("there is no spool in"), "{code} {error}");
    assert!(files(directory.path()).is_empty() && !directory.path().join("posts").exists());
}
