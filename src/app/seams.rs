//! Where one module asks for what another has, without knowing it.

use std::time::Duration;

use crate::crypto::{MacKey, Vault, WebhookSecret};
use crate::fault;
use crate::outbox::{Clock, SealBody, SignWebhook, Sleep, Unsealable};
use crate::store::{Mac, SharedTime};

/// The longest sleep on a clock that may be set meanwhile.
const LOOK_AT_THE_CLOCK: Duration = Duration::from_secs(1);

impl Clock for SharedTime {
    fn now_ms(&self) -> i64 {
        fault::stretched_ms(SharedTime::now_ms(self))
    }

    fn sleep_until_ms(&self, at_ms: i64) -> Sleep<'_> {
        Box::pin(async move {
            loop {
                let left_ms = u64::try_from(at_ms.saturating_sub(Clock::now_ms(self))).unwrap_or(0);
                if left_ms == 0 {
                    return;
                }
                let left_ms = fault::real_wait_ms(left_ms);
                tokio::time::sleep(Duration::from_millis(left_ms).min(LOOK_AT_THE_CLOCK)).await;
            }
        })
    }

    fn sleep_ms(&self, wait_ms: i64) -> Sleep<'_> {
        let wait_ms = fault::real_wait_ms(u64::try_from(wait_ms).unwrap_or(0));
        Box::pin(tokio::time::sleep(Duration::from_millis(wait_ms)))
    }
}

impl Mac for MacKey {
    fn mac(&self, domain: &str, parts: &[&[u8]]) -> [u8; 32] {
        MacKey::mac(self, domain, parts)
    }
}

impl SealBody for Vault {
    fn seal(&self, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
        Vault::seal(self, context, plaintext)
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Unsealable> {
        Vault::open(self, context, sealed).map(|plaintext| plaintext.to_vec()).map_err(|_not_ours| {
            if self.has_key_of(sealed) { Unsealable::Damaged } else { Unsealable::NoKey }
        })
    }
}

impl SignWebhook for WebhookSecret {
    fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        WebhookSecret::sign(self, id, timestamp_s, body)
    }
}
