//! Verifiers that share a Redis agree on each nonce.

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
        server.command::<()>(&["FLUSHALL"]);
        store(&server)
    })
    .await;
}

#[tokio::test]
async fn claim_is_one_key_with_a_ttl() {
    let server = RedisServer::start();
    assert_eq!(claim(&store(&server), "nonce-1").await.unwrap(), NonceStatus::New);
    assert_eq!(server.command::<Vec<String>>(&["KEYS", "*"]), ["cs1:demo/nonce-1"]);
    let left: i64 = server.command(&["PTTL", "cs1:demo/nonce-1"]);
    assert!((590_000..=601_000).contains(&left), "{left} ms");
    let named = store(&server).with_key_prefix("orders:");
    assert_eq!(claim(&named, "nonce-1").await.unwrap(), NonceStatus::New, "another prefix has separate nonces");
    assert_eq!(server.command::<i64>(&["EXISTS", "orders:demo/nonce-1"]), 1);
}

#[tokio::test]
async fn expired_claim_is_not_sent_to_redis() {
    let server = RedisServer::start();
    let (app, nonce): (AppId, Nonce) = ("demo".parse().unwrap(), "nonce-1".parse().unwrap());
    let late = store(&server).claim(&NonceClaim::new(&app, &nonce), Retention::new(NOW, NOW)).await;
    assert_eq!(late.unwrap(), NonceStatus::Expired);
    assert_eq!(server.command::<i64>(&["DBSIZE"]), 0);
}

/// The claims are sent in batches, and each must get its own reply.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_claims_get_their_own_replies() {
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
    // The claim is started, and its tasks end with the runtime.
    runtime().block_on(async {
        assert!(claim(&store, "nonce-1").now_or_never().is_none());
    });
    assert_eq!(runtime().block_on(claim(&store, "nonce-2")).unwrap(), NonceStatus::New);
}

/// The runtime is not polled and not dropped, so its tasks neither continue nor end.
#[test]
fn stalled_runtime_does_not_block_others() {
    let server = RedisServer::start();
    let store = store(&server);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stalled = runtime();
    stalled.block_on(async { assert!(claim(&store, "nonce-1").now_or_never().is_none()) });
    runtime().block_on(async {
        for n in 2..100 {
            assert_eq!(claim(&store, &format!("nonce-{n}")).await.unwrap(), NonceStatus::New);
        }
    });
}

/// Starts `claims` claims on a thread that then blocks. The last of them is not yet sent by another thread.
async fn with_busy_thread(store: &RedisNonceStore, claims: usize, meanwhile: impl AsyncFnOnce(Vec<StartedClaim>)) {
    let (store, (started, has_started), (release, done)) = (store.clone(), oneshot::channel(), mpsc::channel());
    let busy = tokio::spawn(async move {
        let mut claims: Vec<_> = (0..claims).map(|_| Box::pin(maybe_done(fresh_claim(&store)))).collect();
        // Another thread may complete some of them at once.
        claims.iter_mut().for_each(|claim| _ = claim.now_or_never());
        assert!(started.send(claims).is_ok());
        done.recv_timeout(Duration::from_secs(5))
    });
    let in_time = timeout(Duration::from_secs(4), meanwhile(has_started.await.unwrap())).await;
    release.send(()).unwrap();
    assert_eq!((busy.await.unwrap(), in_time), (Ok(()), Ok(())));
}

type Claim = BoxFuture<'static, Result<NonceStatus, StoreError>>;

type StartedClaim = Pin<Box<MaybeDone<Claim>>>;

async fn answer(mut claim: StartedClaim) -> NonceStatus {
    claim.as_mut().await;
    claim.as_mut().take_output().unwrap().unwrap()
}

fn fresh_claim(store: &RedisNonceStore) -> Claim {
    let store = store.clone();
    async move { claim(&store, rig::fresh_nonce().as_str()).await }.boxed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_thread_does_not_block_others() {
    let server = RedisServer::start();
    let store = store(&server);
    assert_eq!(fresh_claim(&store).await.unwrap(), NonceStatus::New);
    with_busy_thread(&store, 1, async |claims| {
        assert_eq!(fresh_claim(&store).await.unwrap(), NonceStatus::New);
        for started in claims {
            assert_eq!(answer(started).await, NonceStatus::New, "it was sent in the same batch");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_batch_is_not_left_to_busy_thread() {
    let server = RedisServer::start();
    let store = store(&server);
    assert_eq!(fresh_claim(&store).await.unwrap(), NonceStatus::New);
    with_busy_thread(&store, 32, async |claims| {
        for status in join_all(claims.into_iter().map(answer)).await {
            assert_eq!(status, NonceStatus::New);
        }
    })
    .await;
}

#[test]
fn claim_without_a_runtime_is_an_error() {
    let server = RedisServer::start();
    let error = claim(&store(&server), "nonce-1").now_or_never().unwrap().unwrap_err();
    let message = error.source().unwrap().to_string();
    assert_eq!(message, "a command to Redis needs a tokio runtime, and there is none here");
}

/// A client whose first connection attempt never ends.
struct HangsAtFirst(AtomicUsize, redis::Client);

impl Connect for HangsAtFirst {
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
    let store = RedisNonceStore::new(HangsAtFirst(0.into(), server.client()));
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stalled = runtime();
    stalled.block_on(async {
        let soon = Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, claim(&store, "nonce-1")).await.is_err(), "the connection is pending");
    });
    runtime().block_on(async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(claim(&store, "nonce-2").await.unwrap(), NonceStatus::New);
    });
}

/// Each verifier has its own connection, as separate processes have.
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
    // The TTL exceeds the window by the allowed difference of the verifiers' clocks.
    let key: String = server.command(&["RANDOMKEY"]);
    let left: i64 = server.command(&["PTTL", &key]);
    assert!((350_000..=361_000).contains(&left), "{left} ms");
}
