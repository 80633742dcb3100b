//! Whose post, user or key something is.
//!
//! A tenant is a name and nothing else here; what it may do and how much is a
//! matter of the door. Everything belongs to `default` until tenants are
//! configured.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The name of a tenant; cheap to clone because every post carries one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The tenant called `name`.
    pub fn new(name: &str) -> Tenant {
        Tenant(Arc::from(name))
    }

    /// Its name, as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Tenant {
    fn default() -> Tenant {
        Tenant::new("default")
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
