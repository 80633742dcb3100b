//! HTML mail, down to what may be shown: words, tables, colours, and pictures that are in
//! the mail itself.
//!
//! No tree is built, which hostile HTML would make take minutes: what comes out is
//! written anew, tag by tag, from an allow-list. Each tag of it has a known name and
//! known attributes in quotes, everything else is escaped text; so it reads the same to
//! every browser, whatever came in. What leads away or loads anything is not in the list.
//! It goes into a frame that may do nothing all the same.

use super::html::{self, Tag, Token};
use std::fmt::Write as _;

/// Most octets of a page that are read.
const LARGEST: usize = 256 * 1024;
/// Most tags that are kept, and within each other: browsers, too, have trouble with more.
const TAGS: usize = 20_000;
const DEPTH: usize = 100;

/// Elements that are kept.
const ELEMENTS: [&str; 50] = [
    "a",
    "abbr",
    "address",
    "b",
    "big",
    "blockquote",
    "br",
    "caption",
    "center",
    "cite",
    "code",
    "col",
    "colgroup",
    "dd",
    "del",
    "div",
    "dl",
    "dt",
    "em",
    "font",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "i",
    "img",
    "ins",
    "kbd",
    "li",
    "ol",
    "p",
    "pre",
    "q",
    "s",
    "samp",
    "small",
    "span",
    "strong",
    "sub",
    "sup",
    "table",
    "tbody",
    "td",
    "th",
    "tr",
    "u",
    "ul",
];

/// Those without content.
const VOID: [&str; 4] = ["br", "col", "hr", "img"];

/// Attributes that are kept, of whatever element, if their value is plain.
const ATTRIBUTES: [&str; 16] = [
    "align",
    "alt",
    "bgcolor",
    "border",
    "cellpadding",
    "cellspacing",
    "color",
    "colspan",
    "dir",
    "face",
    "height",
    "rowspan",
    "size",
    "title",
    "valign",
    "width",
];

/// Properties of styles that change how words look, and nothing's place.
const STYLES: [&str; 24] = [
    "background-color",
    "border",
    "border-bottom",
    "border-collapse",
    "border-color",
    "border-left",
    "border-radius",
    "border-right",
    "border-top",
    "color",
    "font",
    "font-family",
    "font-size",
    "font-style",
    "font-weight",
    "line-height",
    "margin",
    "max-width",
    "padding",
    "text-align",
    "text-decoration",
    "vertical-align",
    "white-space",
    "width",
];

/// The same page with what may be shown of it, as the content of a body; says where it
/// was cut.
pub fn safe_html(page: &str) -> String {
    let start = page.get(..page.floor_char_boundary(LARGEST)).unwrap_or(page);
    let (mut safe, mut tags, mut open) = (String::with_capacity(start.len()), 0, Vec::new());
    for token in html::tokens(start) {
        match token {
            Token::Text(text) => escape(&mut safe, &html::decoded(text)),
            Token::Tag(tag) if tags < TAGS => {
                tags += 1;
                write_tag(&mut safe, &mut open, &tag);
            }
            Token::Tag(_) => {}
        }
    }
    for name in open.into_iter().rev() {
        let _ = write!(safe, "</{name}>");
    }
    if start.len() < page.len() {
        safe.push_str("<hr><p>The mail goes on; download it to see the rest.</p>");
    }
    safe
}

/// Writes a tag that is kept; `open` are the elements that it stands in.
fn write_tag(safe: &mut String, open: &mut Vec<&'static str>, tag: &Tag<'_>) {
    let Some(name) = ELEMENTS.into_iter().find(|name| tag.is(name)) else { return };
    let is_void = VOID.contains(&name);
    if tag.is_end {
        // What was not opened cannot be closed; what stands in between ends as well.
        if let Some(at) = open.iter().rposition(|other| *other == name) {
            for name in open.drain(at..).rev() {
                let _ = write!(safe, "</{name}>");
            }
        }
        return;
    }
    if !is_void && open.len() >= DEPTH {
        return;
    }
    // Without one it would be a frame with nothing in it.
    let picture = if name == "img" { tag.attribute("src").filter(|source| is_picture(source)) } else { None };
    if name == "img" && picture.is_none() {
        if let Some(alt) = tag.attribute("alt") {
            escape(safe, &alt);
        }
        return;
    }
    let _ = write!(safe, "<{name}");
    if let Some(source) = picture {
        write_attribute(safe, "src", &source);
    }
    for attribute in ATTRIBUTES {
        if let Some(value) = tag.attribute(attribute) {
            write_attribute(safe, attribute, &value);
        }
    }
    if let Some(style) =
        tag.attribute("style").map(|style| plain_style(&style)).filter(|style| !style.is_empty())
    {
        write_attribute(safe, "style", &style);
    }
    safe.push('>');
    if !is_void {
        open.push(name);
    }
}

/// Whether an address is the picture itself.
fn is_picture(source: &str) -> bool {
    let kinds = [
        "data:image/png;base64,",
        "data:image/jpeg;base64,",
        "data:image/gif;base64,",
        "data:image/webp;base64,",
    ];
    let is_data = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=');
    let source = source.trim();
    kinds.iter().any(|kind| {
        source.get(..kind.len()).is_some_and(|start| start.eq_ignore_ascii_case(kind))
            && source.bytes().skip(kind.len()).all(is_data)
    })
}

/// The declarations that are kept.
fn plain_style(style: &str) -> String {
    let is_plain = |value: &str| {
        let lower = value.to_ascii_lowercase();
        let is_odd = |char: char| !char.is_ascii_alphanumeric() && !" #%.,()'\"-!/".contains(char);
        !value.contains(is_odd) && !lower.contains("url") && !lower.contains("image")
    };
    let declarations = style.split(';').filter_map(|declaration| declaration.split_once(':'));
    let kept = declarations.filter_map(|(name, value)| {
        let known = STYLES.into_iter().find(|known| name.trim().eq_ignore_ascii_case(known))?;
        is_plain(value.trim()).then(|| format!("{known}: {}", value.trim()))
    });
    kept.collect::<Vec<_>>().join("; ")
}

fn write_attribute(safe: &mut String, name: &str, value: &str) {
    let _ = write!(safe, " {name}=\"");
    escape(safe, value);
    safe.push('"');
}

fn escape(safe: &mut String, text: &str) {
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            char => safe.push(char),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_loads_or_leads_away_is_gone() {
        for hostile in [
            "<script>alert(1)</script>",
            "<script>alert(1)",
            "<img src=x onerror=alert(1)>",
            "<img src=https://evil.example/p.gif>",
            "<img src=data:image/svg+xml;base64,AAAA>",
            "<img srcset='https://evil.example/p.gif 2x'>",
            "<a href='javascript:alert(1)'>x</a>",
            "<a href=https://evil.example/>x</a>",
            "<link rel=preconnect href=https://evil.example/>",
            "<meta http-equiv=refresh content='0;url=https://evil.example/'>",
            "<base href=https://evil.example/>",
            "<style>@import 'https://evil.example/'</style>",
            "<p style='background:url(https://evil.example/p.gif);position:fixed;color:u\\72l(x)'>x</p>",
            "<form action=https://evil.example/><input name=a></form>",
            "<iframe src=https://evil.example/></iframe>",
            "<svg onload=alert(1)><script>alert(1)</script></svg>",
            "<table background=https://evil.example/p.gif><tr><td>x</table>",
            "<!--[if mso]><img src=https://evil.example/><![endif]-->",
            "<b onclick=alert(1) on\nclick=x>x</b>",
        ] {
            let shown = safe_html(hostile).to_lowercase();
            let bad = [
                "evil.example",
                "script",
                "onerror",
                "onload",
                "onclick",
                "javascript:",
                "<form",
                "position",
                "<link",
                "<img",
                "href",
                "\\",
            ];
            for bad in bad {
                assert!(!shown.contains(bad), "{hostile}: {shown}");
            }
        }
    }

    /// Everything that begins with `<` in what comes out is a tag of ours.
    #[test]
    fn what_comes_out_is_text_and_known_tags_alone() {
        for hostile in [
            "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
            "<p title='\"><img src=x>'>&lt;script&gt;</p>",
            "<b title=`<script>`>&#60;script&#62;<</b><",
            "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
            "<table><tr><td></b></table></td><div></div></p></x>",
        ] {
            let shown = safe_html(hostile);
            for piece in shown.split('<').skip(1) {
                let name: String =
                    piece.trim_start_matches('/').chars().take_while(char::is_ascii_alphanumeric).collect();
                assert!(ELEMENTS.contains(&name.as_str()) && piece.contains('>'), "{hostile}: {shown}");
            }
            let quotes = shown
                .split('<')
                .filter_map(|piece| piece.split_once('>'))
                .map(|(tag, _)| tag.matches('"').count());
            assert!(quotes.into_iter().all(|count| count % 2 == 0), "{hostile}: {shown}");
        }
    }

    #[test]
    fn words_colours_tables_and_own_pictures_stay() {
        let html = "<TABLE bgcolor=red width=10><tr><td style='color: #00F; padding: 4px; x: y'>a &amp; <b>b</td></tr>\
                    </TABLE><img src='data:image/png;base64,AAAA' alt=x><br><img src=x alt='a \"logo\"'>";
        assert_eq!(
            safe_html(html),
            "<table bgcolor=\"red\" width=\"10\"><tr><td style=\"color: #00F; padding: 4px\">a &amp; <b>b</b></td></tr>\
             </table><img src=\"data:image/png;base64,AAAA\" alt=\"x\"><br>a &quot;logo&quot;"
        );
    }

    #[test]
    fn much_of_it_is_cut_and_takes_no_time() {
        for piece in [
            "<a><b>",
            "<b title=1>",
            "<p>x",
            "<table><b>",
            "</p>",
            "<p style='color:red;",
            "<!--",
            "<script>",
        ] {
            let shown = safe_html(&piece.repeat(2 * LARGEST / piece.len()));
            assert!(shown.ends_with("The mail goes on; download it to see the rest.</p>"), "{piece}");
            assert!(shown.matches("<b").count() <= DEPTH, "{piece}");
        }
    }
}
