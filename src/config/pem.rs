//! Certificates and keys in PEM, read with the configuration that names them.
//!
//! Their content is part of the configuration: a file that has changed is a
//! configuration that has changed. A key never shows itself.

use super::secret::refuse_open;
use super::value::{Value, text};
use bytes::Bytes;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use toml::de::DeValue;

/// A file and what is in it; no file when its name is empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pem {
    /// Its name, as configured.
    pub path: PathBuf,
    /// What it held when it was read.
    pub content: Bytes,
}

impl Pem {
    /// Whether there is a file.
    pub fn is_there(&self) -> bool {
        !self.path.as_os_str().is_empty()
    }

    /// Refuses the file of a key that others can read.
    pub(super) fn refuse_open(&self) -> Result<(), String> {
        match self.is_there() {
            true => refuse_open(&self.path).map_err(|text| format!("{} {text}", self.path.display())),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({:?})", self.path)
    }
}

impl Value for Pem {
    fn read(value: &DeValue<'_>) -> Result<Pem, String> {
        let path = PathBuf::from(text(value, "the path of a PEM file in quotes")?);
        if path.as_os_str().is_empty() {
            return Ok(Pem { path, content: Bytes::new() });
        }
        let unreadable = |error| format!("{} cannot be read: {error}; name a PEM file", path.display());
        let content = fs::read(&path).map_err(unreadable)?.into();
        Ok(Pem { path, content })
    }
}
