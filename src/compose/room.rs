//! Room for a body: how much there may be of it, and where it comes from.

use bytes::Bytes;
use memmap2::MmapMut;
use std::io;

/// Bodies that are likely to be as long as this are large.
const LARGE: usize = 1 << 20;

/// What `write` writes, likely as long as `likely`; `None` when it would be more
/// than `limit` octets. A large body gets all its room at once, mapped: the system
/// provides what is written to, in large pages where it has them, and takes it
/// back when it is over. A buffer that grows would be there twice.
pub fn fill(
    likely: usize,
    limit: usize,
    write: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> Option<Bytes> {
    if likely < LARGE || limit < LARGE {
        let mut out = Bounded { octets: Vec::with_capacity(likely.min(limit)), limit };
        write(&mut out).ok()?;
        // It may wait in memory for its turn.
        out.octets.shrink_to_fit();
        return Some(out.octets.into());
    }
    let mut map = MmapMut::map_anon(limit).ok()?;
    #[cfg(target_os = "linux")]
    // Only faster: in pages of 4 KiB a quarter of the time goes into providing them.
    let _ = map.advise(memmap2::Advice::HugePage);
    let mut out = Fixed { room: &mut map, length: 0 };
    write(&mut out).ok()?;
    let length = out.length;
    if length < LARGE {
        // It may wait for its turn, and would hold a large page.
        return map.get(..length).map(Bytes::copy_from_slice);
    }
    Some(Bytes::from_owner(map).slice(..length))
}

struct Bounded {
    octets: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_all(octets).map(|()| octets.len())
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        if self.octets.len() + octets.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.octets.extend_from_slice(octets);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The same in room of a fixed size. Not the standard library's writer of slices,
/// which takes three times as long for what is short.
struct Fixed<'a> {
    room: &'a mut [u8],
    length: usize,
}

impl io::Write for Fixed<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.write_all(octets).map(|()| octets.len())
    }

    fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        let end = self.length + octets.len();
        let room = self.room.get_mut(self.length..end).ok_or(io::ErrorKind::FileTooLarge)?;
        room.copy_from_slice(octets);
        self.length = end;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::json_octets::write;
    use super::*;

    #[test]
    fn a_small_body_holds_no_room_for_a_large_one() {
        for likely in [0, LARGE] {
            let octets = write(&"x", likely, 64 * LARGE).unwrap();
            // What is mapped cannot be written to any more.
            assert_eq!(octets.try_into_mut().unwrap(), "\"x\"", "{likely}");
        }
    }

    #[test]
    fn the_limit_holds_at_and_not_one_past() {
        for likely in [0, LARGE] {
            let text = "x".repeat(LARGE);
            assert_eq!(write(&text, likely, LARGE + 2).unwrap().len(), LARGE + 2);
            assert!(write(&text, likely, LARGE + 1).is_none());
        }
    }
}
