//! `/config` and `/reload` of the running program: the file without its secrets, and
//! put in force only when it is good.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use support::api::{Response, Scene};

const MORE: &str = "# Ask Ann before.\n[[user]]\nname = \"erp\"\npassword = \"canary-1\" # not \"canary-2\" token\n\
                    [limits]\nrecipients = 700\n";

impl Setting {
    fn start() -> Setting {
        let mut scene = Scene::start("");
        let file = scene.directory.path().join("postgate.toml");
        let text = fs::read_to_string(&file).unwrap() + MORE;
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        scene.gateway.end("-TERM");
        scene.again();
        Setting { scene, file }
    }

    fn get(&self) -> (String, String) {
        let response = self.scene.get("/api/v1/config");
        assert_eq!((response.status, response.header("content-type")), (200, Some("application/toml")));
        let tag = response.header("etag").unwrap().to_owned();
        (String::from_utf8(response.body).unwrap(), tag)
    }

    fn send(&self, method: &str, path: &str, tag: Option<&str>, text: &str) -> Response {
        let expect = tag.map(|tag| format!("If-Match: {tag}\r\n")).unwrap_or_default();
        let (host, length) = (self.scene.api, text.len());
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{expect}");
        let kind = "Content-Type: application/toml\r\nConnection: close";
        self.scene.raw(&format!("{head}{kind}\r\n\r\n{text}"))
    }

    fn put(&self, tag: Option<&str>, text: &str) -> Response {
        self.send("PUT", "/api/v1/config", tag, text)
    }

    fn on_disk(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    fn effective(&self, line: &str) -> bool {
        let (_, text, _) = self.scene.run(&["check", "--effective"]);
        text.contains(line)
    }
}

struct Setting {
    scene: Scene,
    file: PathBuf,
}

#[test]
fn the_file_comes_without_secrets_and_keeps_them_when_it_comes_back() {
    let setting = Setting::start();
    let (text, tag) = setting.get();
    assert!(text.contains("# Ask Ann before.") && !text.contains("canary"), "{text}");
    let before = setting.on_disk();
    let changed = text.replace("recipients = 700", "recipients = 600\nmessages = 50 # new");
    let answer = setting.put(Some(&tag), &changed);
    assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true, "restart": [] })));
    let expected = before.replace("recipients = 700", "recipients = 600\nmessages = 50 # new");
    assert_eq!(setting.on_disk(), expected);
    assert_eq!(fs::metadata(&setting.file).unwrap().mode() & 0o777, 0o600);
    assert!(setting.effective("recipients = 600"));
    let names = fs::read_dir(setting.scene.directory.path()).unwrap();
    let left: Vec<_> = names
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().ends_with(".new"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let (_, new_tag) = setting.get();
    assert_eq!(answer.header("etag"), Some(new_tag.as_str()));
    for tag in [tag.as_str(), &format!("W/{new_tag}"), "\"\"", new_tag.trim_matches('"')] {
        assert_eq!(setting.put(Some(tag), &changed).status, 412, "somebody else was faster: {tag}");
    }
    assert_eq!(setting.on_disk(), expected);
    assert_eq!(setting.put(Some(&format!("{tag}, {new_tag}")), &changed).status, 200, "one of them");
    let restart = format!("{changed}[log]\nlevel = \"debug\"\n");
    assert_eq!(setting.put(None, &restart).json(), json!({ "ok": true, "restart": ["log"] }));
}

#[test]
fn the_file_is_the_one_that_its_name_leads_to_now() {
    let setting = Setting::start();
    let (old, new) = (setting.file.with_file_name("old.toml"), setting.file.with_file_name("new.toml"));
    fs::rename(&setting.file, &old).unwrap();
    let text = fs::read_to_string(&old).unwrap();
    fs::write(&new, text.replace("recipients = 700", "recipients = 800")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::symlink("new.toml", &setting.file).unwrap();
    let (shown, tag) = setting.get();
    assert!(shown.contains("recipients = 800"), "{shown}");
    assert_eq!(setting.scene.post_to("/api/v1/reload", "").status, 200);
    assert!(setting.effective("recipients = 800"));
    let answer = setting.put(Some(&tag), &shown.replace("recipients = 800", "recipients = 900"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(fs::symlink_metadata(&setting.file).unwrap().is_symlink(), "the link stays");
    assert_eq!(fs::read_to_string(&old).unwrap(), text);
    assert_eq!(fs::read_to_string(&new).unwrap(), text.replace("recipients = 700", "recipients = 900"));
    fs::remove_file(&setting.file).unwrap();
    let answer = setting.put(None, &shown);
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(answer.json()["detail"].as_str().unwrap().contains("cannot be"), "{answer:?}");
}

#[test]
fn a_bad_file_is_refused_with_its_places_and_changes_nothing() {
    let setting = Setting::start();
    let (text, _) = setting.get();
    let before = setting.on_disk();
    let at = |needle: &str| text.lines().position(|line| line.contains(needle)).unwrap() + 1;
    let password = text.lines().find(|line| line.starts_with("password = ")).unwrap().to_owned();
    for (changed, line, column, field) in [
        (text.replace("recipients = 700", "recipients = 0"), at("recipients"), 14, "limits.recipients"),
        (text.replace("recipients = 700", "recipient = 7"), at("recipients"), 1, "limits.recipient"),
        (text.replace("recipients = 700", "recipients = "), at("recipients"), 14, "syntax"),
        (text.replace(&password, "password = \"***12345678\""), at("password = "), 12, "password"),
    ] {
        for (method, path) in [("PUT", "/api/v1/config"), ("POST", "/api/v1/config/check")] {
            let answer = setting.send(method, path, None, &changed);
            let problem = answer.json();
            assert_eq!(answer.status, 422, "{problem}");
            let error = &problem["errors"][0];
            assert_eq!((&error["line"], &error["field"]), (&json!(line), &json!(field)), "{problem}");
            assert!(error["column"].as_u64().unwrap() <= column, "{problem}");
            assert!(!problem.to_string().contains("canary"));
        }
    }
    let missing = format!("{text}[tls]\ncertificate = \"/nowhere\"\nkey = \"/nowhere\"\n");
    for changed in [missing.as_str(), "", " \n"] {
        assert_eq!(setting.put(None, changed).status, 422);
    }
    let large = format!("{text}{}", "# much\n".repeat(200_000));
    assert_eq!(setting.put(None, &large).status, 413);
    assert_eq!(setting.on_disk(), before);
    assert_eq!(
        setting.send("POST", "/api/v1/config/check", None, &text).json(),
        json!({ "ok": true, "restart": [] })
    );
    let form = setting.scene.ask("PUT", "/api/v1/config", Some("{ }"));
    assert_eq!(form.status, 422, "{form:?}");
}

#[test]
fn a_file_that_was_changed_is_checked_and_put_in_force() {
    let setting = Setting::start();
    let before = setting.on_disk();
    let reload = || setting.scene.post_to("/api/v1/reload", "");
    let check = || setting.scene.post_to("/api/v1/config/check", "");
    fs::write(&setting.file, before.replace("recipients = 700", "recipients = x")).unwrap();
    for answer in [check(), reload()] {
        assert_eq!((answer.status, &answer.json()["errors"][0]["field"]), (422, &json!("syntax")));
    }
    assert_eq!(setting.scene.get("/api/v1/config").status, 422, "nobody knows where its secrets are");
    fs::write(
        &setting.file,
        format!("{before}[limits]\n")
            .replace("[limits]\nrecipients = 700\n[limits]", "[limits]\nconnections = 1500"),
    )
    .unwrap();
    for answer in [check(), reload()] {
        assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true, "restart": [] })));
    }
    let status = setting.scene.get("/api/v1/status").json();
    assert_eq!(status["connections"]["in"]["max"], 1500);
}
