//! The reason of an invalid signature is visible to operators, and not to callers.

use std::sync::{Arc, Mutex};

use countersign::{App, Key, KeyRing, SignatureError, Signer, StaticKeys, Verifier, clock::ManualClock};
use http::Request;

use crate::{
    metrics::{invalid_signatures, metrics_of},
    rig::{self, NOW, get, secret, signed_by},
    secrets::log_of,
};

const REASONS: [&str; 3] = ["unknown_app", "no_active_key", "wrong_signature"];

fn verifier() -> Verifier<StaticKeys> {
    let expired = KeyRing::new([Key::from(secret()).with_not_after(NOW - 1)]).unwrap();
    let other = countersign::Secret::new("another key, of another app").unwrap();
    let apps = [("expired", App::new(expired)), ("known", App::new(other))];
    let keys = StaticKeys::new(apps.map(|(id, app)| (id.parse().unwrap(), app))).unwrap();
    Verifier::new(keys).with_clock(ManualClock::at(NOW))
}

/// One request for each of [`REASONS`].
fn requests() -> [Request<&'static str>; 3] {
    ["unknown", "expired", "known"].map(|app| {
        let signer = Signer::new(app.parse().unwrap(), secret());
        signed_by(&signer, NOW, get("/"))
    })
}

#[tokio::test]
async fn callers_get_the_same_response_for_all_reasons() {
    let mut answers = Vec::new();
    for request in requests() {
        let rejection = rig::verify(&verifier(), request).await.unwrap_err();
        let answer = rejection.to_response();
        answers.push(format!(
            "{:?} {:?} {:?} {rejection} {rejection:?}",
            answer.status(),
            answer.headers(),
            answer.body()
        ));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.contains("invalid_signature")), "{answers:#?}");
}

#[tokio::test]
async fn observers_get_the_reason() {
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let sink = reasons.clone();
    let verifier = verifier().with_observer(move |outcome| sink.lock().unwrap().push(outcome.signature_error()));
    for request in requests().into_iter().chain([get("/")]) {
        rig::verify(&verifier, request).await.unwrap_err();
    }
    let [unknown, inactive, wrong] =
        [SignatureError::UnknownApp, SignatureError::NoActiveKey, SignatureError::WrongSignature].map(Some);
    assert_eq!(*reasons.lock().unwrap(), [unknown, inactive, wrong, None]);
    assert_eq!([unknown, inactive, wrong].map(|error| error.unwrap().as_str()), REASONS);
}

#[test]
fn events_name_the_reason() {
    let log = log_of(|runtime| {
        for request in requests() {
            runtime.block_on(rig::verify(&verifier(), request)).unwrap_err();
        }
    });
    for reason in REASONS {
        assert_eq!(log.matches(&format!("reason=\"{reason}\"")).count(), 1, "{log}");
    }
}

#[test]
fn metrics_count_each_reason() {
    let text = metrics_of(async {
        for request in requests() {
            rig::verify(&verifier(), request).await.unwrap_err();
        }
    });
    assert_eq!(invalid_signatures(&text), [1.0, 1.0, 1.0]);
    assert_eq!(text.matches("code=\"invalid_signature\"").count(), 3, "{text}");
}
