//! What must not be shown is not shown.

use std::{
    convert::Infallible,
    io::Write,
    sync::{Arc, Mutex, Once},
};

use bytes::Bytes;
use countersign::{
    BodyDigest, Nonce, Payload, RejectionKind, Secret, Signer, TokenPlace, Verifier, clock::ManualClock, store::key_fn,
};
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use crate::rig::{self, KEY, NOW, get, keys, signed_by, verifier};

const TOKEN: &str = "tok_secret_of_the_user";
const NONCE: &str = "nonce-that-nobody-logs";

#[tokio::test]
async fn debug_shows_no_secret() {
    let signer = rig::signer().with_token(TOKEN.parse().unwrap());
    let (mut parts, ()) = Request::get("/").body(()).unwrap().into_parts();
    let nonce: Nonce = NONCE.parse().unwrap();
    signer.sign_at(&mut parts, Payload::Bytes(b""), NOW.try_into().unwrap(), nonce.clone()).unwrap();
    let sign = parts.headers["x-sign"].to_str().unwrap().to_owned();
    let (verifier, _) = verifier();
    let claim = countersign::protocol::Claim::extract(&Default::default(), &parts.uri, &parts.headers).unwrap();
    let mut shown = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {claim:?} {parts:?}",
        rig::secret(),
        countersign::KeyRing::from(rig::secret()),
        keys(),
        signer,
        nonce,
        verifier,
        verifier.clone().into_layer(),
    );
    let verified = rig::verify(&verifier, Request::from_parts(parts.clone(), "")).await.unwrap();
    shown += &format!("{:?}", verified.extensions().get::<countersign::Caller>());
    let rejection = rig::verify(&verifier, Request::from_parts(parts, "")).await.unwrap_err();
    shown += &format!("{rejection} {rejection:?}");
    shown += &format!("{:?}", rejection.to_response());
    for secret in [KEY, TOKEN, &sign] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    // The header's own Debug shows what travels in the clear; nothing of ours does.
    assert_eq!(shown.matches(NONCE).count(), 1, "{shown}");
}

#[test]
fn the_string_to_sign_is_shown_without_its_key() {
    let (parts, ()) = Request::get("/p?a=1").body(()).unwrap().into_parts();
    let string =
        rig::signer().string_to_sign_at(&parts, Payload::Bytes(b""), NOW.try_into().unwrap(), rig::fresh_nonce());
    let string = string.unwrap();
    assert!(string.contains("\n{key}\n") && !string.contains(KEY), "{string}");
}

#[tokio::test]
async fn no_refusal_repeats_what_it_was_given() {
    let (verifier, _) = verifier();
    for name in ["x-app-id", "x-timestamp", "x-nonce", "x-token", "x-sign", "x-content-sha256", "content-type"] {
        let mut request = rig::signed(get("/"));
        request.headers_mut().insert(name, "<the caller's own words>".parse().unwrap());
        let rejection = rig::verify(&verifier, request).await.unwrap_err();
        let shown = format!("{rejection} {rejection:?}") + &format!("{:?}", rejection.to_response());
        assert!(!shown.contains("own words"), "{shown}");
    }
}

#[test]
fn secrets_are_long_enough_or_refused() {
    for short in ["", "x", "fifteen bytes !"] {
        let error = Secret::new(short).unwrap_err().to_string();
        assert!(error.contains("at least 16"), "{error}");
        assert!(short.is_empty() || short == "x" || !error.contains(short), "{error}");
    }
    assert!(Secret::new("sixteen bytes !!").is_ok());
}

#[test]
fn signing_errors_name_the_field_and_no_secret() {
    let signer = rig::signer().with_token(TOKEN.parse().unwrap());
    let sign = |request: Request<&'static str>| signer.sign(request).unwrap_err().to_string();
    let with = |name: &'static str, value: &'static str| Request::get("/").header(name, value).body("").unwrap();
    for (request, part) in [
        (with("content-type", "json"), "content-type"),
        (with("connection", "x-nonce"), "x-nonce"),
        (Request::get("/?a=%zz").body("").unwrap(), "%25"),
        (Request::connect("example.com:80").body("").unwrap(), "CONNECT"),
    ] {
        let error = sign(request);
        assert!(error.contains(part) && !error.contains(TOKEN) && !error.contains(KEY), "{error}");
    }
    let (mut parts, ()) =
        Request::post("/").header("content-type", "application/x-www-form-urlencoded").body(()).unwrap().into_parts();
    let error = signer.sign_parts(&mut parts, Payload::Digest(BodyDigest::of(b"a=1"))).unwrap_err();
    assert!(error.to_string().contains("Payload::Bytes"), "{error}");
}

/// Everything that is written, for a look at it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// All that is logged, at every level.
pub(crate) fn log_of(run: impl FnOnce(&tokio::runtime::Runtime)) -> String {
    // An event that another thread meets first, where nobody listens, may be taken for one that nobody ever wants.
    static SOMEBODY_LISTENS: Once = Once::new();
    SOMEBODY_LISTENS.call_once(|| tracing_subscriber::fmt().with_writer(std::io::sink).init());
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tracing::subscriber::with_default(subscriber, || run(&runtime));
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_trace_level_run_holds_events_and_no_secret() {
    let scheme = countersign::Scheme::new().with_token_place(TokenPlace::Bearer).unwrap();
    let signer: Signer = rig::signer_of(scheme.clone()).with_token(TOKEN.parse().unwrap());
    let clock = ManualClock::at(NOW);
    let verifier = Verifier::new(keys()).with_clock(clock.clone()).with_scheme(scheme);
    let mut signs = Vec::new();
    let text = log_of(|runtime| {
        for target in ["/", "/?a=%zz", "/b"] {
            let mut request = signed_by(&signer, NOW, get("/"));
            *request.uri_mut() = target.parse().unwrap();
            signs.push(request.headers()["x-sign"].to_str().unwrap().to_owned());
            let _ = runtime.block_on(rig::verify(&verifier, request));
        }
        clock.set_wall(NOW - 3600);
        for _ in 0..3 {
            let _ = runtime.block_on(rig::verify(&verifier, signed_by(&signer, NOW, get("/"))));
        }
    });
    assert_eq!(text.matches("the wall clock stepped back").count(), 1, "told once: {text}");
    for secret in signs.iter().map(String::as_str).chain([KEY, TOKEN]) {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn operators_are_told_what_is_not_the_callers_fault() {
    let broken = Verifier::new(key_fn(|_| async { Err::<Option<Secret>, _>("no route to the database") }));
    let service = broken.with_clock(ManualClock::at(NOW)).into_layer().layer(service_fn(never));
    let text = log_of(|runtime| {
        let response = runtime.block_on(service.oneshot(rig::arriving(rig::signed(get("/")))));
        assert_eq!(response.unwrap().extensions().get(), Some(&RejectionKind::Unavailable));
    });
    assert!(text.contains("WARN") && text.contains("no route to the database"), "{text}");
    let service = verifier().0.into_layer().layer(service_fn(never));
    let text = log_of(|runtime| drop(runtime.block_on(service.oneshot(rig::arriving(get("/"))))));
    assert_eq!(text, "", "a caller's fault is no event");
}

async fn never(_: Request<countersign::server::ServiceBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    unreachable!("the request is refused")
}
