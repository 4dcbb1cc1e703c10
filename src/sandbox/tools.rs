//! All four tools at one address, each below its name: what `formgate sandbox` serves.
//!
//! A token that the authorization servers gave out is what the lists of forms and the peers that take submissions ask for.

use std::sync::Arc;

use super::hubspot::MAX_UPLOAD_BYTES;
use super::library::Library;
use super::oauth::Authority;
use super::peers::Peers;
use super::records::{self, Record};
use super::samples;
use crate::server::{DEFAULT_BODY_LIMIT_BYTES, Handler, Method, Request, Response, StatusCode};

/// The four tools. Cheap to clone; clones are the same tools.
#[derive(Clone)]
pub struct Tools {
    /// Gives out tokens.
    pub authority: Authority,
    /// Has the forms.
    pub library: Library,
    peers: Arc<Peers>,
}

impl Tools {
    /// Accounts with a few forms, and apps whose redirect address is this with the tool's name for `*`.
    pub fn new(redirect: &str) -> Tools {
        let authority = Authority::new(redirect);
        let asked = authority.clone();
        let library = Library::new(Arc::new(move |tool, token| asked.scopes_of(tool, token)));
        samples::fill(&library);
        let peers = Arc::new(Peers::new(&authority, &library));
        Tools { authority, library, peers }
    }

    /// Everything that the tools have stored, tool by tool, oldest first.
    pub fn records(&self) -> Vec<Record> {
        self.peers.records()
    }
}

impl Handler for Tools {
    async fn handle(&self, request: Request) -> Response {
        if let Some(answered) = records::answer(self, &request).or_else(|| self.authority.answer(&request)) {
            return answered;
        }
        match self.peers.answer(request).await {
            Ok(answered) => answered,
            Err(request) => {
                self.library.answer(&request).unwrap_or_else(|| Response::empty(StatusCode::NOT_FOUND))
            }
        }
    }

    fn body_limit(&self, _method: &Method, path: &str) -> usize {
        if path == "/hubspot/files/v3/files" { MAX_UPLOAD_BYTES } else { DEFAULT_BODY_LIMIT_BYTES }
    }
}
