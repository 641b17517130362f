//! After `invalidate` has returned, no earlier lookup is an answer.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::{FutureExt, future::join_all};

use super::*;

#[tokio::test(start_paused = true)]
async fn invalidated_app_is_looked_up_again() {
    let (keys, database, _) = cached();
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    database.set("demo", 2);
    keys.invalidate(&app("demo"));
    assert_eq!(look_up(&keys, "demo").await, "key 2");
    database.remove("demo");
    keys.clone().invalidate(&app("demo"));
    assert_eq!(look_up(&keys, "demo").await, "none");
    assert_eq!(database.lookups(), 3);
}

#[tokio::test(start_paused = true)]
async fn invalidation_overrides_the_failure_backoff() {
    for known in [false, true] {
        let (keys, database, clock) = cached();
        if known {
            look_up(&keys, "demo").await;
            clock.advance(TTL);
        }
        database.set_behavior(Behavior::Failing);
        assert_eq!(look_up(&keys, "demo").await, "the key store failed");
        database.set_behavior(Behavior::Healthy);
        assert_eq!(look_up(&keys, "demo").await, "the key store failed", "the backoff is not over");
        keys.invalidate(&app("demo"));
        assert_eq!(look_up(&keys, "demo").await, "key 1");
    }
}

#[tokio::test(start_paused = true)]
async fn invalidation_keeps_other_apps_cached() {
    let (keys, database, _) = cached();
    let apps: Vec<String> = (0..50).map(|n| format!("app-{n}")).collect();
    for app in &apps {
        look_up(&keys, app).await;
    }
    keys.invalidate(&app("demo"));
    for app in &apps {
        look_up(&keys, app).await;
    }
    // Invalidation may hit one of the fifty by its hash. Two occur once in a thousand runs, ten never.
    assert!(database.lookups() < 60, "{}", database.lookups());
    keys.invalidate_all();
    for app in &apps {
        look_up(&keys, app).await;
    }
    assert!(database.lookups() >= 100);
}

#[tokio::test(start_paused = true)]
async fn invalidation_supersedes_a_lookup_in_flight() {
    for everything in [false, true] {
        let (keys, database, _) = cached();
        database.set_behavior(Behavior::Held);
        let mut waiting = pin!(join_all((0..3).map(|_| look_up(&keys, "demo"))));
        assert!(waiting.as_mut().now_or_never().is_none());
        settle().await;
        assert_eq!(database.in_flight(), 1, "the lookup has read key 1");
        database.set("demo", 2);
        match everything {
            true => keys.invalidate_all(),
            false => keys.invalidate(&app("demo")),
        }
        // A second lookup answers before the superseded one.
        database.set_behavior(Behavior::Healthy);
        assert_eq!(look_up(&keys, "demo").await, "key 2");
        database.release(1);
        assert_eq!(waiting.await, ["key 2"; 3], "the waiters get the new key too");
        settle().await;
        assert_eq!(look_up_now(&keys, "demo").await, "key 2");
        assert_eq!(database.lookups(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_of_a_superseded_lookup_retry() {
    let (keys, database, _) = cached();
    database.set_behavior(Behavior::Held);
    let mut waiting = pin!(join_all((0..3).map(|_| look_up(&keys, "demo"))));
    assert!(waiting.as_mut().now_or_never().is_none());
    settle().await;
    database.remove("demo");
    keys.invalidate(&app("demo"));
    database.release(2);
    assert_eq!(waiting.await, ["none"; 3]);
    assert_eq!(database.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn failure_of_a_superseded_lookup_is_ignored() {
    let (keys, database, _) = cached();
    database.set_behavior(Behavior::Held);
    let mut waiting = pin!(look_up(&keys, "demo"));
    assert!(waiting.as_mut().now_or_never().is_none());
    settle().await;
    keys.invalidate(&app("demo"));
    database.set_behavior(Behavior::Failing);
    database.release(1);
    settle().await;
    assert_eq!(database.in_flight(), 0);
    database.set_behavior(Behavior::Healthy);
    assert_eq!(waiting.await, "key 1");
}

#[tokio::test(start_paused = true)]
async fn waiters_of_a_superseded_lookup_get_fresh_keys() {
    let (keys, database, _) = cached();
    let keys = keys.with_ttl(Duration::ZERO).with_grace(TTL);
    database.set_behavior(Behavior::Held);
    let mut waiting = pin!(look_up(&keys, "demo"));
    assert!(waiting.as_mut().now_or_never().is_none());
    settle().await;
    keys.invalidate(&app("demo"));
    database.set_behavior(Behavior::Healthy);
    database.set("demo", 2);
    assert_eq!(look_up(&keys, "demo").await, "key 2");
    database.set("demo", 3);
    database.release(1);
    assert_eq!(waiting.await, "key 3");
}

#[tokio::test(start_paused = true)]
async fn superseded_lookup_does_not_affect_the_current_one() {
    let (keys, database, _) = cached();
    database.set_behavior(Behavior::Held);
    let mut first = pin!(look_up(&keys, "demo"));
    assert!(first.as_mut().now_or_never().is_none());
    settle().await;
    keys.invalidate(&app("demo"));
    let mut second = pin!(look_up(&keys, "demo"));
    assert!(second.as_mut().now_or_never().is_none());
    settle().await;
    assert_eq!(database.in_flight(), 2);
    database.release(1);
    settle().await;
    assert_eq!(database.in_flight(), 1);
    let mut third = pin!(look_up(&keys, "demo"));
    assert!(first.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
    settle().await;
    assert_eq!((database.lookups(), database.in_flight()), (2, 1), "all callers wait for the second one");
    database.release(1);
    assert_eq!(join_all([first, second, third]).await.concat(), "key 1".repeat(3));
}

#[tokio::test(start_paused = true)]
async fn endless_invalidation_ends_by_the_deadline() {
    let (keys, database, _) = cached();
    database.set_behavior(Behavior::Slow(10 * MS));
    let start = Instant::now();
    let lookup = look_up(&keys, "demo");
    let invalidating = async {
        loop {
            tokio::time::sleep(MS).await;
            keys.invalidate(&app("demo"));
        }
    };
    let answer = tokio::select! {
        answer = lookup => answer,
        () = invalidating => unreachable!(),
    };
    assert_eq!(answer, "the key store did not answer within 250 ms");
    assert!(start.elapsed() <= DEADLINE + MS);
}

#[tokio::test(start_paused = true)]
async fn invalidation_drops_stale_keys() {
    let (keys, database, clock) = cached();
    let keys = keys.with_grace(TTL);
    look_up(&keys, "demo").await;
    clock.advance(TTL);
    database.set_behavior(Behavior::Failing);
    assert_eq!(look_up(&keys, "demo").await, "key 1");
    clock.advance(SECOND);
    keys.invalidate(&app("demo"));
    for _ in 0..3 {
        assert_eq!(look_up(&keys, "demo").await, "the key store failed");
        clock.advance(SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn invalidation_drops_stale_keys_for_waiters() {
    let (keys, database, clock) = cached();
    let keys = keys.with_grace(TTL);
    look_up(&keys, "demo").await;
    clock.advance(TTL);
    database.set_behavior(Behavior::Hanging);
    let mut waiting = pin!(look_up(&keys, "demo"));
    assert!(waiting.as_mut().now_or_never().is_none());
    settle().await;
    keys.invalidate(&app("demo"));
    assert_eq!(waiting.await, "the key store did not answer within 250 ms");
    settle().await;
    assert_eq!(database.lookups(), 2, "no caller waits for another lookup");
}

/// With several threads, a lookup that starts after an invalidation never returns an earlier key.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_retired_key_is_returned_after_invalidation() {
    const ROTATIONS: u64 = 300;
    let (keys, database, _) = cached();
    let keys = keys.with_deadline(PATIENT);
    database.set_behavior(Behavior::Slow(MS));
    let retired = Arc::new(AtomicU64::new(0));
    let callers = (0..4).map(|_| {
        let (keys, retired) = (keys.clone(), retired.clone());
        tokio::spawn(async move {
            let mut lookups = 0;
            loop {
                let last_retired = retired.load(Ordering::SeqCst);
                let ring = keys.keys(&app("demo")).await.unwrap().unwrap();
                assert!(last_retired == 0 || !signs(&ring, last_retired).await, "key {last_retired} is retired");
                lookups += 1;
                if last_retired == ROTATIONS {
                    return lookups;
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let callers: Vec<_> = callers.collect();
    for key in 1..=ROTATIONS {
        database.set("demo", key + 1);
        keys.invalidate(&app("demo"));
        retired.store(key, Ordering::SeqCst);
        // The pauses are shorter than a lookup, about as long, and longer.
        tokio::time::sleep(MS * (key % 4) as u32).await;
    }
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
}
