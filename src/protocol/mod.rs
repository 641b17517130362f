//! The protocol itself: pure functions from requests to strings to sign, without I/O, clock or randomness.
//!
//! Signers and verifiers share every line here that must agree. A request's way through the files:
//!
//! 1. `claim`: the fields are read ([`Claim`]), from the `carrier` that holds them,
//! 2. `freshness`: the timestamp lies in the [`Window`] ([`Timely`]),
//! 3. `canonical`: what is covered is put in order, with its `params` and `content_type`,
//! 4. `mac`: one of the app's keys (`key`, `key_ring`) signed it ([`Authentic`]),
//! 5. `freshness` again: the nonce is new ([`Unrepeated`], by the word of a store).
//!
//! A [`Signer`] goes the other way. Without features, the crate is this module: it signs, and reads claims. Only the
//! `Verifier` of the feature `server` walks through all stages; they are public so that the compiler checks their order.

mod canonical;
mod carrier;
mod charset;
mod claim;
mod content_type;
mod digest;
mod field;
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
    header::{is_token_byte, trim},
    headers::{FoundHeaders, Known, OVERRIDES},
    params::strip,
    percent::escape,
};
pub use self::{
    claim::Claim,
    digest::BodyDigest,
    field::{AppId, Field, FieldError, Nonce, Timestamp, Token},
    freshness::{Lifetime, Occurrence, Timely, Unrepeated, Window},
    hasher::BodyHasher,
    key::{Key, KeyName},
    key_ring::{KeyRing, KeyRingError},
    limits::Limits,
    mac::Authentic,
    params::Parameters,
    rejection::{Rejection, RejectionKind},
    scheme::{Carrier, Scheme, SchemeError, TokenPlace},
    secret::{Secret, SecretError},
    sign_error::SignError,
    signer::{Payload, Signer},
};
