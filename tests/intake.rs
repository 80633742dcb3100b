//! The door between SMTP and the spool, against a spool that never answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use bytes::Bytes;
use postgate::clock::Ids;
use postgate::compose::{self, Route};
use postgate::envelope::{Client, Envelope, Recipient, Target};
use postgate::event::{Event, Mark};
use postgate::intake::{Intake, Options, Turns};
use postgate::post::{Admission, Destination, MessageId, PostId};
use postgate::spool::{
    Attempt, Census, Claim, Claimed, Committed, Content, Counts, Doorbell, Earlier, Health, Later, Noted,
    Order, Page, Query, Settlement, Spool,
};
use postgate::tenant::Tenant;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicUsize};
use std::time::Duration;
use tokio::sync::watch;

/// Counts the commits that wait for its answer.
#[derive(Default)]
struct Stuck(AtomicUsize);

impl Spool for Stuck {
    fn commit(&self, _: Admission) -> Later<'_, Committed> {
        self.0.fetch_add(1, atomic::Ordering::Relaxed);
        Box::pin(pending())
    }

    fn earlier<'a>(&'a self, _: &'a Tenant, _: &'a str) -> Later<'a, Option<Earlier>> {
        Box::pin(pending())
    }

    fn lanes(&self) -> Later<'_, Vec<(Arc<Destination>, Duration)>> {
        Box::pin(pending())
    }

    fn claim<'a>(&'a self, _: &'a Arc<Destination>, _: usize) -> Later<'a, Claimed> {
        Box::pin(pending())
    }

    fn claim_expired<'a>(&'a self, _: &'a Arc<Destination>, _: Duration, _: usize) -> Later<'a, Claimed> {
        Box::pin(pending())
    }

    fn body<'a>(&'a self, _: &'a Claim) -> Later<'a, Bytes> {
        Box::pin(pending())
    }

    fn settle(&self, _: Vec<(Claim, Settlement)>, _: Vec<Event>) -> Later<'_, ()> {
        Box::pin(pending())
    }

    fn publish(&self, _: Vec<Event>) -> Later<'_, ()> {
        Box::pin(pending())
    }

    fn events(&self, _: Mark) -> Later<'_, (Mark, Vec<Event>)> {
        Box::pin(pending())
    }

    fn order(&self, _: Query, _: Order) -> Later<'_, u64> {
        Box::pin(pending())
    }

    fn search(&self, _: Query, _: Option<PostId>, _: usize) -> Later<'_, Page> {
        Box::pin(pending())
    }

    fn census(&self, _: Query) -> Later<'_, Census> {
        Box::pin(pending())
    }

    fn attempts(&self, _: PostId) -> Later<'_, Vec<Attempt>> {
        Box::pin(pending())
    }

    fn content(&self, _: PostId) -> Later<'_, Content> {
        Box::pin(pending())
    }

    fn counts(&self) -> Later<'_, Vec<(Arc<Destination>, Counts)>> {
        Box::pin(pending())
    }

    fn note<'a>(&'a self, _: &'a str) -> Later<'a, Option<Noted>> {
        Box::pin(pending())
    }

    fn notes<'a>(&'a self, _: &'a str) -> Later<'a, Vec<(String, Noted)>> {
        Box::pin(pending())
    }

    fn set_note<'a>(&'a self, _: &'a str, _: Option<Bytes>, _: Option<u64>) -> Later<'a, u64> {
        Box::pin(pending())
    }

    fn doorbell(&self) -> Arc<Doorbell> {
        Arc::default()
    }

    fn health(&self) -> watch::Receiver<Health> {
        watch::Sender::new(Health::Open).subscribe()
    }
}

fn route() -> Route {
    Route::new("*@h.example".parse().unwrap(), "https://shop.example/in".parse().unwrap())
}

fn envelope(recipients: usize) -> Envelope {
    let client = Client {
        address: None,
        helo: String::new(),
        tls: None,
        login: None,
        tenant: Tenant::default(),
        session: "S0001".to_owned(),
    };
    let target = Target::Route { route: "*@h.example".to_owned(), detail: None };
    let recipient = |number| Recipient::new(format!("{number}@h.example"), target.clone());
    Envelope::new(client, "", (0..recipients).map(recipient).collect())
}

/// Few large messages are composed at a time, or they would take many times the
/// memory that the budget for mail data allows; many recipients make one large.
#[tokio::test]
async fn large_messages_take_turns_and_small_ones_pass_them() {
    let spool = Arc::new(Stuck::default());
    let compose = Arc::new(compose::Options { routes: vec![route()], ..compose::Options::default() });
    let ids = Arc::new(Ids::above(MessageId(0)));
    // Room for one that is composed (four times its size) beside one that waits
    // for the spool (its text stands in the document twice).
    let options = Options { turns: Turns::of(1_600_000), ..Options::default() };
    let shared: Arc<dyn Spool> = Arc::clone(&spool) as Arc<dyn Spool>;
    let door = Arc::new(Intake::new(options, compose, shared, ids));
    let admit = |octets: usize, recipients| {
        let (door, data) = (Arc::clone(&door), Bytes::from(vec![b'x'; octets]));
        tokio::spawn(async move { door.admit(envelope(recipients), data.into()).await })
    };
    let reached = |count, within| {
        let spool = Arc::clone(&spool);
        let reached = async move {
            while spool.0.load(atomic::Ordering::Relaxed) < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(within, reached)
    };
    let (soon, long) = (Duration::from_secs(10), Duration::from_millis(500));
    let first = admit(200 * 1024, 1);
    let _others: Vec<_> =
        [(200, 1), (200, 1), (2, 100)].map(|(kib, recipients)| admit(kib * 1024, recipients)).into();
    reached(2, soon).await.unwrap();
    let _small = admit(10, 1);
    reached(3, soon).await.unwrap();
    assert!(reached(4, long).await.is_err(), "a third large message did not wait");
    // A client that gives up makes room for the next.
    first.abort();
    reached(4, soon).await.unwrap();
}
