//! `/metrics` of the running program: what is counted, in a text that another
//! program's parser reads, with bounded labels and without secrets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use support::api::Scene;

/// Names with labels, and their values.
type Samples = BTreeMap<String, f64>;

/// Reads the text as OpenMetrics 1.0 has it; says what is wrong with it.
fn parse(text: &str) -> Result<Samples, String> {
    let text = text.strip_suffix("# EOF\n").ok_or("no end")?;
    let (mut family, mut kind) = (String::new(), String::new());
    let (mut families, mut samples) = (BTreeSet::new(), Samples::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let [word, name, value] = [(); 3].map(|()| words.next().unwrap_or_default());
            match word {
                "HELP" if families.insert(name.to_owned()) => family = name.to_owned(),
                "TYPE" if family == name => kind = value.to_owned(),
                "UNIT" if family == name && name.ends_with(&format!("_{value}")) => {}
                _ => return Err(format!("out of order: {line}")),
            }
            continue;
        }
        let (name, labels, value) = sample(line).ok_or_else(|| format!("no sample: {line}"))?;
        let suffix = name.strip_prefix(family.as_str()).ok_or_else(|| format!("not of {family}: {line}"))?;
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => return Err(format!("of no type: {line}")),
        };
        if !suffixes.contains(&suffix) || suffix == "_bucket" && !labels.contains("le=\"") {
            return Err(format!("not of a {kind}: {line}"));
        }
        if samples.insert(format!("{name}{labels}"), value).is_some() {
            return Err(format!("twice: {line}"));
        }
    }
    Ok(samples)
}

/// Name, labels in their braces, and value of a line.
fn sample(line: &str) -> Option<(&str, &str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let at = series.find('{').unwrap_or(series.len());
    let (name, labels) = series.split_at(at);
    let is_name = |name: &str| {
        name.starts_with(|char: char| char.is_ascii_alphabetic())
            && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
    };
    let inner = if labels.is_empty() { "" } else { labels.strip_prefix('{')?.strip_suffix("\"}")? };
    let pairs: Vec<_> = if inner.is_empty() { Vec::new() } else { inner.split("\",").collect() };
    let is_pair = |pair: &&str| pair.split_once("=\"").is_some_and(|(name, _)| is_name(name));
    (is_name(name) && pairs.iter().all(is_pair)).then_some(())?;
    Some((name, labels, value.parse().ok()?))
}

#[test]
fn the_parser_refuses_what_is_no_such_text() {
    let good = "# HELP a_seconds x.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total{b=\"c\"} 1\n# EOF\n";
    assert_eq!(parse(good), Ok(Samples::from([("a_seconds_total{b=\"c\"}".to_owned(), 1.0)])));
    for (right, wrong) in [
        ("# EOF\n", ""),
        ("_total{", "{"),
        ("counter", "gauge"),
        ("counter", "summer"),
        ("} 1", "} x"),
        ("b=\"c\"", "b=c"),
        ("b=\"c\"", "1=\"c\""),
        ("# UNIT a_seconds seconds", "# UNIT a_seconds bytes"),
        ("# TYPE a_seconds", "# TYPE b_seconds"),
        ("a_seconds_total{b=\"c\"} 1\n", "a_seconds_total 1\na_seconds_total 1\n"),
    ] {
        assert!(good.contains(right) && parse(&good.replace(right, wrong)).is_err(), "{wrong}");
    }
}

/// Reads `/metrics`, as text and as numbers.
fn scrape(scene: &Scene) -> (String, Samples) {
    let response = scene.get("/metrics");
    assert_eq!(response.status, 200, "{response:?}");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(response.header("content-type"), Some(kind));
    let text = String::from_utf8(response.body).unwrap();
    let samples = parse(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"));
    (text, samples)
}

#[test]
fn what_happened_is_counted_and_agrees_with_the_queue() {
    let scene = Scene::start("");
    let delivered: Vec<_> = (0..5).map(|_| scene.send("/ok", "")).collect();
    delivered.iter().for_each(|id| scene.ends(id));
    scene.post("/gone", "", "failed");
    let held = scene.post("/busy?token=canary", "", "deferred");
    scene.post_to(&format!("/api/v1/posts/{held}/hold"), "");
    scene.stands(&held, "held");
    let mut stranger = support::program::Client::connect(scene.gateway.smtp).unwrap();
    stranger.say("MAIL FROM:<>").unwrap();
    assert!(stranger.say("RCPT TO:<post@http://127.0.0.1:0/>").unwrap().starts_with('5'));
    let (text, samples) = scrape(&scene);
    let lane = format!("destination=\"{}\",tenant=\"default\"", scene.origin());
    for (name, expected) in [
        ("postgate_posts_accepted_total", 7.0),
        ("postgate_posts_delivered_total", 5.0),
        ("postgate_posts_deferred_total", 1.0),
        ("postgate_posts_failed_total", 1.0),
        ("postgate_posts_held_total", 0.0),
        (&format!("postgate_attempts_total{{{lane},outcome=\"2xx\"}}"), 5.0),
        (&format!("postgate_attempts_total{{{lane},outcome=\"4xx\"}}"), 1.0),
        (&format!("postgate_attempts_total{{{lane},outcome=\"5xx\"}}"), 1.0),
        (&format!("postgate_attempt_seconds_count{{{lane}}}"), 7.0),
        ("postgate_delivery_seconds_count", 5.0),
        ("postgate_queue_posts{state=\"waiting\"}", 0.0),
        ("postgate_queue_posts{state=\"held\"}", 1.0),
        ("postgate_queue_posts{state=\"failed\"}", 1.0),
        ("postgate_spool_state{state=\"open\"}", 1.0),
        ("postgate_lanes", 1.0),
        ("postgate_destinations{state=\"active\"}", 1.0),
        ("postgate_smtp_messages_total", 7.0),
        ("postgate_smtp_connections_total", 8.0),
        ("postgate_smtp_refusals_total", 1.0),
        ("postgate_build_info{version=\"0.1.0\"}", 1.0),
    ] {
        assert_eq!(samples.get(name), Some(&expected), "{name}\n{text}");
    }
    let value = |name: &str| samples[name];
    let (opened, reused) =
        (value("postgate_connections_opened_total"), value("postgate_connections_reused_total"));
    assert!(opened >= 1.0 && opened + reused == 7.0, "{text}");
    for name in ["resident_memory_bytes", "open_fds", "max_fds", "cpu_seconds_total", "start_time_seconds"] {
        assert!(value(&format!("postgate_process_{name}")) > 0.0, "{text}");
    }
    assert!(samples.keys().all(|name| name.starts_with("postgate_")), "{text}");
    assert!(!text.contains("canary") && !text.contains("app.example"), "{text}");
}

/// A message that nobody takes, as its client hears, is none that was accepted.
#[test]
fn what_is_refused_to_all_is_counted_as_refused() {
    let scene = Scene::start("");
    for (paths, code) in [(&["/gone"][..], "554"), (&["/gone", "/gone"], "554"), (&["/gone", "/ok"], "250")] {
        let recipients: Vec<_> = paths.iter().map(|path| scene.receiver.recipient(path)).collect();
        let mut client = support::program::Client::connect(scene.gateway.smtp).unwrap();
        let reply = client.send(&recipients, b"X-Postgate-Mode: sync\r\n\r\nx\r\n");
        assert!(format!("{reply:?}").contains(code), "{reply:?}");
    }
    let (text, samples) = scrape(&scene);
    let counted = ["messages", "refusals"].map(|what| samples[&format!("postgate_smtp_{what}_total")]);
    assert_eq!(counted, [1.0, 2.0], "{text}");
}

/// A relay that refuses a recipient who is called `gone`.
fn relay() -> std::net::SocketAddr {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let input = BufReader::new(stream.try_clone().unwrap());
            let mut is_data = false;
            stream.write_all(b"220 relay\r\n").unwrap();
            for line in input.lines().map_while(Result::ok) {
                is_data = is_data && line != ".";
                let reply = match line.split(' ').next().unwrap() {
                    _ if is_data => continue,
                    "DATA" => "354 go on",
                    _ if line.contains("<gone@") => "550 nobody",
                    _ => "250 OK",
                };
                is_data = line == "DATA";
                stream.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
            }
        }
    });
    address
}

#[test]
fn reports_are_counted() {
    let scene = Scene::start(&format!("[bounce]\nrelay = \"smtp://{}\"\n", relay()));
    for sender in ["a@app.example", "gone@app.example", ""] {
        let mut client = support::program::Client::connect(scene.gateway.smtp).unwrap();
        client.say(&format!("MAIL FROM:<{sender}>")).unwrap();
        client.say(&format!("RCPT TO:<{}>", scene.receiver.recipient("/gone"))).unwrap();
        client.say("DATA").unwrap();
        assert!(client.say("x\r\n.").unwrap().starts_with("250 "));
    }
    let counted = || {
        let (_, samples) = scrape(&scene);
        ["made", "delivered", "failed", "dropped"]
            .map(|name| samples.get(&format!("postgate_reports_{name}_total")).copied().unwrap_or_default())
    };
    support::program::eventually("the reports", support::DEADLINE, || {
        (counted() == [2.0, 1.0, 1.0, 1.0]).then_some(())
    });
}

#[test]
fn backoff_throttles_and_denials_are_counted() {
    let scene = Scene::start("[[destination]]\nmatch = \"*\"\nrate = [\"1/d\"]\n");
    scene.post("/busy", "", "deferred");
    scene.send("/ok", "");
    let denied = scene.gateway.smtp;
    let reply =
        support::program::send(denied, &[format!("post@http://localhost:{}/", denied.port())], "\r\nx\r\n");
    scene.stands(reply.id(), "failed");
    let (text, samples) = scrape(&scene);
    assert_eq!(samples["postgate_egress_denials_total"], 1.0, "{text}");
    assert!(samples["postgate_throttle_waits_total"] >= 1.0, "{text}");
    assert!(samples["postgate_destinations{state=\"throttled\"}"] >= 1.0, "{text}");
}

#[test]
fn damages_of_the_spool_are_counted() {
    let mut scene = Scene::start("");
    scene.post("/busy", "X-Mark: d4m4g3d\r\n", "deferred");
    let damages = |scene: &Scene| scrape(scene).1["postgate_spool_damages_total"];
    assert_eq!(damages(&scene), 0.0);
    assert_eq!(scene.gateway.end("-TERM"), 0);
    let mut hit = 0;
    for file in std::fs::read_dir(scene.directory.path().join("postgate-data/spool/log")).unwrap() {
        let path = file.unwrap().path();
        let mut octets = if path.is_file() { std::fs::read(&path).unwrap() } else { continue };
        if let Some(at) = octets.windows(7).position(|window| window == b"d4m4g3d") {
            octets[at] = b'x';
            std::fs::write(path, octets).unwrap();
            hit += 1;
        }
    }
    assert!(hit > 0, "the message is in no segment");
    scene.again();
    // One is the place, one the post that was there.
    support::program::eventually("the count of damages", support::DEADLINE, || {
        (damages(&scene) == 2.0).then_some(())
    });
    assert_eq!(scene.get("/api/v1/status").json()["spool"]["damages"], 2);
    let (_, told, _) = scene.run(&["status"]);
    let row = told.lines().skip_while(|line| !line.starts_with("SPOOL")).nth(1);
    assert!(told.contains("DAMAGES\n") && row.is_some_and(|row| row.ends_with(" 2")), "{told}");
}

/// A file of `config`.
fn config(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the panels of the dashboard ask for.
fn panels() -> Vec<String> {
    let dashboard: serde_json::Value = serde_json::from_str(&config("grafana/postgate.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let asked: Vec<_> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(asked.len() > 20, "{asked:?}");
    asked
}

/// What the alerts ask for, comments and all.
fn alerts() -> Vec<String> {
    let text = config("prometheus/alerts.yml");
    let asked: Vec<_> = text.split("expr: ").skip(1).collect();
    let before_the_rest = |text: &&str| text.split("\n        labels:").next().unwrap().to_owned();
    assert!(asked.len() > 5);
    asked.iter().map(before_the_rest).collect()
}

/// Metrics, labels and their values in an expression that none of the samples has.
fn unknown(expression: &str, samples: &Samples) -> Vec<String> {
    let metric = regex::Regex::new(r"(postgate_\w+)(?:\{([^}]*)\})?").unwrap();
    let matcher = regex::Regex::new(r#"(\w+)(=~|!=|=)"([^"]*)""#).unwrap();
    let grouping = regex::Regex::new(r"by \(([^)]*)\)").unwrap();
    let mut unknown = Vec::new();
    for asked in metric.captures_iter(expression) {
        let (name, matchers) = (&asked[1], asked.get(2).map_or("", |matchers| matchers.as_str()));
        let of_it: Vec<_> =
            samples.keys().filter(|sample| sample.split('{').next().unwrap() == name).collect();
        if of_it.is_empty() {
            unknown.push(name.to_owned());
            continue;
        }
        let has = |wanted: &str| of_it.iter().any(|sample| sample.contains(wanted));
        for matched in matcher.captures_iter(matchers).filter(|matched| &matched[1] != "instance") {
            let values: Vec<_> =
                if &matched[2] == "=~" { matched[3].split('|').collect() } else { vec![&matched[3]] };
            let wanted = values.iter().map(|value| format!("{}=\"{value}\"", &matched[1]));
            unknown.extend(wanted.filter(|wanted| !has(wanted)).map(|wanted| format!("{name}: {wanted}")));
        }
        for labels in grouping.captures_iter(expression) {
            let labels = labels[1].split(", ").filter(|label| *label != "instance");
            unknown.extend(
                labels.filter(|label| !has(&format!("{label}=\""))).map(|label| format!("{name} by {label}")),
            );
        }
    }
    unknown
}

#[test]
fn what_the_dashboard_and_the_alerts_ask_for_is_there() {
    let directory = tempfile::TempDir::new().unwrap();
    let scene = Scene::start_in(directory, |receiver| {
        format!(
            "[accounting]\npath = \"acct\"\n[[route]]\nrecipient = \"*@a.example\"\n\
             url = \"http://{receiver}/ok\"\ncheck_url = \"http://{receiver}/ok\"\n"
        )
    });
    let mut client = support::program::Client::connect(scene.gateway.smtp).unwrap();
    assert!(client.send(&["x@a.example".to_owned()], b"\r\nx\r\n").is_accepted());
    scene.post("/busy", "", "deferred");
    scene.post_to("/api/v1/posts", "{}");
    let (text, samples) = scrape(&scene);
    let unknown: Vec<_> =
        panels().iter().chain(&alerts()).flat_map(|asked| unknown(asked, &samples)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}\n{text}");
    // Nor is the test blind, for whatever can be wrong.
    let wrong = "sum by (stat) (postgate_lane) / postgate_spool_state{state=~\"open|shut\"}";
    assert_eq!(self::unknown(wrong, &samples).len(), 3);
}

/// What `promtool` says of a file; nothing where there is none.
fn promtool(arguments: &[&str]) -> Option<std::process::Output> {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    support::tools::output(std::process::Command::new("promtool").args(arguments).current_dir(tests))
}

#[test]
fn prometheus_understands_what_is_asked_and_the_alerts_come_when_they_should() {
    let Some(tested) = promtool(&["test", "rules", "alerts.yml"]) else { return };
    assert!(tested.status.success(), "{tested:?}");
    let checked = promtool(&["check", "rules", "../config/prometheus/alerts.yml"]).unwrap();
    assert!(checked.status.success(), "{checked:?}");
    // What panels ask for is checked as what rules record.
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("panels.yml");
    let check = |asked: &[String]| {
        let rules: Vec<_> = asked
            .iter()
            .enumerate()
            .map(|(number, asked)| {
                let asked = asked.replace("$__rate_interval", "5m").replace("$instance", ".*");
                serde_json::json!({ "record": format!("panel:{number}"), "expr": asked })
            })
            .collect();
        let file = serde_json::json!({ "groups": [{ "name": "panels", "rules": rules }] });
        std::fs::write(&path, file.to_string()).unwrap();
        promtool(&["check", "rules", path.to_str().unwrap()]).unwrap()
    };
    let checked = check(&panels());
    assert!(checked.status.success(), "{checked:?}");
    assert!(!check(&["sum by (postgate_lanes".to_owned()]).status.success(), "the checker is blind");
}
