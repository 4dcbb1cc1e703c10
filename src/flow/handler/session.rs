//! What travels with the screen, sealed: the answers so far and the way they were given. It has no time in it: the same
//! request has to have the same reply on every node. A node of a later release may have put more behind it: that is kept, and
//! travels on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::form::{Answers, Position};

/// The walk of one person, as of one screen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Derived from the first envelope of the walk.
    pub id: [u8; 16],
    /// Values that came with the token.
    pub hidden: BTreeMap<String, String>,
    /// Questions shown and left, in their order, each once.
    pub(super) trail: Vec<u16>,
    /// Checked answers of the questions in `trail`.
    pub(super) answers: Answers,
    /// Answers of questions that a backward jump took out of the trail: shown again, never submitted from here.
    pub(super) drafts: Answers,
    /// Of a question that is spread over several screens.
    pub(super) partial: Option<Partial>,
    /// How often the form jumped back.
    pub(super) backs: u16,
    /// What a later release has put behind it.
    #[serde(skip)]
    pub(super) rest: Vec<u8>,
}

/// What is known of a question before its last screen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Partial {
    pub position: u16,
    /// Option ids placed or chosen so far.
    pub ids: Vec<String>,
    /// Column ids by row id.
    pub rows: BTreeMap<String, Vec<String>>,
    /// What was searched.
    pub query: String,
}

/// Bytes that are no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed state cannot be read; it was made by another version of Formgate")]
pub struct Unreadable;

impl Session {
    /// The session of a walk that begins.
    pub fn start(id: [u8; 16], hidden: BTreeMap<String, String>) -> Session {
        Session {
            id,
            hidden,
            trail: Vec::new(),
            answers: Answers::new(),
            drafts: Answers::new(),
            partial: None,
            backs: 0,
            rest: Vec::new(),
        }
    }

    /// The session as bytes, to be sealed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = postcard::to_stdvec(self).unwrap_or_default();
        bytes.extend_from_slice(&self.rest);
        bytes
    }

    /// The session that was sealed.
    ///
    /// # Errors
    /// [`Unreadable`] for anything that [`Session::to_bytes`] of this release or a later one did not make.
    pub fn from_bytes(bytes: &[u8]) -> Result<Session, Unreadable> {
        let (session, rest) = postcard::take_from_bytes(bytes).map_err(|_| Unreadable)?;
        Ok(Session { rest: rest.to_vec(), ..session })
    }

    pub(super) fn trail(&self) -> Vec<Position> {
        self.trail.iter().map(|&position| Position::from(position)).collect()
    }

    /// What is known so far of the question at `position`; nothing when it begins anew.
    pub(super) fn take_partial(&mut self, position: Position, first: bool) -> Partial {
        let fresh = Partial { position: u16::try_from(position).unwrap_or(u16::MAX), ..Partial::default() };
        match self.partial.take() {
            Some(partial) if !first && Position::from(partial.position) == position => partial,
            _ => fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_survives_its_bytes_and_other_bytes_are_refused() {
        let session = Session::start([7; 16], BTreeMap::from([("a".into(), "b".into())]));
        let bytes = session.to_bytes();
        assert_eq!(Session::from_bytes(&bytes), Ok(session));
        for length in 0..bytes.len() {
            assert_eq!(Session::from_bytes(&bytes[..length]), Err(Unreadable), "{length}");
        }
        assert_eq!(Session::from_bytes(&[1, 2, 3]), Err(Unreadable));
    }

    #[test]
    fn what_a_later_release_has_put_behind_a_session_travels_on() {
        let bytes = [Session::start([7; 16], BTreeMap::new()).to_bytes(), b"more".to_vec()].concat();
        let mut session = Session::from_bytes(&bytes).expect("a session");
        session.backs += 1;
        let again = session.to_bytes();
        assert!(again != bytes && again.ends_with(b"more"), "{again:?}");
    }
}
