//! Destinations that follow their connected accounts: each may be in another region than the tool's usual one.
//!
//! Invariant: what cannot follow its account goes on as it was, is told once, and is tried again after a pause; it holds
//! nobody else up.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::Destinations;
use crate::connector::connection::Connection;

/// After a failure.
const PAUSE: Duration = Duration::from_secs(30);

/// What could not follow its account yet.
#[derive(Default)]
pub(super) struct Behind {
    /// The reason that was told, by destination.
    told: BTreeMap<String, String>,
    again_at: Option<Instant>,
}

impl Behind {
    fn are_due(&self, now: Instant) -> bool {
        self.again_at.is_some_and(|again_at| again_at <= now)
    }

    fn is_due(&self, id: &str, now: Instant) -> bool {
        self.told.contains_key(id) && self.are_due(now)
    }

    /// Takes note of what has failed now; what of it is news.
    fn note(&mut self, failed: BTreeMap<String, String>, now: Instant) -> BTreeMap<String, String> {
        let before = std::mem::replace(&mut self.told, failed);
        self.again_at = (!self.told.is_empty()).then(|| now + PAUSE);
        let is_news = |(id, reason): &(&String, &String)| before.get(*id) != Some(*reason);
        let news = self.told.iter().filter(is_news);
        news.map(|(id, reason)| (id.clone(), reason.clone())).collect()
    }
}

impl Destinations {
    /// Looks where the connected accounts are.
    pub(in crate::app) async fn follow_accounts(&self) {
        let Ok(accounts) = self.0.connections.list().await else { return };
        self.follow(accounts, Instant::now());
    }

    fn follow(&self, accounts: Vec<Connection>, now: Instant) {
        let mut behind = self.0.behind.lock().unwrap_or_else(PoisonError::into_inner);
        let have_moved = self.have_moved(accounts);
        let mut failed = BTreeMap::new();
        for configured in &self.0.configured {
            let id = configured.id.as_str();
            if configured.target.connection().is_none() || !have_moved && !behind.is_due(id, now) {
                continue;
            }
            let changing = self.0.changing();
            let (all, routes) = self.0.known();
            match self.0.prepare(changing, all, routes, |to| to.id == configured.id, true) {
                Ok(prepared) => prepared.put(),
                Err(error) => drop(failed.insert(id.to_owned(), error.to_string())),
            }
        }
        if have_moved || behind.are_due(now) {
            for (id, reason) in behind.note(failed, now) {
                tracing::warn!(
                    destination.id = id,
                    reason,
                    "a destination cannot follow its account yet; it stays as it is"
                );
            }
        }
    }

    /// Takes note of the accounts; `true` if one is at another address than before.
    fn have_moved(&self, accounts: Vec<Connection>) -> bool {
        let addresses = |accounts: &[Connection]| -> Vec<_> {
            accounts.iter().map(|account| (account.id.clone(), account.api_url.clone())).collect()
        };
        let mut known = self.0.accounts.write().unwrap_or_else(PoisonError::into_inner);
        let have_moved = addresses(&known) != addresses(&accounts);
        if have_moved {
            *known = accounts;
        }
        have_moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_follow_is_tried_again_after_a_pause_and_told_once_for_each_reason() {
        let failed = |reason: &str| BTreeMap::from([("crm".to_owned(), reason.to_owned())]);
        let (mut behind, now) = (Behind::default(), Instant::now());
        assert!(!behind.are_due(now + PAUSE));
        assert_eq!(behind.note(failed("no form"), now), failed("no form"));
        assert!(!behind.is_due("crm", now + PAUSE / 2) && behind.is_due("crm", now + PAUSE));
        assert!(!behind.is_due("sheet", now + PAUSE), "it has followed");
        let later = now + PAUSE;
        assert_eq!(behind.note(failed("no form"), later), BTreeMap::new(), "it is known");
        assert!(!behind.are_due(later) && behind.are_due(later + PAUSE));
        assert_eq!(behind.note(failed("no scope"), later), failed("no scope"));
        assert_eq!(behind.note(BTreeMap::new(), later), BTreeMap::new());
        assert!(!behind.are_due(later + 2 * PAUSE), "nothing is left to try");
    }
}
