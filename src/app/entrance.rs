//! What takes posts and mail over HTTP: the door as of a listener whose clients have
//! proved to the API what they may do.

use super::access::Access;
use super::options::Common;
use super::{StartError, links, options};
use crate::api::{Current, Entrance, Limits};
use crate::config::{Config, Listener};
use crate::envelope::Source;
use crate::intake::{self, Intake};
use crate::protocol_log::ProtocolLog;
use std::sync::Arc;

/// What the API goes by from now on, after what it went by before.
pub(super) fn current(
    config: &Config,
    (access, before): (&Access, Option<&Current>),
    common: &Common,
    log: &ProtocolLog,
) -> Result<Current, StartError> {
    let entrance = Some(entrance(config, access, common, log)?);
    Ok(Current { entrance, ..access.api(config, before) })
}

/// The entrance that a configuration asks for.
fn entrance(
    config: &Config,
    access: &Access,
    common: &Common,
    log: &ProtocolLog,
) -> Result<Entrance, StartError> {
    let listener = Listener::default();
    let links = links::links(config, common.link_key.as_ref(), common.api);
    let compose = options::compose(config, &listener, links).map_err(StartError::Route)?;
    let doors = options::intake(config, &listener, access, common);
    let doors = intake::Options { source: Source::Api, ..doors };
    let intake = Intake::new(doors, Arc::new(compose), common.shared_spool(), Arc::clone(&common.ids));
    let limits = Limits {
        message: options::octets(config.limits.message_size),
        recipients: options::count(config.limits.recipients),
    };
    Ok(Entrance { intake: Arc::new(intake), limits, spills: Arc::clone(&common.spills), log: log.clone() })
}
