//! Listings of what the catalog holds, newest first: of what fits, and of no more than
//! can be looked at in one go.

use super::Entry;
use crate::post::PostId;
use crate::spool::PostState;
use std::collections::HashMap;

/// Which entries a listing is about.
pub(in crate::spool) struct Filter {
    /// These lanes, with the states of which they hold posts; nothing means all.
    pub lanes: Option<HashMap<u32, Vec<PostState>>>,
}

impl Filter {
    pub fn fits(&self, entry: &Entry) -> bool {
        let Some(lanes) = &self.lanes else { return true };
        lanes.get(&entry.lane).is_some_and(|states| states.contains(&entry.state.seen()))
    }

    /// The same of what a row says.
    pub(super) fn fits_row(&self, lane: u32, seen: u8) -> bool {
        let Some(lanes) = &self.lanes else { return true };
        lanes.get(&lane).is_some_and(|states| states.iter().any(|state| *state as u8 == seen))
    }
}

/// Entries that a listing found.
#[derive(Debug, Default)]
pub(in crate::spool) struct Listing {
    pub found: Vec<(PostId, Entry)>,
    /// All down to this one were looked at; nothing when there are no more.
    pub reached: Option<PostId>,
}

impl Listing {
    /// Looks at up to `looks` entries, the newest first, for `most` that fit.
    pub(super) fn of<E>(
        older: impl Iterator<Item = Result<(PostId, Entry), E>>,
        filter: &Filter,
        (most, looks): (usize, usize),
    ) -> Result<Listing, E> {
        let mut found = Vec::new();
        for (looked, entry) in older.enumerate() {
            let (id, entry) = entry?;
            if filter.fits(&entry) {
                found.push((id, entry));
            }
            if found.len() >= most || looked + 1 >= looks {
                return Ok(Listing { found, reached: Some(id) });
            }
        }
        Ok(Listing { found, reached: None })
    }
}
