//! Names to addresses and to texts, by the machine's resolver configuration and hosts file.
//!
//! A name is always asked for as an absolute one: search domains would make of
//! `shop` whatever the machine's network calls so. The time is bounded, the
//! number of addresses is not: all of them are judged, and few are tried.

use super::retry::Trouble;
use super::target;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{RData, Record};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// Longest time a look-up may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for one question to one name server.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Default)]
pub(super) struct Resolver(OnceCell<TokioResolver>);

impl Resolver {
    /// All addresses of a host, at least one.
    pub(super) async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Trouble> {
        if let Some(address) = target::literal(host) {
            return Ok(vec![address]);
        }
        // RFC 6761 section 6.3: never a matter of name servers.
        let name = host.trim_end_matches('.');
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let resolver = self.resolver().await?;
        let look_up = resolver.lookup_ip(format!("{name}."));
        match timeout(RESOLVE_TIMEOUT, look_up).await {
            Err(_) => Err(Trouble::TimedOut("resolving the name", RESOLVE_TIMEOUT)),
            Ok(Err(error)) => Err(Trouble::Resolve(explain(name, &error))),
            Ok(Ok(found)) => {
                let addresses: Vec<_> = found.iter().collect();
                if addresses.is_empty() {
                    return Err(Trouble::Resolve(format!("{name} has no address")));
                }
                Ok(addresses)
            }
        }
    }

    /// The texts of a name's TXT records; none when it has none.
    pub(super) async fn texts(&self, name: &str) -> Result<Vec<String>, Trouble> {
        let resolver = self.resolver().await?;
        match timeout(RESOLVE_TIMEOUT, resolver.txt_lookup(format!("{name}."))).await {
            Err(_) => Err(Trouble::TimedOut("resolving the name", RESOLVE_TIMEOUT)),
            Ok(Err(error)) if error.is_no_records_found() || error.is_nx_domain() => Ok(Vec::new()),
            Ok(Err(error)) => Err(Trouble::Resolve(explain(name, &error))),
            Ok(Ok(found)) => Ok(found.answers().iter().filter_map(text).collect()),
        }
    }

    async fn resolver(&self) -> Result<&TokioResolver, Trouble> {
        let resolver = self.0.get_or_try_init(async || build()).await;
        resolver.map_err(|error| Trouble::Resolve(format!("no name servers: {error}")))
    }
}

/// The pieces of one text belong together (RFC 7208 section 3.3).
fn text(record: &Record) -> Option<String> {
    let RData::TXT(text) = &record.data else { return None };
    Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned())
}

fn build() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.timeout = QUESTION_TIMEOUT;
    // A name that appears must not stay unknown for as long as its zone says.
    options.negative_max_ttl = Some(Duration::from_secs(1));
    builder.build()
}

fn explain(name: &str, error: &NetError) -> String {
    match error {
        NetError::Timeout => format!("no name server answered for {name}"),
        error if error.is_nx_domain() => format!("{name} does not exist (NXDOMAIN)"),
        error if error.is_no_records_found() => format!("{name} has no address"),
        error => format!("{name} cannot be resolved: {error}"),
    }
}
