//! Tables of what has to be proven, each row with the tests that do.
//!
//! A test stands at its row as `file::function`, a dialogue of `dialogs.rs` as the name of
//! its file. What is named and is not there is a complaint.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Whether a test or a dialogue is there and is run.
fn is_there(proof: &str) -> bool {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let Some((file, function)) = proof.split_once("::") else {
        return tests.join(format!("dialogs/{proof}.smtp")).exists();
    };
    let paths = [format!("{file}.rs"), format!("attacks/{file}.rs")].map(|path| tests.join(path));
    let texts: Vec<_> = paths.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    let lines: Vec<_> = texts.iter().flat_map(|text| text.lines()).collect();
    let starts = [format!("fn {function}("), format!("async fn {function}(")];
    let place = lines.iter().position(|line| starts.iter().any(|start| line.starts_with(start)));
    let above = place.and_then(|place| lines.get(place.wrapping_sub(1)));
    above.is_some_and(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
}

/// What is wrong with such a table, which has to have all these rows and no others.
pub fn complaints(proofs: &str, whole: impl Iterator<Item = String>) -> Vec<String> {
    let mut rows: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for line in proofs.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        rows.entry(words.next().unwrap().to_owned()).or_default().extend(words);
    }
    let mut complaints = Vec::new();
    for row in whole {
        match rows.remove(&row) {
            Some(proofs) if !proofs.is_empty() => {
                let missing = proofs.into_iter().filter(|proof| !is_there(proof));
                complaints.extend(missing.map(|proof| format!("{row}: {proof} is not there")));
            }
            _ => complaints.push(format!("{row}: nothing proves it")),
        }
    }
    complaints.extend(rows.into_keys().map(|row| format!("{row}: no such row")));
    complaints
}

/// The rows of letters, each up to its last one.
pub fn rows(last: &[(&'static str, usize)]) -> impl Iterator<Item = String> {
    last.iter().flat_map(|(letter, last)| (1..=*last).map(move |it| format!("{letter}{it}")))
}
