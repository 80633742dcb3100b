//! What is counted of recipients that receivers are asked about.

use super::Metrics;
use prometheus_client::encoding::EncodeLabelSet;

/// What came of the check of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckResult {
    /// The receiver takes it.
    Accepted,
    /// It does not.
    Rejected,
    /// There was no answer that says.
    Trouble,
    /// Nobody was asked: an earlier answer counts.
    Known,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CheckLabels {
    result: &'static str,
}

impl Metrics {
    /// Notes what came of the check of a recipient.
    pub fn check(&self, result: CheckResult) {
        let result = match result {
            CheckResult::Accepted => "accepted",
            CheckResult::Rejected => "rejected",
            CheckResult::Trouble => "trouble",
            CheckResult::Known => "known",
        };
        self.checks.get_or_create_owned(&CheckLabels { result }).inc();
    }
}
