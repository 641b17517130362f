//! URLs that a client normalizes before sending, and URLs with parameters named like fields.

use countersign::{Field, FieldLocation, Limits, Payload, Scheme, SignLayer, Signer, client::SignedBody};
use http::{HeaderName, Request, Response, Uri};
use http_body_util::Full;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::{client, outcome, server};
use crate::rig::{self, NOW, code, get, signed_by, signer, signer_of, verifier};

fn sign(scheme: Scheme, url: &str) -> Result<Uri, String> {
    let (mut parts, ()) = Request::get(url).body(()).unwrap().into_parts();
    signer_of(scheme).sign_parts(&mut parts, Payload::Bytes(b"")).map_err(|error| error.to_string())?;
    Ok(parts.uri)
}

fn with_host() -> Scheme {
    Scheme::new().with_signed_headers([HeaderName::from_static("host")]).unwrap()
}

#[tokio::test]
async fn signed_host_with_padded_port_is_rejected() {
    let address = server(with_host()).await;
    let port = address.port();
    let send = async |authority: String| {
        let request = Request::get(format!("http://{authority}/")).body(Full::<bytes::Bytes>::default()).unwrap();
        client(signer_of(with_host())).oneshot(request).await
    };
    for authority in [format!("127.0.0.1:{port}"), format!("LOCALHOST:{port}")] {
        assert_eq!(outcome(send(authority.clone()).await.unwrap()).await.0, 200, "{authority}");
    }
    for authority in [format!("127.0.0.1:0{port}"), format!("127.0.0.1:00000{port}")] {
        let error = send(authority.clone()).await.unwrap_err().to_string();
        assert!(error.contains("without leading zeros"), "{authority}: {error}");
    }
}

#[test]
fn unsendable_ports_are_not_signed() {
    for url in
        ["http://h:/", "http://h:x/", "http://h:65536/", "http://h:00080/", "http://[::1]:08080/", "http://[::1]:/"]
    {
        assert!(sign(with_host(), url).is_err(), "{url}");
        assert!(sign(Scheme::new(), url).is_ok(), "{url}: the host is not signed");
    }
    for url in ["http://h/", "http://h:8080/", "http://[::1]/", "http://[::1]:8080/", "http://H.example:1/"] {
        assert!(sign(with_host(), url).is_ok(), "{url}");
    }
}

#[test]
fn parameters_named_like_fields_are_not_dropped() {
    let query = || Scheme::new().with_field_location(FieldLocation::Query);
    for (url, name) in [
        ("/p?timestamp=yesterday", "timestamp"),
        ("/p?a=1&sign=cdn", "sign"),
        ("/p?nonce=1&sign=2&timestamp=3", "timestamp"),
        ("/p?app%49d=mine", "appId"),
    ] {
        let error = sign(query(), url).unwrap_err();
        assert!(error.contains(name) && error.contains("with_parameter_name"), "{url}: {error}");
    }
    let renamed = query().with_parameter_name(Field::Sign, "signature").unwrap();
    assert!(sign(renamed, "/p?sign=cdn").unwrap().query().unwrap().starts_with("sign=cdn&"));
    assert!(sign(query(), "/p?token=mine").is_ok(), "the caller's own token is signed");
    let with_token = signer_of(query()).with_token("ours".parse().unwrap());
    let sign_with_token = |url: &str| {
        let (mut parts, ()) = Request::get(url).body(()).unwrap().into_parts();
        with_token.sign_parts(&mut parts, Payload::Bytes(b"")).map(|()| parts.uri)
    };
    assert!(sign_with_token("/p?a=1&token=applications").unwrap_err().to_string().contains("token"));
    let again = sign_with_token(&sign_with_token("/p?a=1").unwrap().to_string()).unwrap();
    assert_eq!(again.query().unwrap().matches("token=").count(), 1, "an earlier signature is replaced");
}

#[tokio::test]
async fn earlier_query_signature_is_replaced() {
    let scheme = Scheme::new().with_field_location(FieldLocation::Query);
    let once = signed_by(&signer_of(scheme.clone()), NOW - 1000, get("/p?a=1"));
    let twice = signed_by(&signer_of(scheme.clone()), NOW, once);
    assert_eq!(twice.uri().query().unwrap().matches("sign=").count(), 1);
    assert_eq!(code(&verifier().0.with_scheme(scheme), twice).await, "accepted");
}

#[tokio::test]
async fn parameters_of_another_service_are_kept() {
    for carrier in [FieldLocation::Query, FieldLocation::Either] {
        let signer: Signer = signer_of(Scheme::new().with_field_location(carrier));
        let wire = service_fn(async |request: Request<SignedBody>| {
            Ok::<_, std::convert::Infallible>(Response::new(request.uri().to_string()))
        });
        let layer = SignLayer::new(signer.clone()).with_origins(["http://api.example.com"]).unwrap();
        let client = ServiceBuilder::new().layer(layer).service(wire);
        let sent = async |url: &str| {
            let request = Request::get(url).body(Full::<bytes::Bytes>::default()).unwrap();
            rig::bytes(client.clone().oneshot(request).await.unwrap().into_body()).await
        };
        for url in ["http://cdn.example.com/f?sign=abc&timestamp=1", "http://cdn.example.com/f?token=t&nonce=n&sign=s"]
        {
            assert_eq!(sent(url).await, url);
        }
        let signed = signed_by(&signer_of(Scheme::new().with_field_location(FieldLocation::Query)), NOW, get("/f?a=1"));
        let url = format!("http://cdn.example.com{}", signed.uri());
        assert_eq!(sent(&url).await, "http://cdn.example.com/f?a=1", "a complete signature is removed");
    }
}

#[tokio::test]
async fn signers_have_no_limits() {
    let many = (0..300).map(|n| format!("p{n}=1")).collect::<Vec<_>>().join("&");
    let limits = Limits::new().with_parameters(1000).with_query(1 << 20).with_form(1 << 20);
    let verifier = verifier().0.with_limits(limits);
    assert_eq!(code(&verifier, signed_by(&signer(), NOW, get(&format!("/p?{many}")))).await, "accepted");
    let form = Request::post("/p").header("content-type", "application/x-www-form-urlencoded").body(many).unwrap();
    assert_eq!(code(&verifier, signed_by(&signer(), NOW, form)).await, "accepted");
}

/// reqwest's URL type rewrites URLs that `Signer::sign` has signed.
#[tokio::test]
async fn only_sign_reqwest_signs_the_normalized_url() {
    let address = server(Scheme::new()).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in ["/a/./b", "/a/%2e%2e/b", "/a/../b"] {
        let uri: Uri = format!("http://{address}{path}").parse().unwrap();
        let signed = signer().sign(Request::get(uri).body("").unwrap()).unwrap();
        let converted = reqwest::Request::try_from(signed).unwrap();
        assert_eq!(client.execute(converted).await.unwrap().status(), 401, "{path}");
    }
    for path in ["/a/./b", "/a/%2e%2e/b", "/a/../b", "/a\\b", "/é"] {
        let request = client.get(format!("http://{address}{path}")).build().unwrap();
        let signed = signer().sign_reqwest(request).unwrap();
        assert_eq!(client.execute(signed).await.unwrap().status(), 200, "{path}");
    }
    // A URL that reqwest does not rewrite can be converted.
    let signed = signer().sign(Request::get(format!("http://{address}/a%2Fb?c=%7E")).body("").unwrap()).unwrap();
    assert_eq!(client.execute(reqwest::Request::try_from(signed).unwrap()).await.unwrap().status(), 200);
}
