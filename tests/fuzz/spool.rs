//! Target: the spool, opened on segment files that were tampered with.
//!
//! An input is a list of damages, a line each, done to the same small spool:
//!
//! ```text
//! flip SEGMENT OFFSET BIT                      set SEGMENT OFFSET LENGTH OCTET
//! copy SEGMENT OFFSET LENGTH SEGMENT OFFSET    word SEGMENT OFFSET VALUE
//! insert SEGMENT OFFSET LENGTH                 delete SEGMENT OFFSET LENGTH
//! cut SEGMENT LENGTH                           drop SEGMENT
//! exchange SEGMENT SEGMENT                     extra NUMBER LENGTH OCTET
//! seal SEGMENT OFFSET                          late
//! ```
//!
//! `seal` makes the checksum of a record right again, which no accident does: then
//! it must only not break. `late` damages the files while they are in use.

use super::engine::Target;
use super::mutate::mostly_small;
use crate::support;
use crate::support::sim_disk::{SimDisk, Sync};
use bytes::Bytes;
use postgate::post::{Admission, Blob, Destination, Post, PostId, Scheme};
use postgate::spool::disk::Reserve;
use postgate::spool::embedded::{Embedded, Options};
use postgate::spool::{Attempt, Committed, Settlement, Spool};
use postgate::tenant::Tenant;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Octets of a segment before its records.
const HEADER: usize = 64;
/// Octets of a record before its meta.
const HEAD: usize = 24;
const MAGIC: [u8; 4] = 0x7067_7231_u32.to_le_bytes();
const MESSAGES: u64 = 24;

/// Segment files by name.
type Image = BTreeMap<String, Vec<u8>>;

/// A record of the undamaged spool.
struct Record {
    segment: String,
    start: usize,
    end: usize,
}

/// A post that was committed.
pub struct Kept {
    post: Post,
    /// Its body.
    pub octets: Bytes,
    /// Whether nothing but damage may make it disappear.
    is_alive: bool,
    record: usize,
    segment: String,
    body_at: usize,
}

/// What a spool gave back for a post; a control says something else.
pub type Reading = fn(&Image, &Kept, Option<Bytes>) -> Option<Bytes>;

/// A spool on damaged files, and how its bodies are read.
pub struct SpoolTarget {
    reading: Reading,
    runtime: Runtime,
    image: Image,
    records: Vec<Record>,
    kept: BTreeMap<PostId, Kept>,
}

/// What came out of a spool.
type Found = BTreeMap<PostId, (Arc<Post>, Option<Bytes>)>;

/// A reader that looks at no checksum.
pub fn unchecked(image: &Image, kept: &Kept, _: Option<Bytes>) -> Option<Bytes> {
    let octets = image.get(&kept.segment)?.get(kept.body_at..kept.body_at + kept.octets.len())?;
    Some(Bytes::copy_from_slice(octets))
}

fn lane() -> Arc<Destination> {
    Arc::new(Destination {
        tenant: Tenant::default(),
        scheme: Scheme::Http,
        host: "a.example".to_owned(),
        port: 80,
        webhook: None,
    })
}

fn options(directory: &Path) -> Options {
    let options = Options::at(directory.join("spool"));
    Options { segment: 32 << 10, reserve: Reserve { octets: 0, percent: 0 }, ..options }
}

/// A message of one or two posts with a body that stands nowhere else.
fn admission(id: u64) -> Admission {
    let mut dice = fastrand::Rng::with_seed(id);
    let mut body = format!("body of {id:06} ").into_bytes();
    let rest = mostly_small(&mut dice, 12);
    body.extend((0..rest).map(|_| dice.u8(..)));
    let mut admission = support::admission(support::post(id, &lane()), &body);
    let first = &mut admission.posts[0];
    first.accepted_at = postgate::post::Timestamp(id);
    if id.is_multiple_of(4) {
        first.id.number = 1;
        let mut second = first.clone();
        second.id.number = 2;
        second.body = Blob { number: 0, start: 0, length: 14 };
        admission.posts.push(second);
    }
    admission
}

fn body(admission: &Admission, post: &Post) -> Bytes {
    let start = post.body.start as usize;
    admission.blobs[usize::from(post.body.number)].slice(start..start + post.body.length as usize)
}

fn image_of(disk: &SimDisk) -> Image {
    let mut image = Image::new();
    for name in disk.names().into_iter().filter(|name| name.ends_with(".seg")) {
        disk.damage(&name, |octets| drop(image.insert(name.clone(), octets.clone())));
    }
    image
}

fn disk_of(image: &Image) -> SimDisk {
    use postgate::spool::disk::Disk;
    let disk = SimDisk::new(Sync::Honest);
    for (name, octets) in image {
        disk.create(name, 0).unwrap();
        disk.damage(name, |file| file.clone_from(octets));
    }
    disk
}

impl SpoolTarget {
    pub fn new(reading: Reading) -> SpoolTarget {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let disk = SimDisk::new(Sync::Honest);
        let directory = tempfile::tempdir().unwrap();
        for some in [1..=8, 9..=16, 17..=MESSAGES] {
            let spool = Embedded::open_on(Arc::new(disk.clone()), options(directory.path())).unwrap();
            runtime.block_on(async {
                spool.recovered().await;
                for id in some {
                    assert_eq!(spool.commit(admission(id)).await, Ok(Committed::Kept));
                }
                let claims = spool.claim(&lane(), 100).await.unwrap().claims;
                for claim in claims {
                    let settlement = match claim.post.id.message.0 % 5 {
                        0 => Settlement::Failed { last: Attempt::because("404") },
                        1 => Settlement::Delivered,
                        _ => Settlement::Again { after: Duration::ZERO, last: Attempt::because("503") },
                    };
                    spool.settle(vec![(claim, settlement)], Vec::new()).await.unwrap();
                }
            });
            spool.close().unwrap();
        }
        let image = image_of(&disk);
        let records = records(&image);
        let kept = kept(&image, &records);
        SpoolTarget { reading, runtime, image, records, kept }
    }

    /// Whether a record and the header before it are as they were written.
    fn is_intact(&self, kept: &Kept, image: &Image) -> bool {
        let record = &self.records[kept.record];
        let octets = |image: &Image| {
            image.get(&record.segment).and_then(|file| file.get(record.start..record.end).map(<[u8]>::to_vec))
        };
        // A whole header of another segment says that this one was given up.
        let header = image.get(&record.segment).and_then(|file| file.get(..HEADER));
        let is_own = header == self.image[&record.segment].get(..HEADER);
        let is_broken =
            header.is_some_and(|header| crc32c::crc32c(&header[..40]).to_le_bytes() != header[40..44]);
        octets(image).is_some() && octets(image) == octets(&self.image) && (is_own || is_broken)
    }

    /// Opens the spool, and takes everything out of it that it has; nothing when it
    /// is refused as that of a later version.
    fn open(&self, disk: &SimDisk, directory: &Path, late: Option<&Image>) -> Option<Found> {
        let spool = match Embedded::open_on(Arc::new(disk.clone()), options(directory)) {
            Err(error) if error.to_string().contains("newer version") => return None,
            opened => opened.expect("it does not open"),
        };
        let found = self.runtime.block_on(async {
            spool.recovered().await;
            for (name, octets) in late.into_iter().flatten() {
                if disk.names().contains(name) {
                    disk.damage(name, |file| file.clone_from(octets));
                }
            }
            let mut found = BTreeMap::new();
            for lane in spool.lanes().await.unwrap() {
                for claim in spool.claim(&lane.0, 10_000).await.unwrap().claims {
                    let body = spool.body(&claim).await.ok();
                    let id = claim.post.id;
                    assert!(
                        found.insert(id, (Arc::clone(&claim.post), body)).is_none(),
                        "{id} is claimed twice"
                    );
                }
            }
            let fresh = self.kept.len() as u64 + 1_000;
            assert_eq!(spool.commit(admission(fresh)).await, Ok(Committed::Kept), "it takes no mail");
            let claims = spool.claim(&lane(), 10).await.unwrap().claims;
            assert!(claims.iter().any(|claim| claim.post.id.message.0 == fresh), "fresh mail is not found");
            for claim in claims {
                spool.settle(vec![(claim, Settlement::Delivered)], Vec::new()).await.unwrap();
            }
            found
        });
        spool.close().expect("it does not close");
        Some(found)
    }

    fn check_found(&self, image: &Image, found: &Found) {
        for (id, kept) in &self.kept {
            let body = {
                let found = found.get(id);
                assert!(found.is_none_or(|(post, _)| **post == kept.post), "{id} is another post");
                (self.reading)(image, kept, found.and_then(|(_, body)| body.clone()))
            };
            if let Some(body) = &body {
                assert!(*body == kept.octets, "{id} has a wrong body");
            }
            assert!(body.is_some() || !kept.is_alive || !self.is_intact(kept, image), "{id} is lost");
        }
        let unknown: Vec<_> = found.keys().filter(|id| !self.kept.contains_key(id)).collect();
        assert!(unknown.is_empty(), "posts that nobody committed: {unknown:?}");
    }
}

/// The records of an undamaged spool.
fn records(image: &Image) -> Vec<Record> {
    let mut records = Vec::new();
    for (segment, octets) in image {
        let mut start = HEADER;
        while octets.get(start..start + 4) == Some(&MAGIC) {
            let total = u32::from_le_bytes(octets[start + 12..start + 16].try_into().unwrap()) as usize;
            let end = start + total;
            records.push(Record { segment: segment.clone(), start, end });
            start = end.next_multiple_of(8);
        }
    }
    assert!(records.len() as u64 > MESSAGES, "only {} records", records.len());
    records
}

fn kept(image: &Image, records: &[Record]) -> BTreeMap<PostId, Kept> {
    let mut all = BTreeMap::new();
    for id in 1..=MESSAGES {
        let admission = admission(id);
        let mark = format!("body of {id:06} ").into_bytes();
        let place = records.iter().enumerate().find_map(|(at, record)| {
            let octets = &image[&record.segment][record.start..record.end];
            let offset = octets.windows(mark.len()).position(|window| window == mark)?;
            Some((at, record.start + offset))
        });
        let (record, body_at) = place.expect("a message that is in no record");
        for post in &admission.posts {
            let octets = body(&admission, post);
            let is_alive = !matches!(id % 5, 0 | 1);
            let segment = records[record].segment.clone();
            all.insert(post.id, Kept { post: post.clone(), octets, is_alive, record, segment, body_at });
        }
    }
    all
}

/// Does the damages of an input; answers what kinds there were.
fn damage(image: &mut Image, script: &str) -> (bool, bool) {
    let (mut is_sealed, mut is_late) = (false, false);
    for line in script.lines().take(50) {
        let words: Vec<_> = line.split_whitespace().collect();
        let number =
            |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0) as usize;
        let names: Vec<_> = image.keys().cloned().collect();
        let name = |at: usize| names.get(number(at) % names.len().max(1)).cloned().unwrap_or_default();
        let source = image.get(&name(1)).cloned().unwrap_or_default();
        let from = number(2) % (source.len() + 1);
        let range = from..from + number(3).min(source.len() - from);
        let value = number(4) as u8;
        match words.first().copied().unwrap_or_default() {
            "late" => is_late = true,
            "extra" => {
                let name = format!("{:016x}.seg", number(1));
                image.entry(name).or_insert_with(|| vec![number(3) as u8; number(2) % 40_000]);
            }
            "drop" => drop(image.remove(&name(1))),
            "exchange" => {
                let other = image.insert(name(2), source.clone()).unwrap_or_default();
                image.insert(name(1), other);
            }
            "copy" => {
                if let Some(file) = image.get_mut(&name(4)) {
                    let to = number(5) % (file.len() + 1);
                    let length = range.len().min(file.len() - to);
                    file[to..to + length].copy_from_slice(&source[range][..length]);
                }
            }
            verb => {
                let Some(file) = image.get_mut(&name(1)) else { continue };
                is_sealed |= verb == "seal";
                edit(file, verb, range, (number(3), value));
            }
        }
    }
    (is_sealed, is_late)
}

fn edit(file: &mut Vec<u8>, verb: &str, range: std::ops::Range<usize>, (third, fourth): (usize, u8)) {
    let at = range.start;
    match verb {
        "flip" if at < file.len() => file[at] ^= 1 << (third % 8),
        "set" => file[range].fill(fourth),
        "word" if at + 4 <= file.len() => file[at..at + 4].copy_from_slice(&(third as u32).to_le_bytes()),
        "insert" => drop(file.splice(at..at, vec![0; third % 5000])),
        "delete" => drop(file.drain(range)),
        "cut" => file.truncate(at),
        "seal" => drop(seal(file, at)),
        _ => {}
    }
}

/// Makes the checksum of the record at `at` right for this file.
fn seal(file: &mut [u8], at: usize) -> Option<()> {
    let meta = u32::from_le_bytes(file.get(at + 8..at + 12)?.try_into().ok()?) as usize;
    let seed = crc32c::crc32c(file.get(8..16)?);
    let head = crc32c::crc32c_append(seed, file.get(at..at + HEAD - 8)?);
    let sum = crc32c::crc32c_append(head, file.get(at + HEAD..(at + HEAD).checked_add(meta)?)?);
    file.get_mut(at + 16..at + 20)?.copy_from_slice(&sum.to_le_bytes());
    Some(())
}

impl Target for SpoolTarget {
    const NAME: &'static str = "spool";
    const LONGEST: usize = 2000;

    fn seeds(&self) -> Vec<Vec<u8>> {
        let mut rows = vec![String::new(), "late\n".to_owned()];
        for (at, name) in self.image.keys().enumerate() {
            rows.push(format!("set {at} 0 64 0\n"));
            rows.push(format!("drop {at}\n"));
            rows.push(format!("cut {at} {}\n", self.image[name].len() / 2));
            rows.push(format!("exchange {at} {}\n", at + 1));
        }
        rows.into_iter().map(String::into_bytes).collect()
    }

    fn dictionary(&self) -> &[&[u8]] {
        &[
            b"late\n",
            b"seal 0 64\n",
            b"flip 0 64 0\n",
            b"word 0 72 4294967295\n",
            b"extra 99 1000 0\n",
            b"drop 0\n",
        ]
    }

    fn fresh(&self, dice: &mut fastrand::Rng) -> Option<Vec<u8>> {
        let names: Vec<_> = self.image.keys().collect();
        let mut script = String::new();
        for _ in 0..=mostly_small(dice, 3) {
            let place = |dice: &mut fastrand::Rng| {
                let record = dice.choice(&self.records).unwrap();
                let within = match dice.u8(..4) {
                    0 => 0,
                    1 => dice.usize(..HEAD),
                    2 => dice.usize(..record.end - record.start),
                    _ => record.end - record.start,
                };
                let segment = names.iter().position(|name| **name == record.segment).unwrap();
                (segment, record.start + within, record)
            };
            let (segment, at, record) = place(dice);
            let (other, to, _) = place(dice);
            let (length, octet) = (mostly_small(dice, 12), dice.u8(..));
            script += &match dice.u8(..14) {
                0..=2 => format!("flip {segment} {at} {}\n", dice.u8(..8)),
                3 | 4 => format!("set {segment} {at} {length} {octet}\n"),
                5 => format!("copy {segment} {} {} {other} {to}\n", record.start, record.end - record.start),
                6 => format!("copy {segment} {at} {length} {other} {to}\n"),
                7 => format!("word {segment} {at} {}\n", mostly_small(dice, 32)),
                8 => format!("word {segment} {at} {length}\nseal {segment} {}\n", record.start),
                9 => format!("delete {segment} {at} {length}\n"),
                10 => format!("insert {segment} {at} {length}\n"),
                11 => format!("cut {segment} {at}\n"),
                12 => format!("flip {segment} {} {}\n", dice.usize(..HEADER), dice.u8(..8)),
                _ => format!("late\nflip {segment} {at} {}\n", dice.u8(..8)),
            };
        }
        Some(script.into_bytes())
    }

    fn check(&self, input: &[u8]) -> u64 {
        let script = String::from_utf8_lossy(input);
        let mut image = self.image.clone();
        let (is_sealed, is_late) = damage(&mut image, &script);
        let directory = tempfile::tempdir().unwrap();
        let disk = disk_of(if is_late { &self.image } else { &image });
        let Some(found) = self.open(&disk, directory.path(), is_late.then_some(&image)) else {
            assert!(is_sealed, "damage was taken for a later version");
            return 0;
        };
        if !is_sealed {
            self.check_found(&image, &found);
        }
        let Some(again) = self.open(&disk, directory.path(), None) else {
            assert!(is_sealed, "damage was taken for a later version");
            return 0;
        };
        assert!(is_sealed || again.keys().all(|id| self.kept.contains_key(id)), "delivered, but back");
        let mut kind = DefaultHasher::new();
        (
            found.len(),
            found.values().filter(|(_, body)| body.is_some()).count(),
            again.len(),
            disk.names().len(),
        )
            .hash(&mut kind);
        (is_sealed, is_late).hash(&mut kind);
        kind.finish()
    }
}
