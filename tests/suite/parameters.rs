//! Parameters: no unsigned parameter reaches the service, under any policy.

use countersign::{Limits, ParameterPolicy, Scheme};
use http::{HeaderValue, Request};

use crate::rig::{self, NOW, form, form_without_digest, get, signed, signed_by, signer_of, verifier};

/// The target that the service gets, or the code of the rejection.
async fn target(parameters: ParameterPolicy, request: Request<&'static str>) -> String {
    match rig::verify(&verifier().0.with_parameters(parameters), request).await {
        Ok(request) => request.uri().to_string(),
        Err(rejection) => rejection.kind().code().to_owned(),
    }
}

/// A signed request whose query was changed after signing.
fn altered(target: &'static str, sent: &'static str) -> Request<&'static str> {
    let mut request = signed(get(target));
    *request.uri_mut() = sent.parse().unwrap();
    request
}

#[tokio::test]
async fn strip_policy_removes_empty_parameters() {
    for (signed_as, sent, seen) in [
        ("/p?a=1", "/p?a=1&admin", "/p?a=1"),
        ("/p?a=1", "/p?admin&a=1", "/p?a=1"),
        ("/p?a=1", "/p?a=1&admin=", "/p?a=1"),
        ("/p?a=1", "/p?=admin&a=1&&", "/p?a=1"),
        ("/p", "/p?admin", "/p"),
        ("/p", "/p?", "/p"),
        ("/p", "/p?&&=&", "/p"),
        ("/p?b=%7e&a=x+y", "/p?b=%7e&x=&a=x+y", "/p?b=%7e&a=x+y"),
        ("/p?b=%7e&a=x+y", "/p?a=x%20y&b=~", "/p?a=x%20y&b=~"),
    ] {
        assert_eq!(target(ParameterPolicy::Strip, altered(signed_as, sent)).await, seen, "{sent}");
    }
}

#[tokio::test]
async fn canonicalize_policy_delivers_signed_spelling() {
    for (signed_as, sent, seen) in [
        ("/p?b=2&a=1", "/p?b=2&a=1", "/p?a=1&b=2"),
        ("/p?a=x+y", "/p?a=x%20y", "/p?a=x%20y"),
        ("/p?a=%7e", "/p?a=~&admin", "/p?a=~"),
        ("/p?a=%C3%A9%aB%Ab", "/p?a=%c3%a9%AB%ab", "/p?a=%C3%A9%AB%AB"),
        ("/p", "/p?", "/p"),
    ] {
        assert_eq!(target(ParameterPolicy::Canonicalize, altered(signed_as, sent)).await, seen, "{sent}");
    }
}

#[tokio::test]
async fn reject_policy_rejects_empty_parameters() {
    for (sent, seen) in [
        ("/p?a=1", "/p?a=1"),
        ("/p", "/p"),
        ("/p?a=1&admin", "malformed_parameters"),
        ("/p?a=1&admin=", "malformed_parameters"),
        ("/p?a=1&=x", "malformed_parameters"),
        ("/p?a=1&", "malformed_parameters"),
    ] {
        assert_eq!(target(ParameterPolicy::Reject, altered(sent, sent)).await, seen, "{sent}");
    }
    assert_eq!(target(ParameterPolicy::Reject, signed(form("/p", "a=1&b="))).await, "malformed_parameters");
    assert_eq!(target(ParameterPolicy::Reject, form_without_digest("/p", "a=1&b=")).await, "malformed_parameters");
}

#[tokio::test]
async fn query_fields_do_not_reach_the_service() {
    let scheme = Scheme::new().with_field_location(countersign::FieldLocation::Query);
    for (parameters, seen) in [(ParameterPolicy::Strip, "/p?b=2&a=1"), (ParameterPolicy::Canonicalize, "/p?a=1&b=2")] {
        let verifier = verifier().0.with_scheme(scheme.clone()).with_parameters(parameters);
        let request = signed_by(&signer_of(scheme.clone()), NOW, get("/p?b=2&a=1"));
        assert_eq!(*rig::verify(&verifier, request).await.unwrap().uri(), *seen);
    }
    let verifier = verifier().0.with_scheme(scheme.clone()).with_parameters(ParameterPolicy::Reject);
    let request = signed_by(&signer_of(scheme.clone()), NOW, get("/p"));
    assert_eq!(*rig::verify(&verifier, request).await.unwrap().uri(), "/p", "the empty query is removed with its ?");
}

/// Pairs of requests with different meanings. A signature of the first is invalid for the second.
#[tokio::test]
async fn signature_covers_the_meaning_of_parameters() {
    for (signed_as, sent) in [
        ("/p?a=1%26b%3D2", "/p?a=1&b=2"),
        ("/p?a=1&b=2", "/p?a=1%26b%3D2"),
        ("/p?a=1;b=2", "/p?a=1&b=2"),
        ("/p?id=1&id=2", "/p?id=2&id=1"),
        ("/p?a=%FF", "/p?a=%FE"),
        ("/p?a=x%2By", "/p?a=x+y"),
        ("/p?a=x+y", "/p?a=x%2By"),
        ("/p?a=1", "/p?A=1"),
        ("/p?a=1", "/q?a=1"),
        ("/p", "/p/"),
        ("/p", "//p"),
        ("/p%2F", "/p/"),
        ("/%70", "/p"),
        ("/p?a%3Db=c", "/p?a=b%3Dc"),
        ("/p?ab=c", "/p?a=bc"),
        ("/p?a=1", "/p?a=1&a=1"),
        ("/p?a=%00", "/p?a=0"),
    ] {
        assert_eq!(
            target(ParameterPolicy::Strip, altered(signed_as, sent)).await,
            "invalid_signature",
            "{signed_as} as {sent}"
        );
    }
}

#[tokio::test]
async fn query_and_form_parameters_are_not_interchangeable() {
    let moved = |target: &'static str, body: &'static str, as_signed: Request<&'static str>| {
        let mut request = form(target, body);
        *request.headers_mut() = as_signed.headers().clone();
        request
    };
    let in_query = form_without_digest("/p?a=1", "b=2");
    assert_eq!(target(ParameterPolicy::Strip, moved("/p?b=2", "a=1", in_query.clone())).await, "invalid_signature");
    assert_eq!(target(ParameterPolicy::Strip, moved("/p?a=1&b=2", "c=3", in_query.clone())).await, "invalid_signature");
    assert_eq!(target(ParameterPolicy::Strip, moved("/p", "a=1&b=2", in_query.clone())).await, "invalid_signature");
    assert_eq!(target(ParameterPolicy::Strip, in_query).await, "/p?a=1");
}

/// The body and the declared length that the service gets.
async fn delivered(parameters: ParameterPolicy, request: Request<&'static str>) -> (String, Option<String>) {
    let verified = rig::verify(&verifier().0.with_parameters(parameters), request).await.unwrap();
    let length = verified.headers().get("content-length").map(|v| v.to_str().unwrap().to_owned());
    let body = rig::bytes(verified.into_body()).await;
    (String::from_utf8(body.to_vec()).unwrap(), length)
}

fn with_length(mut request: Request<&'static str>) -> Request<&'static str> {
    let length = HeaderValue::from(request.body().len());
    request.headers_mut().insert("content-length", length);
    request
}

#[tokio::test]
async fn form_without_digest_is_stripped_with_correct_length() {
    let sent = || with_length(form_without_digest("/p", "to=bob&memo=&amount=1&admin&=x"));
    let stripped = ("to=bob&amount=1".to_owned(), Some("15".to_owned()));
    assert_eq!(delivered(ParameterPolicy::Strip, sent()).await, stripped);
    let as_signed = ("amount=1&to=bob".to_owned(), Some("15".to_owned()));
    assert_eq!(delivered(ParameterPolicy::Canonicalize, sent()).await, as_signed);
    let unchanged = || form_without_digest("/p", "to=bob&amount=1");
    assert_eq!(delivered(ParameterPolicy::Strip, unchanged()).await, ("to=bob&amount=1".to_owned(), None));
}

#[tokio::test]
async fn form_with_digest_is_delivered_unchanged() {
    for parameters in [ParameterPolicy::Strip, ParameterPolicy::Canonicalize] {
        for body in ["to=bob&memo=&amount=1&admin", "", "memo="] {
            let delivered = delivered(parameters, with_length(signed(form("/p", body)))).await;
            assert_eq!(delivered, (body.to_owned(), Some(body.len().to_string())));
        }
    }
}

#[tokio::test]
async fn form_without_parameters_is_rejected() {
    for body in [r#"{"a":1}"#, "a=&b", "&&", "&", "="] {
        let rejection = rig::verify(&verifier().0, form_without_digest("/p", body)).await.unwrap_err();
        assert_eq!(rejection.kind().code(), "malformed_parameters", "{body}");
        assert!(rejection.detail().contains("content type"), "{rejection}");
    }
}

#[tokio::test]
async fn empty_form_needs_no_digest() {
    for policy in [ParameterPolicy::Strip, ParameterPolicy::Canonicalize, ParameterPolicy::Reject] {
        let verifier = verifier().0.with_parameters(policy);
        for length in [None, Some(0)] {
            let mut request = form_without_digest("/p?a=1", "");
            length.map(|length: u64| request.headers_mut().insert("content-length", length.into()));
            let delivered = rig::verify(&verifier, request).await.unwrap();
            assert_eq!(delivered.headers().get("content-length").map(|value| value == "0"), length.map(|_| true));
            assert_eq!(rig::bytes(delivered.into_body()).await, "");
        }
    }
    let mut filled = form_without_digest("/p", "");
    *filled.body_mut() = "a=1";
    assert_eq!(rig::code(&verifier().0, filled).await, "invalid_signature", "the signed form line is empty");
    assert!(signed(form("/p", "")).headers().contains_key("x-content-sha256"), "signers send the digest anyway");
}

#[tokio::test]
async fn malformed_escapes_are_rejected() {
    for escape in ["%", "%4", "%zz", "%4g", "%%41", "a%", "%2", "%G0"] {
        for query in [format!("a={escape}"), format!("{escape}=1"), format!("a=1&{escape}=")] {
            let mut request = signed(get("/p"));
            *request.uri_mut() = format!("/p?{query}").parse().unwrap();
            let rejection = rig::verify(&verifier().0, request).await.unwrap_err();
            assert_eq!(rejection.kind().code(), "malformed_parameters", "{query}");
            assert!(rejection.detail().contains('%'), "{rejection}");
        }
    }
    let mut request = signed(form("/p", "a=1"));
    *request.body_mut() = "a=%4";
    assert_eq!(rig::code(&verifier().0, request).await, "malformed_parameters", "the same holds for a form");
}

#[tokio::test]
async fn limits_are_checked_before_the_signature() {
    let query = |n: usize| format!("/p?{}", vec!["a=1"; n].join("&"));
    let fits: Request<&str> = signed(get(&query(256)));
    assert_eq!(rig::code(&verifier().0, fits).await, "accepted");
    let mut many = signed(get("/p"));
    *many.uri_mut() = query(257).parse().unwrap();
    assert_eq!(rig::code(&verifier().0, many).await, "malformed_parameters");

    let long = |n: usize| format!("/p?a={}", "x".repeat(n - 2));
    assert_eq!(rig::code(&verifier().0, signed(get(&long(16 * 1024)))).await, "accepted");
    let mut too_long = signed(get("/p"));
    *too_long.uri_mut() = long(16 * 1024 + 1).parse().unwrap();
    assert_eq!(rig::code(&verifier().0, too_long).await, "query_too_long");

    let form_of = |n: usize| vec!["a=1"; n].join("&");
    let request = |body: String| {
        let mut request = signed(form("/p", "a=1")).map(str::to_owned);
        *request.body_mut() = body;
        request
    };
    assert_eq!(rig::code(&verifier().0, request(form_of(256))).await, "invalid_signature");
    assert_eq!(rig::code(&verifier().0, request(form_of(257))).await, "malformed_parameters");

    let limits = Limits::new().with_parameters(2).with_query(10);
    let verifier = verifier().0.with_limits(limits);
    let mut request = signed(get("/p"));
    for (target, code) in [
        ("/p?a=1&b=2", "invalid_signature"),
        ("/p?a=1&b=2&c", "malformed_parameters"),
        ("/p?aaaaaaa=123", "query_too_long"),
    ] {
        *request.uri_mut() = target.parse().unwrap();
        assert_eq!(rig::code(&verifier, request.clone()).await, code, "{target}");
    }
}

#[tokio::test]
async fn unsigned_override_headers_are_removed() {
    let names = ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];
    let mut request = signed(get("/p"));
    for name in names {
        request.headers_mut().append(name, "DELETE".parse().unwrap());
        request.headers_mut().append(name, "PUT".parse().unwrap());
    }
    let verified = rig::verify(&verifier().0, request).await.unwrap();
    for name in names {
        assert!(!verified.headers().contains_key(name), "{name}");
    }
    let scheme = Scheme::new().with_signed_headers([http::HeaderName::from_static("x-http-method-override")]).unwrap();
    let mut request = get("/p");
    request.headers_mut().insert("x-http-method-override", "DELETE".parse().unwrap());
    let request = signed_by(&signer_of(scheme.clone()), NOW, request);
    let verified = rig::verify(&verifier().0.with_scheme(scheme), request).await.unwrap();
    assert_eq!(verified.headers()["x-http-method-override"], "DELETE");
}

#[tokio::test]
async fn stripped_prefix_is_signed() {
    let verifier = verifier().0.with_prefix("/api/v1").unwrap();
    let mut request = signed(get("/api/v1/orders?a=1"));
    *request.uri_mut() = "/orders?a=1".parse().unwrap();
    let verified = rig::verify(&verifier, request).await.unwrap();
    assert_eq!(*verified.uri(), "/orders?a=1");
    assert_eq!(rig::code(&verifier, signed(get("/orders?a=1"))).await, "invalid_signature");
}

#[tokio::test]
async fn bare_prefix_is_signed_with_or_without_slash() {
    let verifier = verifier().0.with_prefix("/api").unwrap();
    for target in ["/api", "/api/", "/api?a=1", "/api/?a=1"] {
        let mut request = signed(get(target));
        let arrived = target.replace("/api/", "/").replace("/api", "/");
        *request.uri_mut() = arrived.parse().unwrap();
        assert_eq!(rig::code(&verifier, request).await, "accepted", "{target}");
    }
    for (signed_target, arrived) in [("/api/orders", "/"), ("/", "/"), ("/api", "//"), ("/apix", "/x"), ("/api//", "/")]
    {
        let mut request = signed(get(signed_target));
        *request.uri_mut() = arrived.parse().unwrap();
        assert_eq!(rig::code(&verifier, request).await, "invalid_signature", "{signed_target} as {arrived}");
    }
    let mut request = signed(get("/api"));
    *request.uri_mut() = "/".parse().unwrap();
    assert_eq!(rig::code(&self::verifier().0, request).await, "invalid_signature", "without a prefix");
}

#[tokio::test]
async fn undeliverable_query_uses_no_nonce() {
    let verifier = verifier().0.with_limits(Limits::new().with_query(30_000));
    // The canonical form has three times the length, more than a URI can hold.
    let request = signed_by(&rig::signer(), NOW, get(&format!("/?a={}", "*".repeat(25_000))));
    let as_signed = verifier.clone().with_parameters(ParameterPolicy::Canonicalize);
    assert_eq!(rig::code(&as_signed, request.clone()).await, "malformed_parameters");
    assert_eq!(rig::code(&verifier, request).await, "accepted");
}
