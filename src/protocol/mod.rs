//! The protocol itself: pure functions from requests to strings to sign, without I/O, clock or randomness.
//!
//! Signers and verifiers share every line here that must agree. A request's way through the files:
//!
//! 1. `claim`: the fields are read ([`Claim`]), from the `carrier` that holds them,
//! 2. `freshness`: the timestamp lies in the [`Window`] ([`Timely`]),
//! 3. `canonical`: what is covered is put in order, with its `params` and `content_type`,
//! 4. `mac`: one of the app's keys signed it ([`Authentic`]),
//! 5. `freshness` again: the nonce is new ([`Unrepeated`], by the word of a store).
//!
//! A [`Signer`] goes the other way. Without features, the crate is this module.

mod canonical;
mod carrier;
mod claim;
mod content_type;
mod field;
mod freshness;
mod mac;
mod params;
mod rejection;
mod scheme;
mod secret;
mod signer;
mod token;

#[cfg(any(feature = "client", feature = "server"))]
pub(crate) use self::rejection::BoxError;
#[cfg(feature = "server")]
pub(crate) use self::{
    canonical::CanonicalRequest,
    carrier::{single, with_query},
    freshness::Lifetime,
    params::{ParameterList, strip},
};
pub use self::{
    claim::Claim,
    field::{AppId, BodyDigest, Field, FieldError, Nonce, Sign, Timestamp, Token},
    freshness::{Timely, Unrepeated, Window},
    mac::Authentic,
    params::Parameters,
    rejection::{Rejection, RejectionKind},
    scheme::{Carrier, Limits, Scheme, SchemeError, TokenPlace},
    secret::{KeyRing, KeyRingError, Secret, SecretTooShort},
    signer::{Payload, SignError, Signer},
};
