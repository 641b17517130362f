//! Lookups of unknown app ids: they cost the key store little and do not affect known apps.

use std::pin::pin;

use futures_util::{FutureExt, future::join_all};

use super::*;

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("made-up-{n}")).collect()
}

#[tokio::test(start_paused = true)]
async fn unknown_app_is_looked_up_once_per_ttl() {
    let (keys, database, clock) = cached();
    for _ in 0..3 {
        assert_eq!(look_up(&keys, "stranger").await, "none");
    }
    assert_eq!(database.lookups(), 1);
    clock.advance(UNKNOWN_TTL - MS);
    look_up_now(&keys, "stranger").await;
    assert_eq!(database.lookups(), 1);
    clock.advance(MS);
    look_up(&keys, "stranger").await;
    assert_eq!(database.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn created_app_is_known_after_unknown_ttl() {
    let (keys, database, clock) = cached();
    assert_eq!(look_up(&keys, "late").await, "none");
    database.set("late", 7);
    clock.advance(UNKNOWN_TTL - MS);
    assert_eq!(look_up(&keys, "late").await, "none");
    clock.advance(MS);
    assert_eq!(look_up(&keys, "late").await, "key 7");
    clock.advance(TTL - MS);
    assert_eq!(look_up_now(&keys, "late").await, "key 7");
    assert_eq!(database.lookups(), 2);
}

#[tokio::test(start_paused = true)]
async fn created_app_is_known_after_invalidation() {
    let (keys, database, _) = cached();
    assert_eq!(look_up(&keys, "late").await, "none");
    database.set("late", 7);
    keys.invalidate(&app("late"));
    assert_eq!(look_up(&keys, "late").await, "key 7");
}

#[tokio::test(start_paused = true)]
async fn each_unknown_id_reaches_the_store_once() {
    let (keys, database, _) = cached();
    database.set_behavior(Behavior::Slow(MS));
    let ids = ids(5000);
    for _ in 0..3 {
        for burst in ids.chunks(500) {
            let answers = join_all(burst.iter().map(|id| look_up(&keys, id))).await;
            assert!(answers.iter().all(|answer| answer == "none"));
        }
    }
    assert_eq!((database.lookups(), database.max_lookups_of_one_app()), (5000, 1));
    assert_eq!(database.max_in_flight(), 8);
}

#[tokio::test(start_paused = true)]
async fn unknown_lookups_in_flight_are_limited() {
    for (set, most) in [(3, 3), (0, 1), (usize::MAX, 100)] {
        let (keys, database, _) = cached();
        let keys = keys.with_max_unknown_in_flight(set);
        database.set_behavior(Behavior::Slow(MS));
        join_all(ids(100).iter().map(|id| look_up(&keys, id))).await;
        assert_eq!(database.max_in_flight(), most);
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_ids_evict_no_known_app() {
    let (keys, database, _) = cached();
    let keys = keys.with_capacity(20).with_unknown_capacity(100);
    let apps: Vec<String> = (0..10).map(|n| format!("app-{n}")).collect();
    for app in &apps {
        database.set(app, 1);
        look_up(&keys, app).await;
    }
    for id in ids(5000) {
        assert_eq!(look_up(&keys, &id).await, "none");
    }
    for app in &apps {
        assert_eq!(look_up_now(&keys, app).await, "key 1");
        assert_eq!(database.lookups_of(app), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn latest_unknown_ids_stay_cached() {
    let (keys, database, _) = cached();
    let keys = keys.with_unknown_capacity(1000);
    let ids = ids(5000);
    for id in &ids {
        look_up(&keys, id).await;
    }
    for id in ids.iter().rev().take(900) {
        look_up_now(&keys, id).await;
        assert_eq!(database.lookups_of(id), 1, "{id}");
    }
    // The oldest ids are evicted, because the memory is bounded.
    for id in ids.iter().take(100) {
        look_up(&keys, id).await;
        assert_eq!(database.lookups_of(id), 2, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn excess_unknown_lookups_are_rejected_at_once() {
    let (keys, database, clock) = cached();
    look_up(&keys, "demo").await;
    clock.advance(TTL);
    database.set_behavior(Behavior::Hanging);
    database.set_behavior_for("demo", Behavior::Healthy);
    let ids = ids(2000);
    let mut flood = pin!(join_all(ids.iter().map(|id| look_up(&keys, id))));
    assert!(flood.as_mut().now_or_never().is_none());
    settle().await;
    assert_eq!((database.lookups(), database.in_flight()), (1 + 8, 8));
    assert_eq!(look_up_now(&keys, "one-more").await, "too many lookups of unknown apps in flight (limit 1024)");
    assert_eq!(look_up_now(&keys, "demo").await, "key 1", "the limit does not apply to a known app");
    assert_eq!(database.lookups_of("demo"), 2);

    let start = Instant::now();
    let answers = flood.await;
    assert!(start.elapsed() <= DEADLINE + MS, "{:?}", start.elapsed());
    let busy = answers.iter().filter(|answer| answer.starts_with("too many lookups")).count();
    assert_eq!(busy, 2000 - 1024);
    settle().await;
    assert_eq!(database.in_flight(), 0);
    database.set_behavior(Behavior::Healthy);
    assert_eq!(look_up(&keys, "one-more").await, "none", "the flood is over");
}

#[tokio::test(start_paused = true)]
async fn all_apps_can_be_looked_up_at_once() {
    let (keys, database, _) = cached();
    database.set_behavior(Behavior::Slow(MS));
    let ids = ids(1000);
    ids.iter().for_each(|id| database.set(id, 3));
    let answers = join_all(ids.iter().map(|id| look_up(&keys, id))).await;
    assert!(answers.iter().all(|answer| answer == "key 3"));
    assert_eq!(database.max_in_flight(), 8);
}

#[tokio::test(start_paused = true)]
async fn invalidated_app_stays_known() {
    let (keys, database, _) = cached();
    look_up(&keys, "demo").await;
    database.set_behavior(Behavior::Hanging);
    database.set_behavior_for("demo", Behavior::Healthy);
    let ids = ids(1024);
    let mut flood = pin!(join_all(ids.iter().map(|id| look_up(&keys, id))));
    assert!(flood.as_mut().now_or_never().is_none());
    settle().await;
    keys.invalidate_all();
    assert_eq!(look_up_now(&keys, "demo").await, "key 1", "a known app does not queue with unknown ids");
}
