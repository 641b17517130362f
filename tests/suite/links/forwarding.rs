//! The request that the service gets for a link.

use countersign::{Field, LinkScheme, ParameterPolicy, Scheme, TokenLocation};
use http::{HeaderName, Request};

use super::{link, link_by, open, verifier, verifier_of};
use crate::rig;

/// The target that the service gets.
async fn delivered(scheme: Scheme, policy: ParameterPolicy, link: &str) -> String {
    let verifier = verifier_of(scheme).with_parameters(policy);
    open(&verifier, link).await.unwrap().uri().to_string()
}

#[tokio::test]
async fn parameters_of_the_protocol_do_not_arrive() {
    let whole = format!("{}&empty=&=1", link("/a?b=%7e&b=1&a=+2"));
    let strip = delivered(Scheme::new(), ParameterPolicy::Strip, &whole).await;
    assert_eq!(strip, "/a?b=%7e&b=1&a=+2");
    let signed = delivered(Scheme::new(), ParameterPolicy::Canonicalize, &whole).await;
    assert_eq!(signed, "/a?a=%202&b=~&b=1");
    assert_eq!(delivered(Scheme::new(), ParameterPolicy::Strip, &link("/a")).await, "/a");
    assert_eq!(delivered(Scheme::new(), ParameterPolicy::Canonicalize, &link("/a")).await, "/a");
}

#[tokio::test]
async fn tracking_parameters_are_left_out_and_removed() {
    let links = LinkScheme::new().without(LinkScheme::TRACKING);
    let scheme = Scheme::new().with_links(links).unwrap();
    let link = link_by(&rig::signer_of(scheme.clone()), "/a?b=1");
    for added in ["fbclid=x", "utm_source=%6dail&gclid=1", "%66bclid=x&fbclid=y"] {
        let added = format!("{link}&{added}");
        assert_eq!(delivered(scheme.clone(), ParameterPolicy::Strip, &added).await, "/a?b=1");
        // Off by default.
        assert_eq!(super::code(&verifier().0, &added).await, "invalid_signature");
    }
    // In a request they are signed as any other.
    let request = rig::signed_by(&rig::signer_of(scheme.clone()), rig::NOW, rig::get("/a?fbclid=x"));
    assert_eq!(rig::verify(&verifier_of(scheme), request).await.unwrap().uri(), "/a?fbclid=x");
}

#[tokio::test]
async fn renamed_parameters_are_those_of_the_link() {
    let links = LinkScheme::new().with_expires_name("ttl").with_grant_name("g");
    let scheme = Scheme::new().with_links(links).unwrap().with_parameter_name(Field::Sign, "sig").unwrap();
    let link = link_by(&rig::signer_of(scheme.clone()), "/a?expires=1&sign=2");
    assert!(link.contains("&ttl=3600&") && link.contains("&sig="), "{link}");
    assert_eq!(delivered(scheme, ParameterPolicy::Strip, &link).await, "/a?expires=1&sign=2");
}

/// A link signs no headers. A service that trusts a signed header must not find one that was not signed.
#[tokio::test]
async fn headers_that_requests_sign_are_removed() {
    let signed = ["x-tenant", "host", "accept", "accept-profile", "range", "if-none-match", "authorization"];
    let scheme = Scheme::new().with_signed_headers(signed.map(HeaderName::from_static)).unwrap();
    let link = link_by(&rig::signer_of(scheme.clone()), "/a");
    let mut request = Request::get(link);
    for name in signed.into_iter().chain(["x-other", "content-type", "x-content-sha256", "x-http-method-override"]) {
        request = request.header(name, "text/plain");
    }
    let opened = rig::verify(&verifier_of(scheme), request.body("").unwrap()).await.unwrap();
    let mut left: Vec<_> = opened.headers().keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["accept", "host", "if-none-match", "range", "x-other"]);
}

#[tokio::test]
async fn unchecked_tokens_are_removed() {
    for (location, name, value, left) in [
        (TokenLocation::Field, "x-token", "tok_1", None),
        (TokenLocation::Bearer, "authorization", "Bearer tok_1", None),
        (TokenLocation::Bearer, "authorization", "Basic abc", Some("Basic abc")),
        (TokenLocation::Cookie("sid".into()), "cookie", "a=1; sid=tok_1; b=2", Some("a=1; b=2")),
        (TokenLocation::FieldOrCookie("sid".into()), "cookie", "sid=tok_1", None),
        (TokenLocation::Field, "cookie", "sid=tok_1", Some("sid=tok_1")),
    ] {
        let scheme = Scheme::new().with_token_location(location.clone()).unwrap();
        let request = Request::get(link("/a")).header(name, value).body("").unwrap();
        let opened = rig::verify(&verifier_of(scheme), request).await.unwrap();
        let found = opened.headers().get(name).map(|value| value.to_str().unwrap());
        assert_eq!(found, left, "{location:?} {name}");
        let caller = opened.extensions().get::<countersign::Caller>().unwrap();
        assert!(caller.token().is_none());
    }
}

#[tokio::test]
async fn nested_routers_get_the_same_target() {
    let (verifier, _) = verifier();
    let mut request = rig::incoming(rig::get(&link("/api/a?b=1")));
    let original = request.uri().clone();
    *request.uri_mut() = original.to_string().replace("/api", "").parse().unwrap();
    request.extensions_mut().insert(axum::extract::OriginalUri(original));
    let opened = verifier.verify(request).await.unwrap();
    assert_eq!(opened.uri(), "/a?b=1");
    assert_eq!(opened.extensions().get::<axum::extract::OriginalUri>().unwrap().0, "/api/a?b=1");
}
