//! Each line of the string to sign of a response: a change of it is found.

use countersign::{Nonce, Payload, ResponseErrorKind, Scheme, SchemeError, Secret, SentRequest, Signer, Timestamp};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::check;
use crate::{
    reference::{response::SignedResponse, string::hmac_sha256},
    rig::{self, KEY, NOW},
};

fn scheme() -> Scheme {
    Scheme::new().with_signed_response_headers([http::header::LOCATION, http::header::ETAG]).unwrap()
}

fn signer() -> Signer {
    rig::signer_of(scheme())
}

fn sent_with(signer: &Signer, method: Method, nonce: &str) -> SentRequest {
    let (mut parts, ()) = Request::builder().method(method).uri("/").body(()).unwrap().into_parts();
    let nonce: Nonce = nonce.parse().unwrap();
    signer.sign_at(&mut parts, Payload::Bytes(b""), Timestamp::try_from(NOW).unwrap(), nonce).unwrap();
    signer.sent_request(&parts).unwrap()
}

fn sent() -> SentRequest {
    sent_with(&signer(), Method::GET, "nonce-of-response")
}

/// A response in which every line has content.
fn response() -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "multipart/byteranges; boundary=b"),
        ("content-encoding", "gzip"),
        ("content-range", "bytes 0-3/9"),
        ("location", "/a"),
        ("etag", "\"1\""),
    ] {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let (status, body) = (StatusCode::PARTIAL_CONTENT, b"body".to_vec());
    let timestamp = Timestamp::try_from(NOW).unwrap();
    signer().sign_response_at(&sent(), status, &mut headers, Payload::Bytes(&body), timestamp).unwrap();
    (status, headers, body)
}

fn error(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<ResponseErrorKind> {
    check(&signer(), &sent(), status, headers, body).err().map(|error| error.kind())
}

#[test]
fn unchanged_response_is_accepted() {
    let (status, headers, body) = response();
    assert_eq!(error(status, &headers, &body), None);
}

#[test]
fn each_changed_header_is_rejected() {
    use ResponseErrorKind::{BodyMismatch, InvalidSignature, Malformed};
    let (status, headers, body) = response();
    let other_digest = crate::reference::string::sha256(b"other");
    let later = (NOW + 1).to_string();
    let changes = [
        ("content-type", "multipart/byteranges; boundary=c", InvalidSignature),
        ("content-type", "multipart/mixed; boundary=b", InvalidSignature),
        ("content-encoding", "br", InvalidSignature),
        ("content-range", "bytes 1-4/9", InvalidSignature),
        ("location", "/b", InvalidSignature),
        ("etag", "\"2\"", InvalidSignature),
        ("x-response-timestamp", &later, InvalidSignature),
        ("x-response-content-sha256", &other_digest, BodyMismatch),
        ("x-response-sign", &other_digest, InvalidSignature),
    ];
    for (name, value, kind) in changes {
        let (mut changed, name) = (headers.clone(), name.parse::<HeaderName>().unwrap());
        changed.insert(name.clone(), value.parse().unwrap());
        assert_eq!(error(status, &changed, &body), Some(kind), "{name}: {value}");
        let (mut removed, mut twice) = (headers.clone(), headers.clone());
        removed.remove(&name);
        twice.append(name.clone(), value.parse().unwrap());
        let is_own = name.as_str().starts_with("x-response-");
        let kind_removed = if is_own { Malformed } else { InvalidSignature };
        assert_eq!(error(status, &removed, &body), Some(kind_removed), "{name} removed");
        let kind_twice = if is_own || name == "content-type" { Malformed } else { InvalidSignature };
        assert_eq!(error(status, &twice, &body), Some(kind_twice), "{name} twice");
    }
}

#[test]
fn header_moved_to_another_name_is_rejected() {
    let (status, mut headers, body) = response();
    let etag = headers.remove("etag").unwrap();
    headers.append("location", etag);
    assert_eq!(error(status, &headers, &body), Some(ResponseErrorKind::InvalidSignature));
}

#[test]
fn changed_status_and_body_are_rejected() {
    let (status, headers, body) = response();
    assert_eq!(error(StatusCode::OK, &headers, &body), Some(ResponseErrorKind::InvalidSignature));
    for changed in [&b"bodY"[..], b"", b"body "] {
        assert_eq!(error(status, &headers, changed), Some(ResponseErrorKind::BodyMismatch));
    }
}

#[test]
fn response_of_another_request_key_or_app_is_rejected() {
    let (status, headers, body) = response();
    let invalid = Some(ResponseErrorKind::InvalidSignature);
    let kind = |signer: &Signer, sent: &SentRequest| {
        check(signer, sent, status, &headers, &body).err().map(|error| error.kind())
    };
    assert_eq!(kind(&signer(), &sent_with(&signer(), Method::GET, "another-nonce")), invalid);
    let other_key = Signer::new("demo".parse().unwrap(), Secret::new("f".repeat(32)).unwrap()).with_scheme(scheme());
    assert_eq!(kind(&other_key, &sent()), invalid);
    let other_app = Signer::new("other".parse().unwrap(), rig::secret()).with_scheme(scheme());
    assert_eq!(kind(&other_app, &sent()), invalid);
    let session = Signer::for_session("demo".parse().unwrap(), "tok".parse().unwrap(), rig::secret());
    assert_eq!(kind(&session.with_scheme(scheme()), &sent()), invalid);
    assert_eq!(kind(&rig::signer(), &sent()), invalid, "other signed headers");
}

#[test]
fn time_of_the_response_is_bounded() {
    let (status, headers, body) = response();
    let at = |now: u64| {
        let now = Timestamp::try_from(now).unwrap();
        let result = signer().check_response_at(&sent(), status, &headers, Payload::Bytes(&body), now);
        result.err().map(|error| error.kind())
    };
    let stale = Some(ResponseErrorKind::StaleTimestamp);
    assert_eq!([at(NOW - 301), at(NOW - 300), at(NOW + 300), at(NOW + 301)], [stale, None, None, stale]);
}

#[test]
fn responses_without_a_body_are_signed_without_one() {
    let timestamp = Timestamp::try_from(NOW).unwrap();
    let empty = crate::reference::string::sha256(b"");
    for (method, status) in
        [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304), (Method::GET, 101), (Method::CONNECT, 200)]
    {
        let uri = if method == Method::CONNECT { "/socket" } else { "/" };
        let (mut parts, ()) = Request::builder().method(&method).uri(uri).body(()).unwrap().into_parts();
        rig::signer().sign_at(&mut parts, Payload::Bytes(b""), timestamp, rig::fresh_nonce()).unwrap();
        let sent = rig::signer().sent_request(&parts).unwrap();
        let (status, mut headers) = (StatusCode::from_u16(status).unwrap(), HeaderMap::new());
        let not_sent = Payload::Bytes(b"not sent");
        rig::signer().sign_response_at(&sent, status, &mut headers, not_sent, timestamp).unwrap();
        assert_eq!(headers["x-response-content-sha256"], empty, "{method} {status}");
        check(&rig::signer(), &sent, status, &headers, b"").unwrap();
        let added = check(&rig::signer(), &sent, status, &headers, b"not sent").unwrap_err();
        assert_eq!(added.kind(), ResponseErrorKind::BodyMismatch);
    }
}

#[test]
fn some_headers_cannot_be_configured() {
    for name in [
        "set-cookie",
        "date",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-response-timestamp",
        "x-response-content-sha256",
        "x-response-sign",
        "content-type",
        "content-length",
        "content-encoding",
        "content-range",
    ] {
        let result = Scheme::new().with_signed_response_headers([HeaderName::from_static(name)]);
        assert!(matches!(result, Err(SchemeError::SignedResponseHeader { .. })), "{name}");
    }
    let twice = [http::header::LOCATION, http::header::ETAG, http::header::LOCATION];
    assert!(Scheme::new().with_signed_response_headers(twice).is_err());
    let scheme = Scheme::new().with_signed_response_headers([http::header::RETRY_AFTER, http::header::LOCATION]);
    assert_eq!(scheme.unwrap().signed_response_headers(), [http::header::LOCATION, http::header::RETRY_AFTER]);
}

fn value() -> impl Strategy<Value = String> {
    "[ \t]{0,2}[!-~]{0,6}(, [!-~]{1,4})?[ \t]{0,2}"
}

fn content_type() -> impl Strategy<Value = Option<String>> {
    option::of(select(vec![
        "application/json".to_owned(),
        "Text/HTML; charset=utf-8".to_owned(),
        "multipart/byteranges; boundary=\"a b\"".to_owned(),
        "nonsense".to_owned(),
        "multipart/mixed".to_owned(),
    ]))
}

proptest! {
    #[test]
    fn crate_and_reference_agree(
        status in select(vec![100_u16, 200, 201, 206, 302, 404, 500, 599]),
        content_type in content_type(),
        headers in vec((select(vec!["content-encoding", "content-range", "location", "etag", "x-other"]), value()), 0..6),
        body in vec(any::<u8>(), 0..40),
    ) {
        let mut map = HeaderMap::new();
        let content_type = content_type.map(|value| ("content-type", value));
        for (name, value) in content_type.iter().chain(&headers) {
            map.append(*name, value.parse().unwrap());
        }
        let (status, timestamp) = (StatusCode::from_u16(status).unwrap(), Timestamp::try_from(NOW).unwrap());
        let pairs: Vec<(String, Vec<u8>)> =
            map.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
        let (mut parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        signer().sign_at(&mut parts, Payload::Bytes(b""), timestamp, rig::fresh_nonce()).unwrap();
        let reference = SignedResponse {
            status: status.as_u16(),
            headers: &pairs,
            body: &body,
            further: &["location", "etag"],
            app: "demo",
            request_sign: parts.headers["x-sign"].to_str().unwrap(),
            timestamp: &NOW.to_string(),
        };
        let sent = signer().sent_request(&parts).unwrap();
        let signed = signer().sign_response_at(&sent, status, &mut map, Payload::Bytes(&body), timestamp);
        match reference.string(KEY) {
            Some(string) => {
                signed.unwrap();
                let sign = hmac_sha256(KEY, &string);
                prop_assert_eq!(map["x-response-sign"].to_str().unwrap(), sign);
                prop_assert!(check(&signer(), &sent, status, &map, &body).is_ok());
            }
            None => prop_assert!(signed.is_err()),
        }
    }
}
