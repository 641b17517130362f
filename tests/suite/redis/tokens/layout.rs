//! What the store keeps in Redis, for how long, and what it does with values that it cannot read.

use std::{collections::HashMap, time::Duration};

use countersign::{
    clock::ManualClock,
    store::{Found, Which},
    token::{IssueError, SessionLimit},
};

use super::*;

type Fields = HashMap<Vec<u8>, Vec<u8>>;

fn only_key(server: &RedisServer) -> String {
    let keys: Vec<String> = server.command(&["KEYS", "*"]);
    assert_eq!(keys.len(), 1, "{keys:?}");
    keys.into_iter().next().unwrap()
}

fn fields(server: &RedisServer) -> Fields {
    server.command(&["HGETALL", &only_key(server)])
}

/// Seconds until the key of the only owner expires.
fn ttl(server: &RedisServer) -> i64 {
    server.command::<i64>(&["PTTL", &only_key(server)]) / 1000
}

fn contains(value: &[u8], text: &[u8]) -> bool {
    value.windows(text.len()).any(|window| window == text)
}

#[tokio::test]
async fn owner_is_one_key_without_secrets() {
    let server = RedisServer::start();
    let tokens = Tokens::new(token_store(&server));
    let first = tokens.issue_for(&demo(), user("u-17")).await.unwrap();
    let renewed = tokens.renew_for(&demo(), first.token()).await.unwrap().unwrap();
    tokens.issue_for(&"other".parse().unwrap(), user("u-17")).await.unwrap();
    let id = owner_key().id().map(|byte| format!("{byte:02x}")).concat();
    assert_eq!(only_key(&server), format!("cs1:s:{id}:{}", &first.token().expose()[4..26]));
    let fields = fields(&server);
    assert_eq!(fields.len(), 3 + 1, "three tokens and the sequence");
    for issued in [&first, &renewed] {
        assert!(fields.contains_key(&reference(issued).digest()[..]));
        let random = &issued.token().expose().as_bytes()[27..];
        assert!(!fields.iter().any(|(field, value)| contains(field, random) || contains(value, random)));
    }
    assert!(fields.values().any(|value| contains(value, b"\x04u-17")), "the search above finds texts");
}

#[tokio::test]
async fn grants_are_in_a_key_of_their_own() {
    let server = RedisServer::start();
    let tokens = Tokens::new(token_store(&server)).with_clock(ManualClock::at(NOW)).with_max_grants(2);
    let login = tokens.issue_for(&demo(), user("u-17")).await.unwrap();
    let grant = tokens.grant(login.session(), Duration::from_secs(3600)).await.unwrap();
    let id = owner_key().id().map(|byte| format!("{byte:02x}")).concat();
    let mut keys: Vec<String> = server.command(&["KEYS", "*"]);
    keys.sort();
    let tag = &grant.token().expose()[5..27];
    assert_eq!(keys, [format!("cs1:g:{id}:{tag}"), format!("cs1:s:{id}:{tag}")]);
    let fields: Fields = server.command(&["HGETALL", &keys[0]]);
    assert_eq!(fields.len(), 1 + 1, "the grant and the sequence");
    assert!(fields.contains_key(&TokenRef::of_grant(grant.token()).digest()[..]));
    let random = &grant.token().expose().as_bytes()[28..];
    assert!(!fields.iter().any(|(field, value)| contains(field, random) || contains(value, random)));
    let ttl = server.command::<i64>(&["PTTL", &keys[0]]) / 1000;
    assert!((3655..=3660).contains(&ttl), "{ttl}");
    // Grants that end leave no reasons, so a loop does not fill the hash.
    for _ in 0..100 {
        let next = tokens.grant(login.session(), Duration::from_secs(3600)).await.unwrap();
        assert!(tokens.end_grant(&owner("u-17"), next.grant().id()).await.unwrap());
    }
    assert_eq!(server.command::<Fields>(&["HGETALL", &keys[0]]).len(), 1 + 1);
    tokens.end_all(&owner("u-17")).await.unwrap();
    assert_eq!(server.command::<Vec<String>>(&["KEYS", "cs1:g:*"]).len(), 0, "nothing is left of the grants");
}

#[tokio::test]
async fn another_owner_key_or_prefix_finds_nothing() {
    let server = RedisServer::start();
    let issued = Tokens::new(token_store(&server)).issue_for(&demo(), user("u-1")).await.unwrap();
    let other_key = OwnerKey::new(*b"another secret of it").unwrap();
    let others = [RedisTokenStore::new(server.client(), other_key), token_store(&server).with_key_prefix("other:")];
    for other in others.map(Tokens::new) {
        assert!(!is_live(&other, &issued).await);
        assert!(other.renew_for(&demo(), issued.token()).await.unwrap().is_none());
        assert_eq!(other.end_all(&owner("u-1")).await.unwrap(), 0);
    }
    let nonces = RedisNonceStore::new(server.client()).with_key_prefix("orders:");
    let sharing = Tokens::new(RedisTokenStore::sharing(&nonces, owner_key()));
    sharing.issue_for(&demo(), user("u-1")).await.unwrap();
    let keys: Vec<String> = server.command(&["KEYS", "orders:s:*"]);
    assert_eq!(keys.len(), 1, "a shared store has the prefix of the nonces");
}

#[tokio::test]
async fn key_expires_after_its_latest_end() {
    let server = RedisServer::start();
    let clock = ManualClock::at(NOW);
    let tokens = Tokens::new(token_store(&server)).with_clock(clock).with_end_reasons(Duration::from_secs(50_000));
    let issue = async |seconds| {
        let new = user("u-1").with_lifetime(Duration::from_secs(seconds));
        tokens.issue_for(&demo(), new).await.unwrap()
    };
    issue(1000).await;
    assert!((1055..=1060).contains(&ttl(&server)), "{}", ttl(&server));
    issue(9000).await;
    assert!((9055..=9060).contains(&ttl(&server)), "{}", ttl(&server));
    let short = issue(100).await;
    assert!((9055..=9060).contains(&ttl(&server)), "a shorter one shortens nothing: {}", ttl(&server));
    tokens.renew_for(&demo(), short.token()).await.unwrap().unwrap();
    assert!((9055..=9060).contains(&ttl(&server)), "{}", ttl(&server));
    tokens.end(short.session()).await.unwrap();
    assert!((50_055..=50_060).contains(&ttl(&server)), "reasons count: {}", ttl(&server));
    let forgetful = Tokens::new(token_store(&server)).with_clock(ManualClock::at(NOW + 60_000));
    forgetful.end_all(&owner("u-1")).await.unwrap();
    assert_eq!(server.command::<u64>(&["DBSIZE"]), 0, "nothing is left of the owner");
}

#[tokio::test]
async fn ends_beyond_all_times_are_kept() {
    let server = RedisServer::start();
    let store = token_store(&server);
    let tokens = Tokens::new(store.clone()).with_lifetime(Duration::MAX).with_session_lifetime(Duration::MAX);
    let tokens = tokens.with_idle_timeout(Duration::MAX).with_renewal_overlap(Duration::MAX);
    let issued = tokens.issue_for(&demo(), user("u-1")).await.unwrap();
    assert_eq!(issued.session().expires_at(), u64::MAX);
    assert_eq!(tokens.check(&demo(), issued.token()).await.unwrap().as_ref(), Some(issued.session()));
    store.touch(&reference(&issued), NOW, Some(u64::MAX)).await.unwrap();
    let renewed = tokens.renew_for(&demo(), issued.token()).await.unwrap().unwrap();
    store.touch(&reference(&renewed), NOW, Some(u64::MAX)).await.unwrap();
    assert!(is_live(&tokens, &issued).await && is_live(&tokens, &renewed).await);
    assert_eq!(tokens.sessions(&owner("u-1")).await.unwrap(), [renewed.session().clone()]);
    assert!(ttl(&server) > 1_000_000_000);
}

#[tokio::test]
async fn values_of_another_release_are_errors() {
    let server = RedisServer::start();
    let store = token_store(&server);
    let tokens = Tokens::new(store.clone());
    let issued = tokens.issue_for(&demo(), user("u-1")).await.unwrap();
    let at = reference(&issued);
    let value = fields(&server)[&at.digest()[..]].clone();
    let mut newer = value.clone();
    newer[1] = 2;
    let set = |value: &[u8]| {
        let mut set = redis::cmd("HSET");
        set.arg(only_key(&server)).arg(at.digest()).arg(value);
        set.exec(&mut server.client().get_connection().unwrap()).unwrap();
    };
    set(&value[..40]);
    assert!(store.find(&at, NOW).await.is_err());
    for unreadable in [&newer[..], b"X", b""] {
        set(unreadable);
        let errors = [
            store.find(&at, NOW).await.map(drop).unwrap_err(),
            store.take(&at, NOW).await.map(drop).unwrap_err(),
            store.touch(&at, NOW, Some(NOW)).await.map(drop).unwrap_err(),
            store.list(at.owner(), RecordKind::Session, NOW).await.map(drop).unwrap_err(),
            store
                .end(at.owner(), RecordKind::Session, Which::One(issued.session().id()), 0, NOW)
                .await
                .map(drop)
                .unwrap_err(),
            tokens.issue_for(&demo(), user("u-1")).await.map(drop).map_err(StoreError::new).unwrap_err(),
        ];
        for (n, error) in errors.iter().enumerate() {
            assert!(format!("{error:?}").contains("Unreadable"), "{n}: {error:?}");
        }
    }
    // All are ended, also those that nobody can read.
    tokens.end_all(&owner("u-1")).await.unwrap();
    assert!(matches!(store.find(&at, NOW).await.unwrap(), Found::Unknown));
}

#[tokio::test]
async fn evicted_owner_is_logged_out_wholly() {
    let server = RedisServer::start();
    let tokens = Tokens::new(token_store(&server));
    let mut issued = Vec::new();
    for _ in 0..3 {
        issued.push(tokens.issue_for(&demo(), user("u-1")).await.unwrap());
    }
    issued.push(tokens.renew_for(&demo(), issued[0].token()).await.unwrap().unwrap());
    server.command::<()>(&["DEL", &only_key(&server)]);
    assert!(tokens.renew_for(&demo(), issued[1].token()).await.unwrap().is_none(), "nothing comes back");
    let later = tokens.issue_for(&demo(), user("u-1")).await.unwrap();
    assert_eq!(tokens.end_all(&owner("u-1")).await.unwrap(), 1);
    for issued in issued.iter().chain([&later]) {
        assert!(!is_live(&tokens, issued).await);
    }
}

#[tokio::test]
async fn loops_of_logins_and_renewals_do_not_grow_the_hash() {
    let server = RedisServer::start();
    let store = token_store(&server);
    let tokens = Tokens::new(store.clone()).with_end_reasons(Duration::from_secs(3600));
    let tokens = tokens.with_limit(SessionLimit::NewestWins(1)).with_renewal_overlap(Duration::ZERO);
    for _ in 0..100 {
        tokens.issue_for(&demo(), user("u-1")).await.unwrap();
    }
    assert_eq!(fields(&server).len(), 1 + 1 + 64, "the sequence, the session, and the newest that ended");
    let mut issued = tokens.issue_for(&demo(), user("u-1")).await.unwrap();
    for _ in 0..100 {
        issued = tokens.renew_for(&demo(), issued.token()).await.unwrap().unwrap();
        let now = issued.session().seen_at();
        store.touch(&reference(&issued), now, None).await.unwrap();
    }
    let count = fields(&server).len();
    assert!(count <= 1 + 1 + 64 + 8, "{count} fields");
}

#[tokio::test]
async fn app_has_at_most_a_thousand_tokens() {
    let server = RedisServer::start();
    let clock = ManualClock::at(NOW);
    let tokens = Tokens::new(token_store(&server)).with_clock(clock.clone());
    let issue = async || tokens.issue_for(&demo(), NewToken::for_app()).await;
    let first = issue().await.unwrap();
    for _ in 1..1000 {
        issue().await.unwrap();
    }
    assert!(matches!(issue().await, Err(IssueError::TooManySessions)), "all are live");
    tokens.end(first.session()).await.unwrap();
    issue().await.unwrap();
    assert!(matches!(issue().await, Err(IssueError::TooManySessions)));
    // Each attempt finds room where a few tokens have ended long ago.
    clock.advance(Duration::from_secs(7200 + 60));
    for _ in 0..100 {
        issue().await.unwrap();
    }
    assert_eq!(tokens.sessions(&demo().into()).await.unwrap().len(), 100);
    assert!(fields(&server).len() <= 1001);
}
