//! What may stand where, and how many.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Code;
use super::document::{Flow, Node, Object, Parent, Screen};
use super::report::{Path, Report};
use crate::flow::limits::{self, Kind, Version};

pub(super) fn check(flow: &Flow<'_>, report: &mut Report) {
    let mut in_flow: BTreeMap<&str, usize> = BTreeMap::new();
    for screen in &flow.screens {
        counts(flow, screen, report);
        for node in &screen.nodes {
            *in_flow.entry(node.type_name).or_default() += 1;
            placed(flow, node, report);
        }
        alone(flow, screen, report);
        forms(flow, screen, report);
        footers(screen, report);
    }
    for (type_name, max) in &limits::table().global.per_flow {
        let count = in_flow.get(type_name.as_str()).copied().unwrap_or_default();
        if count > *max {
            let message =
                format!("A flow may have at most {max} {type_name}, this one has {count}: remove some.");
            report.error(Code::ComponentTypeMaxNumberPerScreen, "screens", message);
        }
    }
}

fn counts(flow: &Flow<'_>, screen: &Screen<'_>, report: &mut Report) {
    let global = &limits::table().global;
    let path = Path::At(&screen.path);
    let of = |type_name: &str| screen.nodes.iter().filter(|node| node.type_name == type_name).count();
    // The Form itself does not count, what is in it does.
    let all = screen.nodes.len() - of("Form");
    if all > global.components_per_screen {
        let most = global.components_per_screen;
        let message =
            format!("A screen may have at most {most} components, this one has {all}: split the screen.");
        report.error(Code::MaxAllowedComponentsPerScreen, path, message);
    }
    for (type_name, max) in &global.per_screen {
        // Footers in alternative branches count as one; they have their own rule.
        let max = max.at(flow.version);
        let count = of(type_name);
        let code = match type_name.as_str() {
            "Footer" => continue,
            "EmbeddedLink" => Code::MaxEmbeddedLinkPerScreen,
            "Image" => Code::MaxImagePerScreen,
            "OptIn" => Code::MaxOptInPerScreen,
            _ => Code::ComponentTypeMaxNumberPerScreen,
        };
        if count > max {
            let message = format!(
                "A screen may have at most {max} {type_name}, this one has {count}: move some to another."
            );
            report.error(code, path, message);
        }
    }
    for (one, other) in global.exclusive_on_screen.iter().filter(|(one, other)| of(one) > 0 && of(other) > 0)
    {
        let message = format!("{one} and {other} may not share a screen: move one to another screen.");
        report.error(Code::ComponentTypeMaxNumberPerScreen, path, message);
    }
}

/// Whether the container takes this component.
fn placed(flow: &Flow<'_>, node: &Node<'_>, report: &mut Report) {
    if node.type_name == "If" && node.ifs >= limits::table().global.if_nesting {
        let most = limits::table().global.if_nesting;
        let message = format!("If may stand in If {most} levels deep: join the conditions with &&.");
        report.error(Code::MaximumIfNesting, &node.path, message);
    }
    let limits = node.limits;
    let (allowed, container) = match node.parent {
        Parent::Screen => return,
        Parent::Form => (limits.in_form, "a Form"),
        Parent::If => (limits.in_if, "an If"),
        Parent::Switch => (limits.in_switch, "a Switch"),
    };
    if !allowed.allows(flow.version) {
        let name = node.type_name;
        let code =
            if name == "RichText" { Code::InvalidRichtextPlacement } else { Code::InvalidComponentPlacement };
        let message =
            format!("{name} may not stand in {container} in Flow JSON {}: move it out.", flow.version);
        report.error(code, &node.path, message);
    } else if node.type_name == "Footer" && node.ifs > 1 {
        let message = "A Footer may stand only in the first level of If: move it out of the inner one.";
        report.error(Code::InvalidComponentPlacement, &node.path, message);
    }
}

/// Components that want a screen to themselves.
fn alone(flow: &Flow<'_>, screen: &Screen<'_>, report: &mut Report) {
    let find = |type_name: &str| screen.nodes.iter().find(|node| node.type_name == type_name);
    if let Some(text) = find("RichText").filter(|text| text.parent == Parent::Screen) {
        let footer_allowed = flow.version >= Version::new(6, 3);
        let texts = screen.nodes.iter().filter(|node| node.type_name == "RichText").count();
        let stranger = screen
            .nodes
            .iter()
            .any(|node| node.type_name != "RichText" && !(footer_allowed && node.type_name == "Footer"));
        if stranger || texts > 1 {
            let message = "RichText must be the only component of its screen, from Flow JSON 6.3 with a Footer: move the rest.";
            report.error(Code::InvalidRichtextPlacement, &text.path, message);
        }
    }
    if let Some(list) = find("NavigationList") {
        if screen.nodes.iter().any(|node| !matches!(node.type_name, "NavigationList" | "Form")) {
            let message =
                "A screen with a NavigationList may have nothing else: move the rest to another screen.";
            report.error(Code::InvalidComponentPlacement, &list.path, message);
        }
        if screen.terminal {
            let message = "A NavigationList may not stand on a terminal screen: it leads to another screen.";
            report.error(Code::InvalidComponentPlacement, &list.path, message);
        }
    }
}

/// Inputs stand in the Form if there is one; before 4.0 there must be one.
fn forms(flow: &Flow<'_>, screen: &Screen<'_>, report: &mut Report) {
    let has_form = screen.nodes.iter().any(|node| node.type_name == "Form");
    let required = flow.version < Version::new(4, 0);
    for node in screen.nodes.iter().filter(|node| node.limits.kind == Kind::Input && node.form.is_none()) {
        let name = node.type_name;
        if required {
            let message = format!(
                "Before Flow JSON 4.0 {name} must stand in a Form: move it there or raise the version."
            );
            report.error(Code::KeywordOneOf, &node.path, message);
        } else if has_form {
            let message =
                format!("{name} may not stand outside the Form of its screen: move it into the Form.");
            report.error(Code::ComponentsOutsideForm, &node.path, message);
        }
    }
}

/// One Footer whichever branch is shown.
fn footers(screen: &Screen<'_>, report: &mut Report) {
    let children = screen.map.get("layout").and_then(|layout| layout.get("children"));
    let path = Path::At(&screen.path);
    let layout = path.key("layout");
    let at = layout.key("children");
    let shown = shown_in(children, &at, report);
    let plain = screen
        .nodes
        .iter()
        .filter(|node| node.type_name == "Footer" && matches!(node.parent, Parent::Screen | Parent::Form))
        .count();
    if shown > 1 {
        let (code, message) = if plain > 1 {
            (
                Code::MaxFooterPerScreen,
                format!("A screen may have one Footer, this one has {plain}: keep one."),
            )
        } else {
            let message = "The screen would show more than one Footer, branches counted: keep one per branch or one outside.";
            (Code::MoreThanOneFooter, message.to_owned())
        };
        report.error(code, path, message);
    }
    if screen.terminal && shown == 0 {
        let message =
            "A terminal screen needs a Footer to end the flow: add one with complete or data_exchange.";
        report.error(Code::MissingFooterOnTerminalScreen, path, message);
    }
}

/// The most Footers that can be seen at once. Depth was checked before.
fn shown_in(children: Option<&Value>, path: &Path<'_>, report: &mut Report) -> usize {
    let mut shown = 0;
    for (index, child) in children.and_then(Value::as_array).into_iter().flatten().enumerate() {
        let Value::Object(map) = child else { continue };
        let path = path.index(index);
        shown += match map.get("type").and_then(Value::as_str) {
            Some("Footer") => 1,
            Some("Form") => shown_in(map.get("children"), &path.key("children"), report),
            Some("If") => shown_in_if(map, &path, report),
            Some("Switch") => shown_in_switch(map, &path, report),
            _ => 0,
        };
    }
    shown
}

fn shown_in_if(map: &Object, path: &Path<'_>, report: &mut Report) -> usize {
    let then = shown_in(map.get("then"), &path.key("then"), report);
    let otherwise = shown_in(map.get("else"), &path.key("else"), report);
    if (then == 0) != (otherwise == 0) {
        let message =
            "A Footer in one branch of If needs one in the other: add it, or move the Footer out of the If.";
        report.error(Code::MissingFooterInIfElseBranches, path, message);
    }
    then.max(otherwise)
}

fn shown_in_switch(map: &Object, path: &Path<'_>, report: &mut Report) -> usize {
    let cases_path = path.key("cases");
    let cases = map.get("cases").and_then(Value::as_object);
    let shown: Vec<usize> = cases
        .into_iter()
        .flatten()
        .map(|(case, children)| shown_in(Some(children), &cases_path.key(case), report))
        .collect();
    let most = shown.iter().copied().max().unwrap_or_default();
    if most > 0 && shown.contains(&0) {
        let message =
            "A Footer in one case of a Switch needs one in every case: add it, or move the Footer out.";
        report.error(Code::MissingFooterInSwitchBranches, path, message);
    }
    most
}
