//! Which screen can follow which, derived from the form's branching, and made to fit Meta's routing rules.
//!
//! Meta wants a connected, acyclic graph with at most ten targets a screen (WhatsApp Flows reference, 4.4). A wider screen
//! gets relays. Going back along an edge needs no edge of its own, so a backward jump A→B is carried by an edge B→A.

use std::collections::BTreeSet;

use crate::form::{Form, Next, Position, Rule, RuleEffect, Target, Walker};

/// Most targets of one screen.
const MAX_TARGETS: usize = 10;

/// Everything that may follow once the question at `from` has been answered, whatever the answers.
pub(super) fn followers(form: &Form, walker: &Walker, from: Position) -> BTreeSet<Follower> {
    let mut found = Landing { form, walker, seen_pages: BTreeSet::new(), found: BTreeSet::new() };
    let sure = found.jumps(&walker.question(form, from).rules);
    if !sure {
        found.land(from + 1, true);
    }
    // After too many rounds of a loop the walk goes on in source order, so that way stays open for backward jumps.
    if found.found.iter().any(|f| matches!(f, Follower::Question(q) if *q <= from)) {
        found.onward(from + 1);
    }
    found.found
}

/// Everything that may come first.
pub(super) fn first(form: &Form, walker: &Walker) -> BTreeSet<Follower> {
    let mut found = Landing { form, walker, seen_pages: BTreeSet::new(), found: BTreeSet::new() };
    found.land(0, false);
    found.found
}

/// [`Next`] with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Follower {
    Question(Position),
    Ending(Option<usize>),
}

impl From<Next> for Follower {
    fn from(next: Next) -> Follower {
        match next {
            Next::Question(position) => Follower::Question(position),
            Next::Ending(ending) => Follower::Ending(ending),
        }
    }
}

struct Landing<'a> {
    form: &'a Form,
    walker: &'a Walker,
    seen_pages: BTreeSet<usize>,
    found: BTreeSet<Follower>,
}

impl Landing<'_> {
    /// Follows the jumps of a rule list; tells whether one of them is always taken.
    fn jumps(&mut self, rules: &[Rule]) -> bool {
        for rule in rules {
            if let RuleEffect::Jump(target) = &rule.effect {
                self.target(target);
                if rule.when.is_none() {
                    return true;
                }
            }
        }
        false
    }

    fn target(&mut self, target: &Target) {
        let ending = |key: Option<&String>| {
            let found = key.and_then(|key| self.form.endings.iter().position(|e| e.key == *key));
            Follower::Ending(found.or((!self.form.endings.is_empty()).then_some(0)))
        };
        let position = match target {
            Target::End => {
                self.found.insert(ending(None));
                return;
            }
            Target::Ending(key) => {
                self.found.insert(ending(Some(key)));
                return;
            }
            Target::Question(key) => self.walker.position(key),
            Target::Page(id) => {
                let page = self.form.pages.iter().position(|p| p.id == *id);
                page.map(|page| self.form.pages.iter().take(page).map(|p| p.questions.len()).sum())
            }
        };
        self.land(position.unwrap_or(self.walker.len()), false);
    }

    /// Adds the questions from `position` on that may be the first one shown. Only who `passes` the end of a page is led
    /// by its rules.
    fn land(&mut self, mut position: Position, mut passes: bool) {
        loop {
            if passes
                && let Some(page) = self.page_left_at(position)
                && self.seen_pages.insert(page)
            {
                let form = self.form;
                let sure = self.jumps(&form.pages[page].rules);
                if sure && form.pages[page].visible_if.is_none() {
                    return;
                }
            }
            if position >= self.walker.len() {
                self.found.insert(Follower::Ending((!self.form.endings.is_empty()).then_some(0)));
                return;
            }
            self.found.insert(Follower::Question(position));
            let page = &self.form.pages[self.walker.page(position)];
            if page.visible_if.is_none() && self.walker.question(self.form, position).visible_if.is_none() {
                return;
            }
            (position, passes) = (position + 1, true);
        }
    }

    /// Adds the questions from `position` on as if there were no rules.
    fn onward(&mut self, position: Position) {
        for later in position..self.walker.len() {
            self.found.insert(Follower::Question(later));
            let page = &self.form.pages[self.walker.page(later)];
            if page.visible_if.is_none() && self.walker.question(self.form, later).visible_if.is_none() {
                return;
            }
        }
        self.found.insert(Follower::Ending((!self.form.endings.is_empty()).then_some(0)));
    }

    fn page_left_at(&self, position: Position) -> Option<usize> {
        let mut end = 0;
        let mut left = None;
        for (index, page) in self.form.pages.iter().enumerate() {
            end += page.questions.len();
            if end == position && !page.questions.is_empty() {
                left = Some(index);
            }
        }
        left
    }
}

/// The routing of a flow, over nodes `0..screens` (what was asked for) and relays after them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Routing {
    /// Nodes in document order; a node that cannot be reached is missing.
    pub order: Vec<usize>,
    /// Edges of the routing model, by node.
    pub edges: Vec<BTreeSet<usize>>,
    /// Screens the server may answer with, by node: edges and backward jumps.
    pub routes: Vec<BTreeSet<usize>>,
    /// For targets that are reached through a relay, forwards or backwards: `(target, relay)`, by node.
    pub via: Vec<Vec<(usize, usize)>>,
    /// How many relays were added.
    pub relays: usize,
    /// Backward jumps, as `(from, to)`.
    pub backward: Vec<(usize, usize)>,
    /// Screens whose targets do not fit even with relays.
    pub too_wide: Vec<usize>,
}

/// Fits `wanted` (targets by node, node 0 is the entry) to Meta's rules.
pub(super) fn route(wanted: &[BTreeSet<usize>]) -> Routing {
    // Where the flow ends comes last, so that every screen has an end after it.
    let (ends, mut order): (Vec<usize>, Vec<usize>) =
        topological(wanted).into_iter().partition(|&node| wanted[node].is_empty());
    order.extend(ends);
    let end = order.last().copied();
    let mut rank = vec![usize::MAX; wanted.len()];
    for (place, &node) in order.iter().enumerate() {
        rank[node] = place;
    }
    let mut routing = Routing { order, ..Routing::default() };
    let mut forward = vec![BTreeSet::new(); wanted.len()];
    let mut reversed = vec![BTreeSet::new(); wanted.len()];
    for &from in &routing.order {
        for &to in &wanted[from] {
            if rank[to] > rank[from] {
                forward[from].insert(to);
            } else if rank[to] < rank[from] {
                reversed[to].insert(from);
                routing.backward.push((from, to));
            }
        }
    }
    routing.routes = wanted.iter().map(|targets| targets.iter().copied().collect()).collect();
    routing.edges = vec![BTreeSet::new(); wanted.len()];
    routing.via = vec![Vec::new(); wanted.len()];
    let mut order = Vec::with_capacity(routing.order.len());
    for &node in &routing.order.clone() {
        order.push(node);
        let mut rest: Vec<usize> =
            forward[node].iter().copied().filter(|to| !reversed[node].contains(to)).collect();
        rest.sort_by_key(|&to| rank[to]);
        rest.extend(&reversed[node]);
        // A screen that only leads back must lead on to some end in the eyes of Meta (4.4); nobody goes that way.
        if rest.is_empty() && !wanted[node].is_empty() {
            rest.extend(end.filter(|&end| rank[end] > rank[node]));
        }
        if rest.len() <= MAX_TARGETS {
            routing.edges[node] = rest.into_iter().collect();
            continue;
        }
        // Each relay takes one place and leads on to ten screens.
        let relays = (rest.len() - MAX_TARGETS).div_ceil(MAX_TARGETS - 1);
        if relays > MAX_TARGETS {
            routing.too_wide.push(node);
            continue;
        }
        let relayed = rest.split_off(MAX_TARGETS - relays);
        let mut direct: BTreeSet<usize> = rest.into_iter().collect();
        for group in relayed.chunks(MAX_TARGETS) {
            let relay = routing.edges.len();
            routing.relays += 1;
            routing.edges.push(group.iter().copied().collect());
            routing.routes.push(BTreeSet::new());
            routing.via.push(Vec::new());
            direct.insert(relay);
            for &target in group {
                // The relay is passed from here to the target, or from the target back to here.
                if forward[node].contains(&target) {
                    routing.via[node].push((target, relay));
                    routing.routes[node].remove(&target);
                    routing.routes[node].insert(relay);
                    routing.routes[relay].insert(target);
                }
                if reversed[node].contains(&target) {
                    routing.via[target].push((node, relay));
                    routing.routes[target].remove(&node);
                    routing.routes[target].insert(relay);
                    routing.routes[relay].insert(node);
                }
            }
            order.push(relay);
        }
        routing.edges[node] = direct;
    }
    routing.order = order;
    routing
}

/// Reachable nodes so that only true cycles have edges pointing backwards: reverse postorder of a depth-first search.
fn topological(wanted: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut seen = vec![false; wanted.len()];
    let mut postorder = Vec::new();
    let Some(entry) = seen.first_mut() else { return postorder };
    *entry = true;
    let mut stack = vec![(0, wanted[0].iter().rev())];
    while let Some((node, targets)) = stack.last_mut() {
        if let Some(&to) = targets.next() {
            if !seen[to] {
                seen[to] = true;
                stack.push((to, wanted[to].iter().rev()));
            }
        } else {
            postorder.push(*node);
            stack.pop();
        }
    }
    postorder.reverse();
    postorder
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(lists: &[&[usize]]) -> Vec<BTreeSet<usize>> {
        lists.iter().map(|list| list.iter().copied().collect()).collect()
    }

    #[test]
    fn a_forward_graph_is_routed_as_it_is() {
        let wanted = targets(&[&[1, 2], &[2], &[]]);
        let routing = route(&wanted);
        assert_eq!(routing.order, [0, 1, 2]);
        assert_eq!(routing.edges, wanted);
        assert_eq!(routing.routes, wanted);
    }

    #[test]
    fn a_backward_jump_is_allowed_by_the_edge_it_goes_back_along() {
        let routing = route(&targets(&[&[1], &[2], &[1, 3], &[]]));
        assert_eq!(routing.backward, [(2, 1)]);
        assert_eq!(routing.edges, targets(&[&[1], &[2], &[3], &[]]));
        assert!(routing.routes[2].contains(&1));
    }

    #[test]
    fn a_jump_to_an_earlier_screen_that_is_no_loop_is_a_forward_edge() {
        let routing = route(&targets(&[&[2], &[3], &[1], &[]]));
        assert_eq!(routing.order, [0, 2, 1, 3]);
        assert!(routing.backward.is_empty());
    }

    #[test]
    fn more_than_ten_jumps_back_to_one_screen_go_through_relays() {
        let mut wanted = vec![BTreeSet::from([1])];
        wanted.extend((1..=15).map(|node| BTreeSet::from([0, node + 1])));
        wanted.push(BTreeSet::new());
        let routing = route(&wanted);
        assert!(routing.too_wide.is_empty());
        assert!(routing.edges.iter().all(|edges| edges.len() <= MAX_TARGETS));
        for from in 1..=15 {
            let relay = routing.via[from].iter().find(|(to, _)| *to == 0).map(|(_, relay)| *relay);
            assert!(match relay {
                Some(relay) => routing.edges[0].contains(&relay) && routing.edges[relay].contains(&from),
                None => routing.edges[0].contains(&from),
            });
        }
    }

    #[test]
    fn a_screen_that_only_leads_back_has_an_end_after_it() {
        // 0 → 2 → 1 → 2: screen 1 comes after screen 2 and leads nowhere else.
        let routing = route(&targets(&[&[2], &[2], &[1, 3], &[]]));
        assert_eq!(routing.backward, [(1, 2)]);
        assert_eq!(routing.edges[1], BTreeSet::from([3]));
        assert!(!routing.routes[1].contains(&3), "nobody goes that way");
    }

    #[test]
    fn more_than_ten_targets_go_through_relays() {
        let mut wanted = vec![(1..=40).collect::<BTreeSet<_>>()];
        wanted.extend(vec![BTreeSet::new(); 40]);
        let routing = route(&wanted);
        assert_eq!(routing.relays, 4);
        assert!(routing.edges.iter().all(|edges| edges.len() <= MAX_TARGETS));
        for target in 1..=40 {
            let direct = routing.edges[0].contains(&target);
            let relayed = routing.via[0]
                .iter()
                .any(|(to, relay)| *to == target && routing.edges[*relay].contains(&target));
            assert!(direct ^ relayed, "{target}");
        }
    }
}
