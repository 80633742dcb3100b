//! Mail data between its session and the door: how much of it stays in memory.
//!
//! A message stays in memory up to [`MOST`], which nearly all mail is below; what
//! is larger goes to a temporary file, from then on in pieces of [`PIECE`], large
//! enough that neither the file system nor the change of threads costs much. While
//! many messages come in at once each may hold less: a sixteenth of what is left of
//! the budget, so thousands of slow clients slow each other down instead of being
//! refused. A message is refused only when there is neither memory nor room on the
//! disk for it; it is then read to its end, and takes nothing. Its recipients, which
//! cannot wait in a file, are counted as well.

use super::connections::{Crowd, Loan};
use super::session::Session;
use super::words::Limits;
use crate::envelope::Refusal;
use crate::spool::spill::{MailData, Spill, SpillDirectory};
use bytes::Bytes;
use std::io;
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Most octets of a message that stay in memory.
const MOST: usize = 1 << 20;
/// Octets that wait to be written behind what is in a temporary file.
const PIECE: usize = 256 << 10;
/// So much of a message may be in memory however little is left.
const LEAST: usize = 32 << 10;
/// The part of the memory left that one message may take.
const SHARE: usize = 16;

/// The data of the message that one connection receives.
#[derive(Debug)]
pub(super) struct Incoming {
    loan: Loan,
    /// For the recipients.
    envelope: Loan,
    directory: Option<Arc<SpillDirectory>>,
    spill: Option<Spill>,
}

impl Incoming {
    /// Nothing yet. Without a `directory` all data stays in memory.
    pub(super) fn new(crowd: &Crowd, directory: Option<Arc<SpillDirectory>>) -> Incoming {
        Incoming { loan: Loan::new(crowd), envelope: Loan::new(crowd), directory, spill: None }
    }

    /// Keeps account of what the session holds; to be called after every read.
    pub(super) async fn keep_up(&mut self, session: &mut Session, limits: &Limits) {
        self.weigh_envelope(session, limits);
        let held = session.held();
        if held == 0 {
            self.loan.end();
            if self.spill.is_some() && session.draw().is_none() {
                self.forget();
            }
            return;
        }
        let most = if self.spill.is_some() { PIECE } else { MOST };
        let most = (self.loan.left(limits) / SHARE).clamp(LEAST, most);
        let has_memory = self.loan.raise(held, limits);
        let is_little = session.waiting() <= most && held <= 2 * most;
        if has_memory && (is_little || self.directory.is_none()) {
            return;
        }
        let octets = if self.directory.is_some() { session.draw() } else { None };
        let is_kept = match octets.filter(|octets| !octets.is_empty()) {
            Some(octets) => match self.write(octets).await {
                Ok(drawn) => {
                    // Allocators give back the memory of a piece later than the next one comes.
                    if has_memory && most == PIECE && drawn.capacity() <= 2 * PIECE {
                        session.reuse(drawn);
                    }
                    true
                }
                Err(_) => false,
            },
            None => has_memory || session.held() <= LEAST,
        };
        if is_kept {
            self.loan.lower(session.held());
        } else {
            session.overload();
            self.forget();
        }
    }

    /// A thousand recipients may have as many octets as a large message.
    fn weigh_envelope(&mut self, session: &mut Session, limits: &Limits) {
        if !self.envelope.raise(session.envelope_octets().saturating_sub(LEAST), limits) {
            session.overload();
        }
        self.envelope.lower(session.envelope_octets().saturating_sub(LEAST));
    }

    /// The whole message, of which the session had kept the `rest`. Refuses with
    /// `452 4.3.1` when it cannot be kept.
    pub(super) async fn finish(&mut self, rest: Bytes, limits: &Limits) -> Result<MailData, Refusal> {
        if self.spill.is_none() && self.loan.raise(rest.len(), limits) {
            return Ok(rest.into());
        }
        let written = self.write(rest.into()).await;
        self.loan.end();
        let data = self.spill.take().filter(|_| written.is_ok()).map(MailData::File);
        data.ok_or_else(|| Refusal::new(452, (3, 1), "insufficient storage; try again later"))
    }

    /// The message is over: nothing of it is kept any more.
    pub(super) fn forget(&mut self) {
        self.loan.end();
        if let Some(spill) = self.spill.take() {
            // Freeing the blocks of a large file takes a while.
            spawn_blocking(move || drop(spill));
        }
    }

    /// Writes behind what is in the file, which is gone after an error, and returns
    /// what it wrote.
    async fn write(&mut self, octets: Vec<u8>) -> io::Result<Vec<u8>> {
        let Some(directory) = self.directory.clone() else {
            return Err(io::ErrorKind::OutOfMemory.into());
        };
        let spill = self.spill.take();
        let write = move || {
            let mut spill = spill.map_or_else(|| directory.begin(), Ok)?;
            spill.append(&octets).map(|()| (spill, octets))
        };
        let written = spawn_blocking(write).await.unwrap_or_else(|died| Err(io::Error::other(died)));
        let (spill, octets) = written.inspect_err(|error| {
            tracing::warn!(%error, "no temporary file for a large message; it is refused for now");
        })?;
        self.spill = Some(spill);
        Ok(octets)
    }
}
