//! A verifier's refusal, as a client reads it.

use std::{fmt, time::Duration};

use http::{HeaderMap, HeaderName, StatusCode, header};
use serde::Deserialize;

use super::Comparison;
use crate::protocol::{Explanation, RejectionKind};

/// A verifier's refusal of a request, as a client reads it from the response.
///
/// [`SignLayer`](crate::SignLayer) puts it into the extensions of the response. Other clients read it with
/// [`from_response`](Self::from_response).
///
/// `Display` gives the code, the reason and what to do. Its text is printable and short, whatever the server sent. It may
/// contain the path or parameters of the request, but no secret.
///
/// Any response with the header `x-error-code` is taken for a refusal. If the code is not a verifier's, its
/// [kind](Self::kind) is `None`.
///
/// Without [signed responses](crate::SignLayer::require_signed_responses), anybody between the client and the service can make
/// a refusal. Never conclude from an unsigned refusal that a request had no effect.
///
/// ```
/// use countersign::{Refusal, RejectionKind};
///
/// let (parts, body) = http::Response::builder()
///     .status(503)
///     .header("x-error-code", "unavailable")
///     .header("retry-after", "1")
///     .body("")?
///     .into_parts();
/// let refusal = Refusal::from_response(parts.status, &parts.headers, body.as_bytes()).expect("it has a code");
/// assert_eq!(refusal.kind(), Some(RejectionKind::Unavailable));
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    code: String,
    field: Option<String>,
    detail: Option<String>,
    server_time: Option<u64>,
    retry_after: Option<Duration>,
    first: FirstSubmission,
    string_to_sign: Option<Explanation>,
    comparison: Option<Comparison>,
    clock_offset: Option<i64>,
    /// The offset that the request was signed with.
    used_offset: i64,
    is_clock_corrected: bool,
    /// Whether this is a response of gRPC, whose HTTP status is always 200.
    is_grpc: bool,
}

/// What the service says of the submission that a request repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct FirstSubmission {
    expires_in: Option<u64>,
    status: Option<StatusCode>,
    location: Option<String>,
}

impl Refusal {
    /// Reads the refusal from a response. The headers are enough for most of it: the body adds the field, the detail and
    /// the string to sign. Pass an empty body if you do not want to read it.
    ///
    /// Returns `None` if the response is not a refusal of a verifier, which has the header `x-error-code`. Reads at most
    /// the first 64 KiB of the body.
    #[must_use]
    pub fn from_response(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let code = code(headers)?;
        let problem = Problem::read(headers, body).filter(|problem| problem.code == code).unwrap_or_default();
        Some(Self {
            status,
            field: problem.field.as_deref().map(printable),
            detail: problem.detail.as_deref().map(printable),
            first: FirstSubmission {
                expires_in: problem.expires_in,
                status: problem.first_status.and_then(|status| StatusCode::from_u16(status).ok()),
                location: problem.location.as_deref().map(printable),
            },
            string_to_sign: problem.string_to_sign.as_deref().map(Explanation::of_response),
            server_time: number(headers, &HeaderName::from_static("x-server-time")),
            retry_after: number(headers, &header::RETRY_AFTER).map(|seconds| Duration::from_secs(seconds.min(A_DAY))),
            code: code.to_owned(),
            comparison: None,
            clock_offset: None,
            used_offset: 0,
            is_clock_corrected: false,
            is_grpc: content_type(headers).is_some_and(|kind| kind.starts_with("application/grpc")),
        })
    }

    /// Compares the string that the client signed with the one of the verifier, if the verifier has sent it.
    #[must_use]
    pub fn compared_with(self, signed: &Explanation) -> Self {
        let comparison = self.string_to_sign.as_ref().map(|verified| Comparison::new(signed, verified));
        Self { comparison, ..self }
    }

    /// Adds the verifier's clock minus this one, if a verifier refused the timestamp itself. A gateway may pass on the
    /// headers of another verifier's refusal, with a status of its own: that says nothing about this request.
    ///
    /// `received` is this clock when the response arrived, and `used` is the offset that the request was signed with.
    pub(super) fn measured_at(self, received: Duration, used: i64) -> Self {
        let is_refused = self.status == StatusCode::UNAUTHORIZED || self.is_grpc;
        let is_stale = self.kind() == Some(RejectionKind::StaleTimestamp) && is_refused;
        let now = i64::try_from(received.as_secs()).ok();
        let server_time = self.server_time.filter(|_| is_stale).and_then(|time| i64::try_from(time).ok());
        let clock_offset = server_time.zip(now).and_then(|(server_time, now)| server_time.checked_sub(now));
        Self { clock_offset, used_offset: used, ..self }
    }

    pub(super) fn with_corrected_clock(self) -> Self {
        Self { is_clock_corrected: true, ..self }
    }

    /// The kind. It is `None` if this version of the crate does not know the code.
    #[must_use]
    pub fn kind(&self) -> Option<RejectionKind> {
        RejectionKind::from_code(&self.code)
    }

    /// The [code](RejectionKind::code): lowercase letters and `_`.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The name of the field that is missing or malformed, as it is sent.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }

    /// The message of the verifier: the problem, the expected value, and how to fix the request.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The verifier's clock in Unix seconds, if the timestamp was refused.
    #[must_use]
    pub fn server_time(&self) -> Option<u64> {
        self.server_time
    }

    /// The verifier's clock minus the clock of this client in seconds, if the timestamp was refused and
    /// [`SignLayer`](crate::SignLayer) has read both.
    #[must_use]
    pub fn clock_offset(&self) -> Option<i64> {
        self.clock_offset
    }

    /// Whether [`SignLayer`](crate::SignLayer) has corrected the clock by this refusal, and has not sent the request again,
    /// because its body is streamed. The next attempt has the corrected time.
    #[must_use]
    pub fn is_clock_corrected(&self) -> bool {
        self.is_clock_corrected
    }

    /// The time after which the verifier suggests a retry, of at most a day.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The seconds until the service forgets the submission that the request repeats. Stop retrying before.
    #[must_use]
    pub fn expires_in(&self) -> Option<u64> {
        self.first.expires_in
    }

    /// The status of the first answer, if the request repeats an answered submission:
    /// [`DuplicateSubmission`](RejectionKind::DuplicateSubmission). It says the outcome: 402 is no success.
    #[must_use]
    pub fn first_status(&self) -> Option<StatusCode> {
        self.first.status
    }

    /// The `location` of the first answer, if the request repeats an answered submission and the answer had one.
    #[must_use]
    pub fn first_location(&self) -> Option<&str> {
        self.first.location.as_deref()
    }

    /// The string to sign that the verifier compared with, if the verifier explains invalid signatures. It is not
    /// trusted.
    #[must_use]
    pub fn string_to_sign(&self) -> Option<&Explanation> {
        self.string_to_sign.as_ref()
    }

    /// The comparison of the string that this client signed with the one of the verifier, if both are known.
    #[must_use]
    pub fn comparison(&self) -> Option<&Comparison> {
        self.comparison.as_ref()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.code)?;
        match (&self.comparison, &self.detail, self.kind()) {
            (Some(comparison), ..) => comparison.fmt(f)?,
            (None, Some(detail), _) => f.write_str(detail)?,
            (None, None, Some(kind)) => f.write_str(kind.title())?,
            (None, None, None) => write!(f, "the service answered with {}", self.status)?,
        }
        match self.clock_offset.map(|offset| offset.saturating_sub(self.used_offset)) {
            None => Ok(()),
            Some(-5..=5) => f.write_str(
                "; the clocks agree, so the request waited too long after signing, or the verifier has restarted since: sign \
                 it again",
            ),
            Some(offset) => {
                let (seconds, direction) = (offset.unsigned_abs(), if offset > 0 { "behind" } else { "ahead of" });
                write!(f, "; this clock is {seconds} s {direction} the verifier's: set it right")
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// Shows no detail and no string to sign, because they may contain parameters of the request.
impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("status", &self.status)
            .field("code", &self.code)
            .field("field", &self.field)
            .field("server_time", &self.server_time)
            .field("retry_after", &self.retry_after)
            .field("comparison", &self.comparison)
            .field("clock_offset", &self.clock_offset)
            .finish_non_exhaustive()
    }
}

/// In seconds.
const A_DAY: u64 = 86_400;

/// The number of bytes of a body that are read.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// Returns the code of a refusal.
fn code(headers: &HeaderMap) -> Option<&str> {
    let code = headers.get("x-error-code")?.to_str().ok()?;
    let is_code = (1..=64).contains(&code.len()) && code.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    is_code.then_some(code)
}

/// The members of a problem of RFC 9457 that a client reads.
#[derive(Default, Deserialize)]
struct Problem {
    code: String,
    detail: Option<String>,
    field: Option<String>,
    string_to_sign: Option<String>,
    expires_in: Option<u64>,
    first_status: Option<u16>,
    location: Option<String>,
}

impl Problem {
    fn read(headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body.get(..MAX_BODY).unwrap_or(body)).ok().filter(|_| is_problem(headers))
    }
}

/// Whether the body of this response tells more about a refusal.
pub(super) fn has_problem(headers: &HeaderMap) -> bool {
    code(headers).is_some() && is_problem(headers)
}

fn is_problem(headers: &HeaderMap) -> bool {
    let essence = content_type(headers).and_then(|content_type| content_type.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/problem+json"))
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::CONTENT_TYPE)?.to_str().ok()
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let text = headers.get(name)?.to_str().ok()?;
    text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
}

/// Escapes what a terminal may act on, and cuts the text to 1,024 characters.
fn printable(text: &str) -> String {
    let escaped = |c: char| match c {
        ' '..='~' => c.to_string(),
        _ => c.escape_unicode().to_string(),
    };
    text.chars().take(1024).map(escaped).collect()
}
