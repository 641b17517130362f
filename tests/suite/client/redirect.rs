//! Redirects above the layer are signed again, but only for the layer's origins.

use std::net::SocketAddr;

use axum::{Router, routing::any};
use bytes::Bytes;
use countersign::{FieldLocation, Scheme, SendError, SignLayer, Signer, TokenLocation, client::ResponseBody};
use http::{HeaderMap, Request, Response, StatusCode, Uri, header::LOCATION};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_http::follow_redirect::{
    FollowRedirectLayer,
    policy::{Limited, PolicyExt, clone_body_fn},
};

use super::{RequestLog, echo, outcome, plain_client, serve, verify_layer};
use crate::rig::{signer, signer_of};

/// A verified service that redirects `/old` to this URL.
async fn home(scheme: Scheme, status: StatusCode, to: &str) -> (SocketAddr, RequestLog) {
    let (log, to) = (RequestLog::default(), to.to_owned());
    let old = any(move || async move { (status, [(LOCATION, to)]) });
    let app = Router::new().route("/old", old).fallback(echo).layer(verify_layer(scheme));
    (serve(log.recording(app)).await, log)
}

/// A server of another origin that records its requests.
async fn other_server() -> (SocketAddr, RequestLog) {
    let log = RequestLog::default();
    (serve(log.recording(Router::new().fallback(echo))).await, log)
}

/// Follows every redirect with all headers. The policy filters no credentials.
fn follow() -> FollowRedirectLayer<impl tower_http::follow_redirect::policy::Policy<Full<Bytes>, SendError> + Clone> {
    let bodies = clone_body_fn(|body: &Full<Bytes>| Some(body.clone()));
    FollowRedirectLayer::with_policy(bodies.and::<_, Full<Bytes>, SendError>(Limited::new(3)))
}

/// A client that follows redirects above the signing layer, which signs for this origin.
fn following(
    signer: Signer,
    origin: SocketAddr,
) -> impl Service<Request<Full<Bytes>>, Response = Response<ResponseBody<Incoming>>, Error = SendError> {
    let sign = SignLayer::new(signer).with_origins([format!("http://{origin}")]).unwrap();
    ServiceBuilder::new().layer(follow()).layer(sign).service(plain_client())
}

fn post(url: &str) -> Request<Full<Bytes>> {
    Request::post(url).body(Full::new(Bytes::from("body"))).unwrap()
}

#[tokio::test]
async fn redirect_within_the_origin_is_signed_again() {
    for (status, seen) in [(StatusCode::FOUND, "/new?x=1 "), (StatusCode::TEMPORARY_REDIRECT, "/new?x=1 body")] {
        let (address, log) = home(Scheme::new(), status, "/new?x=1").await;
        let request = post(&format!("http://{address}/old"));
        let response = following(signer(), address).oneshot(request).await.unwrap();
        assert_eq!(outcome(response).await, (200, seen.into()));
        let nonces = log.values_of("x-nonce");
        assert!(nonces.len() == 2 && nonces[0].is_some() && nonces[0] != nonces[1], "{nonces:?}");
    }
}

/// Adds the token to the request at this location.
fn add_token(request: &mut Request<Full<Bytes>>, place: &TokenLocation, carrier: FieldLocation) {
    let (name, value) = match (place, carrier) {
        (TokenLocation::Field, FieldLocation::Query) => {
            *request.uri_mut() = format!("{}&token=tok-en", request.uri()).parse().unwrap();
            return;
        }
        (TokenLocation::Bearer, _) => ("authorization", "Bearer tok-en"),
        (TokenLocation::Cookie(_), _) => ("cookie", "theme=dark; sid=tok-en"),
        _ => ("x-token", "tok-en"),
    };
    request.headers_mut().insert(name, value.parse().unwrap());
}

/// All signature fields of a request to the signer's origin, and the token.
fn secrets((uri, headers): &(Uri, HeaderMap)) -> Vec<String> {
    let names = ["x-app-id", "x-timestamp", "x-nonce", "x-sign", "x-content-sha256"];
    let fields = names.iter().filter_map(|name| headers.get(*name)).map(|value| value.to_str().unwrap().to_owned());
    let parameters = uri.query().unwrap().split('&').filter(|pair| *pair != "a=1");
    let values = parameters.map(|pair| pair.split_once('=').unwrap().1.to_owned());
    fields.chain(values).chain(["tok-en".to_owned()]).collect()
}

#[tokio::test]
async fn cross_origin_redirect_sends_no_signature_or_token() {
    let places = [TokenLocation::Field, TokenLocation::Bearer, TokenLocation::Cookie("sid".into())];
    for carrier in [FieldLocation::Headers, FieldLocation::Query, FieldLocation::Either] {
        for (place, is_in_request) in places.iter().flat_map(|place| [(place, true), (place, false)]) {
            let scheme = Scheme::new().with_field_location(carrier).with_token_location(place.clone()).unwrap();
            let (other, other_log) = other_server().await;
            let to = format!("http://{other}/new?x=1");
            let (address, home_log) = home(scheme.clone(), StatusCode::TEMPORARY_REDIRECT, &to).await;
            let mut request = post(&format!("http://{address}/old?a=1"));
            let mut signer = signer_of(scheme);
            match is_in_request {
                true => add_token(&mut request, place, carrier),
                false => signer = signer.with_token("tok-en".parse().unwrap()),
            }
            let response = following(signer, address).oneshot(request).await.unwrap();
            assert_eq!(outcome(response).await, (200, "/new?x=1 body".into()));

            let secrets = secrets(&home_log.all()[0]);
            assert!(secrets.len() >= 6, "{secrets:?}");
            let (uri, headers) = &other_log.all()[0];
            let values = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
            let there: Vec<_> = values.chain([uri.to_string()]).collect();
            for secret in secrets {
                assert!(
                    !there.iter().any(|text| text.contains(&secret)),
                    "{carrier:?} {place:?}: {secret} in {there:?}"
                );
            }
            assert!(
                !headers.keys().any(|name| name == "authorization" || name.as_str().starts_with("x-")),
                "{there:?}"
            );
            let is_cookie = is_in_request && matches!(place, TokenLocation::Cookie(_));
            assert_eq!(headers.get("cookie").map(|value| value == "theme=dark"), is_cookie.then_some(true));
        }
    }
}

#[tokio::test]
async fn redirect_location_repeats_no_signature_field() {
    let (other, other_log) = other_server().await;
    let repeat = move |uri: Uri| async move {
        let to = format!("http://{other}/new?{}", uri.query().unwrap());
        (StatusCode::FOUND, [(LOCATION, to)])
    };
    let address = serve(Router::new().fallback(repeat)).await;
    let signer =
        signer_of(Scheme::new().with_field_location(FieldLocation::Query)).with_token("tok-en".parse().unwrap());
    following(signer, address).oneshot(post(&format!("http://{address}/old?a=1&b="))).await.unwrap();
    assert_eq!(other_log.all()[0].0, "/new?a=1&b=");
}

#[tokio::test]
async fn without_origins_every_origin_is_signed() {
    let (other, other_log) = other_server().await;
    let (address, _) = home(Scheme::new(), StatusCode::FOUND, &format!("http://{other}/new")).await;
    let client = ServiceBuilder::new().layer(follow()).layer(SignLayer::new(signer())).service(plain_client());
    client.oneshot(post(&format!("http://{address}/old"))).await.unwrap();
    assert!(other_log.values_of("x-sign")[0].is_some());
}

#[tokio::test]
async fn redirect_below_the_layer_reuses_the_signature() {
    let follow = || FollowRedirectLayer::with_policy(Limited::new(3));
    let client = ServiceBuilder::new().layer(SignLayer::new(signer())).layer(follow()).service(plain_client());
    for (to, code) in [("/new", "invalid_signature"), ("/old", "replayed_nonce")] {
        let (address, _) = home(Scheme::new(), StatusCode::FOUND, to).await;
        let request = Request::get(format!("http://{address}/old")).body(Full::default()).unwrap();
        assert_eq!(outcome(client.clone().oneshot(request).await.unwrap()).await, (401, code.into()));
    }
    let (other, other_log) = other_server().await;
    let (address, home_log) = home(Scheme::new(), StatusCode::FOUND, &format!("http://{other}/new")).await;
    let request = Request::get(format!("http://{address}/old")).body(Full::default()).unwrap();
    client.oneshot(request).await.unwrap();
    assert!(other_log.values_of("x-sign")[0].is_some());
    assert_eq!(other_log.values_of("x-sign"), home_log.values_of("x-sign"));
}
