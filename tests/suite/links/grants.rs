//! Links with a grant: they end with it.

use std::time::Duration;

use countersign::{
    Caller, GrantToken, SignErrorKind, Signer, StaticKeys, Verifier,
    clock::ManualClock,
    server::Links,
    store::MemoryTokenStore,
    token::{IssuedGrant, NewToken, Session, Tokens},
};

use super::{HOUR, Shared, code, open};
use crate::{
    rig::{self, NOW},
    tokens::Watched,
};

struct Rig {
    verifier: Verifier<StaticKeys, Shared>,
    tokens: Tokens,
    clock: ManualClock,
}

fn rig() -> Rig {
    let (verifier, clock) = super::verifier();
    let tokens = Tokens::new(MemoryTokenStore::new().unwrap()).with_clock(clock.clone());
    Rig { verifier: verifier.with_tokens(tokens.clone()), tokens, clock }
}

impl Rig {
    async fn session(&self, app: &str) -> Session {
        let user = NewToken::for_user("u-17".parse().unwrap());
        self.tokens.issue_for(&app.parse().unwrap(), user).await.unwrap().session().clone()
    }

    async fn grant(&self, app: &str) -> IssuedGrant {
        self.tokens.grant(&self.session(app).await, HOUR).await.unwrap()
    }
}

/// A link for an hour, with this grant.
fn link(grant: &IssuedGrant) -> String {
    link_with(&rig::signer(), grant.token())
}

fn link_with(signer: &Signer, grant: &GrantToken) -> String {
    let uri = "/orders/17".parse().unwrap();
    let presign = signer.presign(&uri, HOUR).with_grant(grant, NOW + 3600);
    presign.sign_at(NOW.try_into().unwrap(), None).unwrap().to_string()
}

#[tokio::test]
async fn link_works_while_its_grant_lives() {
    let rig = rig();
    let grant = rig.grant("demo").await;
    let opened = open(&rig.verifier, &link(&grant)).await.unwrap();
    assert_eq!(opened.uri(), "/orders/17");
    let caller = opened.extensions().get::<Caller>().unwrap();
    let found = caller.link().unwrap().grant().unwrap();
    assert_eq!((found.id(), found.user().unwrap().as_str()), (grant.grant().id(), "u-17"));
    // The caller is not the user.
    assert!(caller.user().is_none() && caller.session().is_none());
    assert!(rig.tokens.end_grant(grant.grant().owner(), grant.grant().id()).await.unwrap());
    let rejection = open(&rig.verifier, &link(&grant)).await.unwrap_err();
    assert_eq!((rejection.kind().code(), rejection.reason()), ("invalid_token", None));
}

#[tokio::test]
async fn link_ends_with_all_sessions_of_its_user() {
    let rig = rig();
    let session = rig.session("demo").await;
    let grant = rig.tokens.grant(&session, HOUR).await.unwrap();
    rig.tokens.end(&session).await.unwrap();
    assert_eq!(code(&rig.verifier, &link(&grant)).await, "accepted", "after a logout");
    rig.tokens.end_all(session.owner()).await.unwrap();
    assert_eq!(code(&rig.verifier, &link(&grant)).await, "invalid_token", "after all sessions ended");
}

#[tokio::test]
async fn only_a_live_grant_of_the_app_that_signed_counts() {
    let rig = rig();
    let other = rig.grant("other").await;
    assert_eq!(code(&rig.verifier, &link(&other)).await, "invalid_token", "of another app");
    let elsewhere = self::rig().grant("demo").await;
    assert_eq!(code(&rig.verifier, &link(&elsewhere)).await, "invalid_token", "of another store");
    let expired = rig.grant("demo").await;
    let whole = link(&expired);
    let short = rig.tokens.grant(&rig.session("demo").await, Duration::from_secs(10)).await.unwrap();
    rig.clock.advance(Duration::from_secs(10));
    assert_eq!(code(&rig.verifier, &link(&short)).await, "invalid_token", "that has ended");
    assert_eq!(code(&rig.verifier, &whole).await, "accepted");
    let replaced = whole.replace(expired.token().expose(), rig.grant("demo").await.token().expose());
    assert_eq!(code(&rig.verifier, &replaced).await, "invalid_signature", "that was not signed");
}

#[tokio::test]
async fn malformed_grant_asks_no_store() {
    let (verifier, _) = super::verifier();
    let verifier = verifier.with_tokens(Tokens::new(Watched::new(Some("find"))));
    let grant: GrantToken = "cs1g__ZsmG9nQdoMiZp_CiPbFPg_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8".parse().unwrap();
    let link = link_with(&rig::signer(), &grant);
    assert_eq!(code(&verifier, &link).await, "unavailable");
    for grant in ["x", "", "cs1__ZsmG9nQdoMiZp_CiPbFPg_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"] {
        let malformed = link.replace("cs1g__ZsmG9nQdoMiZp_CiPbFPg_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8", grant);
        let rejection = open(&verifier, &malformed).await.unwrap_err();
        assert_eq!((rejection.kind().code(), rejection.field()), ("malformed_field", Some("grant")), "{grant}");
    }
    // A link without a grant asks no token store.
    assert_eq!(code(&verifier, &super::link("/a")).await, "accepted");
}

#[tokio::test]
async fn grant_without_a_token_store_is_misconfigured() {
    let grant = rig().grant("demo").await;
    let (verifier, _) = super::verifier();
    assert_eq!(code(&verifier, &link(&grant)).await, "misconfigured");
    assert_eq!(code(&verifier, &link(&grant).replace("17?", "18?")).await, "invalid_signature");
}

#[tokio::test]
async fn one_time_link_with_an_ended_grant_stays_unused() {
    let rig = rig();
    let grant = rig.grant("demo").await;
    let uri = "/a".parse().unwrap();
    let signer = rig::signer();
    let presign = signer.presign(&uri, HOUR).with_grant(grant.token(), NOW + 3600);
    let link = presign.sign_at(NOW.try_into().unwrap(), Some(rig::fresh_nonce())).unwrap().to_string();
    let without_tokens = Verifier::new(rig::keys()).with_clock(rig.clock.clone()).with_links(Links::new());
    let without_tokens = without_tokens.with_nonces(Shared::default());
    assert_eq!(code(&without_tokens, &link).await, "misconfigured");
    assert_eq!(code(&rig.verifier, &link).await, "accepted");
}

#[tokio::test]
async fn response_to_a_link_with_a_grant_is_never_kept() {
    let rig = rig();
    let grant = rig.grant("demo").await;
    let layer = rig.verifier.with_links(Links::new().cacheable()).into_layer();
    let service = tower::service_fn(|_: http::Request<countersign::server::ServiceBody>| async {
        let response = http::Response::builder().header("cache-control", "max-age=60");
        Ok::<_, std::convert::Infallible>(response.body(http_body_util::Full::new(bytes::Bytes::new())).unwrap())
    });
    let request = rig::incoming(rig::get(&link(&grant)));
    let response = tower::ServiceExt::oneshot(tower::Layer::layer(&layer, service), request).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "private, no-store");
}

#[test]
fn link_does_not_outlive_its_grant() {
    let grant: GrantToken = "cs1g__ZsmG9nQdoMiZp_CiPbFPg_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8".parse().unwrap();
    let (signer, uri) = (rig::signer(), "/a".parse().unwrap());
    let presign = |end| signer.presign(&uri, HOUR).with_grant(&grant, end).sign_at(NOW.try_into().unwrap(), None);
    assert!(presign(NOW + 3600).is_ok());
    let error = presign(NOW + 3599).unwrap_err();
    assert_eq!(error.kind(), SignErrorKind::Malformed);
    assert!(error.to_string().contains("grant"), "{error}");
}
