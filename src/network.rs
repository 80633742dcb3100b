//! Networks of addresses as they stand in the configuration: `10.1.0.0/16`,
//! `::1/128`, `192.0.2.7`.
//!
//! An IPv4 address that comes mapped into IPv6 (`::ffff:10.1.2.3`, RFC 4291
//! section 2.5.5.2) is treated as the IPv4 address it is, on both sides: sockets
//! that listen on both families report their IPv4 peers that way.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network in CIDR notation (RFC 4632), of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The IPv4 network of these octets; `prefix` is 0 to 32.
    pub const fn v4(octets: [u8; 4], prefix: u8) -> Network {
        let [a, b, c, d] = octets;
        Network { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    /// The IPv6 network of these groups; `prefix` is 0 to 128.
    pub const fn v6(groups: [u16; 8], prefix: u8) -> Network {
        let [a, b, c, d, e, f, g, h] = groups;
        Network { address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix }
    }

    /// Its first address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether `address` belongs to the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = u32::from(network) ^ u32::from(address);
                differing.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = u128::from(network) ^ u128::from(address);
                differing.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    /// The network with everything behind its prefix cleared.
    fn masked(self) -> Network {
        let prefix = u32::from(self.prefix);
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                IpAddr::V4((u32::from(address) & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                IpAddr::V6((u128::from(address) & mask).into())
            }
        };
        Network { address, ..self }
    }
}

impl FromStr for Network {
    type Err = String;

    /// Reads an address, alone or with a prefix length. The error says what to
    /// write instead.
    fn from_str(text: &str) -> Result<Network, String> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("{text:?} is not a network; write one like 10.1.0.0/16 or 2001:db8::/32"))?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= longest && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(|| format!("{text:?}: the number after the slash must be 0 to {longest}"))?,
        };
        let network = Network { address, prefix };
        if network.masked() != network {
            return Err(format!("{text:?} has bits set behind its prefix; write {}", network.masked()));
        }
        Ok(network.canonical())
    }
}

impl Network {
    /// A network of mapped addresses as the IPv4 network it means.
    fn canonical(self) -> Network {
        match (self.address.to_canonical(), self.prefix) {
            (IpAddr::V4(address), 96..) if self.address.is_ipv6() => {
                Network { address: IpAddr::V4(address), prefix: self.prefix - 96 }
            }
            _ => self,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_what_they_cover_and_nothing_beyond() {
        for (network, inside, outside) in [
            ("10.1.0.0/16", vec!["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3"], vec!["10.2.0.0", "::1"]),
            ("192.0.2.7", vec!["192.0.2.7"], vec!["192.0.2.6", "192.0.2.8"]),
            ("0.0.0.0/0", vec!["0.0.0.0", "255.255.255.255"], vec!["::"]),
            ("::/0", vec!["::", "ffff::"], vec!["1.2.3.4", "::ffff:1.2.3.4"]),
            ("::1/128", vec!["::1"], vec!["::", "::2", "127.0.0.1"]),
            ("2001:db8::/32", vec!["2001:db8:ffff::"], vec!["2001:db9::"]),
            ("::ffff:10.0.0.0/104", vec!["10.9.9.9"], vec!["11.0.0.0"]),
        ] {
            let parsed: Network = network.parse().unwrap();
            for address in inside {
                assert!(parsed.contains(address.parse().unwrap()), "{network} {address}");
            }
            for address in outside {
                assert!(!parsed.contains(address.parse().unwrap()), "{network} {address}");
            }
        }
    }

    #[test]
    fn networks_are_written_as_they_are_read() {
        for (text, written) in [("10.1.0.0/16", "10.1.0.0/16"), ("::1", "::1/128"), ("1.2.3.4", "1.2.3.4/32")]
        {
            assert_eq!(text.parse::<Network>().map(|network| network.to_string()), Ok(written.to_owned()));
        }
    }

    #[test]
    fn bad_networks_are_refused_with_a_remedy() {
        for (text, remedy) in [
            ("localhost", "write one like 10.1.0.0/16"),
            ("10.1/16", "write one like"),
            ("10.1.0.0/33", "must be 0 to 32"),
            ("10.1.0.0/+8", "must be 0 to 32"),
            ("::1/", "must be 0 to 128"),
            ("10.1.2.3/16", "write 10.1.0.0/16"),
        ] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }
}
