//! The tokens of the conformance tests, and calls of a store with a deadline.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Barrier, task::JoinSet, time::timeout};

use crate::{
    protocol::{
        AppId,
        token::{Owner, OwnerTag, RecordKind, RenewalSeed, Subject, TokenRef},
    },
    store::{
        StoreError,
        token::{
            contract::TokenStore,
            record::{Found, Offer, Placed, Record, Renewed, Room, SessionId, TokenKind, Touched, Which},
        },
    },
};

pub(super) const NOW: u64 = 1_700_000_000;
pub(super) const END: u64 = NOW + 7200;
pub(super) const OVERLAP: u64 = 300;

/// The number of concurrent callers in races.
pub(super) const RACERS: usize = 64;

/// No limit, and no reasons.
pub(super) const ROOM: Room = Room { limit: None, max: 1000, remember: 0 };

/// The deadline for a call.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn app(id: &str) -> AppId {
    id.parse().unwrap_or_else(|_| panic!("an app id"))
}

pub(super) fn user(id: &str) -> Owner {
    Owner::User(id.parse::<Subject>().unwrap_or_else(|_| panic!("a user id")))
}

pub(super) fn tag(store: &impl TokenStore, owner: &Owner) -> OwnerTag {
    store.owner_key().tag(owner)
}

/// The token with this number, of the app `demo`. The order of the digests is not that of the numbers.
pub(super) fn token(store: &impl TokenStore, owner: &Owner, n: usize) -> (TokenRef, Record) {
    let record = Record {
        id: SessionId::from_bytes(scrambled(n)),
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
    (TokenRef::new(RecordKind::Session, tag(store, owner), scrambled(n)), record)
}

/// The reference of the token with this number.
pub(super) fn at(store: &impl TokenStore, owner: &Owner, n: usize) -> TokenRef {
    token(store, owner, n).0
}

/// An offer to renew a token of the session that began with the token `first`. The successor is the token `new`.
pub(super) fn offer(store: &impl TokenStore, owner: &Owner, first: usize, new: usize) -> Offer {
    let (_, record) = token(store, owner, first);
    let data = Some(Arc::from(new.to_string()));
    let record = Record { expires_at: END - new as u64 % 100, data, ..record };
    let seed = RenewalSeed::from_bytes(scrambled(new));
    Offer { seed, successor: at(store, owner, new), record, overlap: OVERLAP }
}

fn scrambled<const N: usize>(n: usize) -> [u8; N] {
    let mut bytes = [7; N];
    bytes[..8].copy_from_slice(&(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    bytes
}

/// Puts the token with this number, without a limit.
pub(super) async fn put(store: &impl TokenStore, owner: &Owner, n: usize, edit: impl FnOnce(&mut Record)) -> Placed {
    put_in(store, owner, n, ROOM, edit).await
}

pub(super) async fn put_in(
    store: &impl TokenStore,
    owner: &Owner,
    n: usize,
    room: Room,
    edit: impl FnOnce(&mut Record),
) -> Placed {
    let (at, mut record) = token(store, owner, n);
    edit(&mut record);
    answer(store.put(&at, &record, room, NOW)).await
}

pub(super) async fn find(store: &impl TokenStore, at: &TokenRef, now: u64) -> Found {
    answer(store.find(at, now)).await
}

pub(super) async fn is_live(store: &impl TokenStore, at: &TokenRef, now: u64) -> bool {
    matches!(find(store, at, now).await, Found::Live { .. })
}

/// Which of the tokens with these numbers are live.
pub(super) async fn live(
    store: &impl TokenStore,
    owner: &Owner,
    tokens: impl IntoIterator<Item = usize>,
) -> Vec<usize> {
    let mut live = Vec::new();
    for n in tokens {
        if is_live(store, &at(store, owner, n), NOW).await {
            live.push(n);
        }
    }
    live
}

pub(super) async fn touch(store: &impl TokenStore, at: &TokenRef, now: u64, until: Option<u64>) -> Touched {
    answer(store.touch(at, now, until)).await
}

pub(super) async fn take(store: &impl TokenStore, at: &TokenRef, now: u64) -> bool {
    answer(store.take(at, now)).await
}

pub(super) async fn renew(store: &impl TokenStore, old: &TokenRef, offer: &Offer, now: u64) -> Renewed {
    answer(store.renew(old, offer, now)).await
}

pub(super) async fn end(store: &impl TokenStore, owner: &Owner, which: Which<'_>, remember: u64) -> usize {
    answer(store.end(&tag(store, owner), RecordKind::Session, which, remember, NOW)).await
}

pub(super) async fn list(store: &impl TokenStore, owner: &Owner, now: u64) -> Vec<Record> {
    answer(store.list(&tag(store, owner), RecordKind::Session, now)).await
}

/// The result of a call that must not fail.
pub(super) async fn answer<T>(act: impl Future<Output = Result<T, StoreError>>) -> T {
    call(act).await.unwrap_or_else(|error| panic!("the store failed: {error:?}"))
}

pub(super) async fn call<T>(act: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(PATIENCE, act).await.unwrap_or_else(|_| panic!("a call did not return within {PATIENCE:?}"))
}

/// Starts all racers at once.
pub(super) async fn race<S: TokenStore, T: Send + 'static, F>(
    store: &Arc<S>,
    act: impl Fn(Arc<S>, usize) -> F,
) -> Vec<Result<T, StoreError>>
where
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let barrier = Arc::new(Barrier::new(RACERS));
    let mut racers = JoinSet::new();
    for n in 0..RACERS {
        let (barrier, act) = (barrier.clone(), act(store.clone(), n));
        racers.spawn(async move {
            barrier.wait().await;
            (n, call(act).await)
        });
    }
    let mut results = racers.join_all().await;
    results.sort_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The results of a race in which no call may fail.
pub(super) fn all<T>(results: Vec<Result<T, StoreError>>) -> Vec<T> {
    let answer = |result: Result<T, _>| result.unwrap_or_else(|error| panic!("the store failed: {error:?}"));
    results.into_iter().map(answer).collect()
}
