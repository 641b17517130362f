//! The lines of a string to sign, by their places.

use std::fmt;

/// A line of the string to sign.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignedLine {
    /// Line 1: `CS1-REQUEST`.
    Purpose,
    /// Line 2.
    Method,
    /// Line 3.
    Audience,
    /// Line 4.
    Path,
    /// Line 5.
    Query,
    /// Line 6.
    Form,
    /// Line 7.
    ContentType,
    /// Line 8.
    BodyDigest,
    /// The line of the signed header with this name.
    Header(String),
    /// The app id.
    AppId,
    /// The token.
    Token,
    /// The key.
    Key,
    /// The timestamp.
    Timestamp,
    /// The nonce.
    Nonce,
}

impl SignedLine {
    /// The name of the line as a stable word for scripts, for example `content_type`. The name of a header is not part
    /// of it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Purpose => "purpose",
            Self::Method => "method",
            Self::Audience => "audience",
            Self::Path => "path",
            Self::Query => "query",
            Self::Form => "form",
            Self::ContentType => "content_type",
            Self::BodyDigest => "body_digest",
            Self::Header(_) => "header",
            Self::AppId => "app_id",
            Self::Token => "token",
            Self::Key => "key",
            Self::Timestamp => "timestamp",
            Self::Nonce => "nonce",
        }
    }

    /// Returns the kind of line `i` of `count`. Headers stand between the digest and the last five lines.
    pub(super) fn at(i: usize, count: usize, content: &str) -> Self {
        const START: [SignedLine; 8] = [
            SignedLine::Purpose,
            SignedLine::Method,
            SignedLine::Audience,
            SignedLine::Path,
            SignedLine::Query,
            SignedLine::Form,
            SignedLine::ContentType,
            SignedLine::BodyDigest,
        ];
        const END: [SignedLine; 5] =
            [SignedLine::Nonce, SignedLine::Timestamp, SignedLine::Key, SignedLine::Token, SignedLine::AppId];
        let from_the_end = END.get(count.saturating_sub(i + 1));
        START.get(i).or(from_the_end).cloned().unwrap_or_else(|| Self::Header(header_name(content).to_owned()))
    }
}

impl fmt::Display for SignedLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) if name.is_empty() => f.write_str("the line of a signed header"),
            Self::Header(name) => write!(f, "the line of the header {name}"),
            Self::Method => f.write_str("line 2, the method,"),
            Self::Purpose => f.write_str("line 1, the purpose,"),
            Self::Audience => f.write_str("line 3, the audience,"),
            Self::Path => f.write_str("line 4, the path,"),
            Self::Query => f.write_str("line 5, the query,"),
            Self::Form => f.write_str("line 6, the form,"),
            Self::ContentType => f.write_str("line 7, the content type,"),
            Self::BodyDigest => f.write_str("line 8, the body digest,"),
            Self::AppId => f.write_str("the line of the app id"),
            Self::Token => f.write_str("the line of the token"),
            Self::Key => f.write_str("the line of the key"),
            Self::Timestamp => f.write_str("the line of the timestamp"),
            Self::Nonce => f.write_str("the line of the nonce"),
        }
    }
}

/// The name in the line of a signed header.
pub(super) fn header_name(line: &str) -> &str {
    line.split_once(':').map_or(line, |(name, _)| name)
}
