//! Presigning: share links, which are URLs with a signature of their own.

use std::{fmt, time::Duration};

use http::{
    Uri,
    uri::{Parts, PathAndQuery},
};

use crate::protocol::{
    canonical::string_to_sign::{Head, Root, StringToSign},
    claim::{fields::Fields, token::TokenClaim},
    encode::{
        percent::{self, escape},
        segment::segments,
    },
    field::{
        lifetime::LinkLifetime,
        value::{Field, Nonce, Timestamp},
    },
    key::app_key::SignedBy,
    query::append,
    rejection::Rejection,
    scheme::contract::Scheme,
    signer::{
        error::{SignError, SignErrorKind},
        sign::Signer,
    },
    token::GrantToken,
};

/// A share link: a URL with a signature, which anyone who has it can open until it ends.
///
/// `Display` writes the URL. `Debug` does not, because the URL is a secret.
#[derive(Clone)]
pub struct Link {
    uri: Uri,
    expires_at: u64,
}

impl Link {
    /// Returns the URL, for a response to the person who shares it. Keep it out of logs.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the first second in which the link is expired, in Unix seconds.
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

/// A share link that is about to be signed. [`Signer::presign`] makes it.
#[derive(Clone)]
#[must_use = "it signs nothing until `sign` or `sign_at` is called"]
pub struct Presign<'s> {
    pub(crate) signer: &'s Signer,
    uri: &'s Uri,
    lifetime: Duration,
    /// The text of the grant, and its end in Unix seconds.
    grant: Option<(&'s GrantToken, u64)>,
    #[cfg(feature = "client")]
    pub(crate) is_one_time: bool,
}

impl Signer {
    /// Makes a share link of a URL: anyone who has the link can open it with GET or HEAD until its lifetime is over, which is
    /// in whole seconds, at most seven days.
    ///
    /// The URL is an absolute one, or a path with its query. The service takes links with `Verifier::with_links`. Only a key of
    /// the app signs links, never that of a session. If the key is retired, its links end.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use countersign::{Secret, Signer};
    /// let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
    /// let document = "https://api.example.com/orders/17?format=pdf".parse()?;
    /// let link = signer.presign(&document, Duration::from_secs(3600)).sign_at("1700000000".parse()?, None)?;
    /// assert_eq!(link.expires_at(), 1_700_003_600);
    /// assert!(link.to_string().starts_with("https://api.example.com/orders/17?format=pdf&expires=3600&appId=demo&"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn presign<'s>(&'s self, uri: &'s Uri, lifetime: Duration) -> Presign<'s> {
        Presign {
            signer: self,
            uri,
            lifetime,
            grant: None,
            #[cfg(feature = "client")]
            is_one_time: false,
        }
    }
}

impl<'s> Presign<'s> {
    /// Adds a grant, by which the service can end the link before it expires. `expires_at` is the end of the grant, in Unix
    /// seconds. `Tokens::grant` makes grants (feature `tokens`).
    pub fn with_grant(self, grant: &'s GrantToken, expires_at: u64) -> Self {
        Self { grant: Some((grant, expires_at)), ..self }
    }

    /// Signs the link with this timestamp. With a nonce, the link can be opened once.
    ///
    /// The path is escaped as browsers escape it.
    ///
    /// # Errors
    ///
    /// Fails if the lifetime is less than a second or more than seven days, or passes the end of the grant, if the signer has the key of a session, if the
    /// path has `\`, `//` or a segment `.` or `..`, which clients rewrite, or if the query has an empty parameter, a malformed
    /// escape, the name of a field or of a parameter of links, or a parameter that links
    /// [leave out](crate::LinkScheme::without).
    pub fn sign_at(self, timestamp: Timestamp, nonce: Option<Nonce>) -> Result<Link, SignError> {
        let Self { signer, uri, lifetime, grant, .. } = self;
        if signer.signed_by() == SignedBy::SessionKey {
            let reason = "a link is signed with a key of the app, and this signer has that of a session";
            return Err(SignError::new(SignErrorKind::Key, reason));
        }
        let scheme = signer.scheme();
        let lifetime = LinkLifetime::try_from(lifetime)
            .map_err(|error| SignError::new(SignErrorKind::Malformed, error.to_string()))?;
        let expires_at = timestamp.unix_seconds().saturating_add(lifetime.seconds());
        if grant.is_some_and(|(_, end)| expires_at > end) {
            let reason = "the lifetime passes the end of the grant: take a shorter one, or another grant";
            return Err(SignError::new(SignErrorKind::Malformed, reason));
        }
        check_path(uri.path())?;
        check_query(scheme, uri.query().unwrap_or_default())?;
        let fields = Fields { app_id: signer.app_id().clone(), timestamp, nonce, token: TokenClaim::default() };
        let path = escaped(uri.path());
        let mut query = escaped(uri.query().unwrap_or_default());
        write_fields(scheme, &mut query, lifetime, grant.map(|(grant, _)| grant), &fields);
        let unsigned = with_target(uri, &path, &query)?;
        let sign = {
            let head = Head::of_link(scheme, "", &unsigned);
            let request = head.read_query(scheme, usize::MAX).map_err(SignError::refused)?.without_form();
            signer.mac(&StringToSign { request: &request, fields: &fields, root: Root::WithSlash })
        };
        append(&mut query, scheme.parameter_name(Field::Sign).unwrap_or_default(), sign.to_hex().as_bytes());
        Ok(Link { uri: with_target(uri, &path, &query)?, expires_at })
    }
}

fn write_fields(
    scheme: &Scheme,
    query: &mut Vec<u8>,
    lifetime: LinkLifetime,
    grant: Option<&GrantToken>,
    fields: &Fields,
) {
    let name = |field| scheme.parameter_name(field).unwrap_or_default();
    let number = |number: u64| itoa::Buffer::new().format(number).to_owned();
    append(query, scheme.links().expires_name(), number(lifetime.seconds()).as_bytes());
    if let Some(grant) = grant {
        append(query, scheme.links().grant_name(), grant.expose().as_bytes());
    }
    append(query, name(Field::AppId), fields.app_id.as_str().as_bytes());
    append(query, name(Field::Timestamp), number(fields.timestamp.unix_seconds()).as_bytes());
    if let Some(nonce) = &fields.nonce {
        append(query, name(Field::Nonce), nonce.as_str().as_bytes());
    }
}

/// Rejects a path that clients rewrite before they send it.
fn check_path(path: &str) -> Result<(), SignError> {
    let error = |reason| Err(SignError::new(SignErrorKind::Url, reason));
    if path == "*" {
        return error("a link has a path: * is for OPTIONS");
    }
    if path.contains('\\') {
        return error("clients turn \\ in a path into /: write it as %5C");
    }
    if path.contains("//") {
        return error("proxies merge // in a path: leave the empty segment out");
    }
    let is_dots = |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    match path.split('/').any(is_dots) {
        true => error("clients resolve the segments . and .. of a path: write the path that they stand for"),
        false => Ok(()),
    }
}

/// Rejects parameters that a verifier would not deliver, or would take for its own.
fn check_query(scheme: &Scheme, query: &str) -> Result<(), SignError> {
    for segment in segments(query.as_bytes()) {
        if segment.is_empty() {
            let detail = "the query has a parameter with an empty name or value, which would not reach the service";
            return Err(SignError::refused(Rejection::malformed_parameters(detail)));
        }
        let name = percent::decoded(segment.name().raw());
        let is_own = scheme.links().find(scheme.field_parameters(), &name).is_some();
        if is_own || scheme.links().leaves_out(&name) {
            let name = String::from_utf8_lossy(&name).into_owned();
            let problem = match is_own {
                true => "a link has a parameter of this name itself: rename yours, or that of the scheme",
                false => "links leave this parameter out, so it would not reach the service",
            };
            return Err(SignError::refused(Rejection::malformed(name, problem)));
        }
    }
    Ok(())
}

/// Escapes what browsers escape in a path and in a query, so that they send the URL as it was signed.
fn escaped(text: &str) -> Vec<u8> {
    let must_escape = |byte: u8| !byte.is_ascii_graphic() || b"\"<>^`{}".contains(&byte);
    let mut escaped = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match must_escape(byte) {
            true => escaped.extend(escape(byte)),
            false => escaped.push(byte),
        }
    }
    escaped
}

fn with_target(uri: &Uri, path: &[u8], query: &[u8]) -> Result<Uri, SignError> {
    let path = if path.is_empty() { b"/" } else { path };
    let mut parts = Parts::from(uri.clone());
    let target = PathAndQuery::from_maybe_shared([path, b"?", query].concat()).map_err(SignError::unwritable)?;
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).map_err(SignError::unwritable)
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl fmt::Debug for Presign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presign").field("signer", self.signer).field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}
