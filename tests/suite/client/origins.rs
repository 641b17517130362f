//! The origins that a client signs for, and requests to other origins.

use std::convert::Infallible;

use bytes::Bytes;
use countersign::{
    FieldLocation, OriginError, Scheme, SendError, SignErrorKind, SignLayer, Signer, TokenLocation,
    client::{ResponseBody, SignedBody},
};
use http::{Request, Response, request::Parts};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::rig::{get, signer, signer_of};

/// The request as the layer sends it.
async fn sent(
    signer: Signer,
    origins: &[&str],
    request: Request<&str>,
) -> Result<Request<ResponseBody<SignedBody>>, SendError> {
    let wire = service_fn(|request: Request<SignedBody>| async {
        let (parts, body) = request.into_parts();
        Ok::<_, Infallible>(Response::builder().extension(parts).body(body).unwrap())
    });
    let sign = SignLayer::new(signer).with_origins(origins).unwrap();
    let body = Full::new(Bytes::copy_from_slice(request.body().as_bytes()));
    let response = ServiceBuilder::new().layer(sign).service(wire).oneshot(request.map(|_| body)).await?;
    let (mut response, body) = response.into_parts();
    Ok(Request::from_parts(response.extensions.remove::<Parts>().unwrap(), body))
}

#[tokio::test]
async fn origins_ignore_case_and_default_port() {
    for (origin, url, is_signed) in [
        ("http://a", "http://a/p?x=1", true),
        ("http://a", "HTTP://A:80/", true),
        ("HTTP://A:80", "http://a/", true),
        ("http://a:80/", "http://a", true),
        ("https://a", "https://A:443/", true),
        ("https://a:443", "https://a/", true),
        ("http://a", "http://user:pw@a:80/", true),
        ("http://a", "http://a:/", true),
        ("http://[::1]:8080", "http://[::1]:8080/", true),
        ("unix://a", "UNIX://a/p", true),
        ("http://a", "https://a/", false),
        ("http://a:443", "https://a/", false),
        ("https://a:80", "http://a/", false),
        ("http://a", "http://a:443/", false),
        ("http://a", "http://a:8080/", false),
        ("https://a", "https://a:80/", false),
        ("http://a", "http://a.example/", false),
        ("http://a.example", "http://a.example.evil/", false),
        ("http://a", "http://a@b/", false),
        ("http://a", "http://a:80@b/", false),
        ("http://a", "http://b/?http://a", false),
        ("unix://a", "unix://a:80/", false),
    ] {
        let request = sent(signer(), &["http://first", origin], get(url)).await.unwrap();
        assert_eq!(request.headers().contains_key("x-sign"), is_signed, "{origin} for {url}");
        assert_eq!(request.headers().is_empty(), !is_signed, "{origin} for {url}");
    }
}

#[test]
fn malformed_origins_are_rejected() {
    let rejection = |origin: &str| SignLayer::new(signer()).with_origins(["http://a", origin]).unwrap_err();
    for text in [
        "",
        "a",
        "a:80",
        "/",
        "//a",
        "http:",
        "http://",
        "http://:80",
        "http://a/p",
        "http://a/?",
        "http://a?x",
        "http://a#f",
        "http://a:99999",
        "http://a:x",
        " http://a",
        "http://bücher.example",
        "http://a,http://b",
        "*",
    ] {
        assert_eq!(rejection(text), OriginError::Malformed(text.to_owned()));
    }
    let with_password = rejection("http://user:hunter2@a");
    assert_eq!(with_password, OriginError::UserInfo);
    assert!(!format!("{with_password} {with_password:?}").contains("hunter2"));
    assert_eq!(SignLayer::new(signer()).with_origins([""; 0]).unwrap_err(), OriginError::Empty);
}

#[tokio::test]
async fn caller_fields_are_removed_for_other_origins() {
    let mut headers = get("http://other/p?a=1").map(|_| "body");
    for (name, value) in [
        ("x-app-id", "demo"),
        ("x-timestamp", "1"),
        ("x-nonce", "n"),
        ("x-token", "tok"),
        ("x-sign", "s"),
        ("x-content-sha256", "d"),
    ] {
        headers.headers_mut().insert(name, value.parse().unwrap());
    }
    for carrier in [FieldLocation::Headers, FieldLocation::Query, FieldLocation::Either] {
        let signer = signer_of(Scheme::new().with_field_location(carrier));
        let request = sent(signer, &["http://a"], headers.clone()).await.unwrap();
        assert!(request.headers().is_empty(), "{carrier:?} {:?}", request.headers());
        assert_eq!(request.uri(), "http://other/p?a=1");
    }
    let query = "http://other/p?a=1&appId=demo&&timestamp=1&%6eonce=n&b=&token=tok&sign=s&sign";
    for (carrier, left) in [
        (FieldLocation::Headers, query),
        (FieldLocation::Query, "http://other/p?a=1&&b="),
        (FieldLocation::Either, "http://other/p?a=1&&b="),
    ] {
        let request =
            sent(signer_of(Scheme::new().with_field_location(carrier)), &["http://a"], get(query)).await.unwrap();
        assert_eq!(request.uri(), left);
    }
}

#[tokio::test]
async fn only_the_token_is_removed_for_other_origins() {
    let cookie = TokenLocation::Cookie("sid".into());
    for (place, name, before, after) in [
        (TokenLocation::Bearer, "authorization", vec!["Bearer tok"], vec![]),
        (TokenLocation::Bearer, "authorization", vec![" bEARER\ttok"], vec![]),
        (TokenLocation::Bearer, "authorization", vec!["Basic dXNlcg==", "Bearer tok"], vec!["Basic dXNlcg=="]),
        (TokenLocation::Field, "authorization", vec!["Bearer other"], vec!["Bearer other"]),
        (TokenLocation::Field, "cookie", vec!["sid=1"], vec!["sid=1"]),
        (cookie.clone(), "cookie", vec!["sid=tok"], vec![]),
        (cookie.clone(), "cookie", vec!["a=1; sid = tok;b=sid=x", "sid=tok; sid"], vec!["a=1; b=sid=x"]),
        (cookie, "cookie", vec!["SID=1; sid2=2"], vec!["SID=1; sid2=2"]),
    ] {
        let mut request = get("http://other/p?&a=1&&b=&");
        for value in before {
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let scheme =
            Scheme::new().with_field_location(FieldLocation::Query).with_token_location(place.clone()).unwrap();
        let request = sent(signer_of(scheme), &["http://a"], request).await.unwrap();
        assert_eq!(request.headers().get_all(name).iter().collect::<Vec<_>>(), after, "{place:?}");
        assert_eq!(request.uri(), "http://other/p?&a=1&&b=&");
    }
}

#[tokio::test]
async fn url_without_an_origin_is_not_sent() {
    for target in ["/p?a=1", "*", "a:80"] {
        let error = sent(signer(), &["http://a"], get(target)).await.unwrap_err();
        assert!(
            error.sign_error().is_some_and(|error| error.kind() == SignErrorKind::Url)
                && error.to_string().contains("write scheme and host into it"),
            "{error}"
        );
    }
}
