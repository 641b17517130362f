//! Secrets do not appear in output, errors, logs or metrics.

use std::{
    convert::Infallible,
    io::{Write, sink},
    sync::{Arc, LazyLock, Mutex},
};

use bytes::Bytes;
use countersign::{
    BodyDigest, FieldLocation, Nonce, Payload, RejectionKind, Scheme, Secret, Signer, TokenLocation, Verifier,
    clock::ManualClock, danger::ReportOnlyLayer, store::key_fn,
};
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    metrics::metrics_of,
    outcomes::{OutcomeLog, moved},
    rig::{self, KEY, NOW, get, keys, signed_by, verifier},
};

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
    // The nonce appears once, in the Debug output of the plain header. The crate's own types hide it.
    assert_eq!(shown.matches(NONCE).count(), 1, "{shown}");
}

#[test]
fn string_to_sign_shows_no_key() {
    let (parts, ()) = Request::get("/p?a=1").body(()).unwrap().into_parts();
    let string =
        rig::signer().string_to_sign_at(&parts, Payload::Bytes(b""), NOW.try_into().unwrap(), rig::fresh_nonce());
    let string = string.unwrap();
    assert!(string.contains("\n{key}\n") && !string.contains(KEY), "{string}");
}

#[tokio::test]
async fn rejections_repeat_no_request_content() {
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
fn short_secrets_are_rejected() {
    for short in ["", "x", "fifteen bytes !"] {
        let error = Secret::new(short).unwrap_err().to_string();
        assert!(error.contains("at least 16"), "{error}");
        assert!(short.is_empty() || short == "x" || !error.contains(short), "{error}");
    }
    assert!(Secret::new("sixteen bytes !!").is_ok());
}

#[test]
fn key_with_surrounding_characters_is_rejected() {
    const BARE: &str = "0123456789abcdef";
    for (before, after, found) in [
        ("", "\n", "ends with white space"),
        ("", "\r\n", "ends with white space"),
        ("", " ", "ends with white space"),
        ("", "\x0c", "ends with white space"),
        (" ", "", "begins with white space"),
        ("\t", "", "begins with white space"),
        ("\u{feff}", "", "begins with a byte order mark"),
        ("", "\u{feff}", "ends with a byte order mark"),
        ("\"", "\"", "stands in quotes"),
        ("'", "'", "stands in quotes"),
    ] {
        let text = format!("{before}{BARE}{after}");
        let error = Secret::new(text.clone()).unwrap_err();
        let written = format!("text:{text}").parse::<Secret>().unwrap_err();
        let around = format!("{before}hex:30313233343536373839616263646566{after}").parse::<Secret>().unwrap_err();
        for error in [error, written, around] {
            let shown = format!("{error} {error:?}");
            assert!(error.to_string().contains(found), "{text:?}: {error}");
            assert!(!shown.contains(BARE) && !shown.contains("3031"), "{shown}");
        }
        assert!(Secret::from_bytes(text).is_ok(), "decoded bytes may begin and end with any byte");
    }
    let utf16: Vec<u8> = b"\xff\xfe".iter().copied().chain(BARE.bytes().flat_map(|byte| [byte, 0])).collect();
    assert!(Secret::new(utf16).unwrap_err().to_string().contains("byte order mark"));
    for inside in ["0123 5678\n abcdef", "\"123456789abcdef", "0123456789abcde'"] {
        assert!(Secret::new(inside).is_ok(), "{inside}");
    }
}

#[test]
fn written_secrets_sign_like_their_bytes() {
    let sign = |secret: Secret| {
        let signer = Signer::new("demo".parse().unwrap(), secret);
        let (mut parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        signer.sign_at(&mut parts, Payload::Bytes(b""), NOW.try_into().unwrap(), NONCE.parse().unwrap()).unwrap();
        parts.headers["x-sign"].clone()
    };
    for (written, bytes) in [
        ("hex:300a3233343536373839416263646520", &b"0\n23456789Abcde "[..]),
        ("hex:300A3233343536373839416263646520", b"0\n23456789Abcde "),
        ("base64:IDEyMzQ1Njc4OWFiY2Rl+/8=", b" 123456789abcde\xfb\xff"),
        ("text:0123456789:hex:ü", "0123456789:hex:ü".as_bytes()),
    ] {
        assert_eq!(sign(written.parse().unwrap()), sign(Secret::from_bytes(bytes).unwrap()), "{written}");
    }
}

#[test]
fn malformed_secrets_are_rejected_without_being_shown() {
    for (written, part) in [
        ("0123456789abcdef", "begins with text:, hex: or base64:"),
        ("Hex:30313233343536373839616263646566", "begins with text:, hex: or base64:"),
        ("hex:3031323334353637383961626364656", "an even number of hex digits"),
        ("base64:MDEyMzQ1Njc4OWFiY2RlZg", "= at the end"),
        ("hex:30313233", "has 4 bytes: at least 16"),
        ("text:0123", "has 4 bytes: at least 16"),
    ] {
        let error = written.parse::<Secret>().unwrap_err();
        assert!(error.to_string().contains(part), "{written}: {error}");
        let key = written.split_once(':').map_or(written, |(_, key)| key);
        assert!(!format!("{error} {error:?}").contains(key), "{error:?}");
    }
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

/// A buffer for log output.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The log output of a run, at all levels.
pub(crate) fn log_of(run: impl FnOnce(&tokio::runtime::Runtime)) -> String {
    /// With a single subscriber, tracing disables events globally when they first occur on a thread without a
    /// subscriber. A second subscriber prevents that.
    static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| tracing_subscriber::fmt().with_writer(sink).into());
    LazyLock::force(&SECOND);
    let log = LogBuffer::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    tracing::subscriber::with_default(subscriber, || run(&runtime));
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// Sends requests with every possible outcome to hooks, logs and metrics. Returns the signatures and nonces it used.
async fn everything(outcomes: OutcomeLog) -> Vec<String> {
    let scheme =
        Scheme::new().with_token_location(TokenLocation::Bearer).unwrap().with_field_location(FieldLocation::Either);
    let signer: Signer = rig::signer_of(scheme.clone()).with_token(TOKEN.parse().unwrap());
    let mut signs = Vec::new();
    let mut signed = |target: &str, timestamp, body| {
        let request = signed_by(&signer, timestamp, rig::post(target, "text/plain", body));
        for name in ["x-sign", "x-nonce", "x-content-sha256"] {
            signs.push(request.headers()[name].to_str().unwrap().to_owned());
        }
        request
    };
    let clock = ManualClock::at(NOW);
    let verifier = Verifier::new(keys()).with_clock(clock.clone()).with_scheme(scheme.clone());
    let verifier = verifier.with_insecure_bypass(|_, uri| uri.path() == "/health");
    let (verifier, verifier_log) = OutcomeLog::by(verifier, |outcome| format!("{outcome:?} {outcome:#?}"));
    let replayed = signed("/", NOW, "text");
    let mut swapped = signed("/", NOW, "text");
    *swapped.body_mut() = "TEXT";
    let mut forged = signed("/", NOW, "text");
    forged.headers_mut().insert("x-app-id", "other".parse().unwrap());
    let mut malformed = signed("/", NOW, "text");
    malformed.headers_mut().insert("x-timestamp", TOKEN.parse().unwrap());
    let mut moved = signed("/", NOW, "text");
    *moved.uri_mut() = "/?a=%zz".parse().unwrap();
    let requests = [
        replayed.clone(),
        replayed,
        swapped,
        forged,
        malformed,
        moved,
        signed("/", NOW - 301, "text"),
        signed("/health", NOW, "text"),
    ];
    for request in requests {
        let _ = rig::verify(&verifier, request).await;
    }
    let uploads = verifier.clone().with_streamed_bodies();
    drop(rig::verify(&uploads, signed("/", NOW, "unread")).await.unwrap());
    rig::bytes(rig::verify(&uploads, signed("/", NOW, "read")).await.unwrap().into_body()).await;
    let reporting = ReportOnlyLayer::new(uploads.clone(), |_, _| {}).layer(service_fn(async |request: Request<_>| {
        let (mut parts, body): (_, countersign::server::ServiceBody) = request.into_parts();
        // A service may change the headers.
        parts.headers.clear();
        Ok::<_, Infallible>(Response::new(Full::new(rig::bytes(body).await)))
    }));
    reporting.oneshot(rig::incoming(signed("/", NOW, "reported"))).await.unwrap();
    let hanging = key_fn(|_| std::future::pending::<Result<Option<Secret>, Infallible>>());
    let hanging = Verifier::new(hanging).with_clock(ManualClock::at(NOW)).with_scheme(scheme.clone());
    let (hanging, hanging_log) = OutcomeLog::by(hanging, |outcome| format!("{outcome:?}"));
    assert!(hanging.verify(rig::incoming(signed("/", NOW, "text"))).now_or_never().is_none());
    let (down, failing_log) =
        OutcomeLog::by(rig::verifier_on(crate::replay::FailingStore).0.with_scheme(scheme), |outcome| {
            format!("{outcome:?}")
        });
    let _ = rig::verify(&down, signed("/", NOW, "text")).await;
    clock.set_wall(NOW - 3600);
    for _ in 0..3 {
        let _ = rig::verify(&verifier, signed("/", NOW, "text")).await;
    }
    for log in [verifier_log, hanging_log, failing_log] {
        log.take().into_iter().for_each(|line| outcomes.push(line));
    }
    signs
}

#[test]
fn observers_logs_and_metrics_show_no_secret() {
    let (outcomes, mut signs, mut metrics) = (OutcomeLog::default(), Vec::new(), String::new());
    let hook = outcomes.clone();
    let log = log_of(|_| metrics = metrics_of(async { signs = everything(hook).await }));
    assert_eq!(log.matches("the wall clock stepped back").count(), 1, "logged once: {log}");
    let hook = outcomes.take().join("\n");
    let codes = [
        "verified",
        "replayed_nonce",
        "body_mismatch",
        "invalid_signature",
        "malformed_field",
        "malformed_parameters",
        "stale_timestamp",
        "bypassed",
        "body_not_read",
        "unavailable",
        "cancelled",
    ];
    for code in codes {
        assert!(log.contains(&format!("code=\"{code}\"")), "{code} in {log}");
        let counted = format!("countersign_requests_total{{code=\"{code}\",enforced=\"true\"");
        let mut counted = metrics.lines().filter(|line| line.starts_with(&*counted));
        assert!(counted.any(|line| !line.ends_with(" 0")), "{code}");
    }
    for shown in ["Verified(", "Rejected(", "Bypassed", "BodyNotRead(", "Cancelled"] {
        assert!(hook.contains(shown), "{shown} in {hook}");
    }
    let secrets = signs.iter().map(String::as_str).chain([KEY, TOKEN, "CS1-REQUEST", "text/plain"]);
    for secret in secrets {
        for (name, text) in [("hook", &hook), ("log", &log), ("metrics", &metrics)] {
            assert!(!text.contains(secret), "{secret} in {name}: {text}");
        }
    }
}

#[test]
fn server_side_errors_are_logged() {
    let broken = Verifier::new(key_fn(|_| async { Err::<Option<Secret>, _>("no route to the database") }));
    let service = broken.with_clock(ManualClock::at(NOW)).into_layer().layer(service_fn(never));
    let text = log_of(|runtime| {
        let response = runtime.block_on(service.oneshot(rig::incoming(rig::signed(get("/")))));
        assert_eq!(
            response.unwrap().extensions().get().map(countersign::Rejection::kind),
            Some(RejectionKind::Unavailable)
        );
    });
    assert!(text.contains("WARN") && text.contains("no route to the database"), "{text}");
    let service = verifier().0.into_layer().layer(service_fn(never));
    let text = log_of(|runtime| drop(runtime.block_on(service.oneshot(rig::incoming(moved("/?a=%zz"))))));
    let [line] = text.lines().collect::<Vec<_>>()[..] else { panic!("one event: {text}") };
    for part in ["DEBUG", "code=\"malformed_parameters\" app_id=\"demo\" skew=0 seconds=", "is_enforced=true"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let twice = verifier().0.into_layer().layer(verifier().0.into_layer().layer(service_fn(never)));
    let text = log_of(|runtime| drop(runtime.block_on(twice.oneshot(rig::incoming(rig::signed(get("/")))))));
    assert!(text.contains("ERROR") && text.contains("code=\"misconfigured\""), "{text}");
    let text = log_of(|runtime| drop(runtime.block_on(rig::verify(&verifier().0, rig::signed(get("/"))))));
    assert!(text.contains("TRACE") && text.lines().count() == 1, "accepted requests are logged only at TRACE: {text}");
    let text = log_of(|runtime| {
        let handler = axum::Router::new().route("/", axum::routing::get(async |_: countersign::Caller| ""));
        let response = runtime.block_on(handler.oneshot(Request::new(axum::body::Body::empty()))).unwrap();
        assert_eq!(response.status(), 500);
    });
    assert!(text.contains("ERROR") && text.contains("no VerifyLayer"), "{text}");
}

async fn never(_: Request<countersign::server::ServiceBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    unreachable!("the request is rejected")
}
