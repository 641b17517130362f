//! Places and fingerprints of submissions: the worked examples, and that different submissions never share a place.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use countersign::{
    AppId, BodyDigest, Scheme, Token, Verifier,
    store::{Entry, Fingerprint, Finish, Lease, Reserved, StoreError, SubmissionRef, SubmissionStore, WhenLost},
    submission::{IdempotencyKey, SubmissionScope, SubmitOnceLayer},
    token::{CheckedToken, Owner, TokenCheck},
};
use http::{HeaderName, Method, Request};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::Value;

use super::shop::{Shop, respond};
use crate::rig::{self, NOW, signed_by};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../vectors/submissions.json")).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn sha256(value: &Value) -> String {
    BodyDigest::of(text(value).as_bytes()).to_string()
}

/// A store that records what it is asked for, and fails.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<(SubmissionRef, Fingerprint)>>>);

impl SubmissionStore for Recorder {
    async fn reserve(
        &self,
        at: &SubmissionRef,
        _: &Lease,
        fingerprint: &Fingerprint,
        _: Duration,
        _: WhenLost,
    ) -> Result<Reserved, StoreError> {
        self.0.lock().unwrap().push((at.clone(), *fingerprint));
        Err(StoreError::new("it only records"))
    }

    async fn renew(&self, _: &SubmissionRef, _: &Lease) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn finish(&self, _: &SubmissionRef, _: &Lease, _: &Finish) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn state(&self, _: &SubmissionRef) -> Result<Option<Entry>, StoreError> {
        Ok(None)
    }

    async fn settle(&self, _: &SubmissionRef, _: &Finish) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn forget(&self, _: &SubmissionRef) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// The user `u-17` has each token.
struct Sessions;

impl TokenCheck for Sessions {
    async fn check(&self, _: &AppId, _: &Token) -> Result<Option<CheckedToken>, StoreError> {
        Ok(Some(CheckedToken::new("u-17".parse().map_err(StoreError::new)?)))
    }
}

/// Sends the request of the examples, and returns its place and its fingerprint.
async fn recorded(names: &[HeaderName], layer: SubmitOnceLayer, token: Option<&str>) -> (SubmissionRef, Fingerprint) {
    let vectors = vectors();
    let example = &vectors["request"];
    let scheme = Scheme::new().with_audience(text(&example["audience"])).unwrap();
    let scheme = scheme.with_signed_headers(names.iter().cloned()).unwrap();
    let verifier: Verifier<_> = rig::verifier().0.with_scheme(scheme.clone()).with_fingerprints();
    let recorder = Recorder::default();
    let layer = layer.with_store(recorder.clone());
    let router: Router = Shop::new().router_below(&layer, verifier.with_token_check(Sessions));
    let mut request = Request::builder()
        .method(text(&example["method"]))
        .uri(text(&example["target"]))
        .header("content-type", text(&example["content_type"]));
    for header in example["signed_headers"].as_array().unwrap() {
        request = request.header(text(&header[0]), text(&header[1]));
    }
    let signer = rig::signer_of(scheme);
    let signer = match token {
        Some(token) => signer.with_token(token.parse().unwrap()),
        None => signer,
    };
    let request = signed_by(&signer, NOW, request.body("{}").unwrap());
    assert_eq!(respond(&router, request).await.status(), 503);
    recorder.0.lock().unwrap().remove(0)
}

fn signed_names() -> Vec<HeaderName> {
    ["idempotency-key", "x-tenant"].map(HeaderName::from_static).to_vec()
}

fn by_key() -> SubmitOnceLayer {
    SubmitOnceLayer::by_key(&Scheme::new().with_signed_headers(signed_names()).unwrap()).unwrap()
}

#[tokio::test]
async fn fingerprint_is_that_of_the_example() {
    let (_, fingerprint) = recorded(&signed_names(), by_key(), None).await;
    let vectors = vectors();
    assert_eq!(hex::encode(fingerprint.as_bytes()), text(&vectors["fingerprint"]));
    assert_eq!(sha256(&vectors["fingerprint_text"]), text(&vectors["fingerprint"]));
}

#[tokio::test]
async fn places_are_those_of_the_examples() {
    let vectors = vectors();
    let mut checked = 0;
    for example in vectors["keys"].as_array().unwrap() {
        assert_eq!(sha256(&example["text"]), text(&example["store_key"]));
        let scheme = Scheme::new().with_audience(text(&example["audience"])).unwrap();
        let scope = SubmissionScope::new(text(&example["app_id"]).parse().unwrap());
        let scope = match text(&example["scope"]).split_once(':') {
            Some(("user", id)) => scope.with_owner(Owner::User(id.parse().unwrap())),
            Some(("app", id)) => scope.with_owner(Owner::App(id.parse().unwrap())),
            Some(("subject", id)) => scope.with_subject(id.parse().unwrap()),
            _ => scope,
        };
        let method: Method = text(&example["method"]).parse().unwrap();
        let at = match text(&example["mode"]) {
            "key" => {
                let key = text(&example["key"]).parse().unwrap();
                let scope = scope.with_extra(text(&example["with_scope"]));
                scope.by_key(&scheme, &method, text(&example["path"]), &key)
            }
            // By fingerprint, a header that the scheme does not sign is no key.
            _ => {
                let layer = SubmitOnceLayer::by_fingerprint(Duration::from_secs(10));
                recorded(&[HeaderName::from_static("x-tenant")], layer, Some("tok_1")).await.0
            }
        };
        assert_eq!(hex::encode(at.key()), text(&example["store_key"]), "{}", example["text"]);
        checked += 1;
    }
    assert_eq!(checked, 4);
}

#[tokio::test]
async fn layer_uses_the_place_that_the_scope_gives() {
    let scheme = Scheme::new().with_audience("api.example.com").unwrap();
    let key: IdempotencyKey = "8e03978e".parse().unwrap();
    let app: AppId = "demo".parse().unwrap();
    let scope = SubmissionScope::new(app);
    let (at, _) = recorded(&signed_names(), by_key(), None).await;
    assert_eq!(at.key(), scope.by_key(&scheme, &Method::POST, "/pay", &key).key());
    let (at, _) = recorded(&signed_names(), by_key().with_scope(|_| "t".to_owned()), Some("tok_1")).await;
    let scope = scope.with_subject("u-17".parse().unwrap()).with_extra("t");
    assert_eq!(at.key(), scope.by_key(&scheme, &Method::POST, "/pay", &key).key());
    assert_eq!((at.app_id().as_str(), at.owner()), ("demo", None));
}

#[test]
fn spellings_of_keys_are_those_of_the_examples() {
    let vectors = vectors();
    let keys = |name: &str| vectors["idempotency_keys"][name].as_array().unwrap().clone();
    let same: Vec<IdempotencyKey> = keys("same").iter().map(|key| text(key).parse().unwrap()).collect();
    assert!(same.len() > 1 && same.iter().all(|key| *key == same[0]));
    let refused = keys("refused");
    assert!(refused.len() > 7);
    for key in refused {
        assert!(text(&key).parse::<IdempotencyKey>().is_err(), "{key}");
    }
}

/// A proxy that removes `/api`, and axum's `nest`: the place has the path that the client signed.
#[tokio::test]
async fn place_has_the_signed_path() {
    let key: IdempotencyKey = "k".parse().unwrap();
    let scope = SubmissionScope::new("demo".parse().unwrap());
    for (sent, arrives) in [("/api/pay", "/pay"), ("/api/", "/"), ("/api", "/")] {
        let recorder = Recorder::default();
        let layer = super::shop::by_key().with_store(recorder.clone());
        let verifier = super::shop::verifier().with_prefix("/api").unwrap();
        let router = Router::new().fallback(async || "ok").layer(layer).layer(verifier.into_layer());
        let mut request = super::shop::submission(sent, "k", "order");
        *request.uri_mut() = arrives.parse().unwrap();
        assert_eq!(respond(&router, request).await.status(), 503);
        let (at, _) = recorder.0.lock().unwrap().remove(0);
        assert_eq!(at.key(), scope.by_key(&super::shop::scheme(), &Method::POST, sent, &key).key(), "{sent}");
    }
    let recorder = Recorder::default();
    let nested = Shop::new().router(&super::shop::by_key().with_store(recorder.clone()));
    let router = Router::new().nest("/shop", nested);
    assert_eq!(respond(&router, super::shop::submission("/shop/pay", "k", "order")).await.status(), 503);
    let (at, _) = recorder.0.lock().unwrap().remove(0);
    assert_eq!(at.key(), scope.by_key(&super::shop::scheme(), &Method::POST, "/shop/pay", &key).key());
}

/// What makes a submission, as short texts that are likely to meet.
#[derive(Clone, Debug, PartialEq)]
struct Parts {
    audience: String,
    app: String,
    token: Option<(usize, String)>,
    extra: String,
    method: &'static str,
    path: String,
    key: String,
}

impl Parts {
    fn place(&self) -> [u8; 32] {
        let scheme = Scheme::new().with_audience(self.audience.clone()).unwrap();
        let scope = SubmissionScope::new(self.app.parse().unwrap()).with_extra(&self.extra);
        let scope = match &self.token {
            None => scope,
            Some((0, id)) => scope.with_owner(Owner::User(id.parse().unwrap())),
            Some((1, id)) => scope.with_owner(Owner::App(id.parse().unwrap())),
            Some((_, id)) => scope.with_subject(id.parse().unwrap()),
        };
        *scope.by_key(&scheme, &self.method.parse().unwrap(), &self.path, &self.key.parse().unwrap()).key()
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let text =
        |range| vec(select(vec!["a", "b", "app", "user", "POST", "key", "-"]), range).prop_map(|all| all.concat());
    (
        text(0..2),
        text(1..3),
        proptest::option::of((0..3_usize, text(1..3))),
        text(0..3),
        select(vec!["POST", "PUT", "POSTa"]),
        text(0..2).prop_map(|path| format!("/{path}")),
        text(1..3),
    )
        .prop_map(|(audience, app, token, extra, method, path, key)| Parts {
            audience,
            app,
            token,
            extra,
            method,
            path,
            key,
        })
}

proptest! {
    #[test]
    fn different_submissions_never_share_a_place(one in parts(), other in parts()) {
        prop_assert_eq!(one == other, one.place() == other.place());
    }

    /// A change of one part is another place. Random pairs seldom differ in one part only.
    #[test]
    fn each_part_of_a_submission_counts(one in parts(), other in parts()) {
        let changes = [
            Parts { audience: other.audience, ..one.clone() },
            Parts { app: other.app, ..one.clone() },
            Parts { token: other.token, ..one.clone() },
            Parts { extra: other.extra, ..one.clone() },
            Parts { method: other.method, ..one.clone() },
            Parts { path: other.path, ..one.clone() },
            Parts { key: other.key, ..one.clone() },
        ];
        for changed in changes {
            prop_assert_eq!(one == changed, one.place() == changed.place(), "{:?}", changed);
        }
    }
}
