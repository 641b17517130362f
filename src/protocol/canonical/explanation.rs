//! The string to sign in a form that can be shown: without secrets, in printable ASCII, and of a limited length.

use std::fmt;

use http::{HeaderName, request::Parts};
use sha2::{Digest, Sha256};

use crate::protocol::{
    canonical::string_to_sign::{Head, LINES_WITHOUT_HEADERS, Root, StringToSign, uri_as_sent},
    claim::fields::Claim,
    encode::sink::Sink,
    field::digest::BodyDigest,
    rejection::Rejection,
    scheme::contract::Scheme,
};

/// The string to sign of a request, in a form that can be logged and sent.
///
/// `Verifier::with_explanations` sends it with the refusal of a signature, and clients compare it with their
/// own. The text is printable ASCII in lines:
///
/// - Secrets are replaced by their names. The line of the key is `{key}`, that of a token `{token}` or `cookie:{token}`,
///   and the value of a [sensitive header](Scheme::with_sensitive_headers) is the header's name in braces.
/// - A line of more than 1,024 bytes is cut to its first 256 bytes and the SHA-256 of the whole line.
/// - `\` is written as `\\`, and any other byte as `\xNN`. The sign `…` marks what was cut.
/// - A text of more than 8,192 bytes ends before the first line that does not fit.
///
/// The text contains all parameters of the request, including those of its form.
///
/// ```
/// # use countersign::{Explanation, Payload, Scheme, Secret, Signer};
/// let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
/// let (mut parts, ()) = http::Request::get("/orders?side=BUY").body(())?.into_parts();
/// signer.sign_at(&mut parts, Payload::Bytes(b""), "1700000000".parse()?, "nonce-1".parse()?)?;
///
/// let explanation = Explanation::of_request(signer.scheme(), &parts, b"")?;
/// assert_eq!(explanation.lines().nth(3), Some("/orders"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Explanation(String);

impl Explanation {
    /// Makes the text for a signed request. `body` counts only if it is a form.
    ///
    /// # Errors
    ///
    /// Returns the [`Rejection`] of a verifier if the request has no string to sign. For example, a field is missing or
    /// malformed.
    pub fn of_request(scheme: &Scheme, parts: &Parts, body: &[u8]) -> Result<Self, Rejection> {
        let found = scheme.header_table().find_in(&parts.headers);
        let claim = Claim::read(scheme, &parts.uri, &found).map_err(|unreadable| unreadable.rejection)?;
        let uri = uri_as_sent(parts);
        let head = Head::read(scheme, "", &uri, &parts.method, &found)?;
        let request = head.read_query(scheme, usize::MAX)?;
        let request = if head.is_form() { request.read_form(usize::MAX, body)? } else { request.without_form() };
        Ok(Self::of(scheme, &StringToSign { request: &request, fields: claim.fields(), root: Root::WithSlash }))
    }

    /// Makes the text for a string to sign from another program, which may contain the key and the token.
    ///
    /// It shows neither. The lines of the key and of the token are found by their places, and replaced by their names,
    /// wherever their content occurs once more too. If the number of lines is not that of the scheme, only the first eight
    /// lines and the names of signed headers are shown.
    #[must_use]
    pub fn of_text(scheme: &Scheme, text: &[u8]) -> Self {
        let lines = || text.split(|&b| b == b'\n');
        let end = text.iter().rposition(|&b| b != b'\n').map_or(0, |last| last + 1);
        let count = text[..end].split(|&b| b == b'\n').count();
        let is_expected = count == LINES_WITHOUT_HEADERS + scheme.signed_headers().len();
        let (key, token) = if is_expected { (count - 3, count - 4) } else { (usize::MAX, usize::MAX) };
        let content = |at: usize| lines().nth(at).filter(|line| is_expected && line.len() >= 8);
        let (key_bytes, token_bytes) = (content(key), content(token));
        let mut sink = PrintableSink::new(scheme);
        for (i, line) in lines().enumerate() {
            if i > 0 {
                sink.put(b"\n");
            }
            let name = line.iter().position(|&b| b == b':').map_or(line, |at| &line[..at]);
            let name = HeaderName::from_bytes(name.trim_ascii()).ok();
            let is_signed = |name: &&HeaderName| scheme.signed_headers().contains(name);
            match name.as_ref() {
                _ if i == key && !line.is_empty() => sink.put_key(),
                _ if i == token => sink.put_token(&String::from_utf8_lossy(line)),
                Some(name) if scheme.is_sensitive(name) && line.contains(&b':') => {
                    sink.put(name.as_str().as_bytes());
                    sink.put(b":");
                    sink.put_name(name.as_str());
                }
                Some(name) if i > 7 && !is_expected && is_signed(&name) => sink.put(name.as_str().as_bytes()),
                _ if i > 7 && !is_expected && !line.is_empty() => sink.put_name("hidden"),
                _ => sink.put_without(line, [(key_bytes, "key"), (token_bytes, "token")]),
            }
        }
        Self(sink.finish())
    }

    /// Takes the text that a verifier sent. It is not trusted: every byte that this form does not have is escaped, and
    /// the text is cut to its limit.
    #[must_use]
    pub fn of_response(text: &str) -> Self {
        // No verifier writes a longer text.
        let text: String = text.chars().take(MAX_TEXT + 2).collect();
        let escaped = |line: &str| {
            let mut printable = String::with_capacity(line.len());
            for c in line.chars() {
                match c {
                    ' '..='~' | ELLIPSIS => printable.push(c),
                    _ => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| escape(byte, &mut printable)),
                }
            }
            printable
        };
        Self(join(text.split('\n').map(escaped)))
    }

    pub(crate) fn of(scheme: &Scheme, string: &StringToSign<'_>) -> Self {
        let mut sink = PrintableSink::new(scheme);
        string.write(&mut sink);
        Self(sink.finish())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The lines of the text.
    #[must_use]
    pub fn lines(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('\n')
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Shows only the length, because the parameters of the request may be private.
impl fmt::Debug for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Explanation({} bytes)", self.0.len())
    }
}

/// The sign for what was cut.
const ELLIPSIS: char = '…';
/// The maximum length of a line that is shown as it is, in bytes.
const MAX_LINE: usize = 1024;
/// The length of the beginning of a longer line, in bytes.
const LINE_START: usize = 256;
/// The maximum length of the text, in bytes.
const MAX_TEXT: usize = 8192;

/// Joins the lines, up to the first that does not fit.
fn join(lines: impl IntoIterator<Item = String>) -> String {
    let mut text = String::new();
    for (i, line) in lines.into_iter().enumerate() {
        let separator = if i > 0 { "\n" } else { "" };
        if text.len() + separator.len() + line.len() > MAX_TEXT {
            text.push_str(separator);
            text.push(ELLIPSIS);
            break;
        }
        text.push_str(separator);
        text.push_str(&line);
    }
    text
}

fn escape(byte: u8, printable: &mut String) {
    printable.push_str(&format!("\\x{byte:02X}"));
}

/// Writes the printable form of a string to sign.
struct PrintableSink<'s> {
    scheme: &'s Scheme,
    lines: Vec<String>,
    /// The length of all lines, in bytes.
    length: usize,
    line: Line,
}

/// The current line. Only the start of a long line is kept.
#[derive(Default)]
struct Line {
    start: Vec<u8>,
    /// The hash of the line, once it is longer than [`MAX_LINE`].
    hash: Option<Sha256>,
}

impl<'s> PrintableSink<'s> {
    fn new(scheme: &'s Scheme) -> Self {
        Self { scheme, lines: Vec::new(), length: 0, line: Line::default() }
    }

    /// Ends a line. After the first line that does not fit, no other is kept.
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if self.length <= MAX_TEXT {
            let line = line.into_printable();
            self.length += line.len() + 1;
            self.lines.push(line);
        }
    }

    /// Writes a line, with names in place of the secrets in it.
    fn put_without(&mut self, line: &[u8], secrets: [(Option<&[u8]>, &str); 2]) {
        let mut rest = line;
        while let Some((&byte, after)) = rest.split_first() {
            let secret = secrets.iter().find_map(|(secret, name)| Some((rest.strip_prefix((*secret)?)?, name)));
            match secret {
                Some((after, name)) => {
                    self.put_name(name);
                    rest = after;
                }
                None => {
                    self.line.put(&[byte]);
                    rest = after;
                }
            }
        }
    }

    fn put_name(&mut self, name: &str) {
        self.put(format!("{{{name}}}").as_bytes());
    }

    fn finish(mut self) -> String {
        self.end_line();
        join(self.lines)
    }
}

impl Sink for PrintableSink<'_> {
    fn put(&mut self, bytes: &[u8]) {
        match bytes {
            b"\n" => self.end_line(),
            _ => self.line.put(bytes),
        }
    }

    fn put_key(&mut self) {
        self.put_name("key");
    }

    fn put_token(&mut self, line: &str) {
        if line.starts_with("cookie:") {
            self.put(b"cookie:");
        }
        if !line.is_empty() {
            self.put_name("token");
        }
    }

    fn put_header_value(&mut self, name: &HeaderName, value: &[u8]) {
        match self.scheme.is_sensitive(name) {
            true => self.put_name(name.as_str()),
            false => self.put(value),
        }
    }
}

impl Line {
    fn put(&mut self, bytes: &[u8]) {
        match &mut self.hash {
            Some(hash) => hash.update(bytes),
            None if self.start.len() + bytes.len() <= MAX_LINE => self.start.extend(bytes),
            None => {
                self.hash = Some(Sha256::new_with_prefix(&self.start).chain_update(bytes));
                self.start.extend(&bytes[..bytes.len().min(LINE_START)]);
                self.start.truncate(LINE_START);
            }
        }
    }

    fn into_printable(self) -> String {
        let mut printable = String::with_capacity(self.start.len());
        for byte in self.start {
            match byte {
                b'\\' => printable.push_str("\\\\"),
                b' '..=b'~' => printable.push(char::from(byte)),
                _ => escape(byte, &mut printable),
            }
        }
        if let Some(hash) = self.hash {
            let hash = BodyDigest::from(<[u8; 32]>::from(hash.finalize()));
            printable.push_str(&format!("{ELLIPSIS}sha256:{hash}"));
        }
        printable
    }
}
