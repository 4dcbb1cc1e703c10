//! The graph of screens: declared in `routing_model`, or derived from `navigate` (WhatsApp Flows reference 4.4).

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::Code;
use super::actions::{Actions, Route};
use super::document::{Flow, Object};
use super::report::{Path, Report};
use crate::flow::limits;

/// Edges between screens, by index.
struct Graph<'d> {
    ids: Vec<&'d str>,
    out: Vec<BTreeSet<usize>>,
}

pub(super) fn check(flow: &Flow<'_>, actions: &Actions<'_, '_>, report: &mut Report) {
    if let Some(at) = &actions.data_exchange_at
        && !flow.has_endpoint()
    {
        let message =
            format!("{at} calls the endpoint, so data_api_version is needed: add it and routing_model.");
        report.error(Code::MissingRequiredProperty, "data_api_version", message);
    }
    let model = match flow.root.get("routing_model") {
        Some(Value::Object(model)) => Some(model),
        Some(_) => return,
        None if flow.root.contains_key("data_api_version") => {
            let message =
                "data_api_version needs routing_model: list for every screen the screens that may follow.";
            return report.error(Code::MissingRequiredProperty, "routing_model", message);
        }
        None => None,
    };
    let mut graph = Graph::of_screens(flow);
    match model {
        Some(model) => graph.declare(model, &actions.routes, report),
        None => graph.derive(&actions.routes),
    }
    // Too many screens were reported; the graph of a flow that fits is small enough for plain algorithms.
    if (1..=limits::table().global.screens_per_flow).contains(&graph.ids.len()) {
        let at = if model.is_some() { "routing_model" } else { "screens" };
        graph.check(flow, at, report);
    }
}

impl<'d> Graph<'d> {
    fn of_screens(flow: &Flow<'d>) -> Self {
        let mut seen = BTreeSet::new();
        let ids: Vec<&str> = flow
            .screens
            .iter()
            .map(|screen| screen.id)
            .filter(|id| !id.is_empty() && seen.insert(*id))
            .collect();
        let out = vec![BTreeSet::new(); ids.len()];
        Self { ids, out }
    }

    fn index(&self) -> HashMap<&'d str, usize> {
        self.ids.iter().enumerate().map(|(index, id)| (*id, index)).collect()
    }

    fn declare(&mut self, model: &Object, routes: &[Route<'_, '_>], report: &mut Report) {
        let root = Path::Root;
        let at = root.key("routing_model");
        let index = self.index();
        for (from, targets) in model {
            let at = at.key(from);
            let Some(source) = index.get(from.as_str()).copied() else {
                let message = format!(
                    "There is no screen {from:?}: remove it from the routing model or add the screen."
                );
                report.error(Code::InvalidRoutingModel, at, message);
                continue;
            };
            for (place, target) in targets.as_array().into_iter().flatten().enumerate() {
                let Some(target) = target.as_str() else { continue };
                let at = at.index(place);
                match index.get(target).copied() {
                    None => {
                        let message =
                            format!("There is no screen {target:?}: remove the route or add the screen.");
                        report.error(Code::InvalidRoutingModel, at, message);
                    }
                    Some(target) if target == source => {
                        report.error(
                            Code::InvalidRoutingModel,
                            at,
                            "A screen may not lead to itself: remove the route.",
                        );
                    }
                    Some(target) => {
                        self.out.get_mut(source).map(|out| out.insert(target));
                    }
                }
            }
        }
        for id in self.ids.iter().filter(|id| !model.contains_key(**id)) {
            let message =
                format!("Screen {id:?} is missing: add it with the screens that may follow, [] for none.");
            report.error(Code::InvalidRoutingModel, at, message);
        }
        for Route { from, to, path } in routes {
            let known = index.get(from.id).and_then(|from| self.out.get(*from)).zip(index.get(to.id));
            if known.is_some_and(|(out, to)| !out.contains(to)) {
                let message = format!(
                    "The routing model has no route from {:?} to {:?}: add it there.",
                    from.id, to.id
                );
                report.error(Code::InvalidRoutingModel, path, message);
            }
        }
    }

    fn derive(&mut self, routes: &[Route<'_, '_>]) {
        let index = self.index();
        for route in routes {
            if let (Some(from), Some(to)) = (index.get(route.from.id), index.get(route.to.id)) {
                self.out.get_mut(*from).map(|out| out.insert(*to));
            }
        }
    }

    fn edges(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.out.iter().enumerate().flat_map(|(from, out)| out.iter().map(move |to| (from, *to)))
    }

    fn id(&self, index: usize) -> &'d str {
        self.ids.get(index).copied().unwrap_or_default()
    }

    fn names(&self, screens: impl IntoIterator<Item = usize>) -> String {
        screens.into_iter().map(|index| self.id(index)).collect::<Vec<_>>().join(", ")
    }

    fn leads(&self, from: usize, to: usize) -> bool {
        self.out.get(from).is_some_and(|out| out.contains(&to))
    }

    fn check(&self, flow: &Flow<'_>, at: &str, report: &mut Report) {
        let mut invalid = |message: String| report.error(Code::InvalidRoutingModel, at, message);
        let most = limits::table().global.branches_per_screen;
        for (from, out) in self.out.iter().enumerate().filter(|(_, out)| out.len() > most) {
            let (id, count) = (self.id(from), out.len());
            invalid(format!(
                "Screen {id:?} leads to {count} screens, at most {most} may follow: add a screen in between."
            ));
        }
        for (from, to) in self.edges().filter(|(from, to)| from < to && self.leads(*to, *from)) {
            let (from, to) = (self.id(from), self.id(to));
            invalid(format!(
                "{from:?} and {to:?} lead to each other: keep the forward route, going back needs none."
            ));
        }
        let looped = self.looped();
        if !looped.is_empty() {
            invalid(format!(
                "These screens form a loop: {}. Remove a route that leads back.",
                self.names(looped)
            ));
        }
        let entered: BTreeSet<usize> = self.edges().map(|(_, to)| to).collect();
        if entered.len() == self.ids.len() {
            invalid(
                "Every screen is led to by another: one screen must be the entry, with no route to it."
                    .to_owned(),
            );
        }
        let apart = self.apart();
        if !apart.is_empty() {
            let names = self.names(apart);
            invalid(format!(
                "These screens are not connected with the first: {names}. Add a route or remove them."
            ));
        }
        for (index, _) in self.out.iter().enumerate().filter(|(_, out)| out.is_empty()) {
            let id = self.id(index);
            if flow.screen(id).is_some_and(|screen| !screen.terminal) {
                invalid(format!(
                    "Screen {id:?} leads nowhere and is not terminal: add a route or set terminal."
                ));
            }
        }
    }

    /// The screens on a loop of three or more; two that lead to each other have their own message.
    fn looped(&self) -> Vec<usize> {
        let screens = self.ids.len();
        let (mut next, mut previous) = (vec![Vec::new(); screens], vec![Vec::new(); screens]);
        for (from, to) in self.edges().filter(|(from, to)| !self.leads(*to, *from)) {
            next[from].push(to);
            previous[to].push(from);
        }
        let mut degrees: Vec<(usize, usize)> =
            previous.iter().zip(&next).map(|(previous, next)| (previous.len(), next.len())).collect();
        // A screen that nothing alive leads to, or that leads to nothing alive, is on no loop.
        let mut alive = vec![true; screens];
        let mut waiting: Vec<usize> = (0..screens).collect();
        while let Some(screen) = waiting.pop() {
            if !alive[screen] || (degrees[screen].0 > 0 && degrees[screen].1 > 0) {
                continue;
            }
            alive[screen] = false;
            for &after in &next[screen] {
                degrees[after].0 -= 1;
                waiting.push(after);
            }
            for &before in &previous[screen] {
                degrees[before].1 -= 1;
                waiting.push(before);
            }
        }
        (0..screens).filter(|screen| alive[*screen]).collect()
    }

    /// The screens that no route, in either direction, connects with the first.
    fn apart(&self) -> Vec<usize> {
        let mut beside = vec![Vec::new(); self.ids.len()];
        for (from, to) in self.edges() {
            for (one, other) in [(from, to), (to, from)] {
                if let Some(list) = beside.get_mut(one) {
                    list.push(other);
                }
            }
        }
        let mut reached = BTreeSet::from([0]);
        let mut waiting = vec![0];
        while let Some(screen) = waiting.pop() {
            for next in beside.get(screen).into_iter().flatten() {
                if reached.insert(*next) {
                    waiting.push(*next);
                }
            }
        }
        (0..self.ids.len()).filter(|index| !reached.contains(index)).collect()
    }
}
