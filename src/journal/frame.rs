//! What stands in a file of the journal: frames, each a few events. What became durable
//! at once is a run of them, cut where it is large, so that who reads one event reads
//! little more.
//!
//! ```text
//! head     magic (4 octets, the third is the format) | payload length u32 | first position u64
//!          | number of events, and in the top bit whether the run goes on, u32
//!          | checksum u32                                    (24 octets, little endian)
//! payload  postcard encoding of the mark behind the events, and of the events
//! ```
//!
//! The checksum is CRC32C over the head before it and the payload: a frame counts whole
//! or not at all. A run that does not end counts not at all, or the mark of its last
//! frame would say that what the others hold was never here. The magic has octets that no UTF-8 text has, so
//! no event can hold one: behind damage the next frame is looked for.

use crate::event::{Event, Mark};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Octets of a head.
pub(super) const HEAD: usize = 24;
/// Begins every frame. Format 1 knew no [`GOES_ON`].
const MAGIC: [u8; 4] = [0xf5, b'j', 2, 0xff];
/// Octets of events from which on a frame ends.
const LARGE: usize = 256 << 10;
/// Top bit of the number of events: another frame of the run follows.
const GOES_ON: u32 = 1 << 31;
/// Octets looked through at a time behind damage.
const LOOK: usize = 64 << 10;

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Position of its first event.
    pub first: u64,
    /// How far the events before it, and those in it, had been handed over.
    pub mark: Mark,
    pub events: Vec<Event>,
    /// Another frame of its run follows.
    pub goes_on: bool,
}

/// What stands at the head of a frame.
#[derive(Clone, Copy)]
struct Head {
    first: u64,
    mark: Mark,
    /// [`GOES_ON`], or nothing.
    flag: u32,
}

/// Octets that a run of frames of these events takes at most, if their names and tenants
/// are short.
pub(super) fn room(events: &[Event]) -> usize {
    let octets: usize = events.iter().map(|event| event.data.len() + 128).sum();
    octets + (octets / LARGE + 1) * (HEAD + 32)
}

/// Appends a run of frames to `out`; answers how long each is, and how many events it
/// has.
pub(super) fn encode(
    first: u64,
    mark: Mark,
    events: &[Event],
    out: &mut Vec<u8>,
) -> io::Result<Vec<(u64, u64)>> {
    let (mut frames, mut rest, mut first) = (Vec::new(), events, first);
    loop {
        let (start, (some, behind)) = (out.len(), rest.split_at(portion(rest)));
        let flag = if behind.is_empty() { 0 } else { GOES_ON };
        encode_one(Head { first, mark, flag }, some, out)?;
        frames.push(((out.len() - start) as u64, some.len() as u64));
        first += some.len() as u64;
        rest = behind;
        if rest.is_empty() {
            return Ok(frames);
        }
    }
}

/// How many of these events make a frame: at least one, if there is any.
fn portion(events: &[Event]) -> usize {
    let octets = events.iter().scan(0, |octets, event| {
        let before = *octets;
        *octets += event.data.len();
        Some(before)
    });
    octets.take_while(|before| *before < LARGE).count()
}

fn encode_one(Head { first, mark, flag }: Head, events: &[Event], out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    postcard::to_io(&(mark, events), &mut *out).map_err(io::Error::other)?;
    let length = u32::try_from(out.len() - start - HEAD).map_err(io::Error::other)?;
    let count = u32::try_from(events.len()).map_err(io::Error::other)? | flag;
    let mut head = Vec::with_capacity(HEAD);
    head.extend_from_slice(&MAGIC);
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&first.to_le_bytes());
    head.extend_from_slice(&count.to_le_bytes());
    let payload = out.get(start + HEAD..).unwrap_or_default();
    head.extend_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&head), payload).to_le_bytes());
    if let Some(place) = out.get_mut(start..start + HEAD) {
        place.copy_from_slice(&head);
    }
    Ok(())
}

/// The frames of a file from one place to another, each with where it begins.
pub(super) struct Frames<'a> {
    file: &'a File,
    at: u64,
    end: u64,
    /// Where what was no frame began and ended.
    pub gaps: Vec<(u64, u64)>,
    /// Where the last frame ended.
    pub good: u64,
}

impl<'a> Frames<'a> {
    /// From `at`, where a frame begins, up to `end`.
    pub fn new(file: &'a File, at: u64, end: u64) -> Frames<'a> {
        Frames { file, at, end, gaps: Vec::new(), good: at }
    }

    /// The next whole frame, and where it begins. An error is one of reading.
    pub fn next(&mut self) -> io::Result<Option<(u64, Frame)>> {
        while self.at + HEAD as u64 <= self.end {
            let at = self.at;
            let Some((frame, octets)) = frame_at(self.file, at, self.end)? else {
                self.at = self.candidate(at + 1)?;
                continue;
            };
            if at > self.good {
                self.gaps.push((self.good, at));
            }
            self.at = at + octets;
            self.good = self.at;
            return Ok(Some((at, frame)));
        }
        Ok(None)
    }

    /// The next place where a frame could begin.
    fn candidate(&self, mut at: u64) -> io::Result<u64> {
        let mut octets = Vec::new();
        while at + HEAD as u64 <= self.end {
            let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            octets.resize(left.min(LOOK), 0);
            self.file.read_exact_at(&mut octets, at)?;
            match octets.windows(MAGIC.len()).position(is_magic) {
                Some(place) => return Ok(at + place as u64),
                // One may begin in the last octets.
                None => at += (octets.len() - MAGIC.len() + 1) as u64,
            }
        }
        Ok(self.end)
    }
}

/// The frame that stands there whole, and its octets.
fn frame_at(file: &File, at: u64, end: u64) -> io::Result<Option<(Frame, u64)>> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, at)?;
    let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let fields = || {
        let first = u64::from_le_bytes(head.get(8..16)?.try_into().ok()?);
        Some((word(4)?, first, word(16)?, word(20)?))
    };
    let Some((length, first, count, checksum)) = fields() else { return Ok(None) };
    let total = HEAD as u64 + u64::from(length);
    if !is_magic(&head) || at + total > end {
        return Ok(None);
    }
    let mut payload = vec![0; length as usize];
    file.read_exact_at(&mut payload, at + HEAD as u64)?;
    let covered = head.get(..HEAD - 4).unwrap_or_default();
    if crc32c::crc32c_append(crc32c::crc32c(covered), &payload) != checksum {
        return Ok(None);
    }
    let read: Option<(Mark, Vec<Event>)> = postcard::from_bytes(&payload).ok();
    let (goes_on, count) = (count & GOES_ON != 0, count & !GOES_ON);
    let whole = read.filter(|(_, events)| events.len() == count as usize);
    Ok(whole.map(|(mark, events)| (Frame { first, mark, events, goes_on }, total)))
}

/// Whether a frame of a known format begins so.
fn is_magic(octets: &[u8]) -> bool {
    matches!(octets, [0xf5, b'j', 1..=2, 0xff, ..])
}

/// Whether a file begins in the format that is written: to another nothing is appended,
/// or who knows only that one would take it as damage.
pub(super) fn is_current(file: &File) -> io::Result<bool> {
    let mut magic = [0; MAGIC.len()];
    file.read_exact_at(&mut magic, 0)?;
    Ok(magic == MAGIC)
}

/// Refuses a file that a newer version began.
pub(super) fn refuse_newer(file: &File) -> io::Result<()> {
    let mut magic = MAGIC;
    match file.read_exact_at(&mut magic, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
        read => read?,
    }
    let [one, two, format, last] = magic;
    if [one, two, MAGIC[2], last] != MAGIC || format <= MAGIC[2] {
        return Ok(());
    }
    let text = format!("it has format {format}, written by a newer version of Postgate; run that one");
    Err(io::Error::new(io::ErrorKind::Unsupported, text))
}
