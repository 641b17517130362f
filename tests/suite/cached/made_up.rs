//! Ids that are nobody's: they cost the store little, and known apps nothing.

use std::pin::pin;

use futures_util::{FutureExt, future::join_all};

use super::*;

fn ids(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("made-up-{n}")).collect()
}

#[tokio::test(start_paused = true)]
async fn an_unknown_app_is_asked_for_once_in_a_while() {
    let (keys, database, clock) = cached();
    for _ in 0..3 {
        assert_eq!(ask(&keys, "stranger").await, "none");
    }
    assert_eq!(database.asked(), 1);
    clock.advance(UNKNOWN_TTL - MS);
    ask_at_once(&keys, "stranger").await;
    assert_eq!(database.asked(), 1);
    clock.advance(MS);
    ask(&keys, "stranger").await;
    assert_eq!(database.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn created_app_is_known_after_unknown_ttl() {
    let (keys, database, clock) = cached();
    assert_eq!(ask(&keys, "late").await, "none");
    database.set("late", 7);
    clock.advance(UNKNOWN_TTL - MS);
    assert_eq!(ask(&keys, "late").await, "none");
    clock.advance(MS);
    assert_eq!(ask(&keys, "late").await, "key 7");
    clock.advance(TTL - MS);
    assert_eq!(ask_at_once(&keys, "late").await, "key 7");
    assert_eq!(database.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn created_app_is_known_after_invalidation() {
    let (keys, database, _) = cached();
    assert_eq!(ask(&keys, "late").await, "none");
    database.set("late", 7);
    keys.invalidate(&app("late"));
    assert_eq!(ask(&keys, "late").await, "key 7");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_made_up_ids_reaches_the_store_once_each() {
    let (keys, database, _) = cached();
    database.is(Mood::Slow(MS));
    let ids = ids(5000);
    for _ in 0..3 {
        for burst in ids.chunks(500) {
            let answers = join_all(burst.iter().map(|id| ask(&keys, id))).await;
            assert!(answers.iter().all(|answer| answer == "none"));
        }
    }
    assert_eq!((database.asked(), database.most_asked_for_one()), (5000, 1));
    assert_eq!(database.max_in_flight(), 8);
}

#[tokio::test(start_paused = true)]
async fn unknown_lookups_in_flight_are_limited() {
    for (set, most) in [(3, 3), (0, 1), (usize::MAX, 100)] {
        let (keys, database, _) = cached();
        let keys = keys.with_max_unknown_in_flight(set);
        database.is(Mood::Slow(MS));
        join_all(ids(100).iter().map(|id| ask(&keys, id))).await;
        assert_eq!(database.max_in_flight(), most);
    }
}

#[tokio::test(start_paused = true)]
async fn made_up_ids_push_no_app_out() {
    let (keys, database, _) = cached();
    let keys = keys.with_capacity(20).with_unknown_capacity(100);
    let apps: Vec<String> = (0..10).map(|n| format!("app-{n}")).collect();
    for app in &apps {
        database.set(app, 1);
        ask(&keys, app).await;
    }
    for id in ids(5000) {
        assert_eq!(ask(&keys, &id).await, "none");
    }
    for app in &apps {
        assert_eq!(ask_at_once(&keys, app).await, "key 1");
        assert_eq!(database.asked_for(app), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn latest_unknown_ids_stay_cached() {
    let (keys, database, _) = cached();
    let keys = keys.with_unknown_capacity(1000);
    let ids = ids(5000);
    for id in &ids {
        ask(&keys, id).await;
    }
    for id in ids.iter().rev().take(900) {
        ask_at_once(&keys, id).await;
        assert_eq!(database.asked_for(id), 1, "{id}");
    }
    // Of the first ones nothing is left: memory is bounded.
    for id in ids.iter().take(100) {
        ask(&keys, id).await;
        assert_eq!(database.asked_for(id), 2, "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn excess_unknown_lookups_are_rejected_at_once() {
    let (keys, database, clock) = cached();
    ask(&keys, "demo").await;
    clock.advance(TTL);
    database.is(Mood::Hanging);
    database.is_for("demo", Mood::Well);
    let ids = ids(2000);
    let mut flood = pin!(join_all(ids.iter().map(|id| ask(&keys, id))));
    assert!(flood.as_mut().now_or_never().is_none());
    settle().await;
    assert_eq!((database.asked(), database.in_flight()), (1 + 8, 8));
    assert_eq!(ask_at_once(&keys, "one-more").await, "too many lookups of unknown apps in flight (limit 1024)");
    assert_eq!(ask_at_once(&keys, "demo").await, "key 1", "a known app is looked up all the same");
    assert_eq!(database.asked_for("demo"), 2);

    let start = Instant::now();
    let answers = flood.await;
    assert!(start.elapsed() <= DEADLINE + MS, "{:?}", start.elapsed());
    let busy = answers.iter().filter(|answer| answer.starts_with("too many lookups")).count();
    assert_eq!(busy, 2000 - 1024);
    settle().await;
    assert_eq!(database.in_flight(), 0);
    database.is(Mood::Well);
    assert_eq!(ask(&keys, "one-more").await, "none", "the flood is over");
}

#[tokio::test(start_paused = true)]
async fn all_apps_may_come_at_once_after_a_start() {
    let (keys, database, _) = cached();
    database.is(Mood::Slow(MS));
    let ids = ids(1000);
    ids.iter().for_each(|id| database.set(id, 3));
    let answers = join_all(ids.iter().map(|id| ask(&keys, id))).await;
    assert!(answers.iter().all(|answer| answer == "key 3"));
    assert_eq!(database.max_in_flight(), 8);
}

#[tokio::test(start_paused = true)]
async fn an_app_stays_known_through_an_invalidation() {
    let (keys, database, _) = cached();
    ask(&keys, "demo").await;
    database.is(Mood::Hanging);
    database.is_for("demo", Mood::Well);
    let ids = ids(1024);
    let mut flood = pin!(join_all(ids.iter().map(|id| ask(&keys, id))));
    assert!(flood.as_mut().now_or_never().is_none());
    settle().await;
    keys.invalidate_all();
    assert_eq!(ask_at_once(&keys, "demo").await, "key 1", "it does not queue with strangers");
}
