//! A name server that lies as it is told, and a world of its own to do it in.
//!
//! The gateway asks whom the machine's configuration names, at port 53, and takes
//! no loopback address for public. So a test that needs names runs itself once
//! more in new namespaces (`unshare`): with a network that has nothing but
//! loopback, one public address on it, and a resolver configuration that names
//! this server.
#![allow(dead_code)]

use super::tools::leave_out;
use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::{Arc, Mutex};

/// An address of the public internet that is this machine, in such a world.
pub const PUBLIC: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);

const INSIDE: &str = "POSTGATE_TEST_WORLD";

/// Runs `test`, which is called `name`, in a world of its own; leaves it out where
/// none can be made.
pub fn in_a_world_of_its_own(name: &str, test: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return test();
    }
    let directory = tempfile::TempDir::new().unwrap();
    let resolver = directory.path().join("resolv.conf");
    // A search domain, and dots enough for it to be asked first.
    fs::write(&resolver, "nameserver 127.0.0.1\nsearch search.example\noptions ndots:5 timeout:1\n").unwrap();
    let prepare = format!(
        "ip link set lo up && ip addr add {PUBLIC}/32 dev lo && mount --bind {} /etc/resolv.conf",
        resolver.display()
    );
    let world = |command: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "--net", "sh", "-c", command]);
        unshare
    };
    if !world(&prepare).output().is_ok_and(|output| output.status.success()) {
        return leave_out("no namespaces can be made here");
    }
    let again = std::env::current_exe().unwrap();
    let command = format!("{prepare} && exec {} --exact {name} --nocapture", again.display());
    let output = world(&command).env(INSIDE, "1").output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// What is answered to a question for addresses.
#[derive(Clone)]
pub enum Answer {
    /// These addresses, each good for no time at all.
    Addresses(Vec<IpAddr>),
    /// Another name, and its addresses beside it.
    Alias(&'static str, Vec<IpAddr>),
    /// Only another name.
    AliasOnly(&'static str),
    /// Texts, as they are when they are asked for.
    Texts(Arc<dyn Fn() -> Vec<String> + Send + Sync>),
    /// A name that is not there.
    NoSuchName,
    /// `SERVFAIL`.
    Failure,
    /// `REFUSED`.
    Refusal,
    /// Octets that are no message.
    Garbage,
    /// Nothing.
    Silence,
}

/// Addresses of this text.
pub fn addresses(list: &[&str]) -> Answer {
    Answer::Addresses(list.iter().map(|text| text.parse().unwrap()).collect())
}

/// Answers by name; a list is gone through, its last answer goes on.
type Zone = HashMap<&'static str, Vec<Answer>>;

/// A running name server; it ends with the test's process.
pub struct NameServer {
    asked: Arc<Mutex<Vec<(String, u16)>>>,
}

const A: u16 = 1;
const CNAME: u16 = 5;
const TXT: u16 = 16;
const AAAA: u16 = 28;

impl NameServer {
    /// Answers at port 53; names that are not in the zone are not there.
    pub fn start(zone: &[(&'static str, &[Answer])]) -> NameServer {
        let zone: Zone = zone.iter().map(|(name, answers)| (*name, answers.to_vec())).collect();
        let zone = Arc::new(zone);
        let asked: Arc<Mutex<Vec<(String, u16)>>> = Arc::default();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
        let (socket, listener) = (UdpSocket::bind(address).unwrap(), TcpListener::bind(address).unwrap());
        let (own, said) = (Arc::clone(&zone), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let Some(mut reply) = answer(&buffer[..length], &own, &said) else { continue };
                if reply.len() > 512 {
                    // Truncated: to be asked again over TCP.
                    reply = header_only(&buffer[..length], 0x8380);
                }
                socket.send_to(&reply, peer).unwrap();
            }
        });
        let said = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (zone, said) = (Arc::clone(&zone), Arc::clone(&said));
                std::thread::spawn(move || serve(stream, &zone, &said));
            }
        });
        NameServer { asked }
    }

    /// The names that were asked for, each with the type of record.
    pub fn asked(&self) -> Vec<(String, u16)> {
        self.asked.lock().unwrap().clone()
    }

    /// How often a name was asked for its IPv4 addresses.
    pub fn count(&self, name: &str) -> usize {
        self.asked().iter().filter(|(asked, kind)| asked == name && *kind == A).count()
    }
}

fn serve(mut stream: TcpStream, zone: &Zone, asked: &Mutex<Vec<(String, u16)>>) -> Option<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question).ok()?;
        let reply = answer(&question, zone, asked)?;
        let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length, &reply[..]].concat()).ok()?;
    }
}

/// The name asked for, its record type, and where the question ends (RFC 1035
/// section 4.1.2).
fn question(octets: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*octets.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(octets.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

/// A reply without records.
fn header_only(octets: &[u8], flags: u16) -> Vec<u8> {
    let end = question(octets).map_or(octets.len(), |(_, _, end)| end);
    let mut reply = octets[..2].to_vec();
    reply.extend(flags.to_be_bytes());
    reply.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    reply.extend(&octets[12..end]);
    reply
}

fn answer(octets: &[u8], zone: &Zone, asked: &Mutex<Vec<(String, u16)>>) -> Option<Vec<u8>> {
    let (name, kind, _) = question(octets)?;
    let earlier = {
        let mut asked = asked.lock().unwrap();
        let earlier = asked.iter().filter(|(one, other)| *one == name && *other == kind).count();
        asked.push((name.clone(), kind));
        earlier
    };
    let answers = zone.get(name.as_str()).map_or(&[Answer::NoSuchName][..], Vec::as_slice);
    let answer = answers.get(earlier).or(answers.last())?;
    let mut records = Vec::new();
    match answer {
        Answer::Silence => return None,
        Answer::Garbage => return Some([&octets[..2], &[0xff; 30]].concat()),
        Answer::NoSuchName => return Some(header_only(octets, 0x8583)),
        Answer::Failure => return Some(header_only(octets, 0x8182)),
        Answer::Refusal => return Some(header_only(octets, 0x8185)),
        Answer::Addresses(list) => push_addresses(&mut records, b"\xc0\x0c", kind, list),
        Answer::Texts(texts) => records.extend(texts().iter().filter(|_| kind == TXT).map(|text| {
            let data = [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            record(b"\xc0\x0c", TXT, &data)
        })),
        Answer::AliasOnly(other) => records.push(alias(other)),
        Answer::Alias(other, list) => {
            records.push(alias(other));
            push_addresses(&mut records, &encoded(other), kind, list);
        }
    }
    let mut reply = header_only(octets, 0x8580);
    reply[6..8].copy_from_slice(&u16::try_from(records.len()).unwrap().to_be_bytes());
    records.iter().for_each(|record| reply.extend(record));
    Some(reply)
}

fn alias(name: &str) -> Vec<u8> {
    record(b"\xc0\x0c", CNAME, &encoded(name))
}

fn push_addresses(records: &mut Vec<Vec<u8>>, name: &[u8], kind: u16, list: &[IpAddr]) {
    for address in list {
        match address {
            IpAddr::V4(address) if kind == A => records.push(record(name, A, &address.octets())),
            IpAddr::V6(address) if kind == AAAA => records.push(record(name, AAAA, &address.octets())),
            _ => {}
        }
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat();
    name.split('.').map(label).chain([vec![0]]).collect::<Vec<_>>().concat()
}

/// A record of class IN that is good for no time at all.
fn record(name: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    [name, &kind.to_be_bytes(), &[0, 1, 0, 0, 0, 0], &length, data].concat()
}
