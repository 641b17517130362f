//! Races: of 64 identical submissions at once, one runs.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::post};
use countersign::submission::{Submission, SubmitOnceLayer};
use tokio::task::JoinSet;

use super::shop::{by_key, send, submission, verifier};

const RACERS: usize = 64;

/// What came of all rounds.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Submissions that did not run exactly once.
    wrong: usize,
    ran: usize,
    replayed: usize,
    in_progress: usize,
    other: usize,
}

pub(super) async fn race(layers: &[SubmitOnceLayer], rounds: usize) -> Counts {
    let runs: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counted = runs.clone();
    let pay = async move |submission: Submission| {
        *counted.lock().unwrap().entry(submission.key().unwrap().as_str().to_owned()).or_default() += 1;
        // Others arrive while it runs.
        tokio::time::sleep(Duration::from_millis(2)).await;
        "paid"
    };
    let verifier = verifier();
    let routers: Vec<Router> = layers
        .iter()
        .map(|layer| {
            let routes = Router::new().route("/pay", post(pay.clone()));
            routes.layer(layer.clone()).layer(verifier.clone().into_layer())
        })
        .collect();
    let mut counts = Counts::default();
    for round in 0..rounds {
        let mut racers = JoinSet::new();
        for i in 0..RACERS {
            let router = routers[i % routers.len()].clone();
            racers.spawn(async move { send(&router, submission("/pay", &format!("key-{round}"), "order")).await });
        }
        for answer in racers.join_all().await {
            match answer.brief() {
                (200, "false") => counts.ran += 1,
                (200, "true") => counts.replayed += 1,
                (409, "submission_in_progress") => counts.in_progress += 1,
                _ => counts.other += 1,
            }
        }
        counts.wrong += usize::from(runs.lock().unwrap().get(&format!("key-{round}")) != Some(&1));
    }
    counts
}

pub(super) fn assert_once(counts: &Counts, rounds: usize) {
    assert_eq!((counts.wrong, counts.ran, counts.other), (0, rounds, 0), "{counts:?}");
    assert_eq!(counts.replayed + counts.in_progress, rounds * (RACERS - 1), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_64_submissions_runs() {
    let counts = race(&[by_key()], 20).await;
    assert_once(&counts, 20);
    // Those that wait get the answer.
    let counts = race(&[by_key().with_wait(Duration::from_secs(30))], 5).await;
    assert_once(&counts, 5);
    assert_eq!(counts.in_progress, 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints the counts of 500 races in memory"]
async fn many_races_in_memory() {
    let counts = race(&[by_key()], 500).await;
    println!("memory, 500 submissions by {RACERS} at once: {counts:?}");
    assert_once(&counts, 500);
}
