//! The rules of steering, for every backend: orders, looks, notes, lines.

use super::*;
use postgate::post::PostId;
use postgate::spool::{Counts, Glob, Listed, Order, PostState, Query};

const HOUR: Duration = Duration::from_secs(3600);

pub fn id(message: u64) -> PostId {
    PostId { message: MessageId(message), number: 0 }
}

/// A message of one post of a line.
pub fn keyed(message: u64, host: &str, key: &str) -> Admission {
    let mut admission = super::message(message, &[host], b"x");
    admission.posts[0].ordering_key = Some(key.to_owned());
    admission
}

pub fn one(message: u64) -> Query {
    Query { id: Some(id(message)), ..Query::default() }
}

pub fn failed(reason: &str) -> Settlement {
    Settlement::Failed { last: Attempt::because(reason) }
}

pub fn held(reason: &str) -> Settlement {
    Settlement::Held { last: Attempt::because(reason) }
}

pub fn reroute(host: &str) -> Order {
    Order::Reroute {
        destination: lane(host),
        trust: Trust::Wire,
        path: "/elsewhere?x=1".to_owned(),
        sealed: None,
    }
}

async fn look(spool: &dyn Spool, message: u64) -> Listed {
    let mut page = spool.page(one(message), None, 10).await.unwrap();
    assert_eq!(page.len(), 1, "{message} is not listed once");
    page.remove(0)
}

async fn counts(spool: &dyn Spool, host: &str) -> Counts {
    let counts = spool.counts().await.unwrap();
    let found = counts.into_iter().find(|(lane, _)| lane.host == host);
    let counts = found.map(|(_, counts)| counts).unwrap_or_default();
    assert_eq!(counts.oldest_at.is_some(), counts.waiting + counts.sending > 0, "{counts:?}");
    Counts { oldest_at: None, ..counts }
}

async fn claimed_ids(spool: &dyn Spool, host: &str) -> Vec<u64> {
    claim_all(spool, host).await.iter().map(|claim| claim.post.id.message.0).collect()
}

pub async fn a_held_post_waits_until_it_is_released_and_does_not_age(spool: &dyn Spool) {
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let claims = claim_all(spool, "a").await;
    let before = claims[0].ages_from;
    assert_eq!(before, Timestamp(1));
    settle_all(spool, claims, &held("451 later")).await;
    assert!(spool.lanes().await.unwrap().is_empty());
    assert!(spool.claim(&lane("a"), 9).await.unwrap().next.is_none());
    let listed = look(spool, 1).await;
    assert_eq!((listed.state, listed.ended), (PostState::Held, 1));
    assert!(listed.due_at > postgate::clock::wall().after(29 * 24 * HOUR), "{listed:?}");
    assert_eq!(counts(spool, "a").await, Counts { held: 1, ..Counts::default() });
    tokio::time::sleep(Duration::from_millis(20)).await;
    for (order, meant) in [(Order::Hold, 0), (Order::Release, 1), (Order::Release, 0)] {
        assert_eq!(spool.order(Query::default(), order).await, Ok(meant));
    }
    let claims = claim_all(spool, "a").await;
    assert_eq!((claims[0].attempt, claims[0].ended), (2, 1));
    assert!(claims[0].ages_from > before, "it aged while it was held");
}

pub async fn what_was_never_tried_comes_back_as_it_was(spool: &dyn Spool) {
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let mut attempts = Vec::new();
    for _ in 0..3 {
        let claims = claim_all(spool, "a").await;
        attempts.push(claims[0].attempt);
        assert_eq!(claims[0].ended, 0);
        settle_all(spool, claims, &Settlement::Back).await;
    }
    assert_eq!(attempts, [1, 1, 1]);
    assert_eq!(look(spool, 1).await.state, PostState::Queued);
    assert_eq!(spool.attempts(id(1)).await, Ok(Vec::new()));
}

pub async fn those_whose_time_is_over_are_found_however_many_wait(spool: &dyn Spool) {
    let now = postgate::clock::wall();
    let past = |age: Duration| Timestamp(now.0 - age.as_millis() as u64);
    for (id, accepted_at, expires_at) in [
        (1, past(9 * HOUR), None),
        (2, now, None),
        (3, now, Some(past(HOUR))),
        (4, past(HOUR), Some(now.after(HOUR))),
        (5, past(9 * HOUR), Some(past(HOUR))),
        (6, past(9 * HOUR), None),
        (7, past(9 * HOUR), None),
        (8, now, Some(past(HOUR))),
    ] {
        let mut admission = message(id, &["a"], b"x");
        let post = &mut admission.posts[0];
        (post.accepted_at, post.expires_at) = (accepted_at, expires_at);
        post.ordering_key = matches!(id, 2 | 8).then(|| "behind another one".to_owned());
        spool.commit(admission).await.unwrap();
    }
    // One has been tried, one begins anew, and one has gone elsewhere.
    let claims = spool.claim(&lane("a"), 99).await.unwrap().claims;
    for claim in claims {
        let settlement = match claim.post.id.message.0 {
            6 => again(HOUR),
            5 => failed("404"),
            _ => Settlement::Back,
        };
        settle_all(spool, vec![claim], &settlement).await;
    }
    assert_eq!(spool.order(one(5), Order::Retry).await, Ok(1));
    let to = lane("b");
    assert_eq!(
        spool
            .order(
                one(7),
                Order::Reroute { destination: to, trust: Trust::Wire, path: "/".to_owned(), sealed: None }
            )
            .await,
        Ok(1)
    );
    let mut found = Vec::new();
    loop {
        let claimed = spool.claim_expired(&lane("a"), 8 * HOUR, 2).await.unwrap();
        let Some(claim) = claimed.claims.first() else { break };
        assert!(claimed.next.is_some() && claimed.claims.len() <= 2);
        assert_eq!(claim.attempt, claim.ended + 1);
        found.extend(claimed.claims.iter().map(|claim| claim.post.id.message.0));
        settle_all(spool, claimed.claims, &failed("expired")).await;
    }
    found.sort_unstable();
    assert_eq!(found, [1, 3, 6]);
    assert_eq!(spool.claim_expired(&lane("b"), 8 * HOUR, 9).await.unwrap().claims.len(), 1);
    assert!(spool.claim_expired(&lane("c"), Duration::ZERO, 9).await.unwrap().claims.is_empty());
    assert!(spool.claim_expired(&lane("a"), Duration::MAX, 9).await.unwrap().claims.is_empty());
    assert_eq!(claim_all(spool, "a").await.len(), 3, "the others are still there");
}

pub async fn every_attempt_can_be_read_back(spool: &dyn Spool) {
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    assert_eq!(spool.attempts(id(2)).await, Err(SpoolError::Unknown));
    let attempt = |number: u32| Attempt {
        number,
        started_at: Timestamp(u64::from(number)),
        duration: Duration::from_millis(7),
        status: Some(503),
        reason: format!("reason {number}"),
        excerpt: format!("excerpt {number}"),
    };
    for number in 1..=3 {
        let claims = claim_all(spool, "a").await;
        let last = Attempt { number: 99, ..attempt(number) };
        settle_all(spool, claims, &Settlement::Again { after: Duration::ZERO, last }).await;
    }
    let claims = claim_all(spool, "a").await;
    settle_all(spool, claims, &Settlement::Failed { last: attempt(4) }).await;
    assert_eq!(spool.attempts(id(1)).await.unwrap(), (1..=4).map(attempt).collect::<Vec<_>>());
    assert_eq!(look(spool, 1).await.last, Some(attempt(4)));
    // A dead letter that begins anew keeps them.
    assert_eq!(spool.order(one(1), Order::Retry).await, Ok(1));
    assert_eq!(spool.attempts(id(1)).await.unwrap().len(), 4);
    let claims = claim_all(spool, "a").await;
    assert_eq!((claims[0].attempt, claims[0].ended), (5, 0));
    settle_all(spool, claims, &Settlement::Delivered).await;
    assert_eq!(spool.attempts(id(1)).await, Err(SpoolError::Unknown));
}

pub async fn orders_mean_those_in_the_right_state(spool: &dyn Spool) {
    for id in 1..=5 {
        spool.commit(message(id, &["a"], b"x")).await.unwrap();
    }
    let mut claims = claim_all(spool, "a").await;
    claims.sort_by_key(|claim| claim.post.id);
    let settlements = [again(HOUR), held("451"), failed("404"), again(Duration::ZERO)];
    for (claim, settlement) in claims.into_iter().zip(settlements) {
        settle_all(spool, vec![claim], &settlement).await;
    }
    // 1 is deferred, 2 held, 3 dead, 4 due, 5 in flight.
    let states = |spool| async move {
        let page: Vec<Listed> = Spool::page(spool, Query::default(), None, 9).await.unwrap();
        page.into_iter().rev().map(|listed| listed.state).collect::<Vec<_>>()
    };
    use PostState::{Deferred, Failed, Held, Sending};
    assert_eq!(states(spool).await, [Deferred, Held, Failed, Deferred, Sending]);
    assert_eq!(spool.order(Query { state: Some(Sending), ..Query::default() }, Order::Release).await, Ok(0));
    assert_eq!(spool.order(Query { state: Some(Deferred), ..Query::default() }, Order::Hold).await, Ok(2));
    assert_eq!(states(spool).await, [Held, Held, Failed, Held, Sending]);
    assert_eq!(spool.order(Query { state: Some(Held), ..Query::default() }, Order::Release).await, Ok(3));
    assert_eq!(states(spool).await, [Deferred, Deferred, Failed, Deferred, Sending]);
    assert_eq!(spool.order(Query::default(), Order::Retry).await, Ok(5));
    assert_eq!(claimed_ids(spool, "a").await.into_iter().collect::<BTreeSet<_>>(), (1..=4).collect());
    assert_eq!(spool.order(Query { state: Some(Sending), ..Query::default() }, Order::Delete).await, Ok(5));
    assert_eq!(states(spool).await, []);
    assert_eq!(counts(spool, "a").await, Counts::default());
    assert_eq!(spool.order(Query::default(), Order::Delete).await, Ok(0));
}

pub async fn a_retried_post_is_due_at_once_and_rings(spool: &dyn Spool) {
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let claims = claim_all(spool, "a").await;
    settle_all(spool, claims, &again(HOUR)).await;
    let doorbell = spool.doorbell();
    tokio::time::timeout(DEADLINE, doorbell.wait()).await.unwrap();
    assert_eq!(spool.order(one(1), Order::Retry).await, Ok(1));
    let rung = tokio::time::timeout(DEADLINE, doorbell.wait()).await.unwrap();
    assert_eq!(rung, [(lane("a"), Duration::ZERO)]);
    assert_eq!(claim_all(spool, "a").await.len(), 1);
}

pub async fn a_dead_letter_begins_anew(spool: &dyn Spool) {
    for (id, expires_at) in [(1, 5_000), (2, u64::MAX)] {
        let mut admission = message(id, &["a"], b"x");
        admission.posts[0].expires_at = Some(Timestamp(expires_at));
        spool.commit(admission).await.unwrap();
    }
    let mut claims = claim_all(spool, "a").await;
    settle_all(spool, vec![claims[0].clone()], &again(Duration::ZERO)).await;
    let second = claims.remove(1);
    settle_all(spool, claim_all(spool, "a").await, &failed("expired")).await;
    settle_all(spool, vec![second], &failed("404")).await;
    // Two clocks that were started at different moments are not quite the same.
    let before = Timestamp(postgate::clock::wall().0 - 50);
    assert_eq!(spool.order(Query::default(), Order::Retry).await, Ok(2));
    let mut claims = claim_all(spool, "a").await;
    claims.sort_by_key(|claim| claim.post.id);
    assert_eq!((claims[0].attempt, claims[0].ended), (3, 0));
    assert_eq!((claims[0].post.expires_at, claims[1].post.expires_at), (None, Some(Timestamp(u64::MAX))));
    assert!(claims.iter().all(|claim| claim.ages_from >= before), "{claims:?}");
}

pub async fn an_order_waits_for_an_attempt_under_way(spool: &dyn Spool) {
    let rows = [
        (Order::Hold, again(Duration::ZERO), Some((PostState::Held, 1))),
        (Order::Hold, failed("404"), Some((PostState::Failed, 1))),
        (Order::Hold, Settlement::Back, Some((PostState::Held, 0))),
        (Order::Retry, again(HOUR), Some((PostState::Deferred, 1))),
        (Order::Retry, failed("404"), Some((PostState::Queued, 0))),
        (Order::Hold, Settlement::Delivered, None),
        (reroute("b"), Settlement::Delivered, None),
    ];
    for (number, (order, settlement, expected)) in (1..).zip(rows) {
        spool.commit(message(number, &["a"], b"x")).await.unwrap();
        let claims = claim_all(spool, "a").await;
        assert_eq!(spool.order(one(number), order.clone()).await, Ok(1), "{order:?}");
        assert_eq!(look(spool, number).await.state, PostState::Sending);
        assert!(claim_all(spool, "a").await.is_empty());
        assert_eq!(spool.body(&claims[0]).await.unwrap(), "x");
        settle_all(spool, claims, &settlement).await;
        let page = spool.page(one(number), None, 1).await.unwrap();
        let found = page.first().map(|listed| (listed.state, listed.ended));
        assert_eq!(found, expected, "{order:?}, then {settlement:?}");
        let is_due = matches!(expected, Some((PostState::Deferred | PostState::Queued, _)));
        assert_eq!(!claim_all(spool, "a").await.is_empty(), is_due, "{order:?}, then {settlement:?}");
        spool.order(Query::default(), Order::Delete).await.unwrap();
    }
}

pub async fn a_deleted_post_is_over_also_while_it_is_sent(spool: &dyn Spool) {
    spool.commit(message(1, &["a"], b"x")).await.unwrap();
    let claims = claim_all(spool, "a").await;
    assert_eq!(spool.order(one(1), Order::Delete).await, Ok(1));
    assert!(spool.lanes().await.unwrap().is_empty());
    settle_all(spool, claims.clone(), &again(Duration::ZERO)).await;
    settle_all(spool, claims, &Settlement::Delivered).await;
    assert!(claim_all(spool, "a").await.is_empty());
    assert_eq!(spool.page(Query::default(), None, 9).await, Ok(Vec::new()));
    assert_eq!(spool.content(id(1)).await, Err(SpoolError::Unknown));
}

pub async fn a_rerouted_post_goes_elsewhere(spool: &dyn Spool) {
    for id in 1..=4 {
        let mut admission = message(id, &["a"], b"x");
        admission.posts[0].trust = Trust::Operator;
        spool.commit(admission).await.unwrap();
    }
    let mut claims = claim_all(spool, "a").await;
    assert!(claims.iter().all(|claim| claim.post.trust == Trust::Operator));
    claims.sort_by_key(|claim| claim.post.id);
    let settlements = [again(HOUR), failed("404"), held("451")];
    let flying = claims.pop().unwrap();
    for (claim, settlement) in claims.into_iter().zip(settlements) {
        settle_all(spool, vec![claim], &settlement).await;
    }
    let query = Query { destination: Some("http://a".parse().unwrap()), ..Query::default() };
    assert_eq!(spool.order(query.clone(), reroute("b")).await, Ok(4));
    assert_eq!((counts(spool, "a").await.sending, counts(spool, "b").await.waiting), (1, 3));
    settle_all(spool, vec![flying], &failed("404")).await;
    assert!(claim_all(spool, "a").await.is_empty());
    assert_eq!(spool.order(query, reroute("c")).await, Ok(0));
    let mut claims = claim_all(spool, "b").await;
    claims.sort_by_key(|claim| claim.post.id);
    let found: Vec<_> = claims
        .iter()
        .map(|claim| {
            (claim.post.id.message.0, claim.ended, claim.post.path.as_str(), &claim.post.destination)
        })
        .collect();
    let (path, to) = ("/elsewhere?x=1", &lane("b"));
    assert_eq!(found, [(1, 1, path, to), (2, 0, path, to), (3, 1, path, to), (4, 0, path, to)]);
    // Whose URL it is goes with the URL.
    assert!(claims.iter().all(|claim| claim.post.trust == Trust::Wire), "{claims:?}");
    assert_eq!(spool.body(&claims[0]).await.unwrap(), "x");
    settle_all(spool, claims, &again(Duration::ZERO)).await;
    let claims = claim_all(spool, "b").await;
    assert!(claims.iter().all(|claim| (claim.post.path.as_str(), claim.post.trust) == (path, Trust::Wire)));
    assert_eq!(look(spool, 1).await.post.path, path);
}

/// A message of one post whose body has links, and a lean one beside it.
pub fn linked(message: u64, host: &str) -> Admission {
    let mut admission = super::message(message, &[host], b"x");
    admission.posts[0].has_links = true;
    admission.posts[0].lean_body = Some(Blob { number: 0, start: 0, length: 7 });
    admission
}

pub async fn a_delivered_post_with_links_can_be_looked_at_and_nothing_else(spool: &dyn Spool) {
    for id in 1..=4 {
        let mut admission = linked(id, "a");
        admission.posts[0].ordering_key = (id > 2).then(|| "k".to_owned());
        spool.commit(admission).await.unwrap();
    }
    settle_all(spool, claim_all(spool, "a").await, &again(Duration::ZERO)).await;
    // Ordered while they are sent, and too late.
    let claims = claim_all(spool, "a").await;
    assert_eq!(claims.len(), 3, "the fourth waits behind the third");
    assert_eq!(spool.order(one(1), Order::Hold).await, Ok(1));
    assert_eq!(spool.order(one(2), reroute("b")).await, Ok(1));
    let taken = Settlement::Listed { last: Attempt { status: Some(200), ..Attempt::because("200 OK") } };
    settle_all(spool, claims.clone(), &taken).await;
    // Once more, by whoever was not sure.
    settle_all(spool, claims, &Settlement::Delivered).await;
    assert_eq!(claimed_ids(spool, "a").await, [4], "the third counts as ended");
    for id in 1..=3 {
        let listed = look(spool, id).await;
        assert_eq!((listed.state, listed.ended), (PostState::Delivered, 2));
        assert_eq!((&listed.post.destination, &listed.post.path), (&lane("a"), &format!("/{id}")));
        let now = postgate::clock::wall();
        assert!(listed.due_at > now.after(23 * HOUR) && listed.due_at < now.after(25 * HOUR));
        assert_eq!(spool.content(super::steering::id(id)).await.unwrap().body, "x");
        let attempts = spool.attempts(super::steering::id(id)).await.unwrap();
        let known: Vec<_> = attempts.iter().map(|attempt| (attempt.number, attempt.status)).collect();
        assert_eq!(known, [(1, None), (2, Some(200))]);
        assert_eq!(listed.last.unwrap().reason, "200 OK");
    }
    let delivered = || Query { state: Some(PostState::Delivered), ..Query::default() };
    assert_eq!(counts(spool, "a").await, Counts { sending: 1, ..Counts::default() });
    for order in [Order::Hold, Order::Release, Order::Retry, reroute("b")] {
        assert_eq!(spool.order(delivered(), order.clone()).await, Ok(0), "{order:?}");
    }
    assert!(spool.claim(&lane("a"), 9).await.unwrap().next.is_none());
    assert!(spool.claim_expired(&lane("a"), Duration::ZERO, 9).await.unwrap().claims.is_empty());
    assert!(spool.lanes().await.unwrap().is_empty() && counts(spool, "b").await == Counts::default());
    assert_eq!(spool.commit(linked(1, "a")).await, Ok(Committed::Kept), "it is known");
    assert_eq!(spool.order(one(2), Order::Delete).await, Ok(1));
    assert_eq!(spool.page(delivered(), None, 9).await.unwrap().len(), 2);
    assert_eq!(spool.content(super::steering::id(2)).await, Err(SpoolError::Unknown));
}

pub async fn a_lean_body_is_sent_from_the_moment_it_is_wanted(spool: &dyn Spool) {
    let leaner = Settlement::Leaner { last: Attempt::because("413") };
    let mut admission = linked(1, "a");
    admission.posts[0].has_links = false;
    spool.commit(admission).await.unwrap();
    // Without one it is as it was.
    spool.commit(message(2, &["a"], b"x")).await.unwrap();
    let claims = claim_all(spool, "a").await;
    assert_eq!(spool.body(&claims[0]).await.unwrap(), "x");
    settle_all(spool, claims, &leaner).await;
    let again = claim_all(spool, "a").await;
    for (claim, (body, length)) in again.iter().zip([("Subject", 7), ("x", 1)]) {
        assert_eq!((claim.attempt, claim.ended), (2, 1));
        assert_eq!((claim.post.body.length, claim.post.lean_body), (length, None));
        assert_eq!(spool.body(claim).await.unwrap(), body);
        assert_eq!(spool.content(claim.post.id).await.unwrap().body, body);
        assert_eq!(look(spool, claim.post.id.message.0).await.last.unwrap().reason, "413");
    }
    // It stays so, whatever happens.
    settle_all(spool, again, &failed("404")).await;
    assert_eq!(spool.order(Query::default(), reroute("b")).await, Ok(2));
    let claims = claim_all(spool, "b").await;
    let first = claims.iter().find(|claim| claim.post.id == id(1)).unwrap();
    assert_eq!(spool.body(first).await.unwrap(), "Subject");
    // It has links, whatever the first body had.
    settle_all(spool, claims, &Settlement::Delivered).await;
    let kept = spool.page(Query::default(), None, 9).await.unwrap();
    assert_eq!(kept.iter().map(|listed| listed.post.id).collect::<Vec<_>>(), [id(1)]);
}

pub async fn of_two_verdicts_on_an_attempt_the_first_stands(spool: &dyn Spool) {
    spool.commit(linked(1, "a")).await.unwrap();
    assert_eq!(spool.order(one(1), reroute("b")).await, Ok(1));
    let claim = claim_all(spool, "b").await.remove(0);
    let verdicts = [Settlement::Delivered, Settlement::Back].map(|verdict| (claim.clone(), verdict));
    spool.settle(verdicts.to_vec(), Vec::new()).await.unwrap();
    assert_eq!(look(spool, 1).await.state, PostState::Delivered);
    assert!(claim_all(spool, "b").await.is_empty());
}

pub async fn what_was_refused_to_its_sender_leaves_nothing(spool: &dyn Spool) {
    spool.commit(linked(1, "a")).await.unwrap();
    settle_all(spool, claim_all(spool, "a").await, &Settlement::Dropped).await;
    assert_eq!(spool.page(Query::default(), None, 9).await, Ok(Vec::new()));
}

pub async fn pages_list_the_newest_first(spool: &dyn Spool) {
    for id in 1..=9 {
        let mut admission = message(id, &[if id % 3 == 0 { "b" } else { "a" }], b"x");
        admission.posts[0].tags = vec![format!("tag {}", id % 2)];
        admission.posts[0].sender = format!("App{id}@app.example");
        admission.posts[0].recipient = format!("orders+{}@hooks.example", id % 4);
        if id % 4 == 0 {
            admission.posts[0].trust = Trust::Operator;
        }
        admission.posts[0].accepted_at = Timestamp(1000 * id);
        if id == 9 {
            let destination = Destination { tenant: Tenant::new("t"), ..(*lane("b")).clone() };
            admission.posts[0].destination = Arc::new(destination);
        }
        spool.commit(admission).await.unwrap();
    }
    settle_all(spool, claim_all(spool, "b").await, &failed("404")).await;
    let listed = |query: Query, before: Option<u64>, most| async move {
        let page = spool.page(query, before.map(id), most).await.unwrap();
        page.into_iter().map(|listed| listed.post.id.message.0).collect::<Vec<_>>()
    };
    let all = Query::default;
    assert_eq!(listed(all(), None, 4).await, [9, 8, 7, 6]);
    assert_eq!(listed(all(), Some(6), 4).await, [5, 4, 3, 2]);
    assert_eq!(listed(all(), Some(2), 4).await, [1]);
    let b = || Query { destination: Some("http://b".parse().unwrap()), ..all() };
    assert_eq!(listed(b(), None, 9).await, [9, 6, 3]);
    assert_eq!(listed(Query { state: Some(PostState::Failed), ..all() }, None, 9).await, [6, 3]);
    assert_eq!(listed(Query { state: Some(PostState::Queued), ..b() }, None, 9).await, [9]);
    assert_eq!(listed(Query { tenant: Some(Tenant::new("t")), ..all() }, None, 9).await, [9]);
    assert_eq!(listed(Query { tag: Some("tag 0".to_owned()), ..all() }, None, 3).await, [8, 6, 4]);
    assert_eq!(listed(Query { tag: Some("tag 1".to_owned()), ..b() }, Some(9), 3).await, [3]);
    assert_eq!(listed(Query { state: Some(PostState::Failed), ..one(6) }, None, 3).await, [6]);
    assert_eq!(listed(Query { state: Some(PostState::Held), ..one(6) }, None, 3).await, [0_u64; 0]);
    let glob = |text: &str| Some(Glob::new(text));
    assert_eq!(listed(Query { sender: glob("app7@app.example"), ..all() }, None, 9).await, [7]);
    assert_eq!(listed(Query { sender: glob("*@APP.example"), ..all() }, None, 2).await, [9, 8]);
    assert_eq!(listed(Query { recipient: glob("*+1@*"), ..all() }, None, 9).await, [9, 5, 1]);
    assert_eq!(listed(Query { route: glob("orders+*@hooks.example"), ..all() }, None, 9).await, [8, 4]);
    assert_eq!(listed(Query { text: Some("APP3@".to_owned()), ..all() }, None, 9).await, [3]);
    assert_eq!(listed(Query { text: Some("nobody".to_owned()), ..all() }, None, 9).await, [0_u64; 0]);
    let times = || Query { since: Some(Timestamp(3000)), until: Some(Timestamp(6000)), ..all() };
    assert_eq!(listed(times(), None, 9).await, [5, 4, 3]);
    for (query, expected) in [
        (all(), vec![(PostState::Queued, 7), (PostState::Failed, 2)]),
        (times(), vec![(PostState::Queued, 2), (PostState::Failed, 1)]),
        (Query { state: Some(PostState::Failed), ..all() }, vec![(PostState::Failed, 2)]),
        (Query { tag: Some("tag 2".to_owned()), ..all() }, vec![]),
        (one(6), vec![(PostState::Failed, 1)]),
    ] {
        let census: Vec<_> = spool.census(query.clone()).await.unwrap().into_iter().collect();
        assert_eq!(census, expected, "{query:?}");
    }
    let wrong = Query { tenant: Some(Tenant::new("other")), ..one(6) };
    assert_eq!(listed(wrong, None, 3).await, [0_u64; 0]);
}

pub async fn counts_are_those_of_each_lane(spool: &dyn Spool) {
    for id in 1..=6 {
        spool.commit(message(id, &[if id == 6 { "b" } else { "a" }], b"x")).await.unwrap();
    }
    let mut claims = spool.claim(&lane("a"), 4).await.unwrap().claims;
    for settlement in [again(HOUR), held("451"), failed("404")] {
        settle_all(spool, vec![claims.pop().unwrap()], &settlement).await;
    }
    assert_eq!(
        counts(spool, "a").await,
        Counts { waiting: 2, sending: 1, held: 1, failed: 1, ..Counts::default() }
    );
    assert_eq!(counts(spool, "b").await, Counts { waiting: 1, ..Counts::default() });
}

pub async fn the_message_of_a_post_can_be_read(spool: &dyn Spool) {
    spool.commit(message(1, &["a"], b"hello")).await.unwrap();
    let content = spool.content(id(1)).await.unwrap();
    assert_eq!((&content.body[..], &content.message[..]), (&b"hello"[..], &b"Subject: x\r\n\r\nhello"[..]));
    settle_all(spool, claim_all(spool, "a").await, &failed("404")).await;
    assert_eq!(spool.content(id(1)).await.unwrap().body, "hello");
}

pub async fn notes_are_compared_and_set(spool: &dyn Spool) {
    let note = |key| async move { spool.note(key).await.unwrap() };
    let set = |key, value: Option<&'static str>, expect| async move {
        spool.set_note(key, value.map(Bytes::from), expect).await
    };
    assert_eq!(note("a").await, None);
    assert_eq!(set("a", Some("1"), Some(1)).await, Err(SpoolError::Changed));
    assert_eq!(set("a", Some("1"), Some(0)).await, Ok(1));
    assert_eq!(set("b", Some("2"), None).await, Ok(1));
    assert_eq!(set("a", Some("3"), None).await, Ok(2));
    assert_eq!(set("a", Some("4"), Some(1)).await, Err(SpoolError::Changed));
    assert_eq!(set("b/1", Some("x"), None).await, Ok(1));
    assert_eq!(set("c", Some("y"), None).await, Ok(1));
    let keys = async |beginning| -> Vec<_> {
        let notes = spool.notes(beginning).await.unwrap();
        notes.into_iter().map(|(key, noted)| (key, noted.version, noted.value)).collect()
    };
    let (b, below) = (("b".to_owned(), 1, Bytes::from("2")), ("b/1".to_owned(), 1, Bytes::from("x")));
    assert_eq!(keys("b").await, [b, below.clone()]);
    assert_eq!(keys("b/").await, [below]);
    assert_eq!(keys("d").await, []);
    let noted = note("a").await.unwrap();
    assert_eq!((noted.version, &noted.value[..]), (2, &b"3"[..]));
    assert_eq!(set("a", None, Some(2)).await, Ok(0));
    assert_eq!(note("a").await, None);
    assert_eq!(set("a", Some("5"), Some(0)).await, Ok(3), "no version comes twice");
    let many = (0..20).map(|_| spool.set_note("b", Some(Bytes::from("x")), Some(1)));
    let mut won = 0;
    for set in many.collect::<Vec<_>>() {
        won += u64::from(set.await.is_ok());
    }
    assert_eq!(won, 1);
    // Large, so that writing it takes a while.
    let value = Bytes::from(vec![b'x'; 4 << 20]);
    for version in 2..10 {
        let change = async || {
            let ended = spool.set_note("b", Some(value.clone()), Some(version)).await;
            (ended, note("b").await.unwrap().version)
        };
        let (one, other) = tokio::join!(change(), change());
        let (won, lost) = if one.0.is_ok() { (one, other) } else { (other, one) };
        assert_eq!(won, (Ok(version + 1), version + 1));
        assert_eq!(lost, (Err(SpoolError::Changed), version + 1), "who loses sees to what");
    }
}

pub async fn posts_of_a_line_go_one_by_one(spool: &dyn Spool) {
    let mut first = keyed(1, "a", "k");
    first.posts[0].priority = 9;
    spool.commit(first).await.unwrap();
    for id in 2..=3 {
        spool.commit(keyed(id, "a", "k")).await.unwrap();
    }
    spool.commit(keyed(4, "a", "other")).await.unwrap();
    spool.commit(keyed(5, "b", "k")).await.unwrap();
    spool.commit(message(6, &["a"], b"x")).await.unwrap();
    assert_eq!(claimed_ids(spool, "b").await, [5]);
    let mut claims = claim_all(spool, "a").await;
    claims.sort_by_key(|claim| claim.post.id);
    let ids: Vec<_> = claims.iter().map(|claim| claim.post.id.message.0).collect();
    assert_eq!(ids, [1, 4, 6], "no post of a line comes before its first");
    assert_eq!(counts(spool, "a").await, Counts { waiting: 2, sending: 3, ..Counts::default() });
    assert_eq!(look(spool, 2).await.state, PostState::Queued);
    assert_eq!(spool.claim(&lane("a"), 9).await.unwrap().next, None, "a blocked post is nobody's next");
    settle_all(spool, claims.split_off(1), &Settlement::Delivered).await;
    // Deferred, the first still comes first.
    settle_all(spool, claims, &again(HOUR)).await;
    let claimed = spool.claim(&lane("a"), 9).await.unwrap();
    assert!(claimed.claims.is_empty() && claimed.next > Some(HOUR / 2));
    assert_eq!(spool.order(one(1), Order::Hold).await, Ok(1));
    let claimed = spool.claim(&lane("a"), 9).await.unwrap();
    assert!(claimed.claims.is_empty() && claimed.next.is_none());
    assert_eq!(spool.order(one(1), Order::Release).await, Ok(1));
    let doorbell = spool.doorbell();
    for (first, ending) in [(1, Settlement::Delivered), (2, failed("404"))] {
        let claims = claim_all(spool, "a").await;
        assert_eq!(claims[0].post.id.message.0, first);
        assert_eq!(claims.len(), 1);
        tokio::time::timeout(DEADLINE, doorbell.wait()).await.unwrap();
        settle_all(spool, claims, &ending).await;
        let rung = tokio::time::timeout(DEADLINE, doorbell.wait()).await.unwrap();
        assert_eq!(rung, [(lane("a"), Duration::ZERO)], "nobody hears that the next one's time has come");
        // Somebody has to have rung for the next round.
        doorbell.ring(&lane("a"), Duration::ZERO);
    }
    let flying = claim_all(spool, "a").await;
    assert_eq!(flying[0].post.id.message.0, 3);
    // An older one that comes back waits for the one that is under way.
    assert_eq!(spool.order(one(2), Order::Retry).await, Ok(1));
    assert!(claim_all(spool, "a").await.is_empty());
    spool.order(one(3), Order::Delete).await.unwrap();
    assert_eq!(claimed_ids(spool, "a").await, [2]);
}

pub async fn a_rerouted_post_changes_its_line(spool: &dyn Spool) {
    for (id, host) in [(1, "a"), (2, "b"), (3, "a"), (4, "b")] {
        spool.commit(keyed(id, host, "k")).await.unwrap();
    }
    assert_eq!(spool.order(one(1), reroute("b")).await, Ok(1));
    assert_eq!(claimed_ids(spool, "a").await, [3]);
    for expected in [1, 2, 4] {
        let claims = claim_all(spool, "b").await;
        assert_eq!(claims.iter().map(|claim| claim.post.id.message.0).collect::<Vec<_>>(), [expected]);
        settle_all(spool, claims, &Settlement::Delivered).await;
    }
}
