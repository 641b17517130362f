//! Requests that the key of a session signed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use countersign::{
    Caller, Key, KeyRing, Rejection, Scheme, Secret, SignedBy, Signer, StaticKeys, Token, Verifier,
    clock::ManualClock,
    server::ServiceBody,
    store::{
        App, MemoryNonceStore, MemoryTokenStore, NonceClaim, NonceStatus, NonceStore, Retention, StoreError, key_fn,
    },
    token::{IssueError, Issued, NewToken, Tokens},
};
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use sha2::Sha256;

use crate::rig::{self, KEY, NOW, get, signed_by};

const AUDIENCE: &str = "api.example.com";
const NEXT_KEY: &str = "fedcba9876543210fedcba9876543210";

struct Rig {
    tokens: Tokens,
    verifier: Verifier<StaticKeys>,
    clock: ManualClock,
}

fn scheme() -> Scheme {
    Scheme::new().with_audience(AUDIENCE).unwrap()
}

fn rig_of(configure: impl FnOnce(Tokens) -> Tokens) -> Rig {
    let (verifier, clock) = rig::verifier();
    let tokens = configure(Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock.clone()));
    let verifier = verifier.with_scheme(scheme()).with_tokens(tokens.clone());
    Rig { tokens, verifier, clock }
}

fn rig() -> Rig {
    rig_of(Tokens::with_session_keys)
}

fn ring() -> KeyRing {
    KeyRing::from(rig::secret())
}

impl Rig {
    async fn login(&self) -> Issued {
        let new = NewToken::for_user("u-17".parse().unwrap());
        self.tokens.issue_for(&"demo".parse().unwrap(), new).await.unwrap()
    }

    async fn verify(&self, signer: &Signer) -> Result<Request<ServiceBody>, Rejection> {
        rig::verify(&self.verifier, signed_by(signer, NOW, get("/me?b=2&a=1"))).await
    }
}

/// A signer with the key that `ring` gives for a token.
fn session_signer(issued: &Issued, ring: &KeyRing, audience: &str) -> Signer {
    signer_of(issued.token(), issued.session_key(ring, audience).unwrap().into())
}

fn signer_of(token: &Token, key: Secret) -> Signer {
    Signer::for_session("demo".parse().unwrap(), token.clone(), key).with_scheme(scheme())
}

fn code(result: &Result<Request<ServiceBody>, Rejection>) -> &'static str {
    result.as_ref().map_or_else(|rejection| rejection.kind().code(), |_| "accepted")
}

fn caller(request: &Request<ServiceBody>) -> &Caller {
    request.extensions().get().unwrap()
}

/// The key by the words of PROTOCOL.md.
fn derived(app_key: &str, audience: &str, app: &str, token: &str) -> Secret {
    let mut mac = Hmac::<Sha256>::new_from_slice(app_key.as_bytes()).unwrap();
    mac.update(format!("CS1-SESSION\n{audience}\n{app}\n{token}").as_bytes());
    Secret::new(hex::encode(mac.finalize().into_bytes())).unwrap()
}

#[tokio::test]
async fn session_key_signs_for_its_token() {
    let rig = rig();
    let issued = rig.login().await;
    let by_hand = derived(KEY, AUDIENCE, "demo", issued.token().expose());
    for signer in [session_signer(&issued, &ring(), AUDIENCE), signer_of(issued.token(), by_hand)] {
        let request = rig.verify(&signer).await.unwrap();
        assert_eq!(caller(&request).signed_by(), SignedBy::SessionKey);
        assert_eq!(caller(&request).session(), Some(issued.session()));
    }
    let with_app_key = rig::signer_of(scheme()).with_token(issued.token().clone());
    let request = rig.verify(&with_app_key).await.unwrap();
    assert_eq!(caller(&request).signed_by(), SignedBy::AppKey);
}

#[tokio::test]
async fn session_key_of_anything_else_is_invalid() {
    let rig = rig();
    let (issued, other) = (rig.login().await, rig.login().await);
    let token = issued.token().expose();
    let keys = [
        ("of another token", derived(KEY, AUDIENCE, "demo", other.token().expose())),
        ("of another audience", derived(KEY, "files.example.com", "demo", token)),
        ("of no audience", derived(KEY, "", "demo", token)),
        ("of another app", derived(KEY, AUDIENCE, "other", token)),
        ("of another key of an app", derived(NEXT_KEY, AUDIENCE, "demo", token)),
        ("of the app itself", rig::secret()),
    ];
    for (name, key) in keys {
        assert_eq!(code(&rig.verify(&signer_of(issued.token(), key)).await), "invalid_signature", "{name}");
    }
    let key = issued.session_key(&ring(), AUDIENCE).unwrap();
    let as_app_key = Signer::new("demo".parse().unwrap(), key.clone().into()).with_scheme(scheme());
    assert_eq!(code(&rig.verify(&as_app_key).await), "invalid_signature", "without a token");
    let as_app_key = as_app_key.with_token(issued.token().clone());
    assert_eq!(code(&rig.verify(&as_app_key).await), "invalid_signature", "the key itself in the line of the key");
    let unknown = Signer::for_session("unknown".parse().unwrap(), issued.token().clone(), key).with_scheme(scheme());
    assert_eq!(code(&rig.verify(&unknown).await), "invalid_signature", "of an unknown app");
    // The key that stands in for those of an unknown app has 32 zero bytes.
    let of_dummy = derived(&"\0".repeat(32), AUDIENCE, "unknown", token);
    let unknown =
        Signer::for_session("unknown".parse().unwrap(), issued.token().clone(), of_dummy).with_scheme(scheme());
    assert_eq!(code(&rig.verify(&unknown).await), "invalid_signature", "of the dummy key");
}

#[tokio::test]
async fn session_keys_are_off_by_default() {
    let rig = rig_of(|tokens| tokens);
    let issued = rig.login().await;
    let signer = session_signer(&issued, &ring(), AUDIENCE);
    assert_eq!(code(&rig.verify(&signer).await), "invalid_signature");
}

#[tokio::test]
async fn session_key_ends_with_its_token() {
    let rig = rig();
    let issued = rig.login().await;
    let signer = session_signer(&issued, &ring(), AUDIENCE);
    rig.tokens.end(issued.session()).await.unwrap();
    assert_eq!(code(&rig.verify(&signer).await), "invalid_token");

    let issued = rig.login().await;
    let signer = session_signer(&issued, &ring(), AUDIENCE);
    let renewed = rig.tokens.renew(caller(&rig.verify(&signer).await.unwrap())).await.unwrap().unwrap();
    let successor = session_signer(&renewed, &ring(), AUDIENCE);
    assert_eq!(code(&rig.verify(&signer).await), "accepted", "the successor is not used yet");
    assert_eq!(code(&rig.verify(&successor).await), "accepted");
    let mixed = signer_of(renewed.token(), issued.session_key(&ring(), AUDIENCE).unwrap().into());
    assert_eq!(code(&rig.verify(&mixed).await), "invalid_signature", "the new token with the old key");
    rig.clock.advance(Duration::from_secs(300));
    let late = signed_by(&signer, NOW + 300, get("/me"));
    assert_eq!(code(&rig::verify(&rig.verifier, late).await), "invalid_token");
}

#[tokio::test]
async fn session_key_issues_no_tokens() {
    let rig = rig();
    let issued = rig.login().await;
    let request = rig.verify(&session_signer(&issued, &ring(), AUDIENCE)).await.unwrap();
    let error = rig.tokens.issue(caller(&request), NewToken::for_app()).await.unwrap_err();
    assert!(matches!(error, IssueError::NoAppKey), "{error}");
    assert_eq!(Rejection::from(error).kind().code(), "key_not_allowed");

    let request = rig.verify(&rig::signer_of(scheme())).await.unwrap();
    assert!(rig.tokens.issue(caller(&request), NewToken::for_app()).await.is_ok());
    assert!(rig.tokens.renew(caller(&request)).await.unwrap().is_none(), "there is no token to renew");
}

/// Keys that change: the first is the one that new sessions get.
fn changing(keys: &[&str]) -> (Arc<Mutex<KeyRing>>, impl Fn(&[&str]) -> KeyRing + Copy) {
    let ring_of = |keys: &[&str]| KeyRing::new(keys.iter().map(|key| Secret::new(*key).unwrap())).unwrap();
    (Arc::new(Mutex::new(ring_of(keys))), ring_of)
}

#[tokio::test]
async fn session_keys_survive_rotation_until_the_key_is_retired() {
    let (ring, ring_of) = changing(&[KEY]);
    let keys = {
        let ring = ring.clone();
        key_fn(move |_| {
            let ring = ring.lock().unwrap().clone();
            async move { Ok::<_, StoreError>(Some(App::from(ring))) }
        })
    };
    let clock = ManualClock::at(NOW - 3600);
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock.clone()).with_session_keys();
    let verifier = Verifier::new(keys).with_scheme(scheme()).with_tokens(tokens.clone()).with_clock(clock.clone());
    clock.advance(Duration::from_secs(3600));
    let new = || NewToken::for_user("u-17".parse().unwrap());
    let verify = async |signer: &Signer| code(&rig::verify(&verifier, signed_by(signer, NOW, get("/"))).await);

    let issued = tokens.issue_for(&"demo".parse().unwrap(), new()).await.unwrap();
    let old = session_signer(&issued, &ring_of(&[KEY]), AUDIENCE);
    for keys in [&[KEY][..], &[KEY, NEXT_KEY], &[NEXT_KEY, KEY]] {
        *ring.lock().unwrap() = ring_of(keys);
        assert_eq!(verify(&old).await, "accepted");
        let with_first = derived(keys[0], AUDIENCE, "demo", issued.token().expose());
        assert_eq!(verify(&signer_of(issued.token(), with_first)).await, "accepted");
        assert_eq!(verify(&session_signer(&issued, &ring_of(keys), AUDIENCE)).await, "accepted", "of the first key");
    }
    *ring.lock().unwrap() = ring_of(&[NEXT_KEY]);
    assert_eq!(verify(&old).await, "invalid_signature", "the key is retired");
    assert_eq!(verify(&session_signer(&issued, &ring_of(&[NEXT_KEY]), AUDIENCE)).await, "accepted");
}

#[tokio::test]
async fn expired_keys_derive_no_session_key() {
    let rig = rig();
    let issued = rig.login().await;
    let old = Key::from(rig::secret()).with_not_after(NOW - 1);
    assert!(issued.session_key(&KeyRing::new([old.clone()]).unwrap(), AUDIENCE).is_none());
    let ring = KeyRing::new([old, Key::from(Secret::new(NEXT_KEY).unwrap())]).unwrap();
    let expected = derived(NEXT_KEY, AUDIENCE, "demo", issued.token().expose());
    let [given, expected] =
        [issued.session_key(&ring, AUDIENCE).unwrap().into(), expected].map(|key| signer_of(issued.token(), key));
    let sign = |signer: &Signer| {
        let (mut parts, ()) = Request::get("/").body(()).unwrap().into_parts();
        let (timestamp, nonce) = ("1700000000".parse().unwrap(), "nonce-1".parse().unwrap());
        signer.sign_at(&mut parts, countersign::Payload::Bytes(b""), timestamp, nonce).unwrap();
        parts.headers["x-sign"].clone()
    };
    assert_eq!(sign(&given), sign(&expected));
}

/// Remembers whether each claim has an owner.
#[derive(Clone, Default)]
struct Owners(Arc<MemoryNonceStore>, Arc<Mutex<Vec<bool>>>);

impl NonceStore for Owners {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.1.lock().unwrap().push(claim.owner().is_some());
        self.0.claim(claim, retention).await
    }
}

#[tokio::test]
async fn nonces_of_a_session_key_count_for_its_user() {
    let nonces = Owners::default();
    let (verifier, clock) = rig::verifier_on(nonces.clone());
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock).with_session_keys();
    let verifier = verifier.with_scheme(scheme()).with_tokens(tokens.clone());
    let new = NewToken::for_user("u-17".parse().unwrap());
    let issued = tokens.issue_for(&"demo".parse().unwrap(), new).await.unwrap();
    let with_app_key = rig::signer_of(scheme()).with_token(issued.token().clone());
    for signer in [session_signer(&issued, &ring(), AUDIENCE), with_app_key] {
        rig::verify(&verifier, signed_by(&signer, NOW, get("/"))).await.unwrap();
    }
    assert_eq!(*nonces.1.lock().unwrap(), [true, false]);
}

#[tokio::test]
async fn explanation_of_a_session_key_shows_no_secret() {
    let (verifier, clock) = rig::verifier();
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock).with_session_keys();
    let verifier = verifier.with_scheme(scheme()).with_tokens(tokens.clone()).with_explanations();
    let new = NewToken::for_user("u-17".parse().unwrap());
    let issued = tokens.issue_for(&"demo".parse().unwrap(), new).await.unwrap();
    let wrong = signer_of(issued.token(), derived(NEXT_KEY, AUDIENCE, "demo", issued.token().expose()));
    let rejection = rig::verify(&verifier, signed_by(&wrong, NOW, get("/"))).await.unwrap_err();
    let string = rejection.string_to_sign().unwrap();
    assert!(string.contains("\n{token}\n{key}\n"), "{string}");
    assert!(!string.contains("session"), "there is one string for both kinds of keys: {string}");
}

/// Nonces that outlive the process, as in Redis.
#[derive(Clone, Default)]
struct Persistent(Owners);

impl NonceStore for Persistent {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.0.claim(claim, retention).await
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

/// An app's own request sends both commands at once. That of a session key claims no nonce once its session has ended.
#[tokio::test]
async fn ended_session_claims_no_nonce_in_a_shared_store() {
    let nonces = Persistent::default();
    let (verifier, clock) = rig::verifier_on(nonces.clone());
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock).with_session_keys();
    let verifier = verifier.with_scheme(scheme()).with_tokens(tokens.clone());
    let new = NewToken::for_user("u-17".parse().unwrap());
    let issued = tokens.issue_for(&"demo".parse().unwrap(), new).await.unwrap();
    let by_session_key = session_signer(&issued, &ring(), AUDIENCE);
    let by_app_key = rig::signer_of(scheme()).with_token(issued.token().clone());
    let claims = || nonces.0.1.lock().unwrap().len();
    for signer in [&by_session_key, &by_app_key] {
        let request = rig::verify(&verifier, signed_by(signer, NOW, get("/"))).await.unwrap();
        assert_eq!(caller(&request).session(), Some(issued.session()));
    }
    let repeated = signed_by(&by_app_key, NOW, get("/"));
    rig::verify(&verifier, repeated.clone()).await.unwrap();
    let rejection = rig::verify(&verifier, repeated.clone()).await.unwrap_err();
    assert_eq!((rejection.kind().code(), claims()), ("replayed_nonce", 4));

    tokens.end(issued.session()).await.unwrap();
    for (request, claimed) in [
        (signed_by(&by_session_key, NOW, get("/")), 4),
        (signed_by(&by_app_key, NOW, get("/")), 5),
        // The token is judged before the nonce.
        (repeated, 6),
    ] {
        let rejection = rig::verify(&verifier, request).await.unwrap_err();
        assert_eq!((rejection.kind().code(), claims()), ("invalid_token", claimed));
    }
}
