//! Who may not answer: those who have where once is enough, and those whose token was revoked.
//!
//! The closing commit decides it. Here is only found out early enough to say so in words: when the flow is opened, as far as
//! the store answers at once, and before the closing reply is sealed, because an envelope has one reply.

use super::Flow;
use super::token::Token;
use crate::flow::words::Words;
use crate::outbox::{Answering, Contact, Denial, Outbox};

/// Under which rule somebody with this token answers.
pub(super) fn answering(flow: &Flow, token: Option<&Token>) -> Answering {
    Answering { repeat: flow.repeat, own_token: token.is_some() }
}

/// The person whom the message went to, as the token says.
pub(super) fn contact(token: &Token) -> Option<Contact> {
    let known = token.phone.is_some() || token.user_id.is_some();
    known.then(|| Contact { phone: token.phone.clone(), user_id: token.user_id.clone() })
}

/// Why the flow does not open with this token, whose text is `text`; a foreign one, which is `None`, names nobody.
pub(super) async fn may_open(
    outbox: &Outbox,
    flow: &Flow,
    token: Option<&Token>,
    text: &str,
) -> Result<(), Denial> {
    let Some(token) = token else { return Ok(()) };
    outbox.may_open(answering(flow, Some(token)), &flow.id, text, contact(token).as_ref()).await
}

/// What the person reads.
pub(super) fn words(refusal: Denial, locale: &str) -> &'static str {
    match refusal {
        Denial::Answered => Words::of(locale).answered,
        Denial::Revoked => Words::of(locale).expired,
    }
}
