//! Who gets how much when there is not enough for all.

use super::*;

/// Lanes in thought: each has posts, and attempts of which each round one ends, or
/// none ever does.
struct Lane {
    stake: Stake,
    posts: usize,
    in_flight: usize,
    resting: Vec<u64>,
    hangs: bool,
    sent: usize,
}

struct World {
    turns: Turns<usize>,
    lanes: Vec<Lane>,
    opened: usize,
}

impl World {
    fn new(places: usize, lanes: impl IntoIterator<Item = (usize, bool)>) -> World {
        let lane = |(posts, hangs)| Lane {
            stake: Stake::default(),
            posts,
            in_flight: 0,
            resting: Vec::new(),
            hangs,
            sent: 0,
        };
        World { turns: Turns::new(places), lanes: lanes.into_iter().map(lane).collect(), opened: 0 }
    }

    fn pursue(&mut self, number: usize, turn: Turn) {
        let lane = &mut self.lanes[number];
        let wanted = lane.posts.min(20usize.saturating_sub(lane.in_flight));
        if wanted > 0 {
            let granted = self.turns.grant(wanted, &lane.stake, turn, lane.resting.len(), lane.in_flight);
            self.turns.reserve(granted, &mut lane.stake);
            self.turns.release(granted);
            for _ in 0..granted {
                lane.posts -= 1;
                lane.in_flight += 1;
                match lane.resting.pop() {
                    Some(rest) => self.turns.rouse(rest),
                    None => {
                        self.turns.hire();
                        self.opened += 1;
                    }
                }
            }
            if granted < wanted {
                self.turns.queue(&number, &mut lane.stake, lane.in_flight);
            }
        }
        self.turns.count(&mut lane.stake, lane.in_flight, 0);
    }

    fn serve(&mut self) {
        let mut passes = self.turns.waiting();
        while let Some(number) = self.turns.first().copied() {
            let lane = &mut self.lanes[number];
            if self.turns.has_place(lane.resting.len(), lane.in_flight) {
                self.turns.begin_turn(&mut lane.stake);
                self.pursue(number, Turn::Own);
            } else if lane.in_flight > 0 && passes > 0 {
                passes -= 1;
                self.turns.pass();
            } else {
                let Some((rest, other)) = self.turns.evict(|_| true) else { return };
                self.lanes[other].resting.retain(|other| *other != rest);
                self.turns.leave();
            }
        }
    }

    /// One attempt of each lane ends.
    fn round(&mut self) {
        for number in 0..self.lanes.len() {
            let lane = &mut self.lanes[number];
            if lane.in_flight > 0 && !lane.hangs {
                lane.in_flight -= 1;
                lane.sent += 1;
                lane.resting.push(self.turns.rest(&number));
            }
            self.pursue(number, Turn::Other);
            self.serve();
        }
        let open: usize = self.lanes.iter().map(|lane| lane.in_flight + lane.resting.len()).sum();
        assert!(open <= self.turns.most, "{open} places");
    }
}

#[test]
fn a_thousand_lanes_on_fifty_places_are_all_served_alike() {
    let mut world = World::new(50, (0..1000).map(|_| (100, false)));
    for _ in 0..400 {
        world.round();
    }
    let sent = || world.lanes.iter().map(|lane| lane.sent);
    let (least, most) = (sent().min().unwrap(), sent().max().unwrap());
    assert!(least + 2 * CREDIT >= most, "between {least} and {most}");
    let all: usize = sent().sum();
    assert!(world.opened <= all / 8, "{} connections for {all} posts", world.opened);
    while world.lanes.iter().any(|lane| lane.sent < 100) {
        world.round();
    }
}

#[test]
fn lanes_that_hang_do_not_keep_others_from_their_places() {
    for (places, hanging) in [(4, 1), (8, 1), (16, 2), (100, 10)] {
        let lanes = (0..hanging).map(|_| (1000, true)).chain([(300, false)]);
        let mut world = World::new(places, lanes);
        for _ in 0..1000 {
            world.round();
        }
        assert_eq!(world.lanes[hanging].sent, 300, "{places}");
    }
}

#[test]
fn where_there_is_enough_nobody_waits() {
    let mut world = World::new(2000, (0..50).map(|_| (40, false)));
    world.round();
    assert!(world.lanes.iter().all(|lane| lane.in_flight == 20));
    assert_eq!(world.turns.waiting(), 0);
}

#[test]
fn a_turn_is_spent_once() {
    let mut stake = Stake { credit: CREDIT, ..Stake::default() };
    assert_eq!([10, 10, 1].map(|posts| stake.spend(posts)), [10, 6, 0]);
}

#[test]
fn posts_that_wait_for_workers_are_counted_as_they_come_and_go() {
    let mut turns: Turns<usize> = Turns::new(10);
    let [mut one, mut other] = [Stake::default(); 2];
    for (is_one, stocked, is_enough) in [
        (true, STOCKED - 1, false),
        (false, 1, true),
        (true, STOCKED - 1, true),
        (true, 5, false),
        (false, STOCKED, true),
        (false, 0, false),
    ] {
        turns.count(if is_one { &mut one } else { &mut other }, 1, stocked);
        assert_eq!(turns.are_stocked(), is_enough, "{stocked}");
    }
}
