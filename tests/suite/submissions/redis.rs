//! Each state of a submission on two machines that share a Redis: the first request goes to one, the repeated one to the
//! other.

use std::time::Duration;

use axum::Router;
use countersign::{
    store::RedisSubmissionStore,
    submission::{End, Ending, SubmitOnceLayer},
};

use super::{
    races::{assert_once, race},
    shop::{Answer, Shop, by_key, send, submission, until},
};
use crate::redis::server::RedisServer;

/// The layer of one machine. A slow machine still gets its answer.
fn layer(redis: &RedisServer) -> SubmitOnceLayer {
    by_key().with_store(RedisSubmissionStore::new(redis.client()).with_deadline(Duration::from_secs(5)))
}

struct Machines {
    _redis: RedisServer,
    shop: Shop,
    routers: [Router; 2],
}

fn machines(configure: impl Fn(SubmitOnceLayer) -> SubmitOnceLayer) -> Machines {
    let (redis, shop) = (RedisServer::start(), Shop::new());
    let router = || shop.router(&configure(layer(&redis)));
    Machines { routers: [router(), router()], shop, _redis: redis }
}

impl Machines {
    /// The answers of the two machines to the same submission, one after the other.
    async fn both(&self, path: &str) -> [Answer; 2] {
        let [one, other] = &self.routers;
        [send(one, submission(path, "k", "order")).await, send(other, submission(path, "k", "order")).await]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machine_gives_the_stored_answer() {
    let machines = machines(|layer| layer);
    let [first, again] = machines.both("/pay").await;
    assert_eq!((first.brief(), again.brief()), ((201, "false"), (201, "true")));
    assert_eq!(again.body, first.body);
    assert_eq!(
        (&again.headers["location"], &again.headers["x-shop"]),
        (&"/payments/1".parse().unwrap(), &"1".parse().unwrap())
    );
    assert_eq!(machines.shop.runs(), 1);
    let reused = send(&machines.routers[1], submission("/pay", "k", "another order")).await;
    assert_eq!(reused.brief(), (422, "idempotency_key_reused"));
    let other = send(&machines.routers[1], submission("/pay", "k-2", "order")).await;
    assert_eq!((other.brief(), machines.shop.runs()), ((201, "false"), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machine_says_that_it_runs() {
    let machines = machines(|layer| layer);
    let [one, other] = machines.routers.clone();
    let first = tokio::spawn(async move { send(&one, submission("/gated", "k", "")).await });
    until(|| machines.shop.runs() == 1).await;
    let second = send(&other, submission("/gated", "k", "")).await;
    assert_eq!(second.brief(), (409, "submission_in_progress"));
    assert!((86_400..=86_460).contains(&second.json()["expires_in"].as_u64().unwrap()), "{second:?}");
    machines.shop.gate.add_permits(1);
    assert_eq!(first.await.unwrap().brief(), (200, "false"));
    assert_eq!(send(&other, submission("/gated", "k", "")).await.brief(), (200, "true"));
    assert_eq!(machines.shop.runs(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_machine_knows_the_end() {
    for (path, first, again, runs) in [
        ("/status/500", (500, "false"), (409, "submission_outcome_unknown"), 1),
        ("/status/408", (408, "false"), (409, "submission_outcome_unknown"), 1),
        ("/status/404", (404, "false"), (404, "false"), 2),
        ("/status/303", (303, "false"), (303, "true"), 1),
    ] {
        let machines = machines(|layer| layer);
        let answers = machines.both(path).await;
        assert_eq!([answers[0].brief(), answers[1].brief()], [first, again], "{path}");
        assert_eq!(machines.shop.runs(), runs, "{path}");
    }
    let machines = machines(SubmitOnceLayer::without_replay);
    let [first, again] = machines.both("/pay").await;
    assert_eq!((first.brief(), again.brief()), ((201, "false"), (409, "duplicate_submission")));
    assert_eq!((&again.json()["first_status"], &again.json()["location"]), (&201.into(), &"/payments/1".into()));
}

/// A machine that stops in the middle of a run renews its lease no more.
#[tokio::test(flavor = "multi_thread")]
async fn stopped_machine_leaves_the_outcome_unknown_or_free() {
    for (is_released, expected) in [(false, (409, "submission_outcome_unknown")), (true, (200, "false"))] {
        let redis = RedisServer::start();
        let lease = Duration::from_secs(1);
        let configured = || {
            let layer = layer(&redis).with_lease(lease);
            match is_released {
                true => layer.end_as(|ending| (ending == Ending::Lost).then_some(End::Release)),
                false => layer,
            }
        };
        let (shop, other) = (Shop::new(), Shop::new());
        // The runtime of the first machine ends with all of its tasks.
        let machine = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let one = shop.router(&configured());
        machine.spawn(async move { send(&one, submission("/gated", "k", "order")).await });
        until(|| shop.runs() == 1).await;
        machine.shutdown_background();
        let two = other.router(&configured());
        assert_eq!(send(&two, submission("/gated", "k", "order")).await.brief(), (409, "submission_in_progress"));
        tokio::time::sleep(lease).await;
        other.gate.add_permits(1);
        let again = send(&two, submission("/gated", "k", "order")).await;
        assert_eq!(again.brief(), expected, "released when lost: {is_released}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unreachable_redis_runs_nothing() {
    let (redis, shop) = (RedisServer::start(), Shop::new());
    let router = shop.router(&layer(&redis));
    drop(redis);
    assert_eq!(send(&router, submission("/pay", "k", "order")).await.brief(), (503, "unavailable"));
    assert_eq!(shop.runs(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_64_submissions_runs_on_two_machines() {
    let redis = RedisServer::start();
    assert_once(&race(&[layer(&redis), layer(&redis)], 20).await, 20);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints the counts of 500 races in Redis"]
async fn many_races_in_redis() {
    let redis = RedisServer::start();
    let counts = race(&[layer(&redis), layer(&redis)], 500).await;
    println!("Redis, 500 submissions by 64 on two machines at once: {counts:?}");
    assert_once(&counts, 500);
}
