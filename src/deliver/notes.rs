//! What the engine keeps in the spool besides posts: pauses, used rates, and
//! grudges: which destination asked for a rest (`Retry-After`) or is sent probes only.
//!
//! One task writes, one fact after another, so that the newest stays. Attempts on a
//! long rate are written down before they begin (`charge`); grudges soon after they
//! begin or end; all of it at the stop. While one save is under way the next is
//! collected. Points of time are those of the wall clock, for a restart takes time.

use super::berth::Berth;
use super::charge::Credit;
use super::dispatch::Dispatcher;
use super::pace::Used;
use super::pauses::Pauses;
use super::work::{Done, SPOOL_PAUSE};
use crate::clock;
use crate::post::{Destination, Scheme, Timestamp, Trust};
use crate::spool::{Spool, SpoolError};
use crate::tenant::Tenant;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

const RATES: &str = "rates";
const PAUSES: &str = "pauses";
const GRUDGES: &str = "grudges";

/// Octets of rates that are written in a millisecond on the average at most: with
/// very many rated destinations charges are collected, and the disk is left to posts.
const OCTETS: usize = 10_000;

/// Begins the used rates. Versions that kept them by origin and by who named the URL
/// began with how many there are, never with 0; the next began with 0 and then how many,
/// which is no [`RATES_MARK`], as nobody kept as many.
const RATES_FORMAT: u8 = 0;

/// Stands behind it since destinations know their webhook.
const RATES_MARK: u32 = u32::MAX;

/// When attempts began that are charged and have not begun: at a restart they may
/// have begun at any time until then.
const AHEAD: Timestamp = Timestamp(u64::MAX);

/// Tells when a fact is durable.
type Written = oneshot::Receiver<Result<(), SpoolError>>;

/// Attempts that a lane charges to its rates.
pub(super) type Charge = (Arc<Destination>, usize);

/// One fact to be written, and who waits for that.
struct Job {
    key: &'static str,
    value: Option<Bytes>,
    done: oneshot::Sender<Result<(), SpoolError>>,
}

/// Where facts are handed in.
pub(super) struct Notary {
    jobs: mpsc::UnboundedSender<Job>,
    /// Lanes with used rates.
    rated: HashSet<Arc<Destination>>,
    /// What they ask for, until it is written.
    charges: Vec<Charge>,
    /// Lanes with grudges.
    resented: HashSet<Arc<Destination>>,
    has_new_grudges: bool,
    is_saving: bool,
    /// No save before.
    save_at: Instant,
}

/// Where they are taken.
pub(super) struct Jobs(mpsc::UnboundedReceiver<Job>);

/// What one destination used of its rates.
#[derive(Serialize, Deserialize)]
struct Kept {
    destination: Destination,
    used: Vec<KeptRate>,
}

/// The same as the first version kept it.
type OldestKept = ((Tenant, Scheme, String, u16, Trust), Vec<KeptRate>);

/// And as the second did.
type OldKept = ((Tenant, Scheme, String, u16), Vec<KeptRate>);

#[derive(Serialize, Deserialize)]
struct KeptRate {
    per: Duration,
    attempts: Vec<(Timestamp, u32)>,
}

/// What one destination is left alone for.
#[derive(Serialize, Deserialize)]
struct Grudge {
    destination: Destination,
    /// Until when it asked for that.
    until: Option<Timestamp>,
    /// Whether it is sent probes only.
    is_away: bool,
    /// Its last error, and when that was.
    reason: Option<(Timestamp, String)>,
    /// Why somebody wanted that, if somebody did, and when its first probe goes out.
    #[serde(default)]
    ordered: Option<String>,
    #[serde(default)]
    probe_at: Option<Timestamp>,
    /// When it was noted: it is no longer than it was then, wherever the clock is set.
    #[serde(default)]
    noted_at: Timestamp,
}

impl Notary {
    pub(super) fn new() -> (Notary, Jobs) {
        let (jobs, taken) = mpsc::unbounded_channel();
        let notary = Notary {
            jobs,
            rated: HashSet::new(),
            charges: Vec::new(),
            resented: HashSet::new(),
            has_new_grudges: false,
            is_saving: false,
            save_at: Instant::now(),
        };
        (notary, Jobs(taken))
    }

    /// When something is to be saved, if something is.
    pub(super) fn save_at(&self) -> Option<Instant> {
        let has_news = self.has_new_grudges || !self.charges.is_empty();
        (has_news && !self.is_saving).then_some(self.save_at)
    }

    /// Notes that a lane wants to begin so many attempts.
    pub(super) fn charge(&mut self, lane: &Arc<Destination>, attempts: usize) {
        self.rated.insert(Arc::clone(lane));
        self.charges.push((Arc::clone(lane), attempts));
    }

    /// Notes that a grudge began, changed or ended.
    pub(super) fn resent(&mut self, lane: &Arc<Destination>) {
        self.resented.insert(Arc::clone(lane));
        self.has_new_grudges = true;
    }

    /// Hands in a fact; what is returned tells when it is durable.
    fn write(&self, key: &'static str, value: Option<Vec<u8>>) -> Written {
        let (done, written) = oneshot::channel();
        // A writer that is gone drops `done`: that is the answer.
        let _ = self.jobs.send(Job { key, value: value.map(Bytes::from), done });
        written
    }

    /// Hands in the pauses.
    pub(super) fn write_pauses(&self, pauses: &Pauses) -> Written {
        self.write(PAUSES, pauses.write())
    }
}

impl Jobs {
    /// Writes until the notary is gone.
    pub(super) async fn write(mut self, spool: Arc<dyn Spool>) {
        while let Some(Job { key, value, done }) = self.0.recv().await {
            let written = spool.set_note(key, value, None).await;
            if let Err(error) = &written {
                tracing::error!("cannot keep the {key} of destinations: {error}");
            }
            let _ = done.send(written.map(drop));
        }
    }
}

impl Dispatcher {
    /// Takes in what was kept, before anything is claimed.
    pub(super) async fn recall(&mut self) {
        let spool = Arc::clone(&self.shop.spool);
        if let Some(text) = fact(&*spool, PAUSES).await {
            match Pauses::read(&text) {
                Ok(pauses) => self.pauses = pauses,
                Err(error) => tracing::error!("the pauses of destinations cannot be read: {error}"),
            }
        }
        if let Some(octets) = fact(&*spool, RATES).await {
            match rates_in(&octets) {
                Ok(kept) => self.restore_rates(kept),
                Err(error) => tracing::error!("the used rates of destinations cannot be read: {error}"),
            }
        }
        if let Some(text) = fact(&*spool, GRUDGES).await {
            match serde_json::from_slice(&text) {
                Ok(kept) => self.restore_grudges(kept),
                Err(error) => tracing::error!("the rests of destinations cannot be read: {error}"),
            }
        }
    }

    fn restore_rates(&mut self, kept: Vec<Kept>) {
        let (now, wall) = (Instant::now(), clock::wall());
        for Kept { destination, used } in kept {
            let lane = Arc::new(destination);
            let age = |(at, attempts): (Timestamp, u32)| (wall.since(at), attempts);
            let used = used.into_iter().map(|KeptRate { per, attempts }| Used {
                per,
                attempts: attempts.into_iter().map(age).collect(),
            });
            let used: Vec<_> = used.collect();
            if let Some(berth) = self.recalled(&lane, now) {
                berth.lane.restore(&used, now.into_std());
            }
            self.notary.rated.insert(lane);
        }
    }

    fn restore_grudges(&mut self, kept: Vec<Grudge>) {
        let (now, wall) = (Instant::now(), clock::wall());
        for Grudge { destination, until, is_away, reason, ordered, probe_at, noted_at } in kept {
            let (lane, wall) = (Arc::new(destination), wall.max(noted_at));
            if let Some(berth) = self.recalled(&lane, now) {
                if let Some(until) = until {
                    berth.lane.hold((now + until.since(wall)).into_std());
                }
                match ordered {
                    Some(reason) => {
                        berth.back_off(reason.into(), now);
                        if let Some(at) = probe_at {
                            berth.lane.probe((now + at.since(wall)).into_std());
                        }
                    }
                    None if is_away => berth.lane.probe(now.into_std()),
                    None => {}
                }
                if let Some((at, reason)) = reason {
                    berth.note(at, reason.into(), false);
                }
            }
            self.notary.resented.insert(lane);
        }
    }

    /// A lane that is known from now on, and looked at once, so that it is forgotten
    /// in time.
    fn recalled(&mut self, lane: &Arc<Destination>, now: Instant) -> Option<&mut Berth> {
        let id = self.known(lane);
        let berth = self.lanes.at_mut(id)?;
        berth.lane.expect(now.into_std());
        Some(berth)
    }

    /// Writes down what is new, unless something is still being written.
    pub(super) fn save(&mut self, now: Instant) {
        if self.is_stopping || self.notary.save_at().is_none_or(|at| at > now) {
            return;
        }
        let charges = std::mem::take(&mut self.notary.charges);
        let rates = (!charges.is_empty()).then(|| self.write_rates(&charges, now));
        let grudges = self.notary.has_new_grudges.then(|| self.write_grudges(now));
        self.notary.is_saving = true;
        self.tasks.spawn(async move {
            for written in [rates, grudges].into_iter().flatten() {
                // The writer has told what went wrong. Charges that cannot be kept are
                // good until the end: a full disk gets room by deliveries alone.
                let _ = written.await;
            }
            Done::Saved(charges)
        });
    }

    /// Takes note that charges are durable.
    pub(super) fn end_save(&mut self, charges: Vec<Charge>) {
        self.notary.is_saving = false;
        for (lane, attempts) in charges {
            if let Some(berth) = self.lanes.of_mut(&lane) {
                berth.lane.credit().end_charge(attempts);
                self.touched.add(berth);
            }
        }
    }

    /// Writes down everything as it is in the end: nothing begins any more.
    pub(super) fn save_finally(&mut self, now: Instant) {
        for berth in self.lanes.iter_mut() {
            // Shorter rates are kept here only.
            if !berth.terms.rates.is_empty() {
                self.notary.rated.insert(Arc::clone(&berth.name));
            }
            *berth.lane.credit() = Credit::default();
        }
        if !self.notary.rated.is_empty() {
            self.write_rates(&[], now);
        }
        if !self.notary.resented.is_empty() {
            self.write_grudges(now);
        }
    }

    /// Hands in what is used of all rates, these charges included.
    fn write_rates(&mut self, charges: &[Charge], now: Instant) -> Written {
        let wall = clock::wall();
        let at = |(age, attempts): (Duration, u32)| (wall.before(age), attempts);
        let mut ahead: HashMap<_, _> = charges.iter().map(|(lane, attempts)| (lane, *attempts)).collect();
        let mut kept = Vec::new();
        self.notary.rated.retain(|lane| {
            let Some(berth) = self.lanes.of_mut(lane) else { return false };
            let ahead = ahead.remove(lane).unwrap_or_default() + berth.lane.credit().left();
            let ahead = (ahead > 0).then(|| (AHEAD, u32::try_from(ahead).unwrap_or(u32::MAX)));
            let used = berth.lane.used(now.into_std()).into_iter().map(|Used { per, attempts }| KeptRate {
                per,
                attempts: attempts.into_iter().map(at).chain(ahead).collect(),
            });
            let used: Vec<_> = used.collect();
            let is_used = used.iter().any(|rate| !rate.attempts.is_empty());
            if is_used {
                kept.push(Kept { destination: Destination::clone(lane), used });
            }
            is_used
        });
        let value =
            if kept.is_empty() { None } else { postcard::to_stdvec(&(RATES_FORMAT, RATES_MARK, kept)).ok() };
        let octets = value.as_ref().map_or(0, Vec::len);
        self.notary.save_at = now + Duration::from_millis((octets / OCTETS) as u64);
        self.notary.write(RATES, value)
    }

    /// Hands in all grudges.
    fn write_grudges(&mut self, now: Instant) -> Written {
        self.notary.has_new_grudges = false;
        let wall = clock::wall();
        let mut kept = Vec::new();
        self.notary.resented.retain(|lane| {
            let Some(berth) = self.lanes.of(lane) else { return false };
            let Some((until, is_away)) = berth.lane.grudge(now.into_std()) else { return false };
            let at = |at| wall.after(Instant::from(at).saturating_duration_since(now));
            let (until, probe_at) = (until.map(at), berth.lane.breaker().probe_at().map(at));
            let (destination, reason) = (Destination::clone(lane), berth.last_error());
            let ordered = berth.ordered().map(|reason| reason.to_string());
            kept.push(Grudge { destination, until, is_away, reason, ordered, probe_at, noted_at: wall });
            true
        });
        let value = if kept.is_empty() { None } else { serde_json::to_vec(&kept).ok() };
        self.notary.write(GRUDGES, value)
    }
}

/// Used rates as they were kept, also by versions before: what both kinds of URLs of
/// an origin used counts.
fn rates_in(octets: &[u8]) -> Result<Vec<Kept>, postcard::Error> {
    let kept = |(tenant, scheme, host, port), used| {
        let destination = Destination { tenant, scheme, host, port, webhook: None };
        Kept { destination, used }
    };
    if octets.first() != Some(&RATES_FORMAT) {
        let old: Vec<OldestKept> = postcard::from_bytes(octets)?;
        let old = old.into_iter();
        return Ok(old
            .map(|((tenant, scheme, host, port, _), used)| kept((tenant, scheme, host, port), used))
            .collect());
    }
    if let Ok((_, RATES_MARK, kept)) = postcard::from_bytes::<(u8, u32, Vec<Kept>)>(octets) {
        return Ok(kept);
    }
    let (_, old): (u8, Vec<OldKept>) = postcard::from_bytes(octets)?;
    Ok(old.into_iter().map(|(origin, used)| kept(origin, used)).collect())
}

/// A fact that was kept.
async fn fact(spool: &dyn Spool, key: &str) -> Option<Bytes> {
    loop {
        match spool.note(key).await {
            Ok(noted) => return noted.map(|noted| noted.value),
            Err(SpoolError::Closed) => return None,
            Err(error @ SpoolError::Damaged(_)) => {
                tracing::error!("the {key} of destinations are lost: {error}");
                return None;
            }
            Err(error) => tracing::error!("cannot read the {key} of destinations: {error}"),
        }
        tokio::time::sleep(SPOOL_PAUSE).await;
    }
}
