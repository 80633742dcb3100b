//! Who holds the configuration file of a running gateway: what the API asks of it is
//! answered here, one request after another.
//!
//! A text is put in force before it takes the place of the file, and takes it in one
//! step, so that neither a bad text nor a power cut leaves half of anything.

use super::reload;
use super::{Gateway, StartError};
use crate::api::setup::{Fault, Outcome, Refused, Request, Wish};
use crate::config::{self, Complaints, Config, Veil};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// See the module.
pub struct Office {
    /// What is known of the file, if there is one.
    desk: Option<Arc<Desk>>,
}

struct Desk {
    /// As it was named; what it names stands relative to that.
    named: PathBuf,
    veil: Veil,
}

/// A new file beside the old one, durable but for its name.
struct Staged {
    beside: PathBuf,
    file: PathBuf,
}

impl Office {
    /// The office of a gateway with this file, or with none.
    pub fn of(file: Option<&Path>) -> io::Result<Office> {
        let Some(file) = file else { return Ok(Office { desk: None }) };
        let veil = Veil::new().map_err(io::Error::other)?;
        Ok(Office { desk: Some(Arc::new(Desk { named: file.to_owned(), veil })) })
    }

    /// Does what is asked, and says what came of it.
    pub async fn answer(&self, gateway: &mut Gateway, Request { wish, answer }: Request) {
        let outcome = match &self.desk {
            None => Err(Refused::NoFile),
            Some(desk) => fulfil(Arc::clone(desk), gateway, wish).await,
        };
        // Who asked may have gone; what was asked for is done.
        let _ = answer.send(outcome);
    }
}

async fn fulfil(desk: Arc<Desk>, gateway: &mut Gateway, wish: Wish) -> Result<Outcome, Refused> {
    match wish {
        Wish::Read => off_the_runtime(move || desk.read()).await,
        Wish::Check(text) => {
            let in_force = gateway.config.clone();
            off_the_runtime(move || {
                let config = desk.examined(text)?;
                super::check(&config).map_err(unfit)?;
                Ok(Outcome::Good { restart: reload::change(&in_force, config).later, tag: None })
            })
            .await
        }
        Wish::Reload => {
            let config = off_the_runtime(move || desk.examined(None)).await?;
            let restart = put_in_force(gateway, config).await?;
            gateway.forget_others().await;
            Ok(Outcome::Good { restart, tag: None })
        }
        Wish::Write { text, expect } => write(desk, gateway, text, expect).await,
    }
}

async fn write(
    desk: Arc<Desk>,
    gateway: &mut Gateway,
    text: String,
    expect: Option<Vec<String>>,
) -> Result<Outcome, Refused> {
    let staging = Arc::clone(&desk);
    let (staged, config, tag) = off_the_runtime(move || staging.stage(&text, expect.as_deref())).await?;
    let before = gateway.config.clone();
    let restart = match put_in_force(gateway, config).await {
        Ok(restart) => restart,
        Err(refused) => {
            // What is left of it is in nobody's way.
            let _ = off_the_runtime(move || staged.remove().map_err(|error| desk.unwritable(&error))).await;
            return Err(refused);
        }
    };
    let replacing = Arc::clone(&desk);
    let replaced = off_the_runtime(move || {
        staged.replace().map_err(|error| {
            let _ = staged.remove();
            replacing.unwritable(&error)
        })
    });
    let directory = match replaced.await {
        Ok(directory) => directory,
        Err(refused) => {
            put_in_force(gateway, before).await?;
            gateway.forget_others().await;
            return Err(refused);
        }
    };
    // The new file is there from now on, whatever follows.
    gateway.forget_others().await;
    off_the_runtime(move || directory.sync_all().map_err(|error| desk.unsynced(&error))).await?;
    Ok(Outcome::Good { restart, tag: Some(tag) })
}

/// The same as a SIGHUP does, and said as there.
async fn put_in_force(gateway: &mut Gateway, config: Config) -> Result<Vec<String>, Refused> {
    let later = gateway.reload(config).await.map_err(unfit)?;
    say_in_force(&later);
    Ok(later)
}

/// Says in the log that a configuration is in force, and what of it is not.
pub fn say_in_force(later: &[String]) {
    if later.is_empty() {
        tracing::info!("the new configuration is in force");
    } else {
        let later = later.join(", ");
        tracing::warn!("the new configuration is in force, but what needs a restart is as before: {later}");
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|died| Err(Refused::File(died.to_string())))
}

fn unfit(error: StartError) -> Refused {
    Refused::Bad(vec![Fault { place: None, field: "config".to_owned(), detail: error.to_string() }])
}

fn bad(complaints: &Complaints) -> Refused {
    let fault = |complaint: &config::Complaint| Fault {
        place: complaint.place,
        field: complaint.key.clone(),
        detail: complaint.text.clone(),
    };
    Refused::Bad(complaints.all().iter().map(fault).collect())
}

impl Desk {
    fn name(&self) -> String {
        self.named.display().to_string()
    }

    /// Without symbolic links, as they are now: the file itself is replaced.
    fn file(&self) -> io::Result<PathBuf> {
        fs::canonicalize(&self.named)
    }

    fn current(&self) -> Result<String, Refused> {
        let wrong = |error| Refused::File(format!("{} cannot be read: {error}", self.name()));
        fs::read_to_string(&self.named).map_err(wrong)
    }

    fn tag(&self, text: &str) -> String {
        self.veil.mark(text).chars().take(32).collect()
    }

    fn read(&self) -> Result<Outcome, Refused> {
        let text = self.current()?;
        let shown = self.veil.hide(&self.name(), &text).map_err(|complaints| bad(&complaints))?;
        Ok(Outcome::Text { text: shown, tag: self.tag(&text) })
    }

    /// What a text means, with the secrets that it has hidden, or the file without one.
    fn examined(&self, text: Option<String>) -> Result<Config, Refused> {
        let current = self.current()?;
        let text = match text {
            Some(text) => self.revealed(&text, &current)?,
            None => current,
        };
        config::examine(&self.named, &text).map_err(|complaints| bad(&complaints))
    }

    fn revealed(&self, text: &str, current: &str) -> Result<String, Refused> {
        self.veil.reveal(&self.name(), text, current).map_err(|complaints| bad(&complaints))
    }

    /// A new file with this text, what it means, and its tag.
    fn stage(&self, text: &str, expect: Option<&[String]>) -> Result<(Staged, Config, String), Refused> {
        let file = self.file().map_err(|error| self.unwritable(&error))?;
        let current = self.current()?;
        if expect.is_some_and(|tags| !tags.contains(&self.tag(&current))) {
            return Err(Refused::Changed);
        }
        let text = self.revealed(text, &current)?;
        let config = config::examine(&self.named, &text).map_err(|complaints| bad(&complaints))?;
        let staged = Staged::write(file, &text).map_err(|error| self.unwritable(&error))?;
        Ok((staged, config, self.tag(&text)))
    }

    fn unwritable(&self, error: &io::Error) -> Refused {
        let file = self.file().unwrap_or_else(|_| self.named.clone());
        let directory = file.parent().unwrap_or(Path::new("/")).display();
        let remedy = "the gateway's user must be able to make files there and to give them its owner";
        Refused::File(format!("{} cannot be replaced in {directory}: {error}; {remedy}", self.name()))
    }

    fn unsynced(&self, error: &io::Error) -> Refused {
        let text = "was replaced and is in force, but a power cut may bring the old one back";
        Refused::File(format!("{} {text}: {error}", self.name()))
    }
}

impl Staged {
    /// A file with the mode and the owner of the one that it is to replace.
    fn write(file: PathBuf, text: &str) -> io::Result<Staged> {
        let old = fs::metadata(&file)?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let beside = file.with_file_name(format!(".{name}.new"));
        let staged = Staged { beside, file };
        match fs::remove_file(&staged.beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let fill = || -> io::Result<()> {
            let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged.beside)?;
            let own = new.metadata()?;
            if (own.uid(), own.gid()) != (old.uid(), old.gid()) {
                fchown(&new, Some(old.uid()), Some(old.gid()))?;
            }
            new.set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
            new.write_all(text.as_bytes())?;
            new.sync_all()
        };
        match fill() {
            Ok(()) => Ok(staged),
            Err(error) => {
                // The first error says what is wrong.
                let _ = staged.remove();
                Err(error)
            }
        }
    }

    fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.beside)
    }

    /// Takes the place of the old file; durably when the directory is synced, which it
    /// answers. After an error nothing has changed.
    fn replace(&self) -> io::Result<File> {
        let directory = File::open(self.file.parent().unwrap_or(Path::new("/")))?;
        fs::rename(&self.beside, &self.file)?;
        Ok(directory)
    }
}
