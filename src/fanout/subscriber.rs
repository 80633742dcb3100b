//! A webhook in the words of delivery.

use super::webhook::{Webhook, Wrong};
use crate::deliver::sign::SigningKey;
use crate::post::{Destination, Field, Trust, WebhookId};
use crate::subscribers::{Gate, Subscriber};
use std::sync::Arc;
use zeroize::Zeroizing;

impl Webhook {
    /// Its id as lanes have it.
    pub fn lane_id(&self) -> WebhookId {
        WebhookId::new(&self.id)
    }

    /// How its batches are sent.
    pub fn subscriber(&self, trust: Trust) -> Result<Subscriber, Wrong> {
        let settings = &self.settings;
        let (destination, path) = self.destination()?;
        let headers = settings.own_headers()?;
        let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| Field {
            name: name.as_str().to_owned(),
            value: value.as_bytes().to_vec(),
        };
        let overlap = match &self.old_secret {
            Some((old, until)) => Some((self.signing(Some(old))?, *until)),
            None => None,
        };
        Ok(Subscriber {
            destination: Arc::new(Destination { webhook: Some(self.lane_id()), ..destination }),
            trust,
            path,
            headers: headers.iter().map(field).collect(),
            auth: settings.auth.clone(),
            keys: self.signing(None)?,
            overlap,
            rate: settings.pace()?.map(|rate| (rate.count, rate.per)),
            max_connections: settings.max_connections.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            gate: if self.is_active() { Gate::Open } else { Gate::Closed },
        })
    }

    /// What signs with its secret, and with this one.
    fn signing(&self, old: Option<&Zeroizing<String>>) -> Result<Vec<SigningKey>, Wrong> {
        let secrets: Vec<_> = self.settings.secret.iter().chain(old).map(|secret| secret.as_str()).collect();
        if secrets.is_empty() { Ok(Vec::new()) } else { self.settings.keys(&secrets) }
    }
}
