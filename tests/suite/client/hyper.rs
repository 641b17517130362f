//! hyper-util's client under the layer.

use bytes::Bytes;
use countersign::{FieldLocation, Scheme, SignLayer, TokenLocation};
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::{client, server};
use crate::rig::{self, signer, signer_of};

const UNUSUAL_TARGETS: [&str; 8] = [
    "/p;x/%2e%2e/a%20b/./c?q='a|b",
    "/a/../b//c?x=*~!+",
    "/%e4%F6?%C3%A9=1&a=%41",
    "/p?b=2&a=1&b=1",
    "/p?q=a?b/c&d=e=f",
    "/~u/(x)@y:$&,=",
    "/p?a=%00%0a",
    "/",
];

#[tokio::test]
async fn layer_signs_hyper_requests() {
    let address = server(Scheme::new()).await;
    for target in UNUSUAL_TARGETS {
        for body in ["", "{\"a\":1}"] {
            let request = Request::post(format!("http://{address}{target}"))
                .header("content-type", "Application/JSON; charset=utf-8")
                .body(Full::new(Bytes::from(body)))
                .unwrap();
            let response = client(signer()).oneshot(request).await.unwrap();
            let status = response.status();
            let seen = rig::bytes(response.into_body()).await;
            assert_eq!(status, StatusCode::OK, "{target}: {seen:?}");
            assert_eq!(seen, format!("{target} {body}"));
        }
    }
}

#[tokio::test]
async fn signed_form_is_accepted_over_the_wire() {
    let address = server(Scheme::new()).await;
    let form = |body: &'static str| {
        Request::post(format!("http://{address}/pay?x=1"))
            .header("content-type", "application/x-www-form-urlencoded; charset=UTF-8")
            .body(Full::new(Bytes::from(body)))
            .unwrap()
    };
    for body in ["to=bob+smith&amount=%31&memo=", "", "&&"] {
        let response = client(signer()).oneshot(form(body)).await.unwrap();
        assert_eq!(rig::bytes(response.into_body()).await, format!("/pay?x=1 {body}"));
    }
}

#[tokio::test]
async fn each_field_and_token_location_is_accepted() {
    let host = || [HeaderName::from_static("host"), HeaderName::from_static("idempotency-key")];
    let schemes = [
        Scheme::new().with_field_location(FieldLocation::Query),
        Scheme::new().with_field_location(FieldLocation::Either),
        Scheme::new().with_signed_headers(host()).unwrap(),
        Scheme::new().with_audience("orders.example.com").unwrap(),
        Scheme::new().with_token_location(TokenLocation::Bearer).unwrap(),
        Scheme::new().with_token_location(TokenLocation::Cookie("sid".into())).unwrap(),
        Scheme::new().with_token_location(TokenLocation::Bearer).unwrap().with_field_location(FieldLocation::Query),
    ];
    for scheme in schemes {
        let address = server(scheme.clone()).await;
        let signer = signer_of(scheme.clone()).with_token("tok_+/=".parse().unwrap());
        let request = Request::post(format!("http://{address}/p?b=2&a=1"))
            .header("cookie", "theme=dark; other=1")
            .body(Full::new(Bytes::from("body")))
            .unwrap();
        let response = client(signer).oneshot(request).await.unwrap();
        assert_eq!(rig::bytes(response.into_body()).await, "/p?b=2&a=1 body", "{scheme:?}");
    }
}

#[tokio::test]
async fn body_over_the_limit_is_not_sent() {
    let never = service_fn(|_: Request<countersign::client::SignedBody>| async {
        Ok::<_, std::convert::Infallible>(Response::new("sent".to_owned()))
    });
    let client = ServiceBuilder::new().layer(SignLayer::new(rig::signer())).service(never);
    let send = |length: usize| client.clone().oneshot(Request::new(Full::new(Bytes::from(vec![b'x'; length]))));
    assert_eq!(rig::bytes(send(2 << 20).await.unwrap().into_body()).await, "sent");
    let error = send((2 << 20) + 1).await.unwrap_err();
    assert_eq!(error.sign_error().map(countersign::SignError::kind), Some(countersign::SignErrorKind::Body));
    assert!(error.to_string().contains("2097152 bytes"), "{error}");
}

#[tokio::test]
async fn callers_own_host_header_is_signed() {
    let scheme = Scheme::new().with_signed_headers([HeaderName::from_static("host")]).unwrap();
    let address = server(scheme.clone()).await;
    let request = Request::get(format!("http://{address}/p?a=1"))
        .header("host", "orders.example.com")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = client(signer_of(scheme)).oneshot(request).await.unwrap();
    assert_eq!(rig::bytes(response.into_body()).await, "/p?a=1 ");
}
