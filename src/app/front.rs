//! A listener of a running gateway: what it is made of, and what of it can be changed.

use super::access::Access;
use super::door::Door;
use super::listening::Listening;
use super::options::{self, Common};
use super::{StartError, links};
use crate::config::{Config, Listener};
use crate::intake::Intake;
use crate::protocol_log::ProtocolLog;
use crate::smtp::{self, Socket};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What of a running listener can be changed.
pub(super) struct Front {
    pub(super) options: watch::Sender<Arc<smtp::Options>>,
    pub(super) door: Arc<Door>,
    pub(super) terms: Terms,
}

impl Front {
    /// The fronts of all listeners, each of which is served as one of the parts.
    pub(super) fn open_all(
        sockets: Vec<Socket>,
        (config, access, common): (&Config, &Access, &Common),
        (log, stopped): (&ProtocolLog, &watch::Receiver<bool>),
        parts: &mut JoinSet<()>,
    ) -> Result<(Vec<Listening>, Vec<Front>), StartError> {
        let (mut listening, mut fronts) = (Vec::new(), Vec::new());
        for (socket, listener) in sockets.into_iter().zip(&config.listeners.0) {
            listening.push(Listening::of(&socket, listener));
            let terms = Terms { config: config.clone(), listener: listener.clone(), access: access.clone() };
            let (front, serving) = Front::open(socket, terms, common, (log, stopped))?;
            parts.spawn(serving);
            fronts.push(front);
        }
        Ok((listening, fronts))
    }

    /// The front of a listener, and the work of serving it.
    fn open(
        socket: Socket,
        terms: Terms,
        common: &Common,
        (log, stopped): (&ProtocolLog, &watch::Receiver<bool>),
    ) -> Result<(Front, impl Future<Output = ()> + use<>), StartError> {
        let door = Arc::new(Door::new(terms.intake(common)?, Arc::clone(&common.metrics)));
        let (options, changing) = watch::channel(terms.options(common));
        let own: Arc<dyn smtp::Door> = door.clone();
        let serving = smtp::serve_changing(socket, changing, own, log.clone(), stopped.clone());
        Ok((Front { options, door, terms }, serving))
    }
}

/// What a listener is made of.
pub(super) struct Terms {
    pub(super) config: Config,
    pub(super) listener: Listener,
    pub(super) access: Access,
}

impl Terms {
    /// The same with other users and tenants, for a listener that the configuration
    /// in force no longer has. The rest stays: nobody has looked whether what is
    /// new would be safe there.
    pub(super) fn with(&self, access: &Access) -> Terms {
        let certificates = access.certificates.clone().or_else(|| self.access.certificates.clone());
        let access = Access { certificates, ..access.clone() };
        Terms { config: self.config.clone(), listener: self.listener.clone(), access }
    }

    pub(super) fn options(&self, common: &Common) -> Arc<smtp::Options> {
        Arc::new(options::smtp(&self.config, &self.listener, &self.access, common))
    }

    pub(super) fn intake(&self, common: &Common) -> Result<Intake, StartError> {
        let links = links::links(&self.config, common.link_key.as_ref(), common.api);
        let compose = options::compose(&self.config, &self.listener, links).map_err(StartError::Route)?;
        let options = options::intake(&self.config, &self.listener, &self.access, common);
        Ok(Intake::new(options, Arc::new(compose), common.shared_spool(), Arc::clone(&common.ids)))
    }
}
