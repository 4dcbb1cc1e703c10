//! As much of Rust's grammar as it takes to see which paths a file names: comments and texts are left out, `use` trees are
//! taken apart, and a name that a `use` brought in is not taken for a crate.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// Every path with at least two parts, and every `use`, in full.
pub fn paths(text: &str) -> Vec<Vec<String>> {
    let tokens = tokens(text);
    let (mut found, mut inline, mut brought_in) = (Vec::new(), Vec::new(), BTreeSet::new());
    let mut rest = tokens.as_slice();
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        if token == "use" {
            let end = rest.iter().position(|token| token == ";").unwrap_or(rest.len());
            tree(&mut rest[..end].iter().map(String::as_str).peekable(), &[], &mut found, &mut brought_in);
            rest = &rest[end..];
        } else if is_name(token) {
            let mut path = vec![token.clone()];
            while let [colons, name, after @ ..] = rest
                && colons == "::"
                && is_name(name)
            {
                path.push(name.clone());
                rest = after;
            }
            if path.len() > 1 {
                inline.push(path);
            }
        }
    }
    found.extend(
        inline.into_iter().filter(|path| path.first().is_some_and(|head| !brought_in.contains(head))),
    );
    found
}

/// A `use` tree: `a::{b, c::d as e}`.
fn tree<'t>(
    tokens: &mut Peekable<impl Iterator<Item = &'t str>>,
    prefix: &[String],
    found: &mut Vec<Vec<String>>,
    brought_in: &mut BTreeSet<String>,
) {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.next() {
        match token {
            "::" => {}
            "{" => {
                while tokens.peek().is_some_and(|token| *token != "}") {
                    tree(tokens, &path, found, brought_in);
                }
                tokens.next();
                if tokens.peek() == Some(&",") {
                    tokens.next();
                }
                return;
            }
            "as" => {
                brought_in.extend(tokens.next().map(str::to_owned));
            }
            "," => break,
            name => path.push(name.to_owned()),
        }
        if tokens.peek() == Some(&"}") {
            break;
        }
    }
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    // `use aes_gcm;` brings in the crate itself, which is then named as such.
    if path.len() > 1 {
        brought_in.extend(path.last().filter(|last| *last != "*").cloned());
    }
    found.push(path);
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names, `::` and single other characters; comments, texts and lifetimes are left out.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            '/' if rest.peek() == Some(&'/') => while rest.next().is_some_and(|c| c != '\n') {},
            '/' if rest.peek() == Some(&'*') => comment(&mut rest),
            '"' => quoted(&mut rest, '"'),
            '\'' => {
                let mut ahead = rest.clone();
                let second = ahead.next();
                // A lifetime has no closing mark behind its first letter.
                if second == Some('\\') || ahead.next() == Some('\'') {
                    quoted(&mut rest, '\'');
                }
            }
            ':' if rest.peek() == Some(&':') => {
                rest.next();
                tokens.push("::".to_owned());
            }
            first if first.is_alphabetic() || first == '_' => {
                let mut name = first.to_string();
                while let Some(next) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    name.push(next);
                }
                if matches!(name.as_str(), "r" | "br" | "cr") && matches!(rest.peek(), Some('"' | '#')) {
                    raw(&mut rest);
                } else {
                    tokens.push(name);
                }
            }
            other if other.is_whitespace() => {}
            other => tokens.push(other.to_string()),
        }
    }
    tokens
}

fn comment(rest: &mut Peekable<Chars<'_>>) {
    let (mut depth, mut before) = (1, ' ');
    rest.next();
    for next in rest.by_ref() {
        match (before, next) {
            ('/', '*') => (depth, before) = (depth + 1, ' '),
            ('*', '/') => (depth, before) = (depth - 1, ' '),
            _ => before = next,
        }
        if depth == 0 {
            return;
        }
    }
}

fn quoted(rest: &mut Peekable<Chars<'_>>, mark: char) {
    while let Some(next) = rest.next() {
        if next == '\\' {
            rest.next();
        } else if next == mark {
            return;
        }
    }
}

fn raw(rest: &mut Peekable<Chars<'_>>) {
    let mut hashes = 0;
    while rest.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    if rest.next_if_eq(&'"').is_none() {
        return;
    }
    while let Some(next) = rest.next() {
        let mut seen = 0;
        while next == '"' && seen < hashes && rest.next_if_eq(&'#').is_some() {
            seen += 1;
        }
        if next == '"' && seen == hashes {
            return;
        }
    }
}
