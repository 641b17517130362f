//! Signed, fresh, unrepeated HTTP requests.
//!
//! A [`VerifyLayer`] in front of any tower, axum or hyper service lets a request in only if somebody who holds an app's
//! secret key signed it, within five minutes of now, and only once. A [`Signer`] makes such requests. The signature
//! covers method, path, query, form, content type and body, by HMAC-SHA256 over an unambiguous string to sign. It hides
//! nothing: use HTTPS.
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
//! let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)]);
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
//! # A request's way through the crate
//!
//! ```text
//!          client                                                    server
//!  Signer::sign, SignLayer                                  VerifyLayer, Verifier::verify
//!            |                                                          ^
//!            |     +------------------ protocol -------------------+    |
//!            +---> |  claim        the fields, written | extracted | ---+  1  400, 413, 414
//!                  |  freshness                 the window checked |       2  401 stale
//!                  |  canonical    the string to sign, by          |       3  400
//!                  |               params and content_type         |
//!                  |                      store: the keys          |       4  503
//!                  |                      server: a form is read   |       5  413, 400
//!                  |  mac          sealed | authenticated          |       6  401
//!                  |                      store: the nonce claimed |       8  401, 503
//!                  +-----------------------------------------------+
//!                                         server: the body checked         9  413, 401
//!                                         server: delivered to the service, with its Caller
//! ```
//!
//! Step 7, tokens, is to come. The numbers are those of PROTOCOL.md, which is written for clients in other languages.
//!
//! # Features
//!
//! - `server` (default): the verifying side.
//! - `client` (default): the signing side's clock and random source, and its tower layer.
//! - `axum`: axum's `Body`, its `OriginalUri` under `nest`, [`Caller`] as an extractor.
//! - `hyper`: hyper's `Incoming` as a request body.
//! - `tracing`: events when the wall clock steps back, when a store fails, when the service is put together wrongly.
//! - `test-util`: the suite that every store passes.
//!
//! Without any, the crate is [`protocol`]: pure functions, without I/O, clock, randomness or async.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(doctest, feature = "axum", feature = "client"))]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "client")]
#[cfg_attr(docsrs, doc(cfg(feature = "client")))]
pub mod client;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub mod clock;
#[cfg(feature = "server")]
mod event;
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "half of it is for verifiers"))]
pub mod protocol;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub mod server;
#[cfg(feature = "server")]
#[cfg_attr(docsrs, doc(cfg(feature = "server")))]
pub mod store;

#[cfg(feature = "client")]
pub use self::client::SignLayer;
pub use self::protocol::{
    AppId, BodyDigest, Carrier, Field, FieldError, Key, KeyRing, KeyRingError, Limits, Nonce, Parameters, Payload,
    Rejection, RejectionKind, Scheme, SchemeError, Secret, SecretTooShort, SignError, Signer, Timestamp, Token,
    TokenPlace,
};
#[cfg(feature = "server")]
pub use self::{
    server::{Caller, Verifier, VerifyLayer},
    store::StaticKeys,
};
