//! Request signing and replay protection for HTTP APIs.
//!
//! A `VerifyLayer` in front of any tower, axum or hyper service accepts a request only if it is signed with an app's
//! secret key, its timestamp is within five minutes of the current time, and its nonce is new. A [`Signer`] signs
//! requests. An app is a client with an id and a secret key, which the service also has. The signature is an
//! HMAC-SHA256 over a text, the *string to sign*, which contains method, path, query, form, content type and the digest
//! of the body. Signing does not encrypt: use HTTPS.
//!
//! # A server
//!
#![cfg_attr(feature = "axum", doc = "```")]
#![cfg_attr(not(feature = "axum"), doc = "```ignore")]
//! use axum::{Router, routing::post};
//! use countersign::{Caller, Secret, StaticKeys, VerifyLayer};
//!
//! async fn create(caller: Caller, order: String) -> String {
//!     format!("{} ordered {order}", caller.app_id())
//! }
//!
//! let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
//! let app: Router = Router::new().route("/orders", post(create)).layer(VerifyLayer::new(keys));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A client
//!
//! ```
//! # #[cfg(feature = "client")] {
//! use countersign::{Secret, Signer};
//!
//! let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
//! let request = http::Request::post("http://127.0.0.1:8080/orders").body("42")?;
//! let request = signer.sign(request)?;
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `server` (default): adds `Verifier`, `VerifyLayer` and the stores.
//! - `client` (default): adds `Signer::sign`, which uses the system clock and random source, and the tower layer
//!   `SignLayer`.
//! - `axum`: supports axum's `Body` as a request body and its `OriginalUri` under `nest`, and makes `Caller` an
//!   extractor. Enable it in every axum service.
//! - `hyper`: supports hyper's `Incoming` as a request body.
//! - `key-cache`: adds `CachedKeys`, for keys in a database.
//! - `redis`: stores nonces, and tokens with `tokens`, in Redis, for verifiers on several machines. `redis-tls` adds TLS.
//! - `reqwest`: adds `Signer::sign_reqwest`, and `SignLayer` over a `reqwest::Client`.
//! - `key-file`: adds `FileKeys`, which reads apps and their keys from a file and reloads it when it changes.
//! - `metrics`: records counters, histograms and gauges through the `metrics` facade. See [the guide](guide::metrics).
//! - `tracing`: emits events for operators about rejected requests, failing stores, loaded or unreadable keys,
//!   misconfigured services, and a wall clock that steps back.
//! - `tokens`: adds `token::Tokens`: tokens for apps and users, which the server can end at once.
//! - `submissions`: adds `submission::SubmitOnceLayer`, which runs each submission once and answers a repeated one with the
//!   stored answer.
//! - `test-util`: adds test helpers such as `Caller::for_test`, and the conformance suite for custom stores.
//!
//! Without any feature, the crate contains only [`protocol`]: pure functions, without I/O, clock, randomness or async.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(doctest, feature = "axum", feature = "key-cache", feature = "redis", feature = "reqwest"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub mod client;
#[cfg(any(feature = "client", feature = "server"))]
#[cfg_attr(docsrs, doc(cfg(any(feature = "client", feature = "server"))))]
pub mod clock;
/// APIs that weaken verification.
///
/// [`ReportOnlyLayer`](danger::ReportOnlyLayer) accepts every request, and reports the requests that a verifier would
/// reject. Use it as the first step of [adding signatures to a running service](guide::rollout).
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub mod danger {
    pub use crate::server::report_only::{ReportOnly, ReportOnlyLayer, Verdict};
    #[cfg(feature = "redis")]
    #[cfg_attr(docsrs, doc(cfg(feature = "redis")))]
    pub use crate::store::redis::check_allowing_eviction;
}
#[cfg(any(feature = "client", feature = "server"))]
mod collect;
#[cfg(any(feature = "client", feature = "server"))]
mod event;
#[cfg(any(doc, doctest))]
pub mod guide;
#[cfg(any(feature = "client", feature = "server"))]
mod middleware;
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "half of it is for verifiers"))]
pub mod protocol;
#[cfg(any(feature = "client", feature = "submissions"))]
mod response_body;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub mod server;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub mod store;
#[cfg(feature = "submissions")]
#[cfg_attr(docsrs, doc(cfg(feature = "submissions")))]
pub mod submission;
#[cfg(feature = "test-util")]
#[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
pub mod testing;
#[cfg(feature = "tokens")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
pub mod token;

#[cfg(feature = "client")]
#[doc(inline)]
pub use self::client::{CheckResponsesLayer, OriginError, Refusal, SendError, SignLayer};
#[doc(inline)]
pub use self::protocol::{
    AppId, BodyDigest, BodyHasher, Explanation, Field, FieldError, FieldLocation, GrantToken, Key, KeyName, KeyRing,
    KeyRingError, Limits, Link, LinkScheme, Nonce, ParameterPolicy, Payload, Rejection, RejectionKind, ResponseError,
    ResponseErrorKind, Scheme, SchemeError, Secret, SecretError, SentRequest, SignError, SignErrorKind, SignatureError,
    SignedBy, Signer, Timestamp, Token, TokenLocation,
};
#[cfg(feature = "server")]
#[doc(inline)]
pub use self::{
    server::{Caller, PrefixError, SignResponsesLayer, Verifier, VerifyLayer},
    store::{App, DuplicateAppError, StaticKeys},
};
