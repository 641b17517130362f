//! The usual causes of a difference between two strings to sign.

use std::fmt;

/// The usual cause of a difference between the string that a client signed and the string that the verifier compared
/// with. `Display` says what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The string has another line end, line order or number of lines than PROTOCOL.md describes.
    Lines,
    /// The client left out empty lines.
    EmptyLines,
    /// The first line is not `CS1-REQUEST`.
    Purpose,
    /// The request arrived with another method.
    Method,
    /// The audiences of client and verifier differ.
    Audience,
    /// A proxy removed a prefix of the path.
    PrefixRemoved,
    /// A proxy added a prefix to the path.
    PrefixAdded,
    /// The path arrived with other escapes.
    PathEncoding,
    /// A proxy or the HTTP library removed dot segments or repeated slashes from the path.
    PathNormalized,
    /// The client signed a whole URL, or the path with its query.
    PathWithMore,
    /// The path arrived as another path.
    PathRewritten,
    /// The parameters are in another order than the protocol's.
    ParameterOrder,
    /// The values of a repeated parameter arrived in another order.
    RepeatedParameters,
    /// One side reads a `+` as a plus sign, and the other reads a space.
    PlusAndSpace,
    /// The parameters have other escapes than the protocol's.
    ParameterEncoding,
    /// A parameter was escaped twice.
    EncodedTwice,
    /// The client signed parameters with an empty name or value.
    EmptyParameters,
    /// A parameter was added after signing.
    ParameterAdded,
    /// A parameter was removed after signing.
    ParameterRemoved,
    /// A parameter arrived with another value.
    ParameterChanged,
    /// The client did not sign the parameters of a form.
    FormNotSigned,
    /// The client signed the body as a form, and the verifier does not read it as a form.
    NoForm,
    /// A content type was added after signing.
    ContentTypeAdded,
    /// The content type was removed after signing.
    ContentTypeRemoved,
    /// The client signed the content type with its parameters or in capital letters.
    ContentTypeSpelling,
    /// The content type arrived as another one.
    ContentTypeChanged,
    /// The client did not sign the digest that it sent.
    DigestNotSigned,
    /// The client signed a digest, and its header did not arrive.
    DigestRemoved,
    /// The client signed another digest than it sent.
    DigestChanged,
    /// Client and verifier are configured with different signed headers.
    SignedHeaders,
    /// A signed header was added after signing.
    HeaderAdded,
    /// A signed header was removed after signing.
    HeaderRemoved,
    /// A signed header arrived with another value.
    HeaderChanged,
    /// The client signed another app id than it sent.
    AppId,
    /// The client did not sign the token that it sent.
    TokenNotSigned,
    /// The client signed a token, and no token arrived in the configured place.
    TokenRemoved,
    /// Only one side takes the token from a cookie.
    TokenLocation,
    /// The client did not sign the key, or not in its line.
    KeyLine,
    /// The client signed a timestamp in milliseconds or a smaller unit.
    TimestampUnit,
    /// The client signed another timestamp than it sent.
    Timestamp,
    /// The client signed another nonce than it sent.
    Nonce,
    /// All lines are the same as far as they are shown. The key differs, or the value of a token or a sensitive header.
    Key,
}

impl Cause {
    /// The cause as a stable code for scripts, for example `prefix_removed`.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// The cause and what to do, as a sentence without a full stop.
    #[must_use]
    pub fn advice(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Self::Lines => (
                "lines",
                "the string has other lines than PROTOCOL.md: join all lines by one LF, empty ones too, in its order and \
                 without a line end after the nonce",
            ),
            Self::EmptyLines => ("empty_lines", "empty lines were left out: an absent part is an empty line"),
            Self::Purpose => ("purpose", "the first line is CS1-REQUEST"),
            Self::Method => (
                "method",
                "the request arrived with another method: a redirect or a method override changed it, or the client signed \
                 it in lower case",
            ),
            Self::Audience => ("audience", "configure the same audience on both ends"),
            Self::PrefixRemoved => (
                "prefix_removed",
                "a proxy removed the start of the path: give it to Verifier::with_prefix, or let the proxy forward the path \
                 unchanged",
            ),
            Self::PrefixAdded => (
                "prefix_added",
                "a proxy added to the start of the path: let it forward the path unchanged, or sign the path that it \
                 forwards",
            ),
            Self::PathEncoding => (
                "path_encoding",
                "the path arrived with other escapes: a proxy or the HTTP library decoded or encoded it; sign the path as it \
                 is sent, and let proxies forward it unchanged",
            ),
            Self::PathNormalized => (
                "path_normalized",
                "a proxy or the HTTP library resolved `.`, `..` or `//` in the path, or changed its last slash: send it as it \
                 arrives, or let the proxy forward it unchanged",
            ),
            Self::PathWithMore => ("path_with_more", "sign the path alone, without scheme, host and query"),
            Self::PathRewritten => (
                "path_rewritten",
                "the path arrived as another one: a proxy, a redirect or the HTTP library rewrote it; sign the path as it is \
                 sent, and let proxies forward it unchanged",
            ),
            Self::ParameterOrder => ("parameter_order", "sort the parameters by their encoded names"),
            Self::RepeatedParameters => (
                "repeated_parameters",
                "the values of a repeated parameter keep the order in which they are sent: sort by name only, with a stable \
                 sort",
            ),
            Self::PlusAndSpace => (
                "plus_and_space",
                "a `+` in a query or a form is a space: sign a space as %20, and send a plus sign as %2B",
            ),
            Self::ParameterEncoding => (
                "parameter_encoding",
                "encode names and values again after decoding: letters, digits and -._~ stay, any other byte is %XX with \
                 capital digits",
            ),
            Self::EncodedTwice => (
                "encoded_twice",
                "a parameter was escaped twice: decode the parameters before encoding them for the string, and let the HTTP \
                 library escape a URL once",
            ),
            Self::EmptyParameters => {
                ("empty_parameters", "parameters with an empty name or value are left out of the string")
            }
            Self::ParameterAdded => (
                "parameter_added",
                "a parameter was added after signing, by the HTTP library or a proxy, or the client does not sign all of them",
            ),
            Self::ParameterRemoved => (
                "parameter_removed",
                "a parameter that was signed did not arrive: the HTTP library or a proxy removed it, or it was not sent",
            ),
            Self::ParameterChanged => {
                ("parameter_changed", "a parameter arrived with another value than the one that was signed")
            }
            Self::FormNotSigned => ("form_not_signed", "sign the parameters of the form in the line after the query"),
            Self::NoForm => (
                "no_form",
                "the body is a form only if its content type is application/x-www-form-urlencoded and it has no \
                 Content-Encoding: otherwise leave this line empty",
            ),
            Self::ContentTypeAdded => (
                "content_type_added",
                "the HTTP library added a content type after signing: set it explicitly before signing",
            ),
            Self::ContentTypeRemoved => (
                "content_type_removed",
                "the content type that was signed did not arrive: some HTTP libraries send none without a body",
            ),
            Self::ContentTypeSpelling => (
                "content_type_spelling",
                "sign the type and subtype in lower case, without parameters (multipart keeps its boundary)",
            ),
            Self::ContentTypeChanged => (
                "content_type_changed",
                "the content type arrived as another one: set it before signing, and let nothing change it afterwards",
            ),
            Self::DigestNotSigned => ("digest_not_signed", "sign the body digest that is sent, in its line"),
            Self::DigestRemoved => (
                "digest_removed",
                "the header with the body digest did not arrive: send it, and let proxies forward it",
            ),
            Self::DigestChanged => (
                "digest_changed",
                "the body digest that arrived is not the one that was signed: sign and send the same 64 lowercase hex digits",
            ),
            Self::SignedHeaders => ("signed_headers", "configure the same signed headers on both ends"),
            Self::HeaderAdded => {
                ("header_added", "a signed header was added after signing: set it before, and sign `name:value`")
            }
            Self::HeaderRemoved => {
                ("header_removed", "a signed header did not arrive: the HTTP library or a proxy removed it")
            }
            Self::HeaderChanged => (
                "header_changed",
                "a signed header arrived with another value: the HTTP library or a proxy changed it; sign the value without \
                 spaces around it",
            ),
            Self::AppId => ("app_id", "sign the same app id that is sent"),
            Self::TokenNotSigned => ("token_not_signed", "sign the token that is sent, in its line"),
            Self::TokenRemoved => (
                "token_removed",
                "the token that was signed did not arrive where the verifier reads it: configure the same place for the token \
                 on both ends",
            ),
            Self::TokenLocation => (
                "token_location",
                "configure the same place for the token on both ends: a token in a cookie is signed as `cookie:` and a digest",
            ),
            Self::KeyLine => ("key_line", "the key stands in the line after the token, as it was issued"),
            Self::TimestampUnit => ("timestamp_unit", "the timestamp is in seconds, so it has 10 digits"),
            Self::Timestamp => ("timestamp", "sign the same timestamp that is sent, in the same digits"),
            Self::Nonce => ("nonce", "sign the same nonce that is sent"),
            Self::Key => (
                "key",
                "all lines are the same as far as they are shown, so a hidden value differs: the key is not a key of this app, \
                 it is spelled otherwise, or the app is unknown or disabled (use the text of the key as it was issued, without \
                 decoding hex or base64 digits and without a line end), or the token or a sensitive header is not the one \
                 that was signed",
            ),
        }
    }
}

/// Writes the advice.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.advice())
    }
}
