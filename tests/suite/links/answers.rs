//! The headers of a response to a link, and what a renderer learns about a rejected one.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use countersign::{
    Rejection,
    server::{Links, ServiceBody},
    store::MemoryTokenStore,
    token::{NewToken, Tokens},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use super::{Shared, link, one_time_link};
use crate::rig;

/// The headers of the response to a link, opened `after` seconds, when the service responds with these headers.
async fn answer(links: Links, link: &str, after: u64, sent: &[(&'static str, &'static str)]) -> HeaderMap {
    let headers: HeaderMap =
        sent.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
    let service = service_fn(move |_: Request<ServiceBody>| {
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.headers_mut() = headers.clone();
        async { Ok::<_, Infallible>(response) }
    });
    let (verifier, clock) = rig::verifier_on(Shared::default());
    clock.advance(Duration::from_secs(after));
    let layer = verifier.with_links(links).into_layer();
    let response = layer.layer(service).oneshot(rig::incoming(rig::get(link))).await.unwrap();
    assert_eq!(response.status(), 200);
    response.headers().clone()
}

#[tokio::test]
async fn no_cache_keeps_a_response_to_a_link() {
    for sent in [
        &[][..],
        &[("cache-control", "public, max-age=60"), ("expires", "Thu, 01 Dec 2094 16:00:00 GMT")],
        &[("cache-control", "private"), ("referrer-policy", "unsafe-url"), ("x-robots-tag", "all")],
    ] {
        let headers = answer(Links::new(), &link("/a"), 0, sent).await;
        let all: Vec<_> = headers.get_all("cache-control").iter().collect();
        assert_eq!(all, ["private, no-store"]);
        assert!(!headers.contains_key("expires"));
        assert_eq!(headers["referrer-policy"], "strict-origin");
        assert_eq!(headers["x-robots-tag"], "noindex, nofollow");
    }
}

#[tokio::test]
async fn cacheable_response_ends_with_its_link() {
    let table: [(&[(&str, &str)], &str); _] = [
        (&[], "private, max-age=3500, must-revalidate"),
        (&[("cache-control", "max-age=60")], "private, max-age=60, must-revalidate"),
        (&[("cache-control", "public, max-age=999999")], "private, max-age=3500, must-revalidate"),
        (&[("cache-control", "max-age=60, max-age=30")], "private, max-age=30, must-revalidate"),
        (&[("expires", "Thu, 01 Dec 2094 16:00:00 GMT")], "private, max-age=3500, must-revalidate"),
        (&[("cache-control", "no-store")], "private, no-store"),
        (&[("cache-control", "no-cache")], "private, no-store"),
        (&[("cache-control", "max-age=abc")], "private, no-store"),
        (&[("cache-control", "max-age=\"60")], "private, no-store"),
    ];
    for (sent, expected) in table {
        // The lifetimes have static text, so the table can be one.
        let sent: Vec<_> = sent.iter().map(|(name, value)| (leaked(name), leaked(value))).collect();
        let headers = answer(Links::new().cacheable(), &link("/a"), 100, &sent).await;
        assert_eq!(headers["cache-control"], expected, "{sent:?}");
        assert!(!headers.contains_key("expires"), "{sent:?}");
    }
    let once = answer(Links::new().cacheable(), &one_time_link("/a"), 0, &[]).await;
    assert_eq!(once["cache-control"], "private, no-store");
}

fn leaked(text: &str) -> &'static str {
    text.to_owned().leak()
}

#[tokio::test]
async fn requests_beside_links_are_bound_to_their_caller() {
    let service =
        service_fn(|_: Request<ServiceBody>| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))) });
    let (verifier, _) = super::verifier();
    let response = verifier.into_layer().layer(service).oneshot(rig::incoming(rig::signed(rig::get("/a")))).await;
    let response = response.unwrap();
    assert_eq!(response.headers()["cache-control"], "private");
    assert!(!response.headers().contains_key("referrer-policy"));
}

#[tokio::test]
async fn renderer_makes_a_page_for_a_rejected_link() {
    let page = |rejection: &Rejection| {
        let wants_page = rejection.link().and_then(|link| link.accept()).is_some_and(|accept| accept == "text/html");
        Response::new(Bytes::from(if wants_page { "<h1>Sorry</h1>" } else { "{}" }))
    };
    let service =
        service_fn(|_: Request<ServiceBody>| async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::new()))) });
    let (verifier, clock) = super::verifier();
    clock.advance(Duration::from_secs(4000));
    let layer = verifier.into_layer().with_renderer(page);
    let open = async |request: Request<&'static str>| {
        let response = layer.layer(service).oneshot(rig::incoming(request)).await.unwrap();
        let (parts, body) = response.into_parts();
        (parts, rig::bytes(body).await)
    };
    let (parts, body) = open(Request::get(link("/a")).header("accept", "text/html").body("").unwrap()).await;
    assert_eq!(body, "<h1>Sorry</h1>");
    assert_eq!(parts.headers["x-error-code"], "expired_link");
    assert_eq!(parts.headers["cache-control"], "no-store");
    assert_eq!(parts.headers["x-robots-tag"], "noindex, nofollow");
    assert_eq!(open(rig::get(&link("/a"))).await.1, "{}");
    let (parts, body) = open(rig::get("/a")).await;
    assert_eq!((parts.headers.get("x-robots-tag"), &*body), (None, &b"{}"[..]));
}

#[tokio::test]
async fn link_issues_no_token() {
    let opened = super::open(&super::verifier().0, &link("/a")).await.unwrap();
    let caller = opened.extensions().get::<countersign::Caller>().unwrap();
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap());
    let error = tokens.issue(caller, NewToken::for_app()).await.unwrap_err();
    assert_eq!(Rejection::from(error).kind().code(), "key_not_allowed");
}
