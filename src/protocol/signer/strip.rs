//! Removes a signature from a request, for servers that must not see it.

use http::{HeaderMap, header, request::Parts};

use crate::protocol::{
    claim::{
        location::has_signature,
        token::{auth_scheme, remove_cookie, rewrite},
    },
    encode::grammar::trim,
    query::{self, with_query},
    scheme::contract::{Scheme, TokenLocation},
    signer::{error::SignError, sign::Signer},
};

impl Signer {
    /// Removes everything that a signer of this scheme writes, and also the request's own token from the token's
    /// location.
    pub(crate) fn strip_signature(&self, parts: &mut Parts) -> Result<(), SignError> {
        for name in self.scheme().header_table().fields() {
            parts.headers.remove(name);
        }
        remove_token(self.scheme(), &mut parts.headers);
        remove_parameters(self.scheme(), parts).map_err(SignError::unwritable)
    }
}

fn remove_token(scheme: &Scheme, headers: &mut HeaderMap) {
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

/// Removes the fields from the query. A query without a signature stays unchanged, because a parameter with a field's
/// name then belongs to the other server.
fn remove_parameters(scheme: &Scheme, parts: &mut Parts) -> Result<(), http::Error> {
    let (Some(fields), Some(query)) = (scheme.query_fields(), parts.uri.query()) else {
        return Ok(());
    };
    let query = query.as_bytes();
    if has_signature(scheme, &parts.uri) {
        parts.uri = with_query(&parts.uri, &query::without_fields(query, fields))?;
    }
    Ok(())
}
