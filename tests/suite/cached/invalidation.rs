//! Once `invalidate` has returned, nothing that was looked up before is an answer.

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
async fn an_app_is_looked_up_again() {
    let (keys, database, _) = cached();
    assert_eq!(ask(&keys, "demo").await, "key 1");
    database.set("demo", 2);
    keys.invalidate(&app("demo"));
    assert_eq!(ask(&keys, "demo").await, "key 2");
    database.remove("demo");
    keys.clone().invalidate(&app("demo"));
    assert_eq!(ask(&keys, "demo").await, "none");
    assert_eq!(database.asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn invalidation_overrides_the_failure_backoff() {
    for known in [false, true] {
        let (keys, database, clock) = cached();
        if known {
            ask(&keys, "demo").await;
            clock.advance(TTL);
        }
        database.is(Mood::Failing);
        assert_eq!(ask(&keys, "demo").await, "the key store failed");
        database.is(Mood::Well);
        assert_eq!(ask(&keys, "demo").await, "the key store failed", "it is left alone for a moment");
        keys.invalidate(&app("demo"));
        assert_eq!(ask(&keys, "demo").await, "key 1");
    }
}

#[tokio::test(start_paused = true)]
async fn invalidation_keeps_other_apps_cached() {
    let (keys, database, _) = cached();
    let apps: Vec<String> = (0..50).map(|n| format!("app-{n}")).collect();
    for app in &apps {
        ask(&keys, app).await;
    }
    keys.invalidate(&app("demo"));
    for app in &apps {
        ask(&keys, app).await;
    }
    // One of fifty may have its hash; two have it once in a thousand runs, ten never.
    assert!(database.asked() < 60, "{}", database.asked());
    keys.invalidate_all();
    for app in &apps {
        ask(&keys, app).await;
    }
    assert!(database.asked() >= 100);
}

#[tokio::test(start_paused = true)]
async fn a_look_up_in_flight_is_overtaken() {
    for everything in [false, true] {
        let (keys, database, _) = cached();
        database.is(Mood::Held);
        let mut waiting = pin!(join_all((0..3).map(|_| ask(&keys, "demo"))));
        assert!(waiting.as_mut().now_or_never().is_none());
        settle().await;
        assert_eq!(database.in_flight(), 1, "it has read key 1");
        database.set("demo", 2);
        match everything {
            true => keys.invalidate_all(),
            false => keys.invalidate(&app("demo")),
        }
        // Another look-up answers sooner than the one that was overtaken.
        database.is(Mood::Well);
        assert_eq!(ask(&keys, "demo").await, "key 2");
        database.release(1);
        assert_eq!(waiting.await, ["key 2"; 3], "those who waited have the new key too");
        settle().await;
        assert_eq!(ask_at_once(&keys, "demo").await, "key 2");
        assert_eq!(database.asked(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn waiters_of_an_overtaken_lookup_retry() {
    let (keys, database, _) = cached();
    database.is(Mood::Held);
    let mut waiting = pin!(join_all((0..3).map(|_| ask(&keys, "demo"))));
    assert!(waiting.as_mut().now_or_never().is_none());
    settle().await;
    database.remove("demo");
    keys.invalidate(&app("demo"));
    database.release(2);
    assert_eq!(waiting.await, ["none"; 3]);
    assert_eq!(database.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn failure_of_an_overtaken_lookup_is_ignored() {
    let (keys, database, _) = cached();
    database.is(Mood::Held);
    let mut waiting = pin!(ask(&keys, "demo"));
    assert!(waiting.as_mut().now_or_never().is_none());
    settle().await;
    keys.invalidate(&app("demo"));
    database.is(Mood::Failing);
    database.release(1);
    settle().await;
    assert_eq!(database.in_flight(), 0);
    database.is(Mood::Well);
    assert_eq!(waiting.await, "key 1");
}

#[tokio::test(start_paused = true)]
async fn waiters_of_an_overtaken_lookup_get_fresh_keys() {
    let (keys, database, _) = cached();
    let keys = keys.with_ttl(Duration::ZERO).with_grace(TTL);
    database.is(Mood::Held);
    let mut waiting = pin!(ask(&keys, "demo"));
    assert!(waiting.as_mut().now_or_never().is_none());
    settle().await;
    keys.invalidate(&app("demo"));
    database.is(Mood::Well);
    database.set("demo", 2);
    assert_eq!(ask(&keys, "demo").await, "key 2");
    database.set("demo", 3);
    database.release(1);
    assert_eq!(waiting.await, "key 3");
}

#[tokio::test(start_paused = true)]
async fn overtaken_lookup_does_not_affect_the_current_one() {
    let (keys, database, _) = cached();
    database.is(Mood::Held);
    let mut first = pin!(ask(&keys, "demo"));
    assert!(first.as_mut().now_or_never().is_none());
    settle().await;
    keys.invalidate(&app("demo"));
    let mut second = pin!(ask(&keys, "demo"));
    assert!(second.as_mut().now_or_never().is_none());
    settle().await;
    assert_eq!(database.in_flight(), 2);
    database.release(1);
    settle().await;
    assert_eq!(database.in_flight(), 1);
    let mut third = pin!(ask(&keys, "demo"));
    assert!(first.as_mut().now_or_never().is_none() && third.as_mut().now_or_never().is_none());
    settle().await;
    assert_eq!((database.asked(), database.in_flight()), (2, 1), "all wait for the second one");
    database.release(1);
    assert_eq!(join_all([first, second, third]).await.concat(), "key 1".repeat(3));
}

#[tokio::test(start_paused = true)]
async fn endless_invalidation_ends_by_the_deadline() {
    let (keys, database, _) = cached();
    database.is(Mood::Slow(10 * MS));
    let start = Instant::now();
    let asking = ask(&keys, "demo");
    let invalidating = async {
        loop {
            tokio::time::sleep(MS).await;
            keys.invalidate(&app("demo"));
        }
    };
    let answer = tokio::select! {
        answer = asking => answer,
        () = invalidating => unreachable!(),
    };
    assert_eq!(answer, "the key store did not answer within 250 ms");
    assert!(start.elapsed() <= DEADLINE + MS);
}

#[tokio::test(start_paused = true)]
async fn invalidation_drops_stale_keys() {
    let (keys, database, clock) = cached();
    let keys = keys.with_grace(TTL);
    ask(&keys, "demo").await;
    clock.advance(TTL);
    database.is(Mood::Failing);
    assert_eq!(ask(&keys, "demo").await, "key 1");
    clock.advance(SECOND);
    keys.invalidate(&app("demo"));
    for _ in 0..3 {
        assert_eq!(ask(&keys, "demo").await, "the key store failed");
        clock.advance(SECOND);
    }
}

#[tokio::test(start_paused = true)]
async fn stale_keys_are_gone_for_those_who_wait_too() {
    let (keys, database, clock) = cached();
    let keys = keys.with_grace(TTL);
    ask(&keys, "demo").await;
    clock.advance(TTL);
    database.is(Mood::Hanging);
    let mut waiting = pin!(ask(&keys, "demo"));
    assert!(waiting.as_mut().now_or_never().is_none());
    settle().await;
    keys.invalidate(&app("demo"));
    assert_eq!(waiting.await, "the key store did not answer within 250 ms");
    settle().await;
    assert_eq!(database.asked(), 2, "nobody waits for another look-up");
}

/// On several threads: whoever asks after an invalidation never gets a key of before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_retired_key_is_returned_after_invalidation() {
    const ROTATIONS: u64 = 300;
    let (keys, database, _) = cached();
    let keys = keys.with_deadline(PATIENT);
    database.is(Mood::Slow(MS));
    let retired = Arc::new(AtomicU64::new(0));
    let askers = (0..4).map(|_| {
        let (keys, retired) = (keys.clone(), retired.clone());
        tokio::spawn(async move {
            let mut asked = 0;
            loop {
                let last_retired = retired.load(Ordering::SeqCst);
                let ring = keys.keys(&app("demo")).await.unwrap().unwrap();
                assert!(last_retired == 0 || !signs(&ring, last_retired).await, "key {last_retired} is retired");
                asked += 1;
                if last_retired == ROTATIONS {
                    return asked;
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let askers: Vec<_> = askers.collect();
    for key in 1..=ROTATIONS {
        database.set("demo", key + 1);
        keys.invalidate(&app("demo"));
        retired.store(key, Ordering::SeqCst);
        // Less than a look-up takes, about as much, and more.
        tokio::time::sleep(MS * (key % 4) as u32).await;
    }
    for asker in askers {
        assert!(asker.await.unwrap() > 0);
    }
}
