//! Attempts that are charged to a rate before they begin.
//!
//! Used rates are kept by the spool, and to write there for every attempt would cost
//! more than the attempt. So attempts on a long rate are charged in slices: noted as
//! used first, durably, and begun then. A process that is killed has begun no more
//! than was charged. What it had not begun of a slice is lost to the rate: 1/64 of
//! it, or what was about to be sent, if that is more. So a rate costs 64 writes in
//! its length at most, however fast it is used up. An orderly stop gives back what
//! is left.
//!
//! Rates of less than [`LONG`] are not charged: most of their length is over when a
//! process has come back.

use super::pace::Rate;
use super::plan::Plan;
use std::time::Duration;

/// Shortest length of a rate that no kill makes exceed.
const LONG: Duration = Duration::from_mins(1);
/// Slices of a rate.
const SLICES: u32 = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Credit {
    /// Attempts that are charged at a time, when there is a long rate.
    slice: Option<u32>,
    /// Attempts that are charged and have not begun.
    left: usize,
    is_asked: bool,
}

impl Credit {
    /// None yet, for attempts under these rates.
    pub fn new(rates: &[Rate]) -> Credit {
        let mut credit = Credit::default();
        credit.change(rates);
        credit
    }

    /// Other rates from now on; what is charged stays so.
    pub fn change(&mut self, rates: &[Rate]) {
        let long = rates.iter().filter(|rate| rate.per >= LONG);
        self.slice = long.map(|rate| rate.count.div_ceil(SLICES)).min();
    }

    /// What a lane does with room for so many attempts.
    pub fn plan(&self, room: usize) -> Plan {
        match self.slice {
            _ if room == 0 => Plan::Idle,
            None => Plan::Send(room),
            Some(_) if self.left > 0 => Plan::Send(room.min(self.left)),
            Some(_) if self.is_asked => Plan::Idle,
            Some(slice) => Plan::Charge(room.max(slice as usize)),
        }
    }

    /// How many of so many attempts may begin uncharged or are charged.
    pub fn cap(&self, attempts: usize) -> usize {
        if self.slice.is_some() { attempts.min(self.left) } else { attempts }
    }

    /// Notes that a charge is on its way.
    pub fn begin_charge(&mut self) {
        self.is_asked = true;
    }

    /// Notes that so many attempts are charged.
    pub fn end_charge(&mut self, attempts: usize) {
        self.is_asked = false;
        self.left = self.left.saturating_add(attempts);
    }

    /// Notes that so many attempts begin.
    pub fn spend(&mut self, attempts: usize) {
        self.left = self.left.saturating_sub(attempts);
    }

    /// Attempts that are charged and have not begun.
    pub fn left(&self) -> usize {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn rate(count: u32, seconds: u64) -> Rate {
        Rate { count, per: Duration::from_secs(seconds) }
    }

    #[test]
    fn long_rates_are_charged_in_slices_and_no_attempt_begins_uncharged() {
        for (rates, room, plan) in [
            (&[][..], 5, Plan::Send(5)),
            (&[rate(100, 1), rate(500, 59)], 5, Plan::Send(5)),
            (&[rate(20, 3600)], 5, Plan::Charge(5)),
            (&[rate(6400, 3600)], 5, Plan::Charge(100)),
            (&[rate(6401, 60), rate(1_000_000, 86_400)], 5, Plan::Charge(101)),
            (&[rate(1, 1), rate(640, 86_400)], 20, Plan::Charge(20)),
        ] {
            let mut credit = Credit::new(rates);
            assert_eq!(credit.plan(room), plan, "{rates:?}");
            let Plan::Charge(charged) = plan else { continue };
            credit.begin_charge();
            assert_eq!(credit.plan(room), Plan::Idle, "{rates:?}");
            credit.end_charge(charged);
            let mut begun = 0;
            while let Plan::Send(attempts) = credit.plan(room) {
                credit.spend(attempts);
                begun += attempts;
            }
            assert_eq!((begun, credit.plan(room)), (charged, plan), "{rates:?}");
        }
    }

    #[test]
    fn what_is_charged_outlives_a_change_of_the_rates() {
        let mut credit = Credit::new(&[rate(6400, 3600)]);
        credit.end_charge(100);
        credit.change(&[]);
        assert_eq!(credit.plan(5), Plan::Send(5));
        credit.spend(5);
        credit.change(&[rate(20, 3600)]);
        assert_eq!((credit.plan(500), credit.left()), (Plan::Send(95), 95));
    }
}
