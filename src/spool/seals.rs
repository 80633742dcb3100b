//! What a record holds of sealed secrets: behind the record itself, and only where there
//! are any.
//!
//! A process that knows nothing of them would send posts without: such a record says a
//! later format, and is refused.

use super::record::Record;
use super::state::Life;
use crate::post::Sealed;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The sealed secrets of a record.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seals {
    /// Those of its posts, in their order.
    posts: Vec<Sealed>,
    /// The paths to which its posts were sent on.
    paths: Vec<Option<Bytes>>,
}

impl Seals {
    /// Those of a record, if it has any.
    pub fn of(record: &Record<'_>) -> Option<Seals> {
        let path = |life: &Life| life.chronicle.route.as_ref().and_then(|route| route.sealed.clone());
        match record {
            Record::Accepted(accepted) => {
                let lives = accepted.lives.iter().flatten();
                let is_sealed = accepted.posts.iter().any(|post| !post.sealed.is_empty());
                (is_sealed || lives.clone().any(|life| path(life).is_some())).then(|| Seals {
                    posts: accepted.posts.iter().map(|post| post.sealed.clone()).collect(),
                    paths: lives.map(path).collect(),
                })
            }
            Record::Lives(_, life) => {
                let path = path(life)?;
                Some(Seals { posts: Vec::new(), paths: vec![Some(path)] })
            }
            Record::Settled(_) | Record::Closed | Record::Opened { .. } | Record::Published => None,
        }
    }

    /// Puts them back into their record.
    pub fn put(self, record: &mut Record<'static>) {
        let Seals { posts, paths } = self;
        let put = |(life, sealed): (&mut Life, Option<Bytes>)| {
            if let Some(route) = &mut life.chronicle.route {
                route.sealed = sealed;
            }
        };
        match record {
            Record::Accepted(accepted) => {
                let own = accepted.posts.to_mut().iter_mut().zip(posts);
                own.for_each(|(post, sealed)| post.sealed = sealed);
                accepted.lives.iter_mut().flatten().zip(paths).for_each(put);
            }
            Record::Lives(_, life) => paths.into_iter().for_each(|path| put((Cow::to_mut(life), path))),
            Record::Settled(_) | Record::Closed | Record::Opened { .. } | Record::Published => {}
        }
    }
}
