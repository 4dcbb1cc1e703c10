//! One opened exchange: from the plaintext to the sealed reply.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::request::Exchange;
use super::state::Place;
use super::token::{self, Token};
use super::{Flow, Parts, TokenPolicy, TokenSignature, check, repeat, status, submission};
use crate::crypto::{FlowTokenSignature, Opened, ReplySealer};
use crate::flow::handler::{Closing, Completed, Handler, Session, Show, Turn};
use crate::flow::plan::{Content, ENTRY, INIT_VALUES, STATE, VERSION};
use crate::flow::words::Words;
use crate::form::Form;
use crate::outbox::{AcceptError, Accepted, Begun, Denial};
use crate::server::{Response, StatusCode};
use crate::telemetry::{Action, field};

/// What is sent for one envelope.
#[derive(Clone)]
pub(super) struct Answer {
    pub action: Action,
    pub status: StatusCode,
    body: Bytes,
}

impl Answer {
    pub(super) fn into_response(self) -> Response {
        if self.body.is_empty() {
            Response::empty(self.status)
        } else {
            Response::text(self.status, self.body)
        }
    }
}

/// A plaintext reply and its status.
struct Reply {
    status: StatusCode,
    body: Value,
}

/// What a request leads to.
enum Outcome {
    Reply(Reply),
    /// The refusal of an envelope that would begin a walk: it has to be kept before it is sent.
    NotOpened(Reply),
    /// What the envelope has been answered before.
    Kept(Accepted),
    /// The store does not say what the envelope may be answered, so it is given nothing sealed.
    Unavailable,
    Close(Box<Close>),
}

/// A submission that has to be stored before its reply is sent.
struct Close {
    completed: Completed,
    handler: Arc<Handler>,
    token: Option<Token>,
    body: Value,
}

/// Answers an opened request.
pub(super) async fn answer(parts: &Parts, flow: &Flow, opened: Opened) -> Answer {
    let Opened { plaintext, reply: sealer, envelope, .. } = opened;
    let Some(exchange) = Exchange::read(&plaintext) else {
        return bare(Action::Unknown, StatusCode::BAD_REQUEST);
    };
    let action = exchange.action;
    let outcome = match action {
        Action::Ping => Outcome::Reply(ok(&exchange, json!({"data": {"status": "active"}}))),
        Action::ErrorNotice => {
            let error = exchange.notice.as_deref().unwrap_or("other");
            flow.metrics.error_notice(error);
            let error: String =
                error.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(64).collect();
            tracing::warn!(
                { field::FLOW_ID } = flow.id.as_str(),
                { field::FLOW_SCREEN } = known_screen(flow, &exchange.screen),
                { field::ERROR } = error.as_str(),
                "WhatsApp could not use an answer of this flow"
            );
            Outcome::Reply(ok(&exchange, json!({"data": {"acknowledged": true}})))
        }
        _ => Turner { parts, flow, exchange: &exchange, envelope: &envelope }.turn().await,
    };
    if matches!(&outcome, Outcome::Reply(reply) if reply.status != StatusCode::OK) {
        match parts.outbox.kept_reply(&envelope).await {
            // This envelope closed a walk before: it keeps its reply, whatever has expired since.
            Ok(Some(kept)) => return closed(action, kept),
            Ok(None) => {}
            // It may have had a reply, and then nothing else may be sealed for it: the status speaks.
            Err(_) => return bare(action, StatusCode::SERVICE_UNAVAILABLE),
        }
    }
    match outcome {
        Outcome::Reply(reply) => sealed(action, reply, sealer),
        Outcome::NotOpened(reply) => {
            let reply = sealer.seal(reply.body.to_string().as_bytes()).into_bytes();
            match parts.outbox.refuse_opening(&envelope, walk(&envelope), reply).await {
                Ok(Some(kept)) => closed(action, kept),
                // It has begun a walk before: it gets no second plaintext under its key and IV.
                Ok(None) => bare(action, status(427)),
                Err(_) => bare(action, StatusCode::SERVICE_UNAVAILABLE),
            }
        }
        Outcome::Kept(kept) => closed(action, kept),
        Outcome::Unavailable => bare(action, StatusCode::SERVICE_UNAVAILABLE),
        Outcome::Close(close) => close_walk(parts, flow, &exchange, &envelope, *close, sealer).await,
    }
}

async fn close_walk(
    parts: &Parts,
    flow: &Flow,
    exchange: &Exchange,
    envelope: &[u8; 32],
    close: Close,
    sealer: ReplySealer,
) -> Answer {
    let action = exchange.action;
    let Close { completed, handler, token, body } = close;
    // A submission does not wait for this to be known.
    let opened_at_ms = parts.outbox.opened_at_ms(completed.walk).await.unwrap_or(None);
    let (token, text) = (token.as_ref(), exchange.flow_token.as_str());
    let submission = submission::build(parts, flow, &handler, &completed, text, token, opened_at_ms);
    let rule = repeat::answering(flow, token);
    if let Err(refusal) = parts.outbox.may_close(rule, &submission).await {
        let reply = refused(handler.form(), refusal);
        let reply = sealer.seal(reply.body.to_string().as_bytes()).into_bytes();
        // It is kept like the reply of a submission: the person may answer by the time that this is sent again.
        return match parts.outbox.refuse(envelope, reply).await {
            Ok(kept) => closed(action, kept),
            Err(_) => bare(action, StatusCode::SERVICE_UNAVAILABLE),
        };
    }
    let reply = sealer.seal(body.to_string().as_bytes()).into_bytes();
    let (outbox, destinations, envelope) = (parts.outbox.clone(), flow.destinations.clone(), *envelope);
    // A task of its own: a phone that hangs up does not keep its answers from being stored.
    let storing =
        tokio::spawn(
            async move { outbox.accept_under(rule, &submission, &destinations, &envelope, reply).await },
        );
    match storing.await {
        Ok(Ok(accepted)) => {
            if accepted.repeated {
                parts.metrics.submission_repeat();
            } else if !accepted.refused {
                flow.metrics.submission();
            }
            closed(action, accepted)
        }
        failed => {
            // The reply may be stored by now, so nothing else may be sealed for this envelope: the status speaks.
            let reason = match failed {
                Ok(Err(AcceptError::Busy)) => "busy",
                // Another answer of this person came between; the repeat of this one is told so.
                Ok(Err(AcceptError::Refused(_))) => "repeated",
                _ => "unavailable",
            };
            tracing::error!(
                { field::FLOW_ID } = flow.id.as_str(),
                { field::ERROR } = reason,
                "a submission could not be stored; the person was asked to try again"
            );
            bare(action, StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

/// The id of the walk that this envelope begins.
fn walk(envelope: &[u8; 32]) -> [u8; 16] {
    std::array::from_fn(|at| envelope[at])
}

/// The status speaks.
fn bare(action: Action, status: StatusCode) -> Answer {
    Answer { action, status, body: Bytes::new() }
}

/// What is kept for an envelope that closed a walk, or was refused to.
fn closed(action: Action, kept: Accepted) -> Answer {
    let status = if kept.refused { status(427) } else { StatusCode::OK };
    Answer { action, status, body: kept.reply.into() }
}

fn sealed(action: Action, reply: Reply, sealer: ReplySealer) -> Answer {
    let body = sealer.seal(reply.body.to_string().as_bytes());
    Answer { action, status: reply.status, body: body.into() }
}

/// 427 with the reason in the flow's language (WhatsApp Flows reference, 1.10).
fn refused(form: &Form, refusal: Denial) -> Reply {
    Reply { status: status(427), body: json!({"error_msg": repeat::words(refusal, &form.locale)}) }
}

fn ok(exchange: &Exchange, mut body: Value) -> Reply {
    body["version"] = json!(exchange.version);
    Reply { status: StatusCode::OK, body }
}

/// The id only if it is one of ours: what a client sends is not logged.
fn known_screen<'a>(flow: &Flow, screen: &'a str) -> &'a str {
    let known = flow.versions.iter().any(|h| h.plan().screens.iter().any(|planned| planned.id == screen));
    if known { screen } else { "other" }
}

/// INIT, BACK and data_exchange.
struct Turner<'a> {
    parts: &'a Parts,
    flow: &'a Flow,
    exchange: &'a Exchange,
    envelope: &'a [u8; 32],
}

impl Turner<'_> {
    async fn turn(&self) -> Outcome {
        let Some(newest) = self.flow.newest() else { return Outcome::Reply(expired(None)) };
        let action = self.exchange.action;
        let back = if action == Action::Back { self.back() } else { None };
        let begins = match action {
            Action::DataExchange => self.handler().is_some_and(|it| it.is_cover(&self.exchange.screen)),
            _ => back.is_none(),
        };
        let token = match self.token(begins) {
            Ok(token) => token,
            Err(()) if begins => return Outcome::NotOpened(expired(Some(newest))),
            Err(()) => return Outcome::Reply(expired(Some(newest))),
        };
        if begins && let Some(token) = &token {
            // Of whoever has a token of ours something may be known that refuses them.
            let (outbox, text) = (&self.parts.outbox, self.exchange.flow_token.as_str());
            match repeat::begin(outbox, self.flow, (token, text), self.envelope, self.walk()).await {
                Ok(Begun::Walk) => {}
                Ok(Begun::Denied(denial)) => return Outcome::NotOpened(refused(newest.form(), denial)),
                Ok(Begun::Kept(kept)) => return Outcome::Kept(kept),
                Err(_) => return Outcome::Unavailable,
            }
        }
        match (action, back) {
            (Action::DataExchange, _) => self.data_exchange(token),
            (_, Some(shown)) => Outcome::Reply(shown),
            // An action that is not known yet opens the flow anew, like INIT.
            _ => self.open(token.as_ref(), newest),
        }
    }

    /// What our token says; `None` for a foreign one that is allowed. It has to be valid when a walk begins: whoever is under
    /// way has a state that proves it, and comes to the end.
    fn token(&self, begins: bool) -> Result<Option<Token>, ()> {
        let now_s = u64::try_from(self.parts.clock.now_ms() / 1_000).unwrap_or(0);
        let text = self.exchange.flow_token.as_str();
        let signature = self.exchange.flow_token_signature.as_deref();
        match (self.flow.token_signature, signature) {
            (TokenSignature::Required, None) => return Err(()),
            (TokenSignature::Required | TokenSignature::IfPresent, Some(signature)) => {
                FlowTokenSignature::verify(&self.flow.app_secrets, text, signature, now_s).map_err(|_| ())?;
            }
            _ => {}
        }
        match Token::open(&self.parts.sealer, &self.flow.id, text, if begins { now_s } else { 0 }) {
            Ok(token) => Ok(Some(token)),
            Err(token::Error::Foreign) if self.flow.tokens == TokenPolicy::Any && !Token::is_ours(text) => {
                Ok(None)
            }
            Err(_) => Err(()),
        }
    }

    fn fresh(&self, token: Option<&Token>, form: &Form) -> Session {
        let sent = |key: &String| token.and_then(|token| token.hidden.get(key)).cloned();
        let hidden = form
            .hidden
            .iter()
            .filter_map(|h| Some((h.key.clone(), sent(&h.key).or_else(|| h.default.clone())?)));
        Session::start(self.walk(), hidden.collect())
    }

    fn walk(&self) -> [u8; 16] {
        walk(self.envelope)
    }

    /// INIT: the entry of the newest version, with what the entries of older ones need besides. The message may be old,
    /// and nothing says which version its phone shows.
    fn open(&self, token: Option<&Token>, newest: &Arc<Handler>) -> Outcome {
        let mut show = newest.open(self.fresh(token, newest.form()));
        if let (Some(session), None) = (&show.session, token) {
            self.parts.outbox.note_opening(session.id);
        }
        for older in self.flow.versions.iter().skip(1).filter(|_| show.session.is_some()) {
            let inputs: Vec<&str> = match older.plan().screens.first().map(|screen| &screen.content) {
                Some(Content::Questions(blocks)) => {
                    blocks.iter().flat_map(|block| &block.inputs).map(|input| input.name.as_str()).collect()
                }
                _ => Vec::new(),
            };
            if let Some(Value::Object(values)) = show.data.get_mut(INIT_VALUES) {
                values.retain(|name, _| inputs.contains(&name.as_str()));
            }
            let session = self.fresh(token, older.form());
            for (key, value) in older.open(session).data {
                show.data.entry(key).or_insert(value);
            }
        }
        Outcome::Reply(self.show(newest, show))
    }

    /// BACK: the screen named, anew; `None` if its state does not open.
    fn back(&self) -> Option<Reply> {
        let handler = self.handler()?;
        let show = handler.again(self.session(handler)?, &self.exchange.screen)?;
        Some(self.show(handler, show))
    }

    fn data_exchange(&self, token: Option<Token>) -> Outcome {
        let Some(handler) = self.handler() else { return Outcome::Reply(expired(self.flow.newest())) };
        let screen = &self.exchange.screen;
        let session = if handler.is_cover(screen) {
            let session = self.fresh(token.as_ref(), handler.form());
            if token.is_none() {
                self.parts.outbox.note_opening(session.id);
            }
            Some(session)
        } else {
            self.session(handler)
        };
        let turn = session.and_then(|session| handler.step(session, screen, &self.exchange.data));
        match turn {
            None => Outcome::Reply(expired(Some(handler))),
            Some(Turn::Show(show)) => Outcome::Reply(self.show(handler, show)),
            Some(Turn::Finish { completed, then }) => {
                let body = match then {
                    Closing::Show(show) => self.show(handler, *show).body,
                    Closing::Success => {
                        let params = json!({
                            "flow_token": self.exchange.flow_token,
                            "submission_id": completed.id,
                            "summary": completed.summary,
                        });
                        let data = json!({"extension_message_response": {"params": params}});
                        ok(self.exchange, json!({"screen": "SUCCESS", "data": data})).body
                    }
                };
                Outcome::Close(Box::new(Close { completed, handler: Arc::clone(handler), token, body }))
            }
        }
    }

    /// The version that the payload names.
    fn handler(&self) -> Option<&Arc<Handler>> {
        let version = match self.exchange.data.get(VERSION)? {
            Value::String(text) => text.parse().ok()?,
            value => u32::try_from(value.as_u64()?).ok()?,
        };
        self.flow.version(version)
    }

    fn session(&self, handler: &Handler) -> Option<Session> {
        let place = self.place(handler, &self.exchange.screen);
        place.open(&self.parts.sealer, self.exchange.data.get(STATE)?.as_str()?)
    }

    fn place<'p>(&'p self, handler: &Handler, screen: &'p str) -> Place<'p> {
        let version = handler.plan().version;
        Place { flow: &self.flow.id, version, screen, token: &self.exchange.flow_token }
    }

    fn show(&self, handler: &Handler, show: Show) -> Reply {
        let Show { screen, mut data, session, .. } = show;
        if let Some(session) = session {
            let state = self.place(handler, &screen).seal(&self.parts.sealer, &session, self.envelope);
            data.insert(STATE.to_owned(), Value::String(state));
        }
        if let Some(key) = check::missing(handler, &screen, &data) {
            tracing::error!(
                { field::FLOW_ID } = self.flow.id.as_str(),
                { field::FLOW_SCREEN } = screen.as_str(),
                { field::ERROR } = key,
                "our answer lacks a key that its screen declares"
            );
        }
        debug_assert!(screen != ENTRY || handler.plan().screens.first().is_some_and(|s| s.id == ENTRY));
        ok(
            self.exchange,
            Value::Object(Map::from_iter([
                ("screen".to_owned(), Value::String(screen)),
                ("data".to_owned(), Value::Object(data)),
            ])),
        )
    }
}

/// 427 with a message in the flow's language (WhatsApp Flows reference, 1.10).
fn expired(handler: Option<&Arc<Handler>>) -> Reply {
    let locale = handler.map_or("en", |handler| handler.form().locale.as_str());
    Reply { status: status(427), body: json!({"error_msg": Words::of(locale).expired}) }
}
