//! `postgate spool export`: what is left of a spool, as files.

use super::support;
use super::support::api::Scene;
use super::support::collector::Arrival;
use super::support::program::{Client, eventually, postgate};
use super::support::{DEADLINE, nobody};
use super::{damages, files, log, segments};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use postgate::post::Blob;
use postgate::spool::embedded::OpenError;
use postgate::spool::inspect::Inspection;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::PipeWriter;
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// What is told of the answers to a post.
fn answers(told: &Value) -> Vec<&Value> {
    let attempts = told["attempt_list"].as_array().unwrap().iter().chain([&told["last_attempt"]]);
    attempts.flat_map(|attempt| ["reason", "response"].map(|name| attempt.get(name))).flatten().collect()
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
        assert_eq!(told.get("withheld"), None);
        assert_eq!(told["idempotency_key"], arrived.headers["idempotency-key"]);
        for header in told["headers"].as_array().unwrap() {
            let name = header["name"].as_str().unwrap().to_ascii_lowercase();
            assert_eq!(header["value"], arrived.headers[&name], "{name}");
        }
        let list = told["attempt_list"].as_array().unwrap();
        assert_eq!((list.len(), &list[0]["number"]), (1, &json!(1)));
        assert!(list[0]["started_at"].is_string() && list[0]["status"].is_u64(), "{list:?}");
        assert_eq!(answers(&told), Vec::<&Value>::new());
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

/// What is between the blanks of a text of these digits, decoded from base64 of either
/// alphabet (RFC 4648), from each of its first four octets on.
fn decoded(octets: &[u8]) -> Vec<Vec<u8>> {
    let text = String::from_utf8_lossy(octets).replace("\\r", "").replace("\\n", "").replace('-', "+");
    let text = text.replace('_', "/").replace(['\r', '\n'], "");
    let runs = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '+' && char != '/');
    let pieces = runs.flat_map(|run| (0..4).filter_map(|at| run.get(at..)));
    let decoded = |piece: &str| BASE64.decode(&piece.as_bytes()[..piece.len() / 4 * 4]).ok();
    pieces.filter_map(decoded).collect()
}

/// Octets without percent-encoding (RFC 3986 section 2.1).
fn unescaped(octets: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut rest = octets;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let octet = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let octet = octet.filter(|_| *first == b'%');
        text.push(octet.unwrap_or(*first));
        rest = octet.map_or(behind, |_| &behind[2..]);
    }
    text
}

/// The canaries (`canary-` and a letter) in all files, however they are coded.
fn canaries(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<char, BTreeSet<String>> {
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for (name, octets) in files {
        let plain = [octets.clone(), unescaped(octets)];
        let coded = plain.iter().flat_map(|octets| decoded(octets)).collect::<Vec<_>>();
        for octets in plain.iter().chain(&coded) {
            for piece in String::from_utf8_lossy(octets).split("canary").skip(1) {
                let letter = piece.trim_start_matches(['-', '=']).chars().next().unwrap_or('?');
                found.entry(letter).or_default().insert(name.clone());
            }
        }
    }
    found
}

#[test]
fn what_carries_secrets_is_withheld_or_complete() {
    let route = |receiver: SocketAddr, name: &str, more: &str| {
        format!(
            "[[route]]\nrecipient = \"{name}@hooks.example\"\nurl = \"http://{receiver}/busy/{name}\"\n\
             payload = \"{name}\"\n{more}\n"
        )
    };
    let mut scene = Scene::start_in(tempfile::TempDir::new().unwrap(), |receiver| {
        let steered = |name| route(receiver, name, "header_control = true");
        steered("postal-raw") + &steered("mailgun") + &route(receiver, "postmark", "")
    });
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let address = scene.receiver.address;
    let mut mail = |recipients: &[&str], headers: &str, text: &str| {
        let recipients: Vec<_> = recipients.iter().map(|recipient| (*recipient).to_owned()).collect();
        let message = format!("{headers}From: a@shop.example\r\nSubject: x\r\n\r\n{text}\r\n");
        client.send(&recipients, message.as_bytes()).id().to_owned()
    };
    let raw = "X-Postgate-Payload: raw\r\n";
    let link = format!("http://{address}/busy?token=canary-d");
    let coded = BASE64URL_NOPAD.encode(link.as_bytes());
    let mails = [
        mail(&["postal-raw@hooks.example"], "X-XsHttp-Authorization: Bearer canary-a\r\n", "hello"),
        mail(&["mailgun@hooks.example"], "X-XsHttp-X-Token: canary=b?x\r\n", "go to /key/canary=b?x"),
        mail(&[&format!("post@http://u:c%61nary-c@{address}/busy")], raw, "it is canary-c"),
        mail(&[&format!("post+{coded}@postgate.local")], raw, "it is canary-d"),
        mail(&[&format!("post@http://{address}/echo?token=canary-e")], "", "hello"),
        mail(&[&format!("post@http://{address}/busy")], "X-Postgate-Tag: http://h/?token=canary-f\r\n", ""),
        mail(
            &[&format!("post@http://{address}/busy")],
            "X-XsHttp-X-Api-Key: \"canary-g\"\r\n",
            "\"canary-g\"",
        ),
        mail(&[&format!("post@http://{address}/busy")], "X-XsHttp-Referer: http://h/?sig=canary-h\r\n", "x"),
        mail(&[&format!("post@http://{address}/busy/524288")], "X-XsHttp-X-Api-Key: 524288\r\n", "2026-11"),
        // It steers nothing, and stands in the mail.
        mail(&["postmark@hooks.example"], "X-XsHttp-Referer: http://h/?sig=canary-l\r\n", "x"),
    ];
    let recipients = ["/busy?token=canary-i", "/busy"].map(|path| scene.receiver.recipient(path));
    let siblings = mail(&recipients.each_ref().map(String::as_str), raw, "also canary-i");
    let siblings = [1, 2].map(|number| format!("{siblings}-{number}"));
    let secret = json!({ "headers": { "Authorization": "Bearer canary-j", "X-Open": "7" } });
    let handed_in = hand_in(&scene, "/echo?sig=canary-j", secret, "deferred");
    let moved = scene.post("/busy", "", "deferred");
    let elsewhere = format!("{}/gone/secret/canary-k", scene.origin());
    assert_eq!(scene.run(&["queue", "reroute", &moved, "--url", &elsewhere]).0, 0);
    scene.stands(&moved, "failed");
    let secrets: Vec<_> = mails.iter().chain(&siblings).chain([&handed_in, &moved]).cloned().collect();
    secrets.iter().filter(|id| **id != moved).for_each(|id| scene.stands(id, "deferred"));
    let open = scene.post("/busy?a=b", "X-XsHttp-X-Size: 524288\r\n", "deferred");
    assert_eq!(scene.gateway.end("-TERM"), 0);

    let (code, summary, error) = export(&scene, "posts");
    assert_eq!((code, &summary["unreadable"], error.as_str()), (0, &json!(0), ""));
    assert_eq!(summary["withheld"], secrets.len());
    let found = content(&target(&scene, "posts"));
    assert_eq!(canaries(&found), BTreeMap::new());
    // Nothing but the description of each.
    assert_eq!(found.len(), secrets.len() + 3);
    for id in &secrets {
        let told = told(&found, id);
        assert_eq!(
            (&told["withheld"], told.get("body"), told.get("message")),
            (&json!("secrets"), None, None)
        );
        assert!(told["attempt_list"][0]["status"].is_u64(), "{told}");
        assert_eq!(answers(&told), Vec::<&Value>::new());
    }
    assert!(told(&found, &mails[4])["url"].as_str().unwrap().ends_with("/echo?token=***"));
    let whole = told(&found, &open);
    assert_eq!(
        (whole.get("withheld"), &whole["url"]),
        (None, &json!(format!("{}/busy?a=b", scene.origin())))
    );
    assert_eq!(found[whole["body"].as_str().unwrap()], arrival(&scene, &open).body);
    let (code, text, _) = scene.run(&["spool", "export", "again"]);
    let line = format!(
        "{} of them without body and mail: their messages carry secrets, or tell of others; --with-secrets",
        secrets.len()
    );
    assert!(code == 0 && text.contains(&line), "{text}");

    let (code, text, error) = scene.run(&["spool", "export", "--with-secrets", "all"]);
    assert_eq!(
        (code, error.as_str()),
        (0, "all has secrets in clear in it: keep it to yourself\n"),
        "{text}"
    );
    assert!(!text.contains("carry secrets"), "{text}");
    let all = content(&target(&scene, "all"));
    let there = canaries(&all);
    // Of some no more is seen where they end, or are not decoded.
    let letters: String = there.keys().filter(|letter| letter.is_ascii_lowercase()).collect();
    assert_eq!(letters, "abcdefghijkl");
    for (id, letter) in mails.iter().zip("abcd".chars()) {
        assert!(there[&letter].contains(&format!("{id}.body")), "{letter}: {there:?}");
    }
    for id in secrets.iter().chain([&open]) {
        let (told, arrived) = (told(&all, id), arrival(&scene, id));
        assert_eq!(told.get("withheld"), None);
        assert_eq!(all[told["body"].as_str().unwrap()], arrived.body, "{told}");
        assert!(*id == handed_in || told["message"].is_string(), "{told}");
        assert!(*id == moved || told["url"] == format!("{}{}", scene.origin(), arrived.path), "{told}");
        for header in told["headers"].as_array().unwrap() {
            let name = header["name"].as_str().unwrap().to_ascii_lowercase();
            assert_eq!(header["value"], arrived.headers[&name], "{name}");
        }
    }
    assert_eq!(told(&all, &moved)["url"], elsewhere);
    for (id, letter) in [(&mails[4], 'e'), (&handed_in, 'j')] {
        let answer = told(&all, id)["last_attempt"]["response"].to_string();
        assert!(answer.contains(&format!("canary-{letter}")), "{answer}");
    }

    // What was sealed with a key that is lost says so; without secrets none is needed.
    let key = scene.directory.path().join("postgate-data/webhook-key");
    fs::write(&key, [7; 32]).unwrap();
    let (code, summary, _) = export(&scene, "described");
    assert_eq!((code, &summary["unreadable"]), (0, &json!(0)));
    assert_eq!(content(&target(&scene, "described")), found);
    let (code, _, error) = scene.run(&["spool", "export", "without", "--with-secrets"]);
    assert!(
        code == 65 && error.ends_with("11 posts could not be read\n") && error.contains("webhook-key"),
        "{error}"
    );
    assert!(!error.contains(&open), "{error}");
    assert_eq!(told(&content(&target(&scene, "without")), &open)["state"], "deferred");
    // One that cannot be read is no lost one.
    fs::remove_file(&key).unwrap();
    fs::create_dir(&key).unwrap();
    let (code, _, error) = scene.run(&["spool", "export", "never", "--with-secrets"]);
    assert!(code == 74 && error.contains("webhook-key cannot be read: Is a directory"), "{code} {error}");
    assert!(!target(&scene, "never").exists());
}

/// A file that is open to nobody else.
fn keep(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn what_repeats_secrets_of_others_is_withheld() {
    let directory = tempfile::TempDir::new().unwrap();
    fs::create_dir(directory.path().join("templates")).unwrap();
    let secrets = ["m", "n", "o"].map(|letter| {
        let path = directory.path().join(letter);
        keep(&path, &format!("canary-{letter}"));
        format!("{{ file = \"{}\" }}", path.display())
    });
    fs::write(directory.path().join("templates/own.txt.j2"), "{{ vars.word }} of {{ subject }}").unwrap();
    // Nobody takes reports.
    let (_bound, relay) = nobody();
    let mut scene = Scene::start_in(directory, |receiver| {
        let [word, crm, erp] = &secrets;
        let profile = |name: &str, token: &str| {
            format!("[[auth]]\nname = \"{name}\"\ntype = \"bearer\"\ntoken = {token}\n")
        };
        format!(
            "[bounce]\nrelay = \"smtp://{relay}\"\n{}{}[[route]]\nrecipient = \"own@hooks.example\"\n\
             url = \"http://{receiver}/busy/own\"\npayload = \"template:own\"\nvars = {{ word = {word} }}\n",
            profile("crm", crm),
            profile("erp", erp)
        )
    });
    let hook =
        json!({ "url": format!("{}/busy/hook", scene.origin()), "events": ["post.*"], "verify": "skip" });
    assert_eq!(scene.post_to("/api/v1/webhooks", &hook.to_string()).status, 201);
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let mail = b"Subject: x\r\n\r\nhello\r\n";
    let templated = client.send(&["own@hooks.example".to_owned()], mail).id().to_owned();
    scene.stands(&templated, "deferred");
    let answered = scene.post("/echo", "X-Postgate-Auth: crm\r\n", "deferred");
    let failed = scene.post("/refuse", "X-Postgate-Auth: erp\r\n", "failed");
    let octets = client.send(
        &[scene.receiver.recipient("/busy")],
        b"X-XsHttp-X-Name: caf\xe9 \\xe9\r\nX-Postgate-Payload: raw\r\n\r\nhello\r\n",
    );
    scene.stands(octets.id(), "deferred");
    let whole = [&answered, &failed, octets.id()];
    let repeats = |arrival: &Arrival| {
        arrival.path == "/busy/hook" && String::from_utf8_lossy(&arrival.body).contains("canary-n")
    };
    let have_come = || {
        let arrivals = scene.receiver.arrivals();
        let is_reported =
            String::from_utf8_lossy(&scene.get("/metrics").body).contains("reports_made_total 1");
        (is_reported && arrivals.iter().any(|(arrival, _)| repeats(arrival))).then_some(())
    };
    eventually("a report and a batch", DEADLINE, have_come);
    assert_eq!(scene.gateway.end("-TERM"), 0);
    assert_eq!(arrival(&scene, &templated).body, b"canary-m of x");
    let is_clear = |octets: &Vec<u8>| octets.windows(8).any(|octets| octets == b"canary-m");
    assert!(!files(&log(&scene)).values().any(is_clear), "what a template printed is sealed");

    let (code, summary, error) = export(&scene, "posts");
    assert_eq!((code, error.as_str()), (0, ""));
    let found = content(&target(&scene, "posts"));
    assert_eq!(canaries(&found), BTreeMap::new());
    let ids: Vec<_> = found.keys().filter_map(|name| name.strip_suffix(".json")).collect();
    let is_report = |id: &&&str| told(&found, id)["url"].as_str().unwrap().starts_with("smtp://");
    let is_batch = |id: &&&str| told(&found, id)["webhook"].is_string();
    let report = *ids.iter().find(is_report).unwrap();
    let batches: Vec<_> = ids.iter().filter(is_batch).copied().collect();
    assert_eq!(summary["withheld"], 2 + batches.len());
    assert_eq!(ids.len(), 2 + batches.len() + whole.len());
    assert_eq!(found.len(), ids.len() + 2 * whole.len());
    for id in &ids {
        let is_whole = whole.contains(id);
        let told = told(&found, id);
        assert_eq!(
            (told["body"].is_string(), told["withheld"] == "secrets"),
            (is_whole, !is_whole),
            "{told}"
        );
        assert_eq!(answers(&told), Vec::<&Value>::new());
    }
    let name = json!({ "name": "X-Name", "value_base64": BASE64.encode(b"caf\xe9 \\xe9") });
    let headers = told(&found, octets.id())["headers"].clone();
    assert!(headers.as_array().unwrap().contains(&name), "{headers}");

    assert_eq!(scene.run(&["spool", "export", "--with-secrets", "all"]).0, 0);
    let there = canaries(&content(&target(&scene, "all")));
    let is_there = |letter: char, name: String| there[&letter].contains(&name);
    assert!(is_there('m', format!("{templated}.body")), "{there:?}");
    assert!(is_there('n', format!("{answered}.json")), "{there:?}");
    assert!(is_there('o', format!("{report}.body")), "{there:?}");
    assert!(batches.iter().any(|id| is_there('n', format!("{id}.body"))), "{there:?}");
}

/// Runs a line of the shell where the scene's files are; exit code and standard error.
fn shell(scene: &Scene, line: &str) -> (i32, String) {
    let mut shell = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_postgate");
    let output = shell.args(["-c", line, program]).current_dir(scene.directory.path()).output().unwrap();
    let (code, _, error) = support::api::said(&output);
    (code, error)
}

#[test]
fn a_full_disk_leaves_what_is_whole() {
    let mut scene = Scene::start("");
    let early = scene.post("/gone", "", "failed");
    let recipient = scene.receiver.recipient("/gone");
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    let large =
        client.send(&[recipient], format!("Subject: x\r\n\r\n{}", "a line\r\n".repeat(9000)).as_bytes());
    scene.stands(large.id(), "failed");
    let late = scene.post("/gone", "", "failed");
    assert_eq!(scene.gateway.end("-TERM"), 0);
    // No file may have more than 16 KiB: a write of more ends there.
    let (code, error) = shell(&scene, "trap '' XFSZ; ulimit -f 32; exec \"$0\" spool export posts");
    assert!(code == 74 && error.contains("cannot write posts/"), "{code} {error}");
    assert!(error.contains("whole in posts: 1, each") && error.contains("another new directory"), "{error}");
    let found = content(&target(&scene, "posts"));
    let names: Vec<_> = found.keys().cloned().collect();
    assert_eq!(names, ["body", "eml", "json"].map(|suffix| format!("{late}.{suffix}")), "{error}");
    assert_eq!(told(&found, &late)["state"], "failed");
    assert_eq!(export(&scene, "other").1["exported"], json!({ "failed": 3 }));
    assert!(target(&scene, "other").join(format!("{early}.json")).exists());
}

/// A pipe that nobody reads.
fn deaf() -> PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer
}

#[test]
fn nobody_who_listens_ends_no_export() {
    let mut scene = Scene::start("");
    let secret = scene.post("/gone", "X-XsHttp-Authorization: Bearer canary\r\n", "failed");
    let open = scene.post("/gone", "", "failed");
    let late = scene.post("/gone", "X-XsHttp-Authorization: Bearer canary\r\n", "failed");
    assert_eq!(scene.gateway.end("-TERM"), 0);
    fs::write(scene.directory.path().join("postgate-data/webhook-key"), [7; 32]).unwrap();
    let mut export = postgate(scene.directory.path());
    export.args(["spool", "export", "posts", "--with-secrets"]);
    assert_eq!(export.stdout(deaf()).stderr(deaf()).status().unwrap().code(), Some(65));
    let found = content(&target(&scene, "posts"));
    assert_eq!(found.len(), 3);
    assert!(
        told(&found, &open)["state"] == "failed" && ![secret, late].iter().any(|id| found.contains_key(id))
    );
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
    assert_eq!((code, error.as_str()), (65, "1 place is damaged, 1 post is missing\n"));
    assert_eq!((&summary["exported"], &summary["missing"]), (&json!({ "failed": 2 }), &json!([ids[1]])));
    for arguments in [&["spool", "check"][..], &["spool", "export", "unheard"]] {
        let mut command = postgate(scene.directory.path());
        assert_eq!(
            command.args(arguments).stdout(deaf()).status().unwrap().code(),
            Some(65),
            "{arguments:?}"
        );
    }
    let found = damages(&scene);
    assert_eq!(summary["damages"][0]["offset"], found[0].1);
    let there = content(&target(&scene, "posts"));
    assert!(
        there.len() == 6 && [&ids[0], &ids[2]].into_iter().all(|id| told(&there, id)["state"] == "failed")
    );
    let (code, text, _) = scene.run(&["spool", "export", "again"]);
    assert!(code == 65 && text.starts_with("exported 2 posts (2 failed) to again\nmissing: "), "{text}");
    assert!(text.contains(&found[0].1.to_string()), "{text}");
}

#[test]
fn what_is_another_when_it_is_read_again_is_damage() {
    let mut scene = Scene::start("");
    scene.post("/gone", "X-Postgate-Payload: raw\r\n", "failed");
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let path = segments(&scene).remove(0);
    let octets = fs::read(&path).unwrap();
    let at = octets.windows(5).position(|octets| octets == b"hello").unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let inspection = Inspection::of(log(&scene).parent().unwrap()).unwrap();
    let mut read = Vec::new();
    let findings = inspection.read(|message| {
        let mail = message.received();
        // A piece that is whole itself says no more of the rest than the checksum does.
        let start = Blob { length: 1, ..mail };
        read.push([mail, start].map(|piece| message.octets(piece).map_err(|error| error.to_string())));
        file.write_all_at(b"j", at as u64).unwrap();
        read.push([mail, start].map(|piece| message.octets(piece).map_err(|error| error.to_string())));
        Ok::<_, OpenError>(())
    });
    assert_eq!(findings.unwrap().damages, []);
    assert!(read[0].iter().all(Result::is_ok), "{read:?}");
    assert!(read[1].iter().all(|read| read.as_ref().is_err_and(|why| why.contains("checksum"))), "{read:?}");
}

#[test]
fn without_a_spool_no_directory_is_made() {
    let directory = tempfile::TempDir::new().unwrap();
    let output = postgate(directory.path()).args(["spool", "export", "posts"]).output().unwrap();
    let (code, _, error) = support::api::said(&output);
    assert!(code == 66 && error.contains("there is no spool in"), "{code} {error}");
    assert!(files(directory.path()).is_empty() && !directory.path().join("posts").exists());
}
