//! What a request claims of itself: its fields, read from where they travel and written there.

use std::sync::Arc;

use http::{HeaderMap, Uri, request::Parts};

use crate::protocol::{
    claim::{
        location::{self, FieldSource},
        token::TokenClaim,
    },
    field::{
        digest::Signature,
        value::{AppId, Field, Nonce, Timestamp},
    },
    rejection::Rejection,
    scheme::{contract::Scheme, headers::HeaderIndex},
};

/// The fields of a request that has proved nothing yet.
///
/// The way to a verified request leads through [`Timely`](crate::protocol::Timely), [`Authentic`](crate::protocol::Authentic) and
/// [`Unrepeated`](crate::protocol::Unrepeated), each of which only the check before it makes.
///
/// A claim cannot be authenticated before its timestamp is checked:
///
/// ```compile_fail,E0599
/// # use countersign::protocol::Claim;
/// fn skip_the_window(claim: Claim) {
///     claim.authenticate();
/// }
/// ```
///
/// Nor can anybody make up one of the later stages:
///
/// ```compile_fail,E0423
/// # use countersign::protocol::{Claim, Timely};
/// fn forge(claim: Claim) -> Timely {
///     Timely(claim)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Claim {
    /// Shared with the caller's identity in the end, and cheap to hand on until then.
    fields: Arc<Fields>,
    sign: Signature,
}

/// The fields that are signed.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) app_id: AppId,
    pub(crate) timestamp: Timestamp,
    pub(crate) nonce: Nonce,
    pub(crate) token: TokenClaim,
}

impl Claim {
    /// Reads the fields of a request whose target is `uri`.
    ///
    /// # Errors
    ///
    /// The request is unsigned, a field is missing or malformed, or fields travel in headers and in the query at once.
    pub fn extract(scheme: &Scheme, uri: &Uri, headers: &HeaderMap) -> Result<Self, Rejection> {
        Self::read(scheme, uri, &scheme.header_table().find_in(headers))
    }

    pub(crate) fn read(scheme: &Scheme, uri: &Uri, headers: &HeaderIndex<'_>) -> Result<Self, Rejection> {
        Self::read_fields(scheme, uri, headers)
            .map_err(|rejection| location::unsigned_or(rejection, scheme, uri, headers))
    }

    fn read_fields(scheme: &Scheme, uri: &Uri, headers: &HeaderIndex<'_>) -> Result<Self, Rejection> {
        let carried = FieldSource::find(scheme, uri, headers)?;
        let fields = Fields {
            app_id: carried.required(Field::AppId, AppId::parse)?,
            timestamp: carried.required(Field::Timestamp, Timestamp::parse)?,
            nonce: carried.required(Field::Nonce, Nonce::parse)?,
            token: TokenClaim::extract(scheme, &carried, headers.all())?,
        };
        Ok(Self { sign: carried.required(Field::Sign, Signature::parse)?, fields: Arc::new(fields) })
    }

    /// Who a request says it is from, and when it was signed, as far as that can be read where all of it cannot.
    pub(crate) fn extract_partial(
        scheme: &Scheme,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> (Option<AppId>, Option<Timestamp>) {
        let found = scheme.header_table().find_in(headers);
        let Ok(carried) = FieldSource::find(scheme, uri, &found) else {
            return (None, None);
        };
        (carried.required(Field::AppId, AppId::parse).ok(), carried.required(Field::Timestamp, Timestamp::parse).ok())
    }

    /// Who it says it is from. Nothing is proved: for logs and limits.
    #[must_use]
    pub fn app_id(&self) -> &AppId {
        &self.fields.app_id
    }

    /// When it says it was signed. Nothing is proved.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.fields.timestamp
    }

    /// The nonce that it brings. Nothing is proved.
    #[must_use]
    pub fn nonce(&self) -> &Nonce {
        &self.fields.nonce
    }

    pub(crate) fn new(fields: Fields, sign: Signature) -> Self {
        Self { fields: Arc::new(fields), sign }
    }

    /// Writes the fields to where [`extract`](Claim::extract) finds them.
    pub(crate) fn write(&self, scheme: &Scheme, parts: &mut Parts) -> Result<(), http::Error> {
        let mut timestamp = itoa::Buffer::new();
        let timestamp = timestamp.format(self.fields.timestamp.unix_seconds());
        let sign = self.sign.to_hex();
        let fields = [
            (Field::AppId, self.fields.app_id.as_str().as_bytes()),
            (Field::Timestamp, timestamp.as_bytes()),
            (Field::Nonce, self.fields.nonce.as_str().as_bytes()),
            (Field::Token, self.fields.token.field(scheme).as_bytes()),
            (Field::Sign, sign.as_bytes()),
        ];
        location::write(scheme, parts, fields.into_iter().filter(|(_, text)| !text.is_empty()))
    }

    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    pub(crate) fn sign(&self) -> &Signature {
        &self.sign
    }

    pub(crate) fn into_fields(self) -> Arc<Fields> {
        self.fields
    }
}
