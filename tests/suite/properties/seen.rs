//! The request that a service gets after verification.

use countersign::{Caller, ParameterPolicy, server::ServiceBody};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;

use super::{Decoded, decoded, is_signed, meaning};
use crate::rig;

/// The signed content of the request in normalized form. It omits unsigned headers, and parameters of the content type
/// other than a multipart boundary.
#[derive(Debug, PartialEq)]
pub(super) struct Received {
    method: String,
    path: String,
    query: Decoded,
    content_type: String,
    signed_headers: [Option<Vec<u8>>; 2],
    body: ReceivedBody,
    app_id: String,
    token: Option<String>,
    timestamp: u64,
    nonce: String,
}

#[derive(Debug, PartialEq)]
enum ReceivedBody {
    Bytes(Vec<u8>),
    /// A form whose bytes were not signed.
    Form(Decoded),
}

impl Received {
    /// Returns `None` if the body ends with an error.
    pub(super) async fn of(
        request: Request<ServiceBody>,
        parameters: ParameterPolicy,
        has_digest: bool,
    ) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.ok()?.to_bytes().to_vec();
        let query = parts.uri.query().unwrap_or_default();
        let caller = parts.extensions.get::<Caller>().unwrap();
        let content_type = content_type(&parts.headers);
        let is_form = content_type == super::by_hand::FORM && !parts.headers.contains_key("content-encoding");
        Some(Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: all_signed(query, parameters),
            content_type,
            signed_headers: ["x-tenant", "x-user"].map(|name| {
                let mut values = parts.headers.get_all(name).iter();
                let value = values.next().map(|value| value.as_bytes().trim_ascii().to_vec());
                assert!(values.next().is_none(), "{name} is there twice");
                value
            }),
            // An empty form equals any other empty body.
            body: match is_form && !has_digest && !body.is_empty() {
                true => ReceivedBody::Form(all_signed(std::str::from_utf8(&body).unwrap(), parameters)),
                false => ReceivedBody::Bytes(body),
            },
            app_id: caller.app_id().to_string(),
            token: caller.token().map(|token| token.expose().to_owned()),
            timestamp: caller.timestamp().unix_seconds(),
            nonce: caller.nonce().unwrap().to_string(),
        })
    }
}

/// The meaning of the parameters. Asserts that all of them are signed, and canonical under that policy.
fn all_signed(text: &str, parameters: ParameterPolicy) -> Decoded {
    let all = decoded(text.as_bytes());
    assert!(all.iter().all(is_signed), "{text} has parameters that are not signed");
    if parameters == ParameterPolicy::Canonicalize {
        assert_eq!(text, rig::canonical_parameters(text));
    }
    meaning(&all)
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get("content-type").map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let value = value.unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if !essence.starts_with("multipart/") {
        return essence;
    }
    let parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let boundary = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"));
    let boundary: Vec<_> = boundary.map(|(_, value)| value.trim().trim_matches('"')).collect();
    format!("{essence};boundary={}", boundary.join(","))
}
