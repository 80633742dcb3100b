//! What each tenant may do, and how much of it.
//!
//! Posts are counted, not messages: one a recipient. A rate is kept by GCRA (the
//! leaky bucket of ITU-T I.371): a burst of the whole count, then evenly. A
//! message of more posts than the count still passes when nothing was taken for
//! as long as the rate's own time, and is paid off afterwards: it would never
//! pass otherwise, and in the long run the rate holds. Days are those of UTC.
//!
//! Both are kept in memory: a restart begins a new day. Who is not configured has
//! no limits.

use crate::clock::Clock;
use crate::compose::HeaderControl;
use crate::envelope::Refusal;
use crate::post::Timestamp;
use crate::tenant::Tenant;
use crate::url_pattern::UrlPattern;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Milliseconds of a day.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// What the configuration says of a tenant.
#[derive(Clone, Debug)]
pub struct TenantTerms {
    /// Its name.
    pub tenant: Tenant,
    /// Posts of a day (UTC).
    pub daily_limit: Option<u64>,
    /// So many posts in that time.
    pub rate: Option<(u32, Duration)>,
    /// The only URLs that its clients may name; empty is any.
    pub may_post_to: Vec<UrlPattern>,
    /// Whether headers in its messages steer direct posts.
    pub header_control: HeaderControl,
}

/// All tenants.
#[derive(Debug)]
pub struct Tenants {
    all: HashMap<Tenant, (TenantTerms, Arc<Mutex<Account>>)>,
    clock: Clock,
}

impl Default for Tenants {
    /// None: nobody is limited.
    fn default() -> Tenants {
        Tenants::new(Vec::new())
    }
}

impl Tenants {
    /// Tenants that have used nothing yet. Of two with the same name the last counts.
    pub fn new(terms: Vec<TenantTerms>) -> Tenants {
        let entry = |terms: TenantTerms| (terms.tenant.clone(), (terms, Arc::default()));
        Tenants { all: terms.into_iter().map(entry).collect(), clock: Clock::start() }
    }

    /// Tenants on other terms; what one has used stays used.
    pub fn renewed(&self, terms: Vec<TenantTerms>) -> Tenants {
        let mut renewed = Tenants { clock: self.clock, ..Tenants::new(terms) };
        for (tenant, (_, account)) in &mut renewed.all {
            if let Some((_, earlier)) = self.all.get(tenant) {
                *account = Arc::clone(earlier);
            }
        }
        renewed
    }

    /// What the configuration says of each, in the order of their names.
    pub fn configured(&self) -> Vec<&TenantTerms> {
        let mut all: Vec<_> = self.all.values().map(|(terms, _)| terms).collect();
        all.sort_by(|one, other| one.tenant.cmp(&other.tenant));
        all
    }

    /// What the configuration says of `tenant`, if anything.
    pub(super) fn terms(&self, tenant: &Tenant) -> Option<&TenantTerms> {
        self.all.get(tenant).map(|(terms, _)| terms)
    }

    /// Refuses as `take` does when `tenant` has nothing left for even one post.
    pub(super) fn check(&self, tenant: &Tenant) -> Result<(), Refusal> {
        self.with(tenant, |account, terms, now| account.check(terms, 1, now))
    }

    /// Takes `posts` of what `tenant` may still do, or takes nothing and refuses: with
    /// `452 4.5.3` when its day is used up, `451 4.7.1` when it is too fast, `550 5.7.1`
    /// when no day would do.
    pub(super) fn take(&self, tenant: &Tenant, posts: usize) -> Result<(), Refusal> {
        let posts = u64::try_from(posts).unwrap_or(u64::MAX);
        self.with(tenant, |account, terms, now| account.take(terms, posts, now))
    }

    /// How long until so many posts of `tenant` may pass; nothing when they may now, or
    /// never.
    pub(super) fn wait(&self, tenant: &Tenant, posts: usize) -> Duration {
        let Some((terms, account)) = self.all.get(tenant) else { return Duration::ZERO };
        let account = account.lock().unwrap_or_else(PoisonError::into_inner);
        account.wait(terms, u64::try_from(posts).unwrap_or(u64::MAX), self.clock.now())
    }

    /// Gives back what was taken for posts that were not kept.
    pub(super) fn give_back(&self, tenant: &Tenant, posts: usize) {
        let posts = u64::try_from(posts).unwrap_or(u64::MAX);
        let given = self.with(tenant, |account, terms, _| {
            account.give_back(terms, posts);
            Ok(())
        });
        debug_assert!(given.is_ok(), "giving back is never refused");
    }

    fn with(
        &self,
        tenant: &Tenant,
        ask: impl FnOnce(&mut Account, &TenantTerms, Timestamp) -> Result<(), Exhausted>,
    ) -> Result<(), Refusal> {
        let Some((terms, account)) = self.all.get(tenant) else { return Ok(()) };
        let mut account = account.lock().unwrap_or_else(PoisonError::into_inner);
        ask(&mut account, terms, self.clock.now()).map_err(|exhausted| exhausted.refusal(terms))
    }
}

/// Which limit a tenant has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exhausted {
    /// Its day, by a message that no day has room for.
    AnyDay,
    Day,
    Rate,
}

impl Exhausted {
    fn refusal(self, terms: &TenantTerms) -> Refusal {
        let tenant = &terms.tenant;
        let limit = terms.daily_limit.unwrap_or_default();
        let text = match self {
            Exhausted::AnyDay => {
                let text = format!("tenant {tenant} may make {limit} posts a day; send fewer at a time");
                return Refusal::new(550, (7, 1), text);
            }
            // Too much in all, as of recipients (RFC 3463 X.5.3).
            Exhausted::Day => {
                let text = format!(
                    "tenant {tenant} has reached its daily limit of {limit} posts; try again tomorrow (UTC)"
                );
                return Refusal::new(452, (5, 3), text);
            }
            Exhausted::Rate => {
                let (count, time) = terms.rate.unwrap_or_default();
                format!("tenant {tenant} has reached its rate of {count} posts in {time:?}; try again later")
            }
        };
        // Too fast.
        Refusal::new(451, (7, 1), text)
    }
}

/// What a tenant has used.
#[derive(Debug, Default)]
struct Account {
    /// Days since the epoch.
    day: u64,
    /// Posts of that day.
    used: u64,
    /// When everything that was taken is paid off, in microseconds since the
    /// epoch: GCRA's theoretical arrival time.
    settled_at: u128,
}

impl Account {
    /// Whether `posts` more are allowed now.
    fn check(&self, terms: &TenantTerms, posts: u64, now: Timestamp) -> Result<(), Exhausted> {
        if terms.daily_limit.is_some_and(|limit| posts > limit) {
            return Err(Exhausted::AnyDay);
        }
        let used = if now.0 / DAY == self.day { self.used } else { 0 };
        if terms.daily_limit.is_some_and(|limit| used.saturating_add(posts) > limit) {
            return Err(Exhausted::Day);
        }
        if let Some((count, time)) = terms.rate {
            let burst = posts.min(u64::from(count));
            let settled_at = self.settled_at.max(micros(now)) + worth(burst, count, time);
            if settled_at > micros(now) + time.as_micros() {
                return Err(Exhausted::Rate);
            }
        }
        Ok(())
    }

    /// How long until `posts` more are allowed.
    fn wait(&self, terms: &TenantTerms, posts: u64, now: Timestamp) -> Duration {
        match (self.check(terms, posts, now), terms.rate) {
            (Err(Exhausted::Day), _) => Duration::from_millis(DAY - now.0 % DAY),
            (Err(Exhausted::Rate), Some((count, time))) => {
                let settled_at = self.settled_at + worth(posts.min(u64::from(count)), count, time);
                let left = settled_at.saturating_sub(micros(now) + time.as_micros());
                Duration::from_micros(u64::try_from(left).unwrap_or(u64::MAX))
            }
            _ => Duration::ZERO,
        }
    }

    fn take(&mut self, terms: &TenantTerms, posts: u64, now: Timestamp) -> Result<(), Exhausted> {
        self.check(terms, posts, now)?;
        let day = now.0 / DAY;
        if self.day != day {
            (self.day, self.used) = (day, 0);
        }
        self.used = self.used.saturating_add(posts);
        if let Some((count, time)) = terms.rate {
            self.settled_at = self.settled_at.max(micros(now)) + worth(posts, count, time);
        }
        Ok(())
    }

    /// Across midnight the new day gets it, which is no more than was paid for.
    fn give_back(&mut self, terms: &TenantTerms, posts: u64) {
        self.used = self.used.saturating_sub(posts);
        if let Some((count, time)) = terms.rate {
            self.settled_at = self.settled_at.saturating_sub(worth(posts, count, time));
        }
    }
}

fn micros(at: Timestamp) -> u128 {
    u128::from(at.0) * 1000
}

/// The time in which `posts` are paid off, in microseconds, rounded down: a burst
/// of the whole count must fit.
fn worth(posts: u64, count: u32, time: Duration) -> u128 {
    u128::from(posts) * time.as_micros() / u128::from(count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDNIGHT: Timestamp = Timestamp(20_000 * DAY);

    fn terms(daily_limit: Option<u64>, rate: Option<(u32, u64)>) -> TenantTerms {
        TenantTerms {
            tenant: Tenant::new("shop"),
            daily_limit,
            rate: rate.map(|(count, seconds)| (count, Duration::from_secs(seconds))),
            may_post_to: Vec::new(),
            header_control: HeaderControl::On,
        }
    }

    #[test]
    fn limits_hold_to_the_post() {
        use Exhausted::{AnyDay, Day, Rate};
        type Steps = Vec<(u64, u64, Result<(), Exhausted>)>;
        // Milliseconds since midnight, posts, and whether they are taken.
        let cases: Vec<(TenantTerms, Steps)> = vec![
            (terms(None, None), vec![(0, 1_000_000, Ok(()))]),
            (
                terms(Some(10), None),
                vec![
                    (0, 9, Ok(())),
                    (1, 2, Err(Day)),
                    (1, 1, Ok(())),
                    (DAY - 1, 1, Err(Day)),
                    (DAY, 11, Err(AnyDay)),
                    (DAY, 10, Ok(())),
                    (DAY, 1, Err(Day)),
                ],
            ),
            (terms(Some(0), None), vec![(0, 1, Err(AnyDay))]),
            (
                terms(None, Some((10, 1))),
                vec![
                    (0, 10, Ok(())),
                    (0, 1, Err(Rate)),
                    (99, 1, Err(Rate)),
                    (100, 2, Err(Rate)),
                    (100, 1, Ok(())),
                    (100, 1, Err(Rate)),
                    // After a pause there is a whole burst, and not two.
                    (60_000, 10, Ok(())),
                    (60_000, 1, Err(Rate)),
                ],
            ),
            (
                // More than a burst at once is paid off afterwards.
                terms(None, Some((10, 1))),
                vec![
                    (0, 1, Ok(())),
                    (50, 100, Err(Rate)),
                    (100, 100, Ok(())),
                    (9_199, 1, Err(Rate)),
                    (9_200, 1, Ok(())),
                    (9_200, 1, Err(Rate)),
                ],
            ),
            (terms(None, Some((3, 1))), vec![(0, 3, Ok(())), (333, 1, Err(Rate)), (334, 1, Ok(()))]),
            (terms(Some(5), Some((10, 1))), vec![(0, 5, Ok(())), (0, 1, Err(Day))]),
        ];
        for (terms, steps) in cases {
            let mut account = Account::default();
            for (millis, posts, expected) in steps {
                let now = Timestamp(MIDNIGHT.0 + millis);
                assert_eq!(account.check(&terms, posts, now), expected, "{terms:?} {millis} {posts}");
                assert_eq!(account.take(&terms, posts, now), expected, "{terms:?} {millis} {posts}");
            }
        }
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let terms = terms(Some(10), Some((10, 60)));
        let mut account = Account::default();
        for _ in 0..3 {
            assert_eq!(account.take(&terms, 10, MIDNIGHT), Ok(()));
            assert_eq!(account.take(&terms, 1, MIDNIGHT), Err(Exhausted::Day));
            account.give_back(&terms, 10);
        }
    }

    #[test]
    fn who_waits_as_long_as_it_is_told_may_pass() {
        for (daily_limit, rate, posts, millis) in [
            (Some(10), None, 10, 86_400_000 - 60_000),
            (None, Some((10, 60)), 10, 0),
            (None, Some((10, 120)), 10, 60_000),
            (None, Some((10, 120)), 2, 0),
            (None, Some((10, 120)), 7, 24_000),
            (Some(5), None, 11, 0),
        ] {
            let terms = terms(daily_limit, rate);
            let mut account = Account::default();
            let taken = account.take(&terms, daily_limit.map_or(10, |limit| limit.min(5)), MIDNIGHT);
            assert_eq!(taken, Ok(()));
            let now = MIDNIGHT.after(Duration::from_secs(60));
            let wait = account.wait(&terms, posts, now);
            assert_eq!(wait, Duration::from_millis(millis), "{terms:?} {posts}");
            let is_never = daily_limit.is_some_and(|limit| posts > limit);
            let mut wait_once = |wait| account.take(&terms, posts, now.after(wait)).is_ok();
            assert!(wait.is_zero() || !wait_once(wait - Duration::from_millis(1)), "{terms:?} {posts}");
            assert_eq!(wait_once(wait), !is_never, "{terms:?} {posts}");
        }
    }

    #[test]
    fn a_refusal_names_the_limit() {
        let terms = terms(Some(7), Some((10, 60)));
        let text = |exhausted: Exhausted| exhausted.refusal(&terms).to_string();
        let day = "452 4.5.3 tenant shop has reached its daily limit of 7 posts; try again tomorrow (UTC)";
        assert_eq!(text(Exhausted::Day), day);
        let any_day = "550 5.7.1 tenant shop may make 7 posts a day; send fewer at a time";
        assert_eq!(text(Exhausted::AnyDay), any_day);
        assert_eq!(Account::default().take(&terms, 8, MIDNIGHT), Err(Exhausted::AnyDay));
        assert_eq!(Account::default().take(&terms, 7, MIDNIGHT), Ok(()));
        let rate = "451 4.7.1 tenant shop has reached its rate of 10 posts in 60s; try again later";
        assert_eq!(text(Exhausted::Rate), rate);
    }

    #[test]
    fn what_was_used_stays_used_on_other_terms() {
        let shop = Tenant::new("shop");
        let tenants = Tenants::new(vec![terms(Some(2), None)]);
        assert_eq!(tenants.take(&shop, 2), Ok(()));
        let renewed = tenants.renewed(vec![terms(Some(3), None)]);
        assert_eq!(renewed.take(&shop, 1), Ok(()));
        assert!(renewed.check(&shop).is_err());
        assert_eq!(renewed.renewed(Vec::new()).check(&shop), Ok(()));
    }

    #[test]
    fn only_who_is_configured_is_limited() {
        let tenants = Tenants::new(vec![terms(Some(1), None)]);
        let (shop, other) = (Tenant::new("shop"), Tenant::new("other"));
        assert_eq!(tenants.take(&shop, 1), Ok(()));
        assert!(tenants.check(&shop).is_err() && tenants.take(&shop, 1).is_err());
        tenants.give_back(&shop, 1);
        assert_eq!(tenants.check(&shop), Ok(()));
        assert_eq!(tenants.take(&other, usize::MAX), Ok(()));
    }
}
