//! Concurrent callers share one lookup. No lookup is made while the cached answer is fresh.

use std::pin::pin;

use countersign::store::conformance;
use futures_util::{FutureExt, future::join_all};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn cached_keys_pass_the_conformance_suite() {
    let keys = cached().0.with_deadline(PATIENT);
    conformance::key_store(&keys, &app("demo"), &app("stranger")).await;
    conformance::key_store(&CachedKeys::new(rig::keys()), &app("demo"), &app("stranger")).await;
    conformance::key_store(&keys.with_ttl(Duration::ZERO), &app("demo"), &app("stranger")).await;
}

#[tokio::test(start_paused = true)]
async fn store_is_read_once_per_ttl() {
    let (keys, database, clock) = cached();
    for _ in 0..3 {
        assert_eq!(look_up_now(&keys, "demo").await, "key 1");
    }
    assert_eq!(database.lookups(), 1);
    clock.advance(TTL - MS);
    look_up(&keys, "demo").await;
    assert_eq!(database.lookups(), 1);
    clock.advance(MS);
    look_up(&keys, "demo").await;
    assert_eq!(database.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn ttls_and_deadline_are_configurable() {
    let (keys, database, clock) = cached();
    let keys = keys.with_ttl(SECOND).with_unknown_ttl(2 * SECOND).with_deadline(10 * MS);
    for (id, life) in [("demo", SECOND), ("stranger", 2 * SECOND)] {
        look_up(&keys, id).await;
        clock.advance(life - MS);
        look_up_now(&keys, id).await;
        assert_eq!(database.lookups_of(id), 1, "{id}");
        clock.advance(MS);
        look_up(&keys, id).await;
        assert_eq!(database.lookups_of(id), 2, "{id}");
    }
    database.set_behavior(Behavior::Hanging);
    assert_eq!(look_up(&keys, "another").await, "the key store did not answer within 10 ms");
}

#[tokio::test(start_paused = true)]
async fn cached_apps_are_limited_by_the_capacity() {
    let (keys, database, _) = cached();
    let keys = keys.with_capacity(20);
    let apps: Vec<String> = (0..2000).map(|n| format!("app-{n}")).collect();
    for look_ups in [2000, 3900] {
        for app in &apps {
            database.set(app, 1);
            assert_eq!(look_up(&keys, app).await, "key 1");
        }
        assert!(database.lookups() >= look_ups, "{}", database.lookups());
    }
}

#[tokio::test(start_paused = true)]
async fn ttl_starts_when_the_lookup_starts() {
    let (keys, database, clock) = cached();
    database.set_behavior(Behavior::Held);
    let (first, ()) = tokio::join!(look_up(&keys, "demo"), async {
        settle().await;
        database.set("demo", 2);
        clock.advance(TTL - MS);
        database.release(1);
    });
    assert_eq!(first, "key 1", "the key at the time of the lookup");
    database.set_behavior(Behavior::Healthy);
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    clock.advance(MS);
    assert_eq!(look_up(&keys, "demo").await, "key 2", "a TTL after the key was retired");
}

#[tokio::test(start_paused = true)]
async fn new_key_replaces_retired_key_after_ttl() {
    let (keys, database, clock) = cached();
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    database.set("demo", 2);
    clock.advance(TTL - MS);
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    clock.advance(MS);
    assert_eq!(look_up(&keys, "demo").await, "key 2");
}

#[tokio::test(start_paused = true)]
async fn removed_app_fails_after_the_ttl() {
    let (keys, database, clock) = cached();
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    database.remove("demo");
    clock.advance(TTL - MS);
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    clock.advance(MS);
    assert_eq!(look_up(&keys, "demo").await, "none");
    assert_eq!(look_up(&keys, "demo").await, "none");
    assert_eq!(database.lookups(), 2, "the unknown app is cached");
}

#[tokio::test(start_paused = true)]
async fn concurrent_callers_share_one_lookup() {
    let (keys, database, clock) = cached();
    for look_ups in 1..=2 {
        let answers = join_all((0..1000).map(|_| look_up(&keys, "demo"))).await;
        assert!(answers.iter().all(|answer| answer == "key 1"));
        assert_eq!(database.lookups(), look_ups);
        clock.advance(TTL);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_on_several_threads_share_one_lookup() {
    for _ in 0..20 {
        let (keys, database, _) = cached();
        let keys = keys.with_deadline(PATIENT);
        let callers = (0..1000).map(|_| {
            let keys = keys.clone();
            tokio::spawn(async move { keys.keys(&app("demo")).await.unwrap().is_some() })
        });
        assert!(join_all(callers).await.into_iter().all(Result::unwrap));
        assert_eq!(database.lookups(), 1);
    }
}

/// A lookup may end between a caller's cache miss and its search for a lookup in flight.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_in_lockstep_look_up_each_app_once() {
    for behavior in [Behavior::Healthy, Behavior::Failing] {
        let (keys, database, _) = cached();
        let keys = keys.with_deadline(PATIENT);
        database.set_behavior(behavior);
        let callers = (0..4).map(|_| {
            let keys = keys.clone();
            tokio::spawn(async move {
                for n in 0..5000 {
                    let answer = keys.keys(&app(&format!("app-{n}"))).await;
                    assert_eq!(answer.map_or(Behavior::Failing, |_| Behavior::Healthy), behavior);
                }
            })
        });
        assert!(join_all(callers).await.iter().all(Result::is_ok));
        assert_eq!((database.lookups(), database.max_lookups_of_one_app()), (5000, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn lookup_continues_when_its_first_caller_cancels() {
    let (keys, database, _) = cached();
    database.set_behavior(Behavior::Held);
    let mut second = pin!(look_up(&keys, "demo"));
    {
        let mut first = pin!(look_up(&keys, "demo"));
        assert!(first.as_mut().now_or_never().is_none());
        settle().await;
        assert!(second.as_mut().now_or_never().is_none());
    }
    settle().await;
    assert_eq!(database.in_flight(), 1, "the lookup continues");
    database.release(1);
    assert_eq!(second.await, "key 1");
    assert_eq!(database.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_callers_can_cancel() {
    let (keys, database, _) = cached();
    database.set_behavior(Behavior::Held);
    let mut first = pin!(look_up(&keys, "demo"));
    assert!(first.as_mut().now_or_never().is_none());
    for _ in 0..10 {
        assert!(look_up(&keys, "demo").now_or_never().is_none());
    }
    settle().await;
    database.release(1);
    assert_eq!(first.await, "key 1");
    assert_eq!(database.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn result_without_waiters_is_cached() {
    let (keys, database, _) = cached();
    assert!(look_up(&keys, "demo").now_or_never().is_none());
    settle().await;
    assert_eq!(database.in_flight(), 0);
    assert_eq!(look_up_now(&keys, "demo").await, "key 1");
    assert_eq!(database.lookups(), 1);
}

#[tokio::test(start_paused = true)]
async fn wall_clock_steps_do_not_affect_the_ttl() {
    let (keys, database, clock) = cached();
    look_up(&keys, "demo").await;
    for wall in [0, NOW * 2, u64::MAX, NOW] {
        clock.set_wall(wall);
        look_up(&keys, "demo").await;
    }
    assert_eq!(database.lookups(), 1);
    clock.set_wall(0);
    clock.advance(TTL);
    look_up(&keys, "demo").await;
    assert_eq!(database.lookups(), 2, "the TTL follows the monotonic clock");
}

#[tokio::test(start_paused = true)]
async fn clones_share_one_cache() {
    let (keys, database, _) = cached();
    look_up(&keys, "demo").await;
    look_up(&keys.clone(), "demo").await;
    assert_eq!(database.lookups(), 1);
    look_up(&keys.with_ttl(TTL), "demo").await;
    assert_eq!(database.lookups(), 2, "a changed setting starts with an empty cache");
}

#[test]
fn lookup_without_a_runtime_is_an_error() {
    let (keys, ..) = cached();
    let answer = look_up(&keys, "demo").now_or_never().unwrap();
    assert_eq!(answer, "there is no tokio runtime, or it is shutting down");
}

#[test]
fn lookup_lost_with_its_runtime_is_restarted() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (keys, database, _) = cached();
    database.set_behavior(Behavior::Hanging);
    let first = runtime();
    first.block_on(async { assert!(look_up(&keys, "demo").now_or_never().is_none()) });
    drop(first);
    database.set_behavior(Behavior::Healthy);
    assert_eq!(runtime().block_on(look_up(&keys, "demo")), "key 1");
}

#[tokio::test(start_paused = true)]
async fn debug_shows_no_key() {
    let (keys, ..) = cached();
    look_up(&keys, "demo").await;
    let shown = format!("{keys:?}");
    assert!(shown.contains("CachedKeys") && shown.contains("60s") && !shown.contains("0001"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn maximum_deadline_is_accepted() {
    let (keys, _, _) = cached();
    assert_eq!(look_up(&keys.with_deadline(Duration::MAX), "demo").await, "key 1");
}
