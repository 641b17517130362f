//! The fields that a request claims, and how they are read and written.

use std::sync::Arc;

use http::{HeaderMap, Uri, request::Parts};

use crate::protocol::{
    claim::{
        location::{self, FieldSource},
        token::TokenClaim,
    },
    field::{
        digest::Signature,
        value::{AppId, Field, Nonce, Timestamp, Token},
    },
    rejection::Rejection,
    scheme::{contract::Scheme, headers::HeaderIndex},
};

/// The fields of a request that is not verified yet.
///
/// The later stages are [`Timely`](crate::protocol::Timely), [`Authentic`](crate::protocol::Authentic) and
/// [`Unrepeated`](crate::protocol::Unrepeated). Only the check before a stage can make it.
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
/// Code outside the checks cannot make a later stage:
///
/// ```compile_fail,E0423
/// # use countersign::protocol::{Claim, Timely};
/// fn forge(claim: Claim) -> Timely {
///     Timely(claim)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Claim {
    /// Shared with the caller's identity later, and cheap to pass on until then.
    fields: Arc<Fields>,
    sign: Signature,
}

/// The signed fields.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) app_id: AppId,
    pub(crate) timestamp: Timestamp,
    /// `None` for a share link that may be opened more than once.
    pub(crate) nonce: Option<Nonce>,
    pub(crate) token: TokenClaim,
}

/// The error for a head whose fields, or another part, cannot be read.
pub(crate) struct UnreadableClaim {
    pub(crate) rejection: Rejection,
    /// The claimed app id and timestamp, if they can be read. Used for logs and metrics.
    pub(crate) app_id: Option<AppId>,
    pub(crate) timestamp: Option<Timestamp>,
}

impl From<Rejection> for UnreadableClaim {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, app_id: None, timestamp: None }
    }
}

impl Claim {
    /// Reads the fields of a request whose target is `uri`.
    ///
    /// # Errors
    ///
    /// Fails if the request is unsigned, if a field is missing or malformed, or if fields are in headers and in the
    /// query at once.
    pub fn extract(scheme: &Scheme, uri: &Uri, headers: &HeaderMap) -> Result<Self, Rejection> {
        let headers = scheme.header_table().find_in(headers);
        Self::read(scheme, uri, &headers).map_err(|unreadable| unreadable.rejection)
    }

    pub(crate) fn read(scheme: &Scheme, uri: &Uri, headers: &HeaderIndex<'_>) -> Result<Self, UnreadableClaim> {
        let unreadable = |rejection, source: Option<&FieldSource<'_>>| UnreadableClaim {
            rejection: location::unsigned_or(rejection, scheme, uri, headers),
            app_id: source.and_then(|source| source.required(Field::AppId, AppId::parse).ok()),
            timestamp: source.and_then(|source| source.required(Field::Timestamp, Timestamp::parse).ok()),
        };
        match FieldSource::find(scheme, uri, headers) {
            Ok(source) => {
                Self::read_fields(scheme, &source, headers).map_err(|rejection| unreadable(rejection, Some(&source)))
            }
            Err(rejection) => Err(unreadable(rejection, None)),
        }
    }

    fn read_fields(scheme: &Scheme, source: &FieldSource<'_>, headers: &HeaderIndex<'_>) -> Result<Self, Rejection> {
        let fields = Fields {
            app_id: source.required(Field::AppId, AppId::parse)?,
            timestamp: source.required(Field::Timestamp, Timestamp::parse)?,
            nonce: Some(source.required(Field::Nonce, Nonce::parse)?),
            token: TokenClaim::extract(scheme, source, headers.all())?,
        };
        Ok(Self { sign: source.required(Field::Sign, Signature::parse)?, fields: Arc::new(fields) })
    }

    /// Returns the app id that the request claims. It is not authenticated: use it for logs and limits only.
    #[must_use]
    pub fn app_id(&self) -> &AppId {
        &self.fields.app_id
    }

    /// Returns the time of signing that the request claims. It is not authenticated.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.fields.timestamp
    }

    /// Returns the nonce that the request claims. It is not authenticated. Only a share link that may be opened more than once
    /// has none.
    #[must_use]
    pub fn nonce(&self) -> Option<&Nonce> {
        self.fields.nonce.as_ref()
    }

    /// Returns the token of the request, from its configured location. It is not authenticated.
    #[must_use]
    pub fn token(&self) -> Option<&Token> {
        self.fields.token.token()
    }

    /// Returns the line of the token in the string to sign: the token, `cookie:` and a digest of a token in a cookie, or an
    /// empty text. The token is a secret: do not log it.
    #[must_use]
    pub fn token_line(&self) -> &str {
        self.fields.token.line()
    }

    pub(crate) fn new(fields: Fields, sign: Signature) -> Self {
        Self { fields: Arc::new(fields), sign }
    }

    /// Writes the fields to the place where [`extract`](Claim::extract) finds them.
    pub(crate) fn write(&self, scheme: &Scheme, parts: &mut Parts) -> Result<(), http::Error> {
        let mut timestamp = itoa::Buffer::new();
        let timestamp = timestamp.format(self.fields.timestamp.unix_seconds());
        let sign = self.sign.to_hex();
        let fields = [
            (Field::AppId, self.fields.app_id.as_str().as_bytes()),
            (Field::Timestamp, timestamp.as_bytes()),
            (Field::Nonce, self.fields.nonce.as_ref().map_or("", Nonce::as_str).as_bytes()),
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
