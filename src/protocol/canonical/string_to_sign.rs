//! The string to sign: the signed parts of a request, in an unambiguous order of lines.

use std::{borrow::Cow, fmt};

use http::{HeaderMap, HeaderName, Method, Uri, header, request::Parts};

use crate::protocol::{
    canonical::{content_type::ContentType, parameters::ParameterList},
    claim::fields::Fields,
    encode::{grammar::trim, sink::Sink},
    field::{
        digest::BodyDigest,
        value::{Field, Nonce},
    },
    rejection::{InField, Rejection},
    scheme::{
        contract::Scheme,
        headers::{HeaderIndex, KnownHeader, single},
    },
};

/// The number of lines without those of signed headers, which stand between line 8 and the last five.
pub(crate) const LINES_WITHOUT_HEADERS: usize = 13;

/// Line 1: the purpose of the signature, so that it is not valid for any other purpose.
#[derive(Clone, Copy)]
enum Purpose {
    Request,
    Link,
}

/// The signed parts of a request's head except parameters: lines 2 to 4, 7, 8 and the signed headers.
pub(crate) struct Head<'r> {
    purpose: Purpose,
    method: &'r Method,
    audience: &'r str,
    /// The path prefix that a proxy removed.
    prefix: &'r str,
    path: &'r str,
    raw_query: &'r str,
    content_type: ContentType<'r>,
    digest: Option<BodyDigest>,
    headers: SignedHeaders<'r>,
    has_overrides: bool,
}

impl<'r> Head<'r> {
    pub(crate) fn read(
        scheme: &'r Scheme,
        prefix: &'r str,
        uri: &'r Uri,
        method: &'r Method,
        headers: &HeaderIndex<'r>,
    ) -> Result<Self, Rejection> {
        let method = signed_method(method, uri)?;
        if headers.has(KnownHeader::Connection) {
            refuse_hop_by_hop(scheme, headers.all())?;
        }
        let path = signed_path(uri);
        Ok(Self {
            purpose: Purpose::Request,
            method,
            audience: scheme.audience(),
            prefix: if path == "*" { "" } else { prefix },
            path,
            raw_query: uri.query().unwrap_or_default(),
            content_type: ContentType::read(headers)?,
            digest: body_digest(scheme, headers)?,
            headers: signed_headers(scheme, uri, headers.all())?,
            has_overrides: headers.has(KnownHeader::Override),
        })
    }

    /// The head of a share link. It signs no headers and no body.
    pub(crate) fn of_link(scheme: &'r Scheme, prefix: &'r str, uri: &'r Uri) -> Self {
        Self {
            purpose: Purpose::Link,
            method: &GET,
            audience: scheme.links().audience().unwrap_or(scheme.audience()),
            prefix,
            path: signed_path(uri),
            raw_query: uri.query().unwrap_or_default(),
            content_type: ContentType::default(),
            digest: None,
            headers: Vec::new(),
            has_overrides: false,
        }
    }

    /// Whether the body is a form, which has its own line.
    pub(crate) fn is_form(&self) -> bool {
        self.content_type.is_form()
    }

    /// Whether the request has headers that override the method or the URL.
    #[cfg(feature = "server")]
    pub(crate) fn has_overrides(&self) -> bool {
        self.has_overrides
    }

    /// Reads line 5, with at most `limit` parameters.
    pub(crate) fn read_query(&'r self, scheme: &Scheme, limit: usize) -> Result<HeadAndQuery<'r>, Rejection> {
        // One closure for both, so that the compiler can inline the parser.
        let is_left_out = |name| match self.purpose {
            Purpose::Request => scheme.is_query_field(name),
            Purpose::Link => scheme.is_unsigned_in_link(name),
        };
        let query = ParameterList::parse(self.raw_query.as_bytes(), is_left_out, limit)?;
        Ok(HeadAndQuery { head: self, query })
    }
}

/// All lines except line 6.
pub(crate) struct HeadAndQuery<'r> {
    head: &'r Head<'r>,
    query: ParameterList<'r>,
}

impl<'r> HeadAndQuery<'r> {
    /// Reads line 6 from the body of a request that [is a form](Head::is_form), with at most `limit` parameters.
    pub(crate) fn read_form(self, limit: usize, body: &'r [u8]) -> Result<CanonicalRequest<'r>, Rejection> {
        let form = ParameterList::parse(body, |_| false, limit)?;
        Ok(CanonicalRequest { head: self.head, query: self.query, form })
    }

    /// Leaves line 6 empty.
    pub(crate) fn without_form(self) -> CanonicalRequest<'r> {
        CanonicalRequest { head: self.head, query: self.query, form: ParameterList::default() }
    }

    pub(crate) fn query(&self) -> &ParameterList<'r> {
        &self.query
    }
}

/// All signed parts of a request itself, with every parameter read.
pub(crate) struct CanonicalRequest<'r> {
    head: &'r Head<'r>,
    query: ParameterList<'r>,
    form: ParameterList<'r>,
}

impl<'r> CanonicalRequest<'r> {
    pub(crate) fn query(&self) -> &ParameterList<'r> {
        &self.query
    }

    pub(crate) fn form(&self) -> &ParameterList<'r> {
        &self.form
    }

    pub(crate) fn digest(&self) -> Option<BodyDigest> {
        self.head.digest
    }

    pub(crate) fn audience(&self) -> &'r str {
        self.head.audience
    }

    /// Line 2.
    #[cfg(feature = "submissions")]
    pub(super) fn method(&self) -> &'r Method {
        self.head.method
    }

    /// Line 4.
    #[cfg(feature = "submissions")]
    pub(super) fn path(&self, root: Root) -> String {
        let path = if root == Root::WithSlash { self.head.path } else { "" };
        [self.head.prefix, path].concat()
    }

    /// The possible forms of the original path. A proxy forwards `/` both for the bare prefix and for the prefix with a
    /// slash.
    pub(crate) fn roots(&self) -> &'static [Root] {
        match self.head.path {
            "/" if !self.head.prefix.is_empty() => &[Root::WithSlash, Root::WithoutSlash],
            _ => &[Root::WithSlash],
        }
    }
}

/// The signed headers, with `None` for an absent one.
type SignedHeaders<'a> = Vec<(&'a HeaderName, Option<&'a [u8]>)>;

/// The string to sign. `Display` writes it with `{key}` in place of the key.
pub(crate) struct StringToSign<'a> {
    pub(crate) request: &'a CanonicalRequest<'a>,
    pub(crate) fields: &'a Fields,
    pub(crate) root: Root,
}

/// The form of the original path, if a proxy removed a prefix and left `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Root {
    /// The client sent `/prefix/`, or any other path.
    WithSlash,
    /// The client sent `/prefix`.
    WithoutSlash,
}

impl StringToSign<'_> {
    /// Writes the lines, separated by LF. Only the key's line can contain an LF.
    pub(crate) fn write(&self, out: &mut impl Sink) {
        out.put(match self.request.head.purpose {
            Purpose::Request => b"CS1-REQUEST",
            Purpose::Link => b"CS1-PRESIGNED",
        });
        out.put(b"\n");
        self.request.write_content(out, self.root, |_| true);
        out.line(self.fields.app_id.as_str());
        out.line("");
        out.put_token(self.fields.token.line());
        out.line("");
        out.put_key();
        out.line(itoa::Buffer::new().format(self.fields.timestamp.unix_seconds()));
        out.line(self.fields.nonce.as_ref().map_or("", Nonce::as_str));
    }
}

impl CanonicalRequest<'_> {
    /// Writes lines 2 to 8, and the lines of those signed headers that `includes` selects.
    pub(super) fn write_content(&self, out: &mut impl Sink, root: Root, includes: impl Fn(&HeaderName) -> bool) {
        let Self { head, query, form } = self;
        out.put(head.method.as_str().as_bytes());
        out.line(head.audience);
        out.line(head.prefix);
        if root == Root::WithSlash {
            out.put(head.path.as_bytes());
        }
        out.line("");
        query.write(out);
        out.line("");
        form.write(out);
        out.line("");
        head.content_type.write(out);
        out.line("");
        if let Some(digest) = head.digest {
            out.put(digest.to_hex().as_bytes());
        }
        for (name, value) in head.headers.iter().filter(|(name, _)| includes(name)) {
            out.line(name.as_str());
            if let Some(value) = value {
                out.put(b":");
                out.put_header_value(name, value);
            }
        }
    }
}

impl fmt::Display for StringToSign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.write(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Returns the URI of a request that a client is about to send. A Host header takes precedence over the URL's host.
pub(crate) fn uri_as_sent(parts: &Parts) -> Cow<'_, Uri> {
    match (parts.uri.authority(), parts.uri.path_and_query()) {
        (Some(_), Some(target)) if parts.headers.contains_key(header::HOST) => Cow::Owned(target.clone().into()),
        _ => Cow::Borrowed(&parts.uri),
    }
}

static GET: Method = Method::GET;

/// Line 4, without the prefix that a proxy removed.
fn signed_path(uri: &Uri) -> &str {
    match uri.path() {
        "" => "/",
        path => path,
    }
}

/// Line 2. A WebSocket over HTTP/2 is an extended CONNECT, which has a path (RFC 8441, section 4). Proxies translate it
/// from and to a GET of HTTP/1.1, so it is signed as GET.
fn signed_method<'r>(method: &'r Method, uri: &Uri) -> Result<&'r Method, Rejection> {
    match *method {
        Method::CONNECT if uri.path().starts_with('/') => Ok(&GET),
        Method::CONNECT => {
            Err(Rejection::malformed("path", "CONNECT has no path to sign, but for a WebSocket over HTTP/2"))
        }
        _ if uri.authority().is_some() && uri.scheme().is_none() => {
            Err(Rejection::malformed("path", "a target without a path is for CONNECT alone"))
        }
        _ => Ok(method),
    }
}

fn body_digest(scheme: &Scheme, headers: &HeaderIndex<'_>) -> Result<Option<BodyDigest>, Rejection> {
    let digest = headers.single(KnownHeader::Field(Field::BodyDigest))?;
    digest.map(BodyDigest::parse).transpose().in_field(scheme.header_name(Field::BodyDigest).as_str())
}

fn signed_headers<'a>(
    scheme: &'a Scheme,
    uri: &'a Uri,
    headers: &'a HeaderMap,
) -> Result<SignedHeaders<'a>, Rejection> {
    let value = |name: &'a HeaderName| match *name == header::HOST {
        true => host(uri, headers),
        false => single(headers, name),
    };
    let names = scheme.signed_headers().iter();
    names.map(|name| Ok((name, value(name)?.map(trim)))).collect()
}

/// The request's host, from the place where its HTTP version puts it.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<Option<&'a [u8]>, Rejection> {
    let header = single(headers, &header::HOST)?;
    let Some(authority) = uri.authority().map(|authority| authority.as_str().as_bytes()) else {
        return Ok(header);
    };
    match header {
        Some(header) if !trim(header).eq_ignore_ascii_case(authority) => {
            Err(Rejection::malformed("host", "it differs from the request's authority"))
        }
        _ => Ok(Some(authority)),
    }
}

/// Rejects a signed header that the `Connection` header names, because the next hop removes it. RFC 9110, section
/// 7.6.1.
fn refuse_hop_by_hop(scheme: &Scheme, headers: &HeaderMap) -> Result<(), Rejection> {
    for value in headers.get_all(header::CONNECTION) {
        for option in value.as_bytes().split(|&b| b == b',').map(trim) {
            let fixed = [header::CONTENT_TYPE, header::AUTHORIZATION, header::COOKIE];
            let mut bound = scheme.header_table().fields().chain(scheme.signed_headers()).chain(&fixed);
            if let Some(name) = bound.find(|name| option.eq_ignore_ascii_case(name.as_str().as_bytes())) {
                return Err(Rejection::malformed(
                    name.as_str().to_owned(),
                    "the Connection header marks it as hop-by-hop",
                ));
            }
        }
    }
    Ok(())
}
