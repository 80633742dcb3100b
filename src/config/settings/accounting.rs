//! Which records of what happened are written to files.

use super::super::secret::Secret;
use super::super::value::Size;
use crate::fanout::accounting::accounts::{Layout, Packing};
use crate::fanout::accounting::{Filter, RECORD_TYPES, RecordType};
use std::path::PathBuf;
use std::time::Duration;

/// `[accounting]`, or one of `[[accounting]]`: a file of records.
#[derive(Clone, PartialEq, Eq)]
pub struct Accounting {
    /// Where it is, relative to `data_dir`; the name may have a date.
    pub path: PathBuf,
    /// How records are written.
    pub format: Layout,
    /// Which types of records.
    pub types: Vec<RecordType>,
    /// Which columns: their names, `*`, `!name`.
    pub fields: Vec<String>,
    /// Records of what.
    pub filter: Filter,
    /// Who may know addresses.
    pub privacy: Discretion,
    /// What makes them unknown, where that needs a secret.
    pub privacy_key: Option<Secret>,
    /// Octets after which another file begins.
    pub max_size: Size,
    /// Time after which another file begins.
    pub rotate: Duration,
    /// How long files that have ended are kept.
    pub keep: Duration,
    /// What becomes of them meanwhile.
    pub compress: Packing,
}

/// `privacy` of accounting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Discretion {
    /// Addresses stay.
    #[default]
    Retain,
    /// Their local parts are hidden.
    Redact,
    /// Who has the key can tell them.
    Hmac,
}

impl Accounting {
    /// The usual file at this path.
    pub(in super::super) fn at(path: PathBuf) -> Accounting {
        Accounting {
            path,
            format: Layout::default(),
            types: RECORD_TYPES.iter().map(|(_, kind)| *kind).collect(),
            fields: vec!["*".to_owned()],
            filter: Filter::default(),
            privacy: Discretion::default(),
            privacy_key: None,
            max_size: Size(250 << 20),
            rotate: Duration::from_hours(24),
            keep: Duration::from_hours(8 * 24),
            compress: Packing::default(),
        }
    }
}
