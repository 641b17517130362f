//! The CS1 protocol as pure functions: no I/O, no clock, no randomness, no async.
//!
//! Signers and verifiers share it, so that both ends agree. Without features the crate is this module: a [`Signer`] signs a
//! request's head with a timestamp and a nonce of the caller's ([`Signer::sign_at`]), and works in WebAssembly too.
//!
//! - What both ends agree on: [`Scheme`], [`FieldLocation`], [`TokenLocation`].
//! - Keys: [`Secret`], [`Key`], [`KeyRing`].
//! - Values that travel: [`AppId`], [`Timestamp`], [`Nonce`], [`Token`], [`BodyDigest`], made by a [`BodyHasher`] for a body
//!   that is not in memory.
//! - A verifier's own settings: [`Limits`], [`ParameterPolicy`].
//! - What a verifier answers: [`Rejection`], [`RejectionKind`].
//!
//! The stages of a verified request, [`Claim`] to [`Timely`] to [`Authentic`] to [`Unrepeated`], are types, so that a skipped
//! check does not compile. `Verifier` (feature `server`) goes through all of them.

// A request goes through the files in this order: `claim` reads the fields from the `carrier` that holds them; `freshness`
// checks the timestamp; `canonical` puts in order what is signed, with `params` and `content_type`; `mac` checks the signature
// with the app's keys (`key`, `key_ring`); `freshness` checks that the nonce is new, by the answer of a store. A signer goes the
// other way.

mod canonical;
mod carrier;
mod charset;
mod claim;
mod content_type;
mod digest;
mod field;
mod field_error;
mod freshness;
mod hasher;
mod header;
mod headers;
mod key;
mod key_ring;
mod limits;
mod mac;
mod names;
mod params;
mod percent;
mod rejection;
mod scheme;
mod secret;
mod segment;
mod sign_error;
mod signer;
mod token;
#[cfg(feature = "client")]
mod unsign;

#[cfg(any(feature = "client", feature = "server"))]
pub(crate) use self::rejection::BoxError;
#[cfg(feature = "server")]
pub(crate) use self::{
    canonical::{CanonicalRequest, Head, HeadAndQuery},
    carrier::with_query,
    freshness::PendingNonce,
    header::{is_token_byte, trim},
    headers::{HeaderIndex, KnownHeader, OVERRIDES},
    key::KeyLabel,
    params::strip,
    percent::escape,
};
pub use self::{
    claim::Claim,
    digest::BodyDigest,
    field::{AppId, Field, Nonce, Timestamp, Token},
    field_error::FieldError,
    freshness::{NonceStatus, Retention, Timely, Unrepeated, Window},
    hasher::BodyHasher,
    key::{Key, KeyName},
    key_ring::{KeyRing, KeyRingError},
    limits::Limits,
    mac::Authentic,
    params::ParameterPolicy,
    rejection::{Rejection, RejectionKind, SignatureError},
    scheme::{FieldLocation, Scheme, SchemeError, TokenLocation},
    secret::{Secret, SecretError},
    sign_error::SignError,
    signer::{Payload, Signer},
};
