//! Stores that fail: the service does not run, or its answer arrives all the same.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use countersign::{
    clock::ManualClock,
    store::{
        Entry, EntryState, Fingerprint, Finish, Lease, MemorySubmissionStore, Reserved, StoreError, SubmissionRef,
        SubmissionStore, WhenLost,
    },
};
use tokio::time;

use super::shop::{Answer, Shop, by_key, memory, send, submission, until};

/// What a call of the store does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// It fails before it does anything.
    Fails,
    /// It is done, and its confirmation is lost.
    LosesAnswer,
    /// It never answers, against the contract.
    Hangs,
}

#[derive(Default)]
struct Faults {
    reserve: Fault,
    finish: Fault,
    renew: Fault,
    /// Fails only with an answer's body, as a store does that is full of them.
    refuses_bodies: bool,
}

/// A store in memory with faults. It counts the calls of `finish`.
#[derive(Clone)]
struct FaultyStore {
    inner: Arc<MemorySubmissionStore>,
    faults: Arc<Mutex<Faults>>,
    finishes: Arc<AtomicUsize>,
}

impl FaultyStore {
    fn new() -> (Self, ManualClock) {
        let (inner, clock) = memory();
        (Self { inner: Arc::new(inner), faults: Arc::default(), finishes: Arc::default() }, clock)
    }

    fn set(&self, set: impl FnOnce(&mut Faults)) {
        set(&mut self.faults.lock().unwrap());
    }

    async fn with<T>(&self, fault: Fault, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match fault {
            Fault::None => call.await,
            Fault::Fails => Err(StoreError::new("the store is down")),
            Fault::LosesAnswer => call.await.and_then(|_| Err(StoreError::new("the answer was lost"))),
            Fault::Hangs => pending().await,
        }
    }
}

impl SubmissionStore for FaultyStore {
    async fn reserve(
        &self,
        at: &SubmissionRef,
        lease: &Lease,
        fingerprint: &Fingerprint,
        ttl: Duration,
        when_lost: WhenLost,
    ) -> Result<Reserved, StoreError> {
        let fault = self.faults.lock().unwrap().reserve;
        self.with(fault, self.inner.reserve(at, lease, fingerprint, ttl, when_lost)).await
    }

    async fn renew(&self, at: &SubmissionRef, lease: &Lease) -> Result<bool, StoreError> {
        let fault = self.faults.lock().unwrap().renew;
        self.with(fault, self.inner.renew(at, lease)).await
    }

    async fn finish(&self, at: &SubmissionRef, lease: &Lease, end: &Finish) -> Result<bool, StoreError> {
        self.finishes.fetch_add(1, SeqCst);
        let has_body = matches!(end, Finish::Done(answer) if answer.replay().is_some());
        let fault = {
            let faults = self.faults.lock().unwrap();
            if faults.refuses_bodies && has_body { Fault::Fails } else { faults.finish }
        };
        self.with(fault, self.inner.finish(at, lease, end)).await
    }

    async fn state(&self, at: &SubmissionRef) -> Result<Option<Entry>, StoreError> {
        self.inner.state(at).await
    }

    async fn settle(&self, at: &SubmissionRef, end: &Finish) -> Result<bool, StoreError> {
        self.inner.settle(at, end).await
    }

    async fn forget(&self, at: &SubmissionRef) -> Result<bool, StoreError> {
        self.inner.forget(at).await
    }
}

async fn pay(router: &axum::Router) -> Answer {
    send(router, submission("/pay", "k", "order")).await
}

#[tokio::test(start_paused = true)]
async fn failed_reservation_is_503_and_runs_nothing() {
    let (store, _) = FaultyStore::new();
    let (shop, layer) = (Shop::new(), by_key().with_store(store.clone()));
    let router = shop.router(&layer);
    store.set(|faults| faults.reserve = Fault::Fails);
    let answer = pay(&router).await;
    assert_eq!((answer.brief(), &answer.headers["retry-after"]), ((503, "unavailable"), &"1".parse().unwrap()));
    assert_eq!(shop.runs(), 0);
    store.set(|faults| faults.reserve = Fault::None);
    layer.idle().await;
    assert_eq!(pay(&router).await.brief(), (201, "false"));
}

#[tokio::test(start_paused = true)]
async fn unconfirmed_reservation_is_released() {
    let (store, _) = FaultyStore::new();
    let (shop, layer) = (Shop::new(), by_key().with_store(store.clone()));
    let router = shop.router(&layer);
    // The store has the reservation. The release is tried until the store answers again.
    store.set(|faults| (faults.reserve, faults.finish) = (Fault::LosesAnswer, Fault::Fails));
    assert_eq!(pay(&router).await.brief(), (503, "unavailable"));
    store.set(|faults| faults.reserve = Fault::None);
    assert_eq!(pay(&router).await.brief(), (409, "submission_in_progress"));
    store.set(|faults| faults.finish = Fault::None);
    layer.idle().await;
    assert_eq!(pay(&router).await.brief(), (201, "false"));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropped_reservation_is_released() {
    let (store, _) = FaultyStore::new();
    let (shop, layer) = (Shop::new(), by_key().with_store(store.clone()));
    let router = shop.router(&layer);
    store.set(|faults| faults.reserve = Fault::Hangs);
    let gone = time::timeout(Duration::from_secs(1), pay(&router)).await;
    assert!(gone.is_err());
    layer.idle().await;
    assert_eq!((store.finishes.load(SeqCst), shop.runs()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn release_gives_up_after_half_a_minute() {
    let (store, _) = FaultyStore::new();
    let (shop, layer) = (Shop::new(), by_key().with_store(store.clone()));
    store.set(|faults| (faults.reserve, faults.finish) = (Fault::Fails, Fault::Fails));
    let start = time::Instant::now();
    assert_eq!(pay(&shop.router(&layer)).await.brief(), (503, "unavailable"));
    assert_eq!(start.elapsed(), Duration::ZERO, "the caller does not wait for the release");
    layer.idle().await;
    assert_eq!((start.elapsed().as_secs(), store.finishes.load(SeqCst)), (31, 4));
}

#[tokio::test(start_paused = true)]
async fn answer_arrives_though_its_end_is_not_stored() {
    let (store, _) = FaultyStore::new();
    let (shop, layer) = (Shop::new(), by_key().with_store(store.clone()));
    let router = shop.router(&layer);
    store.set(|faults| faults.finish = Fault::Fails);
    let start = time::Instant::now();
    assert_eq!(pay(&router).await.brief(), (201, "false"));
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(pay(&router).await.brief(), (409, "submission_in_progress"));
    // The next attempt, a second later, stores it with its body.
    store.set(|faults| faults.finish = Fault::None);
    layer.idle().await;
    assert_eq!(pay(&router).await.brief(), (201, "true"));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn end_is_tried_again_while_the_lease_is_renewed() {
    let (store, clock) = FaultyStore::new();
    let (shop, layer) = (Shop::new(), by_key().with_store(store.clone()));
    let router = shop.router(&layer);
    store.set(|faults| faults.finish = Fault::Fails);
    assert_eq!(pay(&router).await.brief(), (201, "false"));
    for _ in 0..120 {
        clock.advance(Duration::from_secs(5));
        time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(pay(&router).await.brief(), (409, "submission_in_progress"), "after ten minutes");
    let attempts = store.finishes.load(SeqCst);
    assert!((590..=602).contains(&attempts), "{attempts} attempts in ten minutes");
    for _ in 0..90 {
        clock.advance(Duration::from_secs(5));
        time::sleep(Duration::from_secs(5)).await;
    }
    layer.idle().await;
    assert_eq!(pay(&router).await.brief(), (409, "submission_outcome_unknown"));
    assert_eq!(shop.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn lost_confirmation_of_an_end_is_harmless() {
    let (store, _) = FaultyStore::new();
    let (shop, layer) = (Shop::new(), by_key().with_store(store.clone()));
    let router = shop.router(&layer);
    store.set(|faults| faults.finish = Fault::LosesAnswer);
    assert_eq!(pay(&router).await.brief(), (201, "false"));
    assert_eq!(pay(&router).await.brief(), (201, "true"));
    store.set(|faults| faults.finish = Fault::None);
    layer.idle().await;
    assert_eq!(pay(&router).await.brief(), (201, "true"));
}

#[tokio::test(start_paused = true)]
async fn store_full_of_bodies_keeps_the_status() {
    let (store, _) = FaultyStore::new();
    let (shop, layer) = (Shop::new(), by_key().with_store(store.clone()));
    let router = shop.router(&layer);
    store.set(|faults| faults.refuses_bodies = true);
    assert_eq!(pay(&router).await.brief(), (201, "false"));
    layer.idle().await;
    let again = pay(&router).await;
    assert_eq!((again.brief(), &again.json()["location"]), ((409, "duplicate_submission"), &"/payments/1".into()));
}

#[tokio::test(start_paused = true)]
async fn hanging_store_delays_the_answer_for_five_seconds() {
    let (store, _) = FaultyStore::new();
    let (shop, layer) = (Shop::new(), by_key().with_store(store.clone()));
    store.set(|faults| faults.finish = Fault::Hangs);
    let start = time::Instant::now();
    assert_eq!(pay(&shop.router(&layer)).await.brief(), (201, "false"));
    assert_eq!(start.elapsed().as_secs(), 5);
    store.set(|faults| faults.finish = Fault::None);
    layer.idle().await;
}

#[tokio::test(start_paused = true)]
async fn failed_renewal_is_tried_again() {
    let (store, clock) = FaultyStore::new();
    let (shop, layer) = (Shop::new(), by_key().with_store(store.clone()));
    let router = shop.router(&layer);
    let first = tokio::spawn({
        let router = router.clone();
        async move { send(&router, submission("/gated", "k", "")).await }
    });
    until(|| shop.runs() == 1).await;
    let pass = async |seconds: u64| {
        for _ in 0..seconds {
            clock.advance(Duration::from_secs(1));
            time::sleep(Duration::from_secs(1)).await;
        }
    };
    // The lease of a minute would end before the next third.
    store.set(|faults| faults.renew = Fault::Fails);
    pass(57).await;
    store.set(|faults| faults.renew = Fault::None);
    pass(60).await;
    let again = send(&router, submission("/gated", "k", "")).await;
    assert_eq!(again.brief(), (409, "submission_in_progress"));
    shop.gate.add_permits(1);
    assert_eq!(first.await.unwrap().brief(), (200, "false"));
}

#[tokio::test]
async fn states_can_be_asked_of_the_store() {
    let (store, _) = FaultyStore::new();
    let (shop, layer) = (Shop::new(), by_key().with_store(store));
    pay(&shop.router(&layer)).await;
    let scope = countersign::submission::SubmissionScope::new("demo".parse().unwrap());
    let at = scope.by_key(&super::shop::scheme(), &http::Method::POST, "/pay", &"k".parse().unwrap());
    let entry = layer.state(&at).await.unwrap().unwrap();
    let EntryState::Done(answer) = entry.state else { panic!("{entry:?}") };
    assert_eq!(
        (answer.status().as_u16(), answer.location().unwrap()),
        (201, &"/payments/1".parse::<http::HeaderValue>().unwrap())
    );
}
