//! The submissions of the conformance tests, and calls of a store with a deadline.

use std::{
    cell::Cell,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::{sync::Barrier, task::JoinSet, time::timeout};

use crate::{
    protocol::AppId,
    store::{
        StoreError,
        submission::{
            contract::SubmissionStore,
            entry::{Entry, EntryState, Fingerprint, Finish, Lease, Reserved, StoredAnswer, SubmissionRef, WhenLost},
        },
    },
};

/// The number of concurrent callers in races.
pub(super) const RACERS: usize = 64;

/// The deadline for a call.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store, and the way to let time pass for it. Leases last two units, and entries four units longer.
pub(super) struct Fixture<S, P> {
    pub(super) store: S,
    pass: P,
    unit: Duration,
    started: Instant,
    passed: Cell<Duration>,
}

impl<S: SubmissionStore, P: AsyncFn(Duration)> Fixture<S, P> {
    pub(super) fn new((store, pass): (S, P), unit: Duration) -> Self {
        Self { store, pass, unit, started: Instant::now(), passed: Cell::default() }
    }

    pub(super) fn units(&self, count: u32) -> Duration {
        self.unit * count
    }

    /// Lets this many units of time pass, or a little more.
    pub(super) async fn pass(&self, units: u32) {
        self.passed.set(self.passed.get() + self.units(units));
        (self.pass)(self.units(units)).await;
    }

    /// Whether more time passed than the test asked for, by a unit. Every test leaves a lease or an entry that must last a
    /// unit or more.
    pub(super) fn is_late(&self) -> bool {
        self.started.elapsed() >= self.passed.get() + self.unit
    }

    pub(super) fn lease(&self, id: u8) -> Lease {
        lease(id, self.units(2))
    }

    /// Reserves for the lease with this id. A lost submission stays unknown.
    pub(super) async fn reserve(&self, at: &SubmissionRef, id: u8) -> Reserved {
        self.reserve_as(at, id, fingerprint(1), WhenLost::Unknown).await
    }

    pub(super) async fn take_over(&self, at: &SubmissionRef, id: u8) -> Reserved {
        self.reserve_as(at, id, fingerprint(1), WhenLost::TakeOver).await
    }

    pub(super) async fn reserve_as(
        &self,
        at: &SubmissionRef,
        id: u8,
        fingerprint: Fingerprint,
        when_lost: WhenLost,
    ) -> Reserved {
        answer(self.store.reserve(at, &self.lease(id), &fingerprint, self.units(4), when_lost)).await
    }

    pub(super) async fn renew(&self, at: &SubmissionRef, id: u8) -> bool {
        answer(self.store.renew(at, &self.lease(id))).await
    }

    pub(super) async fn finish(&self, at: &SubmissionRef, id: u8, end: &Finish) -> bool {
        answer(self.store.finish(at, &self.lease(id), end)).await
    }

    pub(super) async fn settle(&self, at: &SubmissionRef, end: &Finish) -> bool {
        answer(self.store.settle(at, end)).await
    }

    pub(super) async fn forget(&self, at: &SubmissionRef) -> bool {
        answer(self.store.forget(at)).await
    }

    pub(super) async fn entry(&self, at: &SubmissionRef) -> Option<Entry> {
        answer(self.store.state(at)).await
    }

    pub(super) async fn state(&self, at: &SubmissionRef) -> Option<EntryState> {
        self.entry(at).await.map(|entry| entry.state)
    }

    /// Reserves a place, and lets the lease end.
    pub(super) async fn lose(&self, at: &SubmissionRef, id: u8) {
        assert_eq!(self.reserve(at, id).await, Reserved::Yes);
        self.pass(2).await;
    }
}

pub(super) fn lease(id: u8, lasts: Duration) -> Lease {
    Lease { id: [id; 16], lasts }
}

/// Reserves a place, for a lease and an entry that do not end during a test.
pub(super) async fn try_reserve(
    store: &impl SubmissionStore,
    place: SubmissionRef,
    id: usize,
    when_lost: WhenLost,
) -> Result<Reserved, StoreError> {
    const LONG: Duration = Duration::from_secs(600);
    store.reserve(&place, &lease(id as u8, LONG), &fingerprint(1), LONG, when_lost).await
}

pub(super) fn fingerprint(n: u8) -> Fingerprint {
    Fingerprint::from_bytes([n; 32])
}

/// The place with this number, of the app `demo`.
pub(super) fn place(n: usize) -> SubmissionRef {
    place_of("demo", n)
}

pub(super) fn place_of(app: &str, n: usize) -> SubmissionRef {
    let app: AppId = app.parse().unwrap_or_else(|_| panic!("an app id"));
    let mut key = [7; 32];
    key[..8].copy_from_slice(&(n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    SubmissionRef::new(key, app, None)
}

/// An answer with headers and a body that are no text.
pub(super) fn stored_answer() -> StoredAnswer {
    let mut headers = HeaderMap::new();
    headers.append(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.append(header::LINK, HeaderValue::from_static("</1>; rel=next"));
    headers.append(header::LINK, HeaderValue::from_static("</2>; rel=prev"));
    headers.append("x-empty", HeaderValue::from_static(""));
    headers.append("x-bytes", HeaderValue::from_bytes(b"caf\xe9").unwrap_or_else(|_| panic!("a header value")));
    let body = Bytes::from_static(b"\0\xff\r\n{}\0");
    StoredAnswer::new(StatusCode::CREATED, Some(HeaderValue::from_static("/orders/17"))).with_replay(headers, body)
}

pub(super) fn done() -> Finish {
    Finish::Done(stored_answer())
}

/// Waits for a call, but not forever.
pub(super) async fn answer<T>(call: impl Future<Output = Result<T, StoreError>>) -> T {
    match timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => panic!("the store failed: {error:?}"),
        Err(_) => panic!("a call did not end in {PATIENCE:?}"),
    }
}

/// Runs a call for each racer at the same time.
pub(super) async fn race<S, T, F>(store: &Arc<S>, call: impl Fn(Arc<S>, usize) -> F) -> Vec<T>
where
    S: SubmissionStore,
    T: Send + 'static,
    F: Future<Output = Result<T, StoreError>> + Send + 'static,
{
    let (start, mut racers) = (Arc::new(Barrier::new(RACERS)), JoinSet::new());
    for n in 0..RACERS {
        let (start, call) = (start.clone(), call(store.clone(), n));
        racers.spawn(async move {
            start.wait().await;
            answer(call).await
        });
    }
    racers.join_all().await
}
