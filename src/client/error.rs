//! What can go wrong with an outbound call, and what the caller may conclude from it.

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL is no http(s) URL with a host, or carries credentials.
    #[error("the URL cannot be called")]
    Url,
    /// The URL is plain http where https is required.
    #[error("only https is allowed for this destination")]
    PlainHttp,
    /// The port is not 443 where that is required.
    #[error("only port 443 is allowed for this destination")]
    Port,
    /// The host is, or resolves to, an address that may not be reached.
    #[error("the host's address may not be reached")]
    Address,
    /// A header could not be put into a request.
    #[error("a header has a name or value that HTTP does not allow")]
    Header,
    /// The name could not be resolved.
    #[error("the host's name cannot be resolved")]
    Resolve(#[source] std::io::Error),
    /// No address of the host accepted a connection.
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    /// The peer's certificate or its TLS was refused.
    #[error("TLS failed")]
    Tls(#[source] std::io::Error),
    /// The connection broke, or what came was no HTTP.
    #[error("the exchange broke off")]
    Exchange(#[source] hyper::Error),
    /// A mail server refused, or spoke no SMTP.
    #[error("the mail was not taken{}", .status.map(|status| format!(" ({status})")).unwrap_or_default())]
    Mail {
        /// What it said, if that was a reply of SMTP.
        status: Option<u16>,
    },
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline {
        /// Whether the request may have begun to leave.
        sent: Sent,
    },
}

/// Whether the peer may have seen the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Not a byte of it left: repeating it cannot make a duplicate.
    Nothing,
    /// Some or all of it left: the peer may have acted on it.
    Maybe,
}

/// Who has to do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller: the same call will fail for ever.
    Caller,
    /// The peer.
    Peer,
    /// The way between.
    Network,
}

impl Error {
    /// Whether the peer may have seen the request.
    #[must_use]
    pub fn sent(&self) -> Sent {
        match self {
            Self::Exchange(_) | Self::Mail { .. } => Sent::Maybe,
            Self::Deadline { sent } => *sent,
            _ => Sent::Nothing,
        }
    }

    /// Who has to do something about it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Url | Self::PlainHttp | Self::Port | Self::Address | Self::Header => Fault::Caller,
            Self::Tls(_) | Self::Exchange(_) | Self::Mail { .. } => Fault::Peer,
            Self::Resolve(_) | Self::Connect(_) | Self::Deadline { .. } => Fault::Network,
        }
    }

    /// Whether the same call may succeed later. A refused address may: names are given new addresses.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Address) || self.fault() != Fault::Caller
    }

    /// A short constant name for metrics and attempt logs.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::PlainHttp => "plain_http",
            Self::Port => "port",
            Self::Address => "address_refused",
            Self::Header => "header",
            Self::Resolve(_) => "resolve",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Exchange(_) => "exchange",
            Self::Mail { .. } => "mail",
            Self::Deadline { .. } => "deadline",
        }
    }

    /// The status that the peer gave with its refusal, if the error carries one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Mail { status } => *status,
            _ => None,
        }
    }
}
