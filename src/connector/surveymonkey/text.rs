//! HTML as plain text: breaks and lists kept as lines, links kept with their address, everything else taken off.

use super::Reader;
use crate::form::Template;

/// Elements whose tags are taken off. Any other `<` is meant to the letter, as in `a <b and c> d`.
const INLINE: [&str; 22] = [
    "a", "abbr", "b", "big", "center", "cite", "code", "em", "font", "i", "img", "label", "mark", "s",
    "small", "span", "strike", "strong", "sub", "sup", "u", "wbr",
];
/// Elements that begin or end a line.
const BLOCK: [&str; 27] = [
    "article",
    "blockquote",
    "br",
    "caption",
    "dd",
    "div",
    "dl",
    "dt",
    "footer",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "ol",
    "p",
    "pre",
    "section",
    "table",
    "tbody",
    "td",
    "tr",
    "ul",
];

impl Reader {
    /// `source` as people read it. What it would fill in is named, since only SurveyMonkey knows what that is.
    pub(super) fn plain(&mut self, at: &str, source: &str) -> String {
        let Plain { text, picture } = plain(source);
        if picture {
            self.changed(at, &text, "its picture is not shown in the chat");
        }
        for token in piped(&text) {
            let what = format!(
                "its text fills in “{token}”, which the definition does not explain; it is shown as written"
            );
            self.lost(at, &text, what);
        }
        literal(text)
    }
}

/// A text that nothing is filled into.
fn literal(text: String) -> String {
    if Template::parse(&text).recalls().next().is_none() {
        return text;
    }
    let mut apart = String::new();
    for character in text.chars() {
        if character == '{' && apart.ends_with('{') {
            apart.push(' ');
        }
        apart.push(character);
    }
    apart
}

/// What SurveyMonkey's editor would fill in: `[Q1]`, `{{ … }}`.
fn piped(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for (open, close, needed) in [("[Q", "]", true), ("{{", "}}", false)] {
        let mut rest = text;
        while let Some(start) = rest.find(open) {
            let from = rest.get(start..).unwrap_or_default();
            let Some(end) = from.find(close) else { break };
            let token = from.get(..end + close.len()).unwrap_or_default();
            let number =
                token.strip_prefix(open).is_some_and(|inner| inner.starts_with(|c: char| c.is_ascii_digit()));
            if number || !needed {
                found.push(token);
            }
            rest = from.get(open.len()..).unwrap_or_default();
        }
    }
    found
}

#[derive(Debug, Default, PartialEq)]
struct Plain {
    text: String,
    /// There was a picture.
    picture: bool,
}

fn plain(source: &str) -> Plain {
    let mut found = Plain::default();
    let mut links: Vec<(usize, Option<String>)> = Vec::new();
    let mut rest = source;
    while let Some((before, after)) = rest.split_once('<') {
        found.push(before);
        if let Some(comment) = after.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, tail)| tail);
            continue;
        }
        let tag = after.split_once('>').filter(|(inside, _)| !inside.contains('<'));
        let name = |inside: &str| -> String {
            let letters = inside.strip_prefix('/').unwrap_or(inside);
            letters.chars().take_while(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
        };
        let known = tag.map(|(inside, tail)| (name(inside), inside, tail));
        let Some((name, inside, tail)) = known.filter(|(name, inside, _)| is_tag(name, inside)) else {
            found.text.push('<');
            rest = after;
            continue;
        };
        rest = tail;
        let closes = inside.starts_with('/');
        match name.as_str() {
            "script" | "style" if !closes => {
                let end = format!("</{name}");
                let lower = tail.to_ascii_lowercase();
                let skipped = lower.find(&end).and_then(|at| tail.get(at..)).and_then(|t| t.split_once('>'));
                rest = skipped.map_or("", |(_, tail)| tail);
            }
            "a" if closes => {
                let Some((start, Some(address))) = links.pop() else { continue };
                let words = found.text.get(start..).unwrap_or_default().trim();
                if !words.is_empty() && words != address {
                    found.text.push_str(&format!(" ({address})"));
                } else if words.is_empty() {
                    found.text.push_str(&address);
                }
            }
            "a" => links.push((found.text.len(), attribute(inside, "href"))),
            "img" => {
                found.picture = true;
                found.push(&attribute(inside, "alt").unwrap_or_default());
            }
            "br" => found.text.push('\n'),
            "li" if !closes => {
                found.new_line();
                found.text.push_str("• ");
            }
            _ if BLOCK.contains(&name.as_str()) => found.new_line(),
            _ => {}
        }
    }
    found.push(rest);
    found.text = lines(&found.text);
    found
}

fn is_tag(name: &str, inside: &str) -> bool {
    let tail = inside.strip_prefix('/').unwrap_or(inside).get(name.len()..).unwrap_or_default();
    let attributes = tail.trim().trim_end_matches('/');
    // Words that are no attributes make it a sentence with a comparison in it.
    let ends = tail.is_empty()
        || (tail.starts_with(|c: char| c.is_whitespace() || c == '/')
            && (attributes.is_empty() || attributes.contains('=')));
    ends && (INLINE.contains(&name) || BLOCK.contains(&name) || matches!(name, "script" | "style"))
}

impl Plain {
    /// Takes text between tags, where a line break means no more than a blank.
    fn push(&mut self, text: &str) {
        let decoded = decode(text);
        self.text.extend(decoded.chars().map(|c| if c.is_whitespace() { ' ' } else { c }));
    }

    /// Ends the line, unless it has ended.
    fn new_line(&mut self) {
        if !self.text.trim_end_matches(' ').ends_with('\n') {
            self.text.push('\n');
        }
    }
}

/// The value of an attribute, without the address schemes that lead nowhere from a chat.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let lower = tag.to_ascii_lowercase();
    let at = lower.find(&format!("{name}="))?;
    let value = tag.get(at + name.len() + 1..)?.trim_start();
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value.get(1..)?.split(quote).next()?,
        _ => value.split(|c: char| c.is_whitespace() || c == '>').next()?,
    };
    let value = decode(value.trim());
    let leads =
        name != "href" || ["http://", "https://", "mailto:", "tel:"].iter().any(|s| value.starts_with(s));
    (leads && !value.is_empty()).then_some(value)
}

/// Blanks and empty lines taken together.
fn lines(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.split('\n') {
        let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = if line == "•" { String::new() } else { line };
        if !line.is_empty() || lines.last().is_some_and(|last| !last.is_empty()) {
            lines.push(line);
        }
    }
    lines.join("\n").trim().to_owned()
}

/// Takes character references apart; an unknown one stays as it is.
fn decode(text: &str) -> String {
    let mut decoded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        let reference = after.split_once(';').filter(|(name, _)| name.len() <= 10);
        match reference.and_then(|(name, tail)| Some((character(name)?, tail))) {
            Some((character, tail)) => {
                decoded.push(character);
                rest = tail;
            }
            None => {
                decoded.push('&');
                rest = after;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let hexadecimal = number.strip_prefix(['x', 'X']);
        let code = match hexadecimal {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|c| !c.is_control());
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "hellip" => '…',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "laquo" => '«',
        "raquo" => '»',
        "bull" => '•',
        "middot" => '·',
        "deg" => '°',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        "euro" => '€',
        "pound" => '£',
        "agrave" => 'à',
        "egrave" => 'è',
        "eacute" => 'é',
        "igrave" => 'ì',
        "ograve" => 'ò',
        "ugrave" => 'ù',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "szlig" => 'ß',
        "ntilde" => 'ñ',
        "ccedil" => 'ç',
        "times" => '×',
        "iquest" => '¿',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_taken_off_and_links_stay() {
        for (source, text) in [
            ("Plain", "Plain"),
            ("\n              Country\n            ", "Country"),
            ("One<br><br>Two<br>", "One\n\nTwo"),
            ("<div>One<br>Two</div><p>Three</p>", "One\nTwo\nThree"),
            ("Goals:<ul><li>Less</li><li>None</li></ul>", "Goals:\n• Less\n• None"),
            ("0\u{a0} \u{a0} -\u{a0} Poor", "0 - Poor"),
            (
                r#"<a href="https://example.com/x?a=1&amp;b=2" rel="nofollow">report it</a> now"#,
                "report it (https://example.com/x?a=1&b=2) now",
            ),
            ("<A HREF='https://example.com'>https://example.com</A>", "https://example.com"),
            (r#"<a href="javascript:alert(1)">x</a>"#, "x"),
            ("Male1<span style=\"color: red\">*</span>", "Male1*"),
            ("Tom &amp; Ada &lt;3 &unknown; &#8217;&#x41;", "Tom & Ada <3 &unknown; ’A"),
            ("age < 5 or a <b and c> d", "age < 5 or a <b and c> d"),
            ("a<!-- hidden -->b<script>alert('<p>')</script>c<style>p{}</style>d", "abcd"),
            ("<unclosed", "<unclosed"),
            ("<a href=\"https://example.com/a\">never closed", "never closed"),
            ("<", "<"),
            ("&", "&"),
            ("", ""),
        ] {
            assert_eq!(plain(source).text, text, "{source}");
        }
        assert_eq!(
            plain("<img src=\"x.png\" alt=\"A map\"> Where?"),
            Plain { text: "A map Where?".to_owned(), picture: true }
        );
    }

    #[test]
    fn what_would_be_filled_in_is_found_and_recalls_of_ours_are_taken_to_the_letter() {
        assert_eq!(piped("Why [Q1: A] and [Q]? [Question] {{ name }} {{"), ["[Q1: A]", "{{ name }}"]);
        assert_eq!(piped("[Q"), [""; 0]);
        let text = literal("{{answer:name}} {{{ x }}".to_owned());
        assert_eq!(text, "{ {answer:name}} { { { x }}");
        assert_eq!(Template::parse(&text).recalls().count(), 0);
        assert_eq!(literal("{{ x }}".to_owned()), "{{ x }}");
    }
}
