//! Segment files: their header, reading records out of them, scanning them.
//!
//! A segment is a preallocated file with a header of [`FIRST`] octets and then
//! records. The header carries the segment's number (the file's name is only a
//! convenience), the epoch (how many unclean starts there were when it was begun; a
//! process that goes on in it writes its own behind), and where the
//! segment before it ended: what lies behind that end was refused and must not
//! come back to life. The last segment has no successor to say so; there the
//! records end at the first octets that are none, a torn tail.

use super::disk::DiskFile;
use super::record::{ALIGN, HEAD, Head, Read, Record, padded};
use super::table::Parts;
use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

/// Where the first record of a segment begins.
pub(super) const FIRST: u64 = 64;
/// Stands for the previous segment's end where the header was lost.
pub(super) const UNKNOWN_END: u64 = u64::MAX;
/// Begins every segment file; its last digit is the format. It is raised along with that of
/// records, whose first stands in a fresh segment: an older version refuses that by its
/// header, before it reads any of them.
const MAGIC: &[u8; 8] = b"pgspool1";
/// Octets read at a time by a scan.
const WINDOW: usize = 256 * 1024;
/// Octets read at first: all of most records.
const FIRST_LOOK: usize = 8 * 1024;

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The segment's number; numbers grow by one.
    pub number: u64,
    /// Unclean starts before it was begun.
    pub epoch: u32,
    /// What stands in the heads of its records; nothing when the header was lost.
    pub salt: Option<u32>,
    /// Where the records of the segment before it end; 0 when there is none.
    pub previous_end: u64,
    /// The greatest message id when it was begun.
    pub newest: u64,
}

impl Header {
    /// Writes the header and makes it durable.
    pub fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        let mut octets = Vec::with_capacity(64);
        octets.extend_from_slice(MAGIC);
        let epoch = u64::from(self.epoch) | u64::from(self.salt.unwrap_or(0)) << 32;
        for word in [self.number, epoch, self.previous_end, self.newest] {
            octets.extend_from_slice(&word.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&octets);
        octets.extend_from_slice(&checksum.to_le_bytes());
        octets.resize(64, 0);
        file.write(&mut [IoSlice::new(&octets)], 0)?;
        file.sync()
    }

    /// Where its records end, as the header of the next segment that is there has it.
    pub fn extent(&self, next: &Header) -> Extent {
        let is_known = next.number == self.number + 1 && next.previous_end != UNKNOWN_END;
        if is_known { Extent::Known(next.previous_end) } else { Extent::Open }
    }

    /// Reads the header; `None` when the file does not begin with a whole one. One of a later
    /// format is known by its checksum, which stays where it is and covers the digit: a
    /// damaged digit is none, nor is one below ours.
    pub fn read(file: &dyn DiskFile) -> io::Result<Option<Header>> {
        let mut octets = [0; 64];
        match file.read(&mut octets, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let word =
            |at: usize| octets.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
        let parse = || {
            let checksum = u32::from_le_bytes(octets.get(40..44)?.try_into().ok()?);
            let is_whole = crc32c::crc32c(octets.get(..40)?) == checksum;
            let format = Newer::told(&octets, MAGIC).filter(|_| is_whole)?;
            let epoch = u32::try_from(word(16)? & u64::from(u32::MAX)).ok()?;
            let salt = u32::try_from(word(16)? >> 32).ok();
            let header = Header { number: word(8)?, epoch, salt, previous_end: word(24)?, newest: word(32)? };
            Some(format.map(|()| header))
        };
        Ok(parse().transpose()?)
    }
}

/// A record and where it stands.
#[derive(Debug)]
pub(super) struct Found {
    pub offset: u64,
    /// Octets of head, meta and blobs.
    pub total: usize,
    /// Octets of the meta.
    pub meta: usize,
    /// It caused events.
    pub has_events: bool,
    salt: u32,
    pub record: Record<'static>,
}

/// Octets that are no record although one follows or should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub start: u64,
    pub end: u64,
}

/// What a scan found.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub records: Vec<Found>,
    /// Damage between records, and before the end where it is known.
    pub gaps: Vec<Gap>,
    /// Where the records end.
    pub end: u64,
}

/// Where the records of a segment end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// Its successor says so: whatever is missing before was damaged.
    Known(u64),
    /// It is the last one, and its tail may be torn.
    Open,
}

/// Whether the blobs of a record are checked along with its head and meta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blobs {
    Checked,
    Unread,
}

/// A newer version has written here; its records are not damage, and not ours.
#[derive(Debug)]
pub(super) struct Newer(pub u8);

impl fmt::Display for Newer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Newer(version) = self;
        write!(
            f,
            "something in it is of format {version}, written by a newer version of Postgate; run that one"
        )
    }
}

impl std::error::Error for Newer {}

impl Newer {
    /// Whether a file that begins with these octets is of the kind, and if so of the format,
    /// that `magic` says with its last octet, a digit, or of a later one. To be believed only
    /// where a checksum covers the digit.
    pub fn told(octets: &[u8], magic: &[u8; 8]) -> Option<Result<(), Newer>> {
        let ([kind @ .., known], [own @ .., format]) = (magic, octets.first_chunk::<8>()?);
        let is_later = format > known && format.is_ascii_digit();
        match kind == own {
            true if format == known => Some(Ok(())),
            true if is_later => Some(Err(Newer(format - b'0'))),
            _ => None,
        }
    }
}

impl From<Newer> for io::Error {
    fn from(newer: Newer) -> io::Error {
        io::Error::new(io::ErrorKind::Unsupported, newer)
    }
}

/// Refuses a segment whose first record a newer version wrote.
pub(super) fn refuse_newer(segment: &Segment) -> io::Result<()> {
    let (file, salts) = (&*segment.file, segment.header.salt);
    let limit = file.length()?;
    let mut window = Window { file, limit, start: 0, octets: Vec::new(), ahead: WINDOW };
    record_at(&mut window, (segment.header.number, salts.as_slice()), FIRST, Blobs::Unread).map(|_| ())
}

/// Reads all records of the segment with this header. An error is one of reading;
/// damage is a gap, and the scan goes on behind it. Without the header's salt records
/// tell it: the first, and each that stands right behind a whole one, where no message
/// can have put anything. One alone may be damaged there.
pub(super) fn scan(file: &dyn DiskFile, header: &Header, extent: Extent) -> io::Result<Scan> {
    let mut records = Vec::new();
    let scan = scan_for(file, header, extent, |found| records.push(found))?;
    Ok(Scan { records, ..scan })
}

/// The same, but each record is handed over, and none kept: those of a segment can take many
/// times its room.
pub(super) fn scan_for(
    file: &dyn DiskFile,
    header: &Header,
    extent: Extent,
    mut each: impl FnMut(Found),
) -> io::Result<Scan> {
    let length = file.length()?;
    let limit = match extent {
        Extent::Known(end) => end.min(length),
        Extent::Open => length,
    };
    let mut window = Window { file, limit, start: 0, octets: Vec::new(), ahead: WINDOW };
    let mut salts = Vec::from_iter(header.salt);
    let mut scan = Scan { end: FIRST, ..Scan::default() };
    let mut at = FIRST;
    while at + HEAD as u64 <= limit {
        let is_next = header.salt.is_none() && at == scan.end;
        let good = if is_next { &[] } else { salts.as_slice() };
        let found = record_at(&mut window, (header.number, good), at, Blobs::Checked)?;
        let Some(found) = found else {
            at = window.next_candidate(at + ALIGN as u64)?;
            continue;
        };
        if !salts.contains(&found.salt) {
            salts.push(found.salt);
        }
        if at > scan.end {
            scan.gaps.push(Gap { start: scan.end, end: at });
        }
        at += padded(found.total) as u64;
        scan.end = at;
        each(found);
    }
    if extent != Extent::Open && scan.end < limit {
        scan.gaps.push(Gap { start: scan.end, end: limit });
        scan.end = limit;
    }
    Ok(scan)
}

/// The record at an offset, if one of this segment's number is there, and of one of these
/// salts; of any, if there are none.
fn record_at(
    window: &mut Window<'_>,
    (number, salts): (u64, &[u32]),
    at: u64,
    blobs: Blobs,
) -> io::Result<Option<Found>> {
    let Some(head) = Head::read(window.octets(at, HEAD)?) else { return Ok(None) };
    // First of all: a message may hold heads by the million, each of a huge meta.
    if !salts.is_empty() && !salts.contains(&head.salt) || at + head.total as u64 > window.limit {
        return Ok(None);
    }
    let record = match head.decode(number, window.octets(at, HEAD + head.meta)?) {
        Some(Read::Whole(record)) => record,
        Some(Read::Newer(version)) => return Err(Newer(version).into()),
        None => return Ok(None),
    };
    if let (Blobs::Checked, Record::Accepted(accepted)) = (blobs, &record) {
        let mut offset = at + (HEAD + head.meta) as u64;
        for blob in &accepted.blobs {
            if window.checksum(offset, blob.length as usize)? != blob.checksum {
                return Ok(None);
            }
            offset += u64::from(blob.length);
        }
    }
    let Head { total, meta, salt, has_events, .. } = head;
    Ok(Some(Found { offset: at, total, meta, has_events, salt, record }))
}

/// Reads one record of segment `number`; `None` when it is damaged. Behind it the
/// octets from its beginning on that were read: often all of it.
pub(super) fn read_record(
    file: &dyn DiskFile,
    number: u64,
    offset: u64,
) -> io::Result<Option<(Found, Vec<u8>)>> {
    let mut window = Window { file, limit: file.length()?, start: 0, octets: Vec::new(), ahead: WINDOW };
    let found = record_at(&mut window, (number, &[]), offset, Blobs::Unread)?;
    Ok(found.map(|found| (found, window.octets)))
}

/// Reads one message of segment `number`, with what was read of it from its beginning on;
/// `None` when it is damaged, or none.
pub(super) fn read_message(
    file: &dyn DiskFile,
    number: u64,
    offset: u64,
) -> io::Result<Option<(Parts, Vec<u8>)>> {
    let mut window = Window { file, limit: file.length()?, start: 0, octets: Vec::new(), ahead: FIRST_LOOK };
    let Some(head) = Head::read(window.octets(offset, HEAD)?) else { return Ok(None) };
    if offset + head.total as u64 > window.limit {
        return Ok(None);
    }
    let parts = match head.parts(number, window.octets(offset, HEAD + head.meta)?) {
        Some(parts) => parts,
        None => {
            match record_at(&mut window, (number, &[]), offset, Blobs::Unread)?.map(|found| found.record) {
                Some(Record::Accepted(accepted)) => Parts::decoded(accepted, head.meta),
                _ => return Ok(None),
            }
        }
    };
    Ok(Some((parts, window.octets)))
}

/// A moving piece of a file.
struct Window<'a> {
    file: &'a dyn DiskFile,
    limit: u64,
    /// Octets to read at a time, the first time aside.
    ahead: usize,
    start: u64,
    octets: Vec<u8>,
}

impl Window<'_> {
    /// `length` octets from `at`; fewer at the limit.
    fn octets(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let end = (at + length as u64).min(self.limit);
        if at < self.start || end > self.start + self.octets.len() as u64 {
            let wanted = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            let left = usize::try_from(self.limit.saturating_sub(at)).unwrap_or(usize::MAX);
            // A first look at a record takes a little, a scan soon grows it.
            let step = if self.octets.is_empty() { FIRST_LOOK } else { self.ahead };
            self.octets.resize(wanted.max(step).min(left), 0);
            self.start = at;
            self.file.read(&mut self.octets, at)?;
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        let until = usize::try_from(end.saturating_sub(self.start)).unwrap_or(usize::MAX);
        Ok(self.octets.get(from..until).unwrap_or_default())
    }

    /// CRC32C of `length` octets from `at`, in pieces: a blob may be large.
    fn checksum(&mut self, mut at: u64, mut length: usize) -> io::Result<u32> {
        let mut checksum = 0;
        while length > 0 {
            let octets = self.octets(at, length.min(WINDOW))?;
            if octets.is_empty() {
                break;
            }
            checksum = crc32c::crc32c_append(checksum, octets);
            at += octets.len() as u64;
            length -= octets.len();
        }
        Ok(checksum)
    }

    /// The next place from `at` where a record could begin.
    fn next_candidate(&mut self, mut at: u64) -> io::Result<u64> {
        while at + HEAD as u64 <= self.limit {
            self.octets(at, HEAD)?;
            // All there is in memory: a new window for each candidate would be slow.
            let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
            let octets = self.octets.get(from..).unwrap_or_default();
            let candidate = octets.chunks_exact(ALIGN).position(Head::begins);
            match candidate {
                Some(place) => return Ok(at + (place * ALIGN) as u64),
                None => at += (octets.len() / ALIGN * ALIGN).max(ALIGN) as u64,
            }
        }
        Ok(self.limit)
    }
}

/// A segment that can be read.
#[derive(Clone)]
pub(super) struct Segment {
    pub header: Header,
    pub name: String,
    pub file: Arc<dyn DiskFile>,
}

impl Segment {
    /// Whether its header was lost.
    pub fn is_headless(&self) -> bool {
        self.header.previous_end == UNKNOWN_END
    }
}
