//! Where the gateway is, and what this machine and its user are called.
//!
//! Whoever sends mail may not be allowed to read the gateway's configuration,
//! or the secrets it points to, and must reach it all the same. So only two
//! things are read of a file, and not by the rules of `postgate check`: the first
//! listener that takes mail from this machine without TLS and login, and the
//! host's name.

use super::options::Options;
use crate::cli::{CONFIG, Failure};
use crate::config;
use crate::smtp::client::wire::UNIX;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use toml::{Table, Value};

/// The variable that names the gateway.
const SERVER: &str = "POSTGATE_SERVER";
/// The accounts of the machine: name, password, number, …
const ACCOUNTS: &str = "/etc/passwd";

/// What a message's way depends on besides itself.
#[derive(Debug)]
pub(super) struct Place {
    /// The gateway, as `HOST:PORT` or `unix:/path`.
    pub server: String,
    /// The domain of addresses without one.
    pub hostname: String,
}

/// Finds the gateway: named on the command line, in the environment, in the
/// configuration, or at the built-in address.
pub(super) fn find(options: &Options) -> Result<Place, Failure> {
    let named = options.server.clone().or_else(|| std::env::var(SERVER).ok().filter(|name| !name.is_empty()));
    let table = match config::place(options.config.as_deref()) {
        None => Table::new(),
        Some(path) => read(&path, options)?,
    };
    let built_in = config::without_file();
    let server = named.or_else(|| listener(&table));
    let server = server.unwrap_or_else(|| {
        built_in.listeners.0.first().map(|one| one.address.to_string()).unwrap_or_default()
    });
    let hostname = table.get("server").and_then(|server| text(server, "hostname"));
    Ok(Place { server, hostname: hostname.map_or(built_in.server.hostname, str::to_owned) })
}

/// A file that is named must be good; one that lies about need not even be readable.
fn read(path: &Path, options: &Options) -> Result<Table, Failure> {
    let complain =
        |error: &dyn std::fmt::Display| Failure::new(CONFIG, format_args!("{}: {error}", path.display()));
    match fs::read_to_string(path) {
        Ok(text) => text.parse().map_err(|error| complain(&error)),
        Err(error) if options.config.is_some() => Err(complain(&error)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(complain(&error)),
        Err(_) => Ok(Table::new()),
    }
}

/// The first listener that a program on this machine can speak SMTP to.
fn listener(table: &Table) -> Option<String> {
    let listeners = table.get("listener").and_then(Value::as_array)?;
    let takes_mail = |listener: &&Value| {
        text(listener, "protocol").is_none_or(|protocol| protocol == "smtp")
            && text(listener, "tls").is_none_or(|tls| tls != "implicit")
            && ["require_auth", "require_tls", "proxy_protocol"]
                .iter()
                .all(|key| listener.get(key).is_none_or(|value| value == &Value::Boolean(false)))
    };
    listeners.iter().filter(takes_mail).find_map(|listener| reachable(text(listener, "address")?))
}

/// An address to connect to for one to listen on: everywhere is also here.
fn reachable(address: &str) -> Option<String> {
    if address.starts_with(UNIX) {
        return Some(address.to_owned());
    }
    let mut address: SocketAddr = address.parse().ok()?;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Some(address.to_string())
}

fn text<'a>(table: &'a Value, key: &str) -> Option<&'a str> {
    table.get(key).and_then(Value::as_str)
}

/// The name of whoever runs this program: the account's as the machine knows
/// it, else as the environment says, else its number.
pub(super) fn user() -> String {
    let number = rustix::process::getuid().as_raw().to_string();
    let accounts = fs::read_to_string(ACCOUNTS).unwrap_or_default();
    let in_environment = || ["LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok());
    let is_name = |name: &String| {
        let fits = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-' | '+');
        !name.is_empty() && name.chars().all(fits)
    };
    let known = account(&accounts, &number).map(str::to_owned).filter(is_name);
    known.or_else(|| in_environment().filter(is_name)).unwrap_or(number)
}

/// The name of the account with this number.
fn account<'a>(accounts: &'a str, number: &str) -> Option<&'a str> {
    accounts.lines().find_map(|line| {
        let mut columns = line.split(':');
        let name = columns.next()?;
        (columns.nth(1)? == number).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_listener_that_can_be_spoken_to_is_taken() {
        for (text, server) in [
            ("", None),
            ("[[listener]]\naddress = \"127.0.0.1:25\"", Some("127.0.0.1:25")),
            ("[[listener]]\naddress = \"0.0.0.0:2525\"", Some("127.0.0.1:2525")),
            ("[[listener]]\naddress = \"[::]:2525\"", Some("[::1]:2525")),
            ("[[listener]]\naddress = \"10.0.0.1:25\"\ntls = \"starttls\"", Some("10.0.0.1:25")),
            ("[[listener]]\naddress = \"unix:/run/postgate\"", Some("unix:/run/postgate")),
            ("[[listener]]\naddress = \"systemd:smtp\"", None),
            (
                "[[listener]]\naddress = \"0.0.0.0:1\"\nprotocol = \"lmtp\"\n\
                 [[listener]]\naddress = \"0.0.0.0:2\"\ntls = \"implicit\"\n\
                 [[listener]]\naddress = \"0.0.0.0:3\"\nrequire_auth = true\n\
                 [[listener]]\naddress = \"0.0.0.0:4\"\nproxy_protocol = true\n\
                 [[listener]]\naddress = \"0.0.0.0:5\"\nprotocol = \"smtp\"\nrequire_auth = false\n",
                Some("127.0.0.1:5"),
            ),
            ("listener = 1", None),
        ] {
            assert_eq!(listener(&text.parse().unwrap()).as_deref(), server, "{text}");
        }
    }

    #[test]
    fn accounts_are_found_by_number() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nbroken\nwww-data:x:33:33::/var/www:\n";
        assert_eq!(account(accounts, "33"), Some("www-data"));
        assert_eq!(account(accounts, "3"), None);
        assert!(!user().is_empty());
    }
}
