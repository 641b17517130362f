//! One truth about nonces, between verifiers that share a Redis.

use std::{
    error::Error,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use countersign::store::conformance;
use futures_util::{
    FutureExt,
    future::{BoxFuture, MaybeDone, join_all, maybe_done},
};
use tokio::{sync::oneshot, task::JoinSet, time::timeout};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn redis_store_conforms() {
    let server = RedisServer::start();
    conformance::nonce_store(|| {
        server.tell::<()>(&["FLUSHALL"]);
        store(&server)
    })
    .await;
}

#[tokio::test]
async fn a_claim_is_one_short_key_that_ends_when_it_must() {
    let server = RedisServer::start();
    assert_eq!(claim(&store(&server), "nonce-1").await.unwrap(), NonceStatus::New);
    assert_eq!(server.tell::<Vec<String>>(&["KEYS", "*"]), ["cs1:demo/nonce-1"]);
    let left: i64 = server.tell(&["PTTL", "cs1:demo/nonce-1"]);
    assert!((590_000..=601_000).contains(&left), "{left} ms");
    let named = store(&server).with_key_prefix("orders:");
    assert_eq!(claim(&named, "nonce-1").await.unwrap(), NonceStatus::New, "another prefix, other nonces");
    assert_eq!(server.tell::<i64>(&["EXISTS", "orders:demo/nonce-1"]), 1);
}

#[tokio::test]
async fn a_claim_after_its_end_is_late_without_asking() {
    let server = RedisServer::start();
    let (app, nonce): (AppId, Nonce) = ("demo".parse().unwrap(), "nonce-1".parse().unwrap());
    let late = store(&server).claim(&NonceClaim::new(&app, &nonce), Retention::new(NOW, NOW)).await;
    assert_eq!(late.unwrap(), NonceStatus::Expired);
    assert_eq!(server.tell::<i64>(&["DBSIZE"]), 0);
}

/// They go out together, and what comes back must find its own.
#[tokio::test(flavor = "multi_thread")]
async fn claims_made_at_once_have_each_their_own_answer() {
    let server = RedisServer::start();
    let store = store(&server);
    for n in (0..500).step_by(3) {
        assert_eq!(claim(&store, &format!("nonce-{n}")).await.unwrap(), NonceStatus::New);
    }
    let mut claims = JoinSet::new();
    for n in 0..500 {
        let store = store.clone();
        claims.spawn(async move { (n, claim(&store, &format!("nonce-{n}")).await.unwrap()) });
    }
    for (n, status) in claims.join_all().await {
        assert_eq!(status, if n % 3 == 0 { NonceStatus::Replayed } else { NonceStatus::New }, "{n}");
    }
}

#[test]
fn claims_survive_the_end_of_another_runtime() {
    let server = RedisServer::start();
    let store = store(&server);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Begun, and no more: whatever it has started ends with its runtime.
    runtime().block_on(async {
        assert!(claim(&store, "nonce-1").now_or_never().is_none());
    });
    assert_eq!(runtime().block_on(claim(&store, "nonce-2")).unwrap(), NonceStatus::New);
}

/// It stands still and is not gone: what it has begun neither ends nor goes on.
#[test]
fn a_runtime_that_stands_still_holds_no_other_up() {
    let server = RedisServer::start();
    let store = store(&server);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let still = runtime();
    still.block_on(async { assert!(claim(&store, "nonce-1").now_or_never().is_none()) });
    runtime().block_on(async {
        for n in 2..100 {
            assert_eq!(claim(&store, &format!("nonce-{n}")).await.unwrap(), NonceStatus::New);
        }
    });
}

/// Makes so many claims on a thread that has no time for what they have begun: of that, no other one takes over the last.
async fn kept_busy(store: &RedisNonceStore, claims: usize, meanwhile: impl AsyncFnOnce(Vec<Begun>)) {
    let (store, (begun, has_begun), (say, done)) = (store.clone(), oneshot::channel(), mpsc::channel());
    let busy = tokio::spawn(async move {
        let mut claims: Vec<_> = (0..claims).map(|_| Box::pin(maybe_done(fresh_claim(&store)))).collect();
        // Another thread may have some of them answered at once.
        claims.iter_mut().for_each(|claim| _ = claim.now_or_never());
        assert!(begun.send(claims).is_ok());
        done.recv_timeout(Duration::from_secs(5))
    });
    let in_time = timeout(Duration::from_secs(4), meanwhile(has_begun.await.unwrap())).await;
    say.send(()).unwrap();
    assert_eq!((busy.await.unwrap(), in_time), (Ok(()), Ok(())));
}

type Claim = BoxFuture<'static, Result<NonceStatus, StoreError>>;

type Begun = Pin<Box<MaybeDone<Claim>>>;

async fn answer(mut claim: Begun) -> NonceStatus {
    claim.as_mut().await;
    claim.as_mut().take_output().unwrap().unwrap()
}

fn fresh_claim(store: &RedisNonceStore) -> Claim {
    let store = store.clone();
    async move { claim(&store, rig::fresh_nonce().as_str()).await }.boxed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_that_is_kept_busy_holds_up_no_other() {
    let server = RedisServer::start();
    let store = store(&server);
    assert_eq!(fresh_claim(&store).await.unwrap(), NonceStatus::New);
    kept_busy(&store, 1, async |claims| {
        assert_eq!(fresh_claim(&store).await.unwrap(), NonceStatus::New);
        for begun in claims {
            assert_eq!(answer(begun).await, NonceStatus::New, "it went out with the other");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_batch_is_not_left_to_busy_thread() {
    let server = RedisServer::start();
    let store = store(&server);
    assert_eq!(fresh_claim(&store).await.unwrap(), NonceStatus::New);
    kept_busy(&store, 32, async |claims| {
        for status in join_all(claims.into_iter().map(answer)).await {
            assert_eq!(status, NonceStatus::New);
        }
    })
    .await;
}

#[test]
fn where_there_is_no_runtime_a_claim_is_an_error() {
    let server = RedisServer::start();
    let error = claim(&store(&server), "nonce-1").now_or_never().unwrap().unwrap_err();
    let told = error.source().unwrap().to_string();
    assert_eq!(told, "a claim in Redis needs a tokio runtime, and there is none here");
}

/// Never done on the first runtime that it is asked on.
struct Waits(AtomicUsize, redis::Client);

impl Connect for Waits {
    type Connection = redis::aio::MultiplexedConnection;

    const CONNECT_TIMEOUT: Duration = Duration::from_millis(50);

    async fn connect(&self) -> redis::RedisResult<Self::Connection> {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            std::future::pending::<()>().await;
        }
        self.1.connect().await
    }
}

#[test]
fn connection_on_stalled_runtime_is_made_elsewhere() {
    let server = RedisServer::start();
    let store = RedisNonceStore::new(Waits(0.into(), server.client()));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let still = runtime();
    still.block_on(async {
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, claim(&store, "nonce-1")).await.is_err(), "it is on its way");
    });
    runtime().block_on(async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(claim(&store, "nonce-2").await.unwrap(), NonceStatus::New);
    });
}

/// As processes have them: each with a connection of its own.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_are_accepted_once_across_verifiers() {
    const REQUESTS: usize = 3000;
    let server = RedisServer::start();
    let accepted: Arc<Vec<AtomicUsize>> = Arc::new((0..REQUESTS).map(|_| AtomicUsize::new(0)).collect());
    let verifiers = [(); 2].map(|()| Verifier::new(rig::keys()).with_nonces(store(&server)));
    let requests: Vec<_> = (0..REQUESTS).map(|_| rig::signer().sign(rig::get("/orders")).unwrap()).collect();
    let mut racers = JoinSet::new();
    for verifier in &verifiers {
        for chunk in requests.chunks(REQUESTS / 16).enumerate() {
            let (verifier, accepted) = (verifier.clone(), accepted.clone());
            let (n, requests) = (chunk.0 * (REQUESTS / 16), chunk.1.to_vec());
            racers.spawn(async move {
                for (i, request) in requests.into_iter().enumerate() {
                    match rig::verify(&verifier, request).await {
                        Ok(_) => drop(accepted[n + i].fetch_add(1, Ordering::Relaxed)),
                        Err(rejection) => assert_eq!(rejection.kind(), RejectionKind::ReplayedNonce, "{rejection:?}"),
                    }
                }
            });
        }
    }
    racers.join_all().await;
    assert!(accepted.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    // The nonces outlive the window by the difference of the verifiers' clocks.
    let key: String = server.tell(&["RANDOMKEY"]);
    let left: i64 = server.tell(&["PTTL", &key]);
    assert!((350_000..=361_000).contains(&left), "{left} ms");
}
