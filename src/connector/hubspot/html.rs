//! HubSpot's texts are HTML; a chat shows plain text. What is said stays: words, line breaks, list marks and addresses.

/// A paragraph, heading or list item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub heading: bool,
    pub text: String,
}

/// What an HTML text says.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub blocks: Vec<Block>,
    /// Pictures in it, which are not part of the text.
    pub pictures: usize,
}

impl Read {
    /// All of it as one text, a line for each block.
    pub(super) fn text(&self) -> String {
        lines(&self.blocks)
    }
}

/// One text, a line for each block.
pub(super) fn lines(blocks: &[Block]) -> String {
    blocks.iter().map(|block| block.text.as_str()).collect::<Vec<_>>().join("\n")
}

/// Reads HTML as a browser would show it, without its looks. Never fails: what is no tag is text.
pub(super) fn read(html: &str) -> Read {
    let mut reader = Reader::default();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let (before, from) = rest.split_at(start);
        reader.words(before);
        let after = &from[1..];
        if let Some(comment) = after.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, tail)| tail);
            continue;
        }
        let is_tag = after.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
        match after.split_once('>').filter(|_| is_tag) {
            Some((tag, tail)) => rest = reader.tag(tag, tail),
            None => {
                reader.words("<");
                rest = after;
            }
        }
    }
    reader.words(rest);
    reader.close();
    reader.read
}

#[derive(Default)]
struct Reader {
    read: Read,
    line: String,
    heading: bool,
    /// A blank stands between what was read and what comes.
    blank: bool,
    /// The address of the link being read and where its text begins.
    link: Option<(String, usize)>,
}

impl Reader {
    fn words(&mut self, source: &str) {
        for character in unescape(source).chars() {
            if character.is_whitespace() {
                self.blank = true;
                continue;
            }
            if std::mem::take(&mut self.blank) && !self.line.is_empty() {
                self.line.push(' ');
            }
            self.line.push(character);
        }
    }

    /// Ends the current block.
    fn close(&mut self) {
        self.end_link();
        let text = std::mem::take(&mut self.line);
        self.blank = false;
        if !text.is_empty() && text != "•" {
            self.read.blocks.push(Block { heading: self.heading, text });
        }
    }

    fn end_link(&mut self) {
        let Some((address, from)) = self.link.take() else { return };
        let said = self.line.get(from..).unwrap_or_default().trim().to_owned();
        if !said.contains(address.trim_end_matches('/')) {
            self.line.push_str(&if said.is_empty() { address } else { format!(" ({address})") });
        }
    }

    fn tag<'h>(&mut self, tag: &str, tail: &'h str) -> &'h str {
        let (closing, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let end = tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tag.len());
        let name = tag[..end].to_ascii_lowercase();
        match name.as_str() {
            "script" | "style" if !closing => {
                let end = format!("</{name}");
                let lower = tail.to_ascii_lowercase();
                return lower.find(&end).and_then(|at| tail.get(at..)).unwrap_or("");
            }
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.close();
                self.heading = !closing;
            }
            "p" | "div" | "br" | "ul" | "ol" | "tr" | "table" | "blockquote" | "hr" | "section" => {
                self.close()
            }
            "li" => {
                self.close();
                if !closing {
                    self.line.push('•');
                    self.blank = true;
                }
            }
            "td" | "th" => self.blank = true,
            "img" => self.read.pictures += 1,
            "a" if closing => self.end_link(),
            "a" => {
                let address = attribute(tag, "href").filter(|address| {
                    ["http://", "https://", "mailto:", "tel:"]
                        .iter()
                        .any(|scheme| address.starts_with(scheme))
                });
                self.link = address.map(|address| (address, self.line.len()));
            }
            _ => {}
        }
        tail
    }
}

/// The value of an attribute, in quotes or without.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let lower = tag.to_ascii_lowercase();
    let at = lower.match_indices(name).find_map(|(at, _)| {
        let begins = lower[..at].ends_with(|c: char| c.is_ascii_whitespace());
        let value = lower[at + name.len()..].trim_start();
        (begins && value.starts_with('=')).then_some(at + name.len())
    })?;
    let value = tag[at..].trim_start().strip_prefix('=')?.trim_start();
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next()?,
        _ => value.split(|c: char| c.is_ascii_whitespace()).next()?,
    };
    Some(unescape(value).trim().to_owned()).filter(|value| !value.is_empty())
}

/// Character references as characters. One that is not known stays as it is written.
fn unescape(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once('&') {
        text.push_str(before);
        let named = after.split_once(';').filter(|(name, _)| name.len() <= 10);
        match named.and_then(|(name, tail)| Some((character(name)?, tail))) {
            Some((character, tail)) => {
                text.push(character);
                rest = tail;
            }
            None => {
                text.push('&');
                rest = after;
            }
        }
    }
    text + rest
}

/// Names of U+00A0 to U+00FF, in their order.
const LATIN_1: &str = "nbsp iexcl cent pound curren yen brvbar sect uml copy ordf laquo not shy reg macr deg plusmn sup2 sup3 \
    acute micro para middot cedil sup1 ordm raquo frac14 frac12 frac34 iquest Agrave Aacute Acirc Atilde Auml Aring AElig \
    Ccedil Egrave Eacute Ecirc Euml Igrave Iacute Icirc Iuml ETH Ntilde Ograve Oacute Ocirc Otilde Ouml times Oslash Ugrave \
    Uacute Ucirc Uuml Yacute THORN szlig agrave aacute acirc atilde auml aring aelig ccedil egrave eacute ecirc euml igrave \
    iacute icirc iuml eth ntilde ograve oacute ocirc otilde ouml divide oslash ugrave uacute ucirc uuml yacute thorn yuml";

fn character(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let hexadecimal = number.strip_prefix(['x', 'X']);
        let code =
            hexadecimal.map_or_else(|| number.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())?;
        return char::from_u32(code).filter(|c| !c.is_control() || c.is_whitespace());
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "ndash" => '–',
        "mdash" => '—',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "bull" => '•',
        "hellip" => '…',
        "euro" => '€',
        "trade" => '™',
        "rarr" => '→',
        "zwnj" => '\u{200c}',
        name => {
            let at = LATIN_1.split_whitespace().position(|known| known == name)?;
            char::from_u32(0xa0 + u32::try_from(at).ok()?)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_becomes_what_a_person_would_read() {
        for (html, text) in [
            ("plain &amp; simple", "plain & simple"),
            ("<p>One</p>\n<p>Two<br>Three</p>", "One\nTwo\nThree"),
            ("<ul><li><b>a</b></li><li> b\n c </li></ul>", "• a\n• b c"),
            (
                "see <a href=\"https://x.example/p?a=1&amp;b=2\">our <i>policy</i></a>.",
                "see our policy (https://x.example/p?a=1&b=2).",
            ),
            ("<a href='https://x.example/'>https://x.example</a>", "https://x.example"),
            ("<a href=\"javascript:alert(1)\">tap</a>", "tap"),
            ("caf&eacute;&nbsp;&#8364;&#x20AC; &unknown; &", "café €€ &unknown; &"),
            (
                "a < b and 2<3, <!-- hidden --><style>p{}</style>shown<script>x</script>",
                "a < b and 2<3, shown",
            ),
            ("<p>unfinished <b", "unfinished <b"),
            ("", ""),
        ] {
            assert_eq!(read(html).text(), text, "{html}");
        }
        let read = read("<h2>Title</h2><p>Body <img src=x></p>");
        assert_eq!((read.blocks[0].heading, read.blocks[1].heading, read.pictures), (true, false, 1));
    }
}
