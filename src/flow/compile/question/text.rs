//! Texts and patterns: bound to data where they recall something, cut where a property is short.

use serde_json::{Value, json};

use crate::flow::compile::names;
use crate::flow::plan::{DataKey, DataSource};
use crate::form::Template;

/// The value of a text property: the text itself, or a reference to the data key that will hold it.
pub(in crate::flow::compile) fn text(template: &str, max_chars: usize, data: &mut Vec<DataKey>) -> Value {
    // A literal that looks like a reference would be read as one, so it travels as data.
    if Template::parse(template).recalls().next().is_none() && !reads_as_code(template) {
        return json!(cut(template, max_chars));
    }
    let name = format!("t_{}", names::digest(&format!("{max_chars}\0{template}")));
    if data.iter().all(|key| key.name != name) {
        let source = DataSource::Text { template: template.to_owned(), max_chars };
        data.push(DataKey { name: name.clone(), source });
    }
    json!(format!("${{data.{name}}}"))
}

/// Whether a phone would read a reference or an expression in this text.
pub(in crate::flow::compile) fn reads_as_code(text: &str) -> bool {
    text.contains("${") || text.trim_start().starts_with('`')
}

/// A text for places that hold nothing but a fixed text: what a phone would read as code is broken up by a blank of no
/// width, so that people see what was written.
pub(in crate::flow::compile) fn fixed(text: &str) -> String {
    let plain = text.replace("${", "$\u{200b}{");
    if plain.trim_start().starts_with('`') { format!("\u{200b}{}", plain.trim_start()) } else { plain }
}

/// At most `max` characters; what is cut ends in an ellipsis.
pub(in crate::flow::compile) fn cut(text: &str, max: usize) -> String {
    let text = text.trim();
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

pub(super) fn chunks(text: &str, max: usize) -> Vec<String> {
    let chars: Vec<char> = text.trim().chars().collect();
    chars.chunks(max).map(|chunk| chunk.iter().collect::<String>()).filter(|c| !c.trim().is_empty()).collect()
}

/// Whether ECMAScript and crate `regex` read the expression alike: plain ASCII, no escapes but of punctuation, no groups
/// with options, no set operations.
pub(super) fn is_portable(regex: &str) -> bool {
    let escapes_are_plain =
        regex.split('\\').skip(1).all(|rest| rest.starts_with(['.', '-', '+', '(', ')', '/', '?', '*']));
    let special = ["(?", "&&", "--", "~~", "[[", "[]", "[^]"];
    regex.is_ascii()
        && escapes_are_plain
        && !special.iter().any(|s| regex.contains(s))
        && !regex.contains("\\\\")
}
