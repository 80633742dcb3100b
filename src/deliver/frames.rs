//! The heads of HTTP/2 frames as they come in (RFC 9113 section 4.1).
//!
//! Only length and kind are read, and what a GOAWAY says: the library that speaks
//! HTTP/2 tells neither how many frames came nor which stream was the last one.
//! What the frames are for is that library's business.

/// Octets of a frame's head.
const HEAD: usize = 9;
/// Those, and what a GOAWAY says.
const GOAWAY_HEAD: usize = HEAD + 8;

const DATA: u8 = 0;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// Frames without content that any connection may have.
const ALLOWED: u64 = 1000;
/// Those that a request may add: its answer's head, resets, windows, pings.
const ALLOWED_BY_REQUEST: u64 = 20;
/// Octets we send that allow one more: windows are updated as bodies arrive.
const OCTETS_BY_FRAME: u64 = 64;

/// What a GOAWAY says (RFC 9113 section 6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Goaway {
    /// The last stream that the receiver looks at.
    pub last_stream: u32,
    /// Why, as one of the error codes of section 7.
    pub code: u32,
}

/// Octets of other frames than data: those that any connection may have, and
/// those that a request may add. Interim responses are kept until the final one.
const OCTETS: u64 = 1024 * 1024;
const OCTETS_BY_REQUEST: u64 = 64 * 1024;

/// A reader of frame heads.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; GOAWAY_HEAD],
    have: usize,
    skip: usize,
    /// Kind of the first frame.
    first: Option<u8>,
    /// Frames but those with data.
    counted: u64,
    /// Octets of frames but those with data.
    octets: u64,
    goaway: Option<Goaway>,
}

impl Frames {
    /// Reads on, from any point in a frame to any other.
    pub(super) fn take(&mut self, mut octets: &[u8]) {
        while let Some((first, rest)) = octets.split_first() {
            if self.skip > 0 {
                let skipped = self.skip.min(octets.len());
                self.skip -= skipped;
                octets = octets.get(skipped..).unwrap_or_default();
                continue;
            }
            if let Some(place) = self.head.get_mut(self.have) {
                *place = *first;
            }
            self.have += 1;
            octets = rest;
            self.end_head();
        }
    }

    /// Counts a frame when its head is complete.
    fn end_head(&mut self) {
        let [a, b, c, kind, _, _, _, _, _, id @ .., e, f, g, h] = self.head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let is_long = kind == GOAWAY && length >= GOAWAY_HEAD - HEAD;
        let wanted = if is_long { GOAWAY_HEAD } else { HEAD };
        if self.have < wanted.max(HEAD) {
            return;
        }
        if is_long {
            let last_stream = u32::from_be_bytes(id) & 0x7fff_ffff;
            self.goaway = Some(Goaway { last_stream, code: u32::from_be_bytes([e, f, g, h]) });
        }
        self.first.get_or_insert(kind);
        self.counted += u64::from(kind != DATA || length == 0);
        self.octets += if kind == DATA { 0 } else { length as u64 };
        self.skip = length - (wanted - HEAD);
        self.have = 0;
        self.head = [0; GOAWAY_HEAD];
    }

    /// The last GOAWAY, when there was one.
    pub(super) fn goaway(&self) -> Option<Goaway> {
        self.goaway
    }

    /// Whether it is HTTP/2 at all, as far as it came: that begins with settings
    /// (RFC 9113 section 3.4).
    pub(super) fn is_http2(&self) -> bool {
        self.first.is_none_or(|kind| kind == SETTINGS)
    }

    /// Whether more came than so many requests of so many octets can explain.
    pub(super) fn is_flood(&self, requests: u32, written: u64) -> bool {
        let requests = u64::from(requests);
        self.counted > ALLOWED + requests * ALLOWED_BY_REQUEST + written / OCTETS_BY_FRAME
            || self.octets > OCTETS + requests * OCTETS_BY_REQUEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let stream = [
            frame(4, &[0; 6]),
            frame(DATA, b"body"),
            frame(DATA, b""),
            frame(GOAWAY, &[0x80, 0, 0, 5, 0, 0, 0, 2, b'x']),
            frame(6, &[0; 8]),
        ]
        .concat();
        let goaway = Goaway { last_stream: 5, code: 2 };
        for step in 1..stream.len() {
            let mut frames = Frames::default();
            stream.chunks(step).for_each(|piece| frames.take(piece));
            assert_eq!((frames.counted, frames.goaway()), (4, Some(goaway)), "{step}");
        }
    }

    #[test]
    fn other_protocols_are_told_by_their_first_octets() {
        for (stream, is_http2) in
            [(&frame(SETTINGS, b"")[..], true), (b"HTTP/1.1 400 Bad Request", false), (b"HTTP", true)]
        {
            let mut frames = Frames::default();
            frames.take(stream);
            assert_eq!(frames.is_http2(), is_http2, "{stream:?}");
        }
    }

    #[test]
    fn what_requests_explain_is_no_flood() {
        let mut frames = Frames::default();
        for _ in 0..=ALLOWED {
            assert!(!frames.is_flood(0, 0));
            frames.take(&frame(4, b""));
        }
        assert!(frames.is_flood(0, 0));
        assert!(!frames.is_flood(1, 0));
        assert!(!frames.is_flood(0, OCTETS_BY_FRAME));
    }

    #[test]
    fn large_frames_without_data_are_a_flood_as_well() {
        let mut frames = Frames::default();
        let head = frame(1, &[0; 16 * 1024]);
        (0..64).for_each(|_| frames.take(&head));
        assert!(!frames.is_flood(0, 0));
        frames.take(&head);
        assert!(frames.is_flood(0, 0));
        assert!(!frames.is_flood(1, 0));
        let mut frames = Frames::default();
        (0..1000).for_each(|_| frames.take(&frame(DATA, &[0; 16 * 1024])));
        assert!(!frames.is_flood(0, 0), "of data the windows see to that");
    }
}
