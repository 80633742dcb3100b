//! Who may try to log in: not who has failed too often of late.
//!
//! Failures count for the address they came from and for the name they were
//! about, known or not: a guesser with one address tries ten passwords in ten
//! minutes, and so do all guessers of the world together with one name. That
//! alone would let any stranger keep an application out by failing in its name,
//! so an address from which a name has logged in before is not held to what
//! others did to that name; it has its own ten tries. Success takes no failure
//! back, neither for the name nor for the address.
//!
//! A value without a clock; memory is bounded (see [`Failures`]). An IPv6 address
//! counts as its /64, which is what one customer has (RFC 6177).

use super::failures::Failures;
use super::seal::Mark;
use crate::envelope::Refusal;
use crate::post::Timestamp;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Pairs of address and name that are remembered to have logged in.
const ROOM: usize = 10_000;

/// Who tries to be whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    address: Option<IpAddr>,
    name: Mark,
}

impl Attempt {
    /// A try from `address` (`None`: from this machine, not over a network) to be
    /// the user whose name has this mark.
    pub(super) fn new(address: Option<IpAddr>, name: Mark) -> Attempt {
        Attempt { address: address.map(customer), name }
    }
}

/// What all addresses of one customer have in common.
pub fn customer(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// What happened so far.
#[derive(Debug, Default)]
pub(super) struct Guard {
    addresses: Failures<IpAddr>,
    names: Failures<Mark>,
    /// Who has been let in from where.
    familiar: HashSet<(IpAddr, Mark)>,
}

impl Guard {
    /// From now on, `most` failures within `window` are too many.
    pub(super) fn limit(&mut self, most: usize, window: Duration) {
        self.addresses.limit(most, window);
        self.names.limit(most, window);
    }

    /// Refuses with `454 4.7.0` who has failed too often.
    pub(super) fn admit(&self, attempt: Attempt, now: Timestamp) -> Result<(), Refusal> {
        let by_address = attempt.address.is_some_and(|address| self.addresses.are_too_many(address, now));
        let is_familiar =
            attempt.address.is_some_and(|address| self.familiar.contains(&(address, attempt.name)));
        if by_address || !is_familiar && self.names.are_too_many(attempt.name, now) {
            return Err(Refusal::new(454, (7, 0), "too many failed logins, try again later"));
        }
        Ok(())
    }

    /// Takes note of a failure.
    pub(super) fn fail(&mut self, attempt: Attempt, now: Timestamp) {
        if let Some(address) = attempt.address {
            self.addresses.count(address, now);
        }
        self.names.count(attempt.name, now);
    }

    /// Takes note of a success.
    pub(super) fn succeed(&mut self, attempt: Attempt) {
        let Some(address) = attempt.address else { return };
        // Only who has a password can fill it.
        if self.familiar.len() >= ROOM {
            self.familiar.clear();
        }
        self.familiar.insert((address, attempt.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn attempt(address: &str, name: u8) -> Attempt {
        Attempt::new(Some(address.parse().unwrap()), [name; 32])
    }

    /// Ten failures each of some, and who is locked out then.
    #[test]
    fn failures_count_for_the_address_and_for_the_name() {
        for (failed, locked, free) in [
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"),
        ] {
            let mut guard = Guard::default();
            (0..10).for_each(|name| guard.fail(attempt(failed, name), NOW));
            assert!(guard.admit(attempt(locked, 99), NOW).is_err(), "{locked}");
            assert_eq!(guard.admit(attempt(free, 99), NOW), Ok(()), "{free}");
        }
        let mut guard = Guard::default();
        (0..10).for_each(|host| guard.fail(attempt(&format!("192.0.2.{host}"), 1), NOW));
        let refusal = guard.admit(attempt("192.0.2.99", 1), NOW).unwrap_err();
        assert_eq!(refusal.to_string(), "454 4.7.0 too many failed logins, try again later");
        assert_eq!(guard.admit(attempt("192.0.2.99", 2), NOW), Ok(()));
        let later = NOW.after(std::time::Duration::from_secs(600));
        assert_eq!(guard.admit(attempt("192.0.2.99", 1), later), Ok(()));
    }

    #[test]
    fn strangers_lock_nobody_out_of_a_familiar_address() {
        let mut guard = Guard::default();
        let (home, away) = (attempt("192.0.2.1", 1), attempt("198.51.100.1", 1));
        guard.succeed(home);
        (0..10).for_each(|host| guard.fail(attempt(&format!("203.0.113.{host}"), 1), NOW));
        assert_eq!(guard.admit(home, NOW), Ok(()));
        assert!(guard.admit(away, NOW).is_err());
        // Another name is no more familiar there than elsewhere.
        (0..10).for_each(|host| guard.fail(attempt(&format!("203.0.113.{host}"), 2), NOW));
        assert!(guard.admit(attempt("192.0.2.1", 2), NOW).is_err());
        // Its own failures count, and success forgives none of them.
        (0..9).for_each(|_| guard.fail(home, NOW));
        guard.succeed(home);
        assert_eq!(guard.admit(home, NOW), Ok(()));
        guard.fail(home, NOW);
        assert!(guard.admit(home, NOW).is_err());
    }

    #[test]
    fn who_has_no_address_is_known_by_name_only() {
        let mut guard = Guard::default();
        let here = |name| Attempt::new(None, [name; 32]);
        (0..10).for_each(|_| guard.fail(here(1), NOW));
        assert!(guard.admit(here(1), NOW).is_err());
        assert_eq!(guard.admit(here(2), NOW), Ok(()));
    }

    #[test]
    fn what_is_familiar_takes_no_more_memory_than_a_bound() {
        let mut guard = Guard::default();
        for number in 0..3 * ROOM as u32 {
            let address = IpAddr::V4(number.into());
            guard.succeed(Attempt::new(Some(address), [0; 32]));
            assert!(guard.familiar.len() <= ROOM);
        }
    }
}
