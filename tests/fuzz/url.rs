//! Target: URLs and the recipients that hold them, up to the egress rules.
//!
//! An input is a URL or a forward-path. One that begins with a NUL octet is a
//! spelling of a forbidden address instead: the octets behind it choose which.

use super::engine::Target;
use postgate::compose::target as lead;
use postgate::compose::{Endpoint, MAX_URL, Options, Pattern, Payload, Route, forms, hides_credentials};
use postgate::deliver::target::{Denied, Egress, permit_origin};
use postgate::envelope;
use postgate::post::{Destination, Trust};
use postgate::smtp::command::{Command, Rcpt, parse};
use postgate::tenant::Tenant;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const DOMAIN: &str = "gw.example";
/// What no untrusted URL may reach, however it is written.
const FORBIDDEN: [[u8; 4]; 12] = [
    [127, 0, 0, 1],
    [127, 255, 255, 254],
    [0, 0, 0, 0],
    [10, 0, 0, 1],
    [10, 255, 255, 255],
    [169, 254, 169, 254],
    [172, 16, 0, 1],
    [172, 31, 255, 255],
    [192, 168, 1, 1],
    [100, 64, 0, 1],
    [224, 0, 0, 1],
    [255, 255, 255, 255],
];

/// The rules that judge a destination; a control puts others in their place.
pub struct UrlTarget {
    pub permit: fn(&Egress, &Destination, Trust) -> Result<(), Denied>,
    pub read: fn(&str) -> Option<Endpoint>,
    pub options: Options,
}

impl UrlTarget {
    pub fn new() -> UrlTarget {
        let route = |recipient: &str| Route {
            payload: Payload::Auto,
            ..Route::new(recipient.parse().unwrap(), "https://shop.example/in".parse().unwrap())
        };
        let mut routes = ["*@all.example", "orders+*@all.example", "orders@all.example"].map(route).to_vec();
        let expression = Pattern::regex(r"(.*)[^l]@.*\.?all\.example|.*://.*").unwrap();
        routes.push(Route { recipient: expression, priority: 1, ..route("a@b") });
        let options = Options { gateway_domains: vec![DOMAIN.to_owned()], routes, ..Options::default() };
        UrlTarget { permit: permit_origin, read: |text| text.parse().ok(), options }
    }

    /// Judges a URL that was taken.
    fn check_url(&self, text: &str, url: &Endpoint) {
        assert!(
            text.len() <= MAX_URL && text.bytes().all(|byte| byte > 0x20 && byte != 0x7f && byte != b'\\')
        );
        assert!(url.path.starts_with('/') && url.path.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
        http::uri::PathAndQuery::try_from(url.path.as_str()).expect("a path that HTTP does not take");
        assert!(!url.path.contains('#') && url.port != 0);
        let bare_host = url.host.trim_start_matches('[').trim_end_matches(']');
        assert!(!bare_host.is_empty() && !bare_host.contains(['@', '/', '\\', '?', '#', '%', '[', ']', ' ']));
        assert!(
            url.host.is_ascii() && url.host == url.host.to_ascii_lowercase(),
            "{} is not normal",
            url.host
        );
        let destination = url.destination(&Tenant::default());
        http::HeaderValue::try_from(destination.authority()).expect("no Host header");
        let authority: http::uri::Authority = destination.authority().parse().expect("no authority");
        assert_eq!((authority.host(), authority.port_u16().unwrap_or(url.port)), (&*url.host, url.port));
        if let Some(credentials) = &url.authorization {
            http::HeaderValue::try_from(credentials).expect("no Authorization header");
        }
        let shown = url.to_string();
        assert!(shown.len() <= 3 * text.len() + 1, "a URL grows to {} octets", shown.len());
        // What is not ASCII takes three times the room when it is encoded.
        if shown.len() <= MAX_URL {
            let again: Endpoint = shown.parse().expect("the URL as shown is none");
            assert_eq!(again, Endpoint { authorization: None, ..url.clone() }, "the URL as shown is another");
        }
        self.check_egress(&destination);
    }

    /// Nothing special is permitted, by a judgement of the standard library's own.
    fn check_egress(&self, destination: &Destination) {
        let bare = destination.host.trim_start_matches('[').trim_end_matches(']');
        let permitted = (self.permit)(&Egress::default(), destination, Trust::Wire);
        match bare.parse::<IpAddr>() {
            Ok(address) => assert!(permitted.is_err() || !is_inside(address), "{address} is permitted"),
            // Whatever a C library would read as an address must have become one.
            Err(_) => assert_eq!(number_address(bare), None, "{bare} is an address in disguise"),
        }
    }

    /// Follows a forward-path.
    fn check_recipient(&self, path: &str) {
        let hides = hides_credentials(&self.options, path);
        match lead(&self.options, path) {
            Ok(envelope::Target::Direct { method, url }) => {
                assert!(["POST", "PUT", "PATCH", "GET", "DELETE"].contains(&method.as_str()));
                let endpoint: Endpoint = url.parse().expect("a recipient leads to no URL");
                let is_hidden = endpoint.authorization.is_some() && !path.contains("://");
                assert!(!is_hidden || hides, "hidden credentials that nobody noticed");
            }
            Ok(envelope::Target::Route { route, .. }) => {
                assert!(!path.contains("://"), "{route} takes a URL")
            }
            Ok(envelope::Target::Header { .. } | envelope::Target::Event { .. }) => {}
            Err(refusal) => assert!(refusal.code == 550 || refusal.code == 553, "{refusal}"),
        }
    }

    /// Every form leads back, through the command it is sent in.
    fn check_forms(&self, url: &str) {
        for (name, text) in forms(url, DOMAIN).expect("a URL without forms") {
            let address = text.split(" and X-Postgate-Url").next().unwrap();
            let expected = match name {
                "header" => envelope::Target::Header { method: "POST".to_owned() },
                _ => envelope::Target::Direct { method: "POST".to_owned(), url: url.to_owned() },
            };
            assert_eq!(lead(&self.options, address), Ok(expected), "{name} form");
            let line = format!("RCPT TO:<{address}>");
            let is_printable =
                !url.contains(|char: char| char.is_control() || "\u{200e}\u{200f}".contains(char));
            let turns =
                url.contains(|char| matches!(char, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
            if is_printable && !turns {
                let rcpt = Rcpt { path: address, ..Rcpt::default() };
                assert_eq!(parse(line.as_bytes()), Ok(Command::Rcpt(rcpt)), "{name} form in a command");
            }
        }
    }
}

/// Addresses of the inside, a plain selection.
fn is_inside(address: IpAddr) -> bool {
    let is_inside_v4 = |v4: Ipv4Addr| {
        v4.is_loopback()
            || v4.is_private()
            || v4.is_link_local()
            || v4.is_multicast()
            || v4.is_documentation()
            || v4.octets()[0] == 0
            || v4.octets()[0] >= 240
    };
    match address {
        IpAddr::V4(v4) => is_inside_v4(v4),
        IpAddr::V6(v6) => {
            let low = v6.to_ipv4_mapped().or(v6.to_ipv4());
            let is_other = v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_multicast();
            v6.is_loopback() || v6.is_unspecified() || is_other || low.is_some_and(is_inside_v4)
        }
    }
}

/// The address that `inet_aton` of a C library makes of a name, trailing dot or not.
fn number_address(host: &str) -> Option<u32> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let number = |text: &str| match text.as_bytes() {
        [b'0', b'x' | b'X'] => None,
        [b'0', b'x' | b'X', ..] => u64::from_str_radix(&text[2..], 16).ok(),
        [b'0', _, ..] => u64::from_str_radix(text, 8).ok(),
        [digit, ..] if digit.is_ascii_digit() => text.parse().ok(),
        _ => None,
    };
    let parts: Vec<u64> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, first) = parts.split_last()?;
    let room = 8 * (4_u32.checked_sub(u32::try_from(first.len()).ok()?)?);
    let is_fit = room > 0 && *last < 1 << room && first.iter().all(|part| *part < 256);
    is_fit.then(|| {
        first.iter().zip(0..).fold(*last as u32, |sum, (part, at)| sum | (*part as u32) << (24 - 8 * at))
    })
}

/// Spells a forbidden address in one of many ways.
fn spelling(choices: &[u8]) -> String {
    let mut choices = choices.iter().copied().chain(std::iter::repeat(0));
    let mut pick = |count: usize| usize::from(choices.next().unwrap_or(0)) % count;
    let address = Ipv4Addr::from(FORBIDDEN[pick(FORBIDDEN.len())]);
    let number = u32::from(address);
    let host = match pick(8) {
        0 => [format!("[::ffff:{address}]"), format!("[::FFFF:{:x}:{:x}]", number >> 16, number & 0xffff)]
            [pick(2)]
        .clone(),
        1 => {
            let prefixes = ["64:ff9b::", "::", "2002:", "::ffff:0:", "fe80::5efe:", "0:0:0:0:0:ffff:"];
            let prefix = prefixes[pick(prefixes.len())];
            let tail = if prefix == "2002:" { "::" } else { "" };
            format!("[{prefix}{:x}:{:x}{tail}]", number >> 16, number & 0xffff)
        }
        2 => Ipv6Addr::from([0, 0, 0, 0, 0, 0xffff, (number >> 16) as u16, number as u16]).to_string(),
        _ => {
            let groups = pick(4);
            let mut rest = number;
            let mut host = String::new();
            for _ in 0..groups {
                write!(host, "{}.", digits(rest >> 24, pick(6))).unwrap();
                rest <<= 8;
            }
            host + &digits(rest >> (8 * groups), pick(6)) + ["", "."][pick(2)]
        }
    };
    let host: String = host.chars().map(|char| disguised(char, pick(12))).collect();
    let (scheme, user) =
        (["http", "HTTPS", "hTTp"][pick(3)], ["", "good.example@", "a:b@", "good%23@"][pick(4)]);
    let behind = ["", "/", ":80/", ":443/x", "?x", "/../@good.example"][pick(6)];
    format!("{scheme}://{user}{host}{behind}")
}

/// A number in decimal, octal or hexadecimal, with or without zeros before it.
fn digits(number: u32, how: usize) -> String {
    match how {
        0 | 1 => number.to_string(),
        2 => format!("0{number:o}"),
        3 => format!("0x{number:x}"),
        4 => format!("0X{number:08X}"),
        _ => format!("0000{number:o}"),
    }
}

/// A character that Unicode or percent encoding makes the same.
fn disguised(char: char, how: usize) -> String {
    let value = char.to_digit(10);
    match (how, value) {
        (1, Some(digit)) => char::from_u32(0xff10 + digit).unwrap().to_string(),
        (2, Some(digit @ 1..)) => char::from_u32(0x245f + digit).unwrap().to_string(),
        (2, Some(_)) => "\u{24ea}".to_owned(),
        (3, Some(digit)) => char::from_u32(0x1d7ce + digit).unwrap().to_string(),
        (4, _) if char.is_ascii_alphanumeric() || char == '.' => format!("%{:02X}", u32::from(char)),
        (1, None) if char == '.' => "\u{3002}".to_owned(),
        (2, None) if char == '.' => "\u{ff0e}".to_owned(),
        (3, None) if char == '.' => "\u{ff61}".to_owned(),
        (5, None) => char.to_uppercase().to_string(),
        _ => char.to_string(),
    }
}

impl Target for UrlTarget {
    const NAME: &'static str = "url";
    const LONGEST: usize = 4096;

    fn seeds(&self) -> Vec<Vec<u8>> {
        // The tables of other tests: what was seen of real clients, and what attackers write.
        let tables = [
            include_str!("../../src/compose/address_tests.rs"),
            include_str!("../../src/compose/endpoint.rs"),
            include_str!("../attacks/egress.rs"),
        ];
        let literals = tables.iter().flat_map(|table| table.split('"').skip(1).step_by(2));
        let rows = literals.filter(|text| text.contains(['@', ':'])).map(|text| text.as_bytes().to_vec());
        let url = "https://user:p%40ss@shop.example:8443/a/b?x=1&y=a%20b";
        let forms = forms(url, DOMAIN).unwrap().into_iter().map(|(_, text)| text.into_bytes());
        rows.chain(forms).chain([url.as_bytes().to_vec()]).collect()
    }

    fn dictionary(&self) -> &[&[u8]] {
        &[
            b"http://",
            b"https://",
            b"HTTP://",
            b"@",
            b"post@",
            b"put@",
            b"post+",
            b"post=",
            b"post@[",
            b"]",
            b"[",
            b"\"post:",
            b"\"@gw.example",
            b"@gw.example",
            b".u.gw.example",
            b"@all.example",
            b"=3A",
            b"=2F",
            b"%2e",
            b"%00",
            b"/",
            b"//",
            b"\\",
            b"?",
            b"#",
            b":",
            b":0",
            b":80",
            b":65536",
            b".",
            b"..",
            b"\t",
            b"\r\n",
            b" ",
            b"\0",
            b"\x7f",
            b"127.0.0.1",
            b"0x7f.1",
            b"2130706433",
            b"017700000001",
            b"[::1]",
            b"[::ffff:7f00:1]",
            b"localhost",
            b"%25eth0",
            b"xn--",
            b"\xe3\x80\x82",
            b"\xef\xbc\x91",
            b"\xe2\x91\xa0",
            b"\xc2\xad",
            b"\xe2\x80\x8b",
            b"\xc3\x9f",
            b"\xe2\x84\xa8",
            b"\xe2\x80\xae",
            b"user:pass@",
            b"<",
            b">",
            b"+",
            b"*",
            b"undefined",
            b"|",
            b"^",
            b"{",
            b"}",
            b"`",
            b"%zz",
        ]
    }

    fn fresh(&self, dice: &mut fastrand::Rng) -> Option<Vec<u8>> {
        let choices = (0..48).map(|_| dice.u8(..));
        Some(std::iter::once(0).chain(choices).collect())
    }

    fn check(&self, input: &[u8]) -> u64 {
        let mut kind = DefaultHasher::new();
        if let Some(choices) = input.strip_prefix(b"\0") {
            let text = spelling(choices);
            let url = (self.read)(&text);
            if let Some(url) = &url {
                self.check_url(&text, url);
                let destination = url.destination(&Tenant::default());
                assert!(
                    (self.permit)(&Egress::default(), &destination, Trust::Wire).is_err(),
                    "{text} is permitted"
                );
            }
            (url.is_some(), text.len() / 8).hash(&mut kind);
            return kind.finish();
        }
        let text = String::from_utf8_lossy(input);
        self.check_recipient(&text);
        let path = text.split_once('@').map_or("", |(_, path)| path);
        for url in [&*text, path] {
            let endpoint = (self.read)(url);
            if let Some(endpoint) = &endpoint {
                self.check_url(url, endpoint);
                self.check_forms(url);
            }
            let shape =
                endpoint.map(|url| (url.host.len() / 4, url.path.len() / 8, url.authorization.is_some()));
            (shape, url.parse::<Endpoint>().err().map(|reason| reason.to_string())).hash(&mut kind);
        }
        match lead(&self.options, &text) {
            Ok(target) => std::mem::discriminant(&target).hash(&mut kind),
            Err(refusal) => refusal.text.hash(&mut kind),
        }
        kind.finish()
    }
}
