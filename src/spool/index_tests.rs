//! What the index makes of posts that are found in the log a second time.

use super::catalog::{Catalog, Place, Spot};
use super::index::Index;
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
    }
}

#[test]
fn a_catalog_that_is_filled_anew_brings_back_nothing_that_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let mut index = Index::new(Catalog::open(&directory.path().join("catalog"), 0));
    let lane = Arc::new(Destination {
        tenant: Tenant::default(),
        scheme: Scheme::Http,
        host: "a".to_owned(),
        port: 80,
        trust: Trust::Wire,
    });
    let posts: Vec<_> = (0..4).map(|number| post(number, &lane)).collect();
    let state = State::fresh(&posts[0], 0);
    for post in &posts[..3] {
        index.admit(post.clone(), Bytes::new(), PLACE, state);
    }
    let claimed = index.claim(&lane, 3, Timestamp(2), 0);
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
    let again = index.claim(&lane, 4, Timestamp(2), 0);
    assert_eq!(again.iter().map(|taken| taken.id).collect::<Vec<_>>(), [posts[3].id]);
}
