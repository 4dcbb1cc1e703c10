//! A screen in a terminal: a phone-like box of a given width.

use serde_json::Value;

use super::{ChoiceKind, Footer, Input, InputKind, Rendered, Screen, TextStyle, TextType, plain};

const NARROWEST: usize = 24;

impl Screen {
    /// Draws the screen in a box `width` characters wide (at least 24).
    pub fn to_text(&self, width: usize) -> String {
        let mut page = Page { inner: width.max(NARROWEST) - 4, lines: Vec::new() };
        page.rule('╭', '─', '╮');
        page.wrapped("", &format!("✕  {}", self.title));
        page.rule('├', '─', '┤');
        for component in &self.components {
            page.component(component);
        }
        if let Some(snackbar) = &self.snackbar {
            page.blank();
            page.wrapped("⚠ ", snackbar);
        }
        page.rule('╰', '─', '╯');
        page.lines.join("\n")
    }
}

struct Page {
    inner: usize,
    lines: Vec<String>,
}

impl Page {
    fn rule(&mut self, left: char, middle: char, right: char) {
        let bar = middle.to_string().repeat(self.inner + 2);
        self.lines.push(format!("{left}{bar}{right}"));
    }

    fn blank(&mut self) {
        self.line("");
    }

    fn line(&mut self, text: &str) {
        let padding = " ".repeat(self.inner.saturating_sub(text.chars().count()));
        self.lines.push(format!("│ {text}{padding} │"));
    }

    /// Writes `text` behind `lead`; further lines hang below its first character.
    fn wrapped(&mut self, lead: &str, text: &str) {
        let indent = lead.chars().count();
        let room = self.inner.saturating_sub(indent).max(1);
        let mut lead = lead.to_owned();
        for line in text.lines().flat_map(|line| wrap(line, room)) {
            self.line(&format!("{lead}{line}"));
            lead = " ".repeat(indent);
        }
    }

    fn component(&mut self, component: &Rendered) {
        match component {
            Rendered::Text { style: TextStyle::Heading, text } => self.wrapped("", &text.to_uppercase()),
            Rendered::Text { style: TextStyle::Caption, text } => self.wrapped("  ", text),
            Rendered::Text { text, .. } => self.wrapped("", text),
            Rendered::Input(input) => self.input(input),
            Rendered::Link { text, .. } => self.wrapped("→ ", text),
            Rendered::Image { alt_text } => {
                self.wrapped("▣ ", if alt_text.is_empty() { "image" } else { alt_text })
            }
            Rendered::NavigationList { items, .. } => {
                for item in items {
                    self.wrapped("› ", &item.title);
                }
            }
            Rendered::Footer(footer) => self.footer(footer),
        }
    }

    fn input(&mut self, input: &Input) {
        let value = input.value.as_ref();
        if input.kind == InputKind::OptIn {
            let mark = if value == Some(&Value::Bool(true)) { "☑ " } else { "☐ " };
            self.wrapped(mark, &label(input));
        } else {
            self.wrapped("", &label(input));
            match &input.kind {
                InputKind::Choice { kind: ChoiceKind::Dropdown, options, .. } => {
                    let chosen = options.iter().find(|option| is_chosen(value, &option.id));
                    self.field(chosen.map_or("", |option| option.title.as_str()), "▾");
                }
                InputKind::Choice { kind, options, .. } => {
                    for option in options {
                        let mark = match (kind.is_multiple(), is_chosen(value, &option.id)) {
                            (true, true) => "☑ ",
                            (true, false) => "☐ ",
                            (false, true) => "◉ ",
                            (false, false) => "○ ",
                        };
                        self.wrapped(mark, &option.title);
                        if let Some(description) = &option.description {
                            self.wrapped("    ", description);
                        }
                    }
                }
                InputKind::Media { .. } => {
                    let files = value.and_then(Value::as_array).map_or(0, Vec::len);
                    self.field(&format!("{files} file(s)"), "⇪");
                }
                InputKind::Date { .. } => self.field(&value.map(plain).unwrap_or_default(), "▦"),
                InputKind::DateRange { .. } => {
                    let end = |name| value.and_then(|value| value.get(name)).map(plain).unwrap_or_default();
                    self.field(&format!("{} – {}", end("start-date"), end("end-date")), "▦");
                }
                InputKind::Text { text_type: TextType::Password | TextType::Passcode, .. } => {
                    self.field(&"•".repeat(value.map_or(0, |value| plain(value).chars().count())), "");
                }
                _ => self.field(&value.map(plain).unwrap_or_default(), ""),
            }
        }
        if let Some(hint) = &input.hint {
            self.wrapped("  ", hint);
        }
        if let Some(error) = &input.error {
            self.wrapped("⚠ ", error);
        }
        self.blank();
    }

    /// A one-line field; what does not fit is cut.
    fn field(&mut self, text: &str, sign: &str) {
        let room = self.inner.saturating_sub(3 + sign.chars().count());
        let flat = text.replace(['\n', '\r'], " ");
        let mut shown: String = flat.chars().take(room).collect();
        if flat.chars().count() > room {
            shown.pop();
            shown.push('…');
        }
        let filling = "_".repeat(room.saturating_sub(shown.chars().count()));
        self.line(&format!("[{shown}{filling} {sign}]"));
    }

    fn footer(&mut self, footer: &Footer) {
        self.rule('├', '─', '┤');
        if !footer.captions.is_empty() {
            self.wrapped("", &footer.captions.join("  ·  "));
        }
        let label =
            if footer.enabled { format!("[ {} ]", footer.label) } else { format!("( {} )", footer.label) };
        let lead = " ".repeat(self.inner.saturating_sub(label.chars().count()) / 2);
        self.wrapped(&lead, &label);
    }
}

fn label(input: &Input) -> String {
    match (&input.label, input.required) {
        (label, true) => label.clone(),
        (label, false) if label.is_empty() => String::from("(optional)"),
        (label, false) => format!("{label} (optional)"),
    }
}

fn is_chosen(value: Option<&Value>, id: &str) -> bool {
    match value {
        Some(Value::Array(ids)) => ids.iter().any(|chosen| chosen == id),
        other => other.is_some_and(|chosen| chosen == id),
    }
}

/// Breaks a line at blanks; a word longer than a line is cut.
fn wrap(line: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in line.split_whitespace() {
        let characters: Vec<char> = word.chars().collect();
        for piece in characters.chunks(room) {
            let used = lines.last().map_or(0, |line| line.chars().count());
            if used > 0 && used + 1 + piece.len() > room {
                lines.push(String::new());
            }
            if let Some(last) = lines.last_mut() {
                if !last.is_empty() {
                    last.push(' ');
                }
                last.extend(piece);
            }
        }
    }
    lines
}
