//! Request bodies made smaller (RFC 9110 section 8.4).
//!
//! The same octets come out every time: a retry sends what the attempt before
//! sent. So no time, name or system is written into a gzip header (RFC 1952).

use super::terms::Compress;
use bytes::Bytes;
use flate2::{Compression, GzBuilder};
use http::HeaderValue;
use std::io::{self, Write};

/// How hard zstd tries: its own default.
const ZSTD_LEVEL: i32 = 3;

impl Compress {
    /// What `Content-Encoding` says of it, when it does something.
    pub(super) fn coding(self) -> Option<HeaderValue> {
        match self {
            Compress::No => None,
            Compress::Gzip => Some(HeaderValue::from_static("gzip")),
            Compress::Zstd => Some(HeaderValue::from_static("zstd")),
        }
    }

    /// The body in that coding. Takes about 20 ms a MiB: not for the runtime's
    /// threads when it is large.
    pub(super) fn encode(self, body: Bytes) -> io::Result<Bytes> {
        match self {
            Compress::No => Ok(body),
            Compress::Gzip => {
                let mut encoder = GzBuilder::new().write(Vec::new(), Compression::default());
                encoder.write_all(&body)?;
                encoder.finish().map(Bytes::from)
            }
            Compress::Zstd => zstd::bulk::compress(&body, ZSTD_LEVEL).map(Bytes::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn texts() -> [Vec<u8>; 3] {
        let mixed =
            (0..30_000_u32).flat_map(|number| (number.wrapping_mul(2_654_435_761) >> 20).to_be_bytes());
        [b"x".to_vec(), b"order=17&".repeat(5_000), mixed.collect()]
    }

    #[test]
    fn bodies_come_back_as_they_were_and_the_same_octets_are_made_twice() {
        for text in texts() {
            let encode = |how: Compress| how.encode(Bytes::from(text.clone())).unwrap();
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&*encode(Compress::Gzip)).read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == text);
            assert!(zstd::decode_all(&*encode(Compress::Zstd)).unwrap() == text);
            assert!(encode(Compress::No) == text);
            for how in [Compress::Gzip, Compress::Zstd] {
                assert!(encode(how) == encode(how));
                assert!(text.len() == 1 || encode(how).len() < text.len());
            }
        }
    }

    #[test]
    fn a_gzip_header_tells_no_time_and_no_system() {
        let packed = Compress::Gzip.encode(Bytes::from_static(b"x")).unwrap();
        assert_eq!(packed.get(..10), Some([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255].as_slice()));
    }
}
