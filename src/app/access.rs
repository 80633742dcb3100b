//! Who may come in, and what shows who we are: made of the configuration alone,
//! the same for all listeners and for the API.
//!
//! When the configuration changes, what did not change stays as it is, and what
//! has happened is not forgotten: failed logins, keys that nobody knew, what tenants have used, TLS
//! sessions that can be resumed.

use super::{StartError, options, routes};
use crate::api;
use crate::config::{ApiTls, Config};
use crate::intake::{Keys, Logins, Tenants};
use crate::smtp::Certificates;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// See the module.
#[derive(Clone)]
pub(super) struct Access {
    pub logins: Arc<Logins>,
    pub tenants: Arc<Tenants>,
    pub keys: Arc<Keys>,
    pub certificates: Option<Certificates>,
}

impl Access {
    /// Reads what the configuration names. Blocks.
    pub(super) fn read(config: &Config) -> Result<Access, StartError> {
        let certificates = certificates(config)?;
        let logins = Logins::new(options::users(config)).map_err(StartError::Logins)?;
        limit_failures(config, &logins);
        let tenants = Tenants::new(options::tenants(config));
        let keys = Keys::new(options::api_keys(config));
        let (logins, tenants, keys) = (Arc::new(logins), Arc::new(tenants), Arc::new(keys));
        Ok(Access { logins, tenants, keys, certificates })
    }

    /// The same for a configuration that has changed. Blocks.
    pub(super) fn renewed(&self, old: &Config, new: &Config) -> Result<Access, StartError> {
        let mut access = self.clone();
        if old.users != new.users {
            access.logins = Arc::new(self.logins.renewed(options::users(new)).map_err(StartError::Logins)?);
        }
        if old.tenants != new.tenants {
            access.tenants = Arc::new(self.tenants.renewed(options::tenants(new)));
        }
        if old.api_keys != new.api_keys {
            access.keys = Arc::new(self.keys.renewed(options::api_keys(new)));
        }
        // What is read here is in force at once, so nothing may fail behind it.
        match &access.certificates {
            Some(certificates) if options::tls_files(old) == options::tls_files(new) => {
                certificates.reload().map_err(StartError::Tls)?;
            }
            _ => access.certificates = certificates(new)?,
        }
        limit_failures(new, &access.logins);
        Ok(access)
    }

    /// What the API goes by. One that encrypts goes on with the certificates that it
    /// has when the configuration names none any more.
    pub(super) fn api(&self, config: &Config, before: Option<&api::Current>) -> api::Current {
        let old = before.and_then(|before| before.certificates.clone());
        api::Current {
            entrance: None,
            smtp_certificates: self.certificates.clone(),
            keys: Arc::clone(&self.keys),
            tenants: Arc::clone(&self.tenants),
            routes: routes::shown(config),
            certificates: match config.api.tls {
                ApiTls::None => None,
                ApiTls::Implicit => self.certificates.clone().or(old),
            },
        }
    }

    /// Looks again and again whether certificates have changed.
    pub(super) fn watch(&self, stop: &watch::Receiver<bool>) -> JoinSet<()> {
        let mut watching = JoinSet::new();
        if let Some(certificates) = self.certificates.clone() {
            watching.spawn(certificates.watch(EVERY, stop.clone()));
        }
        watching
    }
}

/// How often certificates are looked at.
const EVERY: Duration = Duration::from_secs(5);

fn limit_failures(config: &Config, logins: &Logins) {
    let rate = config.limits.failed_login_rate;
    logins.limit_failures(options::count(rate.count), rate.per);
}

fn certificates(config: &Config) -> Result<Option<Certificates>, StartError> {
    let load = |files| Certificates::load(&files).map_err(StartError::Tls);
    options::tls_files(config).map(load).transpose()
}
