//! Where posts may go: the egress rules.
//!
//! URLs that came over the wire are untrusted: they reach the public internet
//! and what `[egress] allow` names. The operator's own URLs may go anywhere. In
//! both cases a post to the gateway's own listeners is refused: it would come
//! back for ever.
//!
//! Addresses are judged after parsing and after resolving, never as text, so no
//! spelling of an address passes. The tables are the IANA special-purpose
//! registries; forms that carry an IPv4 address inside an IPv6 one are refused
//! whatever is inside, because somebody on the way may unpack it.

use crate::network::Network;
use crate::post::{Destination, Trust};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What the operator says about outbound connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Networks that untrusted URLs may reach besides the public internet.
    pub allow: Vec<Network>,
    /// Networks they may not reach; stronger than `allow`.
    pub deny: Vec<Network>,
    /// The only ports they may use; nothing means all but those of other
    /// protocols.
    pub allow_ports: Option<Vec<u16>>,
    /// Where this gateway itself listens.
    pub own: Vec<SocketAddr>,
}

/// The rule that forbids a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The address belongs to a special-purpose network.
    Special(IpAddr, &'static str),
    /// The address belongs to a network of `[egress] deny`.
    Listed(IpAddr, Network),
    /// The name is not one of the public internet.
    Name(String),
    /// The port belongs to another protocol.
    Port(u16),
    /// The address is the gateway's own.
    Loop(SocketAddr),
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("egress-denied: ")?;
        match self {
            Denied::Special(address, what) => {
                write!(f, "{address} is {what}; allow it with [egress] allow")
            }
            Denied::Listed(address, network) => write!(f, "{address} is in {network} of [egress] deny"),
            Denied::Name(name) => {
                write!(f, "{name} is not a public name; allow its addresses with [egress] allow")
            }
            Denied::Port(port) => {
                write!(f, "port {port} is not for HTTP; allow it with [egress] allow_ports")
            }
            Denied::Loop(address) => write!(f, "{address} is this gateway itself"),
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, prefix: u8, what: &'static str) -> (Network, &'static str) {
    (Network::v4([a, b, c, 0], prefix), what)
}

const fn v6(a: u16, b: u16, c: u16, prefix: u8, what: &'static str) -> (Network, &'static str) {
    (Network::v6([a, b, c, 0, 0, 0, 0, 0], prefix), what)
}

/// IANA IPv4 special-purpose address registry, and multicast.
const SPECIAL_V4: &[(Network, &str)] = &[
    v4(0, 0, 0, 8, "unspecified"),
    v4(10, 0, 0, 8, "private"),
    v4(100, 64, 0, 10, "carrier-grade NAT"),
    v4(127, 0, 0, 8, "loopback"),
    v4(169, 254, 0, 16, "link-local"),
    v4(172, 16, 0, 12, "private"),
    v4(192, 0, 0, 24, "reserved for protocols"),
    v4(192, 0, 2, 24, "for documentation"),
    v4(192, 88, 99, 24, "a 6to4 relay"),
    v4(192, 168, 0, 16, "private"),
    v4(198, 18, 0, 15, "for benchmarks"),
    v4(198, 51, 100, 24, "for documentation"),
    v4(203, 0, 113, 24, "for documentation"),
    v4(224, 0, 0, 4, "multicast"),
    v4(240, 0, 0, 4, "reserved"),
];

/// IANA IPv6 special-purpose address registry; the first entry that holds an
/// address names it, and what no entry but the last holds is global.
const SPECIAL_V6: &[(Network, &str)] = &[
    (Network::v6([0; 8], 128), "unspecified"),
    (Network::v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (Network::v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), "an IPv4-translated address"),
    v6(0, 0, 0, 96, "an IPv4-compatible address"),
    v6(0x64, 0xff9b, 0, 32, "a NAT64 address"),
    v6(0x100, 0, 0, 64, "discarded"),
    v6(0x2001, 0, 0, 32, "a Teredo address"),
    v6(0x2001, 0, 0, 23, "reserved for protocols"),
    v6(0x2001, 0xdb8, 0, 32, "for documentation"),
    v6(0x2002, 0, 0, 16, "a 6to4 address"),
    v6(0x3fff, 0, 0, 20, "for documentation"),
    v6(0xfc00, 0, 0, 7, "private"),
    v6(0xfe80, 0, 0, 10, "link-local"),
    v6(0xfec0, 0, 0, 10, "site-local"),
    v6(0xff00, 0, 0, 8, "multicast"),
];

/// All global unicast addresses there are so far (RFC 4291 section 2.4).
const GLOBAL_V6: Network = Network::v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What an address is, when it is not one of the public internet.
fn special(address: IpAddr) -> Option<&'static str> {
    let named = |table: &[(Network, &'static str)]| {
        table.iter().find(|(network, _)| network.contains(address)).map(|(_, what)| *what)
    };
    let IpAddr::V6(v6) = address else { return named(SPECIAL_V4) };
    if v6.to_ipv4_mapped().is_some() {
        return Some("an IPv4-mapped address");
    }
    // ISATAP (RFC 5214 section 6.1) hides in the lower half of any prefix.
    let isatap = matches!(v6.segments(), [_, _, _, _, 0 | 0x200, 0x5efe, ..]);
    named(SPECIAL_V6)
        .or(isatap.then_some("an ISATAP address"))
        .or((!GLOBAL_V6.contains(address)).then_some("reserved"))
}

/// Ports of mail, database and shell services, and those browsers block (WHATWG
/// Fetch, "bad port").
const FOREIGN_PORTS: &[u16] = &[
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 24, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102,
    103, 104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 162, 179, 389, 427, 445,
    465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 873, 989, 990, 993,
    995, 1433, 1434, 1521, 1719, 1720, 1723, 2049, 2375, 2379, 2380, 2525, 3306, 3389, 3659, 4045, 4190,
    4369, 5060, 5061, 5432, 5900, 5984, 5985, 5986, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
    6697, 9042, 9160, 10080, 11211, 27017, 27018, 27019,
];

/// What can be said before a name is resolved: port, literal address, loop.
/// The door asks it as well, so that a hopeless URL is refused at once.
pub fn permit_origin(egress: &Egress, destination: &Destination, trust: Trust) -> Result<(), Denied> {
    if let Some(address) = literal(&destination.host) {
        permit_addresses(egress, (destination, trust), &[address])?;
    }
    let port = destination.port;
    let allowed = match &egress.allow_ports {
        Some(ports) => ports.contains(&port),
        None => !FOREIGN_PORTS.contains(&port),
    };
    if trust == Trust::Wire && !allowed {
        return Err(Denied::Port(port));
    }
    Ok(())
}

/// Whether all addresses of a destination may be reached: one forbidden one
/// forbids them all, or an attacker's name server would only have to try often.
pub fn permit_addresses(
    egress: &Egress,
    (destination, trust): (&Destination, Trust),
    addresses: &[IpAddr],
) -> Result<(), Denied> {
    let is_name = literal(&destination.host).is_none();
    for address in addresses {
        let socket = SocketAddr::new(*address, destination.port);
        if egress.own.iter().any(|own| is_own(own, socket)) {
            return Err(Denied::Loop(socket));
        }
        if trust == Trust::Operator {
            continue;
        }
        if let Some(network) = egress.deny.iter().find(|network| network.contains(*address)) {
            return Err(Denied::Listed(*address, *network));
        }
        if egress.allow.iter().any(|network| network.contains(*address)) {
            continue;
        }
        if let Some(what) = special(*address) {
            return Err(Denied::Special(*address, what));
        }
        if is_name && !is_public(&destination.host) {
            return Err(Denied::Name(destination.host.clone()));
        }
    }
    Ok(())
}

/// Whether the other end of a connection is the gateway itself, reached by one
/// of the machine's own addresses: a listener on all of them does not tell which.
pub fn permit_connection(egress: &Egress, local: SocketAddr, peer: SocketAddr) -> Result<(), Denied> {
    let on_this_machine = local.ip().to_canonical() == peer.ip().to_canonical();
    let listens = |own: &SocketAddr| own.port() == peer.port() && own.ip().is_unspecified();
    if on_this_machine && egress.own.iter().any(listens) { Err(Denied::Loop(peer)) } else { Ok(()) }
}

fn is_own(own: &SocketAddr, address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let same = own.ip().to_canonical() == ip;
    own.port() == address.port()
        && (same || ip.is_unspecified() || own.ip().is_unspecified() && ip.is_loopback())
}

/// The address of a host that is one; IPv6 stands in brackets.
pub fn literal(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    inner.parse().ok()
}

/// Whether a name can be one of the public internet: it has several labels, none
/// of them empty, and is none of those that mean the machine or its host.
fn is_public(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let mut labels = name.rsplit('.');
    let top = labels.next().unwrap_or_default();
    name.contains('.')
        && name.split('.').all(|label| !label.is_empty())
        && !matches!(top, "localhost" | "internal" | "local" | "localdomain")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::Scheme;
    use crate::tenant::Tenant;

    fn destination(host: &str, port: u16) -> Destination {
        Destination {
            tenant: Tenant::default(),
            scheme: Scheme::Http,
            host: host.to_owned(),
            port,
            webhook: None,
        }
    }

    fn permit(egress: &Egress, host: &str) -> Result<(), String> {
        permit_origin(egress, &destination(host, 80), Trust::Wire).map_err(|denied| denied.to_string())
    }

    #[test]
    fn special_networks_are_refused_to_their_edges_and_not_beyond() {
        for (network, before, first, last, after) in [
            ("0/8", None, "0.0.0.0", "0.255.255.255", Some("1.0.0.0")),
            ("10/8", Some("9.255.255.255"), "10.0.0.0", "10.255.255.255", Some("11.0.0.0")),
            ("100.64/10", Some("100.63.255.255"), "100.64.0.0", "100.127.255.255", Some("100.128.0.0")),
            ("127/8", Some("126.255.255.255"), "127.0.0.0", "127.255.255.255", Some("128.0.0.0")),
            ("169.254/16", Some("169.253.255.255"), "169.254.0.0", "169.254.255.255", Some("169.255.0.0")),
            ("172.16/12", Some("172.15.255.255"), "172.16.0.0", "172.31.255.255", Some("172.32.0.0")),
            ("192.0.0/24", Some("191.255.255.255"), "192.0.0.0", "192.0.0.255", Some("192.0.1.0")),
            ("192.0.2/24", Some("192.0.1.255"), "192.0.2.0", "192.0.2.255", Some("192.0.3.0")),
            ("192.88.99/24", Some("192.88.98.255"), "192.88.99.0", "192.88.99.255", Some("192.88.100.0")),
            ("192.168/16", Some("192.167.255.255"), "192.168.0.0", "192.168.255.255", Some("192.169.0.0")),
            ("198.18/15", Some("198.17.255.255"), "198.18.0.0", "198.19.255.255", Some("198.20.0.0")),
            ("198.51.100/24", Some("198.51.99.255"), "198.51.100.0", "198.51.100.255", Some("198.51.101.0")),
            ("203.0.113/24", Some("203.0.112.255"), "203.0.113.0", "203.0.113.255", Some("203.0.114.0")),
            ("224/4 and on", Some("223.255.255.255"), "224.0.0.0", "255.255.255.255", None),
        ] {
            for inside in [first, last] {
                assert!(special(inside.parse().unwrap()).is_some(), "{network}: {inside}");
            }
            for outside in [before, after].into_iter().flatten() {
                assert_eq!(special(outside.parse().unwrap()), None, "{network}: {outside}");
            }
        }
    }

    #[test]
    fn every_disguise_in_ipv6_is_refused_by_its_name() {
        for (host, what) in [
            ("[::1]", "loopback"),
            ("[::]", "unspecified"),
            ("[::ffff:127.0.0.1]", "IPv4-mapped"),
            ("[::ffff:8.8.8.8]", "IPv4-mapped"),
            ("[64:ff9b::7f00:1]", "NAT64"),
            ("[64:ff9b:1::1]", "NAT64"),
            ("[2002:7f00:1::]", "6to4"),
            ("[::7f00:1]", "IPv4-compatible"),
            ("[::ffff:0:7f00:1]", "IPv4-translated"),
            ("[::5efe:7f00:1]", "ISATAP"),
            ("[2a00:1450::200:5efe:7f00:1]", "ISATAP"),
            ("[2001:0:1::1]", "Teredo"),
            ("[fe80::1]", "link-local"),
            ("[fec0::1]", "site-local"),
            ("[fd00:ec2::254]", "private"),
            ("[ff02::1]", "multicast"),
            ("[2001:db8::1]", "documentation"),
            ("[3fff::1]", "documentation"),
            ("[100::1]", "discarded"),
            ("[4000::1]", "reserved"),
        ] {
            let denied = permit(&Egress::default(), host).unwrap_err();
            assert!(denied.starts_with("egress-denied: ") && denied.contains(what), "{host}: {denied}");
        }
        assert_eq!(permit(&Egress::default(), "[2606:4700::1111]"), Ok(()));
    }

    #[test]
    fn the_operator_allows_and_denies() {
        let allow = vec!["127.0.0.0/8".parse().unwrap(), "8.8.0.0/16".parse().unwrap()];
        let deny = vec!["8.8.8.0/24".parse().unwrap()];
        let egress = Egress { allow, deny, ..Egress::default() };
        for (host, expected) in [
            ("127.0.0.1", None),
            ("[::ffff:127.0.0.1]", None),
            ("8.8.4.4", None),
            ("8.8.8.8", Some("8.8.8.8 is in 8.8.8.0/24 of [egress] deny")),
            ("10.0.0.1", Some("10.0.0.1 is private; allow it with [egress] allow")),
        ] {
            let expected = expected.map_or(Ok(()), |text| Err(format!("egress-denied: {text}")));
            assert_eq!(permit(&egress, host), expected);
        }
        assert_eq!(permit_origin(&egress, &destination("10.0.0.1", 25), Trust::Operator), Ok(()));
    }

    #[test]
    fn names_of_the_inside_need_allowed_addresses() {
        let public: IpAddr = "93.184.216.34".parse().unwrap();
        let private: IpAddr = "10.0.0.1".parse().unwrap();
        let egress = Egress { allow: vec!["10.0.0.0/8".parse().unwrap()], ..Egress::default() };
        for name in
            ["localhost", "a.localhost", "metadata.google.internal", "intranet", "a..b", "printer.local."]
        {
            let destination = destination(name, 80);
            let denied = permit_addresses(&egress, (&destination, Trust::Wire), &[public]);
            assert_eq!(denied, Err(Denied::Name(name.to_owned())));
            assert_eq!(permit_addresses(&egress, (&destination, Trust::Wire), &[private]), Ok(()));
        }
        let name = destination("shop.example", 80);
        let name = (&name, Trust::Wire);
        assert_eq!(permit_addresses(&egress, name, &[public, private]), Ok(()));
        let mixed = permit_addresses(&Egress::default(), name, &[public, private]);
        assert_eq!(mixed, Err(Denied::Special(private, "private")), "one forbidden address forbids all");
    }

    #[test]
    fn ports_of_other_protocols_are_refused() {
        let check = |egress: &Egress, port| permit_origin(egress, &destination("8.8.8.8", port), Trust::Wire);
        for port in [0, 22, 23, 25, 110, 143, 465, 587, 993, 3306, 5432, 6379, 6667, 11211, 27017] {
            assert_eq!(check(&Egress::default(), port), Err(Denied::Port(port)));
        }
        for port in [80, 443, 3000, 8000, 8080, 8443, 49152] {
            assert_eq!(check(&Egress::default(), port), Ok(()));
        }
        let only = Egress { allow_ports: Some(vec![25]), ..Egress::default() };
        assert_eq!(check(&only, 25), Ok(()));
        assert_eq!(check(&only, 80), Err(Denied::Port(80)));
    }

    #[test]
    fn the_gateway_never_posts_to_itself() {
        let allow = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
        let own = vec!["127.0.0.1:8025".parse().unwrap(), "0.0.0.0:8026".parse().unwrap()];
        let egress = Egress { allow, own, ..Egress::default() };
        for trust in [Trust::Wire, Trust::Operator] {
            for (host, port, is_loop) in [
                ("127.0.0.1", 8025, true),
                ("0.0.0.0", 8025, true),
                ("[::ffff:127.0.0.1]", 8025, true),
                ("127.0.0.1", 8027, false),
                ("127.0.0.2", 8025, false),
                ("127.0.0.2", 8026, true),
                ("[::1]", 8026, true),
            ] {
                let permitted = permit_origin(&egress, &destination(host, port), trust);
                assert_eq!(permitted.is_err(), is_loop, "{host}:{port} {permitted:?}");
            }
        }
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let inside = (address("192.168.1.5:40000"), address("192.168.1.5:8026"));
        assert!(permit_connection(&egress, inside.0, inside.1).is_err());
        assert!(permit_connection(&egress, inside.0, address("192.168.1.5:80")).is_ok());
        assert!(permit_connection(&egress, inside.0, address("192.168.1.6:8026")).is_ok());
    }
}
