//! Signed, fresh, unrepeated HTTP requests.

#![cfg_attr(docsrs, feature(doc_cfg))]

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

pub use self::protocol::{
    AppId, BodyDigest, Carrier, Field, FieldError, KeyRing, KeyRingError, Limits, Nonce, Parameters, Payload,
    Rejection, RejectionKind, Scheme, SchemeError, Secret, SecretTooShort, SignError, Signer, Timestamp, Token,
    TokenPlace,
};
#[cfg(feature = "server")]
pub use self::{
    server::{Caller, Verifier, VerifyLayer},
    store::StaticKeys,
};
