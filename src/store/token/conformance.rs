//! The conformance tests for token stores. Each function names the point of the contract that it checks.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Barrier, task::JoinSet, time::timeout};

use super::{
    contract::TokenStore,
    record::{
        EndReason, Found, Offer, Placed, Record, Renewed, Room, SessionId, SessionLimit, TokenKind, Touched, Which,
    },
};
use crate::{
    protocol::{
        AppId,
        token::{Owner, OwnerTag, RenewalSeed, Subject, TokenRef},
    },
    store::StoreError,
};

const NOW: u64 = 1_700_000_000;
const END: u64 = NOW + 7200;

/// The number of concurrent callers in races.
const RACERS: usize = 64;

/// The deadline for a call.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tests a token store against its [contract](TokenStore#contract). `new` creates an empty store each time.
///
/// # Panics
///
/// The store breaks the contract.
pub async fn token_store<S: TokenStore>(new: impl Fn() -> S) {
    a_token_is_found_to_its_last_second(&new()).await;
    unknown_tokens_are_not_found(&new()).await;
    owners_do_not_meet(&new()).await;
    limit_ends_the_oldest(&new()).await;
    limit_refuses(&new()).await;
    limit_counts_apps_and_devices_apart(&new()).await;
    max_counts_all_kinds_of_one_app(&new()).await;
    ended_tokens_are_not_found(&new()).await;
    ends_are_selected(&new()).await;
    reasons_are_remembered(&new()).await;
    a_one_time_token_is_taken_once(&new()).await;
    only_live_tokens_are_taken_or_touched(&new()).await;
    touch_moves_the_idle_end_forwards(&new()).await;
    renewal_has_one_successor(&new()).await;
    overlap_begins_with_the_first_use(&new()).await;
    renewals_are_limited(&new()).await;
    ended_sessions_have_no_successor(&new()).await;
    one_time_tokens_are_not_renewed(&new()).await;
    races_have_one_result(|| Arc::new(new())).await;
}

/// Tests the behavior of a full token store. `new` creates an empty store with room for this many records.
///
/// # Panics
///
/// The store breaks the contract.
pub async fn bounded_token_store<S: TokenStore>(new: impl Fn(usize) -> S) {
    let store = new(10);
    for n in 0..10 {
        let owner = user(&format!("u-{n}"));
        assert_eq!(put(&store, &owner, n, |_| {}).await, Placed::Done { ended: 0 }, "there is room for 10 records");
    }
    let (at, record) = token(&store, &user("another"), 99);
    assert!(call(store.put(&at, &record, ROOM, NOW)).await.is_err(), "a full store took another record");
    for n in 0..10 {
        let (at, _) = token(&store, &user(&format!("u-{n}")), n);
        assert!(is_live(&store, &at, NOW).await, "a full store dropped a live record");
    }
    let later = END + 61;
    let record = Record { expires_at: later + 10, session_expires_at: later + 10, ..record };
    let placed = answer(store.put(&at, &record, ROOM, later)).await;
    assert_eq!(placed, Placed::Done { ended: 0 }, "expired records make room");
}

const ROOM: Room = Room { limit: None, max: 1000, remember: 0 };

async fn a_token_is_found_to_its_last_second(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |_| {}).await;
    put(store, &owner, 2, |record| record.session_expires_at = NOW + 10).await;
    put(store, &owner, 3, |record| record.idle_until = Some(NOW + 5)).await;
    for (n, end) in [(1, END), (2, NOW + 10), (3, NOW + 5)] {
        let (at, record) = token(store, &owner, n);
        for now in [NOW, end - 1] {
            match find(store, &at, now).await {
                Found::Live { record: found, seed: None, is_unused_successor: false } => {
                    assert_eq!(
                        (found.id, found.owner, found.app_id),
                        (record.id, record.owner.clone(), record.app_id.clone())
                    );
                }
                other => panic!("token {n} was not live {} s before its end: {other:?}", end - now),
            }
        }
        assert!(!is_live(store, &at, end).await, "token {n} was live at its end");
    }
}

async fn unknown_tokens_are_not_found(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |_| {}).await;
    let (at, _) = token(store, &owner, 2);
    assert!(matches!(find(store, &at, NOW).await, Found::Unknown), "a token that was never put was found");
    let other = TokenRef::new(store.owner_key().tag(&user("u-2")), *token(store, &owner, 1).0.digest());
    assert!(matches!(find(store, &other, NOW).await, Found::Unknown), "a token was found under another owner");
    assert!(!answer(store.take(&at, NOW)).await, "a token that was never put was taken");
    assert_eq!(answer(store.touch(&at, NOW, None)).await, Touched::Gone);
}

async fn owners_do_not_meet(store: &impl TokenStore) {
    let owners = [user("a"), Owner::App(app("a")), user("app\na"), user("aa")];
    for (n, owner) in owners.iter().enumerate() {
        put(store, owner, n, |_| {}).await;
    }
    for owner in &owners {
        assert_eq!(list(store, owner, NOW).await.len(), 1, "{owner:?} has another owner's session");
    }
    assert_eq!(end(store, &owners[0], Which::All, 0).await, 1);
    for owner in &owners[1..] {
        assert_eq!(list(store, owner, NOW).await.len(), 1, "the session of {owner:?} was ended with another owner's");
    }
}

async fn limit_ends_the_oldest(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::NewestWins(2)), ..ROOM };
    let mut ended = Vec::new();
    for n in 0..4 {
        let (at, record) = token(store, &owner, n);
        // Clocks of machines differ: the later session has the earlier time.
        let record = Record { issued_at: NOW - n as u64, ..record };
        ended.push(answer(store.put(&at, &record, room, NOW)).await);
    }
    assert_eq!(ended, [0, 0, 1, 1].map(|ended| Placed::Done { ended }), "the newest 2 sessions win");
    for (n, expected) in [(0, false), (1, false), (2, true), (3, true)] {
        assert_eq!(is_live(store, &token(store, &owner, n).0, NOW).await, expected, "session {n} of 4");
    }
}

async fn limit_refuses(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::Refuse(2)), ..ROOM };
    for (n, placed) in [(0, Placed::Done { ended: 0 }), (1, Placed::Done { ended: 0 }), (2, Placed::Refused)] {
        let (at, record) = token(store, &owner, n);
        assert_eq!(answer(store.put(&at, &record, room, NOW)).await, placed, "session {n} of at most 2");
    }
    assert!(!is_live(store, &token(store, &owner, 2).0, NOW).await, "a refused session is live");
    assert_eq!(list(store, &owner, NOW).await.len(), 2);
    let (at, record) = token(store, &owner, 3);
    let record = Record { expires_at: END + 100, session_expires_at: END + 100, ..record };
    let placed = answer(store.put(&at, &record, room, END)).await;
    assert_eq!(placed, Placed::Done { ended: 0 }, "expired sessions do not count");
}

async fn limit_counts_apps_and_devices_apart(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::NewestWins(1)), ..ROOM };
    let devices = [None, Some("web"), Some("phone")];
    let mut n = 0;
    for app_id in ["demo", "other"] {
        for device in devices {
            let (at, record) = token(store, &owner, n);
            let device = device.map(|device| device.parse().expect("a device"));
            let record = Record { app_id: app(app_id), device, ..record };
            assert_eq!(answer(store.put(&at, &record, room, NOW)).await, Placed::Done { ended: 0 });
            n += 1;
        }
    }
    for kind in [TokenKind::OneTime, TokenKind::Bearer] {
        let (at, record) = token(store, &owner, n);
        let placed = answer(store.put(&at, &Record { kind, ..record }, room, NOW)).await;
        assert_eq!(placed, Placed::Done { ended: 0 }, "a {kind:?} token counts as a session");
        n += 1;
    }
    assert_eq!(list(store, &owner, NOW).await.len(), n, "sessions of other apps and devices were ended");
}

async fn max_counts_all_kinds_of_one_app(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { max: 3, ..ROOM };
    for (n, kind) in [TokenKind::Session, TokenKind::OneTime, TokenKind::Bearer].into_iter().enumerate() {
        let (at, record) = token(store, &owner, n);
        answer(store.put(&at, &Record { kind, ..record }, room, NOW)).await;
    }
    let (at, record) = token(store, &owner, 3);
    assert_eq!(answer(store.put(&at, &record, room, NOW)).await, Placed::Refused, "there are 3 tokens already");
    let other = Record { app_id: app("other"), ..record };
    assert_eq!(answer(store.put(&at, &other, room, NOW)).await, Placed::Done { ended: 0 }, "of another app");
}

async fn ended_tokens_are_not_found(store: &impl TokenStore) {
    let owner = user("u-1");
    for n in 0..3 {
        put(store, &owner, n, |_| {}).await;
    }
    assert_eq!(end(store, &owner, Which::All, 0).await, 3);
    for n in 0..3 {
        let (at, _) = token(store, &owner, n);
        assert!(!is_live(store, &at, NOW).await, "an ended session is live");
        assert!(!answer(store.take(&at, NOW)).await, "an ended token was taken");
        assert_eq!(answer(store.touch(&at, NOW, Some(END))).await, Touched::Gone, "an ended session was touched");
        assert!(matches!(answer(store.renew(&at, &offer(store, &owner, n, 50 + n), NOW)).await, Renewed::NotLive));
    }
    assert_eq!(end(store, &owner, Which::All, 0).await, 0, "sessions were ended twice");
    assert!(list(store, &owner, NOW).await.is_empty());
}

async fn ends_are_selected(store: &impl TokenStore) {
    let owner = user("u-1");
    let (demo, other) = (app("demo"), app("other"));
    let fill = async || {
        for n in 0..4 {
            put(store, &owner, n, |record| record.app_id = if n < 2 { demo.clone() } else { other.clone() }).await;
        }
    };
    let id = |n| token(store, &owner, n).1.id;
    let cases = [
        (Which::One(id(2)), vec![0, 1, 3]),
        (Which::OneOf(&demo, id(1)), vec![0, 2, 3]),
        (Which::OneOf(&demo, id(2)), vec![0, 1, 2, 3]),
        (Which::AllBut(&demo, id(0)), vec![0, 2, 3]),
        (Which::AllOf(&other), vec![0, 1]),
    ];
    for (which, left) in cases {
        end(store, &owner, Which::All, 0).await;
        fill().await;
        assert_eq!(end(store, &owner, which, 0).await, 4 - left.len(), "{which:?}");
        for n in 0..4 {
            assert_eq!(
                is_live(store, &token(store, &owner, n).0, NOW).await,
                left.contains(&n),
                "{which:?}, session {n}"
            );
        }
    }
}

async fn reasons_are_remembered(store: &impl TokenStore) {
    let owner = user("u-1");
    let room = Room { limit: Some(SessionLimit::NewestWins(1)), remember: 100, ..ROOM };
    for n in 0..2 {
        let (at, record) = token(store, &owner, n);
        answer(store.put(&at, &record, room, NOW)).await;
    }
    answer(store.end(&tag(store, &owner), Which::All, 100, NOW)).await;
    for (n, expected) in [(0, EndReason::Replaced), (1, EndReason::Revoked)] {
        let (at, _) = token(store, &owner, n);
        match find(store, &at, NOW + 99).await {
            Found::Ended { app_id, reason } => assert_eq!((app_id, reason), (app("demo"), expected)),
            other => panic!("the reason of session {n} was forgotten: {other:?}"),
        }
        assert!(matches!(find(store, &at, NOW + 100).await, Found::Unknown), "a reason was remembered for too long");
    }
}

async fn a_one_time_token_is_taken_once(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.kind = TokenKind::OneTime).await;
    let (at, _) = token(store, &owner, 1);
    assert!(answer(store.take(&at, NOW)).await);
    assert!(!answer(store.take(&at, NOW)).await, "a token was taken twice");
    assert!(!is_live(store, &at, NOW).await, "a token is live after it was taken");
}

async fn only_live_tokens_are_taken_or_touched(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.kind = TokenKind::OneTime).await;
    put(store, &owner, 2, |record| record.idle_until = Some(NOW + 10)).await;
    let (one_time, idle) = (token(store, &owner, 1).0, token(store, &owner, 2).0);
    assert!(!answer(store.take(&one_time, END)).await, "an expired token was taken before it was removed");
    assert_eq!(answer(store.touch(&idle, NOW + 10, Some(END))).await, Touched::Gone);
    assert!(!is_live(store, &idle, NOW + 10).await, "a touch revived an expired session");
}

async fn touch_moves_the_idle_end_forwards(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.idle_until = Some(NOW + 10)).await;
    let (at, _) = token(store, &owner, 1);
    assert_eq!(answer(store.touch(&at, NOW + 9, Some(NOW + 100))).await, Touched::Done);
    assert_eq!(answer(store.touch(&at, NOW + 9, Some(NOW + 50))).await, Touched::Done);
    assert!(is_live(store, &at, NOW + 99).await, "a touch did not prolong the session, or a later one shortened it");
    assert!(!is_live(store, &at, NOW + 100).await, "a session is live after its idle end");
    answer(store.touch(&at, NOW + 99, Some(END + 100))).await;
    assert!(!is_live(store, &at, END).await, "a touch prolonged a session beyond its end");
}

async fn renewal_has_one_successor(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |_| {}).await;
    let (old, _) = token(store, &owner, 1);
    let first = offer(store, &owner, 1, 2);
    let second = offer(store, &owner, 1, 3);
    for (offer, name) in [(&first, "first"), (&second, "second"), (&first, "first again")] {
        match answer(store.renew(&old, offer, NOW)).await {
            Renewed::Kept { seed, record } => {
                assert_eq!(seed.as_bytes(), first.seed.as_bytes(), "{name}: not the seed of the first offer");
                assert_eq!(record.expires_at, first.record.expires_at);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(is_live(store, &first.successor, NOW).await && is_live(store, &old, NOW).await);
    assert!(!is_live(store, &second.successor, NOW).await, "there are two successors");
    assert!(
        matches!(find(store, &old, NOW).await, Found::Live { seed: Some(_), .. }),
        "the seed is there in the overlap"
    );
    assert!(matches!(find(store, &first.successor, NOW).await, Found::Live { is_unused_successor: true, .. }));
    assert_eq!(list(store, &owner, NOW).await.len(), 1, "a renewed session is listed once");
}

async fn overlap_begins_with_the_first_use(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |_| {}).await;
    let (old, _) = token(store, &owner, 1);
    let offer = offer(store, &owner, 1, 2);
    answer(store.renew(&old, &offer, NOW)).await;
    let used = NOW + 1000;
    assert!(is_live(store, &old, used).await, "the overlap began before the successor was used");
    for now in [used, used + 200] {
        assert_eq!(answer(store.touch(&offer.successor, now, None)).await, Touched::Done);
    }
    assert!(is_live(store, &old, used + 299).await, "the overlap was too short");
    assert!(!is_live(store, &old, used + 300).await, "the overlap was too long");
    assert!(matches!(find(store, &offer.successor, used).await, Found::Live { is_unused_successor: false, .. }));
    let late = answer(store.renew(&old, &offer, used + 300)).await;
    assert!(matches!(late, Renewed::NotLive), "a token was renewed after its overlap");

    // The old token never lives longer than it would have.
    let (owner, end) = (user("u-2"), NOW + 50);
    put(store, &owner, 1, |record| record.expires_at = end).await;
    let (old, _) = token(store, &owner, 1);
    answer(store.renew(&old, &self::offer(store, &owner, 1, 2), NOW)).await;
    assert!(
        is_live(store, &old, end - 1).await && !is_live(store, &old, end).await,
        "a renewal prolonged the old token"
    );
}

async fn renewals_are_limited(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 0, |_| {}).await;
    for n in 0..4 {
        let (at, _) = token(store, &owner, n);
        let renewed = answer(store.renew(&at, &offer(store, &owner, 0, n + 1), NOW)).await;
        assert!(matches!(renewed, Renewed::Kept { .. }), "renewal {n} within an overlap: {renewed:?}");
    }
    let (at, _) = token(store, &owner, 4);
    let fifth = answer(store.renew(&at, &offer(store, &owner, 0, 5), NOW)).await;
    assert!(matches!(fifth, Renewed::TooOften), "a fifth renewal within an overlap: {fifth:?}");
    assert_eq!(answer(store.touch(&at, NOW, None)).await, Touched::Done);
    let later = answer(store.renew(&at, &offer(store, &owner, 0, 5), NOW + 300)).await;
    assert!(matches!(later, Renewed::Kept { .. }), "a renewal after the overlaps: {later:?}");
}

async fn ended_sessions_have_no_successor(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |_| {}).await;
    let (old, record) = token(store, &owner, 1);
    let offer = offer(store, &owner, 1, 2);
    answer(store.renew(&old, &offer, NOW)).await;
    assert_eq!(end(store, &owner, Which::One(record.id), 0).await, 1, "a renewed session counts once");
    assert!(!is_live(store, &old, NOW).await, "the old token of an ended session is live");
    assert!(!is_live(store, &offer.successor, NOW).await, "the successor of an ended session is live");
}

async fn one_time_tokens_are_not_renewed(store: &impl TokenStore) {
    let owner = user("u-1");
    put(store, &owner, 1, |record| record.kind = TokenKind::OneTime).await;
    let renewed = answer(store.renew(&token(store, &owner, 1).0, &offer(store, &owner, 1, 2), NOW)).await;
    assert!(matches!(renewed, Renewed::NotLive), "a one-time token was renewed");
}

async fn races_have_one_result<S: TokenStore>(new: impl Fn() -> Arc<S>) {
    let store = new();
    let owner = user("u-1");
    put(&*store, &owner, 1, |record| record.kind = TokenKind::OneTime).await;
    let (at, _) = token(&*store, &owner, 1);
    let taken = race(&store, move |store, _| async move { store.take(&at, NOW).await }).await;
    assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 1, "a token was taken by several");

    let store = new();
    put(&*store, &owner, 0, |_| {}).await;
    let (old, _) = token(&*store, &owner, 0);
    let offers: Arc<Vec<Offer>> = Arc::new((0..RACERS).map(|n| offer(&*store, &user("u-1"), 0, n + 1)).collect());
    let renewed = race(&store, {
        let offers = offers.clone();
        move |store, n| {
            let offers = offers.clone();
            async move { store.renew(&old, &offers[n], NOW).await }
        }
    })
    .await;
    let seeds = renewed.into_iter().map(|renewed| match renewed {
        Renewed::Kept { seed, .. } => *seed.as_bytes(),
        other => panic!("a live token was not renewed: {other:?}"),
    });
    let mut seeds: Vec<_> = seeds.collect();
    seeds.dedup();
    assert_eq!(seeds.len(), 1, "racing renewals have several successors");
    let mut live = 0;
    for offer in &*offers {
        live += usize::from(is_live(&*store, &offer.successor, NOW).await);
    }
    assert_eq!(live, 1, "racing renewals have several live successors");

    let store = new();
    let placed = race(&store, move |store, n| async move {
        let room = Room { limit: Some(SessionLimit::NewestWins(3)), ..ROOM };
        let (at, record) = token(&*store, &user("u-1"), n);
        store.put(&at, &record, room, NOW).await
    })
    .await;
    assert_eq!(placed.len(), RACERS);
    assert_eq!(list(&*store, &owner, NOW).await.len(), 3, "64 logins at once exceed the limit of 3");

    let store = new();
    put(&*store, &owner, 0, |_| {}).await;
    let (old, _) = token(&*store, &owner, 0);
    race(&store, move |store, n| async move {
        if n == 0 {
            let owner = store.owner_key().tag(&user("u-1"));
            return store.end(&owner, Which::All, 0, NOW).await.map(drop);
        }
        let offer = offer(&*store, &user("u-1"), 0, n);
        store.renew(&old, &offer, NOW).await.map(drop)
    })
    .await;
    assert!(list(&*store, &owner, NOW).await.is_empty(), "a session survived its end beside racing renewals");
}

async fn race<S: TokenStore, T: Send + 'static, F>(store: &Arc<S>, act: impl Fn(Arc<S>, usize) -> F) -> Vec<T>
where
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(RACERS));
    let mut racers = JoinSet::new();
    for n in 0..RACERS {
        let (barrier, act) = (barrier.clone(), act(store.clone(), n));
        racers.spawn(async move {
            barrier.wait().await;
            answer(act).await
        });
    }
    timeout(PATIENCE, racers.join_all()).await.unwrap_or_else(|_| panic!("racing calls do not end"))
}

fn app(id: &str) -> AppId {
    id.parse().unwrap_or_else(|_| panic!("an app id"))
}

fn user(id: &str) -> Owner {
    // One of the users has a name that an owner's tag must not confuse with an app's.
    let id = id.replace('\n', "/");
    Owner::User(id.parse::<Subject>().unwrap_or_else(|_| panic!("a user id")))
}

fn tag(store: &impl TokenStore, owner: &Owner) -> OwnerTag {
    store.owner_key().tag(owner)
}

/// The token with this number, of the app `demo`.
fn token(store: &impl TokenStore, owner: &Owner, n: usize) -> (TokenRef, Record) {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&(n as u64).to_be_bytes());
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    let record = Record {
        id: SessionId::from_bytes(id),
        owner: owner.clone(),
        app_id: app("demo"),
        kind: TokenKind::Session,
        device: None,
        issued_at: NOW,
        seen_at: NOW,
        expires_at: END,
        session_expires_at: END,
        idle_until: None,
        data: None,
    };
    (TokenRef::new(tag(store, owner), digest), record)
}

/// An offer to renew a token of the session that began with the token `first`. The successor is the token `new`.
fn offer(store: &impl TokenStore, owner: &Owner, first: usize, new: usize) -> Offer {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(new as u64).to_be_bytes());
    let (_, record) = token(store, owner, first);
    let record = Record { expires_at: END - new as u64 % 100, ..record };
    Offer { seed: RenewalSeed::from_bytes(seed), successor: token(store, owner, new).0, record, overlap: 300 }
}

async fn put(store: &impl TokenStore, owner: &Owner, n: usize, edit: impl FnOnce(&mut Record)) -> Placed {
    let (at, mut record) = token(store, owner, n);
    edit(&mut record);
    answer(store.put(&at, &record, ROOM, NOW)).await
}

async fn find(store: &impl TokenStore, at: &TokenRef, now: u64) -> Found {
    answer(store.find(at, now)).await
}

async fn is_live(store: &impl TokenStore, at: &TokenRef, now: u64) -> bool {
    matches!(find(store, at, now).await, Found::Live { .. })
}

async fn end(store: &impl TokenStore, owner: &Owner, which: Which<'_>, remember: u64) -> usize {
    answer(store.end(&tag(store, owner), which, remember, NOW)).await
}

async fn list(store: &impl TokenStore, owner: &Owner, now: u64) -> Vec<Record> {
    answer(store.list(&tag(store, owner), now)).await
}

async fn answer<T>(act: impl Future<Output = Result<T, StoreError>>) -> T {
    call(act).await.unwrap_or_else(|error| panic!("the store failed: {error:?}"))
}

async fn call<T>(act: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(PATIENCE, act).await.unwrap_or_else(|_| panic!("a call did not end within {PATIENCE:?}"))
}
