//! Who may not answer: those who have where once is enough, and those whose token was revoked.
//!
//! The commits of the opening and of the closing decide it. Before the closing reply is sealed it is only found out early
//! enough to say so in words, because an envelope has one reply.

use super::Flow;
use super::token::Token;
use crate::flow::words::Words;
use crate::outbox::{AcceptError, Answering, Begun, Contact, Denial, Opening, Outbox};

/// Under which rule somebody with this token answers.
pub(super) fn answering(flow: &Flow, token: Option<&Token>) -> Answering {
    Answering { repeat: flow.repeat, own_token: token.is_some() }
}

/// The person whom the message went to, as the token says.
pub(super) fn contact(token: &Token) -> Option<Contact> {
    let known = token.phone.is_some() || token.user_id.is_some();
    known.then(|| Contact { phone: token.phone.clone(), user_id: token.user_id.clone() })
}

/// Begins this walk with this token, whose text is `text`, if its person may.
pub(super) async fn begin(
    outbox: &Outbox,
    flow: &Flow,
    (token, text): (&Token, &str),
    envelope: &[u8; 32],
    walk: [u8; 16],
) -> Result<Begun, AcceptError> {
    let contact = contact(token);
    let (answering, contact) = (answering(flow, Some(token)), contact.as_ref());
    let opening = Opening { answering, flow_id: &flow.id, flow_token: text, contact, envelope, walk };
    outbox.begin(opening).await
}

/// What the person reads.
pub(super) fn words(refusal: Denial, locale: &str) -> &'static str {
    match refusal {
        Denial::Answered => Words::of(locale).answered,
        Denial::Revoked => Words::of(locale).expired,
    }
}
