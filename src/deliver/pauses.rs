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

impl Pause {
    /// Whether a destination is under it.
    pub fn means(&self, destination: &Destination) -> bool {
        self.origins.matches(destination)
            && self.tenant.as_ref().is_none_or(|tenant| *tenant == destination.tenant)
    }
}

/// A part of what somebody means that is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Of these origins.
    pub origins: UrlPattern,
    /// Of this tenant; nothing means all.
    pub tenant: Option<Tenant>,
}

impl Part {
    fn covers(&self, other: &Part) -> bool {
        self.origins.covers(&other.origins) && (self.tenant.is_none() || self.tenant == other.tenant)
    }
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

    /// Ends all pauses of origins that are meant; answers how many there were.
    pub fn end(&mut self, origins: &UrlPattern, tenant: Option<&Tenant>) -> usize {
        let before = self.0.len();
        let is_meant = |pause: &Pause| {
            origins.covers(&pause.origins)
                && tenant.is_none_or(|tenant| pause.tenant.as_ref() == Some(tenant))
        };
        self.0.retain(|pause| !is_meant(pause));
        before - self.0.len()
    }

    /// The pause that a destination is under, if it is.
    pub fn of(&self, destination: &Destination) -> Option<&Pause> {
        self.0.iter().find(|pause| pause.means(destination))
    }

    /// The parts of these origins of this tenant (nothing means all) that are paused,
    /// none within another.
    pub fn parts(&self, origins: Option<&UrlPattern>, tenant: Option<&Tenant>) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for pause in &self.0 {
            let origins = origins.map_or(Some(&pause.origins), |origins| origins.common(&pause.origins));
            let of = pause.tenant.as_ref();
            let is_apart = tenant.zip(of).is_some_and(|(tenant, of)| tenant != of);
            let Some(origins) = origins.filter(|_| !is_apart).cloned() else { continue };
            let part = Part { origins, tenant: tenant.or(of).cloned() };
            if !parts.iter().any(|other| other.covers(&part)) {
                parts.retain(|other| !part.covers(other));
                parts.push(part);
            }
        }
        parts
    }

    /// The pauses that name one destination, with that; those of all tenants name
    /// that of `tenant`.
    pub fn named(&self, tenant: &Tenant) -> impl Iterator<Item = (&Pause, Destination)> {
        let named = |pause: &Pause| pause.origins.only(pause.tenant.as_ref().unwrap_or(tenant));
        self.0.iter().filter_map(move |pause| named(pause).map(|destination| (pause, destination)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::post::Scheme;

    #[test]
    fn pauses_are_kept_and_end_with_what_covers_them() {
        let pause = |origins: &str, tenant: Option<&str>| Pause {
            origins: origins.parse().unwrap(),
            tenant: tenant.map(Tenant::new),
            since: Timestamp(7),
            reason: "x".to_owned(),
        };
        let (shop, erp) = (Tenant::new("shop"), Tenant::new("erp"));
        for (paused, ended, tenant, ends) in [
            (pause("https://a.example", None), "https://a.example", None, true),
            (pause("https://a.example", None), "*", None, true),
            (pause("https://a.example", None), "https://*.example", None, true),
            (pause("https://*.example", None), "https://a.example", None, false),
            (pause("https://a.example", None), "https://b.example", None, false),
            (pause("*", Some("shop")), "*", Some(&shop), true),
            (pause("*", Some("shop")), "*", Some(&erp), false),
            (pause("*", None), "*", Some(&shop), false),
        ] {
            let mut pauses = Pauses::default();
            pauses.add(paused.clone());
            assert_eq!(Pauses::read(&pauses.write().unwrap()), Ok(pauses.clone()));
            assert_eq!(
                pauses.end(&ended.parse().unwrap(), tenant),
                usize::from(ends),
                "{paused:?} {ended} {tenant:?}"
            );
            assert_eq!(pauses.write().is_none(), ends);
        }
        let mut pauses = Pauses::default();
        pauses.add(pause("https://*.example", Some("shop")));
        let to = |tenant: &Tenant| Destination {
            tenant: tenant.clone(),
            scheme: Scheme::Https,
            host: "a.example".to_owned(),
            port: 443,
            webhook: None,
        };
        assert!(pauses.of(&to(&shop)).is_some() && pauses.of(&to(&erp)).is_none());
    }

    #[test]
    fn what_is_paused_of_what_is_meant_is_found() {
        let pattern = |text: &str| text.parse::<UrlPattern>().unwrap();
        let mut pauses = Pauses::default();
        let shop = Tenant::new("shop");
        for (origins, tenant) in [
            ("https://a.example", None),
            ("https://*.b.example", None),
            ("https://x.b.example", None),
            ("https://c.example", Some(shop.clone())),
        ] {
            let (since, reason) = (Timestamp(7), String::new());
            pauses.add(Pause { origins: pattern(origins), tenant, since, reason });
        }
        let parts = |origins: Option<&str>, tenant: Option<&str>| {
            let (origins, tenant) = (origins.map(pattern), tenant.map(Tenant::new));
            let parts = pauses.parts(origins.as_ref(), tenant.as_ref());
            parts.iter().map(|part| part.origins.to_string()).collect::<Vec<_>>()
        };
        for (origins, tenant, expected) in [
            (None, None, &["https://a.example", "https://*.b.example", "https://c.example"][..]),
            (Some("*"), Some("erp"), &["https://a.example", "https://*.b.example"]),
            (
                Some("https://*.example"),
                Some("shop"),
                &["https://a.example", "https://*.b.example", "https://c.example"],
            ),
            (Some("https://y.b.example"), None, &["https://y.b.example"]),
            (Some("https://c.example"), Some("erp"), &[]),
            (Some("http://a.example"), None, &[]),
        ] {
            assert_eq!(parts(origins, tenant), expected, "{origins:?} {tenant:?}");
        }
        let named: Vec<_> = pauses.named(&Tenant::default()).map(|(_, one)| one.to_string()).collect();
        assert_eq!(named, ["https://a.example", "https://x.b.example", "https://c.example"]);
    }
}
