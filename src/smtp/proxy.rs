//! The header by which a proxy says for whom it connects: the PROXY protocol,
//! versions 1 and 2.
//!
//! Not a single octet behind the header is read, so what follows is judged like
//! anything a client says: too early, or the beginning of TLS. Of a version 2
//! header only the addresses are looked at, not the further fields behind them.
//! Whoever sends anything but a header is told by its first wrong octet.
//!
//! Source: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use tokio::io::{AsyncRead, AsyncReadExt as _};

const SIGNATURE_1: &[u8] = b"PROXY ";
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of a header line, its end included.
const LINE: usize = 107;
/// Octets behind the fixed part of a version 2 header; certificates may be there.
const FIELDS: usize = 16 * 1024;

/// On whose behalf a proxy connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// This client's.
    Client(SocketAddr),
    /// Its own (`LOCAL`), or it does not know (`UNKNOWN`).
    Itself,
}

/// Reads a header and nothing else. The error says what is wrong with it.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Source, String> {
    let mut header = Vec::with_capacity(LINE);
    loop {
        let octet = stream.read_u8().await.map_err(|error| error.to_string())?;
        header.push(octet);
        if header == SIGNATURE_2 {
            return read_binary(stream).await;
        }
        let is_line = header.starts_with(SIGNATURE_1);
        if is_line && octet == b'\n' {
            return parse_line(&header).ok_or_else(|| "the line is not understood".to_owned());
        }
        if header.len() >= LINE {
            return Err("the line is too long".to_owned());
        }
        if !is_line && !SIGNATURE_1.starts_with(&header) && !SIGNATURE_2.starts_with(&header) {
            return Err("something else came".to_owned());
        }
    }
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 40112 25`
fn parse_line(line: &[u8]) -> Option<Source> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let words: Vec<_> = line.split(' ').collect();
    match words.as_slice() {
        [_, "UNKNOWN", ..] => Some(Source::Itself),
        [_, "TCP4", from, to, port, to_port] => parse_client::<Ipv4Addr>(from, to, port, to_port),
        [_, "TCP6", from, to, port, to_port] => parse_client::<Ipv6Addr>(from, to, port, to_port),
        _ => None,
    }
}

fn parse_client<A: FromStr + Into<IpAddr>>(
    from: &str,
    to: &str,
    port: &str,
    to_port: &str,
) -> Option<Source> {
    let _: A = to.parse().ok()?;
    let _: u16 = to_port.parse().ok()?;
    let from: A = from.parse().ok()?;
    Some(client(from.into(), port.parse().ok()?))
}

fn client(address: IpAddr, port: u16) -> Source {
    Source::Client(SocketAddr::new(address.to_canonical(), port))
}

async fn read_binary(stream: &mut (impl AsyncRead + Unpin)) -> Result<Source, String> {
    let lost = |error: std::io::Error| error.to_string();
    let command = stream.read_u8().await.map_err(lost)?;
    let family = stream.read_u8().await.map_err(lost)?;
    let length = usize::from(stream.read_u16().await.map_err(lost)?);
    if length > FIELDS {
        return Err(format!("{length} octets of fields are too many"));
    }
    let mut fields = vec![0; length];
    stream.read_exact(&mut fields).await.map_err(lost)?;
    let source = match command {
        0x20 => Some(Source::Itself),
        0x21 => parse_addresses(family, &fields),
        _ => None,
    };
    source.ok_or_else(|| format!("command {command:#04x} of family {family:#04x} is not understood"))
}

/// Source and destination address, then their ports.
fn parse_addresses(family: u8, fields: &[u8]) -> Option<Source> {
    match family {
        0x11 => {
            let address: [u8; 4] = *fields.first_chunk()?;
            Some(client(Ipv4Addr::from(address).into(), port(fields.get(8..12)?)?))
        }
        0x21 => {
            let address: [u8; 16] = *fields.first_chunk()?;
            Some(client(Ipv6Addr::from(address).into(), port(fields.get(32..36)?)?))
        }
        // Unspecified, datagrams, unix sockets: nothing that could be a client of ours.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Some(Source::Itself),
        _ => None,
    }
}

fn port(ports: &[u8]) -> Option<u16> {
    ports.first_chunk().map(|port| u16::from_be_bytes(*port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(mut octets: &[u8]) -> (Result<Source, String>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let source = runtime.block_on(read(&mut octets));
        (source, octets.len())
    }

    fn binary(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let length = u16::try_from(fields.len()).unwrap().to_be_bytes();
        [SIGNATURE_2, &[command, family], &length, fields].concat()
    }

    #[test]
    fn headers_are_understood_and_nothing_behind_them_is_read() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x9c, 0xb0, 0, 25];
        let mut v6 = [0; 36];
        v6[..2].copy_from_slice(&[0x20, 0x01]);
        v6[15] = 1;
        v6[33] = 7;
        let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 1], &[0; 16], &[0, 9, 0, 25]].concat();
        let client = |text: &str| Source::Client(text.parse().unwrap());
        for (header, source) in [
            (b"PROXY TCP4 192.0.2.1 198.51.100.1 40112 25\r\n".to_vec(), client("192.0.2.1:40112")),
            (b"PROXY TCP6 2001::1 ::1 7 25\r\n".to_vec(), client("[2001::1]:7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Source::Itself),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), Source::Itself),
            (binary(0x21, 0x11, &v4), client("192.0.2.1:40112")),
            (binary(0x21, 0x11, &[&v4[..], b"\x04\0\x03abc"].concat()), client("192.0.2.1:40112")),
            (binary(0x21, 0x21, &v6), client("[2001::1]:7")),
            (binary(0x21, 0x21, &mapped), client("192.0.2.1:9")),
            (binary(0x21, 0x00, &[]), Source::Itself),
            (binary(0x21, 0x31, &[1; 216]), Source::Itself),
            (binary(0x20, 0x11, &v4), Source::Itself),
            (binary(0x20, 0x00, &[]), Source::Itself),
        ] {
            let shown = header.escape_ascii().to_string();
            assert_eq!(parse(&[&header[..], b"EHLO a\r\n"].concat()), (Ok(source), 8), "{shown}");
            assert!(parse(&header[..header.len() - 1]).0.is_err(), "{shown}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for header in [
            b"EHLO a\r\n".to_vec(),
            b"\x16\x03\x01".to_vec(),
            b"PROXX".to_vec(),
            b"\r\n\r\n\0\r\nQUIX".to_vec(),
            b"PROXY \r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 40112 25\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 40112 25 \r\n".to_vec(),
            b"PROXY TCP4  192.0.2.1 198.51.100.1 40112 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 40112\r\n".to_vec(),
            b"PROXY TCP4 2001::1 ::1 7 25\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.1 198.51.100.1 40112 25\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 198.51.100.1 40112 25\r\n".to_vec(),
            [b"PROXY UNKNOWN ", &[b'x'; 100][..], b"\r\n"].concat(),
            binary(0x11, 0x11, &[0; 12]),
            binary(0x22, 0x11, &[0; 12]),
            binary(0x21, 0x11, &[0; 11]),
            binary(0x21, 0x21, &[0; 35]),
            binary(0x21, 0x41, &[0; 36]),
            binary(0x21, 0x11, &vec![0; FIELDS + 1]),
        ] {
            assert!(parse(&header).0.is_err(), "{}", header.escape_ascii());
        }
    }

    #[test]
    fn the_first_wrong_octet_is_enough() {
        assert_eq!(parse(b"EHLO a\r\n"), (Err("something else came".to_owned()), 7));
    }
}
