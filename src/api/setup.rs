//! How the API asks for the configuration file, and for a reload: requests to whoever
//! holds both, each with the place for its answer.

use tokio::sync::{mpsc, oneshot};

/// A handle to whoever holds the configuration; cheap to clone.
#[derive(Clone, Debug)]
pub struct Setup {
    requests: mpsc::Sender<Request>,
}

/// Where what is asked comes out.
pub type Requests = mpsc::Receiver<Request>;

/// One request and the place for its answer.
#[derive(Debug)]
pub struct Request {
    /// What is wanted.
    pub wish: Wish,
    /// Who hears what came of it.
    pub answer: oneshot::Sender<Result<Outcome, Refused>>,
}

/// What is wanted of a configuration.
#[derive(Debug)]
pub enum Wish {
    /// The file, without its secrets.
    Read,
    /// To know whether a text would do, or, without one, the file as it stands.
    Check(Option<String>),
    /// A text in place of the file, and in force.
    Write {
        /// The whole file; hidden secrets are those that stand there now.
        text: String,
        /// Only if the file is still the one with one of these tags.
        expect: Option<Vec<String>>,
    },
    /// The file as it stands now in force.
    Reload,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The file.
    Text {
        /// Without its secrets.
        text: String,
        /// Changes with the file.
        tag: String,
    },
    /// It is good.
    Good {
        /// What of it needs a restart, by its names in the configuration.
        restart: Vec<String>,
        /// That of the file, where it was written.
        tag: Option<String>,
    },
}

/// Why nothing came of it; everything is as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The gateway runs without a file.
    NoFile,
    /// The file has another tag.
    Changed,
    /// The configuration is wrong.
    Bad(Vec<Fault>),
    /// The file cannot be read or written; says why and what to do.
    File(String),
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line and column, from 1, where it is about a place.
    pub place: Option<(usize, usize)>,
    /// The key with its table, or what else it is about.
    pub field: String,
    /// What is wrong, and what to do.
    pub detail: String,
}

impl Setup {
    /// A handle and where its requests come out.
    pub fn new() -> (Setup, Requests) {
        let (requests, taken) = mpsc::channel(8);
        (Setup { requests }, taken)
    }

    /// Asks, and waits for the answer; nothing when nobody holds a configuration any more.
    pub(super) async fn ask(&self, wish: Wish) -> Option<Result<Outcome, Refused>> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request { wish, answer }).await.ok()?;
        answered.await.ok()
    }
}
