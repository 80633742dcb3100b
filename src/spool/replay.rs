//! Reading the log back: which posts live, found from the newest record to the
//! oldest.
//!
//! Backwards every post is taken in at most once, see [`super::later`]. Damaged octets are set aside, counted and announced; what stands
//! around them is used.

use super::disk::{Disk, DiskFile};
use super::later::Later;
use super::log::number_in;
use super::record::{Accepted, BlobHead, HEAD, Record};
use super::segment::{self, Extent, Gap, Header, Scan, Segment, UNKNOWN_END, refuse_newer};
use super::shared::{NOTES, Shared};
use super::{catalog::Place, catalog::Spot};
use crate::post::{MessageId, PostId};
use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;

/// Records after which the catalog may have its chores done.
const CATCH_UP: usize = 1000;

/// Lost posts that are named in one line.
const NAMED: usize = 100;

/// Restores into the index every living post of these segments, given from the
/// oldest to the newest, each with where its records end. Answers where records with
/// events stand that were not passed, from the newest to the oldest.
pub(super) fn replay(shared: &Shared, segments: &[(Segment, Extent)]) -> Vec<(u64, u64)> {
    let (mut later, mut told) = (Later::by(shared.clock), Vec::new());
    for (segment, extent) in segments.iter().rev() {
        match segment::scan(&*segment.file, &segment.header, *extent) {
            Ok(scan) => {
                for gap in &scan.gaps {
                    set_aside(shared, segment, *gap);
                }
                let places = scan.records.iter().rev().filter(|found| found.has_events);
                let places = places.map(|found| (segment.header.number, found.offset));
                told.extend(places.filter(|at| !shared.feed.is_passed(*at)));
                take_in(shared, segment, scan, &mut later);
            }
            Err(error) => {
                later.miss_segment();
                shared.damages.fetch_add(1, Ordering::Relaxed);
                shared.index().tallies.note(segment.header.number, crate::post::Timestamp(u64::MAX), 0);
                tracing::error!(segment = %segment.name, %error, "a spool segment cannot be read; its posts are missing until it can");
            }
        }
    }
    name_orphans(shared, &later.orphans());
    told
}

/// Counts and names the posts whose messages are gone.
fn name_orphans(shared: &Shared, orphans: &[PostId]) {
    shared.damages.fetch_add(orphans.len() as u64, Ordering::Relaxed);
    for some in orphans.chunks(NAMED) {
        let named: Vec<_> = some.iter().map(PostId::to_string).collect();
        tracing::error!(
            count = some.len(),
            posts = named.join(" "),
            "posts are missing whose messages are gone from the spool; \
             unless they had been delivered just before the process ended, they are lost"
        );
    }
}

fn take_in(shared: &Shared, segment: &Segment, scan: Scan, later: &mut Later) {
    for (at, found) in scan.records.into_iter().rev().enumerate() {
        if at % CATCH_UP == 0 {
            shared.catch_up();
        }
        let spot = Spot::at(segment.header.number, found.offset);
        if let Some(accepted) = later.hear(found.record, spot) {
            let share = share(found.total, accepted.shares());
            let place = Place { segment: segment.header.number, offset: found.offset, share };
            restore(shared, &accepted, place, later);
        }
    }
}

/// Restores into the index the posts of a message that live.
pub(super) fn restore(shared: &Shared, accepted: &Accepted<'_>, place: Place, later: &mut Later) {
    let (now, spot) = (shared.clock.now(), Spot::at(place.segment, place.offset));
    let (mut index, jump) = (shared.index(), shared.clock.jump());
    for (at, post) in accepted.posts.iter().enumerate() {
        let Some(word) = later.last_word(accepted, at, spot) else { continue };
        let asked_for = post.not_before_at.map(|at| jump.undone(at));
        let before = word.said_at.unwrap_or(now);
        let state = word.state.on_a_clock_set_back(asked_for, [before, now]);
        // What was ordered while it was delivered came too late.
        let destination = word.destination.as_ref().filter(|_| word.state.is_rerouted);
        let destination = destination.unwrap_or(&post.destination);
        index.restore(post, destination, place, word.history, (state, jump));
    }
    if accepted.accepted_at.after(NOTES) > now {
        index.remember(accepted, place);
    }
    let rung = index.rung();
    drop(index);
    shared.ring(rung);
}

/// One post's part of a record.
pub(super) fn share(total: usize, posts: usize) -> u32 {
    u32::try_from(total / posts.max(1)).unwrap_or(u32::MAX).max(1)
}

/// Keeps a copy of damaged octets for people, and says so.
fn set_aside(shared: &Shared, segment: &Segment, gap: Gap) {
    shared.damages.fetch_add(1, Ordering::Relaxed);
    let name = format!("damaged-{:016x}-{:08x}", segment.header.number, gap.start);
    let length = gap.end.saturating_sub(gap.start);
    let copy = || -> io::Result<()> {
        let mut octets = vec![0; usize::try_from(length).unwrap_or(0)];
        segment.file.read(&mut octets, gap.start)?;
        let file = shared.disk.create(&name, 0)?;
        file.write(&mut [IoSlice::new(&octets)], 0)?;
        file.sync()
    };
    let kept = copy();
    tracing::error!(
        segment = %segment.name, offset = gap.start, octets = length, set_aside_as = %name, ?kept,
        "damaged octets in the spool; posts in them are lost, all others are delivered"
    );
}

/// Where an earlier process left off.
pub(super) struct Tail {
    /// Number of the last segment that was written to, and where its records end.
    pub sealed: (u64, u64),
    /// The greatest message id.
    pub newest: MessageId,
    /// Unclean starts, this one included.
    pub epoch: u32,
    /// What stands in the heads of its records; nothing when that is not known.
    pub salt: Option<u32>,
    /// Where the first segment of this process can come from.
    pub left: Left,
}

/// What an earlier process left to write to.
pub(super) enum Left {
    /// Nothing.
    Nothing,
    /// A segment that was begun and holds no record.
    Unused(Segment),
    /// The room behind the last record of its last segment.
    Behind(Segment),
}

/// Reads the tail of the last segment, and takes that segment out when it is
/// unused: a loop of restarts must not leave a segment each.
pub(super) fn tail(segments: &mut Vec<Segment>) -> io::Result<Tail> {
    let Some(last) = segments.last() else {
        return Ok(Tail { sealed: (0, 0), newest: MessageId(0), epoch: 0, salt: None, left: Left::Nothing });
    };
    let header = last.header;
    // What was written but not synced must be durable before it is believed.
    last.file.sync()?;
    let scan = segment::scan(&*last.file, &header, Extent::Open)?;
    let ids = scan.records.iter().filter_map(|found| match &found.record {
        Record::Accepted(accepted) => Some(accepted.message.0),
        _ => None,
    });
    let newest = MessageId(ids.max().unwrap_or(0).max(header.newest));
    let is_closed = scan.records.last().is_some_and(|found| found.record == Record::Closed);
    let opened = scan.records.iter().filter_map(|found| match found.record {
        Record::Opened { epoch } => Some(epoch),
        _ => None,
    });
    let epoch = opened.max().unwrap_or(0).max(header.epoch) + u32::from(!is_closed);
    let salt = header.salt;
    // Only the header of its direct successor knows where a segment ended.
    let before = segments.iter().rev().nth(1);
    let is_next = before.is_none_or(|before| before.header.number + 1 == header.number);
    if scan.records.is_empty() && is_next && header.previous_end != UNKNOWN_END {
        let sealed = (header.number.saturating_sub(1), header.previous_end);
        let left = segments.pop().map_or(Left::Nothing, Left::Unused);
        return Ok(Tail { sealed, newest, epoch, salt, left });
    }
    // What is written behind a lost header might not be found.
    let left = if last.is_headless() { Left::Nothing } else { Left::Behind(last.clone()) };
    Ok(Tail { sealed: (header.number, scan.end), newest, epoch, salt, left })
}

/// Where the blob with this number begins in a record and what its head says.
pub(super) fn blob_place(blobs: &[BlobHead], meta: usize, number: u16) -> Option<(u64, BlobHead)> {
    let number = usize::from(number);
    let before: u64 = blobs.iter().take(number).map(|blob| u64::from(blob.length)).sum();
    Some(((HEAD + meta) as u64 + before, *blobs.get(number)?))
}

/// All segments on the disk, by their numbers, and the files that never became one. Refused
/// where a newer version has written.
pub(super) fn found_segments(disk: &dyn Disk) -> io::Result<(Vec<Segment>, Vec<String>)> {
    let (mut segments, mut void, names) = (Vec::new(), Vec::new(), disk.list()?);
    let salts = salts(disk, &names);
    for name in names {
        let Some(number) = number_in(&name) else { continue };
        match segment_in(disk, &name, number, &salts)? {
            Some(segment) => {
                refuse_newer(&segment)?;
                segments.push(segment);
            }
            None => void.push(name),
        }
    }
    segments.sort_by_key(|segment: &Segment| segment.header.number);
    for segment in segments.iter().filter(|segment| segment.is_headless()) {
        tracing::error!(segment = %segment.name, "a spool segment lost its header; its records are used");
    }
    Ok((segments, void))
}

/// What stands in the heads of records, as those of these files say that have a header:
/// mostly one for a whole spool.
pub(super) fn salts(disk: &dyn Disk, names: &[String]) -> Vec<u32> {
    let header = |name: &String| {
        let number = number_in(name)?;
        let header = Header::read(&*disk.open(name).ok()?).ok().flatten()?;
        header.salt.filter(|_| header.number == number)
    };
    names.iter().filter_map(header).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The segment in a file with this number in its name, if it became one.
pub(super) fn segment_in(
    disk: &dyn Disk,
    name: &str,
    number: u64,
    salts: &[u32],
) -> io::Result<Option<Segment>> {
    let file = disk.open(name)?;
    let header = match Header::read(&*file)? {
        // A file renamed to be the next segment, whose header was not written: what it held
        // before had been given up.
        Some(header) => Some(header).filter(|header| header.number == number),
        None => headless(&*file, number, salts)?,
    };
    Ok(header.map(|header| Segment { header, name: name.to_owned(), file }))
}

/// What stands for a damaged header, as long as there are records that prove themselves:
/// by the salt of other segments, and only without any such by their own. A message may
/// hold what looks like records.
fn headless(file: &dyn DiskFile, number: u64, salts: &[u32]) -> io::Result<Option<Header>> {
    for salt in salts.iter().copied().map(Some).chain([None]) {
        let header = Header { number, epoch: 0, salt, previous_end: UNKNOWN_END, newest: 0 };
        if !segment::scan(file, &header, Extent::Open)?.records.is_empty() {
            return Ok(Some(header));
        }
    }
    Ok(None)
}
