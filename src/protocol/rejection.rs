//! Why a request was not let in: the codes, their statuses, and what the caller is told.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use http::StatusCode;

use crate::protocol::field::error::FieldError;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// What a [`Rejection`] is about. Each kind has a stable [`code`](RejectionKind::code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The request has none of app id, timestamp, nonce and sign: 401.
    Unsigned,
    /// A field that every signed request has is absent, or body bytes came without a signed digest: 400.
    MissingField,
    /// A field is there twice, empty, or against its grammar: 400.
    MalformedField,
    /// The query or the form cannot be read in exactly one way, or has too many parameters: 400.
    MalformedParameters,
    /// The query exceeds its [limit](super::Limits::with_query): 414.
    QueryTooLong,
    /// The timestamp lies outside the window around the server's clock: 401.
    StaleTimestamp,
    /// Unknown app, disabled app or wrong signature, indistinguishably: 401.
    InvalidSignature,
    /// Reserved for tokens that are not live. No verifier answers it yet: 401.
    InvalidToken,
    /// The app used this nonce before: 401.
    ReplayedNonce,
    /// The body exceeds its [limit](super::Limits::with_body), or a form [its own](super::Limits::with_form): 413.
    BodyTooLarge,
    /// The body was not there by its deadline ([`Limits::with_form_timeout`](super::Limits::with_form_timeout),
    /// [`Limits::with_body_timeout`](super::Limits::with_body_timeout)): 400. It is not 408, on which browsers send the same
    /// request, with the same nonce, again.
    BodyTimeout,
    /// The body is not the one that was signed: 401.
    BodyMismatch,
    /// A store is full, slow or out of reach, or bodies that arrive take more memory than the verifier gives them: 503.
    /// Signing again later may work.
    Unavailable,
    /// The service is put together wrongly, two verifying layers around one route for example: 500.
    Misconfigured,
}

impl RejectionKind {
    /// The stable name that travels as `code`: `stale_timestamp` for example.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    /// A few words for people: `Stale timestamp` for example.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// The kind that an answer's `code` names, for clients that act on it.
    ///
    /// ```
    /// # use countersign::RejectionKind;
    /// assert_eq!(RejectionKind::from_code("replayed_nonce"), Some(RejectionKind::ReplayedNonce));
    /// assert_eq!(RejectionKind::from_code("of_a_later_version"), None);
    /// ```
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// In the order of their declaration.
    pub(crate) const ALL: [Self; 14] = [
        Self::Unsigned,
        Self::MissingField,
        Self::MalformedField,
        Self::MalformedParameters,
        Self::QueryTooLong,
        Self::StaleTimestamp,
        Self::InvalidSignature,
        Self::InvalidToken,
        Self::ReplayedNonce,
        Self::BodyTooLarge,
        Self::BodyTimeout,
        Self::BodyMismatch,
        Self::Unavailable,
        Self::Misconfigured,
    ];

    fn row(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::Unsigned => ("unsigned", StatusCode::UNAUTHORIZED, "Unsigned"),
            Self::MissingField => ("missing_field", StatusCode::BAD_REQUEST, "Missing field"),
            Self::MalformedField => ("malformed_field", StatusCode::BAD_REQUEST, "Malformed field"),
            Self::MalformedParameters => ("malformed_parameters", StatusCode::BAD_REQUEST, "Malformed parameters"),
            Self::QueryTooLong => ("query_too_long", StatusCode::URI_TOO_LONG, "Query too long"),
            Self::StaleTimestamp => ("stale_timestamp", StatusCode::UNAUTHORIZED, "Stale timestamp"),
            Self::InvalidSignature => ("invalid_signature", StatusCode::UNAUTHORIZED, "Invalid signature"),
            Self::InvalidToken => ("invalid_token", StatusCode::UNAUTHORIZED, "Invalid token"),
            Self::ReplayedNonce => ("replayed_nonce", StatusCode::UNAUTHORIZED, "Replayed nonce"),
            Self::BodyTooLarge => ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "Body too large"),
            Self::BodyTimeout => ("body_timeout", StatusCode::BAD_REQUEST, "Body timeout"),
            Self::BodyMismatch => ("body_mismatch", StatusCode::UNAUTHORIZED, "Body mismatch"),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Unavailable"),
            Self::Misconfigured => ("misconfigured", StatusCode::INTERNAL_SERVER_ERROR, "Misconfigured"),
        }
    }
}

/// The code.
impl fmt::Display for RejectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A request that is not let in, and why.
///
/// `Display` and [`detail`](Rejection::detail) are safe to send to the caller and to log: they name the field and what
/// was expected, and never hold a secret, a token or a signature.
pub struct Rejection(Box<Inner>);

struct Inner {
    kind: RejectionKind,
    field: Option<Cow<'static, str>>,
    detail: Cow<'static, str>,
    server_time: Option<u64>,
    source: Option<BoxError>,
    signature_error: Option<SignatureError>,
}

/// Why a request has the code [`invalid_signature`](RejectionKind::InvalidSignature).
///
/// It is for operators: `Outcome::signature_error`, events and metrics. The
/// caller gets the same answer in each case, so that nobody can find out which apps exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureError {
    /// The key store does not know the app id, or the app is disabled.
    UnknownApp,
    /// The app has keys, and none of them is active at this time.
    NoActiveKey,
    /// None of the app's active keys made the signature.
    WrongSignature,
}

impl SignatureError {
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 3] = [Self::UnknownApp, Self::NoActiveKey, Self::WrongSignature];

    /// A word for logs and labels: `unknown_app`, `no_active_key` or `wrong_signature`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownApp => "unknown_app",
            Self::NoActiveKey => "no_active_key",
            Self::WrongSignature => "wrong_signature",
        }
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Rejection {
    pub(crate) fn new(kind: RejectionKind, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self(Box::new(Inner { kind, field: None, detail, server_time: None, source: None, signature_error: None }))
    }

    /// A rejection for tests of what renders or counts them.
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn for_test(kind: RejectionKind) -> Self {
        Self::new(kind, "for a test")
    }

    pub(crate) fn missing(field: impl Into<Cow<'static, str>>, advice: impl fmt::Display) -> Self {
        let field = field.into();
        Self::new(RejectionKind::MissingField, format!("{field}: {advice}")).with_field(field)
    }

    pub(crate) fn malformed(field: impl Into<Cow<'static, str>>, problem: impl fmt::Display) -> Self {
        let field = field.into();
        Self::new(RejectionKind::MalformedField, format!("{field}: {problem}")).with_field(field)
    }

    pub(crate) fn malformed_parameters(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RejectionKind::MalformedParameters, detail)
    }

    /// `now` is the verifier's clock in Unix seconds.
    pub(crate) fn stale(detail: impl Into<Cow<'static, str>>, now: u64) -> Self {
        let mut rejection = Self::new(RejectionKind::StaleTimestamp, detail);
        rejection.0.server_time = Some(now);
        rejection
    }

    /// One answer for all three errors.
    pub(crate) fn invalid_signature(error: SignatureError) -> Self {
        let mut rejection = Self::new(
            RejectionKind::InvalidSignature,
            "the app id is unknown, or the signature is not that of this request: compare the string that you sign with \
             the protocol's, line by line, and look for what changes the request after that (a default header, a \
             redirect, a proxy)",
        );
        rejection.0.signature_error = Some(error);
        rejection
    }

    pub(crate) fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::new(
            RejectionKind::Unavailable,
            "the request could not be checked just now: sign it again, with a fresh nonce, a little later",
        )
        .with_source(source)
    }

    fn with_field(mut self, field: Cow<'static, str>) -> Self {
        self.0.field = Some(field);
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What the rejection is about.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.0.kind
    }

    /// The name of the field at fault, as it travels: `x-nonce` for example.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// What was wrong, what was expected, what to do.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The verifier's clock in Unix seconds, where the request's timestamp was refused.
    #[must_use]
    pub fn server_time(&self) -> Option<u64> {
        self.0.server_time
    }

    #[cfg(feature = "server")]
    pub(crate) fn signature_error(&self) -> Option<SignatureError> {
        self.0.signature_error
    }

    /// After how long, in whole seconds, another try is worth it, where a store failed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        (self.0.kind == RejectionKind::Unavailable).then_some(Duration::from_secs(1))
    }
}

/// Names a value that failed to parse by the field that it travelled in.
pub(crate) trait InField<T> {
    fn in_field(self, name: &str) -> Result<T, Rejection>;
}

impl<T> InField<T> for Result<T, FieldError> {
    fn in_field(self, name: &str) -> Result<T, Rejection> {
        self.map_err(|error| Rejection::malformed(name.to_owned(), error.problem()))
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind.code(), self.0.detail)
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("kind", &self.0.kind)
            .field("detail", &self.0.detail)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl Error for Rejection {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
