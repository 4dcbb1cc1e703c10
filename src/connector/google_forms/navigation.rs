//! Sections as pages, and where they lead.
//!
//! Google decides when a whole section is left: of all answered options that lead somewhere, the last one wins, then the
//! section's own target, then the next section; on the last section nothing leads anywhere (Apps Script,
//! `MultipleChoiceItem.createChoice` and `PageBreakItem.setGoToPage`). Rules of a page do the same: the first jump whose
//! condition holds wins, so the questions stand in reverse order and the section's own target comes last.

use super::build::Builder;
use super::source::Goto;
use crate::form::{Condition, Page, Rule, RuleEffect, Target};

/// A section that is being filled.
pub(super) struct Section {
    /// The id of its page break; the first section has none.
    pub id: Option<String>,
    /// A page without questions shows nothing and is passed through.
    pub page: Page,
    /// Options that lead somewhere, of each question of the section.
    pub ways: Vec<Ways>,
    /// Where it leads when no option says so.
    pub target: Option<Goto>,
}

/// The options of one question that lead somewhere.
pub(super) struct Ways {
    pub key: String,
    pub title: String,
    pub list: Vec<Way>,
}

pub(super) struct Way {
    /// The place of the option.
    pub number: usize,
    pub when: Condition,
    pub goto: Goto,
}

impl Builder {
    /// The pages of the sections, each with the rules that lead on from it.
    pub(super) fn navigate(&mut self, sections: Vec<Section>) -> Vec<Page> {
        let mut rules: Vec<Vec<Rule>> = Vec::new();
        for (index, section) in sections.iter().enumerate() {
            rules.push(if index + 1 == sections.len() {
                self.without_effect(section);
                Vec::new()
            } else {
                self.rules(&sections, index)
            });
        }
        let pages = sections.into_iter().zip(rules);
        pages
            .map(|(section, rules)| Page { rules, ..section.page })
            .filter(|page| !page.questions.is_empty())
            .collect()
    }

    /// On the last section nothing leads anywhere.
    fn without_effect(&mut self, section: &Section) {
        for ways in &section.ways {
            if ways.list.iter().any(|way| !matches!(way.goto, Goto::Next | Goto::Submit)) {
                let what = "its options lead elsewhere, which has no effect on the last section of a Google form: the form ends there";
                self.changed(&format!("question.{}", ways.key), &ways.title, what);
            }
        }
    }

    fn rules(&mut self, sections: &[Section], index: usize) -> Vec<Rule> {
        let section = &sections[index];
        let mut rules = Vec::new();
        for ways in section.ways.iter().rev() {
            for way in &ways.list {
                match target(sections, index, &way.goto) {
                    Ok(target) => {
                        rules.push(Rule { when: Some(way.when.clone()), effect: RuleEffect::Jump(target) });
                    }
                    Err(why) => {
                        let at = format!("question.{}.rule.{}", ways.key, way.number);
                        self.lost(&at, &ways.title, &format!("this rule is not carried: {why}"));
                    }
                }
            }
        }
        if let Some(goto) = &section.target {
            let (id, title) = (&section.page.id, section.page.title.as_deref().unwrap_or_default());
            match target(sections, index, goto) {
                Ok(_) if *goto == Goto::Next => {}
                Ok(target) => rules.push(Rule { when: None, effect: RuleEffect::Jump(target) }),
                Err(why) => {
                    self.lost(&format!("page.{id}"), title, &format!("where it leads is not carried: {why}"))
                }
            }
        }
        // Where everything leads to the next section, source order says the same.
        let onward = target(sections, index, &Goto::Next).ok().map(RuleEffect::Jump);
        if rules.iter().all(|rule| Some(&rule.effect) == onward.as_ref()) { Vec::new() } else { rules }
    }
}

/// Where `goto` leads from the section at `index`.
fn target(sections: &[Section], index: usize, goto: &Goto) -> Result<Target, String> {
    Ok(match goto {
        Goto::Next => landing(sections, index + 1),
        Goto::Restart => landing(sections, 0),
        Goto::Submit => Target::End,
        Goto::Section(id) => match place(sections, id) {
            Some(place) => landing(sections, place),
            None => return Err(format!("it leads to the section “{id}”, which is not in the form")),
        },
        Goto::Unknown(name) => return Err(format!("it leads to “{name}”, which is not known")),
    })
}

fn place(sections: &[Section], id: &str) -> Option<usize> {
    sections.iter().position(|section| section.id.as_deref() == Some(id))
}

/// What is shown first from the section at `index` on: a section with nothing to show is passed through.
fn landing(sections: &[Section], index: usize) -> Target {
    let mut index = index;
    for _ in 0..=sections.len() {
        let Some(section) = sections.get(index) else { break };
        if !section.page.questions.is_empty() {
            return Target::Page(section.page.id.clone());
        }
        index = match &section.target {
            Some(Goto::Submit) => break,
            Some(Goto::Restart) => 0,
            Some(Goto::Section(id)) => place(sections, id).unwrap_or(index + 1),
            None | Some(Goto::Next | Goto::Unknown(_)) => index + 1,
        };
    }
    Target::End
}
