//! All four tools at one address, each below its name: what `formgate sandbox` serves.
//!
//! A token that the authorization servers gave out is what the lists of forms ask for.

use std::sync::Arc;

use super::library::Library;
use super::oauth::Authority;
use crate::server::{Handler, Request, Response, StatusCode};

/// The four tools. Cheap to clone; clones are the same tools.
#[derive(Clone)]
pub struct Tools {
    /// Gives out tokens.
    pub authority: Authority,
    /// Has the forms.
    pub library: Library,
}

impl Tools {
    /// Empty accounts, and apps whose redirect address is this with the tool's name for `*`.
    pub fn new(redirect: &str) -> Tools {
        let authority = Authority::new(redirect);
        let asked = authority.clone();
        let library = Library::new(Arc::new(move |tool, token| asked.scopes_of(tool, token)));
        Tools { authority, library }
    }
}

impl Handler for Tools {
    async fn handle(&self, request: Request) -> Response {
        let answered = self.authority.answer(&request).or_else(|| self.library.answer(&request));
        answered.unwrap_or_else(|| Response::empty(StatusCode::NOT_FOUND))
    }
}
