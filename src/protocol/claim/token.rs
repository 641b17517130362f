//! The token's location in a request, and its line in the string to sign.

use std::fmt;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, InvalidHeaderValue},
};
use sha2::{Digest, Sha256};

use crate::protocol::{
    claim::location::FieldSource,
    encode::grammar::{is_token_byte, trim},
    field::{
        digest::BodyDigest,
        value::{Field, Token},
    },
    rejection::{InField, Rejection},
    scheme::{
        contract::{Scheme, TokenLocation},
        headers::single,
    },
};

/// The token that a request claims, if any.
#[derive(Clone, Default)]
pub(crate) struct TokenClaim {
    token: Option<Token>,
    /// Represents a token in a cookie, which a page cannot read.
    cookie_line: Option<String>,
    /// Whether the location is `Authorization: Bearer`. It is set without a token too.
    #[cfg_attr(not(feature = "tokens"), allow(dead_code, reason = "only rejections about tokens need it"))]
    is_bearer: bool,
}

impl TokenClaim {
    pub(crate) fn new(scheme: &Scheme, token: Option<Token>) -> Self {
        match scheme.token_location() {
            TokenLocation::Cookie(_) => Self::in_cookie(token),
            location => Self { token, cookie_line: None, is_bearer: *location == TokenLocation::Bearer },
        }
    }

    fn in_cookie(token: Option<Token>) -> Self {
        Self { cookie_line: token.as_ref().map(cookie_line), token, is_bearer: false }
    }

    /// Reads the token from its location.
    pub(crate) fn extract(scheme: &Scheme, fields: &FieldSource<'_>, headers: &HeaderMap) -> Result<Self, Rejection> {
        let elsewhere = |value: Option<&[u8]>, name| value.map(Token::parse).transpose().in_field(name);
        let location = scheme.token_location();
        let token = match location {
            TokenLocation::Bearer => elsewhere(bearer(headers)?, "authorization")?,
            _ if location.is_field() => fields.optional(Field::Token, Token::parse)?,
            _ => None,
        };
        Ok(match (token, location.cookie()) {
            (None, Some(name)) => Self::in_cookie(elsewhere(cookie(headers, name)?, "cookie")?),
            (token, _) => Self { token, cookie_line: None, is_bearer: *location == TokenLocation::Bearer },
        })
    }

    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    #[cfg(feature = "tokens")]
    pub(crate) fn is_bearer(&self) -> bool {
        self.is_bearer
    }

    pub(crate) fn is_in_cookie(&self) -> bool {
        self.cookie_line.is_some()
    }

    /// The token's line in the string to sign. It is empty if there is no token.
    pub(crate) fn line(&self) -> &str {
        let token = || self.token.as_ref().map_or("", Token::expose);
        self.cookie_line.as_deref().unwrap_or_else(token)
    }

    /// The text of the token field. It is empty if the token has another location.
    pub(crate) fn field(&self, scheme: &Scheme) -> &str {
        match &self.token {
            Some(token) if scheme.token_location().is_field() && !self.is_in_cookie() => token.expose(),
            _ => "",
        }
    }

    /// Writes the token to its location, if that is not the token field.
    pub(crate) fn write_elsewhere(&self, scheme: &Scheme, headers: &mut HeaderMap) -> Result<(), InvalidHeaderValue> {
        let Some(token) = self.token.as_ref().map(Token::expose) else {
            return Ok(());
        };
        let (name, value) = match scheme.token_location() {
            TokenLocation::Bearer => (header::AUTHORIZATION, format!("Bearer {token}").into_bytes()),
            location => match location.cookie().filter(|_| self.is_in_cookie()) {
                Some(name) => (header::COOKIE, with_cookie(headers, name, token)),
                None => return Ok(()),
            },
        };
        let mut value = HeaderValue::from_bytes(&value)?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Ok(())
    }
}

/// Reads a token that no signature covers, from `Authorization: Bearer` or from the header of the token field.
#[cfg(feature = "tokens")]
pub(crate) fn presented_token(scheme: &Scheme, headers: &HeaderMap) -> Result<Option<Token>, Rejection> {
    let (value, name) = match scheme.token_location() {
        TokenLocation::Bearer => (bearer(headers)?, "authorization"),
        _ => (single(headers, scheme.header_name(Field::Token))?, scheme.header_name(Field::Token).as_str()),
    };
    value.map(Token::parse).transpose().in_field(name)
}

impl fmt::Debug for TokenClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.token.fmt(f)
    }
}

pub(crate) fn cookie_line(token: &Token) -> String {
    let digest = Sha256::new().chain_update("CS1-COOKIE\n").chain_update(token.expose()).finalize();
    format!("cookie:{}", BodyDigest::from(<[u8; 32]>::from(digest)))
}

/// Returns the text after `Bearer` in the Authorization header. Other schemes carry no token. RFC 6750, section 2.1.
fn bearer(headers: &HeaderMap) -> Result<Option<&[u8]>, Rejection> {
    let value = single(headers, &header::AUTHORIZATION)?.map(trim).unwrap_or_default();
    let (scheme, token) = auth_scheme(value);
    match token {
        _ if !scheme.eq_ignore_ascii_case(b"bearer") => Ok(None),
        // Skip spaces only. Readers disagree on whether other white space is part of the token.
        [] | [b' ', ..] => Ok(Some(&token[token.iter().take_while(|&&b| b == b' ').count()..])),
        _ => Err(Rejection::malformed("authorization", "expected a space after Bearer")),
    }
}

/// Splits an Authorization header into the name of its scheme and the text after it.
fn auth_scheme(value: &[u8]) -> (&[u8], &[u8]) {
    let end = value.iter().position(|&b| !is_token_byte(b)).unwrap_or(value.len());
    value.split_at(end)
}

/// Returns the only cookie with this name, from all Cookie headers. RFC 6265, section 4.2.1.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Rejection> {
    let mut values = cookies(headers).filter(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value);
    let value = values.next();
    match values.next() {
        Some(_) => Err(Rejection::malformed("cookie", format_args!("{name} is there twice"))),
        None => Ok(value),
    }
}

/// Returns the request's cookies with this one set and the others unchanged.
fn with_cookie(headers: &HeaderMap, name: &str, value: &str) -> Vec<u8> {
    let mut all = Vec::new();
    for (key, value) in cookies(headers).filter(|(key, _)| *key != name.as_bytes() && !key.is_empty()) {
        all.extend([key, b"=", value, b"; "].concat());
    }
    all.extend(format!("{name}={value}").into_bytes());
    all
}

/// Removes this cookie, and leaves the others unchanged.
pub(crate) fn remove_cookie(headers: &mut HeaderMap, name: &str) {
    rewrite(headers, header::COOKIE, |value| without_cookie(value, name));
}

/// Removes the token from its location, unless that is its field.
pub(crate) fn remove_token(scheme: &Scheme, headers: &mut HeaderMap) {
    if *scheme.token_location() == TokenLocation::Bearer {
        rewrite(headers, header::AUTHORIZATION, |value| {
            let is_bearer = auth_scheme(trim(value.as_bytes())).0.eq_ignore_ascii_case(b"bearer");
            (!is_bearer).then(|| value.clone())
        });
    }
    if let Some(name) = scheme.token_location().cookie() {
        remove_cookie(headers, name);
    }
}

/// Replaces the values of a header by what `keep` makes of each.
fn rewrite(headers: &mut HeaderMap, name: HeaderName, keep: impl Fn(&HeaderValue) -> Option<HeaderValue>) {
    let kept: Vec<_> = headers.get_all(&name).iter().filter_map(keep).collect();
    headers.remove(&name);
    for value in kept {
        headers.append(&name, value);
    }
}

/// Returns `None` if no other cookie is left.
fn without_cookie(value: &HeaderValue, name: &str) -> Option<HeaderValue> {
    let name_of = |pair: &[u8]| trim(pair.split(|&b| b == b'=').next().unwrap_or_default()).to_vec();
    let others = value.as_bytes().split(|&b| b == b';').filter(|pair| name_of(pair) != name.as_bytes());
    let others = others.map(trim).filter(|pair| !pair.is_empty()).collect::<Vec<_>>().join(&b"; "[..]);
    let mut kept = HeaderValue::from_bytes(&others).ok().filter(|value| !value.is_empty())?;
    kept.set_sensitive(value.is_sensitive());
    Some(kept)
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let values = headers.get_all(header::COOKIE).iter();
    values.flat_map(|value| value.as_bytes().split(|&b| b == b';')).map(|pair| {
        let equals = pair.iter().position(|&b| b == b'=').unwrap_or(pair.len());
        let (key, value) = pair.split_at(equals);
        (trim(key), trim(value.strip_prefix(b"=").unwrap_or_default()))
    })
}
