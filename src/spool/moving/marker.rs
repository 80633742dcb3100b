//! What stands in the directory of an embedded spool while posts are moved into it or out of
//! it: no gateway opens it then.

use super::super::disk::{Directory, Disk as _};
use super::Way;
use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;

/// Name of the file.
const NAME: &str = "moving";
/// Name of the one that takes its place.
const NEXT: &str = "moving.new";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    pub way: Way,
    /// Which move it is, in the database as well.
    pub token: String,
    /// All is here: what is left in the database is void.
    pub has_arrived: bool,
}

impl Marker {
    /// That of a move that begins.
    pub fn new(way: Way) -> Marker {
        Marker { way, token: format!("{:032x}", fastrand::u128(..)), has_arrived: false }
    }

    /// The same when all has arrived.
    pub fn arrived(&self) -> Marker {
        Marker { has_arrived: true, ..self.clone() }
    }

    /// The one in a spool's directory.
    pub fn read(directory: &Path) -> io::Result<Option<Marker>> {
        let text = match std::fs::read_to_string(directory.join(NAME)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let (word, token) = text.trim_end().split_once(' ').unwrap_or_default();
        let (way, has_arrived) = match word {
            "to-database" => (Way::ToDatabase, false),
            "to-directory" => (Way::ToDirectory, false),
            "arrived" => (Way::ToDirectory, true),
            _ => {
                return Err(io::Error::new(
                    ErrorKind::InvalidData,
                    format!("{NAME} is not what was written"),
                ));
            }
        };
        Ok(Some(Marker { way, token: token.to_owned(), has_arrived }))
    }

    /// Puts it there, durably, in the place of the last one.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        let word = match (self.way, self.has_arrived) {
            (Way::ToDatabase, _) => "to-database",
            (Way::ToDirectory, false) => "to-directory",
            (Way::ToDirectory, true) => "arrived",
        };
        let disk = Directory::at(directory)?;
        let file = disk.create(NEXT, 0)?;
        file.write(&mut [IoSlice::new(format!("{word} {}\n", self.token).as_bytes())], 0)?;
        file.sync()?;
        disk.rename(NEXT, NAME)?;
        disk.sync_names()
    }

    /// Takes it away, durably.
    pub fn remove(directory: &Path) -> io::Result<()> {
        let disk = Directory::at(directory)?;
        disk.remove(NAME)?;
        disk.sync_names()
    }

    /// Whether there is one, whatever it says.
    pub fn is_there(directory: &Path) -> bool {
        directory.join(NAME).exists()
    }
}
