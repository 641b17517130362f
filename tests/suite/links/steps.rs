//! Each check of a link, in its order.

use std::time::Duration;

use countersign::{
    FieldLocation, Key, KeyRing, LinkScheme, ParameterPolicy, Scheme, Secret, StaticKeys, Verifier,
    clock::ManualClock,
    server::{Links, UnverifiedBody},
};
use http::{Method, Request};
use http_body_util::{BodyExt, channel::Channel};

use super::{Shared, code, link, link_by, one_time_link, open, verifier, verifier_of};
use crate::rig::{self, KEY, NOW};

/// The code, and the field of a rejection.
async fn refused(verifier: &Verifier<StaticKeys, Shared>, link: &str) -> (&'static str, String) {
    let rejection = open(verifier, link).await.unwrap_err();
    assert!(rejection.link().is_some(), "{rejection} is not marked as that of a link");
    (rejection.kind().code(), rejection.field().unwrap_or_default().to_owned())
}

fn without(link: &str, name: &str) -> String {
    let (path, query) = link.split_once('?').unwrap();
    let kept: Vec<_> = query.split('&').filter(|segment| !segment.starts_with(&format!("{name}="))).collect();
    format!("{path}?{}", kept.join("&"))
}

#[tokio::test]
async fn links_are_off_by_default() {
    let (verifier, _) = rig::verifier_on(Shared::default());
    assert_eq!(code(&verifier, &link("/a")).await, "unsigned");
    // In a verifier that takes fields in the query, a link is a malformed request.
    let verifier = verifier.with_scheme(Scheme::new().with_field_location(FieldLocation::Query));
    assert_eq!(code(&verifier, &link("/a")).await, "missing_field");
    assert_eq!(code(&verifier, &one_time_link("/a")).await, "invalid_signature");
}

#[tokio::test]
async fn only_get_and_head_open_a_link() {
    let (verifier, _) = verifier();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
        let request = Request::builder().method(method.clone()).uri(link("/a")).body("").unwrap();
        let rejection = rig::verify(&verifier, request).await.unwrap_err();
        assert_eq!(rejection.kind().code(), "method_not_allowed", "{method}");
        let response = rejection.to_response();
        assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"GET, HEAD".parse().unwrap()));
    }
}

#[tokio::test]
async fn websocket_over_http_2_opens_a_link() {
    let (verifier, _) = verifier();
    let connect = |version, target: &str| {
        Request::builder().method(Method::CONNECT).version(version).uri(target).body("").unwrap()
    };
    assert_eq!(rig::code(&verifier, connect(http::Version::HTTP_2, &link("/a"))).await, "accepted");
    assert_eq!(rig::code(&verifier, connect(http::Version::HTTP_11, &link("/a"))).await, "method_not_allowed");
}

#[tokio::test]
async fn link_with_a_body_is_refused() {
    let (verifier, _) = verifier();
    let with_bytes = Request::get(link("/a")).body("x").unwrap();
    let rejection = rig::verify(&verifier, with_bytes).await.unwrap_err();
    assert_eq!((rejection.kind().code(), rejection.field()), ("malformed_field", Some("body")));
    let declared = Request::get(link("/a")).header("content-length", "1").body("").unwrap();
    assert_eq!(rig::code(&verifier, declared).await, "malformed_field");
    let empty = Request::get(link("/a")).header("content-length", "0").body("").unwrap();
    assert_eq!(rig::code(&verifier, empty).await, "accepted");
    // A stream that has not ended may still bring bytes.
    let (_sender, stream) = Channel::<bytes::Bytes, std::convert::Infallible>::new(1);
    let stream = Request::get(link("/a")).body(UnverifiedBody::new(stream.boxed())).unwrap();
    assert_eq!(verifier.verify(stream).await.unwrap_err().kind().code(), "malformed_field");
}

#[tokio::test]
async fn each_field_of_a_link_is_required_once() {
    let (verifier, _) = verifier();
    let whole = link("/a?b=1");
    for name in ["expires", "appId", "timestamp", "sign"] {
        assert_eq!(refused(&verifier, &without(&whole, name)).await, ("missing_field", name.to_owned()));
        let value = whole.split(&format!("{name}=")).nth(1).unwrap().split('&').next().unwrap();
        let twice = format!("{whole}&{name}={value}");
        assert_eq!(refused(&verifier, &twice).await, ("malformed_field", name.to_owned()));
        let empty = whole.replace(&format!("{name}={value}"), &format!("{name}="));
        assert_eq!(refused(&verifier, &empty).await, ("malformed_field", name.to_owned()));
        let broken = whole.replace(&format!("{name}={value}"), &format!("{name}=%4"));
        assert_eq!(refused(&verifier, &broken).await, ("malformed_field", name.to_owned()));
    }
    assert_eq!(refused(&verifier, &format!("{whole}&token=t")).await, ("malformed_field", "token".to_owned()));
    assert_eq!(refused(&verifier, &format!("{whole}&nonce=x")).await, ("malformed_field", "nonce".to_owned()));
    assert_eq!(refused(&verifier, &format!("{whole}&nonce=nonce-1")).await.0, "invalid_signature");
    for lifetime in ["0", "01", "-1", "604801", "9999999", "1e3", "3600.0", "%203600"] {
        let other = whole.replace("expires=3600", &format!("expires={lifetime}"));
        assert_eq!(refused(&verifier, &other).await, ("malformed_field", "expires".to_owned()), "{lifetime}");
    }
}

#[tokio::test]
async fn link_that_lost_a_part_is_not_unsigned() {
    let (verifier, _) = verifier();
    let whole = link("/a");
    let (path, query) = whole.split_once('?').unwrap();
    for (target, expected) in [
        ("/a?expires=3600".to_owned(), "unsigned"),
        ("/a?sign=1".to_owned(), "unsigned"),
        ("/a?timestamp=1&appId=1".to_owned(), "unsigned"),
        ("/a?expires=3600&appId=demo".to_owned(), "missing_field"),
        ("/a?sign=1&nonce=1".to_owned(), "missing_field"),
        ("/a?expires=1&grant=1".to_owned(), "missing_field"),
        (format!("{path}?{}", query.replace('&', "&amp;")), "missing_field"),
        (format!("{path}?amp;{}", query.replace('&', "&amp;")), "missing_field"),
    ] {
        assert_eq!(code(&verifier, &target).await, expected, "{target}");
    }
    let escaped = format!("{path}?{}", query.replace('&', "&amp;"));
    let rejection = open(&verifier, &escaped).await.unwrap_err();
    assert!(rejection.detail().contains("amp;"), "{rejection}");
    // Where the query may carry the fields, a signature without a lifetime is that of a request.
    let verifier = verifier.with_scheme(Scheme::new().with_field_location(FieldLocation::Either));
    let rejection = open(&verifier, &without(&whole, "expires")).await.unwrap_err();
    assert_eq!((rejection.kind().code(), rejection.field()), ("missing_field", Some("nonce")));
}

#[tokio::test]
async fn field_headers_make_it_a_request() {
    let (verifier, _) = verifier();
    for name in ["x-app-id", "x-timestamp", "x-nonce", "x-sign"] {
        let request = Request::get(link("/a")).header(name, "x").body("").unwrap();
        let rejection = rig::verify(&verifier, request).await.unwrap_err();
        assert!(rejection.link().is_none(), "{name}: {rejection}");
    }
    for (name, value) in
        [("x-token", "t"), ("authorization", "Bearer t"), ("cookie", "sid=t"), ("x-content-sha256", "x")]
    {
        let request = Request::get(link("/a")).header(name, value).body("").unwrap();
        assert_eq!(rig::code(&verifier, request).await, "accepted", "{name}");
    }
}

#[tokio::test]
async fn link_lives_from_its_timestamp_to_the_second_before_its_end() {
    let (verifier, clock) = verifier();
    let ahead = |seconds: u64| {
        let uri = "/a".parse().unwrap();
        let link = rig::signer();
        let link = link.presign(&uri, Duration::from_secs(3600));
        link.sign_at((NOW + seconds).try_into().unwrap(), None).unwrap().to_string()
    };
    assert_eq!(code(&verifier, &ahead(300)).await, "accepted");
    let rejection = open(&verifier, &ahead(301)).await.unwrap_err();
    assert_eq!((rejection.kind().code(), rejection.server_time()), ("stale_timestamp", Some(NOW)));
    let link = link("/a");
    clock.advance(Duration::from_secs(3599));
    assert_eq!(code(&verifier, &link).await, "accepted");
    clock.advance(Duration::from_secs(1));
    let rejection = open(&verifier, &link).await.unwrap_err();
    assert_eq!((rejection.kind().code(), rejection.kind().status().as_u16()), ("expired_link", 403));
}

#[tokio::test]
async fn prolonged_or_changed_link_is_refused() {
    let (verifier, _) = verifier();
    let whole = link("/a?b=1");
    for (from, to) in [
        ("expires=3600", "expires=3601"),
        ("timestamp=1700000000", "timestamp=1700000001"),
        ("appId=demo", "appId=other"),
        ("appId=demo", "appId=unknown"),
        ("/a?", "/b?"),
        ("b=1", "b=2"),
        ("b=1", "b=1&c=1"),
        ("b=1&", ""),
    ] {
        assert_eq!(refused(&verifier, &whole.replacen(from, to, 1)).await.0, "invalid_signature", "{from} {to}");
    }
    let rejection = open(&verifier.with_explanations(), &whole.replace("b=1", "b=2")).await.unwrap_err();
    assert!(rejection.string_to_sign().is_none(), "links are not explained");
}

#[tokio::test]
async fn limits_hold_for_links() {
    let limits = countersign::Limits::new().with_query(200).with_parameters(3);
    let verifier = verifier().0.with_limits(limits);
    assert_eq!(code(&verifier, &link("/a?b=1&c=2")).await, "accepted");
    assert_eq!(refused(&verifier, &link("/a?b=1&c=2&d=3")).await.0, "malformed_parameters");
    assert_eq!(refused(&verifier, &link(&format!("/a?b={}", "x".repeat(100)))).await.0, "query_too_long");
    let verifier = super::verifier().0.with_parameters(ParameterPolicy::Reject);
    let with_empty = format!("{}&empty=", link("/a"));
    assert_eq!(refused(&verifier, &with_empty).await.0, "malformed_parameters");
}

#[tokio::test]
async fn audience_of_links_is_shared_or_not() {
    let scheme = |audience: &str, links: Option<&str>| {
        let own = LinkScheme::new();
        let own = links.map_or(own.clone(), |links| own.with_audience(links).unwrap());
        Scheme::new().with_audience(audience).unwrap().with_links(own).unwrap()
    };
    let shared = link_by(&rig::signer_of(scheme("gateway", Some("documents"))), "/a");
    assert_eq!(code(&verifier_of(scheme("receipts", Some("documents"))), &shared).await, "accepted");
    assert_eq!(code(&verifier_of(scheme("receipts", None)), &shared).await, "invalid_signature");
    // By default, it is the audience of the scheme.
    let own = link_by(&rig::signer_of(scheme("gateway", None)), "/a");
    assert_eq!(code(&verifier_of(scheme("gateway", None)), &own).await, "accepted");
    assert_eq!(code(&verifier_of(scheme("other", Some("gateway"))), &own).await, "accepted");
    assert_eq!(code(&verifier_of(scheme("receipts", None)), &own).await, "invalid_signature");
}

#[tokio::test]
async fn prefix_is_signed() {
    let link = link("/api/a");
    let behind = verifier().0.with_prefix("/api").unwrap();
    assert_eq!(code(&behind, &link.replace("/api/", "/")).await, "accepted");
    assert_eq!(code(&behind, &link).await, "invalid_signature");
}

#[tokio::test]
async fn one_time_link_opens_once_until_its_end() {
    let (verifier, clock) = verifier();
    let link = one_time_link("/a");
    assert_eq!(code(&verifier, &link).await, "accepted");
    clock.advance(Duration::from_secs(3599));
    assert_eq!(code(&verifier, &link).await, "replayed_nonce");
    clock.advance(Duration::from_secs(1));
    assert_eq!(code(&verifier, &link).await, "expired_link");
}

#[tokio::test]
async fn heads_and_prefetches_spend_no_one_time_link() {
    let (verifier, _) = verifier();
    let link = one_time_link("/a");
    let head = Request::head(&link).body("").unwrap();
    let prefetch = |purpose: &str| Request::get(&link).header("sec-purpose", purpose).body("").unwrap();
    for request in [head, prefetch("prefetch"), prefetch("prefetch;prerender"), prefetch("Prefetch")] {
        let rejection = rig::verify(&verifier, request).await.unwrap_err();
        assert_eq!(rejection.kind().code(), "method_not_allowed");
        assert_eq!(rejection.to_response().headers()["allow"], "GET");
    }
    assert_eq!(rig::code(&verifier, prefetch("navigate")).await, "accepted");
    // A link that may be opened again has no such rule.
    let reusable = Request::get(super::link("/a")).header("sec-purpose", "prefetch").body("").unwrap();
    assert_eq!(rig::code(&verifier, reusable).await, "accepted");
}

#[tokio::test]
async fn one_time_link_needs_a_persistent_store() {
    let (verifier, _) = rig::verifier();
    let verifier = verifier.with_links(Links::new());
    assert_eq!(code(&verifier, &one_time_link("/a")).await, "misconfigured");
    // Before the signature is proved, nothing says so.
    assert_eq!(code(&verifier, &one_time_link("/a").replace("/a", "/b")).await, "invalid_signature");
    assert_eq!(code(&verifier, &link("/a")).await, "accepted");
}

#[tokio::test]
async fn memory_of_nonces_does_not_limit_reusable_links() {
    let clock = ManualClock::at(NOW + 10);
    let verifier = Verifier::new(rig::keys()).with_clock(clock).with_links(Links::new());
    assert_eq!(code(&verifier, &link("/a")).await, "accepted");
    assert_eq!(rig::code(&verifier, rig::signed(rig::get("/a"))).await, "stale_timestamp");
}

#[tokio::test]
async fn nonces_of_links_and_requests_are_separate() {
    let (verifier, _) = verifier();
    let nonce = rig::fresh_nonce();
    let signer = rig::signer();
    let link = super::presigned(&signer, "/a").sign_at(NOW.try_into().unwrap(), Some(nonce.clone())).unwrap();
    let (mut parts, ()) = Request::get("/a").body(()).unwrap().into_parts();
    let payload = countersign::Payload::Bytes(b"");
    signer.sign_at(&mut parts, payload, NOW.try_into().unwrap(), nonce).unwrap();
    assert_eq!(rig::code(&verifier, Request::from_parts(parts, "")).await, "accepted");
    assert_eq!(code(&verifier, &link.to_string()).await, "accepted");
}

#[tokio::test]
async fn failing_nonce_store_opens_no_link() {
    let (verifier, _) = rig::verifier_on(Failing);
    let verifier = verifier.with_links(Links::new());
    assert_eq!(code(&verifier, &one_time_link("/a")).await, "unavailable");
    assert_eq!(code(&verifier, &link("/a")).await, "accepted");
}

struct Failing;

impl countersign::store::NonceStore for Failing {
    async fn claim(
        &self,
        _: &countersign::store::NonceClaim<'_>,
        _: countersign::store::Retention,
    ) -> Result<countersign::store::NonceStatus, countersign::store::StoreError> {
        Err(countersign::store::StoreError::new("down"))
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn retired_key_ends_its_links() {
    let app = |until: Option<u64>| {
        let key = Key::from(Secret::new(KEY).unwrap());
        let key = until.map_or(key.clone(), |until| key.with_not_after(until));
        StaticKeys::new([("demo".parse().unwrap(), KeyRing::new([key]).unwrap())]).unwrap()
    };
    let open = async |until| {
        let verifier = Verifier::new(app(until)).with_clock(ManualClock::at(NOW)).with_links(Links::new());
        code(&verifier, &link("/a")).await
    };
    assert_eq!(open(None).await, "accepted");
    assert_eq!(open(Some(NOW - 1)).await, "invalid_signature");
}

#[tokio::test]
async fn body_of_a_link_is_empty() {
    let opened = open(&verifier().0, &link("/a")).await.unwrap();
    assert!(rig::bytes(opened.into_body()).await.is_empty());
}
