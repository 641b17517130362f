//! The kinds of rejections: their codes, HTTP statuses and titles.

use std::fmt;

use http::StatusCode;

/// The reason of a [`Rejection`](crate::Rejection). Each kind has a stable [`code`](RejectionKind::code).
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
    /// parameter: 400. With [`ParameterPolicy::Reject`](crate::protocol::ParameterPolicy::Reject), an empty parameter causes this
    /// kind too.
    MalformedParameters,
    /// The query exceeds its [limit](crate::protocol::Limits::with_query): 414.
    QueryTooLong,
    /// The timestamp is outside the window around the verifier's clock, or the nonce store does not reach back to it:
    /// 401.
    StaleTimestamp,
    /// The app is unknown or disabled, none of its keys is active, or the signature is wrong: 401. The response is the
    /// same in each case.
    InvalidSignature,
    /// The token is unknown, expired, ended, or of another app: 401.
    InvalidToken,
    /// The route needs a token, and the request has none: 401.
    MissingToken,
    /// The route does not take this kind of token: 403.
    TokenNotAllowed,
    /// The route needs a signature by the app's own key, and the key of a session signed: 403.
    KeyNotAllowed,
    /// A limit refuses another session: 429. Services answer so; no verifier does.
    TooManySessions,
    /// The same submission is still running: 409. `SubmitOnceLayer` answers so.
    SubmissionInProgress,
    /// The outcome of the same submission is not known, for example because the process crashed: 409. `SubmitOnceLayer` answers
    /// so.
    SubmissionOutcomeUnknown,
    /// The same submission was answered before, and its answer is not stored: 409. `SubmitOnceLayer` answers so.
    DuplicateSubmission,
    /// The idempotency key was used for another request: 422. `SubmitOnceLayer` answers so.
    IdempotencyKeyReused,
    /// The link has expired: 403.
    ExpiredLink,
    /// A link takes only GET and HEAD, and a link for one use only GET: 405.
    MethodNotAllowed,
    /// The app has already used this nonce: 401.
    ReplayedNonce,
    /// The body exceeds its [limit](crate::protocol::Limits::with_body), or a form [its own](crate::protocol::Limits::with_form): 413.
    BodyTooLarge,
    /// The body did not arrive by its deadline ([`Limits::with_form_timeout`](crate::protocol::Limits::with_form_timeout),
    /// [`Limits::with_body_timeout`](crate::protocol::Limits::with_body_timeout)): 400. The status is not 408, because browsers
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
    pub(crate) const ALL: [Self; 24] = [
        Self::Unsigned,
        Self::MissingField,
        Self::MalformedField,
        Self::MalformedParameters,
        Self::QueryTooLong,
        Self::StaleTimestamp,
        Self::InvalidSignature,
        Self::InvalidToken,
        Self::MissingToken,
        Self::TokenNotAllowed,
        Self::KeyNotAllowed,
        Self::TooManySessions,
        Self::SubmissionInProgress,
        Self::SubmissionOutcomeUnknown,
        Self::DuplicateSubmission,
        Self::IdempotencyKeyReused,
        Self::ExpiredLink,
        Self::MethodNotAllowed,
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
            Self::MissingToken => ("missing_token", StatusCode::UNAUTHORIZED, "Missing token"),
            Self::TokenNotAllowed => ("token_not_allowed", StatusCode::FORBIDDEN, "Token not allowed"),
            Self::KeyNotAllowed => ("key_not_allowed", StatusCode::FORBIDDEN, "Key not allowed"),
            Self::TooManySessions => ("too_many_sessions", StatusCode::TOO_MANY_REQUESTS, "Too many sessions"),
            Self::SubmissionInProgress => ("submission_in_progress", StatusCode::CONFLICT, "Submission in progress"),
            Self::SubmissionOutcomeUnknown => {
                ("submission_outcome_unknown", StatusCode::CONFLICT, "Submission outcome unknown")
            }
            Self::DuplicateSubmission => ("duplicate_submission", StatusCode::CONFLICT, "Duplicate submission"),
            Self::IdempotencyKeyReused => {
                ("idempotency_key_reused", StatusCode::UNPROCESSABLE_ENTITY, "Idempotency key reused")
            }
            Self::ExpiredLink => ("expired_link", StatusCode::FORBIDDEN, "Expired link"),
            Self::MethodNotAllowed => ("method_not_allowed", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
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
