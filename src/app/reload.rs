//! What a changed configuration changes in a running gateway, and what not before
//! it is started again.
//!
//! Sockets, the spool and the logs are as they were started. Everything else is who
//! may come in and what becomes of their mail, and changes at once.

use crate::config::{Config, Listener, Listeners};

/// A configuration that is about to be in force.
pub(super) struct Change {
    /// What will be in force: the new one, as far as it can be.
    pub config: Config,
    /// What each listener in force is to become, in the order of the old
    /// configuration; nothing for one that the new one does not have, which goes on
    /// as it was, but for users and tenants.
    pub listeners: Vec<Option<Listener>>,
    /// What needs a restart, by the names in the configuration.
    pub later: Vec<String>,
}

/// What becomes of `old`, which is in force, when `new` is asked for.
pub(super) fn change(old: &Config, mut new: Config) -> Change {
    let mut later = Vec::new();
    keep("server.data_dir", &old.server.data_dir, &mut new.server.data_dir, &mut later);
    keep("limits.data_memory", &old.limits.data_memory, &mut new.limits.data_memory, &mut later);
    keep("spool", &old.spool, &mut new.spool, &mut later);
    keep("journal", &old.journal, &mut new.journal, &mut later);
    keep("retention", &old.retention, &mut new.retention, &mut later);
    keep("log", &old.log, &mut new.log, &mut later);
    keep("api.address", &old.api.address, &mut new.api.address, &mut later);
    keep("api.tls", &old.api.tls, &mut new.api.tls, &mut later);
    let listeners = match_listeners(&old.listeners, &mut new.listeners, &mut later);
    let in_force = old.listeners.0.iter().zip(&listeners);
    let in_force = in_force.map(|(old, new)| new.as_ref().unwrap_or(old).clone()).collect();
    Change { config: Config { listeners: Listeners(in_force), ..new }, listeners, later }
}

/// Keeps what is in force, and remembers when something else was asked for.
fn keep<T: Clone + PartialEq>(name: &str, old: &T, new: &mut T, later: &mut Vec<String>) {
    if old != new {
        later.push(name.to_owned());
        new.clone_from(old);
    }
}

/// Listeners are the same when their addresses are.
fn match_listeners(old: &Listeners, new: &mut Listeners, later: &mut Vec<String>) -> Vec<Option<Listener>> {
    let mut matched = Vec::new();
    for listener in &old.0 {
        let same = new.0.iter().position(|other| other.address == listener.address);
        if same.is_none() {
            later.push(format!("listener {} goes on", listener.address));
        }
        matched.push(same.map(|index| new.0.remove(index)));
    }
    later.extend(new.0.iter().map(|listener| format!("listener {} is new", listener.address)));
    matched
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const OLD: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"unix:/a\"\n";

    #[test]
    fn what_needs_a_restart_is_kept_and_named() {
        let old = parse("old", OLD).unwrap();
        for (text, later) in [
            (OLD.to_owned(), vec![]),
            (format!("{OLD}require_tls = true\ntls = \"starttls\"\n[tls]\nself_signed = true"), vec![]),
            (format!("{OLD}[limits]\nmessages = 5\n[[tenant]]\nname = \"shop\""), vec![]),
            (format!("{OLD}[log]\nlevel = \"debug\"\n[egress]\nallow = [\"::1\"]"), vec!["log"]),
            (
                format!(
                    "{OLD}[journal]\nkeep = \"1d\"\n[retention]\nheld = \"1d\"\n[api]\naddress = \"off\""
                ),
                vec!["journal", "retention", "api.address"],
            ),
            (format!("{OLD}[api]\ntls = \"implicit\"\n[tls]\nself_signed = true"), vec!["api.tls"]),
            (format!("{OLD}[api]\npublic_url = \"https://a.example\""), vec![]),
            (format!("{OLD}[delivery]\nbreaker = 0\n[[destination]]\nmatch = \"*\""), vec![]),
            (format!("{OLD}[server]\ndata_dir = \"x\""), vec!["server.data_dir"]),
            (
                "[[listener]]\naddress = \"unix:/a\"\n[[listener]]\naddress = \"unix:/b\"".to_owned(),
                vec!["listener 127.0.0.1:0 goes on", "listener unix:/b is new"],
            ),
        ] {
            let change = change(&old, parse("new", &text).unwrap());
            assert_eq!(change.later, later, "{text}");
            assert_eq!(change.listeners.len(), 2);
            assert_eq!(change.config.log, old.log);
            let addresses = |config: &Config| -> Vec<_> {
                config.listeners.0.iter().map(|listener| listener.address.clone()).collect()
            };
            assert_eq!(addresses(&change.config), addresses(&old));
        }
    }
}
