//! Races between 64 clients, each with a connection of its own.

use std::{future::Future, sync::Arc};

use countersign::store::MemorySubmissionStore;
use tokio::task::JoinSet;

use super::{
    super::{cluster::Cluster, sentinel::Group},
    *,
};

const CLIENTS: usize = 64;
const FEW: u64 = 20;
const MANY: u64 = 500;

struct Clients<S>(Vec<S>);

impl<S: SubmissionStore + Clone> Clients<S> {
    /// Makes the clients, and their connections.
    async fn new(store: impl Fn() -> S) -> Self {
        let stores: Vec<_> = (0..CLIENTS).map(|_| store()).collect();
        for store in &stores {
            store.state(&place(0)).await.unwrap();
        }
        Self(stores)
    }

    /// All clients at once, each with a lease of its own.
    async fn race<F>(&self, act: impl Fn(S, Lease) -> F) -> Vec<bool>
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let mut racers = JoinSet::new();
        for (n, store) in self.0.iter().enumerate() {
            racers.spawn(act(store.clone(), lease(n as u8)));
        }
        racers.join_all().await
    }

    /// The number of clients that got the place.
    async fn reserved(&self, at: &SubmissionRef, when_lost: WhenLost) -> usize {
        let results = self.race(|store, lease| {
            let at = at.clone();
            async move { reserve(&store, &at, &lease, when_lost).await.unwrap() == Reserved::Yes }
        });
        count(&results.await)
    }

    /// The number of places that were not reserved exactly once.
    async fn wrong_reservations(&self, rounds: u64) -> usize {
        let mut wrong = 0;
        for n in 0..rounds {
            wrong += usize::from(self.reserved(&place(1_000_000 + n), WhenLost::TakeOver).await != 1);
        }
        wrong
    }

    /// The number of lost places that were not taken over exactly once.
    async fn wrong_takeovers(&self, rounds: u64) -> usize {
        let mut wrong = 0;
        for n in 0..rounds {
            let at = place(2_000_000 + n);
            reserve(&self.0[0], &at, &lost(200), WhenLost::Unknown).await.unwrap();
            let unknown = self.reserved(&at, WhenLost::Unknown).await;
            wrong += usize::from(unknown != 0 || self.reserved(&at, WhenLost::TakeOver).await != 1);
        }
        wrong
    }

    /// The number of lost places with another number of winners than one: a late end, or a takeover.
    async fn wrong_ends(&self, rounds: u64) -> usize {
        let (mut wrong, mut ended) = (0, 0);
        for n in 0..rounds {
            let at = place(3_000_000 + n);
            reserve(&self.0[0], &at, &lost(200), WhenLost::Unknown).await.unwrap();
            // The client that ends takes its turn in another place each time.
            let who = (n * 7) as u8 % CLIENTS as u8;
            let results = self.race(|store, own| {
                let at = at.clone();
                async move {
                    if own.id[0] == who {
                        return store.finish(&at, &lost(200), &Finish::Done(answer())).await.unwrap();
                    }
                    reserve(&store, &at, &own, WhenLost::TakeOver).await.unwrap() == Reserved::Yes
                }
            });
            let winners = count(&results.await);
            let state = state(&self.0[0], &at).await;
            ended += usize::from(state == Some(EntryState::Done(answer())));
            wrong += usize::from(winners != 1);
        }
        println!("{ended} of {rounds} late ends were before the takeover");
        wrong
    }

    async fn run(&self, rounds: u64) {
        let reservations = self.wrong_reservations(rounds).await;
        println!("{reservations} of {rounds} places were not reserved exactly once");
        let takeovers = self.wrong_takeovers(rounds).await;
        println!("{takeovers} of {rounds} lost places were not taken over exactly once");
        let ends = self.wrong_ends(rounds).await;
        println!("{ends} of {rounds} lost places were not ended or taken over exactly once");
        assert_eq!([reservations, takeovers, ends], [0; 3]);
    }
}

fn count(results: &[bool]) -> usize {
    results.iter().filter(|won| **won).count()
}

/// A slow machine must not end the calls of a race.
fn patient<C: Connect>(store: RedisSubmissionStore<C>) -> RedisSubmissionStore<C> {
    store.with_deadline(Duration::from_secs(5))
}

async fn in_memory(rounds: u64) {
    let store = Arc::new(MemorySubmissionStore::new());
    Clients::new(|| store.clone()).await.run(rounds).await;
}

async fn on_one_server(rounds: u64) {
    let server = RedisServer::start();
    Clients::new(|| patient(submission_store(&server))).await.run(rounds).await;
}

async fn on_a_cluster(rounds: u64) {
    let cluster = Cluster::start().await;
    Clients::new(|| patient(RedisSubmissionStore::new(cluster.client()))).await.run(rounds).await;
}

async fn behind_sentinel(rounds: u64) {
    let group = Group::start().await;
    Clients::new(|| patient(RedisSubmissionStore::from_sentinel(group.client()))).await.run(rounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_winner_in_memory() {
    in_memory(FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_winner_on_one_server() {
    on_one_server(FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_winner_on_a_cluster() {
    on_a_cluster(FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_winner_behind_sentinel() {
    behind_sentinel(FEW).await;
}

/// `cargo test --all-features --test suite many_submission_races -- --ignored --nocapture` prints the counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "it takes minutes"]
async fn many_submission_races_have_one_winner() {
    println!("memory");
    in_memory(MANY).await;
    println!("one server");
    on_one_server(MANY).await;
    println!("cluster of three");
    on_a_cluster(MANY).await;
    println!("sentinel");
    behind_sentinel(MANY).await;
}
