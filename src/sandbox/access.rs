//! Who may do what at a peer: by a token of the peer's own, or by those that the authorization servers gave out.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::server::{Request, header};

/// Says what a token may do; `None` if it is not valid.
pub(super) type Door = Arc<dyn Fn(&str) -> Option<BTreeSet<String>> + Send + Sync>;

/// Lets in with this token, which may do this.
pub(super) fn only(token: &str, scopes: &[&str]) -> Door {
    let scopes: BTreeSet<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let token = token.to_owned();
    Arc::new(move |given| (given == token).then(|| scopes.clone()))
}

/// The token of a request.
pub(super) fn bearer(request: &Request) -> Option<&str> {
    let (scheme, token) = request.header(header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}
