//! Redis is unavailable, slow, full or without the scripts. Calls fail in time, and no submission runs twice.

use std::time::Instant;

use super::*;

/// The longest time for a call: the deadline, and a margin for a busy machine.
const IN_TIME: Duration = Duration::from_millis(250 + 250);

/// Calls each method, and asserts that it fails in time. Returns the errors.
async fn all_fail<C: Connect>(store: &RedisSubmissionStore<C>) -> Vec<String> {
    let (at, lease, end, start) = (place(1), lease(1), Finish::Unknown, Instant::now());
    let (reserved, renewed, finished, state, settled, forgotten) = tokio::join!(
        reserve(store, &at, &lease, WhenLost::TakeOver),
        store.renew(&at, &lease),
        store.finish(&at, &lease, &end),
        store.state(&at),
        store.settle(&at, &end),
        store.forget(&at),
    );
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    let errors = [
        reserved.map(drop),
        renewed.map(drop),
        finished.map(drop),
        state.map(drop),
        settled.map(drop),
        forgotten.map(drop),
    ];
    errors.into_iter().map(|error| format!("{:?}", error.unwrap_err())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_redis_fails_calls_in_time() {
    let server = RedisServer::start();
    let store = submission_store(&server);
    reserve(&store, &place(1), &lease(1), WhenLost::Unknown).await.unwrap();
    server.freeze();
    for error in all_fail(&store).await {
        assert!(error.contains("Deadline"), "{error}");
    }
    server.thaw();
    let start = Instant::now();
    while store.state(&place(2)).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(reserve(&store, &place(2), &lease(1), WhenLost::Unknown).await.unwrap(), Reserved::Yes);
}

#[tokio::test]
async fn killed_redis_fails_calls() {
    let mut server = RedisServer::start();
    let store = submission_store(&server);
    reserve(&store, &place(1), &lease(1), WhenLost::Unknown).await.unwrap();
    server.kill();
    all_fail(&store).await;
}

#[tokio::test]
async fn full_redis_still_finishes_submissions() {
    let server = RedisServer::start();
    let store = submission_store(&server);
    for n in 1..=5 {
        reserve(&store, &place(n), &lease(1), WhenLost::Unknown).await.unwrap();
    }
    reserve(&store, &place(6), &lost(1), WhenLost::Unknown).await.unwrap();
    store.finish(&place(1), &lease(1), &Finish::Done(answer())).await.unwrap();
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = reserve(&store, &place(7), &lease(1), WhenLost::Unknown).await.unwrap_err();
    assert!(format!("{error:?}").contains("OOM"), "{error:?}");
    assert_eq!(state(&store, &place(7)).await, None);
    assert_eq!(state(&store, &place(1)).await, Some(EntryState::Done(answer())), "no entry is dropped");
    assert!(matches!(reserve(&store, &place(2), &lease(2), WhenLost::TakeOver).await.unwrap(), Reserved::No(_)));
    assert!(store.renew(&place(2), &lease(1)).await.unwrap());
    assert!(store.finish(&place(2), &lease(1), &Finish::Done(answer())).await.unwrap());
    assert_eq!(state(&store, &place(2)).await, Some(EntryState::Done(answer())));
    assert!(store.finish(&place(3), &lease(1), &Finish::Unknown).await.unwrap());
    assert!(store.settle(&place(3), &Finish::Done(answer())).await.unwrap());
    assert_eq!(state(&store, &place(3)).await, Some(EntryState::Done(answer())));
    assert!(store.finish(&place(4), &lease(1), &Finish::Release).await.unwrap());
    assert!(store.forget(&place(6)).await.unwrap());
    assert_eq!(state(&store, &place(5)).await, Some(EntryState::InFlight));
}

#[tokio::test]
async fn replica_reserves_nothing() {
    let server = RedisServer::start();
    let store = submission_store(&server);
    server.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = reserve(&store, &place(1), &lease(1), WhenLost::Unknown).await.unwrap_err();
    assert!(format!("{error:?}").to_lowercase().contains("read only"), "{error:?}");
}

#[tokio::test]
async fn scripts_are_sent_again_when_redis_forgets_them() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    let flush = || server.command::<()>(&["SCRIPT", "FLUSH"]);
    for _ in 0..2 {
        flush();
        assert_eq!(reserve(&store, &at, &lost(1), WhenLost::Unknown).await.unwrap(), Reserved::Yes);
        flush();
        assert_eq!(reserve(&store, &at, &lease(2), WhenLost::TakeOver).await.unwrap(), Reserved::Yes);
        flush();
        assert!(store.renew(&at, &lease(2)).await.unwrap());
        flush();
        assert!(store.finish(&at, &lease(2), &Finish::Unknown).await.unwrap());
        flush();
        assert_eq!(state(&store, &at).await, Some(EntryState::Unknown));
        flush();
        assert!(store.settle(&at, &Finish::Done(answer())).await.unwrap());
        flush();
        assert!(store.forget(&at).await.unwrap());
    }
    let stats: String = server.command(&["INFO", "commandstats"]);
    assert!(!stats.contains("cmdstat_script|load"), "{stats}");
}

#[tokio::test]
async fn check_finds_a_server_that_evicts_submissions() {
    let server = RedisServer::start();
    assert_eq!(submission_store(&server).check().await.unwrap().servers, 1);
    let evicting = RedisServer::start_with(&["--maxmemory-policy", "volatile-ttl"]);
    let error = submission_store(&evicting).check().await.unwrap_err().to_string();
    assert!(error.contains("noeviction") && error.contains("submission"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_one_user_leaves_places_for_others() {
    let server = RedisServer::start();
    let nonces = RedisNonceStore::new(server.client()).with_max_in_flight(100);
    let store = RedisSubmissionStore::sharing(&nonces);
    store.state(&place(1)).await.unwrap();
    server.freeze();
    let owner = |n| Some(countersign::store::OwnerTag::from_bytes([n; 16]));
    let of = move |app: &str, user| SubmissionRef::new([1; 32], app.parse().unwrap(), user);
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let store = store.clone();
        flood.spawn(async move { format!("{:?}", store.state(&of("demo", owner(1))).await.unwrap_err()) });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (other_user, other_app) = (of("demo", owner(2)), of("other", None));
    let (user, app, claimed) =
        tokio::join!(store.state(&other_user), store.state(&other_app), claim(&nonces, "nonce-1"));
    for error in [user.map(drop).unwrap_err(), app.map(drop).unwrap_err(), claimed.map(drop).unwrap_err()] {
        assert!(format!("{error:?}").contains("Deadline"), "it had a place: {error:?}");
    }
    let busy = flood.join_all().await.iter().filter(|error| error.contains("Busy")).count();
    assert!((200..=290).contains(&busy), "{busy}");
}
