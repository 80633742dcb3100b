//! Webhooks of the running program are told: which events reach whom, in which form and
//! under which signature, and that none is lost when receivers or the gateway die.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use postgate::clock;
use postgate::event::{Event, EventId, Mark, Wanted};
use postgate::fanout::engine::{self, Fanout, NotReplayed, Replayed, Spooled};
use postgate::fanout::group::Within;
use postgate::fanout::replay::{self, Meant, Replays, State};
use postgate::fanout::shelf::{Shelf, ShelfError};
use postgate::fanout::webhook::{Filter, Settings, Status, Webhook};
use postgate::journal::{self, Journal, Position};
use postgate::post::{Timestamp, WebhookId};
use postgate::seal::SealKey;
use postgate::spool::{Attempt, Listed, Order, PostState, Query, Settlement, Spool};
use postgate::subscribers::{Gate, Subscribers};
use postgate::tenant::Tenant;
use ring::hmac;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use support::api::{Response, Scene};
use support::collector::{Answer, Arrival, Collector, Keep};
use support::load::Load;
use support::memory::MemorySpool;
use support::program::{CONFIG, Gateway, eventually};
use support::{DEADLINE, within_deadline};
use tempfile::TempDir;
use tokio::sync::watch;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A verified webhook at this path of the receiver, with more settings.
fn webhook(scene: &Scene, path: &str, settings: Value) -> Value {
    let mut all = json!({ "url": format!("{}{path}", scene.origin()), "events": ["post.*"], "verify": "skip",
        "secret": SECRET });
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    let made = scene.post_to("/api/v1/webhooks", &all.to_string());
    assert_eq!(made.status, 201, "{made:?}");
    made.json()
}

fn of(webhook: &Value, more: &str) -> String {
    format!("/api/v1/webhooks/{}{more}", webhook["id"].as_str().unwrap())
}

fn patch(scene: &Scene, webhook: &Value, settings: &Value) -> Response {
    scene.ask("PATCH", &of(webhook, ""), Some(&settings.to_string()))
}

/// What came for a path, once so many requests have come for it.
fn come(receiver: &Collector, path: &str, count: usize) -> Vec<Arrival> {
    eventually(&format!("{count} requests for {path}"), DEADLINE, || {
        let arrivals: Vec<_> = at(receiver, path).into_iter().map(|(arrival, _)| arrival).collect();
        (arrivals.len() >= count).then_some(arrivals)
    })
}

fn at(receiver: &Collector, path: &str) -> Vec<(Arrival, Answer)> {
    receiver.arrivals().into_iter().filter(|(arrival, _)| arrival.path == path).collect()
}

/// The events in a body of one event, an array of them, or one a line.
fn events(arrival: &Arrival) -> Vec<Value> {
    let text = std::str::from_utf8(&arrival.body).unwrap();
    match serde_json::from_str(text) {
        Ok(Value::Array(events)) => events,
        Ok(event) => vec![event],
        Err(_) => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
    }
}

/// Types with the posts that they are about, in the order of their coming.
fn told(arrivals: &[Arrival]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let pair = |event: Value| (text(&event["type"]), text(&event["data"]["postId"]));
    arrivals.iter().flat_map(events).map(pair).collect()
}

/// Whether the public package of Standard Webhooks takes a request for one that was signed
/// under this secret.
fn is_signed(arrival: &Arrival, secret: &str) -> bool {
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, arrival.headers[name].parse().unwrap());
    }
    standardwebhooks::Webhook::new(secret).unwrap().verify(&arrival.body, &headers).is_ok()
}

#[test]
fn events_reach_those_who_want_them_in_their_form_and_signed() {
    let scene = Scene::start("[[tenant]]\nname = \"other\"\n");
    let batch = json!({ "max_events": 3, "max_wait": "1h" });
    webhook(&scene, "/one", json!({ "headers": { "X-Own": "mine" } }));
    webhook(&scene, "/json", json!({ "format": "json", "batch": batch }));
    webhook(
        &scene,
        "/lines",
        json!({ "format": "ndjson", "batch": { "max_wait": "10ms" }, "events": ["*"] }),
    );
    webhook(
        &scene,
        "/failed",
        json!({ "events": ["post.failed"], "signature_header": "X-Mailtura-Signature" }),
    );
    webhook(&scene, "/bill", json!({ "filter": { "tag": "bill" } }));
    webhook(
        &scene,
        "/spark",
        json!({ "format": "sparkpost", "events": ["post.delivered"], "batch": { "max_events": 1 } }),
    );
    let unverified = json!({ "url": format!("{}/never", scene.origin()), "events": ["*"] });
    assert_eq!(scene.post_to("/api/v1/webhooks", &unverified.to_string()).status, 201);
    webhook(&scene, "/never", json!({ "enabled": false }));
    let other = format!(
        "POST /api/v1/webhooks HTTP/1.1\r\nHost: {}\r\nX-Tenant-ID: other\r\nContent-Type: application/json\r\n\
         Content-Length: {{}}\r\nConnection: close\r\n\r\n",
        scene.api
    );
    let body =
        json!({ "url": format!("{}/never", scene.origin()), "events": ["*"], "verify": "skip" }).to_string();
    assert_eq!(scene.raw(&(other.replace("{}", &body.len().to_string()) + &body)).status, 201);

    let good = scene.send("/in", "X-Postgate-Tag: bill\r\n");
    come(&scene.receiver, "/one", 2);
    let bad = scene.send("/gone/in", "");
    let one = come(&scene.receiver, "/one", 4);
    let pair = |name: &str, post: &str| (name.to_owned(), post.to_owned());
    let all = [
        pair("post.received", &good),
        pair("post.delivered", &good),
        pair("post.received", &bad),
        pair("post.failed", &bad),
    ];
    let sorted = |mut pairs: Vec<(String, String)>| {
        pairs.sort();
        pairs
    };
    assert_eq!(sorted(told(&one)), sorted(all.to_vec()));
    for arrival in &one {
        assert!(is_signed(arrival, SECRET), "{arrival:?}");
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let hex = HEXLOWER.encode(hmac::sign(&key, &arrival.body).as_ref());
        assert_eq!(arrival.headers["x-postgate-signature"], hex);
        assert_eq!(arrival.headers["x-own"], "mine");
        assert_eq!(arrival.headers["webhook-id"], arrival.id());
        assert!(!is_signed(arrival, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"));
    }
    let json = come(&scene.receiver, "/json", 1);
    assert_eq!((json.len(), told(&json[..1]).len()), (1, 3), "the fourth waits for others");
    let mut lines = BTreeSet::new();
    eventually("all lines", DEADLINE, || {
        lines.extend(told(&come(&scene.receiver, "/lines", 1)));
        (lines.len() == 4).then_some(())
    });
    let failed = come(&scene.receiver, "/failed", 1);
    assert_eq!(told(&failed), [pair("post.failed", &bad)]);
    assert!(failed[0].headers.contains_key("x-mailtura-signature"));
    assert_eq!(sorted(told(&come(&scene.receiver, "/bill", 2))), sorted(all[..2].to_vec()));
    let spark = come(&scene.receiver, "/spark", 1);
    assert_eq!(spark[0].headers["x-messagesystems-batch-id"], spark[0].headers["webhook-id"]);
    assert!(at(&scene.receiver, "/never").is_empty());
    assert_eq!((at(&scene.receiver, "/failed").len(), at(&scene.receiver, "/bill").len()), (1, 2));
    // Nobody is told of batches.
    let posts: BTreeSet<_> = lines.into_iter().map(|(_, post)| post).collect();
    assert_eq!(posts, BTreeSet::from([good, bad]));
}

#[test]
fn a_batch_is_the_same_on_every_attempt_and_its_webhook_fares_as_it_does() {
    let scene = Scene::start("");
    let status = Arc::new(AtomicU16::new(500));
    let answer = Arc::clone(&status);
    let receiver = Collector::start(move |_| Answer::Status(answer.load(Ordering::SeqCst)));
    let url = format!("http://{}/hook?token=canary", receiver.address);
    let made = webhook(&scene, "", json!({ "url": url, "format": "json", "batch": { "max_wait": "10ms" } }));
    let stands = |expected: &str| {
        eventually(&format!("a webhook to be {expected}"), DEADLINE, || {
            let shown = scene.get(&of(&made, "")).json();
            (shown["status"] == expected).then_some(shown)
        })
    };
    assert!(stands("active")["last_failure_at"].is_null());
    scene.post("/busy/in", "", "deferred");
    let first = come(&receiver, "/hook?token=canary", 1).remove(0);
    assert!(stands("failing")["last_failure_at"].is_string());
    // A webhook with a path that is a secret: nobody else is shown it.
    let posts = eventually("a batch that waits", DEADLINE, || {
        let posts = scene.get("/api/v1/posts?state=deferred").json().to_string();
        posts.contains("wh_").then_some(posts)
    });
    assert!(!posts.contains("canary"), "{posts}");
    status.store(204, Ordering::SeqCst);
    let origin = format!("http://{}", receiver.address).replace(':', "%3A").replace('/', "%2F");
    assert_eq!(scene.post_to(&format!("/api/v1/destinations/{origin}/flush"), "").status, 200);
    let id = first.headers["webhook-id"].clone();
    let again = eventually("the same batch", DEADLINE, || {
        let arrivals = receiver.arrivals().into_iter().map(|(arrival, _)| arrival);
        arrivals.filter(|arrival| arrival.headers["webhook-id"] == id).find(|arrival| arrival.attempt() == 2)
    });
    assert_eq!(again.body, first.body);
    assert!(is_signed(&again, SECRET));
    assert!(stands("active")["last_success_at"].is_string());
    // A secret that was replaced signs for a day more.
    let next = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    let rotated = scene.post_to(&of(&made, "/rotate-secret"), &json!({ "secret": next }).to_string());
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let known = receiver.count();
    scene.send("/in", "");
    let both = receiver.received(known + 1).remove(known);
    assert!(is_signed(&both, SECRET) && is_signed(&both, next));
    // Who says that it is gone is disabled.
    status.store(410, Ordering::SeqCst);
    scene.send("/in", "");
    assert_eq!(stands("disabled")["enabled"], false);
}

#[test]
fn who_is_disabled_or_deleted_gets_nothing_more() {
    let scene = Scene::start("");
    let status = Arc::new(AtomicU16::new(500));
    let answer = Arc::clone(&status);
    let receiver = Collector::start(move |_| Answer::Status(answer.load(Ordering::SeqCst)));
    let url = format!("http://{}/hook", receiver.address);
    let made = webhook(&scene, "", json!({ "url": url, "events": ["post.received"] }));
    let before = scene.send("/in", "");
    come(&receiver, "/hook", 1);
    assert_eq!(patch(&scene, &made, &json!({ "enabled": false })).status, 200);
    let batches = |state: &str| scene.get(&format!("/api/v1/posts?state={state}")).json()["posts"].clone();
    let stand = |state: &str| {
        eventually(&format!("a batch that is {state}"), DEADLINE, || {
            let listed = batches(state);
            (listed.as_array().unwrap().len() == 1).then_some(listed)
        })
    };
    stand("held");
    status.store(200, Ordering::SeqCst);
    scene.post("/busy/while-disabled", "", "deferred");
    assert_eq!(patch(&scene, &made, &json!({ "enabled": true })).status, 200);
    let after = scene.send("/in", "");
    let pair = |post: &str| ("post.received".to_owned(), post.to_owned());
    let taken = eventually("what was held, and what is new", DEADLINE, || {
        let taken = at(&receiver, "/hook").into_iter().filter(|(_, answer)| *answer == Answer::Status(200));
        let taken: BTreeSet<_> = told(&taken.map(|(it, _)| it).collect::<Vec<_>>()).into_iter().collect();
        (taken.len() >= 2).then_some(taken)
    });
    assert_eq!(taken, BTreeSet::from([pair(&before), pair(&after)]));
    status.store(500, Ordering::SeqCst);
    scene.send("/in", "");
    come(&receiver, "/hook", 4);
    eventually("a batch that waits", DEADLINE, || {
        batches("deferred").to_string().contains("wh_").then_some(())
    });
    assert_eq!(scene.ask("DELETE", &of(&made, ""), None).status, 204);
    let failed = stand("failed");
    assert!(failed.to_string().contains("the webhook was deleted"), "{failed}");
    assert_eq!(at(&receiver, "/hook").len(), 4);
}

#[test]
fn every_event_reaches_its_webhooks_when_it_is_killed_again_and_again() {
    let directory = TempDir::new().unwrap();
    let keep = |keep| {
        Collector::on(TcpListener::bind("127.0.0.1:0").unwrap(), keep, |arrival: &Arrival| {
            match (arrival.checksum as usize + arrival.attempt() as usize) % 7 {
                0 => Answer::Status(503),
                _ => Answer::Status(200),
            }
        })
    };
    let (receiver, hooks) = (keep(Keep::ChecksumsOnly), keep(Keep::Everything));
    let mut config = CONFIG.replace("address = \"off\"", "address = \"127.0.0.1:0\"");
    for (path, more) in [
        ("/a", "format = \"json\"\nbatch = { max_events = 20, max_wait = \"50ms\" }"),
        ("/b", "format = \"ndjson\"\nbatch = { max_events = 7, max_wait = \"20ms\" }"),
        ("/c", "events = [\"post.delivered\"]"),
    ] {
        let wants = if more.contains("events = [") { "" } else { "events = [\"post.*\"]\n" };
        let url = format!("http://{}{path}", hooks.address);
        config += &format!("\n[[webhook]]\nurl = \"{url}\"\n{wants}{more}\n");
    }
    let load = Load::begin(4, receiver.address);
    let mut dice = fastrand::Rng::with_seed(7);
    for _ in 0..6 {
        let mut gateway = Gateway::start(directory.path(), &config);
        load.turn_to(gateway.smtp);
        let enough = load.accepted() + dice.usize(20..80);
        eventually("mail to be accepted", DEADLINE, || (load.accepted() >= enough).then_some(()));
        assert_eq!(gateway.end("-KILL"), -1);
        receiver.is_alone();
        hooks.is_alone();
    }
    let sent = load.end();
    let _gateway = Gateway::start(directory.path(), &config);
    let accepted: BTreeSet<_> =
        sent.iter().filter(|it| it.reply.is_accepted()).flat_map(|it| it.paths.clone()).collect();
    let delivered = || -> BTreeMap<String, String> {
        let arrivals = receiver.arrivals();
        let taken = arrivals
            .iter()
            .filter(|(it, answer)| *answer == Answer::Status(200) && accepted.contains(&it.path));
        taken.map(|(arrival, _)| (arrival.path.clone(), arrival.id().to_owned())).collect()
    };
    eventually("all that was accepted", 2 * DEADLINE, || (delivered().len() == accepted.len()).then_some(()));
    let ids: BTreeSet<_> = delivered().into_values().collect();
    assert!(ids.len() > 100, "{}", ids.len());
    for (path, names) in [
        ("/a", &["post.received", "post.delivered"][..]),
        ("/b", &["post.received", "post.delivered"]),
        ("/c", &["post.delivered"]),
    ] {
        let taken = || -> Vec<Arrival> {
            let all = at(&hooks, path).into_iter();
            all.filter(|(_, answer)| *answer == Answer::Status(200)).map(|(arrival, _)| arrival).collect()
        };
        let missing = || -> BTreeSet<(String, String)> {
            let told: BTreeSet<_> = told(&taken()).into_iter().collect();
            let pairs = names.iter().flat_map(|name| ids.iter().map(|id| ((*name).to_owned(), id.clone())));
            pairs.filter(|pair| !told.contains(pair)).collect()
        };
        let all = support::program::within(2 * DEADLINE, || missing().is_empty().then_some(()));
        assert!(all.is_some(), "{path} misses {:?}", missing());
        // No event is in two batches.
        let mut batches: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (arrival, _) in at(&hooks, path) {
            for event in events(&arrival) {
                let id = event["id"].as_str().unwrap().to_owned();
                batches.entry(id).or_default().insert(arrival.headers["webhook-id"].clone());
            }
        }
        let twice: Vec<_> = batches.iter().filter(|(_, batches)| batches.len() > 1).collect();
        assert!(twice.is_empty(), "{path}: {twice:?}");
    }
}

/// A fan-out over a spool in memory, and what it works with.
struct House {
    directory: TempDir,
    spool: Arc<MemorySpool>,
    journal: Journal,
    shelf: Arc<Shelf>,
    subscribers: Subscribers,
    fanout: Fanout,
    stop: watch::Sender<bool>,
    told: u64,
}

impl House {
    async fn open() -> House {
        House::over(MemorySpool::new(), |_| ()).await
    }

    /// With what an earlier process left, and a journal that is set up so.
    async fn over(spool: Arc<MemorySpool>, set: impl FnOnce(&mut journal::Options)) -> House {
        let directory = TempDir::new().unwrap();
        let mut options = journal::Options::at(directory.path().join("journal"));
        set(&mut options);
        let journal = Journal::open(options).unwrap();
        let subscribers = Subscribers::default();
        let shared = Arc::clone(&spool) as Arc<dyn Spool>;
        let told = (subscribers.clone(), Wanted::default());
        let shelf = Arc::new(Shelf::new(
            Arc::clone(&shared),
            Some(Arc::new(SealKey::new(&[7; 32]))),
            told,
            journal.clone(),
        ));
        shelf.recall().await.unwrap();
        let (fanout, requests) = Fanout::new();
        let options = engine::Options {
            shelf: Arc::clone(&shelf),
            journal: journal.clone(),
            spool: Spooled(shared),
            ids: Arc::default(),
            subscribers: subscribers.clone(),
            hostname: "gateway.example".to_owned(),
            retain_held: Duration::from_secs(3600),
        };
        engine::prepare(&options).await;
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(engine::run(options, requests, stopped));
        House { directory, spool, journal, shelf, subscribers, fanout, stop, told: 0 }
    }

    /// With a journal of so many octets, which is looked after.
    async fn within(room: u64) -> House {
        let house = House::over(MemorySpool::new(), |it| (it.segment, it.max_octets) = (4096, room)).await;
        let next = |_| std::future::pending::<Result<(Mark, Vec<Event>), String>>();
        tokio::spawn(house.journal.clone().carry(next, house.stop.subscribe()));
        house
    }

    /// A webhook for which few batches are a pile.
    async fn add_slow(&self, events: &str) -> WebhookId {
        let few = json!({ "max_events": 2, "max_bytes": "8MiB", "max_wait": "1ms" });
        self.add(1, json!({ "events": [events], "format": "json", "batch": few })).await
    }

    /// So many seconds pass, with eleven events in each.
    async fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.happen(10).await;
            self.happen_as("order.rare", 1).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// How many events a webhook has in its batches.
    async fn count(&self, id: &WebhookId) -> u64 {
        let posts = self.posts(id, None).await;
        posts.iter().map(|it| u64::from(it.post.batch.unwrap().events)).sum()
    }

    async fn add(&self, number: u32, settings: Value) -> WebhookId {
        let mut all = json!({ "url": format!("https://r.example/{number}"), "events": ["*"] });
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        let settings: Settings = serde_json::from_value(all).unwrap();
        let id = format!("wh_{number:026}");
        let made = Webhook::new((id.clone(), Tenant::default()), clock::wall(), settings, "t".to_owned());
        let verified = Some((clock::wall(), "skip".to_owned()));
        self.shelf.add(Webhook { verified, ..made }).await.unwrap();
        WebhookId::new(&id)
    }

    /// Something about a webhook becomes so.
    async fn change(&self, id: &WebhookId, change: impl Fn(&mut Webhook)) {
        let change = |webhook: &mut Webhook| -> Result<(), ShelfError> {
            change(webhook);
            Ok(())
        };
        self.shelf.change((id.as_str(), None), None, change).await.unwrap();
    }

    /// The engine has taken in what changed before.
    async fn has_followed(&self) {
        let none = (Position(1), Position(1));
        let within = Within {
            since: clock::wall(),
            until: clock::wall(),
            events: Vec::new(),
            filter: Filter::default(),
        };
        for _ in 0..2 {
            let _ = self.fanout.replay(WebhookId::new("wh_x"), within.clone(), none).await;
        }
    }

    /// The next events that are published behind a mark, so many or a few more.
    async fn published(&self, mark: &mut Mark, count: usize) -> Vec<Event> {
        let mut all = Vec::new();
        while all.len() < count {
            let next = self.spool.events(*mark);
            let (behind, events) = within_deadline("events of webhooks", next).await.unwrap();
            *mark = behind;
            all.extend(events);
        }
        all
    }

    /// The names of the first ones.
    async fn turns(&self, count: usize) -> Vec<String> {
        let events = self.published(&mut Mark::default(), count).await;
        events.iter().map(|event| event.name.as_str().to_owned()).collect()
    }

    /// So many events happen.
    async fn happen(&mut self, count: u64) {
        self.happen_as("order.paid", count).await;
    }

    async fn happen_as(&mut self, name: &str, count: u64) {
        let event = |number: u64| Event {
            id: EventId::new(clock::wall(), number.into()),
            name: name.parse().unwrap(),
            at: clock::wall(),
            tenant: Tenant::default(),
            data: Bytes::from(format!("{{\"order\":{number}}}")),
        };
        let events = (self.told..self.told + count).map(event).collect();
        self.told += count;
        self.journal.append(Mark { log: 1, place: (0, self.told) }, events).await.unwrap();
    }

    async fn posts(&self, id: &WebhookId, state: Option<PostState>) -> Vec<Listed> {
        let which = Query { webhook: Some(id.clone()), state, ..Query::default() };
        self.spool.page(which, None, 10_000).await.unwrap()
    }

    /// Waits until a webhook has so many batches in a state; the numbers of their events.
    async fn batches(&self, id: &WebhookId, state: PostState, count: usize) -> Vec<u32> {
        within_deadline(&format!("{count} batches that are {state:?}"), async {
            loop {
                let posts = self.posts(id, Some(state)).await;
                if posts.len() == count {
                    return posts.iter().rev().map(|listed| listed.post.batch.unwrap().events).collect();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_took_nothing_for_days_is_disabled_and_loses_nothing() {
    let mut house = House::open().await;
    let quick = json!({ "format": "json", "batch": { "max_wait": "1ms" } });
    let (dead, other) = (house.add(1, quick.clone()).await, house.add(2, quick).await);
    house.happen(3).await;
    assert_eq!(house.batches(&dead, PostState::Queued, 1).await, [3]);
    let day = |days: u64| Timestamp(clock::wall().0 - 6 * 86_400_000 + days * 86_400_000);
    house.subscribers.note(&dead, |fare| fare.refused(day(0)));
    // The clock alone disables nobody.
    house.subscribers.note(&dead, |fare| fare.refused(day(6)));
    house.subscribers.note(&other, |fare| fare.is_gone = true);
    house.batches(&other, PostState::Held, 1).await;
    assert_eq!(house.batches(&dead, PostState::Queued, 1).await, [3]);
    house.change(&other, |webhook| webhook.settings.enabled = true).await;
    house.subscribers.note(&dead, |fare| {
        for _ in 0..5 {
            fare.passed(Duration::from_hours(24));
            fare.refused(clock::wall());
        }
    });
    assert_eq!(house.batches(&dead, PostState::Held, 1).await, [3]);
    let placed = house.shelf.one(dead.as_str(), None).await.unwrap();
    let shown = &placed.webhook;
    assert_eq!((shown.status(), shown.settings.enabled), (Status::Disabled, false));
    let mut told = house.turns(3).await;
    assert_eq!(told[0], "webhook.disabled");
    // Of two webhooks: who tells of one does not wait for the other.
    told.sort_unstable();
    assert_eq!(told, ["webhook.disabled", "webhook.disabled", "webhook.enabled"]);
    // What was told changed nothing that its owner has seen.
    assert_eq!(house.shelf.one(dead.as_str(), None).await.unwrap().version, placed.version);
    house.batches(&other, PostState::Queued, 1).await;
    // What happens now is held in the journal, and told to the others.
    house.happen(5).await;
    assert_eq!(house.batches(&other, PostState::Queued, 2).await, [3, 5]);
    assert_eq!(house.posts(&dead, None).await.len(), 1);
    let enable = |webhook: &mut Webhook| -> Result<(), ShelfError> {
        webhook.settings.enabled = true;
        Ok(())
    };
    house.shelf.change((dead.as_str(), None), None, enable).await.unwrap();
    assert_eq!(house.batches(&dead, PostState::Queued, 2).await, [3, 5]);
    // Together again.
    house.happen(2).await;
    assert_eq!(house.batches(&dead, PostState::Queued, 3).await, [3, 5, 2]);
    let at = |listed: &Listed| listed.post.id.message;
    let last = (house.posts(&dead, None).await.remove(0), house.posts(&other, None).await.remove(0));
    assert_eq!(at(&last.0), at(&last.1), "they share a batch");
    house.stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pile_of_batches_stops_its_webhook_alone_and_is_worked_off() {
    let mut house = House::open().await;
    let small = json!({ "format": "json", "batch": { "max_events": 1, "max_bytes": "8MiB" } });
    let slow =
        house.add(1, json!({ "format": "json", "batch": { "max_events": 2, "max_bytes": "8MiB" } })).await;
    let other = house.add(2, small).await;
    house.happen(40).await;
    // 64 MiB at most might wait for it; the other's bodies are one event each.
    house.batches(&other, PostState::Queued, 40).await;
    let waiting = house.posts(&slow, None).await.len();
    assert!(waiting <= 20, "{waiting}");
    house.happen(400).await;
    house.batches(&other, PostState::Queued, 440).await;
    let waiting = house.posts(&slow, None).await.len();
    assert!(waiting < 220, "{waiting} wait for who takes none");
    // It takes them at last.
    let lane = Arc::clone(&house.posts(&slow, None).await[0].post.destination);
    within_deadline("the rest", async {
        while house.posts(&slow, Some(PostState::Delivered)).await.len() < 220 {
            let claims = house.spool.claim(&lane, 1000).await.unwrap().claims;
            let taken = Settlement::Listed { last: Attempt::because("200") };
            let done = claims.into_iter().map(|claim| (claim, taken.clone())).collect();
            house.spool.settle(done, Vec::new()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let told: u32 = house.posts(&slow, None).await.iter().map(|it| it.post.batch.unwrap().events).sum();
    assert_eq!(told, 440, "each once");
    house.stop.send_replace(true);
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_holds_no_more_of_the_journal_than_it_has_room_for() {
    const ROOM: u64 = 120_000;
    const ROUNDS: u64 = 300;
    // What is wanted; why its webhook is closed, if it is; whether events of it are let go in
    // the end.
    for (wanted, closed, has_loss) in [
        ("order.rare", "", false),
        ("order.rare", "given up", false),
        ("*", "", true),
        ("*", "given up", true),
    ] {
        let mut house = House::within(ROOM).await;
        let slow = house.add_slow(wanted).await;
        let other = house.add(2, json!({ "events": ["order.rare"] })).await;
        house.has_followed().await;
        if !closed.is_empty() {
            house.shelf.give_up(slow.as_str(), clock::wall(), closed).await.unwrap();
        }
        house.pass(ROUNDS).await;
        tokio::time::sleep(Duration::from_secs(130)).await;
        let case = format!("{wanted} {closed}");
        assert_eq!(house.count(&other).await, ROUNDS, "{case}: others are told of all");
        let files = std::fs::read_dir(house.directory.path().join("journal")).unwrap();
        let octets: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(octets <= ROOM, "{case}: {octets}");
        let lost = house.subscribers.fare(&slow).lost;
        assert_eq!(lost > 0, has_loss, "{case}: {lost}");
        // What is still in the journal is told when there is less of it.
        let waits = house.journal.last().0 - house.journal.haste().0;
        let all = if wanted == "*" { ROUNDS * 11 } else { ROUNDS };
        let known = house.count(&slow).await + lost;
        assert!(known <= all && known + waits >= all, "{case}: {known} of {all}, {waits}");
        if !closed.is_empty() {
            let held = house.posts(&slow, Some(PostState::Held)).await;
            assert_eq!(held.len(), house.posts(&slow, None).await.len(), "{case}");
        }
        if has_loss {
            let (mut mark, mut told) = (Mark::default(), 0);
            while told < lost {
                for event in house.published(&mut mark, 1).await {
                    let data: Value = serde_json::from_slice(&event.data).unwrap();
                    assert_eq!(data["webhookId"], slow.as_str());
                    if event.name.as_str() == "webhook.overrun" {
                        told += data["events"].as_u64().unwrap();
                        assert_eq!(data["total"], told, "{case}");
                    }
                }
            }
            assert_eq!(told, lost, "{case}");
        }
        house.stop.send_replace(true);
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_was_owed_before_it_was_disabled_waits_as_batches_and_nothing_else_does() {
    let mut house = House::within(120_000).await;
    let slow = house.add_slow("order.rare").await;
    house.pass(40).await;
    assert!(house.count(&slow).await < 40, "the rest is in the journal");
    house.change(&slow, |webhook| webhook.settings.enabled = false).await;
    house.pass(260).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(house.count(&slow).await, 40);
    let held = house.posts(&slow, Some(PostState::Held)).await;
    assert_eq!(held.len(), house.posts(&slow, None).await.len());
    house.change(&slow, |webhook| webhook.settings.enabled = true).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let which = Query { webhook: Some(slow.clone()), ..Query::default() };
    house.spool.order(which, Order::Delete).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    house.pass(3).await;
    assert_eq!((house.count(&slow).await, house.subscribers.fare(&slow).lost), (3, 0));
    house.stop.send_replace(true);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_ends_when_its_time_has_passed_and_not_by_the_clock_of_the_machine() {
    let mut house = House::over(MemorySpool::new(), |it| (it.keep, it.segment) = (Duration::ZERO, 200)).await;
    let next = |_| std::future::pending::<Result<(Mark, Vec<Event>), String>>();
    tokio::spawn(house.journal.clone().carry(next, house.stop.subscribe()));
    let id = house.add(1, json!({})).await;
    house.has_followed().await;
    // By that clock it was long ago.
    house.shelf.give_up(id.as_str(), Timestamp(1), "for a test").await.unwrap();
    house.change(&id, |webhook| webhook.given_up.as_mut().unwrap().at = Timestamp(1)).await;
    house.has_followed().await;
    for _ in 0..20 {
        house.happen(1).await;
    }
    for (minutes, is_held) in [(50, true), (20, false)] {
        tokio::time::sleep(Duration::from_mins(minutes)).await;
        assert_eq!(house.journal.first() == Position(1), is_held, "{minutes}");
    }
    house.stop.send_replace(true);
}

#[tokio::test]
async fn a_turn_that_was_not_told_before_a_crash_is_told_after_it() {
    let house = House::open().await;
    let id = house.add(1, json!({})).await;
    house.add(2, json!({})).await;
    // Nobody is there to tell of it.
    house.stop.send_replace(true);
    within_deadline("the end", house.stop.closed()).await;
    house.change(&id, |webhook| webhook.settings.enabled = false).await;
    let version = house.shelf.one(id.as_str(), None).await.unwrap().version;
    let mut mark = Mark::default();
    for is_first in [true, false] {
        let next = House::over(Arc::clone(&house.spool), |_| ()).await;
        next.has_followed().await;
        if is_first {
            assert_eq!(next.published(&mut mark, 1).await[0].name.as_str(), "webhook.disabled");
        }
        let more = tokio::time::timeout(Duration::from_millis(20), next.spool.events(mark)).await;
        assert!(more.is_err(), "it is told once: {more:?}");
        assert_eq!(next.shelf.one(id.as_str(), None).await.unwrap().version, version);
        next.stop.send_replace(true);
        within_deadline("the end", next.stop.closed()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_again_of_a_time() {
    let mut house = House::open().await;
    let id = house.add(1, json!({ "format": "json", "batch": { "max_events": 4, "max_wait": "1ms" } })).await;
    let begun = clock::wall();
    house.happen(6).await;
    within_deadline("all", async {
        while house.posts(&id, None).await.iter().map(|it| it.post.batch.unwrap().events).sum::<u32>() < 6 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let before = house.posts(&id, None).await.len();
    let forever = clock::wall().after(Duration::from_secs(3600));
    let within = |events| Within { since: begun, until: forever, events, filter: Filter::default() };
    let all = (Position(1), Position(7));
    let told = house.fanout.replay(id.clone(), within(Vec::new()), all).await;
    assert_eq!(told, Ok(Replayed { events: 6, batches: 2 }));
    assert_eq!(house.posts(&id, None).await.len(), before + 2);
    let part = (Position(2), Position(5));
    let told = house.fanout.replay(id.clone(), within(Vec::new()), part).await;
    assert_eq!(told, Ok(Replayed { events: 3, batches: 1 }));
    let none = house.fanout.replay(id.clone(), within(vec!["post.*".parse().unwrap()]), all).await;
    assert_eq!(none, Ok(Replayed::default()));
    let unknown = house.fanout.replay(WebhookId::new("wh_x"), within(Vec::new()), all).await;
    assert_eq!(unknown, Err(NotReplayed::Inactive));
    // It goes on where it was.
    house.happen(1).await;
    house.batches(&id, PostState::Queued, before + 4).await;
    house.stop.send_replace(true);
}

#[tokio::test(start_paused = true)]
async fn what_a_replay_is_still_to_send_is_kept_and_it_ends_with_its_webhook() {
    const TIDIED: Duration = Duration::from_secs(90);
    let mut house = House::over(MemorySpool::new(), |it| (it.keep, it.segment) = (Duration::ZERO, 200)).await;
    let (spool, journal) = (Arc::clone(&house.spool) as Arc<dyn Spool>, house.journal.clone());
    let directory = house.directory.path().join("journal");
    let files = || std::fs::read_dir(&directory).unwrap().count();
    let (id, other) = (house.add(1, json!({})).await, house.add(2, json!({})).await);
    for _ in 0..20 {
        house.happen(1).await;
    }
    house.batches(&id, PostState::Queued, 20).await;
    let replays = Replays::new(Arc::clone(&spool), journal.clone());
    let begin = async |id: &WebhookId, dice| {
        let webhook = house.shelf.one(id.as_str(), None).await.unwrap().webhook;
        replays.begin(&webhook, Meant::default(), (clock::wall(), dice)).await.unwrap();
    };
    begin(&id, 1).await;
    let all = files();
    let next = |_| std::future::pending::<Result<(Mark, Vec<Event>), String>>();
    tokio::spawn(journal.clone().carry(next, house.stop.subscribe()));
    tokio::time::sleep(TIDIED).await;
    assert!(files() >= all, "nothing was sent yet");
    // Whoever deleted this one had no time for its replays.
    begin(&other, 2).await;
    house.shelf.remove((other.as_str(), None), None).await.unwrap();
    let told = (house.fanout.clone(), Arc::clone(&house.shelf));
    tokio::spawn(replay::run(replays.clone(), told, house.stop.subscribe()));
    house.batches(&id, PostState::Queued, 40).await;
    tokio::time::sleep(TIDIED).await;
    let found = replays.of(id.as_str()).await.unwrap();
    assert_eq!((found[0].state, found[0].sent), (State::Done, 20));
    assert_eq!(replays.of(other.as_str()).await.unwrap(), []);
    assert!(files() < all, "nobody needs them any more");
    house.stop.send_replace(true);
}

#[tokio::test]
async fn what_an_attempt_held_is_sent_however_soon_its_webhook_is_open_again() {
    let mut house = House::open().await;
    let quick = json!({ "format": "json", "batch": { "max_wait": "1ms" } });
    let id = house.add(1, quick).await;
    for is_late in [true, false] {
        house.happen(1).await;
        house.batches(&id, PostState::Queued, 1).await;
        let lane = Arc::clone(&house.posts(&id, Some(PostState::Queued)).await[0].post.destination);
        let claim = house.spool.claim(&lane, 1).await.unwrap().claims.remove(0);
        let held = Settlement::Held { last: Attempt::because("closed") };
        let toggle = async |house: &House| {
            house.change(&id, |webhook| webhook.settings.enabled = false).await;
            house.change(&id, |webhook| webhook.settings.enabled = true).await;
        };
        toggle(&house).await;
        if is_late {
            // It saw it closed, and ends after it was opened.
            within_deadline("what failed to be sent again", house.spool.ordered(1)).await;
        }
        house.spool.settle(vec![(claim, held)], Vec::new()).await.unwrap();
        house.batches(&id, PostState::Deferred, 1).await;
        let claim = house.spool.claim(&lane, 1).await.unwrap().claims.remove(0);
        let taken = Settlement::Listed { last: Attempt::because("200") };
        house.spool.settle(vec![(claim, taken)], Vec::new()).await.unwrap();
    }
    house.stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_was_owed_before_it_was_closed_is_told_when_it_is_open() {
    let mut house = House::open().await;
    let quick = json!({ "format": "json", "batch": { "max_wait": "1ms" } });
    let id = house.add(1, quick).await;
    house.happen(3).await;
    house.batches(&id, PostState::Queued, 1).await;
    // It is given up, and then its URL is changed.
    house.shelf.give_up(id.as_str(), clock::wall(), "for a test").await.unwrap();
    assert_eq!(house.turns(1).await, ["webhook.disabled"]);
    house.happen(5).await;
    house
        .change(&id, |webhook| {
            webhook.settings.enabled = true;
            webhook.settings.url = "https://elsewhere.example/".to_owned();
            webhook.verified = None;
        })
        .await;
    house.has_followed().await;
    house.happen(7).await;
    house.change(&id, |webhook| webhook.verified = Some((clock::wall(), "skip".to_owned()))).await;
    house.has_followed().await;
    house.happen(2).await;
    let events = async || -> Vec<u32> {
        let posts = house.posts(&id, Some(PostState::Queued)).await;
        posts.iter().rev().map(|listed| listed.post.batch.unwrap().events).collect()
    };
    within_deadline("the rest", async {
        while events().await.iter().sum::<u32>() < 3 + 5 + 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(events().await.iter().sum::<u32>(), 10, "none of those between");
    house.stop.send_replace(true);
}

#[tokio::test]
async fn a_position_behind_the_end_of_the_journal_mutes_nobody() {
    let spool = MemorySpool::new();
    let id = format!("wh_{:026}", 1);
    let note = json!({ "at": clock::wall(), "webhooks": { &id: { "reached": 1000 } } }).to_string();
    spool.set_note("fanout", Some(Bytes::from(note)), None).await.unwrap();
    let mut house = House::over(spool, |_| ()).await;
    let id = house.add(1, json!({ "format": "json", "batch": { "max_wait": "1ms" } })).await;
    house.has_followed().await;
    house.happen(2).await;
    assert_eq!(house.batches(&id, PostState::Queued, 1).await, [2]);
    house.stop.send_replace(true);
}

#[tokio::test]
async fn a_webhook_that_cannot_be_opened_is_closed_and_not_gone() {
    let house = House::open().await;
    let id = house.add(1, json!({})).await;
    for (key, gate) in [(7, Gate::Open), (8, Gate::Closed)] {
        let (subscribers, wanted) = (Subscribers::default(), Wanted::default());
        let shared = Arc::clone(&house.spool) as Arc<dyn Spool>;
        let told = (subscribers.clone(), wanted.clone());
        let shelf = Shelf::new(shared, Some(Arc::new(SealKey::new(&[key; 32]))), told, house.journal.clone());
        shelf.recall().await.unwrap();
        assert_eq!(subscribers.find(&id).map(|subscriber| subscriber.gate), Some(gate));
        assert!(wanted.is_wanted(), "what happens now is owed to it");
    }
    house.stop.send_replace(true);
}

#[tokio::test]
async fn a_webhook_of_another_configuration_is_owed_what_happens_from_then_on() {
    let mut house = House::open().await;
    house.happen(4).await;
    let settings = json!({ "url": "https://r.example/", "events": ["*"] });
    let settings = |enabled| Settings { enabled, ..serde_json::from_value(settings.clone()).unwrap() };
    let fixed = |enabled| {
        let made = ("wh_fixed".to_owned(), Tenant::default());
        let made = Webhook::new(made, Timestamp::default(), settings(enabled), String::new());
        Webhook { verified: Some((Timestamp::default(), "configuration".to_owned())), ..made }
    };
    // Enabled or not, after so many events; then from where it is owed what happens.
    for (enabled, events, began) in
        [(false, 0, None), (true, 1, Some(5)), (true, 1, Some(5)), (false, 1, Some(5)), (true, 1, Some(8))]
    {
        house.happen(events).await;
        house.shelf.fix(vec![fixed(enabled)]);
        let placed = house.shelf.in_force().remove(0);
        let last = house.journal.last();
        assert_eq!(placed.webhook.began, began.map(Position), "{enabled} at {last}");
    }
    house.stop.send_replace(true);
}

#[test]
fn what_a_receiver_that_was_gone_refused_is_sent_when_it_is_enabled_again() {
    let scene = Scene::start("");
    let status = Arc::new(AtomicU16::new(410));
    let answer = Arc::clone(&status);
    let receiver = Collector::start(move |_| Answer::Status(answer.load(Ordering::SeqCst)));
    let url = format!("http://{}/hook", receiver.address);
    let made = webhook(&scene, "", json!({ "url": url, "events": ["post.received"] }));
    scene.send("/in", "");
    let first = come(&receiver, "/hook", 1).remove(0);
    eventually("a webhook that is disabled", DEADLINE, || {
        (scene.get(&of(&made, "")).json()["status"] == "disabled").then_some(())
    });
    status.store(200, Ordering::SeqCst);
    assert_eq!(patch(&scene, &made, &json!({ "enabled": true })).status, 200);
    assert_eq!(come(&receiver, "/hook", 2)[1].body, first.body);
}
