//! The comparison of two strings to sign.

use std::fmt;

use super::{Cause, SignedLine, line::header_name, parameters};
use crate::protocol::{Explanation, LINES_WITHOUT_HEADERS};

/// The result of comparing the string that a client signed with the one that the verifier compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Comparison {
    /// The strings are the same as far as they are shown. The cause is the [key](Cause::Key) or another hidden value.
    Same,
    /// The strings are the same up to the place where one of them is cut.
    SameUntilCut,
    /// The strings differ.
    Different(Difference),
}

/// The first difference between the string that a client signed and the one that the verifier compared with.
///
/// `Display` names the line, shows both sides if the line has no secret, and says what to do.
#[derive(Clone, PartialEq, Eq)]
pub struct Difference {
    line: SignedLine,
    signed: Option<String>,
    verified: Option<String>,
    cause: Cause,
}

impl Comparison {
    /// Compares the string that a client signed with the one that the verifier compared with.
    ///
    /// ```
    /// use countersign::{Explanation, Scheme, client::{Cause, Comparison}};
    ///
    /// let signed = Explanation::of_text(&Scheme::new(), b"CS1-REQUEST\nGET\n\n/api/orders\n\n\n\n\ndemo\n\nkey\n1700000000\nnonce-1");
    /// let verified = Explanation::of_response("CS1-REQUEST\nGET\n\n/orders\n\n\n\n\ndemo\n\n{key}\n1700000000\nnonce-1");
    /// assert_eq!(Comparison::new(&signed, &verified).cause(), Some(Cause::PrefixRemoved));
    /// ```
    #[must_use]
    pub fn new(signed: &Explanation, verified: &Explanation) -> Self {
        let (own, theirs): (Vec<_>, Vec<_>) = (signed.lines().collect(), verified.lines().collect());
        let is_cut = |lines: &[&str]| lines.last() == Some(&CUT);
        if is_cut(&own) || is_cut(&theirs) {
            return compare_start(&own, &theirs);
        }
        if own.len() != theirs.len() {
            return Self::Different(other_lines(&own, &theirs));
        }
        let is_same = |&i: &usize| own[i] == theirs[i] || (is_key(i, &own) && !own[i].is_empty());
        let differing = (0..own.len()).find(|i| !is_same(i));
        differing.map_or(Self::Same, |i| Self::Different(difference(i, own.len(), own[i], theirs[i])))
    }

    /// The first difference, if there is one.
    #[must_use]
    pub fn difference(&self) -> Option<&Difference> {
        match self {
            Self::Different(difference) => Some(difference),
            _ => None,
        }
    }

    /// The usual cause. Returns `None` if the strings are cut before they differ.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        match self {
            Self::Same => Some(Cause::Key),
            Self::SameUntilCut => None,
            Self::Different(difference) => Some(difference.cause),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Same => Cause::Key.fmt(f),
            Self::SameUntilCut => {
                f.write_str("the strings to sign are the same up to the place where one of them is cut")
            }
            Self::Different(difference) => difference.fmt(f),
        }
    }
}

impl Difference {
    /// The line that differs.
    #[must_use]
    pub fn line(&self) -> &SignedLine {
        &self.line
    }

    /// The line as the client signed it, in printable form. It is `None` if the line may contain a secret.
    #[must_use]
    pub fn signed(&self) -> Option<&str> {
        self.signed.as_deref()
    }

    /// The line as the verifier read it from the request that arrived, in printable form. It is `None` if the line may
    /// contain a secret.
    #[must_use]
    pub fn verified(&self) -> Option<&str> {
        self.verified.as_deref()
    }

    /// The usual cause of this difference.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} differs", self.line)?;
        if let (Some(signed), Some(verified)) = (&self.signed, &self.verified) {
            write!(f, ": the client signed \"{signed}\", and \"{verified}\" arrived")?;
        }
        write!(f, ": {}", self.cause)
    }
}

/// Shows no values, because the parameters of a request may be private.
impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Difference").field("line", &self.line).field("cause", &self.cause).finish_non_exhaustive()
    }
}

/// The line that stands for all lines that were cut.
const CUT: &str = "…";

fn is_key(i: usize, lines: &[&str]) -> bool {
    i + 3 == lines.len()
}

/// Compares strings of which one is cut, as far as both go. The last lines are not known by their place then.
fn compare_start(own: &[&str], theirs: &[&str]) -> Comparison {
    let until_cut = own.iter().zip(theirs).take_while(|(own, theirs)| **own != CUT && **theirs != CUT);
    match until_cut.enumerate().find(|(_, (own, theirs))| own != theirs) {
        Some((i, (own, theirs))) => Comparison::Different(difference(i, usize::MAX, own, theirs)),
        None => Comparison::SameUntilCut,
    }
}

/// Explains strings with different numbers of lines.
fn other_lines(own: &[&str], theirs: &[&str]) -> Difference {
    let without_empty = |lines: &[&str]| lines.iter().filter(|line| !line.is_empty()).count();
    let first = own.iter().zip(theirs).position(|(own, theirs)| own != theirs).unwrap_or(theirs.len() - 1);
    let line = SignedLine::at(first, theirs.len(), own.get(first).copied().unwrap_or_default());
    let headers = |lines: &[&str]| lines.len().checked_sub(LINES_WITHOUT_HEADERS);
    let cause = match () {
        () if own.first() != theirs.first() && own.first() == theirs.get(1) => Cause::Purpose,
        () if own.len() < theirs.len() && own.contains(&"{key}") && own.len() == without_empty(theirs) => {
            Cause::EmptyLines
        }
        // The fixed lines before the headers are there, so the number of headers differs.
        () if first >= 8 && headers(own).is_some() && own.last() == theirs.last() => Cause::SignedHeaders,
        () => Cause::Lines,
    };
    // The places of the secrets are not certain, so nothing is shown.
    Difference { line, signed: None, verified: None, cause }
}

fn difference(i: usize, count: usize, own: &str, theirs: &str) -> Difference {
    // A name in the text of a server may be anything. Those of this client are of its scheme.
    let line = SignedLine::at(i, count, own);
    let cause = match &line {
        SignedLine::Purpose => Cause::Purpose,
        SignedLine::Method => Cause::Method,
        SignedLine::Audience => Cause::Audience,
        SignedLine::Path => parameters::path_cause(own, theirs),
        SignedLine::Form if own.is_empty() => Cause::FormNotSigned,
        SignedLine::Form if theirs.is_empty() => Cause::NoForm,
        SignedLine::Query | SignedLine::Form => parameters::cause(own, theirs),
        SignedLine::ContentType => content_type_cause(own, theirs),
        SignedLine::BodyDigest if own.is_empty() => Cause::DigestNotSigned,
        SignedLine::BodyDigest if theirs.is_empty() => Cause::DigestRemoved,
        SignedLine::BodyDigest => Cause::DigestChanged,
        SignedLine::Header(name) if header_name(theirs) != name => Cause::SignedHeaders,
        SignedLine::Header(_) if !own.contains(':') => Cause::HeaderAdded,
        SignedLine::Header(_) if !theirs.contains(':') => Cause::HeaderRemoved,
        SignedLine::Header(_) => Cause::HeaderChanged,
        SignedLine::AppId => Cause::AppId,
        SignedLine::Token if own.is_empty() => Cause::TokenNotSigned,
        SignedLine::Token if theirs.is_empty() => Cause::TokenRemoved,
        SignedLine::Token => Cause::TokenLocation,
        SignedLine::Key => Cause::KeyLine,
        SignedLine::Timestamp if matches!(own.len(), 13 | 16 | 19) && own.starts_with(theirs) => Cause::TimestampUnit,
        SignedLine::Timestamp => Cause::Timestamp,
        SignedLine::Nonce => Cause::Nonce,
    };
    // The other lines of a string with lines in the wrong order may contain the key.
    let is_public = match &line {
        SignedLine::Audience
        | SignedLine::Method
        | SignedLine::Path
        | SignedLine::Query
        | SignedLine::Form
        | SignedLine::ContentType
        | SignedLine::BodyDigest => true,
        SignedLine::Header(name) => header_name(theirs) == name,
        _ => false,
    };
    let is_list = matches!(line, SignedLine::Query | SignedLine::Form);
    let shown = |text: &str| is_public.then(|| if is_list { without_fields(text) } else { text.to_owned() });
    Difference { signed: shown(own), verified: shown(theirs), line, cause }
}

/// Hides the values of parameters with the names of secret fields: a client may have signed the fields of the query as
/// parameters.
fn without_fields(line: &str) -> String {
    let shown = |segment: &str| match segment.split_once('=') {
        Some((name @ ("token" | "sign" | "key" | "secret"), _)) => format!("{name}={{{name}}}"),
        _ => segment.to_owned(),
    };
    line.split('&').map(shown).collect::<Vec<_>>().join("&")
}

fn content_type_cause(own: &str, theirs: &str) -> Cause {
    let essence = own.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match () {
        () if own.is_empty() => Cause::ContentTypeAdded,
        () if theirs.is_empty() => Cause::ContentTypeRemoved,
        () if essence == theirs => Cause::ContentTypeSpelling,
        () => Cause::ContentTypeChanged,
    }
}
