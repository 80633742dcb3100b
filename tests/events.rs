//! Events of the running program: what happens is told, once it is durable, to those
//! who ask, in pages and as a stream; what applications publish is, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use postgate::api;
use postgate::deliver::control::{Control, Requests};
use postgate::event::{Event, EventId, Mark, Wanted};
use postgate::journal::{self, Journal, Position};
use postgate::post::Timestamp;
use postgate::spool::Spool;
use postgate::tenant::Tenant;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use support::DEADLINE;
use support::api::{Response, Scene};
use support::collector::{Answer, Arrival, Collector, Keep};
use support::load::Load;
use support::memory::MemorySpool;
use support::program::{CONFIG, Client, Gateway, Reply, eventually};
use support::small_disk::SmallDisk;
use tempfile::TempDir;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, Lines};
use tokio::sync::watch;

/// Events are made whether or not somebody listens.
const ALWAYS: &str = "[journal]\nalways = true\n";

/// A request in the name of a tenant.
fn as_tenant(scene: &Scene, tenant: &str, call: &str, body: &str) -> Response {
    let (host, length) = (scene.api, body.len());
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    scene.raw(&format!(
        "{call} HTTP/1.1\r\nHost: {host}\r\nX-Tenant-ID: {tenant}\r\nContent-Length: {length}\r\n{kind}\
         Connection: close\r\n\r\n{body}"
    ))
}

/// What `GET /events` lists.
fn listed(scene: &Scene, query: &str) -> Vec<Value> {
    let page = scene.get(&format!("/api/v1/events?{query}")).json();
    page["events"].as_array().unwrap_or_else(|| panic!("{page}")).clone()
}

/// Waits for so many events that fit a query, the newest first.
fn told(scene: &Scene, query: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} events of {query}"), DEADLINE, || {
        Some(listed(scene, query)).filter(|events| events.len() >= count)
    })
}

/// The event of this type of a post.
fn of_post(scene: &Scene, name: &str, post: &str) -> Value {
    let of = |event: &Value| event["data"]["postId"] == post;
    eventually(&format!("{name} of {post}"), DEADLINE, || {
        listed(scene, &format!("type={name}&limit=1000")).into_iter().find(of)
    })
}

#[test]
fn what_happens_to_a_post_is_told() {
    let scene = Scene::start(ALWAYS);
    let headers = "X-Postgate-Tag: bill\r\nX-xsMessageId: m-1\r\nX-xsMailingId: l-1\r\n";
    let origin = scene.origin();
    for (path, ends, expected) in [
        (
            "/200?token=canary",
            "post.delivered",
            json!({"attempt": 1, "status": 200, "httpVersion": "HTTP/1.1"}),
        ),
        ("/410", "post.failed", json!({"attempts": 1, "status": 410, "reason": "gone"})),
        ("/404", "post.failed", json!({"attempts": 1, "status": 404, "reason": "rejected"})),
        ("/503", "post.deferred", json!({"attempt": 1, "status": 503})),
    ] {
        let id = scene.send(path, headers);
        let shown = path.replace("canary", "***");
        let common = json!({
            "postId": id, "messageId": id, "tenant": "default", "destination": origin,
            "url": format!("{origin}{shown}"), "tag": "bill", "sender": "app@app.example",
            "recipient": format!("post@{origin}{shown}"), "xsMessageId": "m-1", "xsMailingId": "l-1",
        });
        let received = of_post(&scene, "post.received", &id);
        let end = of_post(&scene, ends, &id);
        for (event, own) in
            [(&received, json!({"source": "smtp", "remoteIp": "127.0.0.1"})), (&end, expected)]
        {
            assert_eq!(event["tenant"], "default");
            assert!(event["id"].as_str().unwrap().starts_with("evt_01"), "{event}");
            for (field, value) in common.as_object().unwrap().iter().chain(own.as_object().unwrap()) {
                assert_eq!(&event["data"][field], value, "{field} of {event}");
            }
        }
        assert!(received["data"]["size"].as_u64() > Some(20), "{received}");
        assert!(received["timestamp"].as_str() <= end["timestamp"].as_str());
        if ends == "post.deferred" {
            assert!(end["data"]["nextAttemptAt"].as_str() > end["timestamp"].as_str(), "{end}");
        }
    }
}

#[test]
fn a_post_that_was_handed_in_as_such_has_the_size_of_its_body() {
    let scene = Scene::start(ALWAYS);
    let post = json!({ "url": format!("{}/200", scene.origin()), "body": "seventeen octets." });
    let taken = scene.post_to("/api/v1/posts", &post.to_string()).json();
    let received = of_post(&scene, "post.received", taken["id"].as_str().unwrap());
    assert_eq!((&received["data"]["size"], &received["data"]["source"]), (&json!(17), &json!("api")));
}

#[test]
fn what_operators_do_is_told() {
    let scene = Scene::start(ALWAYS);
    let origin = scene.origin_piece();
    scene.post_to(&format!("/api/v1/destinations/{origin}/pause"), r#"{"reason":"maintenance"}"#);
    let paused = &told(&scene, "type=destination.paused", 1)[0];
    let expected =
        json!({"destination": scene.origin(), "tenant": "default", "reason": "maintenance", "queued": 0});
    assert_eq!(paused["data"], expected);
    let id = scene.send("/200", "");
    assert_eq!(scene.ask("DELETE", &format!("/api/v1/posts/{id}"), None).status, 200);
    let failed = of_post(&scene, "post.failed", &id);
    assert_eq!((&failed["data"]["reason"], &failed["data"]["attempts"]), (&json!("deleted"), &json!(0)));
    scene.post_to(&format!("/api/v1/destinations/{origin}/resume"), "");
    assert_eq!(told(&scene, "type=destination.resumed", 1)[0]["data"]["destination"], scene.origin());
    assert_eq!(told(&scene, "type=destination.*", 2).len(), 2);
}

#[test]
fn nothing_is_written_where_nobody_asks() {
    let scene = Scene::start("");
    scene.ends(&scene.send("/200", ""));
    assert!(listed(&scene, "").is_empty());
    let journal = scene.directory.path().join("postgate-data/journal");
    assert!(!journal.exists(), "{journal:?}");
}

#[test]
fn applications_publish_events() {
    let scene = Scene::start("");
    let one = scene.post_to("/api/v1/events", "{\"type\": \"order.paid\", \"data\": {\"order\":\n 17}}");
    assert_eq!(one.status, 202, "{one:?}");
    let event = &told(&scene, "type=order.paid", 1)[0];
    assert_eq!((&event["id"], &event["data"]), (&one.json()["id"], &json!({"order": 17})));
    let bare = scene.post_to("/api/v1/events", r#"[{"type":"a.b"},{"type":"a.b","data":{}}]"#);
    assert_eq!((bare.status, bare.json()["ids"].as_array().unwrap().len()), (202, 2));
    told(&scene, "type=a.b", 2);
    let many = |count| json!(vec![json!({"type": "c.d"}); count]).to_string();
    for (body, status, says) in [
        (
            r#"[{"type":"x.y"},{"type":"post.delivered"}]"#,
            422,
            "event 1 (from 0): names that begin with post.",
        ),
        (r#"{"type":"x"}"#, 422, "two or more parts"),
        (r#"{"type":"x.y","data":[]}"#, 422, "one JSON object"),
        (r#"{"type":"x.y","more":1}"#, 400, "more"),
        (r#"{"data":{}}"#, 400, "type"),
        ("[]", 422, "1 to 1000"),
        ("", 400, "type"),
        (&many(1001), 422, "1 to 1000"),
    ] {
        let response = scene.post_to("/api/v1/events", body);
        assert_eq!(response.status, status, "{body:.60} {response:?}");
        assert!(String::from_utf8_lossy(&response.body).contains(says), "{says} in {response:?}");
    }
    assert_eq!(scene.post_to("/api/v1/events", &many(1000)).status, 202);
    told(&scene, "type=c.d&limit=1000", 1000);
    assert!(listed(&scene, "type=x.*").is_empty(), "all or none");
}

/// Beside the mark on its request.
#[test]
fn what_had_to_be_done_to_a_mail_is_told() {
    let scene = Scene::start(ALWAYS);
    for (headers, remarks) in [
        ("", Value::Null),
        (
            "Content-Type: multipart/mixed; boundary=b\r\n",
            json!(["not taken apart, posted whole: a multipart without boundary or parts"]),
        ),
        (
            "Subject: y\r\n",
            json!(["others may read it otherwise, for what stands twice or has no end: Subject"]),
        ),
    ] {
        let received = of_post(&scene, "post.received", &scene.send("/200", headers));
        assert_eq!(received["data"]["remarks"], remarks, "{received}");
    }
}

#[test]
fn mail_publishes_events() {
    let scene = Scene::start("");
    let send = |recipients: &[&str], body: &str| {
        let recipients: Vec<_> = recipients.iter().map(|recipient| (*recipient).to_owned()).collect();
        Client::connect(scene.gateway.smtp).unwrap().send(&recipients, body.as_bytes())
    };
    let post = scene.receiver.recipient("/200");
    let body = "Subject: x\r\n\r\n{\"order\":\r\n 17}\r\n";
    assert!(send(&["event+order.paid@postgate.local"], body).is_accepted());
    assert_eq!(told(&scene, "type=order.paid", 1)[0]["data"], json!({"order": 17}));
    // Beside a post, which has the id that is said.
    let reply = send(&["event+order.sent@postgate.local", &post], body);
    assert_eq!(scene.receiver.received(1)[0].id(), reply.id());
    told(&scene, "type=order.sent", 1);
    for (recipient, body, says) in [
        ("event+post.delivered@postgate.local", body, "553 5.1.3 "),
        ("event+order@postgate.local", body, "553 5.1.3 "),
        ("event+x.y@postgate.local", "\r\nnot json\r\n", "550 5.6.0 "),
        ("event+x.y@postgate.local", "\r\n[1]\r\n", "550 5.6.0 "),
        ("event+x.y@postgate.local", "\r\n", "550 5.6.0 "),
    ] {
        let Reply::Said(line) = send(&[recipient], body) else { panic!("no reply: {recipient}") };
        assert!(line.starts_with(says), "{recipient} {body:?}: {line}");
    }
    // Each of many counts, though all are the same.
    let many = vec!["event+x.y@postgate.local"; 100];
    let large = format!("\r\n{{\"a\":\"{}\"}}\r\n", "x".repeat(200 << 10));
    let Reply::Said(line) = send(&many, &large) else { panic!("no reply to many") };
    assert!(line.starts_with("552 5.3.4 100 events of"), "{line}");
    // Nothing is kept of a message that is refused.
    assert!(!send(&["event+x.y@postgate.local", &post], "\r\nnot json\r\n").is_accepted());
    assert!(listed(&scene, "type=x.y").is_empty() && scene.receiver.count() == 1);
}

#[test]
fn reports_on_routes_are_told() {
    let receiver = Collector::start(|_| Answer::Status(200));
    let route = format!(
        "{ALWAYS}[[route]]\nrecipient = \"bounces@hooks.example\"\nurl = \"http://{}/in\"\nreports = true\n",
        receiver.address
    );
    let scene = Scene::start(&route);
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/eml/reports");
    let report = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let report = report.filter(|path| path.extension().is_some_and(|it| it == "eml"));
    let is_bounce = |path: &std::path::PathBuf| {
        let golden = std::fs::read_to_string(path.with_extension("events"));
        golden.is_ok_and(|text| text.contains("Postgate-Event: email.bounced\nPostgate-Events: 1\n"))
    };
    let mut found: Vec<_> = report.filter(is_bounce).collect();
    found.sort();
    let message = std::fs::read_to_string(&found[0]).unwrap();
    let mut client = Client::connect(scene.gateway.smtp).unwrap();
    assert!(client.send(&["bounces@hooks.example".to_owned()], message.as_bytes()).is_accepted());
    let posted: Value = serde_json::from_slice(&receiver.received(1)[0].body).unwrap();
    let event = &told(&scene, "type=email.bounced", 1)[0];
    assert_eq!(*event, posted, "whoever is told, is told the same");
}

#[test]
fn events_are_found_by_type_time_and_tenant_in_pages() {
    let scene = Scene::start("");
    for number in 0..25 {
        let name = if number % 2 == 0 { "even.x" } else { "odd.x" };
        let event = format!(r#"{{"type":"{name}","data":{{"number":{number}}}}}"#);
        assert_eq!(as_tenant(&scene, "shop", "POST /api/v1/events", &event).status, 202);
    }
    let all = told(&scene, "limit=1000", 25);
    let numbers = |events: &[Value]| {
        events.iter().map(|event| event["data"]["number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&all), (0..25).rev().collect::<Vec<_>>(), "the newest first");
    assert_eq!(numbers(&listed(&scene, "type=even.x,none.*&limit=3")), [24, 22, 20]);
    let (mut seen, mut query) = (Vec::new(), "limit=7".to_owned());
    loop {
        let page = scene.get(&format!("/api/v1/events?{query}")).json();
        seen.extend(page["events"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        query = format!("limit=7&cursor={next}");
    }
    assert_eq!(seen, all);
    let time = |event: &Value| event["timestamp"].as_str().unwrap().to_owned();
    let (since, until) = (time(&all[20]), time(&all[3]));
    let expected: Vec<_> = all
        .iter()
        .filter(|event| (since.as_str()..until.as_str()).contains(&&*time(event)))
        .cloned()
        .collect();
    assert_eq!(listed(&scene, &format!("since={since}&until={until}")), expected);
    assert!(listed(&scene, "until=2001-01-01T00:00:00Z").is_empty());
    assert!(listed(&scene, "since=2999-01-01T00:00:00Z").is_empty());
    let of = |tenant| as_tenant(&scene, tenant, "GET /api/v1/events", "").json()["events"].clone();
    assert_eq!((of("shop").as_array().unwrap().len(), of("other")), (25, json!([])));
    for query in ["limit=0", "limit=1001", "since=yesterday", "cursor=x", "type=x", "type=", "other=1"] {
        let status = scene.get(&format!("/api/v1/events?{query}")).status;
        assert!(matches!(status, 400 | 422), "{query}: {status}");
    }
}

#[test]
fn kinds_are_documented() {
    let scene = Scene::start("");
    let types = scene.get("/api/v1/events/types").json();
    let names: Vec<_> = types["types"].as_array().unwrap().iter().map(|kind| kind["type"].clone()).collect();
    for name in ["post.received", "post.failed", "destination.backoff", "webhook.disabled", "email.opened"] {
        assert!(names.contains(&json!(name)), "{name} in {types}");
    }
    let samples = scene.get("/api/v1/events/samples?events=post.delivered,bounced").json();
    let results = samples["results"].as_array().unwrap();
    assert_eq!(
        (&results[0]["type"], &results[1]["type"]),
        (&json!("post.delivered"), &json!("email.bounced"))
    );
    let sparkpost = scene.get("/api/v1/events/samples?events=post.delivered&format=sparkpost").json();
    assert_eq!(sparkpost["results"][0]["msys"]["message_event"]["type"], "delivery");
    assert_eq!(scene.get("/api/v1/events/samples?events=nonsense").status, 422);
}

/// A stream of events, as a program reads it.
struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Asks, and waits until events are told.
    fn open(api: SocketAddr, query: &str, after: Option<u64>) -> Stream {
        let resume = after.map_or(String::new(), |after| format!("Last-Event-ID: {after}\r\n"));
        Stream::ask(api, query, &resume).unwrap()
    }

    /// The same with these fields; nothing when there is no place.
    fn ask(api: SocketAddr, query: &str, fields: &str) -> Option<Stream> {
        let stream = TcpStream::connect(api).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!("GET /api/v1/events/stream{query} HTTP/1.1\r\nHost: {api}\r\n{fields}\r\n");
        (&stream).write_all(head.as_bytes()).unwrap();
        let mut stream = Stream(BufReader::new(stream));
        let status = stream.line().unwrap();
        if status.contains(" 429 ") {
            return None;
        }
        assert_eq!(status, "HTTP/1.1 200 OK");
        let mut head = Vec::new();
        loop {
            match stream.line().unwrap() {
                line if line == ":" => break,
                line => head.push(line.to_ascii_lowercase()),
            }
        }
        assert!(head.contains(&"content-type: text/event-stream".to_owned()), "{head:?}");
        Some(stream)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        (read.unwrap_or_else(|error| panic!("nothing more is told: {error}")) > 0)
            .then(|| line.trim_end().to_owned())
    }

    /// The next event with its id; nothing at the end.
    fn next(&mut self) -> Option<(u64, Value)> {
        let mut id = 0;
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("id", number)) => id = number.parse().unwrap(),
                Some(("data", data)) => return Some((id, serde_json::from_str(data).unwrap())),
                _ => {}
            }
        }
    }
}

#[test]
fn events_are_streamed_and_resumed_after_a_restart() {
    let mut scene = Scene::start("");
    let mut stream = Stream::open(scene.api, "?type=post.*", None);
    // Who listens wants them.
    let first = scene.send("/200", "");
    let mut names = BTreeSet::new();
    let mut last = 0;
    while names.len() < 2 {
        let (id, event) = stream.next().unwrap();
        assert!(id > last && event["data"]["postId"] == json!(first), "{id} {event}");
        names.insert(event["type"].as_str().unwrap().to_owned());
        last = id;
    }
    assert_eq!(names, ["post.delivered", "post.received"].map(str::to_owned).into());
    let publish = |scene: &Scene, name: &str| {
        assert_eq!(scene.post_to("/api/v1/events", &format!(r#"{{"type":"{name}"}}"#)).status, 202);
    };
    publish(&scene, "order.paid");
    publish(&scene, "order.sent");
    told(&scene, "type=order.*", 2);
    assert_eq!(scene.gateway.end("-TERM"), 0);
    assert!(
        stream.next().is_none(),
        "a stream ends with the gateway, and what is not asked for is not there"
    );
    scene.again();
    publish(&scene, "order.back");
    let mut stream = Stream::open(scene.api, "?type=order.*", Some(last));
    let mut later = Vec::new();
    for _ in 0..3 {
        let (id, event) = stream.next().unwrap();
        assert!(id > last, "{id} {last}");
        last = id;
        later.push(event["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(later, ["order.paid", "order.sent", "order.back"]);
    let call = "GET /api/v1/events/stream HTTP/1.1\r\nLast-Event-ID: x\r\nConnection: close\r\n";
    assert_eq!(scene.raw(&format!("{call}Host: {}\r\n\r\n", scene.api)).status, 400);
}

#[test]
fn streams_are_few_and_of_one_tenant() {
    let scene = Scene::start("");
    let streams: Vec<_> = (0..32).map(|_| Stream::open(scene.api, "", None)).collect();
    let one_more = scene.get("/api/v1/events/stream");
    assert_eq!((one_more.status, one_more.header("retry-after").is_some()), (429, true));
    drop(streams);
    let post = |tenant: &str, name: &str| {
        let body = format!(r#"{{"type":"{name}"}}"#);
        assert_eq!(as_tenant(&scene, tenant, "POST /api/v1/events", &body).status, 202);
    };
    let open = || Stream::ask(scene.api, "", "X-Tenant-ID: shop\r\n");
    let mut stream = eventually("a place", DEADLINE, open);
    post("other", "secret.x");
    post("shop", "own.x");
    assert_eq!(stream.next().unwrap().1["type"], "own.x");
}

/// An event of about 1 KiB.
fn event(number: u64) -> Event {
    Event {
        id: EventId::new(Timestamp(number), 0),
        name: "order.paid".parse().unwrap(),
        at: Timestamp(number),
        tenant: Tenant::default(),
        data: format!("{{\"text\":\"{}\"}}", "x".repeat(1000)).into(),
    }
}

/// The API alone, with a journal, and what it goes by.
struct Alone {
    address: SocketAddr,
    journal: Journal,
    wanted: Wanted,
    current: watch::Sender<Arc<api::Current>>,
    longest: Duration,
    _directory: TempDir,
    _requests: Requests,
    _stop: watch::Sender<bool>,
}

impl Alone {
    async fn start() -> Alone {
        let directory = TempDir::new().unwrap();
        let journal = Journal::open(journal::Options::at(directory.path().join("journal"))).unwrap();
        // What it goes by was changed before.
        let (current, changing) = watch::channel(Arc::new(api::Current::default()));
        current.send_replace(Arc::default());
        let options = api::Options {
            journal: Some(journal.clone()),
            current: changing,
            ..api::Options::of("gateway.example".to_owned())
        };
        let wanted = options.wanted.clone();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let longest = options.request_timeout.max(options.unread_timeout).max(options.head_timeout);
        let ((control, requests), (stop, stopped)) = (Control::new(), watch::channel(false));
        let spool: Arc<dyn Spool> = MemorySpool::new();
        tokio::spawn(api::serve(listener, options, control, spool, Arc::default(), stopped));
        let (_directory, _requests, _stop) = (directory, requests, stop);
        Alone { address, journal, wanted, current, longest, _directory, _requests, _stop }
    }

    /// A stream's head and events, line by line; dropping both ends it.
    async fn stream(&self, fields: &str) -> (Lines<impl AsyncBufRead + Unpin>, impl Sized) {
        let (input, mut output) = tokio::net::TcpStream::connect(self.address).await.unwrap().into_split();
        let head = format!("GET /api/v1/events/stream HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        output.write_all(head.as_bytes()).await.unwrap();
        (tokio::io::BufReader::new(input).lines(), output)
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_kept_alive_and_outlives_the_time_for_requests() {
    let alone = Alone::start().await;
    let (mut lines, _output) = alone.stream("").await;
    let longest = alone.longest;
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < 3 * longest {
        let line = lines.next_line().await.unwrap().expect("the stream goes on");
        assert!(!line.contains(" 408 "), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_are_wanted_until_a_client_had_time_to_come_back() {
    let alone = Alone::start().await;
    let (mut lines, output) = alone.stream("").await;
    while lines.next_line().await.unwrap().unwrap() != ":" {}
    assert!(alone.wanted.is_wanted());
    drop((lines, output));
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert!(alone.wanted.is_wanted(), "what happens until it comes back is for it");
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert!(!alone.wanted.is_wanted(), "for ever");
}

#[tokio::test]
async fn a_stream_with_much_to_tell_ends_as_well_when_keys_change() {
    const MANY: u64 = 20_000;
    let alone = Alone::start().await;
    for few in 0..MANY / 1000 {
        let events = (few * 1000..(few + 1) * 1000).map(event).collect();
        alone.journal.append(Mark::default(), events).await.unwrap();
    }
    let (mut lines, _output) = alone.stream("Last-Event-ID: 0\r\n").await;
    let mut told = 0;
    while let Some(line) = tokio::time::timeout(DEADLINE, lines.next_line()).await.unwrap().unwrap() {
        told += u64::from(line.starts_with("data: "));
        if told == 1 {
            alone.current.send_replace(Arc::default());
        }
    }
    assert!((1..MANY).contains(&told), "{told}");
}

/// As many events as a disk has no room for, one file of the journal after another.
#[tokio::test(start_paused = true)]
async fn on_a_full_disk_new_events_take_the_place_of_old_ones() {
    let directory = TempDir::new().unwrap();
    let Some(_disk) = SmallDisk::mount(directory.path(), 256 << 10, 0) else { return };
    let options =
        journal::Options { segment: 16 << 10, ..journal::Options::at(directory.path().join("journal")) };
    let journal = Journal::open(options.clone()).unwrap();
    let next = |after: Mark| async move {
        let number = after.place.1 + 1;
        if number > 1000 {
            std::future::pending::<()>().await;
        }
        Ok::<_, String>((Mark { log: 1, place: (1, number) }, vec![event(number)]))
    };
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(journal.clone().carry(next, stopped));
    let mut last = journal.watch();
    let all = last.wait_for(|last| last.0 == 1000);
    tokio::time::timeout(Duration::from_secs(3600), all).await.expect("room is made").unwrap();
    assert!(journal.failures() > 0, "the disk was never full");
    // This one has the last events in memory.
    let oldest = Journal::open(options).unwrap().read(Position(0), 1).await.unwrap()[0].0;
    assert!((500..999).contains(&oldest.0), "{oldest}");
}

/// Takes most posts, refuses some for now, and hangs up on some.
fn moody(arrival: &Arrival) -> Answer {
    match (arrival.checksum as usize + arrival.attempt() as usize) % 11 {
        0 => Answer::Status(503),
        1 => Answer::Close,
        _ => Answer::Status(200),
    }
}

#[test]
fn no_event_is_lost_when_it_is_killed_again_and_again() {
    let directory = TempDir::new().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Collector::on(socket, Keep::ChecksumsOnly, moody);
    let config = CONFIG.replace("address = \"off\"", "address = \"127.0.0.1:0\"");
    let config = format!("{config}\n{ALWAYS}");
    let load = Load::begin(8, receiver.address);
    let mut dice = fastrand::Rng::with_seed(11);
    for _ in 0..8 {
        let mut gateway = Gateway::start(directory.path(), &config);
        load.turn_to(gateway.smtp);
        let enough = load.accepted() + dice.usize(20..120);
        eventually("mail to be accepted", DEADLINE, || (load.accepted() >= enough).then_some(()));
        assert_eq!(gateway.end("-KILL"), -1);
        receiver.is_alone();
    }
    let sent = load.end();
    let gateway = Gateway::start(directory.path(), &config);
    let line = gateway.line("API at ");
    let api = line.trim_end_matches('/').rsplit('/').next().unwrap().parse().unwrap();
    let delivered = || {
        let arrivals = receiver.arrivals();
        let is_there = |path: &String| {
            arrivals.iter().any(|(arrival, answer)| arrival.path == *path && *answer == Answer::Status(200))
        };
        let accepted = sent.iter().filter(|message| message.reply.is_accepted());
        accepted.flat_map(|message| &message.paths).all(is_there).then_some(())
    };
    eventually("all that was accepted", 2 * DEADLINE, delivered);
    let is_taken = |arrival: &Arrival| {
        let taken = sent.iter().find(|message| message.paths.contains(&arrival.path));
        taken.is_some_and(|message| message.reply.is_accepted())
    };
    let arrivals = receiver.arrivals();
    let taken =
        arrivals.iter().filter(|(arrival, answer)| *answer == Answer::Status(200) && is_taken(arrival));
    let ids: BTreeSet<_> = taken.map(|(arrival, _)| arrival.id().to_owned()).collect();
    assert!(ids.len() > 8 * 20, "{}", ids.len());
    let names = ["post.received", "post.delivered"];
    let mut missing: BTreeSet<_> =
        ids.iter().flat_map(|id| names.map(|name| (id.clone(), name.to_owned()))).collect();
    let mut stream = Stream::open(api, "?type=post.*", Some(0));
    while !missing.is_empty() {
        let (_, event) = stream.next().unwrap_or_else(|| panic!("missing: {missing:?}"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        missing.remove(&(text(&event["data"]["postId"]), text(&event["type"])));
    }
}
