//! The keys of numbers that are kept in the store, in the flows that use them: a key that is made here or by another node
//! opens requests from then on.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::{Error, Keys};
use crate::crypto::KeyRing;
use crate::endpoint::Flows;
use crate::store::{Store, Table};

/// The running flows, and which number each is of.
pub(super) struct Rings {
    flows: Flows,
    number_of: HashMap<String, String>,
}

impl Rings {
    pub(super) fn new(flows: Flows, number_of: HashMap<String, String>) -> Self {
        Self { flows, number_of }
    }

    /// Gives the flows of a number the keys that are kept for it now.
    pub(super) async fn renew(&self, number: &str, keys: &Keys) -> Result<(), Error> {
        let ring = Arc::new(KeyRing::new(keys.list(number).await?));
        self.flows.change(|flow| {
            let is_of = self.number_of.get(&flow.id).is_some_and(|of| of == number);
            if is_of {
                flow.keys = Arc::clone(&ring);
            }
            is_of
        });
        Ok(())
    }

    /// Renews these numbers whenever another node has changed a secret, until `stop` becomes true.
    pub(super) async fn follow(
        &self,
        store: &Store,
        keys: &Keys,
        numbers: &[String],
        mut stop: watch::Receiver<bool>,
    ) {
        let mut changes = store.changes(Table::Secret);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                // Without other nodes nobody ever changes anything.
                changed = changes.changed() => if changed.is_err() { return },
            }
            for number in numbers {
                match self.renew(number, keys).await {
                    Ok(()) => tracing::info!(
                        number.id = number,
                        "another node has changed keys; they are taken over"
                    ),
                    Err(error) => tracing::error!(
                        number.id = number,
                        error = &error as &dyn std::error::Error,
                        "keys that another node has changed cannot be taken over"
                    ),
                }
            }
        }
    }
}
