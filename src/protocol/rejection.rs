//! The reasons why a request is rejected: their codes, HTTP statuses and messages.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use http::StatusCode;

use crate::protocol::field::error::FieldError;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The reason of a [`Rejection`]. Each kind has a stable [`code`](RejectionKind::code).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The request has no app id, no timestamp, no nonce and no signature: 401.
    Unsigned,
    /// A required field is missing, or a body was sent without a signed digest: 400.
    MissingField,
    /// A field or header occurs twice, is empty, or does not match its grammar, or the body ended early: 400.
    MalformedField,
    /// The query or the form has a malformed escape or too many parameters, or a form without a digest has no signed
    /// parameter: 400. With [`ParameterPolicy::Reject`](super::ParameterPolicy::Reject), an empty parameter causes this
    /// kind too.
    MalformedParameters,
    /// The query exceeds its [limit](super::Limits::with_query): 414.
    QueryTooLong,
    /// The timestamp is outside the window around the verifier's clock, or the nonce store does not reach back to it:
    /// 401.
    StaleTimestamp,
    /// The app is unknown or disabled, none of its keys is active, or the signature is wrong: 401. The response is the
    /// same in each case.
    InvalidSignature,
    /// The token is unknown, expired, ended, or of another app: 401.
    InvalidToken,
    /// The route does not take this kind of token: 403.
    TokenNotAllowed,
    /// The app has already used this nonce: 401.
    ReplayedNonce,
    /// The body exceeds its [limit](super::Limits::with_body), or a form [its own](super::Limits::with_form): 413.
    BodyTooLarge,
    /// The body did not arrive by its deadline ([`Limits::with_form_timeout`](super::Limits::with_form_timeout),
    /// [`Limits::with_body_timeout`](super::Limits::with_body_timeout)): 400. The status is not 408, because browsers
    /// resend a request after a 408, with the same nonce.
    BodyTimeout,
    /// The body is not the signed one: 401.
    BodyMismatch,
    /// A store is full, slow or unavailable, or the arriving bodies use more memory than the verifier allows: 503. The
    /// client can sign again and retry later.
    Unavailable,
    /// The service is misconfigured, for example by two verifying layers around one route: 500.
    Misconfigured,
}

impl RejectionKind {
    /// Returns the stable name of the kind, which responses send as `code`: for example `stale_timestamp`.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// Returns the HTTP status of the response.
    #[must_use]
    pub fn status(self) -> StatusCode {
        self.row().1
    }

    /// Returns a short title for people: for example `Stale timestamp`.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// Returns the kind with this `code`, for clients that parse responses. Returns `None` if the code is unknown.
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

    /// All kinds, in the order of their declaration.
    pub(crate) const ALL: [Self; 15] = [
        Self::Unsigned,
        Self::MissingField,
        Self::MalformedField,
        Self::MalformedParameters,
        Self::QueryTooLong,
        Self::StaleTimestamp,
        Self::InvalidSignature,
        Self::InvalidToken,
        Self::TokenNotAllowed,
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
            Self::TokenNotAllowed => ("token_not_allowed", StatusCode::FORBIDDEN, "Token not allowed"),
            Self::ReplayedNonce => ("replayed_nonce", StatusCode::UNAUTHORIZED, "Replayed nonce"),
            Self::BodyTooLarge => ("body_too_large", StatusCode::PAYLOAD_TOO_LARGE, "Body too large"),
            Self::BodyTimeout => ("body_timeout", StatusCode::BAD_REQUEST, "Body timeout"),
            Self::BodyMismatch => ("body_mismatch", StatusCode::UNAUTHORIZED, "Body mismatch"),
            Self::Unavailable => ("unavailable", StatusCode::SERVICE_UNAVAILABLE, "Unavailable"),
            Self::Misconfigured => ("misconfigured", StatusCode::INTERNAL_SERVER_ERROR, "Misconfigured"),
        }
    }
}

/// Writes the code.
impl fmt::Display for RejectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The rejection of a request, with its reason.
///
/// `Display` and [`detail`](Rejection::detail) are safe to send to the caller and to log. They name the field and the
/// expected value, and never contain a secret, a token or a signature.
#[derive(Clone)]
pub struct Rejection(Arc<Inner>);

struct Inner {
    kind: RejectionKind,
    field: Option<Cow<'static, str>>,
    detail: Cow<'static, str>,
    server_time: Option<u64>,
    source: Option<BoxError>,
    signature_error: Option<SignatureError>,
    explanation: Option<Explained>,
    reason: Option<&'static str>,
}

/// The printable string to sign of a request with an invalid signature.
struct Explained {
    string_to_sign: String,
    /// Whether the caller gets it too.
    is_sent: bool,
}

/// The reason for the code [`invalid_signature`](RejectionKind::InvalidSignature).
///
/// Operators find it in `Outcome::signature_error`, in events and in metrics. The caller gets the same response in each
/// case, and therefore cannot find out which apps exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureError {
    /// The key store does not know the app id, or the app is disabled.
    UnknownApp,
    /// The app has keys, but none of them is active now.
    NoActiveKey,
    /// The signature matches none of the app's active keys.
    WrongSignature,
}

impl SignatureError {
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 3] = [Self::UnknownApp, Self::NoActiveKey, Self::WrongSignature];

    /// Returns the reason as a word for logs and metric labels: `unknown_app`, `no_active_key` or `wrong_signature`.
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
        Self(Arc::new(Inner {
            kind,
            field: None,
            detail: detail.into(),
            server_time: None,
            source: None,
            signature_error: None,
            explanation: None,
            reason: None,
        }))
    }

    /// Makes a rejection, for tests of code that renders or counts rejections.
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

    /// Makes a rejection with the verifier's clock: `now`, in Unix seconds.
    pub(crate) fn stale(detail: impl Into<Cow<'static, str>>, now: u64) -> Self {
        let mut rejection = Self::new(RejectionKind::StaleTimestamp, detail);
        rejection.edit(|inner| inner.server_time = Some(now));
        rejection
    }

    /// Makes the same rejection for all three errors.
    pub(crate) fn invalid_signature(error: SignatureError) -> Self {
        let mut rejection = Self::new(
            RejectionKind::InvalidSignature,
            "the app id is unknown, or the signature is not that of this request: compare the string that you sign with \
             the protocol's, line by line, and look for what changes the request after that (a default header, a \
             redirect, a proxy)",
        );
        rejection.edit(|inner| inner.signature_error = Some(error));
        rejection
    }

    pub(crate) fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::new(
            RejectionKind::Unavailable,
            "the request could not be checked just now: sign it again, with a fresh nonce, a little later",
        )
        .with_source(source)
    }

    /// Edits a rejection that is being made. It has no clones yet.
    fn edit(&mut self, edit: impl FnOnce(&mut Inner)) {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            edit(inner);
        }
    }

    fn with_field(mut self, field: Cow<'static, str>) -> Self {
        self.edit(|inner| inner.field = Some(field));
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.edit(|inner| inner.source = Some(source.into()));
        self
    }

    /// Makes the same rejection for every token that is not live. `reason` is for the app that the token was issued to.
    #[cfg(feature = "tokens")]
    pub(crate) fn invalid_token(reason: Option<&'static str>) -> Self {
        let detail = "the token is unknown, has ended, or was issued to another app: get another one";
        let mut rejection = Self::new(RejectionKind::InvalidToken, detail);
        rejection.edit(|inner| inner.reason = reason);
        rejection
    }

    #[cfg(feature = "tokens")]
    pub(crate) fn token_not_allowed(detail: &'static str) -> Self {
        Self::new(RejectionKind::TokenNotAllowed, detail)
    }

    /// Adds the printable string to sign. `is_sent` is whether the caller gets it.
    pub(crate) fn explained(mut self, string_to_sign: String, is_sent: bool) -> Self {
        self.edit(|inner| {
            if is_sent {
                inner.detail =
                    "the app id is unknown, or the signature is not that of this request: compare the string \
                                that you sign with string_to_sign, line by line; if all lines are equal, the key, the \
                                token or its spelling differs"
                        .into();
            }
            inner.explanation = Some(Explained { string_to_sign, is_sent });
        });
        self
    }

    /// Returns the kind of the rejection.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.0.kind
    }

    /// Returns the name of the field or header at fault, as it is sent: for example `x-nonce`. Returns `None` if the
    /// problem is not in a single field.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// Returns the message for people: the problem, the expected value, and how to fix the request. The wording can
    /// change.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Returns the verifier's clock in Unix seconds, if the timestamp was rejected.
    #[must_use]
    pub fn server_time(&self) -> Option<u64> {
        self.0.server_time
    }

    /// The reason why a token ended, `replaced` or `revoked`, if the token store remembers it and the token was issued to the
    /// app that signed.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        self.0.reason
    }

    /// The string to sign that the verifier compared with, for the caller: an [`Explanation`](crate::Explanation). It is
    /// there if the signature is invalid and the verifier
    /// explains that (`Verifier::with_explanations`).
    #[must_use]
    pub fn string_to_sign(&self) -> Option<&str> {
        self.0.explanation.as_ref().filter(|explained| explained.is_sent).map(|explained| &*explained.string_to_sign)
    }

    /// The string to sign, whether or not the caller gets it.
    #[cfg(feature = "server")]
    pub(crate) fn string_to_sign_for_operators(&self) -> Option<&str> {
        self.0.explanation.as_ref().map(|explained| &*explained.string_to_sign)
    }

    #[cfg(feature = "server")]
    pub(crate) fn signature_error(&self) -> Option<SignatureError> {
        self.0.signature_error
    }

    /// Returns the time after which the client should retry: one second for
    /// [`Unavailable`](RejectionKind::Unavailable), `None` for any other kind.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        (self.0.kind == RejectionKind::Unavailable).then_some(Duration::from_secs(1))
    }
}

/// Adds the name of the field to the error of a value that failed to parse.
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
