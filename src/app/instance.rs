//! What this gateway calls itself where loops are looked for (RFC 8586): the same
//! after a restart, and another than any other gateway's.
//!
//! It says nothing about the machine, because every receiver sees it.

use std::fs;
use std::path::Path;

/// The name that an earlier process left in `directory`, or a new one.
pub(super) fn name(directory: &Path) -> String {
    let path = directory.join("instance");
    let is_name = |name: &String| name.len() == LENGTH && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if let Some(name) = fs::read_to_string(&path).ok().filter(is_name) {
        return name;
    }
    let name = format!("{:0width$x}", fastrand::u64(..), width = LENGTH);
    // Without it mail flows as well; on a full disk it has to.
    if let Err(error) = fs::write(&path, &name) {
        tracing::warn!("{} cannot be written: {error}; the next start takes another name", path.display());
    }
    name
}

/// Hexadecimal digits of a name.
const LENGTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_and_is_nobody_elses() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = name(one.path());
        assert_eq!(name(one.path()), own);
        assert_ne!(name(other.path()), own);
        fs::write(one.path().join("instance"), "").unwrap();
        let again = name(one.path());
        assert!(again.len() == LENGTH && again != own);
        assert_eq!(name(&one.path().join("nowhere")).len(), LENGTH);
    }
}
