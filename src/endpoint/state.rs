//! The session, sealed into the screen's data and bound to where it belongs.

use crate::crypto::{Purpose, Sealer, associated_data};
use crate::flow::handler::Session;
use crate::flow::plan::ENTRY;

/// Where a state belongs. A state that is sent from elsewhere does not open.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub flow: &'a str,
    pub version: u32,
    pub screen: &'a str,
    pub token: &'a str,
}

impl Place<'_> {
    fn associated_data(&self) -> Vec<u8> {
        // INIT does not know which version the client shows, so the entry's state belongs to all of them.
        let version = if self.screen == ENTRY { [0; 4] } else { self.version.to_be_bytes() };
        associated_data(&[self.flow.as_bytes(), &version, self.screen.as_bytes(), self.token.as_bytes()])
    }

    /// Seals; the same session for the same envelope gives the same text.
    pub(super) fn seal(&self, sealer: &Sealer, session: &Session, envelope: &[u8; 32]) -> String {
        sealer.seal(Purpose::State, &self.associated_data(), &session.to_bytes(), Some(envelope))
    }

    /// Opens; `None` for everything that was not sealed for this place.
    pub(super) fn open(&self, sealer: &Sealer, text: &str) -> Option<Session> {
        let bytes = sealer.open(Purpose::State, &self.associated_data(), text).ok()?;
        Session::from_bytes(&bytes).ok()
    }
}
