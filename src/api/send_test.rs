//! `POST /send-test`: a message over SMTP to a listener of our own, and what was said.
//!
//! The session comes from this machine, which listeners may trust more than whoever calls:
//! a client there names any URL without a login, as the default tenant, and some users may
//! log in from there alone. So whoever is of another tenant logs in as one of its users,
//! and every password is judged first as coming from the caller's own address, where
//! failures count for that address. Who may not log in from this machine is not tried here:
//! that would count against the applications that do. A route that lets in this machine
//! and not the caller is not reached this way either, and a socket in the file system,
//! which its mode guards, takes an operator. What the listener then says is what any
//! client hears.
//!
//! Few are sent at a time, each on a thread for what blocks, and none for longer than
//! [`LONGEST`]; one that was begun goes on when its caller leaves.

use super::ask::Given;
use super::caller::Caller;
use super::desk::Desk;
use super::problem::{Problem, json};
use super::seats::Seats;
use super::status::Listener;
use crate::envelope::{Client, Login, Recipient};
use crate::intake::Role;
use crate::network::Network;
use crate::post::{MessageId, PostId};
use crate::smtp::auth::Secret;
use crate::smtp::client::own::{self, Way};
use crate::smtp::client::wire::UNIX;
use crate::smtp::client::{Mail, SendError, Side};
use crate::smtp::command::{self, Command};
use crate::smtp::session::{CheckState, Opening, Policy as _, Question};
use crate::smtp::{Protocol, TlsUse};
use crate::tenant::Tenant;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time for all of a test: less than a request of the API may take.
const LONGEST: Duration = Duration::from_secs(20);
/// Sessions at a time.
const MOST: usize = 4;
/// Messages of tenants that are remembered.
const REMEMBERED: usize = 1000;
/// Most octets of an address.
const ADDRESS: usize = 4000;
/// Lines of a dialogue that are told; a greeting of ours has few.
const LINES: usize = 200;

/// Test messages under way, and those that were.
#[derive(Debug)]
pub(super) struct Tests {
    /// One for each of them, of which no tenant has them all.
    seats: Seats,
    /// Those of one tenant, which may look at their dialogues; the oldest first.
    sent: Mutex<VecDeque<(MessageId, Tenant)>>,
}

impl Default for Tests {
    fn default() -> Tests {
        Tests { seats: Seats::new(MOST), sent: Mutex::default() }
    }
}

impl Tests {
    /// Whether a message is a test that this tenant has sent lately.
    pub(super) fn is_of(&self, message: MessageId, tenant: &Tenant) -> bool {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.iter().any(|(other, its)| *other == message && its == tenant)
    }

    fn remember(&self, message: MessageId, tenant: &Tenant) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() >= REMEMBERED {
            sent.pop_front();
        }
        sent.push_back((message, tenant.clone()));
    }
}

/// The body of `POST /send-test`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Test {
    /// Its address, as the status names it; without, the first that can be reached.
    listener: Option<String>,
    /// Reverse-path; nothing is the null sender.
    #[serde(default)]
    from: String,
    /// Forward-path.
    to: String,
    /// The mail: header section, an empty line, and the text. Line ends of any kind.
    message: String,
    /// A user of the listener.
    user: Option<String>,
    /// Its password.
    password: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SentTest")]
pub(super) struct SentShape {
    /// Where it was sent to.
    listener: String,
    /// `accepted`, `refused`, or `broken`: there was no session, or it ended early.
    #[schemars(extend("enum" = ["accepted", "refused", "broken"]))]
    outcome: &'static str,
    /// The reply that decided, or why there was none.
    reply: String,
    /// Of the message, and of its post if there is one alone.
    id: Option<String>,
    dialogue: Vec<SaidShape>,
}

/// A line of the session, without passwords.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Said")]
struct SaidShape {
    #[schemars(extend("enum" = ["client", "server"]))]
    by: &'static str,
    line: String,
}

/// `POST /send-test`
pub(super) async fn send(
    State(desk): State<Desk>,
    caller: Caller,
    Given(test): Given<Test>,
) -> Result<Response, Problem> {
    let until = Instant::now() + LONGEST;
    for (field, address) in [("from", &test.from), ("to", &test.to)] {
        if address.len() > ADDRESS || address.contains(char::is_control) {
            return Err(Problem::bad_field(field, format!("write an address of up to {ADDRESS} octets")));
        }
    }
    let listener = chosen(&desk, &caller, test.listener.as_deref())?;
    let (server, source) = reach(listener)?;
    let login = log_in(&desk, (&caller, source), test.user, test.password).await?;
    judge(&desk, (&caller, source), login.as_ref(), (&test.from, &test.to)).await?;
    let way = way(&desk, listener, (server, login), until);
    let mail = Mail { sender: test.from, recipients: vec![test.to], data: test.message.into_bytes() };
    let seat = desk.tests.seats.take(caller.tenant.as_ref()).ok_or_else(|| {
        let detail = format!("as many test messages are under way as may be ({MOST} in all)");
        Problem::too_many(detail, Duration::from_secs(1))
    })?;
    let (tests, listener) = (Arc::clone(&desk.tests), listener.address.clone());
    let work = move || {
        let _seat = seat;
        let (sent, id) = talk(listener, &way, &mail);
        // Also when nobody waits for the answer any more.
        if let (Some(id), Some(tenant)) = (id, &caller.tenant) {
            tests.remember(id.message, tenant);
        }
        sent
    };
    let died = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the session broke off");
    let sent = tokio::task::spawn_blocking(work).await.map_err(died)?;
    Ok(json(StatusCode::OK, &sent))
}

/// What comes of a session, and the id of what was accepted. Blocks.
fn talk(listener: String, way: &Way, mail: &Mail) -> (SentShape, Option<PostId>) {
    let mut dialogue = Vec::new();
    let result = own::hand_over(way, mail, &mut |side, line| {
        let by = if side == Side::Client { "client" } else { "server" };
        if dialogue.len() < LINES {
            dialogue.push(SaidShape { by, line: line.to_owned() });
        }
    });
    let (outcome, reply) = match result {
        Ok(reply) => ("accepted", reply),
        Err(SendError::Refused(reply)) => ("refused", reply),
        Err(SendError::Unavailable(why)) => ("broken", why),
    };
    let id = (outcome == "accepted").then(|| acknowledged(&reply)).flatten();
    (SentShape { listener, outcome, reply, id: id.map(|id| id.to_string()), dialogue }, id)
}

/// The listener that is meant. Who may use a socket in the file system its mode says, which
/// this program need not ask.
fn chosen<'a>(desk: &'a Desk, caller: &Caller, address: Option<&str>) -> Result<&'a Listener, Problem> {
    let listeners = &desk.options.listeners;
    let is_guarded = |one: &Listener| one.reached_at.as_ref().is_some_and(|at| at.starts_with(UNIX));
    let is_open = |one: &&Listener| caller.role >= Role::Operator || !is_guarded(one);
    let forbidden = || {
        let detail = "tests over a socket in the file system need a key of the role operator";
        Problem::new(StatusCode::FORBIDDEN, detail)
    };
    match address {
        Some(address) => {
            let unknown = || Problem::bad_field("listener", "no listener has this address; see GET /status");
            let found = listeners.iter().find(|one| one.address == address).ok_or_else(unknown)?;
            Some(found).filter(is_open).ok_or_else(forbidden)
        }
        None => {
            let none = "no listener takes mail from this machine itself; configure a [[listener]]";
            let mut reached = listeners.iter().filter(|one| one.reached_at.is_some()).peekable();
            reached.peek().ok_or_else(|| Problem::new(StatusCode::CONFLICT, none))?;
            reached.find(is_open).ok_or_else(forbidden)
        }
    }
}

/// Where a listener is reached, and the address that a session with it comes from.
fn reach(listener: &Listener) -> Result<(String, Option<IpAddr>), Problem> {
    let only_proxies = || {
        let detail = "only proxies reach this listener (proxy_protocol); choose another";
        Problem::bad_field("listener", detail)
    };
    let server = listener.reached_at.clone().ok_or_else(only_proxies)?;
    let unreachable = |error| {
        let detail = format!("{server} cannot be reached from this machine: {error}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    };
    let source = own::source(&server).map_err(unreachable)?;
    Ok((server, source))
}

/// A login that is good for this caller, and for a session from `source`; none, where none
/// is needed.
async fn log_in(
    desk: &Desk,
    (caller, source): (&Caller, Option<IpAddr>),
    user: Option<String>,
    password: Option<String>,
) -> Result<Option<(Login, Secret)>, Problem> {
    let forbidden = |detail: String| Err(Problem::new(StatusCode::FORBIDDEN, detail));
    let (user, password) = match (user, password) {
        (Some(user), Some(password)) => (user, Secret::new(password)),
        (Some(_), None) => return Err(Problem::bad_field("password", "the user's password is missing")),
        (None, Some(_)) => return Err(Problem::bad_field("user", "a password without a user")),
        (None, None) => {
            return match caller.tenant.as_ref().filter(|tenant| **tenant != Tenant::default()) {
                None => Ok(None),
                Some(tenant) => forbidden(format!(
                    "a session without a login would be the default tenant's; name a [[user]] of tenant \
                     {tenant}, and its password"
                )),
            };
        }
    };
    if user.contains('\0') || password.reveal().contains('\0') {
        return Err(Problem::bad_field("user", "a login holds no NUL"));
    }
    let intake = desk.entrance()?.intake;
    match intake.log_in(Some(caller.address), &user, password.clone()).await {
        Ok(login) if caller.tenant.as_ref().is_none_or(|own| *own == login.tenant) => {
            let welcome = intake.welcome(source, &user);
            welcome.map_err(|networks| Problem::bad_field("user", unwelcome(&networks, source)))?;
            Ok(Some((login, password)))
        }
        // No other than what is said of a wrong password: it would tell of users of others.
        Ok(_) => Err(Problem::bad_field("password", "535 5.7.8 authentication failed")),
        Err(refusal) if refusal.code < 500 => Err(Problem::refused(&refusal, Duration::ZERO)),
        Err(refusal) => Err(Problem::bad_field("password", refusal.to_string())),
    }
}

/// What is said of a user that may log in from these networks, and not from `source`.
fn unwelcome(networks: &[Network], source: Option<IpAddr>) -> String {
    let networks = networks.iter().map(Network::to_string).collect::<Vec<_>>().join(", ");
    let here = match source {
        Some(address) => format!("this machine ({address})"),
        None => "a socket in the file system".to_owned(),
    };
    format!(
        "this user may log in from {networks} only, not from {here}, as a test does; send from there, or add \
         this machine to its networks"
    )
}

/// Refuses what this caller may not hand in itself and would as a session from `source`;
/// what is refused of both the listener says. Paths must be such that the listener reads
/// the same in them.
async fn judge(
    desk: &Desk,
    (caller, source): (&Caller, Option<IpAddr>),
    login: Option<&(Login, Secret)>,
    (from, to): (&str, &str),
) -> Result<(), Problem> {
    let own = caller.address.to_canonical();
    if source.is_some_and(|source| source.to_canonical() == own) {
        return Ok(());
    }
    if !matches!(command::parse(format!("MAIL FROM:<{from}>").as_bytes()), Ok(Command::Mail(it)) if it.path == from)
    {
        return Err(Problem::bad_field("from", "that is no address of a sender"));
    }
    if !matches!(command::parse(format!("RCPT TO:<{to}>").as_bytes()), Ok(Command::Rcpt(it)) if it.path == to)
    {
        return Err(Problem::bad_field("to", "that is no address of a recipient"));
    }
    let (name, tenant) = match login {
        Some((Login { name, tenant }, _)) => (Some(name.clone()), tenant.clone()),
        None => (None, Tenant::default()),
    };
    let client = Client { login: name, tenant, ..caller.client("") };
    let refused = |refusal| Problem::refused_recipients(vec![("to".to_owned(), refusal)]);
    let intake = desk.entrance()?.intake;
    let opening = Opening { reverse_path: from, size: None };
    let judged = match intake.recipient(&client, opening, to) {
        Ok(judged) => judged,
        Err(refusal) => {
            let session = Client { address: source, ..client };
            let is_let_in = intake.recipient(&session, opening, to).is_ok();
            return if is_let_in { Err(refused(refusal)) } else { Ok(()) };
        }
    };
    if judged.check == CheckState::Due {
        let recipient = Recipient { posts: judged.posts, ..Recipient::new(to, judged.target) };
        let question = Question { client, reverse_path: from.to_owned(), size: None, recipient };
        intake.check(&question).await.map_err(refused)?;
    }
    Ok(())
}

fn way(
    desk: &Desk,
    listener: &Listener,
    (server, login): (String, Option<(Login, Secret)>),
    until: Instant,
) -> Way {
    Way {
        server,
        protocol: if listener.protocol == "lmtp" { Protocol::Lmtp } else { Protocol::Smtp },
        tls: match listener.tls {
            "starttls" => TlsUse::StartTls,
            "implicit" => TlsUse::Implicit,
            _ => TlsUse::None,
        },
        believed: desk.current().smtp_certificates.as_ref().map(|all| all.ours()),
        login: login.map(|(login, password)| (login.name, password)),
        until,
    }
}

/// The id in a reply that accepts.
fn acknowledged(reply: &str) -> Option<PostId> {
    let mut words = reply.split([' ', ',', '.']).filter(|word| word.len() >= 16);
    words.find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_in_what_accepts() {
        for (reply, id) in [
            ("250 2.0.0 Message received and queued as 52a0000000000002.", Some("52a0000000000002")),
            ("250 2.0.0 delivered", None),
        ] {
            assert_eq!(acknowledged(reply).map(|id| id.to_string()).as_deref(), id, "{reply}");
        }
    }

    #[test]
    fn only_the_latest_tests_of_a_tenant_are_remembered() {
        let (tests, shop, club) = (Tests::default(), Tenant::new("shop"), Tenant::new("club"));
        let id = |number: usize| MessageId(number as u64);
        (0..=REMEMBERED).for_each(|number| tests.remember(id(number), &shop));
        assert!(!tests.is_of(id(0), &shop) && tests.is_of(id(1), &shop));
        assert!(tests.is_of(id(REMEMBERED), &shop) && !tests.is_of(id(REMEMBERED), &club));
    }
}
