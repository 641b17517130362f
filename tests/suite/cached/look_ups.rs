//! One look-up for all who ask, and none while its answer is young.

use std::pin::pin;

use countersign::store::conformance;
use futures_util::{FutureExt, future::join_all};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    let keys = cached().0.with_deadline(PATIENT);
    conformance::key_store(&keys, &app("demo"), &app("stranger")).await;
    conformance::key_store(&CachedKeys::new(rig::keys()), &app("demo"), &app("stranger")).await;
    conformance::key_store(&keys.with_ttl(Duration::ZERO), &app("demo"), &app("stranger")).await;
}

#[tokio::test(start_paused = true)]
async fn the_store_is_asked_once_in_a_ttl() {
    let (keys, database, clock) = cached();
    for _ in 0..3 {
        assert_eq!(ask_at_once(&keys, "demo").await, "key 1");
    }
    assert_eq!(database.asked(), 1);
    clock.advance(TTL - MS);
    ask(&keys, "demo").await;
    assert_eq!(database.asked(), 1);
    clock.advance(MS);
    ask(&keys, "demo").await;
    assert_eq!(database.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn ttls_and_deadline_are_configurable() {
    let (keys, database, clock) = cached();
    let keys = keys.with_ttl(SECOND).with_unknown_ttl(2 * SECOND).with_deadline(10 * MS);
    for (id, life) in [("demo", SECOND), ("stranger", 2 * SECOND)] {
        ask(&keys, id).await;
        clock.advance(life - MS);
        ask_at_once(&keys, id).await;
        assert_eq!(database.asked_for(id), 1, "{id}");
        clock.advance(MS);
        ask(&keys, id).await;
        assert_eq!(database.asked_for(id), 2, "{id}");
    }
    database.is(Mood::Hanging);
    assert_eq!(ask(&keys, "another").await, "the key store did not answer within 10 ms");
}

#[tokio::test(start_paused = true)]
async fn no_more_apps_are_remembered_than_was_set() {
    let (keys, database, _) = cached();
    let keys = keys.with_capacity(20);
    let apps: Vec<String> = (0..2000).map(|n| format!("app-{n}")).collect();
    for look_ups in [2000, 3900] {
        for app in &apps {
            database.set(app, 1);
            assert_eq!(ask(&keys, app).await, "key 1");
        }
        assert!(database.asked() >= look_ups, "{}", database.asked());
    }
}

#[tokio::test(start_paused = true)]
async fn the_ttl_counts_from_the_beginning_of_the_look_up() {
    let (keys, database, clock) = cached();
    database.is(Mood::Held);
    let (first, ()) = tokio::join!(ask(&keys, "demo"), async {
        settle().await;
        database.set("demo", 2);
        clock.advance(TTL - MS);
        database.release(1);
    });
    assert_eq!(first, "key 1", "what the store said when it was asked");
    database.is(Mood::Well);
    assert_eq!(ask(&keys, "demo").await, "key 1");
    clock.advance(MS);
    assert_eq!(ask(&keys, "demo").await, "key 2", "a TTL after the key was retired");
}

#[tokio::test(start_paused = true)]
async fn new_key_replaces_retired_key_after_ttl() {
    let (keys, database, clock) = cached();
    assert_eq!(ask(&keys, "demo").await, "key 1");
    database.set("demo", 2);
    clock.advance(TTL - MS);
    assert_eq!(ask(&keys, "demo").await, "key 1");
    clock.advance(MS);
    assert_eq!(ask(&keys, "demo").await, "key 2");
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_disabled_or_removed_fails_after_the_ttl() {
    let (keys, database, clock) = cached();
    assert_eq!(ask(&keys, "demo").await, "key 1");
    database.remove("demo");
    clock.advance(TTL - MS);
    assert_eq!(ask(&keys, "demo").await, "key 1");
    clock.advance(MS);
    assert_eq!(ask(&keys, "demo").await, "none");
    assert_eq!(ask(&keys, "demo").await, "none");
    assert_eq!(database.asked(), 2, "that it is unknown is remembered");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_at_once_make_one_look_up() {
    let (keys, database, clock) = cached();
    for look_ups in 1..=2 {
        let answers = join_all((0..1000).map(|_| ask(&keys, "demo"))).await;
        assert!(answers.iter().all(|answer| answer == "key 1"));
        assert_eq!(database.asked(), look_ups);
        clock.advance(TTL);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_at_once_on_several_threads_make_one_look_up() {
    for _ in 0..20 {
        let (keys, database, _) = cached();
        let keys = keys.with_deadline(PATIENT);
        let askers = (0..1000).map(|_| {
            let keys = keys.clone();
            tokio::spawn(async move { keys.keys(&app("demo")).await.unwrap().is_some() })
        });
        assert!(join_all(askers).await.into_iter().all(Result::unwrap));
        assert_eq!(database.asked(), 1);
    }
}

/// Whoever finds nothing in memory, and then no look-up in flight, may have been overtaken by one that just ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_in_step_make_one_look_up_of_each_app() {
    for mood in [Mood::Well, Mood::Failing] {
        let (keys, database, _) = cached();
        let keys = keys.with_deadline(PATIENT);
        database.is(mood);
        let askers = (0..4).map(|_| {
            let keys = keys.clone();
            tokio::spawn(async move {
                for n in 0..5000 {
                    let answer = keys.keys(&app(&format!("app-{n}"))).await;
                    assert_eq!(answer.map_or(Mood::Failing, |_| Mood::Well), mood);
                }
            })
        });
        assert!(join_all(askers).await.iter().all(Result::is_ok));
        assert_eq!((database.asked(), database.most_asked_for_one()), (5000, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn lookup_continues_when_its_first_caller_cancels() {
    let (keys, database, _) = cached();
    database.is(Mood::Held);
    let mut second = pin!(ask(&keys, "demo"));
    {
        let mut first = pin!(ask(&keys, "demo"));
        assert!(first.as_mut().now_or_never().is_none());
        settle().await;
        assert!(second.as_mut().now_or_never().is_none());
    }
    settle().await;
    assert_eq!(database.in_flight(), 1, "the look-up goes on");
    database.release(1);
    assert_eq!(second.await, "key 1");
    assert_eq!(database.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_callers_can_cancel() {
    let (keys, database, _) = cached();
    database.is(Mood::Held);
    let mut first = pin!(ask(&keys, "demo"));
    assert!(first.as_mut().now_or_never().is_none());
    for _ in 0..10 {
        assert!(ask(&keys, "demo").now_or_never().is_none());
    }
    settle().await;
    database.release(1);
    assert_eq!(first.await, "key 1");
    assert_eq!(database.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn result_without_waiters_is_cached() {
    let (keys, database, _) = cached();
    assert!(ask(&keys, "demo").now_or_never().is_none());
    settle().await;
    assert_eq!(database.in_flight(), 0);
    assert_eq!(ask_at_once(&keys, "demo").await, "key 1");
    assert_eq!(database.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn steps_of_the_wall_clock_change_nothing() {
    let (keys, database, clock) = cached();
    ask(&keys, "demo").await;
    for wall in [0, NOW * 2, u64::MAX, NOW] {
        clock.set_wall(wall);
        ask(&keys, "demo").await;
    }
    assert_eq!(database.asked(), 1);
    clock.set_wall(0);
    clock.advance(TTL);
    ask(&keys, "demo").await;
    assert_eq!(database.asked(), 2, "time passes by the monotonic clock");
}

#[tokio::test(start_paused = true)]
async fn clones_share_what_is_remembered() {
    let (keys, database, _) = cached();
    ask(&keys, "demo").await;
    ask(&keys.clone(), "demo").await;
    assert_eq!(database.asked(), 1);
    ask(&keys.with_ttl(TTL), "demo").await;
    assert_eq!(database.asked(), 2, "whatever is set begins anew");
}

#[test]
fn without_a_runtime_it_fails_and_does_not_panic() {
    let (keys, ..) = cached();
    let answer = ask(&keys, "demo").now_or_never().unwrap();
    assert_eq!(answer, "there is no tokio runtime, or it is shutting down");
}

#[test]
fn lookup_lost_with_its_runtime_is_restarted() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (keys, database, _) = cached();
    database.is(Mood::Hanging);
    let first = runtime();
    first.block_on(async { assert!(ask(&keys, "demo").now_or_never().is_none()) });
    drop(first);
    database.is(Mood::Well);
    assert_eq!(runtime().block_on(ask(&keys, "demo")), "key 1");
}

#[tokio::test(start_paused = true)]
async fn debug_shows_no_key() {
    let (keys, ..) = cached();
    ask(&keys, "demo").await;
    let shown = format!("{keys:?}");
    assert!(shown.contains("CachedKeys") && shown.contains("60s") && !shown.contains("0001"), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_beyond_all_time_is_one() {
    let (keys, _, _) = cached();
    assert_eq!(ask(&keys.with_deadline(Duration::MAX), "demo").await, "key 1");
}
