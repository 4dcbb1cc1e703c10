//! Names of log fields: one name for one thing, dotted, the same in every module.
//!
//! In a log macro write the name out (`flow.id = %id`) or use the constant (`{ field::FLOW_ID } = %id`); a name that is
//! not in this list does not belong in a log line.

/// The request, as in the reply's `x-request-id`.
pub const REQUEST_ID: &str = "request.id";
/// Method of an HTTP request.
pub const HTTP_METHOD: &str = "http.method";
/// Path of an HTTP request, never its query.
pub const HTTP_PATH: &str = "http.path";
/// Status of an HTTP reply.
pub const HTTP_STATUS: &str = "http.status";
/// Length of a reply's body.
pub const HTTP_RESPONSE_BYTES: &str = "http.response_bytes";
/// From head to reply.
pub const HTTP_DURATION_US: &str = "http.duration_us";
/// Address of a TCP peer.
pub const NET_PEER: &str = "net.peer";
/// Address of one of our listeners.
pub const NET_LISTENER: &str = "net.listener";
/// Id of a flow.
pub const FLOW_ID: &str = "flow.id";
/// Version of a flow.
pub const FLOW_VERSION: &str = "flow.version";
/// Action of an exchange.
pub const FLOW_ACTION: &str = "flow.action";
/// Screen of an exchange.
pub const FLOW_SCREEN: &str = "flow.screen";
/// Id of a WhatsApp number in our configuration, never the number itself.
pub const NUMBER_ID: &str = "number.id";
/// Id of a submission.
pub const SUBMISSION_ID: &str = "submission.id";
/// Id of a destination.
pub const DESTINATION_ID: &str = "destination.id";
/// Id of a replay of many deliveries.
pub const REPLAY_ID: &str = "replay.id";
/// Idempotency key of a delivery.
pub const DELIVERY_KEY: &str = "delivery.key";
/// Number of a delivery attempt.
pub const DELIVERY_ATTEMPT: &str = "delivery.attempt";
/// How a delivery attempt ended.
pub const DELIVERY_OUTCOME: &str = "delivery.outcome";
/// An error, with its chain.
pub const ERROR: &str = "error";
