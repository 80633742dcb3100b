//! `postgate template` from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const MAIL: &str = "From: printer@office.example\nSubject: toner \"low\"\n\nblack\n";

const CONFIG: &str = r#"
[server]
templates = "mine"
[[route]]
recipient = "printer+*@hooks.example"
url = "https://chat.example/"
payload = "template:own"
vars = { room = "office", unit = "a" }
[[route]]
regex = '^fax-(\d+)@hooks\.example$'
url = "https://chat.example/"
vars = { room = "none", unit = "none" }
[[route]]
regex = '^fax-(\d+)@hooks\.example$'
url = "https://chat.example/"
payload = "template:own"
vars = { room = { file = "room.txt" }, unit = "b" }
"#;

/// Runs a command with a mail on standard input: exit code, standard output, standard error.
fn run(directory: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postgate"));
    command.current_dir(directory).env_remove("POSTGATE_CONFIG").arg("template").args(arguments);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    // Whoever does not read it closes it.
    let _ = child.stdin.take().unwrap().write_all(MAIL.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// A directory with a mail and, in a folder of its own, a configuration beside its templates.
fn directory() -> TempDir {
    let directory = TempDir::new().unwrap();
    let at = |path: &str| directory.path().join(path);
    fs::create_dir_all(at("etc/mine")).unwrap();
    fs::write(at("mail.eml"), MAIL).unwrap();
    fs::write(at("etc/postgate.toml"), CONFIG).unwrap();
    let own = "{\"room\": \"{{ vars.room }}\", \"unit\": \"{{ vars.unit }}{{ envelope.detail }}\",\n \"s\": {{ subject|tojson }}}\n";
    fs::write(at("etc/mine/own.json.j2"), own).unwrap();
    fs::write(at("room.txt"), "cellar\n").unwrap();
    fs::set_permissions(at("room.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(at("etc/mine/slack.txt.j2"), "{{ subject }}").unwrap();
    fs::write(at("etc/mine/notes.md"), "{{").unwrap();
    directory
}

#[test]
fn try_prints_what_a_template_makes_as_the_gateway_would() {
    let directory = directory();
    let with = ["--config", "etc/postgate.toml"];
    let to = ["--to", "printer+7@hooks.example"];
    let json = "Content-Type: application/json\n";
    let run = |arguments: &[&[&str]]| run(directory.path(), &arguments.concat());
    let own = "{\"room\": \"office\", \"unit\": \"a7\",\n \"s\": \"toner \\\"low\\\"\"}\n";
    for file in ["mail.eml", "-"] {
        let made = run(&[&["try", "own", file], &with, &to]);
        assert_eq!(made, (0, own.to_owned(), json.to_owned()));
    }
    let other = run(&[&["try", "own", "mail.eml", "--var", "room=a=\"b"], &with, &to]);
    assert_eq!(other, (0, own.replace("office", "a=\\\"b"), json.to_owned()));
    let by_regex = run(&[&["try", "own", "mail.eml", "--to", "fax-7@hooks.example"], &with]);
    assert_eq!(by_regex, (0, own.replace("office", "cellar").replace("a7", "b7"), json.to_owned()));
    let replaced = run(&[&["try", "slack", "mail.eml"], &with]);
    assert_eq!(
        replaced,
        (0, "toner \"low\"\n".to_owned(), "Content-Type: text/plain; charset=utf-8\n".to_owned())
    );
    let (code, body, _) = run(&[&["try", "telegram", "mail.eml", "--var", "chat_id=-1"]]);
    assert!(code == 0 && body.contains("\"chat_id\": \"-1\"") && body.contains("toner"), "{body}");
}

#[test]
fn what_is_wrong_is_said_and_has_its_exit_code() {
    let directory = directory();
    fs::write(directory.path().join("broken.toml"), "[server]\ntemplates = \"broken\"\n").unwrap();
    fs::create_dir(directory.path().join("broken")).unwrap();
    fs::write(directory.path().join("broken/a.json.j2"), "\n{% if %}").unwrap();
    let own = ["try", "own", "mail.eml", "--config", "etc/postgate.toml"];
    for (arguments, code, reason) in [
        (&own[..], 65, "template own failed, posted as json: own.json.j2:1: undefined value: vars.room"),
        (
            &own[..],
            65,
            "\ngive words with --var NAME=VALUE, or name the recipient of a route that has them with --to",
        ),
        (&["try", "slakc", "mail.eml"], 64, "no template is called slakc; there are alertmanager, "),
        (&["try", "slack", "nowhere.eml"], 66, "nowhere.eml: No such file"),
        (&["try", "slack", "mail.eml", "--var", "room"], 64, "expected NAME=VALUE"),
        (&["try", "slack", "mail.eml", "--to", "post@https"], 65, "your mail library cut the URL out"),
        (&["list", "--config", "broken.toml"], 78, "a.json.j2:2: syntax error"),
    ] {
        let (exit, body, said) = run(directory.path(), arguments);
        assert!(
            exit == code && body.is_empty() && said.contains(reason),
            "{arguments:?}: {exit} {body}{said}"
        );
    }
}

#[test]
fn list_says_which_are_the_operators_own() {
    let directory = directory();
    let (code, all, _) = run(directory.path(), &["list", "--config", "etc/postgate.toml"]);
    assert_eq!(code, 0);
    for line in [
        "own           own     application/json",
        "slack         own     text/plain; charset=utf-8",
        "teams         preset  application/json",
    ] {
        assert!(all.lines().any(|found| found == line), "{all}");
    }
    assert!(!all.contains("notes"));
}
