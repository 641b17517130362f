//! Races between 64 clients, each with a connection of its own.

use std::{future::Future, time::Duration};

use countersign::token::SessionLimit;
use tokio::task::JoinSet;

use super::{
    super::{cluster::Cluster, sentinel::Group},
    *,
};

const CLIENTS: usize = 64;

/// How often each race is run.
#[derive(Clone, Copy)]
struct Rounds {
    takes: usize,
    renewals: usize,
    logins: usize,
    ends: usize,
}

const FEW: Rounds = Rounds { takes: 30, renewals: 10, logins: 5, ends: 10 };
const MANY: Rounds = Rounds { takes: 1500, renewals: 300, logins: 200, ends: 300 };

struct Clients<C: Connect>(Vec<RedisTokenStore<C>>);

impl<C: Connect> Clients<C> {
    /// Makes the clients, and their connections. A slow machine must not end the calls of a race.
    async fn new(store: impl Fn() -> RedisTokenStore<C>) -> Self {
        let stores: Vec<_> = (0..CLIENTS).map(|_| store().with_deadline(Duration::from_secs(5))).collect();
        for store in &stores {
            store.list(&owner_key().tag(&owner("u-0")), RecordKind::Session, NOW).await.unwrap();
        }
        Self(stores)
    }

    /// All clients at once.
    async fn race<T: Send + 'static, F>(&self, act: impl Fn(RedisTokenStore<C>, usize) -> F) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut racers = JoinSet::new();
        for (n, store) in self.0.iter().enumerate() {
            racers.spawn(act(store.clone(), n));
        }
        racers.join_all().await
    }

    fn tokens(&self) -> Tokens {
        Tokens::new(self.0[0].clone())
    }

    /// The number of one-time tokens that were not taken exactly once.
    async fn wrong_takes(&self, rounds: usize) -> usize {
        let mut wrong = 0;
        for n in 0..rounds {
            let issued = self.tokens().issue_for(&demo(), user(&format!("take-{n}")).one_time()).await.unwrap();
            let (at, now) = (reference(&issued), issued.session().issued_at());
            let taken = self.race(|store, _| async move { store.take(&at, now).await.unwrap() }).await;
            wrong += usize::from(taken.into_iter().filter(|taken| *taken).count() != 1);
        }
        wrong
    }

    /// The number of tokens with another number of successors than one.
    async fn wrong_renewals(&self, rounds: usize) -> usize {
        let mut wrong = 0;
        for n in 0..rounds {
            let name = format!("renew-{n}");
            let issued = self.tokens().issue_for(&demo(), user(&name)).await.unwrap();
            let renewals = self.race(|store, _| {
                let token = issued.token().clone();
                async move { Tokens::new(store).renew_for(&demo(), &token).await.unwrap().unwrap() }
            });
            let renewals = renewals.await;
            let is_one = renewals.iter().all(|renewed| renewed.token().expose() == renewals[0].token().expose());
            let listed = self.tokens().sessions(&owner(&name)).await.unwrap().len();
            wrong += usize::from(!is_one || listed != 1 || !is_live(&self.tokens(), &renewals[0]).await);
        }
        wrong
    }

    /// The number of users above the limit.
    async fn wrong_logins(&self, rounds: usize) -> usize {
        let mut wrong = 0;
        for n in 0..rounds {
            for limit in [SessionLimit::NewestWins(3), SessionLimit::Refuse(3)] {
                let name = format!("login-{n}-{limit:?}").replace(['(', ')'], "-");
                self.race(|store, _| {
                    let new = user(&name);
                    async move { drop(Tokens::new(store).with_limit(limit).issue_for(&demo(), new).await) }
                })
                .await;
                wrong += usize::from(self.tokens().sessions(&owner(&name)).await.unwrap().len() != 3);
            }
        }
        wrong
    }

    /// The number of users with a grant after the end of all, which raced with 63 grants.
    async fn wrong_grants(&self, rounds: usize) -> usize {
        let (mut wrong, mut issued) = (0, 0);
        for n in 0..rounds {
            let name = format!("grant-{n}");
            let login = self.tokens().issue_for(&demo(), user(&name)).await.unwrap();
            let grants = self.race(|store, n| {
                let (session, tokens) = (login.session().clone(), Tokens::new(store));
                async move {
                    if n == CLIENTS / 2 {
                        tokens.end_all(session.owner()).await.unwrap();
                        return false;
                    }
                    tokens.grant(&session, Duration::from_secs(3600)).await.is_ok()
                }
            });
            issued += grants.await.into_iter().filter(|is_issued| *is_issued).count();
            wrong += usize::from(!self.tokens().grants(&owner(&name)).await.unwrap().is_empty());
        }
        println!("{issued} grants were issued before the end");
        wrong
    }

    /// The number of users with a session after all were ended beside 63 renewals.
    async fn wrong_ends(&self, rounds: usize) -> usize {
        let mut wrong = 0;
        for n in 0..rounds {
            let name = format!("end-{n}");
            let issued = self.tokens().issue_for(&demo(), user(&name)).await.unwrap();
            let renewals = self.race(|store, n| {
                let (token, name, tokens) = (issued.token().clone(), name.clone(), Tokens::new(store));
                async move {
                    if n == CLIENTS / 2 {
                        tokens.end_all(&owner(&name)).await.unwrap();
                        return None;
                    }
                    tokens.renew_for(&demo(), &token).await.unwrap()
                }
            });
            let renewals = renewals.await;
            let mut survives = !self.tokens().sessions(&owner(&name)).await.unwrap().is_empty();
            for renewed in renewals.iter().flatten().chain([&issued]) {
                survives |= is_live(&self.tokens(), renewed).await;
            }
            wrong += usize::from(survives);
        }
        wrong
    }

    async fn run(&self, rounds: Rounds) {
        let takes = self.wrong_takes(rounds.takes).await;
        println!("{takes} of {} one-time tokens were not used exactly once", rounds.takes);
        let renewals = self.wrong_renewals(rounds.renewals).await;
        println!("{renewals} of {} renewed tokens have another number of successors than 1", rounds.renewals);
        let logins = self.wrong_logins(rounds.logins).await;
        println!("{logins} of {} users do not have exactly 3 sessions", 2 * rounds.logins);
        let ends = self.wrong_ends(rounds.ends).await;
        println!("{ends} of {} users have a session after the end of all", rounds.ends);
        let grants = self.wrong_grants(rounds.ends).await;
        println!("{grants} of {} users have a grant after the end of all", rounds.ends);
        assert_eq!([takes, renewals, logins, ends, grants], [0; 5]);
    }
}

async fn on_one_server(rounds: Rounds) {
    let server = RedisServer::start();
    Clients::new(|| token_store(&server)).await.run(rounds).await;
}

async fn on_a_cluster(rounds: Rounds) {
    let cluster = Cluster::start().await;
    Clients::new(|| RedisTokenStore::new(cluster.client(), owner_key())).await.run(rounds).await;
}

async fn behind_sentinel(rounds: Rounds) {
    let group = Group::start().await;
    Clients::new(|| RedisTokenStore::from_sentinel(group.client(), owner_key())).await.run(rounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_result_on_one_server() {
    on_one_server(FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_result_on_a_cluster() {
    on_a_cluster(FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn races_have_one_result_behind_sentinel() {
    behind_sentinel(FEW).await;
}

/// `cargo test --all-features --test suite many_races -- --ignored --nocapture` prints the counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "it takes minutes"]
async fn many_races_have_one_result() {
    println!("one server");
    on_one_server(MANY).await;
    println!("cluster of three");
    on_a_cluster(MANY).await;
    println!("sentinel");
    behind_sentinel(MANY).await;
}
