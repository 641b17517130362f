//! The rejection of a request: its kind, its message, and what the response needs.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use http::HeaderValue;

use super::{RejectionKind, SignatureError};
use crate::protocol::field::error::FieldError;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// The rejection of a request, with its reason.
///
/// `Display` and [`detail`](Rejection::detail) are safe to send to the caller and to log. They name the field and the
/// expected value, and never contain a secret, a token or a signature.
#[derive(Clone)]
pub struct Rejection(Arc<Inner>);

pub(super) struct Inner {
    kind: RejectionKind,
    field: Option<Cow<'static, str>>,
    detail: Cow<'static, str>,
    server_time: Option<u64>,
    source: Option<BoxError>,
    signature_error: Option<SignatureError>,
    explanation: Option<Explained>,
    pub(super) reason: Option<&'static str>,
    pub(super) challenge: Challenge,
    pub(super) submission: Option<Submission>,
    allowed_methods: Option<&'static str>,
    link: Option<RejectedLink>,
}

/// The request for a share link that was rejected. A person may see the response: [`accept`](Self::accept) tells whether a
/// browser asks for a page.
#[derive(Clone, Debug)]
pub struct RejectedLink {
    accept: Option<HeaderValue>,
}

impl RejectedLink {
    /// Returns the `Accept` header of the request.
    #[must_use]
    pub fn accept(&self) -> Option<&HeaderValue> {
        self.accept.as_ref()
    }
}

/// What the caller of a repeated submission learns of the first one.
#[derive(Clone, Debug, Default)]
pub(super) struct Submission {
    /// In whole seconds.
    pub(super) expires_in: Option<u64>,
    pub(super) first_status: Option<u16>,
    pub(super) location: Option<Box<str>>,
}

/// The challenges of a 401. RFC 9110, section 11.6.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "tokens"), allow(dead_code, reason = "only rejections about tokens have another challenge"))]
pub(crate) enum Challenge {
    /// A signature.
    #[default]
    Signature,
    /// A signature, and a token in `Authorization: Bearer`.
    SignatureAndBearer,
    /// A token in `Authorization: Bearer`, without a signature.
    Bearer,
}

/// The printable string to sign of a request with an invalid signature.
struct Explained {
    string_to_sign: String,
    /// Whether the caller gets it too.
    is_sent: bool,
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
            challenge: Challenge::default(),
            submission: None,
            allowed_methods: None,
            link: None,
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

    /// Makes the rejection for a request that cannot be checked, because a store failed: 503. `source` is for operators.
    #[must_use]
    pub fn unavailable(source: impl Into<BoxError>) -> Self {
        Self::new(
            RejectionKind::Unavailable,
            "the request could not be checked just now: sign it again, with a fresh nonce, a little later",
        )
        .with_source(source)
    }

    /// Edits a rejection that is being made. It has no clones yet.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Inner)) {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            edit(inner);
        }
    }

    pub(super) fn with_field(mut self, field: Cow<'static, str>) -> Self {
        self.edit(|inner| inner.field = Some(field));
        self
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.edit(|inner| inner.source = Some(source.into()));
        self
    }

    #[cfg(feature = "server")]
    pub(crate) fn with_allowed_methods(mut self, methods: &'static str) -> Self {
        self.edit(|inner| inner.allowed_methods = Some(methods));
        self
    }

    /// Says that the request was a share link. `accept` is its `Accept` header.
    #[cfg(feature = "server")]
    pub(crate) fn of_link(mut self, accept: Option<HeaderValue>) -> Self {
        self.edit(|inner| inner.link = Some(RejectedLink { accept }));
        self
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

    /// The share link, if the request was one. A renderer can make a page for people then.
    #[must_use]
    pub fn link(&self) -> Option<&RejectedLink> {
        self.0.link.as_ref()
    }

    /// The value of `Allow`, if the method was rejected.
    #[cfg(feature = "server")]
    pub(crate) fn allowed_methods(&self) -> Option<&'static str> {
        self.0.allowed_methods
    }

    #[cfg(feature = "server")]
    pub(crate) fn challenge(&self) -> Challenge {
        self.0.challenge
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
    /// [`Unavailable`](RejectionKind::Unavailable) and [`SubmissionInProgress`](RejectionKind::SubmissionInProgress), `None`
    /// for any other kind.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let is_temporary = matches!(self.0.kind, RejectionKind::Unavailable | RejectionKind::SubmissionInProgress);
        is_temporary.then_some(Duration::from_secs(1))
    }

    /// Returns the number of seconds until the service forgets the submission that the request repeats.
    #[must_use]
    pub fn expires_in(&self) -> Option<u64> {
        self.0.submission.as_ref()?.expires_in
    }

    /// Returns the HTTP status of the first answer, if the request repeats an answered submission:
    /// [`DuplicateSubmission`](RejectionKind::DuplicateSubmission).
    #[must_use]
    pub fn first_status(&self) -> Option<u16> {
        self.0.submission.as_ref()?.first_status
    }

    /// Returns the `location` header of the first answer, if the request repeats an answered submission and that answer had
    /// one.
    #[must_use]
    pub fn first_location(&self) -> Option<&str> {
        self.0.submission.as_ref()?.location.as_deref()
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
