//! Requests and responses as octets, in tables.

use super::*;

/// All of a body that comes in pieces of so many octets, whether it ended, and how
/// many octets were left.
fn read(head: &mut Head, octets: &[u8], step: usize) -> Result<(String, bool, usize), Malformed> {
    let (mut text, mut unread) = (Vec::new(), BytesMut::new());
    let mut coming = octets.chunks(step.max(1));
    loop {
        match head.body.take(&mut unread)? {
            Piece::Octets(octets) => text.extend_from_slice(&octets),
            Piece::End => {
                let left = unread.len() + coming.map(<[u8]>::len).sum::<usize>();
                return Ok((String::from_utf8(text).unwrap(), true, left));
            }
            Piece::Nothing => match coming.next() {
                Some(octets) => unread.extend_from_slice(octets),
                None => return Ok((String::from_utf8(text).unwrap(), false, unread.len())),
            },
        }
    }
}

fn head(text: &str) -> Result<Option<Head>, Malformed> {
    take_head(&mut BytesMut::from(text), text.len())
}

/// A head whose `\u{80}` to `\u{ff}` are single octets.
fn head_of_octets(text: &str) -> Result<Option<Head>, Malformed> {
    let octets: Vec<u8> = text.chars().map(|char| u8::try_from(u32::from(char)).unwrap()).collect();
    take_head(&mut BytesMut::from(&octets[..]), octets.len())
}

#[test]
fn a_request_is_written_as_it_is_meant() {
    let request = Request::post("/a?b=c").header("x-two-words", "1").header("host", "h").body(()).unwrap();
    let text = "POST /a?b=c HTTP/1.1\r\nX-Two-Words: 1\r\nHost: h\r\n\r\n";
    assert_eq!(request_head(&request), text);
}

#[test]
fn a_head_is_read_whole_however_it_comes() {
    let text = b"HTTP/1.1 200 Fine\r\nA: b\r\nA: c\r\n\r\nbody";
    for step in 1..text.len() {
        let mut unread = BytesMut::new();
        let found = text.chunks(step).find_map(|octets| {
            unread.extend_from_slice(octets);
            take_head(&mut unread, octets.len()).unwrap()
        });
        let found = found.unwrap();
        let values: Vec<_> = found.headers.get_all("a").into_iter().collect();
        assert!(found.status == 200 && values == ["b", "c"], "{step}: {found:?}");
        assert!(b"body".starts_with(&unread), "{step}");
    }
}

#[test]
fn what_is_no_head_is_refused() {
    for text in [
        "x",
        "<html>",
        "200 OK\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "HTTP/1.1 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        &format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(RESPONSE_HEAD)),
        &format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(RESPONSE_HEAD)),
        &format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(FIELDS + 1)),
    ] {
        assert!(head(text).is_err(), "{}", &text[..text.len().min(60)]);
    }
    for text in ["H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nA: b\r\n"] {
        assert!(head(text).unwrap().is_none(), "{text:?}");
    }
}

#[test]
fn what_tells_of_framing_is_taken_as_it_should_be_or_not_at_all() {
    for (fields, is_fine) in [
        ("Content-Length: 5", true),
        ("Content-Length:  5 , 5\t", true),
        ("Content-Length: 5,", false),
        ("Content-Length: 5 5", false),
        ("Content-Length: 5;a=b", false),
        ("Content-Length: 0x5", false),
        ("Content-Length: 5\u{a0}", false),
        ("Content-Length: 5\r\nContent-Length: \u{b2}", false),
        ("Content-Length: \u{b2}\r\nContent-Length: 5", false),
        ("Content-Length: 5, 05", true),
        ("Content-Length: 5\r\n 5", false),
        ("Transfer-Encoding: chunked", true),
        ("Transfer-Encoding: chunked\u{85}", false),
        ("Transfer-Encoding: gzip\u{a0}, chunked", false),
        ("Transfer-Encoding: \u{ff}\r\nTransfer-Encoding: chunked", false),
        ("Transfer-Encoding: chunked, chunked", false),
        ("Transfer-Encoding: Chunked, gzip, chunked", false),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", false),
        // Read to its end, after which there is no other (RFC 9112 section 6.3).
        ("Transfer-Encoding: chunked, gzip", true),
        ("Transfer-Encoding: \u{b}chunked", false),
        ("Connection: close", true),
        ("Connection: clo\u{73}e\u{a0}", false),
        ("Connection: keep-alive\r\nConnection: \u{e9}", false),
        ("Server: caf\u{e9}", true),
    ] {
        let read = head_of_octets(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"));
        assert_eq!(read.is_ok(), is_fine, "{fields:?}: {read:?}");
    }
}

#[test]
fn a_body_ends_where_its_head_says() {
    for (fields, octets, text, is_whole, left, is_kept) in [
        ("1.1 200 OK\r\nContent-Length: 4", "textmore", "text", true, 4, true),
        ("1.1 200 OK\r\nContent-Length: 4, 4", "text", "text", true, 0, true),
        ("1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 4", "text", "text", true, 0, true),
        ("1.1 200 OK\r\nContent-Length: 5", "text", "text", false, 0, true),
        ("1.1 200 OK\r\nContent-Length: 0", "more", "", true, 4, true),
        ("1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0", "", "", true, 0, false),
        ("1.0 200 OK\r\nContent-Length: 0", "", "", true, 0, false),
        ("1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0", "", "", true, 0, true),
        ("1.1 204 Empty\r\nContent-Length: 4", "more", "", true, 4, true),
        ("1.1 304 Same\r\nTransfer-Encoding: chunked", "more", "", true, 4, true),
        ("1.1 101 Other\r\nUpgrade: x", "more", "", true, 4, false),
        ("1.1 200 OK", "text", "text", false, 0, true),
        ("1.1 200 OK\r\nTransfer-Encoding: gzip", "text", "text", false, 0, true),
        ("1.1 200 OK\r\nTransfer-Encoding: chunked, gzip", "0\r\n\r\n", "0\r\n\r\n", false, 0, true),
        ("1.1 200 OK\r\nTransfer-Encoding: chunked", "4\r\ntext\r\n0\r\n\r\nmore", "text", true, 4, true),
        ("1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked", "0\r\n\r\n", "", true, 0, true),
        (
            "1.1 200 OK\r\nTransfer-Encoding: chunked",
            "2;a=b\r\nte\r\n02\r\nxt\r\n0\r\nA: b\r\nC: d\r\n\r\nx",
            "text",
            true,
            1,
            true,
        ),
        ("1.1 200 OK\r\nTransfer-Encoding: chunked", "4\r\ntext\r\n", "text", false, 0, true),
        (
            "1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 4",
            "4\r\ntext\r\n0\r\n\r\n",
            "text",
            true,
            0,
            false,
        ),
    ] {
        for step in 1..=octets.len().max(1) {
            let mut head = head(&format!("HTTP/{fields}\r\n\r\n")).unwrap().unwrap();
            assert_eq!(head.is_kept, is_kept, "{fields:?}");
            let expected = Ok((text.to_owned(), is_whole, left));
            assert_eq!(read(&mut head, octets.as_bytes(), step), expected, "{fields:?} {step}");
        }
    }
}

#[test]
fn chunks_that_lie_are_refused() {
    let endless = "1;a=b\r\nx\r\n".repeat(RESPONSE_HEAD / 7);
    let (long, trailers) = (format!("1;{}", "a".repeat(RESPONSE_HEAD)), "A: b\r\n".repeat(RESPONSE_HEAD / 5));
    for octets in [
        "x\r\n",
        "\r\n",
        "-1\r\n",
        "fffffffffffffffff\r\n",
        "4\r\ntextmore\r\n",
        "4\r\ntext\n0\r\n\r\n",
        "4;\ntext\r\n0\r\n\r\n",
        "4\ntext\r\n0\r\n\r\n",
        "0\r\n\n",
        "0\r\nA: b\n\r\n",
        &endless,
        &long,
        &format!("0\r\n{trailers}"),
    ] {
        let mut head = head("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap().unwrap();
        assert!(read(&mut head, octets.as_bytes(), 1000).is_err(), "{}", &octets[..octets.len().min(40)]);
    }
}
