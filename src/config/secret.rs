//! Secrets: in the file itself, in a variable of the environment, or in a file
//! of their own.
//!
//! They are read once, with the configuration; where one came from is kept, so
//! that what is in force can be written without showing it. A file that holds
//! one, be it the configuration or a file of its own, must not be open to others.

use super::value::{Value, instead_of};
use crate::smtp::auth;
use rustix::process::{getegid, geteuid};
use std::fmt::{self, Display};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// A secret and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// What it is.
    pub value: auth::Secret,
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Here,
    Environment(String),
    File(PathBuf),
}

impl Secret {
    /// Whether it stands in the configuration file itself.
    pub(super) fn is_written_out(&self) -> bool {
        self.source == Source::Here
    }
}

impl Display for Secret {
    /// As it stands in the configuration, masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        match &self.source {
            Source::Here => f.write_str("\"***\""),
            Source::Environment(name) => write!(f, "{{ env = {} }}", quoted(name)),
            Source::File(path) => write!(f, "{{ file = {} }}", quoted(&path.to_string_lossy())),
        }
    }
}

/// A word of a route for its template: mostly no secret, but it may come from where
/// those are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Var {
    /// It stands in the configuration file itself.
    Here(String),
    /// It stands elsewhere.
    Elsewhere(Secret),
}

impl Var {
    /// What it is.
    pub fn text(&self) -> &str {
        match self {
            Var::Here(text) => text,
            Var::Elsewhere(secret) => secret.value.reveal(),
        }
    }
}

impl Value for Var {
    fn read(value: &DeValue<'_>) -> Result<Var, String> {
        match value {
            DeValue::String(text) => Ok(Var::Here(text.to_string())),
            DeValue::Table(_) => Secret::read(value).map(Var::Elsewhere),
            _ => Err(instead_of(value, WANTED)),
        }
    }
}

impl Value for Secret {
    fn read(value: &DeValue<'_>) -> Result<Secret, String> {
        let (text, source) = match value {
            DeValue::String(text) => (text.to_string(), Source::Here),
            DeValue::Table(table) => elsewhere(table)?,
            _ => return Err(instead_of(value, WANTED)),
        };
        if text.is_empty() {
            return Err("the secret is empty; set one".to_owned());
        }
        Ok(Secret { value: auth::Secret::new(text), source })
    }
}

const WANTED: &str = "a text in quotes, { env = \"NAME\" } or { file = \"path\" }";

/// Reads a secret from where the table says.
fn elsewhere(table: &DeTable<'_>) -> Result<(String, Source), String> {
    let mut entries = table.iter().map(|(key, value)| (key.get_ref().as_ref(), value.get_ref().as_str()));
    match (entries.next(), entries.next()) {
        (Some(("env", Some(name))), None) => {
            let text = std::env::var(name).map_err(|error| match error {
                std::env::VarError::NotPresent => format!("${name} is not set in the environment; set it"),
                std::env::VarError::NotUnicode(_) => format!("${name} is not text in UTF-8; set it anew"),
            })?;
            Ok((text, Source::Environment(name.to_owned())))
        }
        (Some(("file", Some(path))), None) => {
            let path = PathBuf::from(path);
            Ok((read_file(&path)?, Source::File(path)))
        }
        _ => Err(format!("this names no place of a secret; write {WANTED}")),
    }
}

/// The text of a secret's file without the line end behind it.
fn read_file(path: &Path) -> Result<String, String> {
    let name = path.display();
    let unreadable = |error| format!("{name} cannot be read: {error}; name a file with the secret in it");
    let text = fs::read_to_string(path).map_err(unreadable)?;
    refuse_open(path).map_err(|text| format!("{name} {text}"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// Refuses a file with secrets in it that others can read. The group may when
/// root gave it the file and it is root's or the process's own, which is how
/// services are packaged (`root:postgate`, mode 640); root itself, which checks
/// such a file before the service reads it, need not belong to the group.
pub(super) fn refuse_open(path: &Path) -> Result<(), String> {
    let metadata = fs::metadata(path).map_err(|error| format!("cannot be read: {error}"))?;
    let (mode, group) = (metadata.mode() & 0o777, metadata.gid());
    let is_own_group = group == 0 || group == getegid().as_raw() || geteuid().is_root();
    let allowed = if metadata.uid() == 0 && is_own_group { 0o740 } else { 0o700 };
    if mode & !allowed == 0 {
        return Ok(());
    }
    Err(format!(
        "holds secrets and is open to others (mode {mode:03o}); chmod 600 it, \
         or chmod 640 it and chown it to root and the service's group"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn files_with_secrets_are_open_to_nobody_but_their_service() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        fs::write(&path, "canary").unwrap();
        let is_root = geteuid().is_root();
        for (mode, is_good) in
            [(0o600, true), (0o400, true), (0o640, is_root), (0o660, false), (0o604, false)]
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(refuse_open(&path).is_ok(), is_good, "{mode:o}");
        }
        if is_root {
            // Somebody else's file: root may read it, and so may the group.
            std::os::unix::fs::chown(&path, Some(1000), Some(1000)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(refuse_open(&path).is_err());
        }
    }
}
