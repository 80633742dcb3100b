//! Records of what happened, in files of the running program: every type, nothing lost and
//! nothing twice over kills, a full disk, files that end, move and change.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::DEADLINE;
use support::api::Scene;
use support::collector::{Answer, Arrival, Collector, Keep};
use support::load::Load;
use support::program::{CONFIG, Client, Gateway, eventually};
use support::small_disk::SmallDisk;
use support::tools;
use tempfile::TempDir;

/// Where everything is, but for what is somewhere for certain.
const DATA: &str = "postgate-data";

/// Files of a directory whose names begin so, the oldest names first.
fn files(directory: &Path, beginning: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(beginning) && !name.ends_with(".new")
    };
    let mut paths: Vec<_> = paths.filter(is_ours).collect();
    paths.sort();
    paths
}

/// The text of a file, which may have been compressed.
fn text(path: &Path) -> String {
    let Ok(octets) = fs::read(path) else { return String::new() };
    let mut text = String::new();
    match path.extension().is_some_and(|extension| extension == "gz") {
        true if octets.is_empty() => {}
        true => drop(flate2::read::GzDecoder::new(&*octets).read_to_string(&mut text).unwrap()),
        false => text = String::from_utf8(octets).unwrap(),
    }
    text
}

/// All whole records of files of JSON.
fn records(files: &[PathBuf]) -> Vec<Value> {
    let text: String = files.iter().map(|path| text(path)).collect();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|bad| panic!("{bad}: {line}")))
        .collect()
}

/// Waits until a file has so many records that fit.
fn recorded(path: &Path, count: usize, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
    eventually(&format!("{count} records in {}", path.display()), DEADLINE, || {
        let found: Vec<_> = records(&[path.to_owned()]).into_iter().filter(&fits).collect();
        (found.len() >= count).then_some(found)
    })
}

/// The only file of accounting, as `/status` has it.
fn standing(scene: &Scene) -> Value {
    scene.get("/api/v1/status").json()["accounting"][0].clone()
}

fn report(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/eml/reports");
    fs::read_to_string(root.join(name).with_extension("eml")).unwrap()
}

/// What Python's own readers make of a file of each format.
fn read_by_python(ndjson: &Path, csv: &Path) -> Option<(Vec<Value>, Vec<Value>)> {
    let script = "import csv, json, sys\n\
                  print(json.dumps([json.loads(line) for line in open(sys.argv[1], encoding='utf-8')]))\n\
                  print(json.dumps(list(csv.DictReader(open(sys.argv[2], encoding='utf-8', newline='')))))\n";
    let output = tools::output(Command::new("python3").args(["-c", script]).args([ndjson, csv]))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    Some((lines.next().unwrap(), lines.next().unwrap()))
}

#[test]
fn every_type_of_record_is_written_and_others_can_read_it() {
    let reports = Collector::start(|_| Answer::Status(200));
    let scene = Scene::start(&format!(
        "[[destination]]\nmatch = \"*\"\nbreaker = 2\n\
         [[route]]\nrecipient = \"reports@hooks.example\"\nurl = \"http://{}/in\"\nreports = true\n\
         [[accounting]]\npath = \"acct.ndjson\"\n[[accounting]]\npath = \"acct.csv\"\nformat = \"csv\"\n",
        reports.address
    ));
    let (origin, path) = (scene.origin(), scene.origin_piece());
    let headers = "X-Postgate-Tag: =bill\r\nX-xsMessageId: m-1\r\nX-xsMailingId: l, \"1\"\r\n";
    let delivered = scene.send("/200?token=canary", headers);
    scene.ends(&delivered);
    scene.post("/404", headers, "failed");
    scene.post_to(&format!("/api/v1/destinations/{path}/pause"), r#"{"reason":"maintenance"}"#);
    scene.post_to(&format!("/api/v1/destinations/{path}/resume"), "");
    scene.send("/503", headers);
    scene.send("/503", headers);
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    for name in
        ["postfix-bounced", "postfix-delayed", "postfix-two-delivered-one-bounced", "arf-two-recipients"]
    {
        let to = ["reports@hooks.example".to_owned()];
        assert!(client.send(&to, report(name).as_bytes()).is_accepted(), "{name}");
    }
    let data = scene.directory.path().join(DATA);
    let (ndjson, csv) = (data.join("acct.ndjson"), data.join("acct.csv"));
    let expected: BTreeSet<_> = ["r", "d", "t", "tq", "b", "rb", "rs", "f"].into_iter().collect();
    let all = eventually("every type of record", DEADLINE, || {
        let all = records(std::slice::from_ref(&ndjson));
        let kinds: BTreeSet<_> =
            all.iter().map(|record| record["type"].as_str().unwrap().to_owned()).collect();
        let is_backoff = |record: &Value| record["type"] == "tq" && record["reason"] != "maintenance";
        let is_all = kinds.iter().map(String::as_str).eq(expected.iter().copied());
        (is_all && all.iter().any(is_backoff)).then_some(all)
    });
    let of = |kind: &str, post: &str| {
        let is_it = |record: &&Value| record["type"] == kind && record["postId"] == post;
        all.iter().find(is_it).unwrap_or_else(|| panic!("{kind} of {post}: {all:?}")).clone()
    };
    let (received, record) = (of("r", &delivered), of("d", &delivered));
    for (field, value) in [
        ("orig", "app@app.example"),
        ("dsnAction", "delivered"),
        ("dsnStatus", "2.0.0"),
        ("dsnDiag", "http;200 OK"),
        ("dsnMta", "127.0.0.1"),
        ("dlvType", "http"),
        ("dlvDestinationIp", "127.0.0.1"),
        ("jobId", "l, \"1\""),
        ("envId", "m-1"),
        ("queue", &origin),
        ("httpStatus", "200"),
        ("attempt", "1"),
        ("url", &format!("{origin}/200?token=***")),
        ("tag", "=bill"),
        ("tenant", "default"),
    ] {
        assert_eq!(record[field], value, "{field} of {record}");
    }
    for (record, field) in
        [(&record, "dlvSize"), (&record, "durationMs"), (&record, "timeQueued"), (&received, "rcvSourceIp")]
    {
        assert!(record[field].is_string(), "{field} of {record}");
    }
    assert!(!text(&ndjson).contains("canary") && !text(&csv).contains("canary"));
    status_shows_it(&scene, &ndjson);
    let read = || {
        read_by_python(&ndjson, &csv)
            .map_or(Some(None), |(lines, rows)| (lines.len() == rows.len()).then_some(Some((lines, rows))))
    };
    let Some((mut lines, rows)) = eventually("the same in both", DEADLINE, read) else { return };
    let filled = |row: &Value| {
        let cells = row.as_object().unwrap().iter().filter(|(_, cell)| !cell.as_str().unwrap().is_empty());
        Value::Object(cells.map(|(name, cell)| (name.clone(), cell.clone())).collect())
    };
    // Nobody's sheet computes a tag.
    for line in lines.iter_mut().filter(|line| line["tag"].is_string()) {
        line["tag"] = json!(format!("'{}", line["tag"].as_str().unwrap()));
    }
    assert_eq!(rows.iter().map(filled).collect::<Vec<_>>(), lines);
}

fn status_shows_it(scene: &Scene, path: &Path) {
    let is_all = || Some(standing(scene)).filter(|standing| standing["behind"] == 0);
    let standing = eventually("everything to be written", DEADLINE, is_all);
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(standing["file"].as_str().unwrap().ends_with(name), "{standing}");
    assert_eq!((&standing["state"], &standing["error"]), (&json!("writing"), &Value::Null));
    assert!(standing["records"].as_u64() > Some(7), "{standing}");
    let (code, told, error) = scene.run(&["status"]);
    assert!(code == 0 && told.contains("ACCOUNTING") && told.contains(name), "{told} {error}");
    // What waits for another attempt may be attempted at any moment.
    let shown = format!("postgate_accounting_behind_events{{path=\"{DATA}/{name}\"}} 0\n");
    let is_shown = || String::from_utf8(scene.get("/metrics").body).unwrap().contains(&shown).then_some(());
    eventually("metrics to show it", DEADLINE, is_shown);
}

#[test]
fn no_record_is_lost_and_none_is_written_twice_when_it_is_killed_again_and_again() {
    let directory = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Collector::on(socket, Keep::ChecksumsOnly, |_: &Arrival| Answer::Status(200));
    let config = format!(
        "{CONFIG}\n[accounting]\npath = \"acct/a.ndjson\"\ntypes = [\"r\", \"d\"]\nmax_size = \"40KiB\"\ncompress = \"gzip\"\n"
    );
    let load = Load::begin(8, receiver.address);
    let mut dice = fastrand::Rng::with_seed(5);
    for _ in 0..8 {
        let mut gateway = Gateway::start(directory.path(), &config);
        load.turn_to(gateway.smtp);
        let enough = load.accepted() + dice.usize(20..150);
        eventually("mail to be accepted", DEADLINE, || (load.accepted() >= enough).then_some(()));
        assert_eq!(gateway.end("-KILL"), -1);
        receiver.is_alone();
    }
    let sent = load.end();
    let mut gateway = Gateway::start(directory.path(), &config);
    let accepted: Vec<_> = sent.iter().filter(|message| message.reply.is_accepted()).collect();
    let wanted: usize = accepted.iter().map(|message| message.paths.len()).sum();
    assert!(wanted > 8 * 20, "{wanted}");
    let acct = directory.path().join(DATA).join("acct");
    eventually("a record of everything", 2 * DEADLINE, || {
        let mut found: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for record in records(&files(&acct, "a")) {
            let field = |name: &str| record[name].as_str().unwrap().to_owned();
            let path = field("url").splitn(4, '/').nth(3).unwrap().to_owned();
            *found.entry(format!("/{path}")).or_default().entry(field("type")).or_default() += 1;
        }
        let has_both = |path: &String| found.get(path).is_some_and(|kinds| kinds.len() == 2);
        accepted.iter().flat_map(|message| &message.paths).all(has_both).then_some(())
    });
    // A kill may come between a compressed file and the end of its plain one; the next
    // process removes that.
    eventually("each file to be there once", DEADLINE, || {
        let is_alone = |path: &PathBuf| !path.with_extension("ndjson.gz").exists();
        let mut files = files(&acct, "a").into_iter().filter(|path| path.extension().unwrap() != "gz");
        files.all(|path| is_alone(&path)).then_some(())
    });
    assert_eq!(gateway.end("-TERM"), 0);
    let mut ids = BTreeSet::new();
    for record in records(&files(&acct, "a")) {
        assert!(ids.insert(record["eventId"].as_str().unwrap().to_owned()), "twice: {record}");
    }
}

#[test]
fn a_full_disk_stops_accounting_alone_and_nothing_is_lost() {
    let outside = TempDir::new().unwrap();
    let Some(disk) = SmallDisk::mount(outside.path(), 256 << 10, 0) else { return };
    let path = outside.path().join("acct.ndjson");
    let scene = Scene::start(&format!("[accounting]\npath = \"{}\"\n", path.display()));
    let first = scene.send("/200", "");
    recorded(&path, 2, |record| record["postId"] == first.as_str());
    disk.fill();
    let ids: Vec<_> = (0..40).map(|_| scene.send("/200", "")).collect();
    ids.iter().for_each(|id| scene.ends(id));
    let is_told = || Some(standing(&scene)).filter(|standing| standing["state"] == "failing");
    let standing = eventually("trouble to be told", DEADLINE, is_told);
    assert!(standing["error"].as_str().unwrap().contains("No space"), "{standing}");
    assert!(standing["behind"].as_u64() > Some(0), "{standing}");
    assert!(scene.run(&["status"]).1.contains("failing: No space"));
    disk.relieve();
    let ids: BTreeSet<_> = ids.into_iter().collect();
    let is_one = |record: &Value| ids.contains(record["postId"].as_str().unwrap());
    let found = recorded(&path, 80, is_one);
    assert_eq!(found.len(), 80, "each is received and delivered once");
}

#[test]
fn files_end_are_compressed_and_removed() {
    let scene = Scene::start(
        "[accounting]\npath = \"acct/a-%Y.csv\"\nformat = \"csv\"\nfields = [\"postId\", \"url\"]\n\
         max_size = \"1KiB\"\ncompress = \"gzip\"\n",
    );
    let acct = scene.directory.path().join(DATA).join("acct");
    eventually("the first file", DEADLINE, || (files(&acct, "a-").len() == 1).then_some(()));
    let other = acct.join("b-2026.csv.gz");
    let old = acct.join("a-2001-0001.csv.gz");
    for path in [&other, &old] {
        let file = fs::File::create(path).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(9 * 86_400)).unwrap();
    }
    let ids: BTreeSet<_> = (0..30).map(|number| scene.send(&format!("/200?{number}"), "")).collect();
    let lines = |files: &[PathBuf]| {
        files
            .iter()
            .flat_map(|path| text(path).lines().map(str::to_owned).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    eventually("all records, those of files that ended compressed", DEADLINE, || {
        let files = files(&acct, "a-");
        let plain = files.iter().filter(|path| path.extension().is_some_and(|it| it == "csv")).count();
        let is_finished = plain == 1 && !files.iter().any(|path| path.to_str().unwrap().ends_with(".new"));
        let records = lines(&files).into_iter().filter(|line| line.starts_with(['r', 'd'])).count();
        (is_finished && records == 60 && !old.exists()).then_some(())
    });
    assert!(other.exists(), "what is none of its files is not touched");
    let files = files(&acct, "a-");
    assert!(files.len() >= 3, "{files:?}");
    for path in &files {
        let text = text(path);
        assert!(text.len() <= 1024 && text.starts_with("type,url,postId\r\n"), "{path:?}: {text}");
    }
    let delivered: BTreeSet<_> = lines(&files)
        .iter()
        .filter(|line| line.starts_with("d,"))
        .map(|line| line.rsplit(',').next().unwrap().to_owned())
        .collect();
    assert_eq!(delivered, ids);
}

#[test]
fn files_end_when_somebody_says_so() {
    let scene = Scene::start(
        "[[accounting]]\npath = \"acct.csv\"\nformat = \"csv\"\nfields = [\"postId\"]\ntypes = [\"d\"]\n\
         [[accounting]]\npath = \"acct-%Y-%m.ndjson\"\ntypes = [\"d\"]\n[[accounting]]\npath = \"none\"\ntypes = [\"f\"]\n",
    );
    let data = scene.directory.path().join(DATA);
    let ended = |told: &Value, number: usize| {
        let file = &told["files"][number];
        file["ended"].as_str().map(|path| fs::read_to_string(scene.directory.path().join(path)).unwrap())
    };
    for round in 1..=2 {
        let id = scene.send("/ok", "");
        eventually("its event", DEADLINE, || {
            let page = scene.get("/api/v1/events?type=post.delivered").json();
            (page["events"][0]["data"]["postId"] == id.as_str()).then_some(())
        });
        let answer = scene.post_to("/api/v1/accounting/rotate", "");
        let told = answer.json();
        assert_eq!(answer.status, 200, "{told}");
        // What had happened is in the file that ended, and nothing of before.
        assert_eq!(ended(&told, 0), Some(format!("type,postId\r\nd,{id}\r\n")), "{round}: {told}");
        let record = ended(&told, 1).unwrap();
        assert!(record.contains(&id) && record.lines().count() == 1, "{round}: {record}");
        assert_eq!((&told["files"][2]["ended"], ended(&told, 2)), (&json!(null), None));
        assert_eq!(fs::read_to_string(data.join("acct.csv")).unwrap(), "type,postId\r\n");
    }
    let id = scene.send("/ok", "");
    recorded(&data.join(files(&data, "acct-2").pop().unwrap()), 1, |record| record["postId"] == id.as_str());
    let refused = scene.post_to("/api/v1/commands", r#"{"command": "rotate acct now"}"#);
    assert_eq!(refused.status, 422, "{refused:?}");
    let answer = scene.post_to("/api/v1/commands", r#"{"command": "rotate acct"}"#);
    let told = answer.json();
    assert_eq!(ended(&told["data"], 0), Some(format!("type,postId\r\nd,{id}\r\n")), "{told}");
    let (code, text, _) = scene.run(&["accounting", "rotate"]);
    assert!(code == 0 && text.contains("acct.csv: goes on"), "{code} {text}");
    assert_eq!(files(&data, "acct-2").len(), 7, "{:?}", files(&data, "acct"));
}

#[test]
fn a_file_that_cannot_end_hides_none_that_did() {
    let scene = Scene::start(
        "[[accounting]]\npath = \"one\"\ntypes = [\"d\"]\n[[accounting]]\npath = \"below/two\"\ntypes = [\"d\"]\n",
    );
    let data = scene.directory.path().join(DATA);
    let id = scene.send("/ok", "");
    for name in ["one", "below/two"] {
        recorded(&data.join(name), 1, |record| record["postId"] == id.as_str());
    }
    // Its directory is gone, and there is a file in its place.
    fs::rename(data.join("below"), data.join("moved")).unwrap();
    fs::write(data.join("below"), "").unwrap();
    let answer = scene.post_to("/api/v1/accounting/rotate", "");
    let told = answer.json();
    assert_eq!(answer.status, 200, "{told}");
    let [one, two] = [&told["files"][0], &told["files"][1]];
    assert!(one["ended"].as_str().unwrap().contains("one") && one.get("error").is_none(), "{told}");
    assert!(two["ended"].is_null() && two["error"].is_string(), "{told}");
    let (code, text, wrong) = scene.run(&["accounting", "rotate"]);
    assert!(
        code == 75 && text.contains("one: goes on") && wrong.contains("below/two"),
        "{code} {text} {wrong}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
    let (code, text, _) = scene.run(&["accounting", "rotate", "--json"]);
    assert!(code == 75 && text.contains("\"error\""), "{code} {text}");
    fs::remove_file(data.join("below")).unwrap();
    fs::rename(data.join("moved"), data.join("below")).unwrap();
}

#[test]
fn a_file_may_be_moved_or_emptied_and_what_it_holds_may_change() {
    let mut scene =
        Scene::start("[accounting]\npath = \"acct.csv\"\nformat = \"csv\"\nfields = [\"postId\"]\n");
    let data = scene.directory.path().join(DATA);
    let path = data.join("acct.csv");
    let holds = |path: &Path, expected: &str| {
        let what = format!("{expected:?} in {}", path.display());
        eventually(&what, DEADLINE, || (text(path) == expected).then_some(()));
    };
    let names = "type,postId\r\n";
    let one = scene.send("/200", "");
    holds(&path, &format!("{names}r,{one}\r\nd,{one}\r\n"));
    fs::rename(&path, data.join("moved")).unwrap();
    let two = scene.send("/200", "");
    holds(&path, &format!("{names}r,{two}\r\nd,{two}\r\n"));
    holds(&data.join("moved"), &format!("{names}r,{one}\r\nd,{one}\r\n"));
    fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    let three = scene.send("/200", "");
    holds(&path, &format!("{names}r,{three}\r\nd,{three}\r\n"));
    // The names in a file are those of its records.
    let reload = |scene: &Scene, more: &str| {
        let file = scene.directory.path().join("postgate.toml");
        let before = fs::read_to_string(&file).unwrap();
        let (before, _) = before.split_once("[accounting]").unwrap();
        fs::write(&file, format!("{before}[accounting]\nformat = \"csv\"\n{more}\n")).unwrap();
        let answer = scene.post_to("/api/v1/reload", "");
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let terms = "types = [\"d\"]\nfields = [\"rcpt\", \"tag\"]\nprivacy = \"redact\"\nfilter = { tag = [\"!secret\"] }";
    reload(&scene, &format!("path = \"acct.csv\"\n{terms}"));
    scene.send("/200", "X-Postgate-Tag: secret\r\n");
    scene.send("/200?to=jane@shop.example", "X-Postgate-Tag: a\r\n");
    let rcpt = scene.receiver.recipient("/200?to=***@shop.example");
    holds(&path, &format!("type,rcpt,tag\r\nd,{rcpt},a\r\n"));
    assert_eq!(text(&files(&data, "acct-")[0]), format!("{names}r,{three}\r\nd,{three}\r\n"));
    // Another path takes the place of this one, without a gap.
    let five = scene.send("/200", "");
    let elsewhere = "path = \"else/where.csv\"\nfields = [\"postId\"]\ntypes = [\"d\"]";
    reload(&scene, elsewhere);
    let six = scene.send("/200", "");
    scene.ends(&six);
    let both = || format!("{}{}", text(&path), text(&data.join("else/where.csv")));
    let rcpt = scene.receiver.recipient("/200");
    eventually("records of both", DEADLINE, || {
        let all = both();
        let is_five = all.contains(&format!("d,{rcpt},\r\n")) != all.contains(&format!("d,{five}\r\n"));
        (is_five && all.contains(&format!("d,{six}\r\n"))).then_some(())
    });
    // And nothing is written twice by the next process.
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let before = both();
    scene.again();
    let seven = scene.send("/200", "");
    let expected = format!("{before}d,{seven}\r\n");
    eventually("the next record alone", DEADLINE, || (both() == expected).then_some(()));
}
