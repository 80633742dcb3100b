//! All lanes that are known.
//!
//! A lane is looked up by its name once. Then all that speaks of it (claims, attempts,
//! timers, the ring of those that wait) carries its id, which finds it without a hash
//! and without a look at its name: of very many lanes neither is near. The id of a
//! lane that was forgotten means nobody, also when its place is another's.

use super::berth::Berth;
use crate::post::{Destination, Table};
use std::sync::Arc;

/// Lanes to be asked what they want, each once.
#[derive(Default)]
pub(super) struct Touched(pub Vec<LaneId>);

impl Touched {
    /// Adds a lane.
    pub(super) fn add(&mut self, berth: &mut Berth) {
        if !std::mem::replace(&mut berth.is_touched, true) {
            self.0.push(berth.id);
        }
    }
}

/// One lane, as long as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneId {
    place: u32,
    /// How many had the place before.
    before: u32,
}

/// See the module.
#[derive(Default)]
pub(super) struct Lanes {
    places: Vec<Place>,
    free: Vec<u32>,
    ids: Table<Arc<Destination>, LaneId>,
}

#[derive(Default)]
struct Place {
    before: u32,
    berth: Option<Box<Berth>>,
}

impl Lanes {
    /// The lane of that id.
    pub(super) fn at(&self, id: LaneId) -> Option<&Berth> {
        let place = self.places.get(id.place as usize)?;
        place.berth.as_deref().filter(|_| place.before == id.before)
    }

    /// The same, to be changed.
    pub(super) fn at_mut(&mut self, id: LaneId) -> Option<&mut Berth> {
        let place = self.places.get_mut(id.place as usize)?;
        place.berth.as_deref_mut().filter(|_| place.before == id.before)
    }

    /// The id of the lane of that name.
    pub(super) fn id(&self, name: &Destination) -> Option<LaneId> {
        self.ids.get(name).copied()
    }

    /// The lane of that name.
    pub(super) fn of(&self, name: &Destination) -> Option<&Berth> {
        self.at(self.id(name)?)
    }

    /// The same, to be changed.
    pub(super) fn of_mut(&mut self, name: &Destination) -> Option<&mut Berth> {
        self.at_mut(self.id(name)?)
    }

    /// Knows a lane from now on; of one that it knew, the new state replaces the old one.
    pub(super) fn add(&mut self, mut berth: Box<Berth>) -> LaneId {
        let number = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            // More would not fit into the memory.
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.places.get_mut(number as usize) {
            berth.id = LaneId { place: number, before: place.before };
            self.ids.insert(Arc::clone(&berth.name), berth.id);
            return place.berth.insert(berth).id;
        }
        berth.id
    }

    /// Forgets a lane.
    pub(super) fn forget(&mut self, id: LaneId) {
        let Some(place) = self.places.get_mut(id.place as usize) else { return };
        if let Some(berth) = place.berth.take_if(|berth| berth.id == id) {
            self.ids.remove(&*berth.name);
            place.before = place.before.wrapping_add(1);
            self.free.push(id.place);
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Berth> {
        self.places.iter().filter_map(|place| place.berth.as_deref())
    }

    /// The same, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Berth> {
        self.places.iter_mut().filter_map(|place| place.berth.as_deref_mut())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::terms::Book;
    use crate::post::Scheme;
    use crate::tenant::Tenant;
    use tokio::time::Instant;

    fn add(lanes: &mut Lanes, host: &str) -> (Arc<Destination>, LaneId) {
        let (tenant, scheme, host) = (Tenant::default(), Scheme::Http, host.to_owned());
        let name = Arc::new(Destination { tenant, scheme, host, port: 80, webhook: None });
        let terms = Book::default().terms(&name);
        let berth = Berth::new(Arc::clone(&name), terms, 0, Instant::now());
        (name, lanes.add(Box::new(berth)))
    }

    #[test]
    fn the_id_of_a_forgotten_lane_means_nobody_also_when_its_place_is_taken() {
        let mut lanes = Lanes::default();
        let [(a, first), (b, second)] = ["a", "b"].map(|host| add(&mut lanes, host));
        assert_eq!((lanes.id(&a), lanes.id(&b)), (Some(first), Some(second)));
        lanes.forget(first);
        lanes.forget(first);
        assert_eq!((lanes.id(&a), lanes.at(first).is_some()), (None, false));
        let (c, third) = add(&mut lanes, "c");
        assert_eq!(third.place, first.place);
        lanes.forget(first);
        assert!(lanes.at(first).is_none() && lanes.at_mut(first).is_none());
        let names: Vec<_> = lanes.iter().map(|berth| berth.name.host.as_str()).collect();
        assert_eq!((names, lanes.id(&c)), (vec!["c", "b"], Some(third)));
        assert!(lanes.of(&c).is_some_and(|berth| berth.id == third));
    }

    #[test]
    fn a_lane_is_asked_once_however_often_it_is_touched() {
        let (mut lanes, mut touched) = (Lanes::default(), Touched::default());
        let (_, id) = add(&mut lanes, "a");
        for _ in 0..2 {
            touched.add(lanes.at_mut(id).unwrap());
        }
        assert_eq!(touched.0, [id]);
    }
}
