//! Step 7: a link with a grant works while the grant is live.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use bytes::Bytes;
use countersign::{
    AppId, Caller, GrantToken, Nonce, Rejection, Scheme, Secret, SignErrorKind, Signer, StaticKeys, Token,
    TokenLocation, Verifier,
    clock::ManualClock,
    server::{Links, ServiceBody},
    store::StoreError,
    token::{CheckedToken, Grant, IssuedGrant, NewToken, Owner, TokenCheck, Tokens},
};
use http::{Request, Response};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use super::{HOUR, Shared, code, open, presigned, verifier};
use crate::{
    rig::{self, NOW},
    tokens::Watched,
};

struct Rig {
    store: Watched,
    tokens: Tokens,
    verifier: Verifier<StaticKeys, Shared>,
    clock: ManualClock,
}

fn rig_of(fails: Option<&'static str>) -> Rig {
    let (verifier, clock) = verifier();
    let store = Watched::new(fails);
    let tokens = Tokens::new(store.clone()).with_clock(clock.clone());
    Rig { verifier: verifier.with_tokens(tokens.clone()), store, tokens, clock }
}

fn owner() -> Owner {
    Owner::User("u-17".parse().unwrap())
}

impl Rig {
    /// A grant of a user's session in this app, for half an hour.
    async fn grant(&self, app: &str) -> IssuedGrant {
        let new = NewToken::for_user("u-17".parse().unwrap());
        let login = self.tokens.issue_for(&app.parse().unwrap(), new).await.unwrap();
        self.tokens.grant(login.session(), HOUR / 2).await.unwrap()
    }

    async fn refused(&self, link: &str) -> Rejection {
        open(&self.verifier, link).await.unwrap_err()
    }
}

/// A link for an hour, which is longer than the grant lives.
fn link(grant: &GrantToken) -> String {
    link_by(&rig::signer(), grant, None)
}

fn link_by(signer: &Signer, grant: &GrantToken, nonce: Option<Nonce>) -> String {
    presigned(signer, "/a?b=1").with_grant(grant, u64::MAX).sign_at(NOW.try_into().unwrap(), nonce).unwrap().to_string()
}

fn grant_of(request: &Request<ServiceBody>) -> Option<&Grant> {
    request.extensions().get::<Caller>().unwrap().link().unwrap().grant()
}

#[tokio::test]
async fn link_works_until_its_grant_ends() {
    let rig = rig_of(None);
    let grant = rig.grant("demo").await;
    let link = link(grant.token());
    let opened = open(&rig.verifier, &link).await.unwrap();
    assert_eq!(opened.uri(), "/a?b=1");
    assert_eq!(grant_of(&opened), Some(grant.grant()));
    assert_eq!(grant_of(&opened).unwrap().owner(), &owner());
    let caller = opened.extensions().get::<Caller>().unwrap();
    assert!(caller.user().is_none() && caller.session().is_none(), "the caller is not the user");
    rig.clock.advance(HOUR / 2 - Duration::from_secs(1));
    assert_eq!(code(&rig.verifier, &link).await, "accepted");
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(code(&rig.verifier, &link).await, "invalid_token");
    assert_eq!(grant_of(&open(&rig.verifier, &super::link("/a")).await.unwrap()), None);
}

#[tokio::test]
async fn each_end_of_a_grant_ends_its_links() {
    let rig = rig_of(None);
    let (first, second, third) = (rig.grant("demo").await, rig.grant("demo").await, rig.grant("demo").await);
    let links = [&first, &second, &third].map(|grant| link(grant.token()));
    let codes = async || [code(&rig.verifier, &links[0]).await, code(&rig.verifier, &links[1]).await];
    rig.tokens.end_grant(&owner(), first.grant().id()).await.unwrap();
    assert_eq!(codes().await, ["invalid_token", "accepted"]);
    for session in rig.tokens.sessions(&owner()).await.unwrap() {
        rig.tokens.end(&session).await.unwrap();
    }
    assert_eq!(codes().await, ["invalid_token", "accepted"], "a logout ends no link");
    rig.tokens.end_all_of(&owner(), &"other".parse().unwrap()).await.unwrap();
    assert_eq!(codes().await, ["invalid_token", "accepted"]);
    rig.tokens.end_all(&owner()).await.unwrap();
    assert_eq!(codes().await, ["invalid_token", "invalid_token"]);
    assert_eq!(code(&rig.verifier, &links[2]).await, "invalid_token");
    assert_eq!(
        code(&rig.verifier, &super::link("/a")).await,
        "accepted",
        "a link without a grant has no end but its own"
    );
}

#[tokio::test]
async fn unusable_grants_get_one_response() {
    let mut rig = rig_of(None);
    rig.verifier = rig.verifier.with_scheme(Scheme::new().with_token_location(TokenLocation::Bearer).unwrap());
    let (ended, elsewhere) = (rig.grant("demo").await, rig.grant("other").await);
    rig.tokens.end_grant(&owner(), ended.grant().id()).await.unwrap();
    let live = rig.grant("demo").await;
    // The same owner and another random part, and the grant of a user whom the store does not know.
    let mut text = live.token().expose().to_owned();
    text.replace_range(28..32, "AAAA");
    let unknown: GrantToken = text.parse().unwrap();
    text.replace_range(5..9, "AAAA");
    let other_owner: GrantToken = text.parse().unwrap();
    let mut bodies = Vec::new();
    for grant in [ended.token(), elsewhere.token(), &unknown, &other_owner] {
        let rejection = rig.refused(&link(grant)).await;
        assert_eq!((rejection.kind().code(), rejection.reason()), ("invalid_token", None));
        let response = rejection.to_response();
        let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
        assert_eq!(challenges, ["CS1-HMAC-SHA256 error=\"invalid_token\""], "a link has no challenge for a token");
        bodies.push(format!("{:?} {:?}", response.headers(), response.body()));
    }
    bodies.dedup();
    assert_eq!(bodies.len(), 1, "{bodies:#?}");
    assert_eq!(code(&rig.verifier, &link(live.token())).await, "accepted");
    // The app that the grant was issued to signs with another key.
    let other = Secret::new("ffffffffffffffffffffffffffffffff").unwrap();
    let other = Signer::new("other".parse().unwrap(), other);
    assert_eq!(code(&rig.verifier, &link_by(&other, elsewhere.token(), None)).await, "accepted");
    assert_eq!(code(&rig.verifier, &link_by(&other, live.token(), None)).await, "invalid_token");
}

#[tokio::test]
async fn grant_is_checked_after_the_signature() {
    let rig = rig_of(None);
    let grant = rig.grant("demo").await;
    let link = link(grant.token());
    let before = rig.store.finds.load(SeqCst);
    let changed = link.replace("b=1", "b=2");
    assert_eq!(code(&rig.verifier, &changed).await, "invalid_signature");
    let replaced = link.replace(grant.token().expose(), rig.grant("demo").await.token().expose());
    assert_eq!(code(&rig.verifier, &replaced).await, "invalid_signature");
    for malformed in ["", "x", "cs1__ZsmG9nQdoMiZp_CiPbFPg_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"] {
        let rejection = rig.refused(&link.replace(grant.token().expose(), malformed)).await;
        assert_eq!((rejection.kind().code(), rejection.field()), ("malformed_field", Some("grant")));
    }
    assert_eq!(rig.store.finds.load(SeqCst), before, "the store is not asked");
    assert_eq!(code(&rig.verifier, &link).await, "accepted");
    assert_eq!(rig.store.finds.load(SeqCst), before + 1);
}

#[tokio::test]
async fn ended_grant_spends_no_one_time_link() {
    let rig = rig_of(None);
    let (ended, live) = (rig.grant("demo").await, rig.grant("demo").await);
    rig.tokens.end_grant(&owner(), ended.grant().id()).await.unwrap();
    let nonce = rig::fresh_nonce();
    let link = |grant: &IssuedGrant| link_by(&rig::signer(), grant.token(), Some(nonce.clone()));
    assert_eq!(code(&rig.verifier, &link(&ended)).await, "invalid_token");
    assert_eq!(code(&rig.verifier, &link(&live)).await, "accepted", "the nonce was not used");
    assert_eq!(code(&rig.verifier, &link(&live)).await, "replayed_nonce");
}

#[tokio::test]
async fn failing_store_lets_no_link_in() {
    let rig = rig_of(Some("find"));
    let link = link(rig.grant("demo").await.token());
    assert_eq!(code(&rig.verifier, &link).await, "unavailable");
    assert_eq!(code(&rig.verifier, &super::link("/a")).await, "accepted", "other links need no store");
}

struct OtherTokens;

impl TokenCheck for OtherTokens {
    async fn check(&self, _: &AppId, _: &Token) -> Result<Option<CheckedToken>, StoreError> {
        Ok(Some(CheckedToken::new("u-17".parse().unwrap())))
    }
}

#[tokio::test]
async fn link_with_a_grant_needs_a_token_store() {
    let link = link(rig_of(None).grant("demo").await.token());
    let (verifier, _) = verifier();
    let other = verifier.clone().with_token_check(OtherTokens);
    for verifier in [verifier, other] {
        assert_eq!(code(&verifier, &link).await, "misconfigured");
        assert_eq!(code(&verifier, &link.replace("b=1", "b=2")).await, "invalid_signature");
        assert_eq!(code(&verifier, &super::link("/a")).await, "accepted");
    }
}

#[tokio::test]
async fn response_to_a_link_with_a_grant_is_not_cached() {
    let rig = rig_of(None);
    let grant = rig.grant("demo").await;
    let service = service_fn(|_: Request<ServiceBody>| async {
        Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::new())))
    });
    let layer = rig.verifier.with_links(Links::new().cacheable()).into_layer();
    let cached = async |link: &str| {
        let response = layer.layer(service).oneshot(rig::incoming(rig::get(link))).await.unwrap();
        response.headers()["cache-control"].to_str().unwrap().to_owned()
    };
    assert_eq!(cached(&link(grant.token())).await, "private, no-store");
    assert_eq!(cached(&super::link("/a")).await, "private, max-age=3600, must-revalidate");
}

#[test]
fn link_does_not_outlive_its_grant() {
    let grant: GrantToken = "cs1g__ZsmG9nQdoMiZp_CiPbFPg_QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8".parse().unwrap();
    let signer = rig::signer();
    let presign = |end| presigned(&signer, "/a").with_grant(&grant, end).sign_at(NOW.try_into().unwrap(), None);
    assert!(presign(NOW + 3600).is_ok());
    let error = presign(NOW + 3599).unwrap_err();
    assert_eq!(error.kind(), SignErrorKind::Malformed);
    assert!(error.to_string().contains("grant"), "{error}");
}
