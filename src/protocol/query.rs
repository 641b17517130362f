//! Edits of queries and forms as text: removing and adding parameters.

use http::{Uri, uri::PathAndQuery};

use crate::protocol::{
    encode::{
        percent,
        segment::{Segment, Text, segments},
    },
    scheme::parameter_names::FieldParameters,
};

/// Returns `raw` without empty parameters and those that `is_removed` selects. All other bytes are unchanged.
pub(crate) fn strip(raw: &[u8], is_removed: impl Fn(Text<'_>) -> bool) -> Vec<u8> {
    join(raw, |segment| !segment.is_empty() && !is_removed(segment.name()))
}

/// Returns `raw` without the fields. Empty parameters stay.
pub(crate) fn without_fields(raw: &[u8], fields: &FieldParameters) -> Vec<u8> {
    join(raw, |segment| fields.find(segment.name()).is_none())
}

fn join(raw: &[u8], keep: impl Fn(&Segment<'_>) -> bool) -> Vec<u8> {
    let mut kept = Vec::with_capacity(raw.len());
    for (i, segment) in segments(raw).filter(keep).enumerate() {
        if i > 0 {
            kept.push(b'&');
        }
        kept.extend_from_slice(segment.raw());
    }
    kept
}

/// Adds a parameter to a query.
pub(crate) fn append(query: &mut Vec<u8>, name: &str, value: &[u8]) {
    if !query.is_empty() {
        query.push(b'&');
    }
    query.extend(percent::encoded(name.bytes()));
    query.push(b'=');
    query.extend(percent::encoded(value.iter().copied()));
}

/// Returns the target with another query, and without `?` if the query is empty.
pub(crate) fn with_query(uri: &Uri, query: &[u8]) -> Result<Uri, http::Error> {
    let mut target = uri.path().as_bytes().to_vec();
    if !query.is_empty() {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target)?);
    Ok(Uri::from_parts(parts)?)
}
