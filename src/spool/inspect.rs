//! A look at a spool that nobody has open: every record is read and checked, and
//! nothing is changed, so that a copy or a disk that fails can be looked at as well.

use super::disk::{Directory, Disk};
use super::keeper::extents;
use super::notes;
use super::options::{OpenError, lock};
use super::record::{Outcome, Record};
use super::replay::{Files, files};
use super::segment::{self, Extent, Scan, Segment, UNKNOWN_END, refuse_newer};
use super::{Census, PostState};
use crate::post::PostId;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// What a look at a spool found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Segments, the files of the log.
    pub segments: usize,
    /// Octets of whole records in them.
    pub octets: u64,
    /// Whole records.
    pub records: u64,
    /// Living posts by their state; those of which an attempt was under way wait.
    pub posts: Census,
    /// What is no record where one should be, in the order of the log.
    pub damages: Vec<Damage>,
    /// Files with damaged octets that earlier processes set aside.
    pub set_aside: Vec<String>,
}

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// Name of the file, in the directory `log` of the spool.
    pub file: String,
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is.
    pub octets: u64,
    /// What it means.
    pub meaning: String,
}

/// Reads every record of the spool in `directory`. Refused while a process has it open,
/// where there is none, and where a newer version has written.
pub fn inspect(directory: &Path) -> Result<Findings, OpenError> {
    let refused = |error| OpenError::Io(directory.to_owned(), error);
    let log = directory.join("log");
    // Opening would make it.
    log.metadata().map_err(refused)?;
    let _lock = lock(directory)?;
    let disk = Directory::at(&log).map_err(refused)?;
    let Files { segments, .. } = files(&disk).map_err(refused)?;
    segments.iter().try_for_each(refuse_newer).map_err(refused)?;
    let mut findings = Findings { segments: segments.len(), ..Findings::default() };
    let (mut living, mut damages) = (Living::default(), Vec::new());
    // Of the last one nobody knows where it ends: a torn record there was never accepted.
    for (segment, extent) in extents(&segments, Extent::Open).iter().rev() {
        let (found, damage) = look(segment, *extent);
        damages.extend(damage.into_iter().rev());
        findings.records += found.records.len() as u64;
        findings.octets += found.records.iter().map(|found| found.total as u64).sum::<u64>();
        found.records.iter().rev().for_each(|found| living.hear(&found.record));
    }
    findings.posts = living.posts;
    findings.damages = damages.into_iter().rev().collect();
    if !notes::are_whole(&disk).map_err(refused)? {
        let meaning = "pauses, used rates, webhooks and keys are lost".to_owned();
        findings.damages.push(Damage { file: notes::NAME.to_owned(), offset: 0, octets: 0, meaning });
    }
    let names = disk.list().map_err(refused)?;
    findings.set_aside = names.into_iter().filter(|name| name.starts_with("damaged-")).collect();
    findings.set_aside.sort();
    Ok(findings)
}

/// What stands in a segment, and what is damaged there.
fn look(segment: &Segment, extent: Extent) -> (Scan, Vec<Damage>) {
    let damage = |offset, octets, meaning: String| {
        let file = segment.name.clone();
        Damage { file, offset, octets, meaning }
    };
    let mut damages = Vec::new();
    if segment.header.previous_end == UNKNOWN_END {
        damages.push(damage(
            0,
            segment::FIRST,
            "the header is lost; its records prove themselves".to_owned(),
        ));
    }
    let found = segment::scan(&*segment.file, &segment.header, extent).unwrap_or_else(|error| {
        damages.push(damage(0, 0, format!("it cannot be read: {error}")));
        Scan::default()
    });
    let lost = |gap: &segment::Gap| {
        damage(gap.start, gap.end - gap.start, "what stood there is lost; all around it is whole".to_owned())
    };
    damages.extend(found.gaps.iter().map(lost));
    (found, damages)
}

/// Which posts live, heard from the newest record to the oldest: the first that is said
/// of a post is its last word, as when a spool is opened.
#[derive(Default)]
struct Living {
    ended: HashSet<PostId>,
    words: HashMap<PostId, PostState>,
    posts: Census,
}

impl Living {
    fn hear(&mut self, record: &Record<'_>) {
        match record {
            Record::Closed | Record::Opened { .. } | Record::Published => {}
            Record::Settled(list) => list.iter().rev().for_each(|(id, outcome)| match outcome {
                Outcome::Ended => self.end(*id),
                Outcome::Stands(state) | Outcome::Lived { state, .. } => self.stands(*id, state.seen()),
            }),
            Record::Lives(id, life) => self.stands(*id, life.state.seen()),
            Record::Accepted(accepted) => {
                for (at, post) in accepted.posts.iter().enumerate() {
                    let was_moved = !accepted.lives.is_empty();
                    if self.ended.contains(&post.id) {
                        // The original of a moved record may still stand further back.
                        if !was_moved {
                            self.ended.remove(&post.id);
                        }
                        continue;
                    }
                    let Some((state, _)) = accepted.state(at) else { continue };
                    let state = self.words.remove(&post.id).unwrap_or(state.seen());
                    *self.posts.entry(state).or_default() += 1;
                    if was_moved {
                        self.ended.insert(post.id);
                    }
                }
            }
        }
    }

    fn end(&mut self, id: PostId) {
        if !self.words.contains_key(&id) {
            self.ended.insert(id);
        }
    }

    fn stands(&mut self, id: PostId, state: PostState) {
        if !self.ended.contains(&id) {
            self.words.entry(id).or_insert(state);
        }
    }
}
