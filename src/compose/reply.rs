//! The new text of a reply: a message without the earlier mail it quotes.
//!
//! Only marks that nobody writes by chance are trusted: lines that begin with
//! `>`, the line or two that introduce them and end in a colon, and the
//! separators of mail programs that quote without marks. Text between quotes
//! stays. When in doubt a line stays: losing words is worse than keeping some.

/// The text without quoted earlier mail, its end trimmed.
pub fn without_quotes(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let end =
        lines.iter().enumerate().position(|(at, line)| begins_original(line, lines.get(at + 1).copied()));
    let lines = lines.get(..end.unwrap_or(lines.len())).unwrap_or_default();
    let mut kept: Vec<&str> = Vec::new();
    let mut is_quoting = false;
    for line in lines {
        let is_quote = line.starts_with('>');
        if is_quote && !is_quoting {
            drop_introduction(&mut kept);
        }
        if !is_quote {
            kept.push(line);
        }
        is_quoting = is_quote;
    }
    kept.join("\n").trim_end().to_owned()
}

/// `-----Original Message-----`, or Outlook's rule before a copied header.
fn begins_original(line: &str, next: Option<&str>) -> bool {
    let words = line.trim_matches(|char: char| matches!(char, '-' | ' ' | '\t'));
    let is_ruled = line.trim_start().starts_with("--");
    let is_original =
        ["original message", "ursprüngliche nachricht", "message d'origine", "mensaje original"]
            .contains(&words.to_lowercase().as_str());
    let is_rule = line.len() >= 20 && line.trim().bytes().all(|byte| byte == b'_');
    is_ruled && is_original
        || is_rule && next.is_some_and(|next| next.starts_with("From:") || next.starts_with("Von:"))
}

/// Removes `On Monday somebody wrote:` before a quote; wrapped, it has two lines.
fn drop_introduction(kept: &mut Vec<&str>) {
    let blanks = kept.iter().rev().take_while(|line| line.trim().is_empty()).count();
    let Some(last) = kept.len().checked_sub(blanks + 1) else { return };
    if !kept.get(last).is_some_and(|line| line.trim_end().ends_with(':')) {
        return;
    }
    let begin = last.checked_sub(1).filter(|before| {
        kept.get(*before)
            .is_some_and(|line| ["On ", "Am ", "Le ", "El "].iter().any(|word| line.starts_with(word)))
    });
    kept.truncate(begin.unwrap_or(last));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_go_and_words_stay() {
        for (text, reply) in [
            ("Yes.\r\n\r\nOn Monday, Ann wrote:\r\n> Shall we?\r\n>\r\n> Ann\r\n", "Yes."),
            ("Yes.\n\nOn Monday at 12:00, Ann\n<ann@example.com> wrote:\n\n> Shall we?", "Yes."),
            ("> Shall we?\nYes.\n> When?\nNow.", "Yes.\nNow."),
            ("Am Montag schrieb Ann:\n> Wollen wir?\n\nJa.", "\nJa."),
            ("Fine\n-----Original Message-----\nFrom: x", "Fine"),
            ("Fine\n________________________________\nFrom: x", "Fine"),
            ("________________________________\nSigned", "________________________________\nSigned"),
            ("Note this:\nnothing quoted\n", "Note this:\nnothing quoted"),
            ("a\n\n-- \nname", "a\n\n-- \nname"),
            ("> all\n> quoted", ""),
            ("", ""),
        ] {
            assert_eq!(without_quotes(text), reply, "{text:?}");
        }
    }
}
