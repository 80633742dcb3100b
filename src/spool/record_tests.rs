//! What stands in a record is read back, or not at all.

use super::*;
use crate::event::EventId;
use crate::post::Sealed;
use crate::spool::Attempt;
use crate::spool::state::{Chronicle, Phase, Route};
use std::sync::Arc;

fn lives() -> Record<'static> {
    let id = PostId { message: MessageId(7), number: 1 };
    let state = State {
        ended: 1,
        tried: 2,
        phase: Phase::Held,
        is_anew: false,
        is_rerouted: true,
        is_lean: true,
        due_at: Timestamp(9),
        ages_from: Timestamp(4),
    };
    let chronicle = Chronicle { attempts: vec![Attempt::because("503")], route: None };
    Record::Lives(id, Cow::Owned(Life { state, chronicle }))
}

#[test]
fn a_record_with_seals_is_one_of_a_later_format() {
    let sealed = |octets: &'static [u8]| Some(Bytes::from_static(octets));
    let Record::Lives(id, life) = lives() else { panic!("lives") };
    let mut life = life.into_owned();
    let post: Post = serde_json::from_str(
        r#"{"id":{"message":7,"number":0},"accepted_at":7,"destination":{"tenant":"default",
        "scheme":"Https","host":"h","port":443},"method":"POST","path":"/","headers":[],
        "body":{"number":0,"start":0,"length":0},"sender":"","recipient":"","priority":0,
        "tags":[],"trust":"Wire","has_links":false}"#,
    )
    .unwrap();
    let hiding = Post { sealed: Sealed { fields: sealed(b"f"), path: None }, ..post.clone() };
    let (destination, trust, path) = (Arc::clone(&post.destination), post.trust, "/".to_owned());
    life.chronicle.route = Some(Route { destination, trust, path, sealed: sealed(b"p") });
    let accepted = |posts: &[Post], lives: &[Option<Life>]| {
        let mut accepted = Accepted::remains(&post, &life, Jump::default()).clone();
        (accepted.posts, accepted.lives) = (Cow::Owned(posts.to_vec()), lives.to_vec());
        Record::Accepted(accepted)
    };
    let live = Some(life.clone());
    for (record, version) in [
        (lives(), VERSION),
        (Record::Lives(id, Cow::Owned(life.clone())), SEALED),
        (accepted(std::slice::from_ref(&post), &[]), VERSION),
        (accepted(&[post.clone(), hiding.clone()], &[]), SEALED),
        (accepted(&[hiding, post.clone()], &[None, live.clone()]), SEALED),
        (accepted(&[post.clone(), post.clone()], &[live, None]), SEALED),
    ] {
        let events = [event("post.failed")];
        for events in [&events[..], &[]] {
            let mut octets = Vec::new();
            encode((&record, events), (5, 0), &mut octets).unwrap();
            assert_eq!(octets[5], version);
            let parts = Head::read(&octets).unwrap().parts(5, &octets);
            assert!(version == VERSION || parts.is_none(), "they would be read without their seals");
            assert_eq!(read(&octets, 5).as_ref(), Some(&record));
            assert_eq!(events_in(&octets).unwrap_or_default(), events);
        }
    }
}

fn event(name: &str) -> Event {
    Event {
        id: EventId::new(Timestamp(7), 7),
        name: name.parse().unwrap(),
        at: Timestamp(7),
        tenant: Tenant::default(),
        data: Bytes::from_static(b"{}"),
    }
}

fn read(octets: &[u8], segment: u64) -> Option<Record<'static>> {
    match Head::read(octets)?.decode(segment, octets)? {
        Read::Whole(record) => Some(record),
        Read::Newer(version) => panic!("format {version}"),
    }
}

#[test]
fn a_record_is_read_back_only_whole_and_in_its_own_segment() {
    let events = [event("post.deferred"), event("post.failed")];
    let mut octets = Vec::new();
    let total = encode((&lives(), &events), (5, 0x5a17), &mut octets).unwrap();
    assert_eq!(total, octets.len());
    let head = Head::read(&octets).unwrap();
    assert_eq!((head.total, head.salt), (total, 0x5a17));
    assert_eq!(read(&octets, 5), Some(lives()));
    assert_eq!(events_in(&octets), Some(events.to_vec()));
    let accepted = Record::Accepted(Accepted {
        message: MessageId(7),
        accepted_at: Timestamp(7),
        tenant: Tenant::default(),
        idempotency_key: Some("k".to_owned()),
        fingerprint: Some(Fingerprint([7; Fingerprint::LENGTH])),
        blobs: Vec::new(),
        posts: Cow::Owned(Vec::new()),
        lives: Vec::new(),
    });
    for events in [&events[..], &[]] {
        let mut octets = Vec::new();
        encode((&accepted, events), (5, 0), &mut octets).unwrap();
        assert_eq!(read(&octets, 5), Some(accepted.clone()));
        assert_eq!(events_in(&octets).unwrap_or_default(), events);
    }
    assert_eq!(read(&octets, 6), None, "a former life");
    for at in 0..octets.len() {
        if (20..24).contains(&at) {
            continue;
        }
        let mut broken = octets.clone();
        broken[at] ^= 1;
        assert_eq!(read(&broken, 5), None, "octet {at} flipped");
    }
}
