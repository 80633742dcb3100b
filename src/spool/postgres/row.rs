//! A post as it stands in the database, and how it is read.
//!
//! What is asked of many posts, or changed by each attempt, has columns: the state, the lane,
//! who has it. What is read with a post alone is one column each in the encoding of the log:
//! its head, which is the post as it was accepted with its seals, and its chronicle. Both
//! begin with an octet that names their format; a newer one is refused, not guessed at.

use super::super::state::{Chronicle, Phase, Route, State, as_sent};
use super::super::{Claim, Listed, Order, PostState, SpoolError};
use crate::post::{Destination, MessageId, Post, PostId, Sealed, Timestamp};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;

/// The format of heads, chronicles and orders.
const FORMAT: u8 = 1;

/// What [`Kept::read`] reads, of a post `p`.
macro_rules! columns {
    () => {
        "p.id, p.lane, p.phase, p.due_at, p.ages_from, p.ended, p.tried, p.is_anew, p.is_rerouted, \
         p.is_lean, p.is_claimed, p.fence, p.head, p.chronicle, p.orders, p.line, p.is_shared"
    };
}
pub(super) use columns;

/// A row; see the module.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub id: PostId,
    pub lane: String,
    pub state: State,
    pub is_claimed: bool,
    /// That of its newest claim.
    pub fence: u64,
    /// Its ordering key.
    pub line: Option<String>,
    /// Its message is kept with the others that were made of it.
    pub is_shared: bool,
    /// Nothing is kept of its message any more.
    pub is_bodiless: bool,
    pub head: Vec<u8>,
    pub chronicle: Option<Vec<u8>>,
    pub orders: Option<Vec<u8>>,
}

impl Kept {
    /// A row of the columns above.
    pub fn read(row: &tokio_postgres::Row) -> Result<Kept, SpoolError> {
        let id: &[u8] = row.get(0);
        let id = id_of(id)?;
        let phase = phase_of(row.get(2)).ok_or_else(|| damaged(id, "phase"))?;
        let count = |at: usize| u32::try_from(row.get::<_, i64>(at)).unwrap_or_default();
        let state = State {
            ended: count(5),
            tried: count(6),
            phase,
            is_anew: row.get(7),
            is_rerouted: row.get(8),
            is_lean: row.get(9),
            due_at: time_of(row.get(3)),
            ages_from: time_of(row.get(4)),
        };
        Ok(Kept {
            id,
            lane: row.get(1),
            state,
            is_claimed: row.get(10),
            fence: row.get::<_, i64>(11).cast_unsigned(),
            head: row.get(12),
            chronicle: row.get(13),
            orders: row.get(14),
            line: row.get(15),
            is_shared: row.get(16),
            is_bodiless: false,
        })
    }

    /// Lets go of what cannot be read of its history and its orders; whether there was any. A
    /// history that says where the post goes stays: without it the post would go elsewhere.
    pub fn mend(&mut self) -> bool {
        let history = self.chronicle().err();
        let orders = self.orders().err();
        for error in history.iter().chain(&orders) {
            tracing::error!(post = %self.id, %error, "it is given up");
        }
        if history.is_some() && !self.state.is_rerouted {
            self.chronicle = None;
        }
        if orders.is_some() {
            self.orders = None;
        }
        history.is_some() || orders.is_some()
    }

    /// The post as it was accepted.
    pub fn accepted(&self) -> Result<Post, SpoolError> {
        let (mut post, sealed): (Post, Sealed) = decoded(&self.head, self.id, "head")?;
        post.sealed = sealed;
        Ok(post)
    }

    /// The post as it is sent.
    pub fn post(&self) -> Result<Arc<Post>, SpoolError> {
        let route = if self.state.is_rerouted { self.chronicle()?.route } else { None };
        Ok(as_sent(Arc::new(self.accepted()?), &self.state, route))
    }

    /// What happened to it.
    pub fn chronicle(&self) -> Result<Chronicle, SpoolError> {
        let Some(octets) = &self.chronicle else { return Ok(Chronicle::default()) };
        let (mut chronicle, sealed): (Chronicle, Option<Bytes>) = decoded(octets, self.id, "chronicle")?;
        if let Some(route) = &mut chronicle.route {
            route.sealed = sealed;
        }
        Ok(chronicle)
    }

    /// What is to be done to it when its attempt has ended.
    pub fn orders(&self) -> Result<Vec<Order>, SpoolError> {
        let orders = self.orders.as_deref();
        orders.map_or(Ok(Vec::new()), |octets| decoded(octets, self.id, "orders"))
    }

    /// Where it stands, for those who look.
    pub fn seen(&self) -> PostState {
        if self.is_claimed { PostState::Sending } else { self.state.seen() }
    }

    /// As others see it.
    pub fn listed(&self, retain_held: Duration) -> Result<Listed, SpoolError> {
        // Without its attempts a post is still worth being listed.
        let last = self.chronicle().unwrap_or_default().attempts.pop();
        let (state, ended) = (self.seen(), self.state.ended);
        Ok(Listed { post: self.post()?, state, ended, due_at: self.state.ends_at(retain_held), last })
    }

    /// The claim that it was given to.
    pub fn claim(&self) -> Result<Claim, SpoolError> {
        Ok(Claim {
            post: self.post()?,
            attempt: self.state.next_attempt(),
            ended: self.state.ended,
            ages_from: self.state.ages_from,
            fence: self.fence,
        })
    }
}

/// The head of a post.
pub(super) fn head_of(post: &Post) -> Result<Vec<u8>, SpoolError> {
    encoded(&(post, &post.sealed))
}

/// A chronicle as it is kept; nothing for one that says nothing.
pub(super) fn chronicle_of(chronicle: &Chronicle) -> Result<Option<Vec<u8>>, SpoolError> {
    let sealed = chronicle.route.as_ref().and_then(|route: &Route| route.sealed.as_ref());
    if *chronicle == Chronicle::default() { Ok(None) } else { encoded(&(chronicle, sealed)).map(Some) }
}

/// Orders as they are kept.
pub(super) fn orders_of(orders: &[Order]) -> Result<Option<Vec<u8>>, SpoolError> {
    if orders.is_empty() { Ok(None) } else { encoded(&orders).map(Some) }
}

/// What is kept in one column.
pub(super) fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>, SpoolError> {
    postcard::to_extend(value, vec![FORMAT]).map_err(|error| SpoolError::Failed(error.to_string()))
}

fn decoded<T: DeserializeOwned>(octets: &[u8], id: PostId, what: &str) -> Result<T, SpoolError> {
    read(octets).ok_or_else(|| damaged(id, what))
}

/// What a column holds, if it is of this format.
pub(super) fn read<T: DeserializeOwned>(octets: &[u8]) -> Option<T> {
    let (format, octets) = octets.split_first()?;
    if *format == FORMAT { postcard::from_bytes(octets).ok() } else { None }
}

pub(super) fn damaged(id: PostId, what: &str) -> SpoolError {
    SpoolError::Damaged(format!("{what} of {id} in the database"))
}

/// An id as it is kept.
pub(super) fn key_of(id: PostId) -> Vec<u8> {
    [&id.message.0.to_be_bytes()[..], &id.number.to_be_bytes()].concat()
}

/// The id that is kept so.
pub(super) fn id_of(key: &[u8]) -> Result<PostId, SpoolError> {
    let wrong = || SpoolError::Damaged("an id in the database".to_owned());
    let (message, number) = key.split_first_chunk::<8>().ok_or_else(wrong)?;
    let number = u16::from_be_bytes(number.try_into().map_err(|_| wrong())?);
    Ok(PostId { message: MessageId(u64::from_be_bytes(*message)), number })
}

/// The key of what the posts of a message share.
pub(super) fn message_key(message: MessageId) -> Vec<u8> {
    message.0.to_be_bytes().to_vec()
}

/// A time as it is kept; none is later than the last that can be.
pub(super) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// The time that is kept so.
pub(super) fn time_of(millis: i64) -> Timestamp {
    Timestamp(u64::try_from(millis).unwrap_or_default())
}

/// A span as it is kept.
pub(super) fn span(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// The number of a phase.
pub(super) fn number_of(phase: Phase) -> i16 {
    match phase {
        Phase::Waiting => 0,
        Phase::DeadLetter => 1,
        Phase::Held => 2,
        Phase::Shelved => 3,
    }
}

fn phase_of(number: i16) -> Option<Phase> {
    let all = [Phase::Waiting, Phase::DeadLetter, Phase::Held, Phase::Shelved];
    all.into_iter().find(|phase| number_of(*phase) == number)
}

/// The name of a lane: what makes two destinations two, in a form that people can read.
pub(super) fn lane_of(destination: &Destination) -> String {
    let Destination { tenant, scheme, host, port, webhook } = destination;
    // Names and numbers: there is nothing that could not be written.
    serde_json::to_string(&(tenant, scheme, host, port, webhook)).unwrap_or_default()
}

/// The destination of a lane.
pub(super) fn destination_of(lane: &str) -> Result<Arc<Destination>, SpoolError> {
    let wrong = |_| SpoolError::Damaged(format!("the lane {lane:?} in the database"));
    let (tenant, scheme, host, port, webhook) = serde_json::from_str(lane).map_err(wrong)?;
    Ok(Arc::new(Destination { tenant, scheme, host, port, webhook }))
}

/// The shard that a lane belongs to, 0 to 255: fixed for good.
pub(super) fn shard_of(lane: &str) -> i16 {
    (crc32c::crc32c(lane.as_bytes()) & 0xff) as i16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::{Scheme, WebhookId};
    use crate::tenant::Tenant;

    #[test]
    fn ids_keep_their_order_as_octets() {
        let id = |message, number| PostId { message: MessageId(message), number };
        let ids = [id(0, 0), id(1, 0), id(1, 255), id(1, 256), id(u64::MAX, 0)];
        let keys = ids.map(key_of);
        assert!(keys.is_sorted());
        for (id, key) in ids.iter().zip(&keys) {
            assert_eq!(id_of(key), Ok(*id));
        }
        assert!(id_of(&[1; 9]).is_err() && id_of(&[]).is_err());
    }

    #[test]
    fn lanes_are_named_and_found_again() {
        let plain = Destination {
            tenant: Tenant::new("a b\"c"),
            scheme: Scheme::Https,
            host: "[2001:db8::1]".to_owned(),
            port: 8443,
            webhook: None,
        };
        let batches = Destination { webhook: Some(WebhookId::new("wh_1")), ..plain.clone() };
        assert_ne!(lane_of(&plain), lane_of(&batches));
        for destination in [plain, batches] {
            let lane = lane_of(&destination);
            assert_eq!(destination_of(&lane).as_deref(), Ok(&destination));
            assert_eq!(shard_of(&lane), shard_of(&lane.clone()));
        }
        // Where a lane is does not change from version to version.
        assert_eq!(shard_of("x"), (crc32c::crc32c(b"x") % 256) as i16);
    }

    #[test]
    fn a_newer_format_is_not_guessed_at() {
        let mut octets = encoded(&7_u64).unwrap();
        assert_eq!(read::<u64>(&octets), Some(7));
        octets[0] = FORMAT + 1;
        assert_eq!(read::<u64>(&octets), None);
        assert_eq!(read::<u64>(&[]), None);
    }
}
