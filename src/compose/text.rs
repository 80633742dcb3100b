//! Plain text of mail that has HTML alone: for people and for programs that read
//! words, not a picture of the page.
//!
//! Paragraphs, lists, quotes and preformatted text keep their shape, tables become
//! lines with tabs between their cells, links show where they lead, images their
//! alternative text. Styles are not looked at. One pass without a tree: time and
//! memory are linear whatever the document does.

use super::contents::CUT;
use super::html::{Tag, Token, decoded_pieces, tokens};

/// Elements that stand in lines of their own.
const LINES: &[&str] = &[
    "div",
    "tr",
    "section",
    "article",
    "header",
    "footer",
    "address",
    "center",
    "form",
    "fieldset",
    "dt",
    "dd",
    "figure",
    "figcaption",
    "main",
    "nav",
    "aside",
    "caption",
    "li",
    "body",
    "option",
    "legend",
];
/// Elements with an empty line around them.
const PARAGRAPHS: &[&str] =
    &["p", "h1", "h2", "h3", "h4", "h5", "h6", "table", "dl", "hr", "pre", "blockquote", "ul", "ol"];
/// Quotes and lists within each other that are shown so; deeper ones look like these.
const DEPTH: usize = 4;
/// Longest target of a link that is shown, in octets.
const LONGEST_LINK: usize = 2048;

/// The text of a document, its lines ended by LF; of one that is longer than `most`
/// octets the beginning, and [`CUT`] below it.
pub fn text(html: &str, most: usize) -> String {
    let mut page = Page { text: String::with_capacity(html.len().min(most) / 2), ..Page::default() };
    for token in tokens(html) {
        match token {
            Token::Text(text) => {
                // Piece by piece: how much a long one says shows only then.
                for piece in decoded_pieces(text) {
                    page.write(&piece);
                    if page.text.len() > most {
                        break;
                    }
                }
            }
            Token::Tag(tag) => page.tag(&tag),
        }
        if page.text.len() > most {
            page.text.truncate(page.text.floor_char_boundary(most));
            page.text.push_str(CUT);
            return page.text;
        }
    }
    page.text.truncate(page.text.trim_end().len());
    if !page.text.is_empty() {
        page.text.push('\n');
    }
    page.text
}

/// What stands between two words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    #[default]
    None,
    Blank,
    Tab,
    Line,
    Paragraph,
}

#[derive(Default)]
struct Page {
    text: String,
    /// Before the next word.
    gap: Gap,
    /// How deep it is quoted.
    quotes: usize,
    /// How deep its white space counts.
    preformatted: usize,
    /// The last number of each open list; 0 where there are none.
    lists: Vec<u32>,
    /// Lists beyond those that are counted.
    more_lists: usize,
    /// What the next word follows as a list item.
    item: Option<u32>,
    /// Target of the open link and where its text begins.
    link: Option<(String, usize)>,
}

impl Page {
    fn tag(&mut self, tag: &Tag<'_>) {
        if tag.is("br") {
            self.line_break();
        } else if tag.is_one_of(PARAGRAPHS) {
            self.gap = self.gap.max(self.around(tag));
        } else if tag.is_one_of(LINES) {
            self.gap = self.gap.max(Gap::Line);
        } else if tag.is_one_of(&["td", "th"]) {
            self.gap = self.gap.max(Gap::Tab);
        }
        match (tag.name.to_ascii_lowercase().as_str(), tag.is_end) {
            ("blockquote", false) => self.quotes += 1,
            ("blockquote", true) => self.quotes = self.quotes.saturating_sub(1),
            ("pre", false) => self.preformatted += 1,
            ("pre", true) => self.preformatted = self.preformatted.saturating_sub(1),
            ("ul", false) => self.open_list(0),
            ("ol", false) => self.open_list(1),
            ("ul" | "ol", true) => self.close_list(),
            ("li", false) => self.begin_item(),
            ("hr", false) => self.rule(),
            ("img", false) => self.image(tag),
            ("a", false) => self.begin_link(tag),
            ("a", true) => self.end_link(),
            _ => {}
        }
    }

    /// The gap that a block has around it: lists within lists have none.
    fn around(&self, tag: &Tag<'_>) -> Gap {
        let is_inner = tag.is_one_of(&["ul", "ol"]) && self.lists.len() > usize::from(tag.is_end);
        if is_inner { Gap::Line } else { Gap::Paragraph }
    }

    /// Two of them leave an empty line, more do not leave more.
    fn line_break(&mut self) {
        self.gap = if self.gap >= Gap::Line { Gap::Paragraph } else { Gap::Line };
    }

    fn rule(&mut self) {
        self.word("---");
        self.gap = Gap::Paragraph;
    }

    fn image(&mut self, tag: &Tag<'_>) {
        let alternative = tag.attribute("alt").unwrap_or_default();
        if !alternative.trim().is_empty() {
            self.write(&format!("[{}]", alternative.trim()));
        }
    }

    fn open_list(&mut self, first: u32) {
        if self.lists.len() < DEPTH { self.lists.push(first) } else { self.more_lists += 1 }
    }

    fn close_list(&mut self) {
        if self.more_lists > 0 {
            self.more_lists -= 1;
        } else {
            self.lists.pop();
        }
        self.item = None;
    }

    fn begin_item(&mut self) {
        self.item = Some(self.lists.last().copied().unwrap_or_default());
        if let Some(number) = self.lists.last_mut().filter(|number| **number > 0) {
            *number = number.saturating_add(1);
        }
    }

    fn begin_link(&mut self, tag: &Tag<'_>) {
        self.end_link();
        let href = tag.attribute("href").unwrap_or_default();
        let href = href.trim();
        let leads = ["http:", "https:", "mailto:", "tel:", "ftp:"]
            .iter()
            .any(|scheme| href.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)));
        let is_shown = leads && href.len() <= LONGEST_LINK && !href.contains(char::is_whitespace);
        self.link = is_shown.then(|| (href.to_owned(), self.text.len()));
    }

    /// Says where a link leads, unless its text does.
    fn end_link(&mut self) {
        let Some((href, at)) = self.link.take() else { return };
        let said = self.text.get(at..).unwrap_or_default().trim();
        let bare = |text: &str| {
            let text = text.split_once(':').map_or(text, |(_, rest)| rest);
            text.trim_start_matches('/').trim_end_matches('/').to_lowercase()
        };
        let is_said = said == href
            || bare(&href) == said.trim_end_matches('/').to_lowercase()
            || bare(said) == bare(&href);
        if !said.is_empty() && !is_said {
            self.gap = self.gap.max(Gap::Blank);
            self.word(&format!("<{href}>"));
        }
    }

    /// Adds text whose white space does not count, unless it is preformatted.
    fn write(&mut self, text: &str) {
        if self.preformatted > 0 {
            return self.write_lines(text);
        }
        // A no-break space is mostly there to fill something.
        let is_blank = |char: char| char.is_ascii_whitespace() || char == '\u{a0}';
        if text.starts_with(is_blank) {
            self.gap = self.gap.max(Gap::Blank);
        }
        let mut is_first = true;
        for word in text.split(is_blank).filter(|word| !word.is_empty()) {
            if !is_first {
                self.gap = self.gap.max(Gap::Blank);
            }
            self.word(word);
            is_first = false;
        }
        if !is_first && text.ends_with(is_blank) {
            self.gap = self.gap.max(Gap::Blank);
        }
    }

    fn write_lines(&mut self, text: &str) {
        for (number, line) in text.split('\n').enumerate() {
            if number > 0 {
                self.line_break();
            }
            let line = line.trim_end_matches('\r');
            if !line.is_empty() {
                self.word(line);
            }
        }
    }

    fn word(&mut self, word: &str) {
        let gap = std::mem::take(&mut self.gap);
        let is_start = self.text.is_empty();
        match gap {
            _ if is_start => {}
            Gap::None => {}
            Gap::Blank => self.text.push(' '),
            Gap::Tab => self.text.push('\t'),
            Gap::Line => self.text.push('\n'),
            Gap::Paragraph => self.text.push_str("\n\n"),
        }
        if is_start || gap >= Gap::Line {
            self.begin_line();
        }
        self.text.push_str(word);
    }

    fn begin_line(&mut self) {
        self.text.extend(std::iter::repeat_n("> ", self.quotes.min(DEPTH)));
        let indent = self.lists.len().saturating_sub(1);
        match self.item.take() {
            Some(number) => {
                self.text.extend(std::iter::repeat_n("  ", indent));
                match number {
                    0 => self.text.push_str("- "),
                    number => self.text.push_str(&format!("{number}. ")),
                }
            }
            None => self.text.extend(std::iter::repeat_n("  ", self.lists.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::contents::MOST;
    use super::*;

    fn text(html: &str) -> String {
        super::text(html, MOST)
    }

    #[test]
    fn pages_become_text() {
        for (html, expected) in [
            ("<p>Hi</p>", "Hi\n"),
            ("<html><head><title>t</title><style>p{}</style></head>\r\n<body> a  b\r\n c</body>", "a b c\n"),
            ("a<br>b<br><br><br>c", "a\nb\n\nc\n"),
            ("<p>a</p>\n<p>&nbsp;</p>\n<div>b</div><div>c</div>", "a\n\nb\nc\n"),
            ("<h1>Title</h1>text<hr>end", "Title\n\ntext\n\n---\n\nend\n"),
            ("<b>bo</b>ld <i>it</i>", "bold it\n"),
            ("<ul><li>a<li>b<ol><li>c</li><li>d</li></ol></ul>e", "- a\n- b\n  1. c\n  2. d\n\ne\n"),
            (
                "<table><tr><th>Item</th><th>n</th></tr><tr><td>Tea</td><td>2</td></table>",
                "Item\tn\nTea\t2\n",
            ),
            ("<table><tr><td><p>a</p></td><td>b</td></tr></table>", "a\n\nb\n"),
            (
                "See <a href='https://a.example/x?y=1&amp;z'>this</a>.",
                "See this <https://a.example/x?y=1&z>.\n",
            ),
            ("<a href=\"https://a.example/\">https://a.example</a>", "https://a.example\n"),
            ("<a href=\"mailto:a@b.example\">a@b.example</a>, <a href='#x'>up</a>", "a@b.example, up\n"),
            ("<a href=javascript:alert(1)>x</a><a name=y>z</a>", "xz\n"),
            ("<img src=cid:1 alt='A logo'><img src=x>", "[A logo]\n"),
            (
                "<blockquote><p>old</p><blockquote>older</blockquote></blockquote>new",
                "> old\n\n> > older\n\nnew\n",
            ),
            ("<pre>a\n  b</pre>c", "a\n  b\n\nc\n"),
            ("<script>alert('x')</script>&lt;b&gt; &euro; &#128512;", "<b> € 😀\n"),
            ("<p>日本語<br>です</p>", "日本語\nです\n"),
            ("plain text", "plain text\n"),
            ("<p></p>", ""),
            ("", ""),
        ] {
            assert_eq!(text(html), expected, "{html}");
        }
    }

    #[test]
    fn long_pages_are_cut_with_a_mark() {
        for unit in ["<p>word</p>", "wörd ", "x"] {
            let fits = text(&unit.repeat(MOST / 8 / unit.len()));
            assert!(!fits.ends_with(CUT));
            let long = text(&unit.repeat(4 * MOST / unit.len()));
            assert!(long.ends_with(CUT) && long.len() <= MOST + CUT.len(), "{unit}: {}", long.len());
            assert!(long.starts_with(&fits[..fits.len() - 1]), "{unit}");
        }
    }

    /// Nothing is left out without it, however many octets stand for one.
    #[test]
    fn references_count_as_what_they_stand_for() {
        for (before, unit, shown) in
            [("<pre>", "&quot;", "\""), ("<pre>", "&lt;x", "<x"), ("", "&amp;         ", "& ")]
        {
            let fits = text(&(before.to_owned() + &unit.repeat(MOST / 2)));
            assert!(fits.trim_end() == shown.repeat(MOST / 2).trim_end(), "{unit}: {}", fits.len());
            let long = text(&(before.to_owned() + &unit.repeat(MOST + 1) + "<p>below"));
            let (beginning, mark) = long.split_at(MOST);
            assert!(beginning == &shown.repeat(MOST)[..MOST] && mark == CUT, "{unit}: {}", long.len());
        }
    }

    #[test]
    fn hostile_pages_take_linear_time_and_room() {
        for unit in [
            "<div>",
            "<b>",
            "<blockquote>x<br>",
            "<ul><li>x",
            "<ol>",
            "<table><td>x",
            "<a href=http:x>y",
            "<!--",
            "<a href='",
            "<",
            "</",
            "&",
            "&amp;",
            "<script>",
            "<p/",
            "<x y=\"z\" ",
            "\"",
            "=",
            "<pre>\n",
            "<br>",
            "<hr>",
        ] {
            let page = unit.repeat(20_000);
            let size = text(&page).len();
            assert!(size <= 4 * page.len(), "{unit}: {size}");
        }
    }
}
