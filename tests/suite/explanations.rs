//! Explained signatures: the printable string to sign, and the cause that a client finds in it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use countersign::{
    App, Explanation, Key, KeyRing, Rejection, Scheme, Secret, Signer, StaticKeys, TokenLocation, Verifier,
    VerifyLayer,
    client::{Cause, Comparison, SignedLine},
    clock::ManualClock,
    server::{GrpcRejections, ServiceBody},
};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use serde::Deserialize;
use tower::{Layer, ServiceExt, service_fn};

use crate::rig::{self, KEY, NOW, form, get, incoming, signed_by, signer};

#[derive(Deserialize)]
struct Vectors {
    explained: Vec<Explained>,
}

#[derive(Deserialize)]
struct Explained {
    note: String,
    method: String,
    target: String,
    app_id: String,
    timestamp: String,
    nonce: String,
    token: String,
    token_in_cookie: bool,
    signed_headers_hex: Vec<(String, Option<String>)>,
    sensitive_headers: Vec<String>,
    string_to_sign: String,
}

impl Explained {
    fn scheme(&self) -> Scheme {
        let names =
            |names: Vec<&String>| names.into_iter().map(|name| name.parse::<HeaderName>().unwrap()).collect::<Vec<_>>();
        let signed = names(self.signed_headers_hex.iter().map(|(name, _)| name).collect());
        let location = match self.token_in_cookie {
            true => TokenLocation::Cookie("session".to_owned()),
            false => TokenLocation::Field,
        };
        let scheme = Scheme::new().with_signed_headers(signed).unwrap().with_token_location(location).unwrap();
        scheme.with_sensitive_headers(names(self.sensitive_headers.iter().collect()))
    }

    /// The request, with a signature that is wrong.
    fn request(&self) -> Request<&'static str> {
        let mut request = Request::builder().method(&*self.method).uri(&*self.target);
        let fields = [("x-app-id", &self.app_id), ("x-timestamp", &self.timestamp), ("x-nonce", &self.nonce)];
        for (name, value) in fields {
            request = request.header(name, value);
        }
        if self.token_in_cookie {
            request = request.header("cookie", format!("session={}", self.token));
        } else if !self.token.is_empty() {
            request = request.header("x-token", &self.token);
        }
        for (name, value) in &self.signed_headers_hex {
            if let Some(value) = value {
                request = request.header(name, HeaderValue::from_bytes(&hex::decode(value).unwrap()).unwrap());
            }
        }
        request.header("x-sign", "0".repeat(64)).body("").unwrap()
    }
}

fn verifier_of(scheme: Scheme) -> Verifier<StaticKeys> {
    Verifier::new(rig::keys()).with_scheme(scheme).with_clock(ManualClock::at(NOW)).with_explanations()
}

async fn rejection<B: Into<Bytes>>(verifier: &Verifier<StaticKeys>, request: Request<B>) -> Rejection {
    rig::verify(verifier, request).await.expect_err("a rejection")
}

#[tokio::test]
async fn explanations_are_those_of_the_examples() {
    let Vectors { explained } = serde_json::from_str(include_str!("../vectors/explained.json")).unwrap();
    assert!(explained.len() >= 8);
    for example in explained {
        let rejection = rejection(&verifier_of(example.scheme()), example.request()).await;
        assert_eq!(rejection.string_to_sign(), Some(&*example.string_to_sign), "{}: {rejection}", example.note);
        let (parts, _) = example.request().into_parts();
        let own = Explanation::of_request(&example.scheme(), &parts, b"").unwrap();
        assert_eq!(own.as_str(), example.string_to_sign, "{}", example.note);
        assert_eq!(Explanation::of_response(own.as_str()), own, "{}", example.note);
    }
}

async fn answer(layer: VerifyLayer<StaticKeys>, request: Request<&'static str>) -> Response<Bytes> {
    let service = layer.layer(service_fn(|_: Request<ServiceBody>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::new())))
    }));
    let (parts, body) = service.oneshot(incoming(request)).await.unwrap().into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn unknown_disabled_and_wrong_key_get_the_same_explanation() {
    let key = |byte: &str| Secret::new(byte.repeat(32)).unwrap();
    let expired = KeyRing::new([Key::from(rig::secret()).with_not_after(NOW - 1000)]).unwrap();
    let stores = [("other", App::from(rig::secret())), ("demo", App::from(expired)), ("demo", App::from(key("a")))];
    let mut answers = Vec::new();
    for (id, app) in stores {
        let keys = StaticKeys::new([(id.parse().unwrap(), app)]).unwrap();
        let layer = Verifier::new(keys).with_clock(ManualClock::at(NOW)).with_explanations().into_layer();
        let mut request = rig::signed(form("/p?b=2&a=1", "x=1"));
        request.headers_mut().insert("x-nonce", "nonce-1".parse().unwrap());
        let (parts, body) = answer(layer, request).await.into_parts();
        assert_eq!(parts.headers["x-content-type-options"], "nosniff");
        assert_eq!(parts.headers["x-error-code"], "invalid_signature");
        answers.push((parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap()));
    }
    assert!(answers[0].2.contains("string_to_sign"), "{}", answers[0].2);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[tokio::test]
async fn only_a_verifier_with_explanations_sends_them() {
    let wrong = Signer::new("demo".parse().unwrap(), Secret::new("w".repeat(32)).unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observed = seen.clone();
    let verifier = rig::verifier().0.with_observer(move |outcome| {
        observed.lock().unwrap().push(outcome.string_to_sign().map(str::to_owned));
    });
    let silent = answer(verifier.clone().into_layer(), signed_by(&wrong, NOW, get("/p"))).await;
    assert!(!silent.headers().contains_key("x-content-type-options"));
    assert!(!String::from_utf8_lossy(silent.body()).contains("string_to_sign"));

    let explained = answer(verifier.clone().with_explanations().into_layer(), signed_by(&wrong, NOW, get("/p"))).await;
    let problem: serde_json::Value = serde_json::from_slice(explained.body()).unwrap();
    let text = problem["string_to_sign"].as_str().unwrap();
    assert!(text.starts_with("CS1-REQUEST\nGET\n\n/p\n"), "{text}");

    // Other rejections have none.
    let stale = answer(verifier.with_explanations().into_layer(), signed_by(&signer(), NOW - 1000, get("/p"))).await;
    assert!(!String::from_utf8_lossy(stale.body()).contains("string_to_sign"));
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen[0].as_ref().is_some_and(|text| text.contains("\n/p\n")), "operators get it in any case");
    assert_eq!(seen[1].as_deref(), Some(text));
    assert_eq!(seen[2], None);
}

#[tokio::test]
async fn explanations_and_debug_output_hold_no_secret() {
    let token = "tok_0123456789-secret";
    let scheme = Scheme::new().with_signed_headers([http::header::AUTHORIZATION]).unwrap();
    let wrong = Signer::new("demo".parse().unwrap(), Secret::new("w".repeat(32)).unwrap());
    let signer = wrong.with_scheme(scheme.clone()).with_token(token.parse().unwrap());
    let request = Request::get("/p?visible=1").header("authorization", "Basic c2VjcmV0").body("").unwrap();
    let request = signed_by(&signer, NOW, request);
    let sign = request.headers()["x-sign"].to_str().unwrap().to_owned();
    let outcomes = Arc::new(Mutex::new(String::new()));
    let seen = outcomes.clone();
    let verifier = verifier_of(scheme).with_observer(move |outcome| *seen.lock().unwrap() = format!("{outcome:?}"));
    let rejection = rejection(&verifier, request).await;
    let text = rejection.string_to_sign().unwrap().to_owned();
    let debug = format!("{rejection:?} {:?} {rejection} {}", Explanation::of_response(&text), outcomes.lock().unwrap());
    for secret in [KEY, token, "c2VjcmV0", &sign, &sign[..16]] {
        assert!(!text.contains(secret), "{text}");
        assert!(!debug.contains(secret), "{debug}");
    }
    assert!(text.contains("visible=1"), "{text}");
    assert!(!debug.contains("visible"), "{debug}");
}

#[tokio::test]
async fn behind_a_prefix_the_last_compared_path_is_shown() {
    let wrong = Signer::new("demo".parse().unwrap(), Secret::new("w".repeat(32)).unwrap());
    let verifier = verifier_of(Scheme::new()).with_prefix("/api").unwrap();
    for (target, shown) in [("/orders", "/api/orders"), ("/", "/api")] {
        let rejection = rejection(&verifier, signed_by(&wrong, NOW, get(target))).await;
        assert_eq!(rejection.string_to_sign().unwrap().lines().nth(3), Some(shown));
    }
}

#[tokio::test]
async fn grpc_answers_are_not_explained() {
    let wrong = Signer::new("demo".parse().unwrap(), Secret::new("w".repeat(32)).unwrap());
    let layer = verifier_of(Scheme::new()).into_layer().with_renderer(GrpcRejections::new());
    let service = layer.layer(service_fn(|_: Request<ServiceBody>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::new())))
    }));
    let request =
        signed_by(&wrong, NOW, Request::post("/s/M").header("content-type", "application/grpc").body("").unwrap());
    let response = service.oneshot(incoming(request)).await.unwrap();
    assert_eq!(response.headers()["x-error-code"], "invalid_signature");
    assert!(!format!("{:?}", response.headers()).contains("CS1-REQUEST"));
    assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Client and verifier make the same text for every request, and it is printable and short.
    #[test]
    fn both_ends_print_a_request_alike(
        path in "/[a-z%2F/]{0,20}",
        query in "[a-z%=&+]{0,30}",
        value in proptest::collection::vec(prop_oneof![32..=126u8, 128..=255u8], 0..3000),
        body in "([a-z]{1,5}=[a-z]{1,300}&){0,20}",
    ) {
        let name = HeaderName::from_static("x-signed");
        let scheme = Scheme::new().with_signed_headers([name.clone()]).unwrap();
        let wrong = Signer::new("demo".parse().unwrap(), Secret::new("w".repeat(32)).unwrap()).with_scheme(scheme.clone());
        let request = Request::post(format!("{path}?{query}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .header(name, HeaderValue::from_bytes(&value).unwrap())
            .body(body)
            .unwrap();
        let (mut parts, body) = request.into_parts();
        let payload = countersign::Payload::Bytes(body.as_bytes());
        prop_assume!(wrong.sign_at(&mut parts, payload, NOW.try_into().unwrap(), rig::fresh_nonce()).is_ok());
        let own = Explanation::of_request(&scheme, &parts, body.as_bytes()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let rejection = runtime.block_on(rejection(&verifier_of(scheme), Request::from_parts(parts, body)));
        let text = rejection.string_to_sign().unwrap();
        prop_assert_eq!(own.as_str(), text);
        prop_assert!(text.len() <= 8196);
        prop_assert!(text.chars().all(|c| matches!(c, ' '..='~' | '\n' | '…')));
        prop_assert_eq!(Explanation::of_response(text), own);
    }

    /// A hostile server's text is bounded and printable.
    #[test]
    fn any_text_from_a_server_becomes_printable(text in "(?s).*", repeated in 0..5000usize) {
        let text = text.repeat(repeated.min(20_000 / (text.len() + 1)));
        let explanation = Explanation::of_response(&text);
        prop_assert!(explanation.as_str().len() <= 8196);
        prop_assert!(explanation.as_str().chars().all(|c| matches!(c, ' '..='~' | '\n' | '…')));
        Comparison::new(&explanation, &Explanation::of_response("CS1-REQUEST\nGET")).to_string();
        Comparison::new(&Explanation::of_text(&Scheme::new(), text.as_bytes()), &explanation).to_string();
    }
}

type Edit = dyn Fn(&mut Vec<&str>);

/// A string to sign with these lines in place of those of a plain request.
fn string(lines: &[(usize, &str)]) -> String {
    let mut all = ["CS1-REQUEST", "GET", "", "/p", "a=1&b=2", "", "", "", "demo", "", "{key}", "1700000000", "nonce-1"];
    for (i, line) in lines {
        all[*i] = line;
    }
    all.join("\n")
}

fn compared(signed: &str, verified: &str) -> Comparison {
    let names = ["x-a", "x-b"].into_iter().filter(|name| signed.contains(&format!("\n{name}")));
    let scheme = Scheme::new().with_signed_headers(names.map(HeaderName::from_static)).unwrap();
    Comparison::new(&Explanation::of_text(&scheme, signed.as_bytes()), &Explanation::of_response(verified))
}

#[test]
fn each_difference_has_its_cause() {
    let line = |i, signed, verified| (string(&[(i, signed)]), string(&[(i, verified)]));
    let cases = [
        (line(0, "CS1-PRESIGNED", "CS1-REQUEST"), Cause::Purpose),
        (line(1, "get", "GET"), Cause::Method),
        (line(1, "POST", "GET"), Cause::Method),
        (line(2, "", "api"), Cause::Audience),
        (line(3, "/api/p", "/p"), Cause::PrefixRemoved),
        (line(3, "/p", "/v2/p"), Cause::PrefixAdded),
        (line(3, "/caf%C3%A9", "/caf\\xC3\\xA9"), Cause::PathEncoding),
        (line(3, "/a%2Fb", "/a/b"), Cause::PathEncoding),
        (line(3, "/a//b", "/a/b"), Cause::PathNormalized),
        (line(3, "/x/../p", "/p"), Cause::PathNormalized),
        (line(3, "/p?a=1", "/p"), Cause::PathWithMore),
        (line(3, "/old", "/new"), Cause::PathRewritten),
        (line(4, "b=2&a=1", "a=1&b=2"), Cause::ParameterOrder),
        (line(4, "a=2&a=1", "a=1&a=2"), Cause::RepeatedParameters),
        (line(4, "q=x+y", "q=x%20y"), Cause::PlusAndSpace),
        (line(4, "q=x%2By", "q=x%20y"), Cause::PlusAndSpace),
        (line(4, "q=x%2fy", "q=x%2Fy"), Cause::ParameterEncoding),
        (line(4, "q=a/b", "q=a%2Fb"), Cause::ParameterEncoding),
        (line(4, "q=x%2520y", "q=x%20y"), Cause::EncodedTwice),
        (line(4, "q=x%20y", "q=x%2520y"), Cause::EncodedTwice),
        (line(4, "a=1&b=2&c=", "a=1&b=2"), Cause::EmptyParameters),
        (line(4, "b=2&a=1&c=", "a=1&b=2"), Cause::EmptyParameters),
        (line(4, "a=1", "a=1&utm=x"), Cause::ParameterAdded),
        (line(4, "a=1&b=2", "a=1"), Cause::ParameterRemoved),
        (line(4, "a=1", "a=2"), Cause::ParameterChanged),
        (line(5, "", "x=1"), Cause::FormNotSigned),
        (line(5, "x=1", ""), Cause::NoForm),
        (line(5, "x=a+b", "x=a%20b"), Cause::PlusAndSpace),
        (line(6, "", "text/plain"), Cause::ContentTypeAdded),
        (line(6, "text/plain", ""), Cause::ContentTypeRemoved),
        (line(6, "application/json; charset=utf-8", "application/json"), Cause::ContentTypeSpelling),
        (line(6, "application/json", "text/plain"), Cause::ContentTypeChanged),
        (line(7, "", "aa"), Cause::DigestNotSigned),
        (line(7, "aa", ""), Cause::DigestRemoved),
        (line(7, "aa", "bb"), Cause::DigestChanged),
        (line(8, "other", "demo"), Cause::AppId),
        (line(9, "", "{token}"), Cause::TokenNotSigned),
        (line(9, "token", ""), Cause::TokenRemoved),
        (line(9, "token", "cookie:{token}"), Cause::TokenLocation),
        (line(10, "", "{key}"), Cause::KeyLine),
        (line(11, "1700000000123", "1700000000"), Cause::TimestampUnit),
        (line(11, "1700000001", "1700000000"), Cause::Timestamp),
        (line(12, "nonce-2", "nonce-1"), Cause::Nonce),
        (line(10, "the key of the client", "{key}"), Cause::Key),
        (line(9, "a token", "{token}"), Cause::Key),
        ((string(&[]).replace("\n\n", "\n").replace("\n\n", "\n"), string(&[])), Cause::EmptyLines),
        ((string(&[]) + "\n", string(&[])), Cause::Lines),
        ((string(&[]).replace('\n', "\r\n"), string(&[])), Cause::Purpose),
        ((string(&[])[12..].to_owned(), string(&[])), Cause::Purpose),
        ((string(&[]), string(&[(7, "\nx-a:1")])), Cause::SignedHeaders),
        ((string(&[(7, "\nx-a:1")]), string(&[(7, "\nx-b:1")])), Cause::SignedHeaders),
        ((string(&[(7, "\nx-a")]), string(&[(7, "\nx-a:1")])), Cause::HeaderAdded),
        ((string(&[(7, "\nx-a:1")]), string(&[(7, "\nx-a")])), Cause::HeaderRemoved),
        ((string(&[(7, "\nx-a:1")]), string(&[(7, "\nx-a:2")])), Cause::HeaderChanged),
    ];
    for ((signed, verified), cause) in cases {
        let comparison = compared(&signed, &verified);
        assert_eq!(comparison.cause(), Some(cause), "{signed:?} and {verified:?}: {comparison}");
        assert!(comparison.to_string().ends_with(cause.advice()), "{comparison}");
    }
}

#[test]
fn a_difference_shows_both_sides_of_a_public_line_only() {
    let Comparison::Different(path) = compared(&string(&[(3, "/api/p")]), &string(&[])) else { panic!("a difference") };
    assert_eq!((path.line(), path.signed(), path.verified()), (&SignedLine::Path, Some("/api/p"), Some("/p")));
    assert!(
        path.to_string()
            .starts_with(r#"line 4, the path, differs: the client signed "/api/p", and "/p" arrived: a proxy"#)
    );
    assert!(!format!("{path:?}").contains("/p"));

    // A client that writes the key into another line.
    for i in [0, 8, 9, 12] {
        let comparison = compared(&string(&[(i, KEY), (10, "x")]), &string(&[]));
        assert!(!comparison.to_string().contains(KEY), "{comparison}");
    }
}

#[test]
fn cut_strings_are_compared_as_far_as_they_go() {
    let headers: String = (0..40).map(|n| format!("\nx-{n:02}:{}", "v".repeat(300))).collect();
    let long = |path: &str, more: &str| {
        format!("CS1-REQUEST\nGET\n\n{path}\n\n\n\n{headers}\ndemo{more}\n\nk\n1700000000\nnonce-1")
    };
    let names = (0..40).map(|n| format!("x-{n:02}").parse::<HeaderName>().unwrap());
    let scheme = Scheme::new().with_signed_headers(names).unwrap();
    let text = |text: String| Explanation::of_text(&scheme, text.as_bytes());
    assert!(text(long("/p", "")).as_str().ends_with("\n…"));
    let compared = |a, b| Comparison::new(&text(a), &text(b));
    assert_eq!(compared(long("/p", ""), long("/p", "x")), Comparison::SameUntilCut);
    assert_eq!(compared(long("/p", ""), long("/p", "x")).cause(), None);
    assert_eq!(compared(long("/api/p", ""), long("/p", "")).cause(), Some(Cause::PrefixRemoved));
}

#[test]
fn a_line_end_after_the_text_hides_the_secrets_too() {
    let text = format!("CS1-REQUEST\nGET\n\n/\n\n\n\n\ndemo\ntok_123\n{KEY}\n1700000000\nnonce-1\n");
    let explanation = Explanation::of_text(&Scheme::new(), text.as_bytes());
    assert!(explanation.as_str().ends_with("\n{token}\n{key}\n1700000000\nnonce-1\n"), "{explanation}");
    // Strings of odd shape: none of them shows the key or the token.
    let right = ["CS1-REQUEST", "GET", "", "/", "", "", "", "", "demo", "tok_1234567", KEY, "1700000000", "nonce-1"];
    let odd = |edit: &Edit| {
        let mut lines = right.to_vec();
        edit(&mut lines);
        Explanation::of_text(&Scheme::new(), lines.join("\n").as_bytes()).to_string()
    };
    let edits: [&Edit; 7] = [
        &|lines| lines.truncate(12),
        &|lines| lines.extend(["", ""]),
        &|lines| lines.insert(11, "more"),
        &|lines| lines.push(KEY),
        &|lines| lines.insert(8, "authorization :Basic abc"),
        &|lines| lines[4] = "a=1&token=tok_1234567&key=0123456789abcdef0123456789abcdef",
        &|lines| lines[2] = KEY,
    ];
    for (i, edit) in edits.into_iter().enumerate() {
        let shown = odd(edit);
        assert!(!shown.contains(KEY) && !shown.contains("tok_1234567") && !shown.contains("abc\n"), "{i}: {shown}");
    }
    // Many lines take little memory.
    assert!(Explanation::of_text(&Scheme::new(), &vec![b'\n'; 4 << 20]).as_str().len() <= 8196);
}

#[test]
fn a_host_header_is_the_signed_host_on_both_ends() {
    let scheme = Scheme::new().with_signed_headers([http::header::HOST]).unwrap();
    let request = Request::get("http://10.0.0.7:8080/p").header("host", "api.example.com").body("").unwrap();
    let request = signed_by(&signer().with_scheme(scheme.clone()), NOW, request);
    let explanation = Explanation::of_request(&scheme, &request.into_parts().0, b"").unwrap();
    assert!(explanation.lines().any(|line| line == "host:api.example.com"), "{explanation}");
}

#[test]
fn text_of_another_program_loses_its_secrets() {
    let scheme = Scheme::new().with_signed_headers([http::header::AUTHORIZATION]).unwrap();
    let text =
        format!("CS1-REQUEST\nGET\n\n/\n\n\n\n\nauthorization:Basic abc\ndemo\ntok_123\n{KEY}\n1700000000\nnonce-1");
    let explanation = Explanation::of_text(&scheme, text.as_bytes());
    let expected =
        "CS1-REQUEST\nGET\n\n/\n\n\n\n\nauthorization:{authorization}\ndemo\n{token}\n{key}\n1700000000\nnonce-1";
    assert_eq!(explanation.as_str(), expected);
}
