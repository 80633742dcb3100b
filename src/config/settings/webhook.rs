//! Who is told of events, as far as the file says.

use super::super::secret::Secret;
use crate::fanout::webhook::Settings;

/// `[[webhook]]`: a subscription that nobody changes over the API.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Everything but its secret.
    pub settings: Settings,
    /// What signs its requests; without, nothing does.
    pub secret: Option<Secret>,
    /// Whose events.
    pub tenant: String,
}
