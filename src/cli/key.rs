//! `postgate key`: makes a key of the API.
//!
//! The key is shown here and nowhere else: the configuration holds its digest alone. It
//! begins with `pgk_`, by which scanners of secrets find it where it should not be, and
//! with an id, by which it is told from others; 160 random bits follow.

use super::{Failure, SOFTWARE, USAGE, say};
use crate::intake::{KeyDigest, Role};
use crate::tenant::Tenant;
use data_encoding::BASE32_NOPAD;

/// Make a key of the API, and the lines of the configuration for it
///
/// The first line is the key itself, which is shown once; what follows belongs into the
/// configuration, where the key cannot be read from it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  postgate key
  postgate key --name shop-ci --role inject --tenant shop")]
pub(super) struct Arguments {
    /// What the log calls it [default: its role]
    #[arg(long)]
    name: Option<String>,
    /// What it allows: read, inject (posts, messages, events), operator (all of its
    /// tenant) or admin (all tenants)
    #[arg(long, default_value_t = Role::Admin)]
    role: Role,
    /// Whose it is, but for an admin, who is of all tenants [default: default]
    #[arg(long)]
    tenant: Option<String>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let role = arguments.role;
    if role == Role::Admin && arguments.tenant.is_some() {
        return Err(Failure::new(
            USAGE,
            "--tenant: an admin is of all tenants; say --role operator, inject or read",
        ));
    }
    let name = arguments.name.unwrap_or_else(|| role.to_string());
    let (id, secret) =
        draw().map_err(|error| Failure::new(SOFTWARE, format_args!("no randomness: {error}")))?;
    let key = format!("pgk_{id}_{secret}");
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    say(format_args!("{key}\n\n[[api_key]]  # pgk_{id}_…"))?;
    say(format_args!("name = {}", quoted(&name)))?;
    say(format_args!("digest = \"{}\"", KeyDigest::of(key.as_bytes())))?;
    say(format_args!("role = \"{role}\""))?;
    if role != Role::Admin {
        let tenant = arguments.tenant.as_deref().unwrap_or(Tenant::default().as_str()).to_owned();
        say(format_args!("tenant = {}", quoted(&tenant)))?;
    }
    Ok(())
}

/// An id of 40 bits and a secret of 160, in small letters and digits.
fn draw() -> Result<(String, String), getrandom::Error> {
    let (mut id, mut secret) = ([0; 5], [0; 20]);
    getrandom::fill(&mut id)?;
    getrandom::fill(&mut secret)?;
    let written = |octets: &[u8]| BASE32_NOPAD.encode(octets).to_ascii_lowercase();
    Ok((written(&id), written(&secret)))
}
