//! Typeform's texts as plain texts: recalls in our words, emphasis taken off.

use std::sync::LazyLock;

use regex::Regex;

use super::Reader;

static LINK: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\[([^\]\n]+)\]\((https?://[^)\s]+)\)").expect("a constant expression that the tests use")
});

impl Reader<'_> {
    /// `source` without markup, its recalls as [`Template`](crate::form::Template) reads them. A recall of something that
    /// is not in the form is taken out and noted.
    pub(super) fn plain(&mut self, at: &str, title: &str, source: &str) -> String {
        let linked = LINK.replace_all(source, "$1 ($2)");
        let unmarked = unmark(&linked);
        let mut plain = String::new();
        let mut rest = unmarked.as_str();
        while let Some((before, after)) = rest.split_once("{{") {
            plain.push_str(before);
            let inside = after.split_once("}}").and_then(|(inside, tail)| {
                let (kind, name) = inside.split_once(':')?;
                matches!(kind.trim(), "field" | "hidden" | "var" | "answer" | "variable").then_some((
                    kind.trim(),
                    name.trim(),
                    tail,
                ))
            });
            let Some((kind, name, tail)) = inside else {
                plain.push_str("{{");
                rest = after;
                continue;
            };
            rest = tail;
            let recall = match kind {
                "field" => self.answers.get(name).map(|key| format!("{{{{answer:{key}}}}}")),
                "hidden" => self.hidden.contains(&name).then(|| format!("{{{{hidden:{name}}}}}")),
                "var" => self.variables.contains_key(name).then(|| format!("{{{{variable:{name}}}}}")),
                // Not Typeform's words: such a text is meant to the letter.
                _ => Some(format!("{{ {{{kind}:{name}}}}}")),
            };
            match recall {
                Some(recall) => plain.push_str(&recall),
                None => {
                    let what = format!("its text recalls “{kind}:{name}”, which is not in the form");
                    self.lost(at.to_owned(), title, &what);
                }
            }
        }
        plain.push_str(rest);
        plain.trim().to_owned()
    }
}

/// Takes `*bold*` and `_italic_` off, where the marks embrace words; a mark within a word, a recall or an address stays.
fn unmark(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let opaque = opaque(&chars);
    let at = |index: usize| chars.get(index).copied();
    let mut dropped = vec![false; chars.len()];
    let mut index = 0;
    while let Some(mark) = at(index) {
        let free = matches!(mark, '*' | '_') && !opaque[index];
        let before = index.checked_sub(1).and_then(at);
        let opens = free
            && before.is_none_or(|c| !c.is_alphanumeric() && c != mark)
            && at(index + 1).is_some_and(|c| !c.is_whitespace() && c != mark);
        let close = (index + 2..chars.len())
            .take_while(|&end| chars[end] != '\n')
            .find(|&end| {
                chars[end] == mark
                    && !opaque[end]
                    && !chars[end - 1].is_whitespace()
                    && at(end + 1).is_none_or(|c| !c.is_alphanumeric() && c != mark)
            })
            .filter(|_| opens);
        if let Some(close) = close {
            dropped[index] = true;
            dropped[close] = true;
        }
        index += 1;
    }
    chars.into_iter().zip(dropped).filter(|(_, dropped)| !dropped).map(|(c, _)| c).collect()
}

/// Which characters belong to a recall or to an address.
fn opaque(chars: &[char]) -> Vec<bool> {
    let mut opaque = vec![false; chars.len()];
    let mut recall = false;
    for (index, opaque) in opaque.iter_mut().enumerate() {
        let two = chars.get(index..index + 2);
        recall |= two == Some(&['{', '{']);
        *opaque = recall;
        if index > 0 && chars.get(index - 1..=index) == Some(&['}', '}']) {
            recall = false;
        }
    }
    let mut start = 0;
    for end in 0..=chars.len() {
        if chars.get(end).is_none_or(|c| c.is_whitespace()) {
            let word: String = chars[start..end].iter().collect();
            if word.contains("://") {
                opaque[start..end].fill(true);
            }
            start = end + 1;
        }
    }
    opaque
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emphasis_is_taken_off_and_other_stars_stay() {
        for (source, plain) in [
            ("*bold* and _italic_, *both _of_ them*", "bold and italic, both of them"),
            ("now *create your own* — it's free", "now create your own — it's free"),
            ("2*3*4 and snake_case_name", "2*3*4 and snake_case_name"),
            ("Name: ____ * required", "Name: ____ * required"),
            ("*{{field:a_b_c}}*, hello", "{{field:a_b_c}}, hello"),
            ("https://example.com/_a_ stays", "https://example.com/_a_ stays"),
            ("*not\nover lines*", "*not\nover lines*"),
            ("_Capriccio_is", "_Capriccio_is"),
            ("", ""),
            ("*", "*"),
        ] {
            assert_eq!(unmark(source), plain);
        }
        assert_eq!(
            LINK.replace_all("see [our site](https://example.com/a_b) now", "$1 ($2)"),
            "see our site (https://example.com/a_b) now"
        );
    }
}
