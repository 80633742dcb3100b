//! `[[accounting]]`, written back.

use super::super::settings::{Accounting, Config};
use super::super::value::Written;
use super::super::words::Word as _;
use super::{Out, quoted};

pub(super) fn holds_secrets(config: &Config) -> bool {
    let keys = config.accounting.iter().filter_map(|accounting| accounting.privacy_key.as_ref());
    keys.into_iter().any(|key| key.is_written_out())
}

impl Out {
    pub(super) fn accounting(&mut self, accounting: &Accounting) {
        self.head("[[accounting]]");
        self.text("path", accounting.path.display());
        self.text("format", accounting.format.word());
        self.list("types", accounting.types.iter().map(|kind| kind.word()));
        self.list("fields", &accounting.fields);
        let list = |patterns: Vec<&str>| {
            let texts: Vec<_> = patterns.into_iter().map(quoted).collect();
            format!("[{}]", texts.join(", "))
        };
        let filter = accounting.filter.written().into_iter();
        self.table("filter", filter.map(|(field, patterns)| (field.to_owned(), list(patterns))));
        self.text("privacy", accounting.privacy.word());
        self.bare_if_any("privacy_key", accounting.privacy_key.as_ref());
        self.text("max_size", accounting.max_size);
        self.text("rotate", Written(accounting.rotate));
        self.text("keep", Written(accounting.keep));
        self.text("compress", accounting.compress.word());
    }
}
