//! The CS1 protocol as pure functions: no I/O, no clock, no randomness, no async.
//!
//! Signers and verifiers share this module, so that both ends agree. Without features, the crate contains only this
//! module. A [`Signer`] then signs a request's head with a timestamp and a nonce that you pass ([`Signer::sign_at`]).
//! This also works in WebAssembly.
//!
//! - The configuration that both ends share: [`Scheme`], [`FieldLocation`], [`TokenLocation`].
//! - Keys: [`Secret`], [`Key`], [`KeyRing`].
//! - The values in a request: [`AppId`], [`Timestamp`], [`Nonce`], [`Token`], [`GrantToken`], [`BodyDigest`]. A [`BodyHasher`] computes
//!   the digest of a body that is not in memory.
//! - The settings of a verifier: [`Limits`], [`ParameterPolicy`].
//! - The results of a verifier: [`Rejection`], [`RejectionKind`].
//! - Signed responses: [`SentRequest`], [`Signer::sign_response_at`], [`Signer::check_response_at`], [`ResponseError`].
//!
//! The stages of a verified request are types: [`Claim`], [`Timely`], [`Authentic`] and [`Unrepeated`]. Code that skips
//! a check does not compile. `Verifier` (feature `server`) runs all of them.

// A verifier uses the folders in this order: `claim` reads the fields from their location; `verify/freshness` checks
// the timestamp; `canonical` builds the string to sign; `verify/mac` checks the signature with the app's keys (`key`);
// `verify/replay` checks with a store that the nonce is new. A signer uses them in reverse order.

mod canonical;
mod claim;
mod encode;
mod field;
mod key;
mod query;
mod rejection;
mod response;
mod scheme;
mod signer;
pub(crate) mod token;
mod verify;

#[cfg(feature = "tokens")]
pub(crate) use self::claim::token::{cookie_line, presented_token};
#[cfg(feature = "submissions")]
#[cfg_attr(docsrs, doc(cfg(feature = "submissions")))]
pub use self::field::idempotency_key::IdempotencyKey;
#[cfg(any(feature = "client", feature = "server"))]
pub(crate) use self::rejection::BoxError;
#[cfg(feature = "server")]
pub(crate) use self::rejection::Challenge;
#[cfg(feature = "submissions")]
pub(crate) use self::{
    canonical::content::SignedContent,
    field::idempotency_key::IDEMPOTENCY_KEY,
    rejection::InField,
    scheme::headers::{HOP_BY_HOP, single},
};
#[cfg(feature = "client")]
pub(crate) use self::{canonical::string_to_sign::LINES_WITHOUT_HEADERS, encode::percent::decoded};
#[cfg(feature = "server")]
pub(crate) use self::{
    canonical::string_to_sign::{CanonicalRequest, Head, HeadAndQuery, StringToSign},
    claim::{
        fields::UnreadableClaim,
        link::LinkClaim,
        token::{remove_cookie, remove_token},
    },
    encode::{
        grammar::{is_token_byte, trim},
        percent::escape,
        segment::Text,
    },
    key::app_key::KeyLabel,
    query::{strip, with_query},
    scheme::{
        headers::{HeaderIndex, KnownHeader, OVERRIDES},
        response_headers::RESPONSE_SIGNATURE,
    },
    verify::{
        freshness::LinkWindow,
        replay::{PendingLink, PendingNonce, SignedFields, Verified},
    },
};
pub use self::{
    canonical::{explanation::Explanation, parameters::ParameterPolicy},
    claim::fields::Claim,
    field::{
        digest::BodyDigest,
        error::FieldError,
        hasher::BodyHasher,
        value::{AppId, Field, Nonce, Timestamp, Token},
    },
    key::{
        app_key::{Key, KeyName, SignedBy},
        ring::{KeyRing, KeyRingError},
        secret::{Secret, SecretError},
    },
    rejection::{RejectedLink, Rejection, RejectionKind, SignatureError},
    response::{
        error::{ResponseError, ResponseErrorKind},
        sent::SentRequest,
    },
    scheme::{
        contract::{FieldLocation, Scheme, TokenLocation},
        error::SchemeError,
        limits::Limits,
        links::LinkScheme,
    },
    signer::{
        error::{SignError, SignErrorKind},
        presign::{Link, Presign},
        sign::{Payload, Signer},
    },
    token::GrantToken,
    verify::{
        freshness::{Timely, Window},
        mac::Authentic,
        replay::{NonceStatus, Retention, Unrepeated},
    },
};
