//! Who holds the phone: someone truthful, someone random, or someone hostile.

mod hostile;
mod random;
mod truthful;

use serde_json::Value;

use super::render::{Rendered, Screen};
use super::transport::Transport;
use super::walk::{Error, Outcome, Player};

pub use hostile::{Attempt, Hostile, Verdict};
pub use random::Random;
pub use truthful::Truthful;

/// Decides what to enter on a screen.
pub trait Strategy {
    /// Names and values to enter, in order; null clears.
    fn answer(&mut self, screen: &Screen) -> Vec<(String, Value)>;

    /// How often a screen that shows errors is answered again.
    fn patience(&self) -> u32;

    /// Which entry of a navigation list to tap.
    fn choose(&mut self, ids: &[&str]) -> usize {
        let _ = ids;
        0
    }
}

/// How a played walk ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Played {
    /// With an outcome other than a screen.
    Ended(Outcome),
    /// On a screen whose errors the strategy could not get rid of.
    Stuck(Box<Screen>),
}

/// No form has more screens than this on one path.
const MAX_TAPS: u32 = 400;

/// Opens the flow and walks it to an end.
pub async fn play<T: Transport>(
    player: &mut Player<T>,
    strategy: &mut (impl Strategy + ?Sized),
) -> Result<Played, Error> {
    let mut outcome = player.open().await?;
    let mut tries_here = (String::new(), 0);
    for _ in 0..MAX_TAPS {
        let Some(screen) = player.screen().filter(|_| outcome == Outcome::Shown) else {
            return Ok(Played::Ended(outcome));
        };
        if tries_here.0 == screen.id {
            tries_here.1 += 1
        } else {
            tries_here = (screen.id.clone(), 1)
        }
        if tries_here.1 > strategy.patience() {
            return Ok(Played::Stuck(Box::new(screen)));
        }
        outcome = step(player, strategy, &screen).await?;
    }
    Ok(Played::Ended(outcome))
}

/// Answers one screen and taps its button.
async fn step<T: Transport>(
    player: &mut Player<T>,
    strategy: &mut (impl Strategy + ?Sized),
    screen: &Screen,
) -> Result<Outcome, Error> {
    let list = screen.components.iter().find_map(|component| match component {
        Rendered::NavigationList { items, .. } => {
            Some(items.iter().map(|item| item.id.as_str()).collect::<Vec<_>>())
        }
        _ => None,
    });
    if let Some(ids) = list {
        let chosen = strategy.choose(&ids);
        let id = ids.get(chosen).or(ids.first()).copied().unwrap_or_default();
        return player.tap(id).await;
    }
    // An answer can make further inputs visible, which are answered in the next round.
    let mut answered = Vec::new();
    for _ in 0..=screen.components.len() + 20 {
        let Some(now) = player.screen() else { return Err(Error::Closed) };
        let next = strategy
            .answer(&now)
            .into_iter()
            .find(|(name, _)| !answered.contains(name) && now.input(name).is_some_and(|input| input.enabled));
        let Some((name, value)) = next else { break };
        let outcome = player.fill(&name, value).await?;
        answered.push(name);
        if outcome != Outcome::Shown || player.screen().is_none_or(|after| after.id != screen.id) {
            return Ok(outcome);
        }
    }
    player.tap_footer().await
}
