//! Which destinations are paused, by whom it was said: patterns of origins.
//!
//! A pause holds also for destinations that appear later. It is kept as text, so that
//! it outlives the process.

use crate::post::{Destination, Timestamp};
use crate::tenant::Tenant;
use crate::url_pattern::UrlPattern;
use serde::{Deserialize, Serialize};

/// One pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Of these origins.
    pub origins: UrlPattern,
    /// Of this tenant; nothing means all.
    pub tenant: Option<Tenant>,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

/// All pauses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pauses(Vec<Pause>);

impl Pauses {
    /// As they were kept; an error says why they cannot be read.
    pub fn read(text: &[u8]) -> Result<Pauses, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }

    /// To be kept; nothing when there is none.
    pub fn write(&self) -> Option<Vec<u8>> {
        if self.0.is_empty() { None } else { serde_json::to_vec(self).ok() }
    }

    /// Adds a pause; one of the same origins has its reason from now on.
    pub fn add(&mut self, pause: Pause) {
        let is_same = |other: &&mut Pause| other.origins == pause.origins && other.tenant == pause.tenant;
        match self.0.iter_mut().find(is_same) {
            Some(same) => same.reason = pause.reason,
            None => self.0.push(pause),
        }
    }

    /// Ends all pauses of origins that are meant; whether there was one.
    pub fn end(&mut self, origins: &UrlPattern, tenant: Option<&Tenant>) -> bool {
        let before = self.0.len();
        let is_meant = |pause: &Pause| {
            origins.covers(&pause.origins)
                && tenant.is_none_or(|tenant| pause.tenant.as_ref() == Some(tenant))
        };
        self.0.retain(|pause| !is_meant(pause));
        self.0.len() < before
    }

    /// The pause that a destination is under, if it is.
    pub fn of(&self, destination: &Destination) -> Option<&Pause> {
        self.0.iter().find(|pause| {
            pause.origins.matches(destination)
                && pause.tenant.as_ref().is_none_or(|tenant| *tenant == destination.tenant)
        })
    }
}
