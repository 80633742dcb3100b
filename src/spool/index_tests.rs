//! What the index makes of posts that are found in the log a second time.

use super::catalog::{Catalog, Place, Spot};
use super::index::{Index, Known, Wanted};
use super::state::State;
use crate::post::{Blob, Destination, MessageId, Notice, Post, PostId, Scheme, Timestamp, Trust};
use crate::tenant::Tenant;
use bytes::Bytes;
use std::collections::HashSet;
use std::sync::Arc;

const PLACE: Place = Place { segment: 1, offset: 64, share: 100 };

fn post(number: u16, lane: &Arc<Destination>) -> Post {
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
    }
}

fn lane() -> Arc<Destination> {
    Arc::new(Destination { tenant: Tenant::default(), scheme: Scheme::Http, host: "a".to_owned(), port: 80 })
}

#[test]
fn a_catalog_that_is_filled_anew_brings_back_nothing_that_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let mut index = Index::new(Catalog::open(&directory.path().join("catalog"), 0));
    let lane = lane();
    let posts: Vec<_> = (0..4).map(|number| post(number, &lane)).collect();
    let state = State::fresh(&posts[0]);
    for post in &posts[..3] {
        index.admit(post.clone(), Bytes::new(), PLACE, state);
    }
    let claimed = index.claim(&lane, Wanted::Due, 3, Timestamp(2));
    assert_eq!(claimed.len(), 3);
    // One ended before, one ends meanwhile; the log tells of neither.
    index.end(posts[0].id);
    index.begin_anew(HashSet::from([posts[0].id]));
    index.end(posts[1].id);
    for post in &posts {
        index.restore(post, &lane, PLACE, Spot::default(), state);
    }
    index.end_anew();
    assert!(index.find(posts[0].id).is_none() && index.find(posts[1].id).is_none());
    assert!(index.claimed(posts[2].id, claimed[2].fence).is_some(), "still claimed");
    let again = index.claim(&lane, Wanted::Due, 4, Timestamp(2));
    assert_eq!(again.iter().map(|taken| taken.id).collect::<Vec<_>>(), [posts[3].id]);
}

#[test]
fn posts_are_read_ahead_as_many_as_are_under_way_and_go_with_their_claim_or_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut index = Index::new(Catalog::open(&directory.path().join("catalog"), 100));
    let lane = lane();
    let posts: Vec<_> = (0..6).map(|number| post(number, &lane)).collect();
    for post in &posts {
        index.restore(post, &lane, PLACE, Spot::default(), State::fresh(post));
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
