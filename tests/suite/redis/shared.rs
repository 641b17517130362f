//! One truth about nonces, between verifiers that share a Redis.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use countersign::store::conformance;
use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_law_of_nonce_stores() {
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
    assert_eq!(claim(&store(&server), "nonce-1").await.unwrap(), Occurrence::First);
    assert_eq!(server.tell::<Vec<String>>(&["KEYS", "*"]), ["cs1:demo/nonce-1"]);
    let left: i64 = server.tell(&["PTTL", "cs1:demo/nonce-1"]);
    assert!((590_000..=601_000).contains(&left), "{left} ms");
    let named = store(&server).with_key_prefix("orders:");
    assert_eq!(claim(&named, "nonce-1").await.unwrap(), Occurrence::First, "another prefix, other nonces");
    assert_eq!(server.tell::<i64>(&["EXISTS", "orders:demo/nonce-1"]), 1);
}

#[tokio::test]
async fn a_claim_after_its_end_is_late_without_asking() {
    let server = RedisServer::start();
    let (app, nonce): (AppId, Nonce) = ("demo".parse().unwrap(), "nonce-1".parse().unwrap());
    let late = store(&server).claim(&app, &nonce, Lifetime::new(NOW, NOW)).await;
    assert_eq!(late.unwrap(), Occurrence::Late);
    assert_eq!(server.tell::<i64>(&["DBSIZE"]), 0);
}

/// They go out together, and what comes back must find its own.
#[tokio::test(flavor = "multi_thread")]
async fn claims_made_at_once_have_each_their_own_answer() {
    let server = RedisServer::start();
    let store = store(&server);
    for n in (0..500).step_by(3) {
        assert_eq!(claim(&store, &format!("nonce-{n}")).await.unwrap(), Occurrence::First);
    }
    let mut claims = JoinSet::new();
    for n in 0..500 {
        let store = store.clone();
        claims.spawn(async move { (n, claim(&store, &format!("nonce-{n}")).await.unwrap()) });
    }
    for (n, occurrence) in claims.join_all().await {
        assert_eq!(occurrence, if n % 3 == 0 { Occurrence::Repeated } else { Occurrence::First }, "{n}");
    }
}

#[test]
fn a_runtime_that_ends_takes_no_later_claim_with_it() {
    let server = RedisServer::start();
    let store = store(&server);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Begun, and no more: whatever it has started ends with its runtime.
    runtime().block_on(async {
        assert!(claim(&store, "nonce-1").now_or_never().is_none());
    });
    assert_eq!(runtime().block_on(claim(&store, "nonce-2")).unwrap(), Occurrence::First);
}

/// It stands still and is not gone: what it has begun neither ends nor goes on.
#[test]
fn a_runtime_that_stands_still_holds_no_other_up() {
    for for_long in [false, true] {
        let server = RedisServer::start();
        let store = store(&server);
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let still = runtime();
        still.block_on(async { assert!(claim(&store, "nonce-1").now_or_never().is_none()) });
        runtime().block_on(async {
            if for_long {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            let first = claim(&store, "nonce-2").await;
            let is_late = !for_long && format!("{first:?}").contains("Deadline");
            assert!(first.is_ok() || is_late, "{first:?}");
            tokio::time::sleep(Duration::from_millis(25)).await;
            for n in 3..100 {
                assert_eq!(claim(&store, &format!("nonce-{n}")).await.unwrap(), Occurrence::First);
            }
        });
    }
}

/// Nor do the claims that would have gone out with one of its.
#[test]
fn a_full_piece_is_not_left_to_a_runtime_that_stands_still() {
    let server = RedisServer::start();
    let store = store(&server);
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (busy, still) = (runtime(), runtime());
    let first: Vec<String> = (1..32).map(|n| format!("nonce-{n}")).collect();
    busy.block_on(async {
        let mut claims: Vec<_> = first.iter().map(|nonce| Box::pin(claim(&store, nonce))).collect();
        assert!(claims.iter_mut().all(|claim| claim.now_or_never().is_none()));
        let scope = std::thread::scope(|threads| {
            let last = threads.spawn(|| still.block_on(async { claim(&store, "nonce-32").now_or_never().is_none() }));
            last.join().unwrap()
        });
        assert!(scope, "it waits");
        for claim in claims {
            assert_eq!(claim.await.unwrap(), Occurrence::First);
        }
    });
}

/// Never done on the first runtime that it is asked on.
struct Waits(AtomicUsize, redis::Client);

impl Connect for Waits {
    type Connection = redis::aio::MultiplexedConnection;

    const CONNECTING: Duration = Duration::from_millis(50);

    async fn connect(&self) -> redis::RedisResult<Self::Connection> {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 {
            std::future::pending::<()>().await;
        }
        self.1.connect().await
    }
}

#[test]
fn a_connection_that_is_made_where_all_stands_still_is_made_elsewhere() {
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
        assert_eq!(claim(&store, "nonce-2").await.unwrap(), Occurrence::First);
    });
}

/// As processes have them: each with a connection of its own.
#[tokio::test(flavor = "multi_thread")]
async fn of_3_000_requests_raced_at_two_verifiers_each_has_one_winner() {
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
