//! reqwest: signed requests, and its client under the layer.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{Router, response::IntoResponse};
use countersign::{
    BodyDigest, FieldLocation, Scheme, SendError, SignErrorKind, SignLayer, Signer, TokenLocation, client::Sign,
};
use futures_util::FutureExt;
use http::{StatusCode, Uri, header::LOCATION};
use reqwest::{Body, Client, Method, Request, Response, ResponseBuilderExt, redirect::Policy};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::{RequestLog, echo, outcome, serve, server, verify_layer};
use crate::rig::{signer, signer_of};

fn plain_client() -> Client {
    Client::builder().no_proxy().redirect(Policy::none()).build().unwrap()
}

fn client(signer: Signer) -> Sign<Client> {
    ServiceBuilder::new().layer(SignLayer::new(signer)).service(plain_client())
}

async fn outcome_of(response: Response) -> (u16, String) {
    outcome(http::Response::<Body>::from(response)).await
}

fn streaming() -> Body {
    Body::wrap_stream(futures_util::stream::iter(["str", "eam"].map(Ok::<_, std::io::Error>)))
}

/// A server that redirects `/old?a=1` to this URL.
async fn redirecting_to(to: String) -> (SocketAddr, RequestLog) {
    let log = RequestLog::default();
    let app = Router::new().fallback(move |uri: Uri| async move {
        match uri == "/old?a=1" {
            true => (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, to)]).into_response(),
            false => StatusCode::OK.into_response(),
        }
    });
    (serve(log.recording(app)).await, log)
}

#[tokio::test]
async fn signed_request_is_accepted_and_changed_one_rejected() {
    for carrier in [FieldLocation::Headers, FieldLocation::Query] {
        let scheme = Scheme::new().with_field_location(carrier);
        let (address, signer) = (server(scheme.clone()).await, signer_of(scheme));
        let url = format!("http://{address}/o rders?side=BUY&note='#frag");
        let order = || plain_client().post(&url).header("content-type", "text/plain").body("body").build().unwrap();
        let seen = (200, "/o%20rders?side=BUY&note=%27 body".to_owned());
        assert_eq!(outcome_of(client(signer.clone()).oneshot(order()).await.unwrap()).await, seen);
        let sign = || signer.sign_reqwest(order()).unwrap();
        assert_eq!(outcome_of(plain_client().execute(sign()).await.unwrap()).await, seen);

        let mut changed = sign();
        let url = changed.url().as_str().replace("BUY", "SELL").parse().unwrap();
        *changed.url_mut() = url;
        assert_eq!(outcome_of(plain_client().execute(changed).await.unwrap()).await, (401, "invalid_signature".into()));
        let mut changed = sign();
        *changed.body_mut() = Some("another".into());
        assert_eq!(outcome_of(plain_client().execute(changed).await.unwrap()).await, (401, "body_mismatch".into()));
    }
}

#[tokio::test]
async fn client_is_called_only_when_ready() {
    let client = service_fn(async |request: Request| {
        let response = http::Response::builder().url(request.url().clone()).body("").unwrap();
        Ok::<_, Infallible>(Response::from(response))
    });
    let mut client = ServiceBuilder::new().layer(SignLayer::new(signer())).concurrency_limit(1).service(client);
    let request = || plain_client().get("http://127.0.0.1:1/").build().unwrap();
    let first = ServiceExt::<Request>::ready(&mut client).await.unwrap().call(request());
    assert!(ServiceExt::<Request>::ready(&mut client).now_or_never().is_none(), "the first call holds the permit");
    let response: Response = first.await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(ServiceExt::<Request>::ready(&mut client).now_or_never().is_some());
}

#[test]
fn signing_keeps_the_rest_of_the_request() {
    for carrier in [FieldLocation::Headers, FieldLocation::Query] {
        let request = plain_client().post("http://a/p?a=1#frag").header("x-own", "1").body("body");
        let request = request.timeout(Duration::from_secs(7)).version(http::Version::HTTP_2).build().unwrap();
        let signer = signer_of(Scheme::new().with_field_location(carrier));
        let signed = signer.sign_reqwest(request).unwrap();
        assert_eq!(signed.method(), Method::POST);
        assert_eq!(signed.version(), http::Version::HTTP_2);
        assert_eq!(signed.timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(signed.headers()["x-own"], "1");
        assert_eq!(signed.body().unwrap().as_bytes(), Some(&b"body"[..]));
        assert_eq!(signed.url().fragment(), Some("frag"));
        assert!(signed.url().as_str().starts_with("http://a/p?a=1"));
        assert_eq!(signed.url().query().unwrap().contains("&sign="), carrier == FieldLocation::Query);
        assert_eq!(signed.headers().contains_key("x-sign"), carrier == FieldLocation::Headers);
    }
}

#[tokio::test]
async fn streamed_body_is_never_signed_as_empty() {
    let request = || plain_client().put("http://127.0.0.1:1/files/1").body(streaming()).build().unwrap();
    let SendError::Sign(by_layer) = client(signer()).oneshot(request()).await.unwrap_err() else {
        panic!("the request was sent")
    };
    for error in [signer().sign_reqwest(request()).unwrap_err(), by_layer] {
        assert_eq!(error.kind(), SignErrorKind::Body);
        assert!(error.to_string().contains("sign_reqwest_digest"), "{error}");
    }
}

#[tokio::test]
async fn file_signed_by_digest_is_accepted() {
    let address = server(Scheme::new()).await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let bytes = std::fs::read(path).unwrap();
    let send = async |digest: BodyDigest| {
        let file = tokio::fs::File::open(path).await.unwrap();
        let request = plain_client().put(format!("http://{address}/files/1")).body(file).build().unwrap();
        let request = signer().sign_reqwest_digest(request, digest).unwrap();
        outcome_of(plain_client().execute(request).await.unwrap()).await
    };
    let seen = format!("/files/1 {}", String::from_utf8_lossy(&bytes));
    assert_eq!(send(BodyDigest::of(&bytes)).await, (200, seen));
    assert_eq!(send(BodyDigest::of(b"another file")).await, (401, "body_mismatch".into()));
}

#[tokio::test]
async fn redirect_below_the_layer_is_an_error() {
    let other_server = RequestLog::default();
    let other = serve(other_server.recording(Router::new().fallback(echo))).await;
    let following = Client::builder().no_proxy().build().unwrap();
    let client = ServiceBuilder::new().layer(SignLayer::new(signer())).service(following.clone());
    for (to, is_other) in
        [(format!("http://{other}/old?a=1"), true), ("/new?a=1".into(), false), ("?a=2".into(), false)]
    {
        let (address, _) = redirecting_to(to).await;
        let request = following.get(format!("http://{address}/old?a=1")).build().unwrap();
        let error = client.clone().oneshot(request).await.unwrap_err();
        assert!(matches!(error, SendError::Redirected { .. }));
        let error = error.to_string();
        let origin = format!("http://{}:", if is_other { other } else { address });
        assert!(error.contains("redirect::Policy::none()") && error.contains(&origin), "{error}");
    }
    assert!(other_server.values_of("x-sign")[0].is_some(), "the other origin has received the signature");
}

#[tokio::test]
async fn unfollowed_redirect_is_returned() {
    let (address, _) = redirecting_to("/new".to_owned()).await;
    let request = plain_client().get(format!("http://{address}/old?a=1")).build().unwrap();
    let response = client(signer()).oneshot(request).await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()[LOCATION]),
        (StatusCode::TEMPORARY_REDIRECT, &"/new".parse().unwrap())
    );
}

#[tokio::test]
async fn url_normalization_is_not_a_redirect() {
    for scheme in [Scheme::new(), Scheme::new().with_field_location(FieldLocation::Query)] {
        let address = server(scheme.clone()).await;
        for target in ["", "?", "/p#frag", "/a/../p?x='é &b#frag?c", "/p?#"] {
            let request = plain_client().get(format!("HTTP://{address}{target}")).build().unwrap();
            let response = client(signer_of(scheme.clone())).oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{target}");
        }
    }
}

#[tokio::test]
async fn other_origin_gets_the_request_without_fields() {
    let log = RequestLog::default();
    let other = serve(log.recording(Router::new().fallback(echo))).await;
    let scheme =
        Scheme::new().with_field_location(FieldLocation::Query).with_token_location(TokenLocation::Bearer).unwrap();
    let home = server(scheme.clone()).await;
    let sign = SignLayer::new(signer_of(scheme)).with_origins([format!("http://{home}")]).unwrap();
    let client = ServiceBuilder::new().layer(sign).service(plain_client());
    let request = |address: SocketAddr| {
        let request =
            plain_client().put(format!("http://{address}/p?a='&appId=demo&timestamp=1&nonce=old&sign=old#frag"));
        request.bearer_auth("tok").body("body").build().unwrap()
    };
    let response = client.clone().oneshot(request(home)).await.unwrap();
    assert_eq!(outcome_of(response).await, (200, "/p?a=%27 body".into()));
    // An unsigned body may be streamed.
    let mut unsigned = request(other);
    *unsigned.body_mut() = Some(streaming());
    assert_eq!(outcome_of(client.oneshot(unsigned).await.unwrap()).await, (200, "/p?a=%27 stream".into()));
    assert_eq!(log.values_of("authorization"), [None]);
    assert_eq!(log.all()[0].0, "/p?a=%27");
}

#[tokio::test]
async fn token_replaces_url_user_info() {
    let scheme = Scheme::new().with_token_location(TokenLocation::Bearer).unwrap();
    let log = RequestLog::default();
    let address = serve(log.recording(Router::new().fallback(echo).layer(verify_layer(scheme.clone())))).await;
    let url = format!("http://user:pw@{address}/p");
    let with_token = signer_of(scheme.clone()).with_token("tok".parse().unwrap());
    let built = || plain_client().get(&url).build().unwrap();
    assert!(built().headers().contains_key("authorization"), "the builder turns user info into a header");
    let made = Request::new(Method::GET, url.parse().unwrap());
    for (signer, request) in
        [(signer_of(scheme.clone()), built()), (with_token, built()), (signer_of(scheme.clone()), made)]
    {
        assert_eq!(outcome_of(client(signer).oneshot(request).await.unwrap()).await, (200, "/p ".into()));
    }
    let basic = "Basic dXNlcjpwdw==".to_owned();
    assert_eq!(log.values_of("authorization"), [Some(basic), Some("Bearer tok".into()), None]);
    let both = plain_client().get(&url).bearer_auth("tok").build().unwrap();
    let error = signer_of(scheme).sign_reqwest(both).unwrap_err();
    assert!(error.to_string().contains("authorization: it is there twice"), "{error}");
}
