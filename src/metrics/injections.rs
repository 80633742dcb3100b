//! What is counted of posts and mail that are handed in over HTTP.

use super::Metrics;
use prometheus_client::encoding::EncodeLabelSet;

/// What came of a request that hands something in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InjectionResult {
    /// It is kept.
    Accepted,
    /// It was kept before.
    Repeated,
    /// Nothing of it is kept.
    Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct InjectionLabels {
    result: &'static str,
}

impl Metrics {
    /// Notes what came of a request that hands something in.
    pub fn injection(&self, result: InjectionResult) {
        let result = match result {
            InjectionResult::Accepted => "accepted",
            InjectionResult::Repeated => "repeated",
            InjectionResult::Refused => "refused",
        };
        self.injections.get_or_create_owned(&InjectionLabels { result }).inc();
    }
}
