//! Moving the spool to the backend that the configuration names.

use super::StartError;
use super::store::{database, embedded};
use crate::config::{Backend, Config};
use crate::event::Wanted;
use crate::spool::Census;
use crate::spool::moving::{Move, Places, Way};

/// Moves all that the other backend holds to the one of the configuration, or goes on with that.
/// `progress` hears how many posts were moved, and of how many; answers which there are now.
pub async fn move_spool(config: &Config, progress: impl Fn(u64, u64)) -> Result<Census, StartError> {
    let way = match config.spool.backend {
        Backend::Embedded => Way::ToDirectory,
        Backend::Postgres => Way::ToDatabase,
    };
    // Held and failed posts are told of by the gateway that forgets them, and not by this.
    let mut places = Places {
        directory: embedded(config, Wanted::default()),
        database: database(config, Wanted::default()),
    };
    places.database.node = format!("spool migrate on {}", places.database.node);
    let moving = Move::begin(places, way).await.map_err(StartError::Move)?;
    // Only now: the journal of a gateway that runs is nobody else's.
    let journal = super::journal::open(config).await?;
    let keep = async |mark, events| journal.append(mark, events).await;
    moving.finish((journal.mark(), keep), progress).await.map_err(StartError::Move)
}
