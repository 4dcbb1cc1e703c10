//! The compiler: a form becomes a Flow JSON document, a plan for the handlers and a fidelity report.
//!
//! Invariants: pure and deterministic; the document breaks no rule of the validator; nothing of the form is missing from
//! the document without being named in the report.
//!
//! What it deliberately does not do: it never decides on branching. The document offers every screen that may follow, the
//! handlers choose.

mod document;
mod front;
mod graph;
mod names;
mod question;
mod rules;
mod screens;

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use self::document::{Page, with};
use self::front::Longest;
use self::graph::Follower;
use super::limits::Version;
use super::plan::{Content, DataApi, ENTRY, Entry, Plan, ScreenPlan};
use super::report::{Enforced, Grade, Item, Report};
use super::validate::{Severity, Violation, validate};
use super::words::Words;
use crate::form::{Fault, Form, Kind, Position, Question, Walker};

/// Most screens of a flow (WhatsApp Flows reference, 4.2).
const MAX_SCREENS: usize = 100;
/// Largest sealed state (design decision 2).
const MAX_STATE: usize = 256 * 1024;

/// How questions are spread over screens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The source's pages, at most about six inputs on a screen.
    #[default]
    Grouped,
    /// One question a screen.
    OneQuestion,
}

/// What the owner of the flow decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Number of this version of the flow.
    pub version: u32,
    /// Flow JSON version; 6.2 at least.
    pub flow_json: Version,
    /// Data exchange protocol; 4.0 needs Flow JSON 7.3.
    pub data_api: DataApi,
    /// How questions are spread.
    pub mode: Mode,
    /// How the flow opens.
    pub entry: Entry,
    /// Language of the flow, among the form's; the form's own when absent.
    pub locale: Option<String>,
    /// Country of phone numbers without a prefix, for forms that name none.
    pub default_country: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            version: 1,
            flow_json: Version::new(7, 3),
            data_api: DataApi::V4,
            mode: Mode::Grouped,
            entry: Entry::Exchange,
            locale: None,
            default_country: None,
        }
    }
}

/// What comes out.
#[derive(Debug, Clone, PartialEq)]
pub struct Compiled {
    /// The Flow JSON document.
    pub document: Value,
    /// What the handlers need.
    pub plan: Plan,
    /// How faithful it is.
    pub report: Report,
}

/// Why a form cannot become a flow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The form is not sound.
    #[error("the form has faults:\n{}", list(.0))]
    Form(Vec<Fault>),
    /// No texts in the language asked for.
    #[error("the form has no texts in “{0}”; add a translation or choose one of: {1}")]
    Language(String, String),
    /// Versions that do not go together.
    #[error("data API 4.0 needs Flow JSON 7.3 or later; choose data API 3.0 for {0}")]
    DataApi(Version),
    /// Too old.
    #[error("Flow JSON {0} is too old for what Formgate uses; choose 6.2 or later")]
    TooOld(Version),
    /// More than WhatsApp shows.
    #[error("the form needs {0} screens and a flow has at most {MAX_SCREENS}; {1}")]
    TooManyScreens(usize, &'static str),
    /// More than the state carries.
    #[error(
        "the answers of this form may take {0} bytes and a flow carries at most {MAX_STATE}; limit the length of its long texts"
    )]
    StateTooLarge(usize),
    /// Our own mistake: Meta would refuse the document.
    #[error("the compiled flow breaks Meta's rules, which is a fault of Formgate; please report it:\n{}", list(.0))]
    Invalid(Vec<Violation>),
}

fn list(items: &[impl std::fmt::Display]) -> String {
    items.iter().map(|item| format!("  {item}")).collect::<Vec<_>>().join("\n")
}

/// Compiles `form`.
///
/// # Errors
/// [`Error`] says what the owner of the form can do about it.
pub fn compile(form: &Form, settings: &Settings) -> Result<Compiled, Error> {
    let faults = form.check();
    if !faults.is_empty() {
        return Err(Error::Form(faults));
    }
    if settings.flow_json < Version::new(6, 2) {
        return Err(Error::TooOld(settings.flow_json));
    }
    if settings.data_api == DataApi::V4 && settings.flow_json < Version::new(7, 3) {
        return Err(Error::DataApi(settings.flow_json));
    }
    let mut form = match &settings.locale {
        Some(locale) => form.localized(locale).ok_or_else(|| {
            let known: Vec<&str> = std::iter::once(form.locale.as_str())
                .chain(form.translations.keys().map(String::as_str))
                .collect();
            Error::Language(locale.clone(), known.join(", "))
        })?,
        None => form.clone(),
    };
    form.translations.clear();
    if form.default_country.is_none() {
        form.default_country.clone_from(&settings.default_country);
    }
    let mut compiler = Compiler::new(form, settings);
    compiler.limit_texts();
    compiler.compile()
}

struct Compiler<'s> {
    form: Form,
    walker: Walker,
    settings: &'s Settings,
    words: &'static Words,
    advice: Vec<String>,
    blockers: Vec<String>,
}

/// A node of the routing graph.
enum Node {
    Cover,
    Intro,
    Questions(usize),
    Ending(Option<usize>),
}

impl<'s> Compiler<'s> {
    fn new(form: Form, settings: &'s Settings) -> Compiler<'s> {
        let walker = Walker::new(&form);
        let words = Words::of(&form.locale);
        Compiler { form, walker, settings, words, advice: Vec::new(), blockers: Vec::new() }
    }

    /// A text without a limit of its own gets one, so that the largest state stays sealed within its bound and phone and
    /// server agree on it.
    fn limit_texts(&mut self) {
        let texts =
            |form: &Form| form.questions().filter(|(_, q)| matches!(q.kind, Kind::LongText(_))).count();
        let share = (MAX_STATE / 2 / 4 / texts(&self.form).max(1)).clamp(300, 2_000);
        let share = u32::try_from(share).unwrap_or(300);
        for page in &mut self.form.pages {
            for question in &mut page.questions {
                let (limits, most) = match &mut question.kind {
                    Kind::ShortText(limits) => (limits, 250),
                    Kind::LongText(limits) => (limits, share),
                    _ => continue,
                };
                if limits.max_length.is_none() {
                    limits.max_length = Some(most.max(limits.min_length.unwrap_or(0)));
                    if matches!(question.kind, Kind::LongText(_)) {
                        self.advice.push(format!(
                            "“{}” takes at most {most} characters",
                            question::cut(&question.title, 60)
                        ));
                    }
                }
            }
        }
    }

    fn compile(mut self) -> Result<Compiled, Error> {
        let mut drafts = screens::draft(&self.form, &self.walker, self.settings, self.words);
        let mut screen_of: Vec<usize> = vec![0; self.walker.len()];
        for (index, draft) in drafts.screens.iter().enumerate().rev() {
            for block in &draft.blocks {
                screen_of[block.position] = index;
            }
        }
        let (nodes, wanted) = self.graph(&drafts.screens, &screen_of);
        let goes_on = |node: usize| match nodes.get(node) {
            Some(Node::Questions(draft)) => {
                drafts.screens[*draft].blocks.last().is_some_and(|block| !block.last)
            }
            _ => false,
        };
        let routing = graph::route(&wanted, goes_on);
        if routing.order.len() > MAX_SCREENS {
            let hint = match self.settings.mode {
                Mode::OneQuestion => "let questions share screens (mode “grouped”)",
                Mode::Grouped => "split the form, or shorten its rankings and matrices",
            };
            return Err(Error::TooManyScreens(routing.order.len(), hint));
        }
        // The state is sealed (16 bytes and the key's name more) and carried as base64.
        let hidden: usize = self.form.hidden.iter().map(|h| h.key.len() + 256).sum();
        let state_bytes = (drafts.bytes + hidden + 4 * self.walker.len() + 256) * 4 / 3;
        if state_bytes > MAX_STATE {
            return Err(Error::StateTooLarge(state_bytes));
        }
        for &node in &routing.too_wide {
            self.blockers.push(format!(
                "screen {node} can lead to more screens than WhatsApp allows, even with relays"
            ));
        }

        // Plan order is source order; unreachable screens are left out, relays come last.
        let total = routing.edges.len();
        let reachable: BTreeSet<usize> = routing.order.iter().copied().collect();
        let mut place = vec![usize::MAX; total];
        for (index, &node) in reachable.iter().enumerate() {
            place[node] = index;
        }
        let ids = self.ids(&nodes, total);
        let mut contents = Vec::with_capacity(total);
        for node in 0..total {
            contents.push(match nodes.get(node) {
                Some(Node::Cover) => Content::Cover,
                Some(Node::Intro) => Content::Intro,
                Some(Node::Questions(draft)) => Content::Questions(drafts.screens[*draft].blocks.clone()),
                Some(Node::Ending(ending)) => Content::Ending(*ending),
                None => Content::Relay,
            });
        }
        let is_terminal = |node: usize| {
            matches!(nodes.get(node), Some(Node::Ending(_)))
                || (matches!(nodes.get(node), Some(Node::Questions(_))) && wanted[node].is_empty())
        };

        let mut plans = Vec::with_capacity(reachable.len());
        let mut pages = vec![Value::Null; total];
        let mut longest = Longest::default();
        for &node in &reachable {
            let mut data = match nodes.get(node) {
                Some(Node::Questions(draft)) => drafts.screens[*draft].data.clone(),
                _ => Vec::new(),
            };
            let mut components = Vec::new();
            let draft = match nodes.get(node) {
                Some(Node::Questions(draft)) => {
                    components = std::mem::take(&mut drafts.screens[*draft].components);
                    Some(&drafts.screens[*draft])
                }
                _ => None,
            };
            let (title, intro) = self.front(node, nodes.get(node), draft.map(|d| d.page), &mut data);
            longest.cost(node, 3 + draft.map_or(0, |d| d.seconds));
            pages[node] = Page {
                id: &ids[node],
                title: &title,
                intro,
                components,
                content: &contents[node],
                data: &data,
                sensitive: draft.map_or(&[], |d| &d.sensitive),
                terminal: is_terminal(node),
                // A relay is no entry of `wanted`.
                closes: wanted.get(node).is_some_and(|to| {
                    !to.is_empty() && to.iter().all(|to| matches!(nodes.get(*to), Some(Node::Ending(_))))
                }),
                version: self.settings.version,
                words: self.words,
            }
            .write();
            plans.push(ScreenPlan {
                id: ids[node].clone(),
                content: contents[node].clone(),
                data,
                routes: routing.routes[node].iter().map(|&to| place[to]).collect(),
                via: routing.via[node].iter().map(|&(to, relay)| (place[to], place[relay])).collect(),
                terminal: is_terminal(node),
            });
        }
        let (longest_walk, seconds) = longest.walk(&routing.order, &routing.edges);
        let routing_model: Map<String, Value> = routing
            .order
            .iter()
            .map(|&node| (ids[node].clone(), routing.edges[node].iter().map(|&to| json!(ids[to])).collect()))
            .collect();
        let document = json!({
            "version": self.settings.flow_json.to_string(),
            "data_api_version": match self.settings.data_api { DataApi::V3 => "3.0", DataApi::V4 => "4.0" },
        });
        let document = with(document, "routing_model", Value::Object(routing_model));
        let written = routing.order.iter().map(|&node| std::mem::take(&mut pages[node])).collect();
        let document = with(document, "screens", Value::Array(written));
        let violations: Vec<Violation> =
            validate(&document).into_iter().filter(|v| v.severity == Severity::Error).collect();
        if !violations.is_empty() {
            return Err(Error::Invalid(violations));
        }

        let mut items = drafts.items;
        items.extend(rules::items(&self.form, &self.walker));
        for (index, draft) in drafts.screens.iter().enumerate() {
            let node = nodes.iter().position(|n| matches!(n, Node::Questions(d) if *d == index));
            if node.is_some_and(|node| !reachable.contains(&node)) {
                for block in &draft.blocks {
                    unreachable(&mut items, self.walker.question(&self.form, block.position));
                }
            }
        }
        for (_, question) in self.form.questions() {
            let dropped = matches!(question.kind, Kind::Unsupported { .. });
            if dropped && question.required {
                self.blockers.push(format!(
                    "“{}” must be answered and cannot be asked in WhatsApp: make it optional or remove it from the form",
                    question::cut(&question.title, 80)
                ));
            }
        }
        if longest_walk > 8 {
            self.advice.push(
                "people tend to give up after five screens; a shorter form is finished more often".to_owned(),
            );
        }
        let report = Report {
            title: self.form.title.clone(),
            grade: items.iter().map(|item| item.grade).max().unwrap_or(Grade::Exact),
            screens: routing.order.len(),
            longest_walk,
            seconds,
            state_bytes,
            blockers: self.blockers,
            advice: self.advice,
            items,
        };
        let plan = Plan {
            form: self.form,
            version: self.settings.version,
            data_api: self.settings.data_api,
            entry: self.settings.entry,
            screens: plans,
        };
        Ok(Compiled { document, plan, report })
    }

    /// All nodes, the entry first, and what each may lead to.
    fn graph(&self, drafts: &[screens::Draft], screen_of: &[usize]) -> (Vec<Node>, Vec<BTreeSet<usize>>) {
        let first = graph::first(&self.form, &self.walker);
        let mut nodes = Vec::new();
        if self.settings.entry == Entry::Static {
            nodes.push(Node::Cover);
        } else if first.len() != 1 || !matches!(first.first(), Some(Follower::Question(0))) {
            nodes.push(Node::Intro);
        } else if self.leads_back_to_the_start(drafts) {
            // The entry may have no edge towards it, and a loop through it needs none, but its id must stay free.
            nodes.push(Node::Intro);
        }
        let front = nodes.len();
        nodes.extend((0..drafts.len()).map(Node::Questions));
        let mut followers: Vec<BTreeSet<Follower>> = Vec::new();
        if front == 1 {
            followers.push(first);
        }
        for (index, draft) in drafts.iter().enumerate() {
            followers.push(match draft.blocks.last() {
                Some(block) if !block.last => {
                    let question = self.walker.question(&self.form, block.position);
                    let may_skip = !question.required
                        && matches!(question.kind, Kind::Ranking { .. } | Kind::SingleChoice(_));
                    let mut set = BTreeSet::from([Follower::Question(usize::MAX - index)]);
                    if may_skip {
                        set.extend(graph::followers(&self.form, &self.walker, block.position));
                    }
                    set
                }
                _ => draft
                    .blocks
                    .iter()
                    .flat_map(|block| graph::followers(&self.form, &self.walker, block.position))
                    .collect(),
            });
        }
        // An ending has a screen of its own where it has something to say, or where the form may also go on.
        let mut endings: BTreeSet<Option<usize>> = BTreeSet::new();
        for (node, set) in followers.iter().enumerate() {
            let goes_on = node < front
                || set.iter().any(|f| self.node_of(*f, node, front, screen_of).is_some_and(|to| to != node));
            for follower in set {
                if let Follower::Ending(ending) = follower
                    && (ending.is_some() || goes_on)
                {
                    endings.insert(*ending);
                }
            }
        }
        let ending_base = nodes.len();
        let order: Vec<Option<usize>> = endings.into_iter().collect();
        nodes.extend(order.iter().map(|ending| Node::Ending(*ending)));
        let mut wanted: Vec<BTreeSet<usize>> = followers
            .iter()
            .enumerate()
            .map(|(node, set)| {
                set.iter()
                    .filter_map(|follower| match follower {
                        Follower::Ending(ending) => {
                            order.iter().position(|known| known == ending).map(|index| ending_base + index)
                        }
                        question => self.node_of(*question, node, front, screen_of),
                    })
                    .filter(|to| *to != node)
                    .collect()
            })
            .collect();
        wanted.resize(nodes.len(), BTreeSet::new());
        (nodes, wanted)
    }

    /// Whether some jump leads to the very first screen, which must stay without an edge towards it.
    fn leads_back_to_the_start(&self, drafts: &[screens::Draft]) -> bool {
        let here: BTreeSet<Position> =
            drafts.first().map(|d| d.blocks.iter().map(|b| b.position).collect()).unwrap_or_default();
        (0..self.walker.len()).filter(|p| !here.contains(p)).any(|p| {
            graph::followers(&self.form, &self.walker, p)
                .iter()
                .any(|f| matches!(f, Follower::Question(q) if here.contains(q)))
        })
    }

    fn node_of(&self, follower: Follower, node: usize, front: usize, screen_of: &[usize]) -> Option<usize> {
        match follower {
            Follower::Question(position) => {
                // A question that goes on leads to the next screen.
                let screen = screen_of.get(position).copied();
                Some(screen.map_or(node + 1, |screen| screen + front))
            }
            Follower::Ending(_) => None,
        }
    }

    fn ids(&self, nodes: &[Node], total: usize) -> Vec<String> {
        let (mut screens, mut relays) = (0, 0);
        (0..total)
            .map(|node| match nodes.get(node) {
                _ if node == 0 => ENTRY.to_owned(),
                Some(Node::Ending(ending)) => names::screen("ENDING", ending.map_or(0, |e| e + 1)),
                Some(_) => {
                    screens += 1;
                    names::screen("SCREEN", screens - 1)
                }
                None => {
                    relays += 1;
                    names::screen("RELAY", relays - 1)
                }
            })
            .collect()
    }
}

fn unreachable(items: &mut [Item], question: &Question) {
    let at = format!("question.{}", question.key);
    for item in items.iter_mut().filter(|item| item.at == at) {
        item.grade = Grade::Exact;
        item.enforced = Enforced::Nowhere;
        item.part = question::alone(question);
        "no path of the form leads here, so it is never asked".clone_into(&mut item.reason);
    }
}
