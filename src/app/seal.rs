//! The key that secrets in the spool are sealed with: webhooks of the API, and what posts
//! hide.
//!
//! It stays in the data directory, beside the spool and not in it. One that is there and is
//! none, or is another than the one that this spool's secrets were sealed with, is not
//! replaced: they could never be opened again. A note of the spool, sealed itself, knows
//! which one that is. Whoever has lost it for good says so with an empty file.

use super::links::keep;
use crate::seal::SealKey;
use crate::spool::{Spool, SpoolError};
use bytes::Bytes;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The note that opens with the right key alone.
const MARK: &str = "seal-key";
/// What is to be done about a key that does not fit.
const REMEDY: &str = "put the right one there; if it is lost for good, an empty file there has a new one \
                      made, and what was sealed is lost";
/// Sealed before there was such a note.
const WEBHOOKS: &str = "webhook/";

/// The key that an earlier process left in `directory`, or a new one that is kept there
/// unless something in the spool was sealed with another. Without one webhooks cannot be
/// made or read, and no post that has a secret is taken or sent.
pub(super) async fn key(directory: &Path, spool: &dyn Spool) -> Option<Arc<SealKey>> {
    let path = place(directory);
    let found = find(&path, spool).await;
    let found = found.inspect_err(|why| {
        let lost = "no webhooks of the API, and no posts that have a secret";
        tracing::error!("{lost}: {} {why}", path.display());
    });
    found.ok().map(Arc::new)
}

/// The key in `directory`, if one is there; nobody asks whether it is the right one, and
/// nothing is written. An error, which names the file, says why it cannot be read.
pub(super) fn read(directory: &Path) -> io::Result<Option<SealKey>> {
    let path = place(directory);
    let octets = match fs::read(&path).map(Zeroizing::new) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let text = format!("{} cannot be read: {error}", path.display());
            return Err(io::Error::new(error.kind(), text));
        }
        Ok(octets) => octets,
    };
    Ok(octets.as_slice().try_into().ok().map(SealKey::new))
}

/// Where the key is.
fn place(directory: &Path) -> PathBuf {
    directory.join("webhook-key")
}

async fn find(path: &Path, spool: &dyn Spool) -> Result<SealKey, String> {
    let unread = |error: SpoolError| format!("cannot be judged: {error}");
    let mark = spool.note(MARK).await.map_err(unread)?;
    let is_used = mark.is_some() || !spool.notes(WEBHOOKS).await.map_err(unread)?.is_empty();
    let found = fs::read(path).map(Zeroizing::new);
    let is_given_up = found.as_ref().is_ok_and(|octets| octets.is_empty());
    if is_given_up && mark.is_some() {
        // Before there is another: that one must never be taken for the wrong one.
        let forgotten = spool.set_note(MARK, None, None).await;
        forgotten.map_err(|error| format!("cannot be given up now: {error}"))?;
    }
    let octets = match found {
        Ok(_) if is_given_up => Some(fresh(path)?),
        Ok(octets) => octets.first_chunk().copied().filter(|_| octets.len() == SealKey::LENGTH),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !is_used => Some(fresh(path)?),
        Err(error) => return Err(format!("cannot be read: {error}; {REMEDY}")),
    };
    let octets = octets.map(Zeroizing::new).ok_or_else(|| format!("is not a key; {REMEDY}"))?;
    let key = SealKey::new(&octets);
    match mark {
        Some(mark) if !is_given_up && key.open(MARK, &mark.value).is_none() => {
            return Err(format!("is another key than that of this spool; {REMEDY}"));
        }
        Some(_) if !is_given_up => {}
        _ => leave_mark(&key, spool).await,
    }
    Ok(key)
}

/// Notes which key it is. A full disk keeps it from that until the next start.
async fn leave_mark(key: &SealKey, spool: &dyn Spool) {
    let mut nonce = [0; 12];
    let Some(mark) = getrandom::fill(&mut nonce).ok().and_then(|()| key.seal(MARK, nonce, b"")) else {
        return;
    };
    if let Err(error) = spool.set_note(MARK, Some(Bytes::from(mark)), None).await {
        tracing::warn!("cannot note which key secrets are sealed with: {error}");
    }
}

fn fresh(path: &Path) -> Result<[u8; SealKey::LENGTH], String> {
    let mut octets = [0; SealKey::LENGTH];
    getrandom::fill(&mut octets).map_err(|error| format!("cannot be made: no randomness: {error}"))?;
    keep(path, &octets).map_err(|error| format!("cannot be written: {error}"))?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::embedded::{Embedded, Options};
    use std::os::unix::fs::PermissionsExt as _;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_key_stays_is_nobody_elses_and_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let (path, spool) = (directory.path().join("webhook-key"), directory.path().join("spool"));
        let spool = Embedded::open(Options::at(spool)).unwrap();
        let key = async |directory: &Path| key(directory, &spool).await;
        assert!(key(&directory.path().join("nowhere")).await.is_none(), "one that is not kept seals nothing");
        assert!(key(directory.path()).await.is_some());
        let first = fs::read(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(key(directory.path()).await.is_some());
        assert_eq!(fs::read(&path).unwrap(), first);
        fs::remove_file(&path).unwrap();
        assert!(key(directory.path()).await.is_none(), "what is sealed could never be opened again");
        assert!(!path.exists());
        for wrong in [&b"short"[..], &[7; SealKey::LENGTH], &[7; SealKey::LENGTH + 1]] {
            fs::write(&path, wrong).unwrap();
            assert!(key(directory.path()).await.is_none());
            assert_eq!(fs::read(&path).unwrap(), wrong);
        }
        fs::write(&path, &first).unwrap();
        assert!(key(directory.path()).await.is_some());
        fs::write(&path, "").unwrap();
        assert!(key(directory.path()).await.is_some(), "the old one is given up");
        let second = fs::read(&path).unwrap();
        assert!(second.len() == SealKey::LENGTH && second != first);
        fs::write(&path, &first).unwrap();
        assert!(key(directory.path()).await.is_none(), "it is another by now");
        fs::write(&path, &second).unwrap();
        assert!(key(directory.path()).await.is_some());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn webhooks_of_an_earlier_version_keep_their_key() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Embedded::open(Options::at(directory.path().join("spool"))).unwrap();
        spool.set_note("webhook/wh_1", Some(Bytes::from("sealed")), None).await.unwrap();
        assert!(key(directory.path(), &spool).await.is_none());
        fs::write(directory.path().join("webhook-key"), [7; SealKey::LENGTH]).unwrap();
        assert!(key(directory.path(), &spool).await.is_some());
        assert!(spool.note(MARK).await.unwrap().is_some());
    }
}
