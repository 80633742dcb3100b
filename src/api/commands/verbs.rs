//! What commands there are, and which of PowerMTA's there are not: a table.

use super::super::problem::Problem;
use super::wrong;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Status,
    /// All destinations, by their names.
    Destinations,
    /// Those for which most posts wait.
    Foremost,
    Pause,
    Resume,
    Flush,
    BackOff,
    Recover,
    /// One of the last two, as an option says.
    Mode,
    Purge,
    /// Posts, so many when nothing else is said.
    List(u16),
    Show,
    Act(&'static str),
    /// An act for all posts of a job.
    Job(&'static str),
    Trace,
    Rotate,
    Reload,
    Check,
    Config,
    Webhook(&'static str),
}

impl Verb {
    /// Whether what stands behind it may mean something.
    pub(super) fn takes_names(self) -> bool {
        !matches!(
            self,
            Verb::Status | Verb::List(_) | Verb::Rotate | Verb::Reload | Verb::Check | Verb::Config
        )
    }
}

/// How each is written, and what it means.
const COMMANDS: [(&str, Verb); 56] = [
    ("status", Verb::Status),
    ("show status", Verb::Status),
    ("show version", Verb::Status),
    ("destination list", Verb::Destinations),
    ("show queues", Verb::Destinations),
    ("show domains", Verb::Destinations),
    ("show topqueues", Verb::Foremost),
    ("show topdomains", Verb::Foremost),
    ("destination pause", Verb::Pause),
    ("pause destination", Verb::Pause),
    ("pause queue", Verb::Pause),
    ("destination resume", Verb::Resume),
    ("resume destination", Verb::Resume),
    ("resume queue", Verb::Resume),
    ("destination flush", Verb::Flush),
    ("flush destination", Verb::Flush),
    ("schedule", Verb::Flush),
    ("destination backoff", Verb::BackOff),
    ("destination recover", Verb::Recover),
    ("set queue", Verb::Mode),
    ("destination purge", Verb::Purge),
    ("purge destination", Verb::Purge),
    ("queue list", Verb::List(50)),
    ("list", Verb::List(100)),
    ("queue show", Verb::Show),
    ("queue retry", Verb::Act("retry")),
    ("queue hold", Verb::Act("hold")),
    ("queue release", Verb::Act("release")),
    ("queue delete", Verb::Act("delete")),
    ("delete", Verb::Act("delete")),
    ("queue reroute", Verb::Act("reroute")),
    ("pause job", Verb::Job("hold")),
    ("resume job", Verb::Job("release")),
    ("trace", Verb::Trace),
    ("accounting rotate", Verb::Rotate),
    ("rotate acct", Verb::Rotate),
    ("reload", Verb::Reload),
    ("config check", Verb::Check),
    ("check", Verb::Check),
    ("test config", Verb::Check),
    ("show settings", Verb::Config),
    ("config show", Verb::Config),
    ("version", Verb::Status),
    ("webhook list", Verb::Webhook("list")),
    ("webhook show", Verb::Webhook("show")),
    ("webhook enable", Verb::Webhook("enable")),
    ("webhook disable", Verb::Webhook("disable")),
    ("webhook delete", Verb::Webhook("delete")),
    ("webhook verify", Verb::Webhook("verify")),
    ("webhook test", Verb::Webhook("test")),
    ("webhook check", Verb::Webhook("check")),
    ("webhook rotate-secret", Verb::Webhook("rotate-secret")),
    ("webhook batches", Verb::Webhook("batches")),
    ("webhook batch", Verb::Webhook("batch")),
    ("webhook replay", Verb::Webhook("replay")),
    ("webhook replays", Verb::Webhook("replays")),
];

const NO_SOURCES: &str =
    "there are no sources here; who may hand in mail stands in the configuration: write show settings";
const NO_VMTAS: &str = "there are no virtual MTAs here; what one is for belongs to a destination: write show queues, or show settings for [[destination]]";
const NO_LICENSE: &str = "there is no license here, and nothing to register";

/// Commands of PowerMTA that mean nothing here: why, or what to write instead.
const ABSENT: [(&str, &str); 20] = [
    ("enable source", NO_SOURCES),
    ("disable source", NO_SOURCES),
    ("show disabled sources", NO_SOURCES),
    ("show vmtas", NO_VMTAS),
    ("show vmta-settings", NO_VMTAS),
    ("show license", NO_LICENSE),
    ("show registration", NO_LICENSE),
    ("register", NO_LICENSE),
    ("deregister", NO_LICENSE),
    (
        "set priority",
        "the priority of a post is its sender's (X-Postgate-Priority) and stays; to let others go first, write queue hold and queue release",
    ),
    ("show jobs", "jobs are not counted; write list --jobId JOB for the posts of one"),
    ("show precache", "nothing is fetched before a post needs it"),
    (
        "rotate log",
        "the protocol log begins a file each day and keeps them for [log] keep_days; the operational log goes to standard error, whose reader turns its files",
    ),
    (
        "reset counters",
        "counters only grow until the gateway ends, so that whoever reads them can take differences; for lately, write show status",
    ),
    (
        "clear dnscache",
        "addresses are kept no longer than their name server allows; there is nothing to clear",
    ),
    ("clear secretscache", "secrets are read with the configuration; write reload"),
    (
        "check spf",
        "nobody checks SPF here; a front that does is told of by check_url and the headers it adds",
    ),
    (
        "digest",
        "which address a record means is not told; with [accounting] privacy = \"hmac-sha256\" it is the HMAC-SHA256 of the address in lower case under privacy_key",
    ),
    ("resolve", "names are looked up by each connection; write trace ID for the address that a post went to"),
    ("shutdown", "whoever started the gateway stops it; SIGTERM lets it end in order"),
];

/// The command that a line begins with: of how many words its name is, and what it means.
pub(super) fn find(words: &[String]) -> Result<(usize, Verb), Problem> {
    let begins = |text: &str| {
        let name: Vec<_> = text.split(' ').collect();
        let is_it = words.len() >= name.len() && name.iter().zip(words).all(|(name, word)| name == word);
        is_it.then_some(name.len())
    };
    if let Some((text, why)) = ABSENT.iter().find(|(text, _)| begins(text).is_some()) {
        return Err(wrong(format!("{text} is not carried out: {why}")));
    }
    COMMANDS.iter().find_map(|(text, verb)| Some((begins(text)?, *verb))).ok_or_else(|| {
        let known = COMMANDS.map(|(text, _)| text).join(", ");
        wrong(format!("there is no such command; there are: {known}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_by_its_name_and_none_hides_another() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (text, verb) in COMMANDS {
            let name = words(text);
            assert_eq!(find(&name).unwrap(), (name.len(), verb), "{text}");
        }
        for (text, why) in ABSENT {
            let refused = format!("{:?}", find(&words(&format!("{text} x"))).unwrap_err());
            assert!(refused.contains(text) && !refused.contains("there are:"), "{text}: {why}");
        }
    }
}
