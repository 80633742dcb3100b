//! What is kept in memory and what on disk, without a log.

use super::*;
use crate::post::MessageId;
use crate::spool::state::{Phase, State};

fn id(number: u64) -> PostId {
    PostId { message: MessageId(number), number: 0 }
}

fn entry(phase: Phase) -> Entry {
    let state = State {
        ended: 0,
        tried: 0,
        phase,
        is_anew: false,
        is_rerouted: false,
        is_lean: false,
        due_at: Timestamp(1),
        ages_from: Timestamp(1),
    };
    let (place, history) = (Place { segment: 1, offset: 0, share: 1 }, Spot::default());
    Entry { place, history, key: 0, lane: 1, priority: 0, expires_at: None, is_blocked: false, state }
}

#[test]
fn what_is_over_takes_no_memory_from_what_waits() {
    let directory = tempfile::tempdir().unwrap();
    let mut catalog = Catalog::open(&directory.path().join("catalog"), 80);
    for number in 0..200 {
        let phase = if number % 2 == 0 { Phase::Shelved } else { Phase::DeadLetter };
        catalog.insert(id(number), &entry(phase)).unwrap();
    }
    assert_eq!((catalog.memory.len(), catalog.memory.letters()), (10, 10));
    for number in 200..300 {
        catalog.insert(id(number), &entry(Phase::Waiting)).unwrap();
    }
    assert_eq!((catalog.memory.len(), catalog.memory.letters()), (80, 10));
    // What is on disk is looked at in whatever state it is.
    let mut chore = catalog.chore().unwrap();
    chore.carry_out().unwrap();
    assert!(catalog.chore().is_some() && catalog.finish(Ok(chore)).unwrap().is_none());
    let Listing { found, reached } = catalog.newest(&Filter { lanes: None }, GREATEST, 999).unwrap();
    assert_eq!(reached, None);
    assert_eq!(found.len(), 300);
    for (id, entry) in found {
        catalog.remove(id, &entry).unwrap();
    }
    assert_eq!(catalog.memory.len(), 0);
    assert!(catalog.stale(Timestamp(9), Timestamp(9), 9).unwrap().is_empty());
}
