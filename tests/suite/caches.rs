//! HTTP caches between a verifier and its callers: a cache does not serve one caller's response to another.

use std::convert::Infallible;

use axum::{Router, routing::get};
use bytes::Bytes;
use countersign::{Field, FieldLocation, Scheme, Signer, TokenLocation, VerifyLayer, server::ServiceBody};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{Empty, Full};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    proxy::Proxy,
    rig::{self, NOW, incoming, signed_by, signer_of, verifier},
};

type Headers = &'static [(&'static str, &'static str)];

/// The headers of the response to a signed request, when the service responds with these headers.
async fn answer_of(scheme: &Scheme, headers: HeaderMap) -> HeaderMap {
    let service = service_fn(move |_: Request<ServiceBody>| {
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.headers_mut() = headers.clone();
        async { Ok::<_, Infallible>(response) }
    });
    let request = incoming(signed_by(&signer_of(scheme.clone()), NOW, rig::get("/")));
    let response = verifier().0.with_scheme(scheme.clone()).into_layer().layer(service).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.headers().clone()
}

fn map(headers: Headers) -> HeaderMap {
    headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse::<HeaderValue>().unwrap())).collect()
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn responses_are_private_by_default() {
    const CC: &str = "cache-control";
    let table: [(Headers, &[&str]); _] = [
        (&[], &["private"]),
        (&[(CC, "")], &["private"]),
        (&[(CC, ", ,")], &["private, , ,"]),
        (&[(CC, "max-age=60")], &["private, max-age=60"]),
        (&[(CC, "no-cache")], &["private, no-cache"]),
        (&[(CC, "no-transform, must-revalidate")], &["private, no-transform, must-revalidate"]),
        (&[(CC, "max-age=60"), (CC, "immutable")], &["private, max-age=60, immutable"]),
        // The service decides who may store the response.
        (&[(CC, "public, max-age=60")], &["public, max-age=60"]),
        (&[(CC, "PUBLIC")], &["PUBLIC"]),
        (&[(CC, "max-age=60 ,\tS-MaxAge=5")], &["max-age=60 ,\tS-MaxAge=5"]),
        (&[(CC, "s-maxage=\"5\"")], &["s-maxage=\"5\""]),
        (&[(CC, "no-store")], &["no-store"]),
        (&[(CC, "max-age=60"), (CC, "Private")], &["max-age=60", "Private"]),
        (&[(CC, "community=\"a, b\", private")], &["community=\"a, b\", private"]),
        (&[(CC, "community=\"a\\\", b\", private")], &["community=\"a\\\", b\", private"]),
        // A field list, an argument or a quoted string says nothing about the whole response.
        (&[(CC, "private=\"x-foo\"")], &["private, private=\"x-foo\""]),
        (&[(CC, "private=x-foo, max-age=60")], &["private, private=x-foo, max-age=60"]),
        (&[(CC, "private=\"\"")], &["private, private=\"\""]),
        (&[(CC, "private=")], &["private, private="]),
        (&[(CC, "no-cache=\"set-cookie, private\"")], &["private, no-cache=\"set-cookie, private\""]),
        (&[(CC, "community=\"public\"")], &["private, community=\"public\""]),
        (&[(CC, "community=\"a\\\", public\"")], &["private, community=\"a\\\", public\""]),
        (&[(CC, "public=1")], &["private, public=1"]),
        (&[(CC, "s-maxage")], &["private, s-maxage"]),
        (&[(CC, "s-maxage=soon")], &["private, s-maxage=soon"]),
        (&[(CC, "s-maxage=-1")], &["private, s-maxage=-1"]),
        (&[(CC, "x-public, publicly, not-private")], &["private, x-public, publicly, not-private"]),
        // An unparsable directive has no effect and does not change the prefix.
        (&[(CC, "max-age=60; public")], &["private, max-age=60; public"]),
        (&[(CC, "max-age=60 public")], &["private, max-age=60 public"]),
        (&[(CC, "private x, max-age=60")], &["private, private x, max-age=60"]),
        (&[(CC, "community=\"open, public")], &["private, community=\"open, public"]),
        (&[(CC, "community=\"open, public\\")], &["private, community=\"open, public\\"]),
        (&[(CC, "=60, public")], &["private, =60, public"]),
        (&[(CC, "community=\"open"), (CC, "max-age=5")], &["private, community=\"open, max-age=5"]),
    ];
    for (headers, expected) in table {
        let answer = answer_of(&Scheme::new(), map(headers)).await;
        assert_eq!(all(&answer, CC), expected, "of {headers:?}");
    }
    // Values that are not UTF-8 are kept.
    let opaque = HeaderMap::from_iter([(http::header::CACHE_CONTROL, HeaderValue::from_bytes(b"x=\xff").unwrap())]);
    assert_eq!(answer_of(&Scheme::new(), opaque).await[CC], HeaderValue::from_bytes(b"private, x=\xff").unwrap());
}

#[tokio::test]
async fn cacheable_responses_vary_by_the_caller() {
    let table: [(Headers, &[&str]); _] = [
        (&[], &[]),
        (&[("cache-control", "public")], &[]),
        (&[("cache-control", "community=\"max-age=60\"")], &[]),
        (&[("cache-control", "no-store, max-age=60")], &[]),
        (&[("cache-control", "no-store"), ("expires", "0")], &[]),
        (&[("cache-control", "max-age=60")], &["x-app-id, x-token"]),
        (&[("cache-control", "public, Max-Age=60")], &["x-app-id, x-token"]),
        (&[("cache-control", "private, max-age=60")], &["x-app-id, x-token"]),
        (&[("cache-control", "private"), ("cache-control", "max-age")], &["x-app-id, x-token"]),
        // Another parser may find a lifetime in a malformed value.
        (&[("cache-control", "community=\"open, max-age=60")], &["x-app-id, x-token"]),
        (&[("expires", "0")], &["x-app-id, x-token"]),
        (&[("last-modified", "Tue, 15 Nov 1994 12:45:26 GMT")], &["x-app-id, x-token"]),
        // The service's own values are kept, in one field.
        (&[("expires", "0"), ("vary", "accept")], &["accept, x-app-id, x-token"]),
        (&[("expires", "0"), ("vary", "accept"), ("vary", "origin")], &["accept, origin, x-app-id, x-token"]),
        (&[("expires", "0"), ("vary", "X-Token ,accept")], &["X-Token ,accept, x-app-id"]),
        (&[("expires", "0"), ("vary", "x-token"), ("vary", "X-App-Id")], &["x-token", "X-App-Id"]),
        (&[("expires", "0"), ("vary", "")], &["x-app-id, x-token"]),
        (&[("expires", "0"), ("vary", "accept, *")], &["accept, *"]),
        (&[("expires", "0"), ("vary", "x-app-id-2")], &["x-app-id-2, x-app-id, x-token"]),
    ];
    for (headers, expected) in table {
        let answer = answer_of(&Scheme::new(), map(headers)).await;
        assert_eq!(all(&answer, "vary"), expected, "of {headers:?}");
    }
}

#[tokio::test]
async fn vary_lists_the_locations_of_the_fields() {
    let cookie = || TokenLocation::Cookie("sid".to_owned());
    for (carrier, place, expected) in [
        (FieldLocation::Headers, TokenLocation::Field, &["x-client, x-token"][..]),
        (FieldLocation::Headers, TokenLocation::Bearer, &["x-client, authorization"]),
        (FieldLocation::Headers, cookie(), &["x-client, cookie"]),
        (FieldLocation::Either, TokenLocation::Field, &["x-client, x-token"]),
        // An app id or a token in the query is part of the URL, and so of the cache key.
        (FieldLocation::Query, TokenLocation::Field, &[]),
        (FieldLocation::Query, TokenLocation::Bearer, &["authorization"]),
        (FieldLocation::Query, cookie(), &["cookie"]),
    ] {
        let shown = format!("{carrier:?} {place:?}");
        let scheme = Scheme::new().with_field_location(carrier).with_token_location(place).unwrap();
        let scheme = scheme.with_header_name(Field::AppId, HeaderName::from_static("x-client")).unwrap();
        let answer = answer_of(&scheme, map(&[("cache-control", "max-age=60")])).await;
        assert_eq!(all(&answer, "vary"), expected, "{shown}");
    }
}

#[tokio::test]
async fn bypassed_responses_are_unchanged() {
    let service = service_fn(async |_: Request<ServiceBody>| {
        let response = Response::builder().header("cache-control", "max-age=60").header("vary", "accept");
        Ok::<_, Infallible>(response.body(Full::new(Bytes::new())).unwrap())
    });
    let layer = verifier().0.with_insecure_bypass(|_, _| true).into_layer();
    let response = layer.layer(service).oneshot(incoming(rig::get("/"))).await.unwrap();
    assert_eq!(all(response.headers(), "cache-control"), ["max-age=60"]);
    assert_eq!(all(response.headers(), "vary"), ["accept"]);
}

/// An nginx with a shared cache.
struct Cache(Proxy);

impl Cache {
    fn start(upstream: std::net::SocketAddr) -> Self {
        let http = format!(
            "proxy_cache_path cache keys_zone=answers:1m;
            server {{
                listen LISTEN;
                location / {{
                    proxy_pass http://{upstream}; proxy_cache answers; proxy_cache_key $uri;
                    add_header x-cache $upstream_cache_status always;
                }}
            }}"
        );
        Self(Proxy::nginx(&http))
    }

    /// Returns the status, the cache status, and the body.
    async fn send(&self, request: Request<&'static str>) -> (u16, String, Bytes) {
        let stream = TcpStream::connect(self.0.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut request = request.map(|_| Empty::<Bytes>::new());
        request.headers_mut().insert("host", HeaderValue::from_static("localhost"));
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        let cache = parts.headers.get("x-cache").map_or("", |value| value.to_str().unwrap());
        let answer = (parts.status.as_u16(), cache.to_owned(), rig::bytes(body).await);
        connection.abort();
        answer
    }
}

/// A service behind nginx with this `cache-control`. `/open` needs no signature.
async fn behind_nginx(cache_control: &'static str) -> Cache {
    let answer = move || async move { ([("cache-control", cache_control)], "for demo alone") };
    let app = Router::new().route("/own", get(answer)).layer(VerifyLayer::new(rig::keys())).route("/open", get(answer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
    Cache::start(address)
}

fn by(signer: &Signer) -> Request<&'static str> {
    signer.sign(rig::get("/own")).unwrap()
}

#[tokio::test]
async fn shared_cache_separates_callers() {
    let nginx = behind_nginx("max-age=60").await;
    nginx.send(rig::get("/open")).await;
    assert_eq!(nginx.send(rig::get("/open")).await.1, "HIT", "this nginx caches responses");
    let own = (200, "MISS".to_owned(), Bytes::from("for demo alone"));
    assert_eq!(nginx.send(by(&rig::signer())).await, own);
    let (status, cache, body) = nginx.send(rig::get("/own")).await;
    assert_eq!((status, &*cache), (401, "MISS"), "{body:?}");
    assert_eq!(nginx.send(by(&rig::signer())).await, own);
}

#[tokio::test]
async fn public_responses_are_cached_per_caller() {
    let nginx = behind_nginx("public, max-age=60").await;
    nginx.send(by(&rig::signer())).await;
    assert_eq!(nginx.send(by(&rig::signer())).await.1, "HIT", "the service allows shared caching");
    let (status, cache, body) = nginx.send(rig::get("/own")).await;
    assert_eq!((status, &*cache), (401, "MISS"), "{body:?}");
    let other = Signer::new("other".parse().unwrap(), rig::secret());
    assert_eq!(nginx.send(by(&other)).await.0, 401);
}
