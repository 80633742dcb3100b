//! What the index makes of posts that are found in the log a second time.

use super::catalog::{Catalog, Noted, Place, Spot};
use super::earlier::Earlier;
use super::index::{Index, Known, Wanted};
use super::record::Accepted;
use super::shared::NOTES;
use super::state::State;
use crate::clock::Jump;
use crate::post::{Blob, Destination, MessageId, Notice, Post, PostId, Scheme, Sealed, Timestamp, Trust};
use crate::tenant::Tenant;
use bytes::Bytes;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

const PLACE: Place = Place { segment: 1, offset: 64, share: 100 };

pub(super) fn post(number: u16, lane: &Arc<Destination>) -> Post {
    Post {
        id: PostId { message: MessageId(7), number },
        accepted_at: Timestamp(1),
        destination: Arc::clone(lane),
        method: "POST".to_owned(),
        path: "/".to_owned(),
        headers: Vec::new(),
        body: Blob { number: 0, start: 0, length: 0 },
        idempotency_key: None,
        sender: String::new(),
        recipient: String::new(),
        not_before_at: None,
        expires_at: None,
        priority: 5,
        tags: Vec::new(),
        xs_message_id: None,
        xs_mailing_id: None,
        ordering_key: None,
        sign_with: None,
        auth: None,
        trace: None,
        notice: Notice::default(),
        trust: Trust::Wire,
        has_links: false,
        lean_body: None,
        batch: None,
        sealed: Sealed::default(),
    }
}

pub(super) fn lane() -> Arc<Destination> {
    lane_at("a")
}

fn lane_at(host: &str) -> Arc<Destination> {
    Arc::new(Destination {
        tenant: Tenant::default(),
        scheme: Scheme::Http,
        host: host.to_owned(),
        port: 80,
        webhook: None,
    })
}

#[test]
fn a_catalog_that_is_filled_anew_brings_back_nothing_that_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let mut index = Index::new(Catalog::open(&directory.path().join("catalog"), 0));
    let lane = lane();
    let posts: Vec<_> = (0..4).map(|number| post(number, &lane)).collect();
    for post in &posts[..3] {
        index.admit(post.clone(), Bytes::new(), PLACE, (post.accepted_at, Jump::default()));
    }
    let claimed = index.claim(&lane, Wanted::Due, 3, Timestamp(2));
    assert_eq!(claimed.len(), 3);
    // One ended before, one ends meanwhile; the log tells of neither.
    index.end(posts[0].id);
    index.begin_anew(HashSet::from([posts[0].id]));
    index.end(posts[1].id);
    let state = State::fresh(&posts[0], posts[0].accepted_at, Jump::default());
    for post in &posts {
        index.restore(post, &lane, PLACE, Spot::default(), (state, Jump::default()));
    }
    index.end_anew();
    assert!(index.find(posts[0].id).is_none() && index.find(posts[1].id).is_none());
    assert!(index.claimed(posts[2].id, claimed[2].fence).is_some(), "still claimed");
    let again = index.claim(&lane, Wanted::Due, 4, Timestamp(2));
    assert_eq!(again.iter().map(|taken| taken.id).collect::<Vec<_>>(), [posts[3].id]);
}

#[test]
fn a_lane_that_takes_nothing_leaves_room_in_memory_to_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut index = Index::new(Catalog::open(&directory.path().join("catalog"), 10_000));
    let (dead, healthy) = (lane_at("dead"), lane_at("healthy"));
    let body = Bytes::from(vec![0; 5000]);
    let admit = |index: &mut Index, number, lane: &Arc<Destination>| {
        let post = post(number, lane);
        let at = post.accepted_at;
        index.admit(post, body.clone(), PLACE, (at, Jump::default()));
    };
    (0..5000).for_each(|number| admit(&mut index, number, &dead));
    for round in 0..100 {
        (0..50).for_each(|number| admit(&mut index, 5000 + round * 50 + number, &healthy));
        for taken in index.claim(&healthy, Wanted::Due, 50, Timestamp(2)) {
            assert!(taken.post.is_some(), "post {}", taken.id);
            assert!(index.claimed(taken.id, taken.fence).unwrap().body.is_some(), "body of {}", taken.id);
            index.end(taken.id);
        }
    }
    let in_memory = index.claim(&dead, Wanted::Due, 5000, Timestamp(2));
    assert_eq!(in_memory.iter().filter(|taken| taken.post.is_some()).count(), 2048);
}

#[test]
fn posts_are_read_ahead_as_many_as_are_under_way_and_go_with_their_claim_or_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut index = Index::new(Catalog::open(&directory.path().join("catalog"), 100));
    let lane = lane();
    let posts: Vec<_> = (0..6).map(|number| post(number, &lane)).collect();
    for post in &posts {
        let state = State::fresh(post, post.accepted_at, Jump::default());
        index.restore(post, &lane, PLACE, Spot::default(), (state, Jump::default()));
    }
    let now = Timestamp(2);
    let unread = |index: &mut Index| -> Vec<u16> {
        index.next_unread(&lane, now).iter().map(|(id, _)| id.number).collect()
    };
    let known = |number: u16| {
        let post = Arc::new(posts[usize::from(number)].clone());
        (post.id, Known { post, body: Some(Bytes::from_static(b"body")) })
    };
    assert!(unread(&mut index).is_empty(), "nothing is under way");
    assert!(index.claim(&lane, Wanted::Due, 2, now).iter().all(|taken| taken.post.is_none()));
    assert_eq!(unread(&mut index), [2, 3]);
    assert!(unread(&mut index).is_empty(), "they are being read");
    // One ends meanwhile, and another comes that nobody waits for.
    index.end(posts[2].id);
    index.keep_known(&lane, vec![known(0), known(2), known(3), known(4)]);
    index.end(posts[4].id);
    let taken = index.claim(&lane, Wanted::Due, 2, now);
    let read: Vec<_> = taken.iter().map(|taken| (taken.id.number, taken.post.is_some())).collect();
    assert_eq!(read, [(3, true), (5, false)]);
    let body =
        |at: usize| index.claimed(taken[at].id, taken[at].fence).and_then(|claimed| claimed.body.clone());
    assert_eq!((body(0), body(1)), (Some(Bytes::from_static(b"body")), None));
    index.give_body(taken[1].id, taken[1].fence + 1, Bytes::new());
    assert!(index.claimed(taken[1].id, taken[1].fence).is_some_and(|claimed| claimed.body.is_none()));
}

#[test]
fn where_more_are_under_way_than_can_be_kept_nothing_is_read_ahead() {
    let directory = tempfile::tempdir().unwrap();
    let mut index = Index::new(Catalog::open(&directory.path().join("catalog"), 10_000));
    let (lane, other, now) = (lane(), lane_at("b"), Timestamp(2));
    for number in 0..5000 {
        let lane = if number < 100 { &lane } else { &other };
        let post = post(number, lane);
        let state = State::fresh(&post, post.accepted_at, Jump::default());
        index.restore(&post, lane, PLACE, Spot::default(), (state, Jump::default()));
    }
    assert_eq!(index.claim(&lane, Wanted::Due, 10, now).len(), 10);
    let taken = index.claim(&other, Wanted::Due, 4900, now);
    assert!(taken.len() == 4900 && index.next_unread(&lane, now).is_empty(), "{}", taken.len());
    for taken in &taken {
        index.end(taken.id);
    }
    assert_eq!(index.next_unread(&lane, now).len(), 10);
}

#[test]
fn a_key_stands_for_its_message_for_a_day() {
    let directory = tempfile::tempdir().unwrap();
    let mut index = Index::new(Catalog::open(&directory.path().join("catalog"), 0));
    let (tenant, day) = (Tenant::default(), 24 * 60 * 60 * 1000);
    let earlier = Earlier { message: MessageId(7), posts: 1, fingerprint: None };
    let noted = Noted { earlier, expires_at: Timestamp(1).after(NOTES), place: PLACE };
    index.note(&tenant, "k", noted, 0);
    for (at, message) in [(1, Some(7)), (day, Some(7)), (day + 1, None)] {
        let found = index.noted(&tenant, "k", Timestamp(at)).map(|noted| noted.earlier.message.0);
        assert_eq!(found, message, "{at}");
    }
    assert!(!index.drop_stale_notes(Timestamp(day + 1)), "there are no more");
    assert!(index.noted(&tenant, "k", Timestamp(1)).is_none(), "it is forgotten");
}

#[test]
fn a_key_stands_for_its_last_use_wherever_the_first_one_is_moved_to() {
    let directory = tempfile::tempdir().unwrap();
    let mut index = Index::new(Catalog::open(&directory.path().join("catalog"), 0));
    let posts = [post(0, &lane())];
    let used = |message: u64, at: u64| Accepted {
        message: MessageId(message),
        accepted_at: Timestamp(at),
        tenant: Tenant::default(),
        idempotency_key: Some("k".to_owned()),
        fingerprint: None,
        blobs: Vec::new(),
        posts: Cow::Borrowed(&posts),
        lives: Vec::new(),
    };
    let day = 24 * 60 * 60 * 1000;
    let (first, last) = (used(7, 1), used(8, day + 2));
    let at = |segment| Place { segment, ..PLACE };
    for (accepted, place, message, stands_at) in [
        (&first, at(1), 7, 1),
        (&first, at(3), 7, 3),
        (&first, at(2), 7, 3),
        (&last, at(4), 8, 4),
        (&first, at(5), 8, 4),
        (&last, at(6), 8, 6),
    ] {
        index.remember(accepted, place);
        let noted = index.noted(&Tenant::default(), "k", Timestamp(1)).unwrap();
        assert_eq!((noted.earlier.message.0, noted.place.segment), (message, stands_at), "{place:?}");
    }
}
