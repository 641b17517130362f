//! Removes a signature from a request, for servers that must not see it.

use http::request::Parts;

use crate::protocol::{
    claim::{location::has_signature, token::remove_token},
    query::{self, with_query},
    scheme::contract::Scheme,
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
