//! The configuration: one TOML file, typed, with all complaints at once.
//!
//! `--config FILE`, else `$POSTGATE_CONFIG`, else `./postgate.toml`, else
//! `/etc/postgate/postgate.toml`, else built-in defaults that work at once. A
//! file that is named must be there; the last two need not be. Nothing is
//! half-accepted: a file with one mistake configures nothing.
//!
//! `settings` holds the values, `sections` reads them, `contradictions` looks
//! at several of them together, `effective` writes them back. What the file
//! names, secrets and what belongs to destinations, is read with it.

mod contradictions;
mod effective;
mod pem;
mod secret;
mod sections;
mod server;
mod settings;
mod templates;
mod value;
mod veil;
mod walk;
mod words;

pub use effective::effective;
pub use pem::Pem;
pub use secret::Secret;
pub use server::{Named, Via};
pub use settings::{
    API_ADDRESS, Accounting, Api, ApiAddress, ApiKey, ApiTls, Attachments, Auth, Backend, BareNewline,
    BodyMatch, Bounce, Check, Config, Delivery, Destination, Discretion, Egress, Journal, Limits, Listener,
    Listeners, Log, LogFormat, LogLevel, Method, Mode, Proof, ProtocolLevel, Retention, Route, Server,
    SigningKey, Spool, Tenant, Terms, Tls, User, UserSecret, Webhook, loopback, merged,
};
pub(crate) use value::duration;
pub use value::{Rate, Size};
pub use veil::Veil;
pub use walk::{Complaint, Complaints};

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use toml::de::DeTable;
use walk::{Section, Walk};

/// Where a configuration is looked for when none is named.
const PLACES: &[&str] = &["postgate.toml", "/etc/postgate/postgate.toml"];

/// The configuration of `path`, or of the first of the usual places that has
/// one, or the built-in one.
pub fn load(path: Option<&Path>) -> Result<Config, Complaints> {
    match place(path) {
        None => Ok(without_file()),
        Some(path) => {
            let file = path.display().to_string();
            let unreadable = |error| Complaints::about_file(&file, unreadable(&error));
            examine(&path, &fs::read_to_string(&path).map_err(unreadable)?)
        }
    }
}

/// Why a file is no configuration that can be read, and what to do about it.
fn unreadable(error: &io::Error) -> String {
    let remedy = match error.kind() {
        ErrorKind::NotFound => {
            "; name one that is there, or none: then ./postgate.toml or /etc/postgate/postgate.toml is read, and \
             where neither is, the built-in configuration is used"
        }
        ErrorKind::PermissionDenied => "; give it to the user that runs this",
        ErrorKind::IsADirectory => "; name the file in it",
        ErrorKind::InvalidData => "; it must be TOML in UTF-8",
        _ => "",
    };
    format!("cannot be read: {error}{remedy}")
}

/// What a text means as the one of a file that is there.
pub fn examine(path: &Path, text: &str) -> Result<Config, Complaints> {
    let file = path.display().to_string();
    let config = parse(&file, text)?;
    if effective::holds_secrets(&config) {
        secret::refuse_open(path).map_err(|text| Complaints::about_file(&file, text))?;
    }
    Ok(config)
}

/// The same for a gateway that runs: there a file without a single octet is one
/// that is just being written, and not a wish for the defaults.
pub fn reload(path: Option<&Path>) -> Result<Config, Complaints> {
    let read = place(path);
    match read.filter(|path| fs::metadata(path).is_ok_and(|metadata| metadata.len() == 0)) {
        Some(empty) => Err(Complaints::about_file(&empty.display().to_string(), "is empty; write it first")),
        None => load(path),
    }
}

/// The file that [`load`] would read.
pub fn place(path: Option<&Path>) -> Option<PathBuf> {
    let named = path.map(Path::to_owned).or_else(|| std::env::var_os("POSTGATE_CONFIG").map(PathBuf::from));
    named.or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.exists()))
}

/// The built-in configuration: the defaults, and loopback destinations, so
/// that a first try works. Safe because its listener is on loopback.
pub fn without_file() -> Config {
    Config { egress: Egress { allow: loopback(), ..Egress::default() }, ..Config::default() }
}

/// Reads the text of a configuration file; `file` is its name in complaints.
pub fn parse(file: &str, text: &str) -> Result<Config, Complaints> {
    let walk = Walk::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let mut message = error.message().replace('\n', ", ");
        if let Some(key) = message.strip_prefix("duplicate key") {
            message = format!("the key stands here twice{key}; remove one");
        }
        walk.complain(error.span().unwrap_or_default(), "syntax", message);
    }
    // What follows a syntax error may be understood wrongly: no more is said.
    if !errors.is_empty() {
        return walk.finish(file, text, Config::default());
    }
    let mut config = sections::read(Section::root(&document, &walk));
    templates::read(file, &mut config, &mut Section::root(&document, &walk));
    contradictions::find(&config, &mut Section::root(&document, &walk));
    walk.finish(file, text, config)
}
