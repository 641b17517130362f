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
mod claim;
mod encode;
mod field;
mod key;
mod query;
mod rejection;
mod scheme;
mod signer;
mod verify;

#[cfg(any(feature = "client", feature = "server"))]
pub(crate) use self::rejection::BoxError;
pub use self::{
    canonical::parameters::ParameterPolicy,
    claim::fields::Claim,
    field::{
        digest::BodyDigest,
        error::FieldError,
        hasher::BodyHasher,
        value::{AppId, Field, Nonce, Timestamp, Token},
    },
    key::{
        app_key::{Key, KeyName},
        ring::{KeyRing, KeyRingError},
        secret::{Secret, SecretError},
    },
    rejection::{Rejection, RejectionKind, SignatureError},
    scheme::{
        contract::{FieldLocation, Scheme, SchemeError, TokenLocation},
        limits::Limits,
    },
    signer::{
        error::SignError,
        sign::{Payload, Signer},
    },
    verify::{
        freshness::{Timely, Window},
        mac::Authentic,
        replay::{NonceStatus, Retention, Unrepeated},
    },
};
#[cfg(feature = "server")]
pub(crate) use self::{
    canonical::string_to_sign::{CanonicalRequest, Head, HeadAndQuery},
    encode::{
        grammar::{is_token_byte, trim},
        percent::escape,
    },
    key::app_key::KeyLabel,
    query::{strip, with_query},
    scheme::headers::{HeaderIndex, KnownHeader, OVERRIDES},
    verify::replay::PendingNonce,
};
