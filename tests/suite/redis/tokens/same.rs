//! The store in Redis answers as the store in memory does.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use countersign::{
    clock::ManualClock,
    store::{Found, MemoryTokenStore, Offer, OwnerTag, Placed, Record, RecordKind, Renewed, Room, Touched, Which},
    token::{IssueError, Issued, IssuedGrant, NewToken, Owner, SessionLimit, Tokens},
};

use super::*;

/// Both stores. Each call goes to both, and their answers must be equal.
#[derive(Clone)]
struct Both(Arc<MemoryTokenStore>, RedisTokenStore);

fn same<T>(memory: T, redis: T, text: impl Fn(&T) -> String) -> Result<T, StoreError> {
    assert_eq!(text(&memory), text(&redis), "the store in memory is on the left");
    Ok(redis)
}

impl TokenStore for Both {
    fn owner_key(&self) -> &OwnerKey {
        self.0.owner_key()
    }

    async fn put(&self, at: &TokenRef, record: &Record, room: Room, now: u64) -> Result<Placed, StoreError> {
        let memory = self.0.put(at, record, room, now).await?;
        same(memory, self.1.put(at, record, room, now).await?, |placed| format!("{placed:?}"))
    }

    async fn find(&self, at: &TokenRef, now: u64) -> Result<Found, StoreError> {
        let seed = |found: &Found| match found {
            Found::Live { seed, .. } => seed.map(|seed| *seed.as_bytes()),
            _ => None,
        };
        let memory = self.0.find(at, now).await?;
        same(memory, self.1.find(at, now).await?, |found| format!("{found:?} {:?}", seed(found)))
    }

    async fn touch(&self, at: &TokenRef, now: u64, until: Option<u64>) -> Result<Touched, StoreError> {
        let memory = self.0.touch(at, now, until).await?;
        same(memory, self.1.touch(at, now, until).await?, |touched| format!("{touched:?}"))
    }

    async fn take(&self, at: &TokenRef, now: u64) -> Result<bool, StoreError> {
        same(self.0.take(at, now).await?, self.1.take(at, now).await?, bool::to_string)
    }

    async fn renew(&self, old: &TokenRef, offer: &Offer, now: u64) -> Result<Renewed, StoreError> {
        let seed = |renewed: &Renewed| match renewed {
            Renewed::Kept { seed, .. } => Some(*seed.as_bytes()),
            _ => None,
        };
        let memory = self.0.renew(old, offer, now).await?;
        same(memory, self.1.renew(old, offer, now).await?, |renewed| format!("{renewed:?} {:?}", seed(renewed)))
    }

    async fn end(
        &self,
        owner: &OwnerTag,
        kind: RecordKind,
        which: Which<'_>,
        remember: u64,
        now: u64,
    ) -> Result<usize, StoreError> {
        same(
            self.0.end(owner, kind, which, remember, now).await?,
            self.1.end(owner, kind, which, remember, now).await?,
            usize::to_string,
        )
    }

    async fn list(&self, owner: &OwnerTag, kind: RecordKind, now: u64) -> Result<Vec<Record>, StoreError> {
        same(self.0.list(owner, kind, now).await?, self.1.list(owner, kind, now).await?, |list| format!("{list:#?}"))
    }
}

/// Random numbers that a failed test can repeat: it prints the seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

#[tokio::test]
async fn random_use_is_answered_as_in_memory() {
    let server = RedisServer::start();
    for _ in 0..2 {
        let seed = RandomState::new().hash_one(0);
        println!("seed {seed}");
        let memory = MemoryTokenStore::new().unwrap();
        let redis = RedisTokenStore::new(server.client(), memory.owner_key().clone());
        use_at_random(&Both(Arc::new(memory), redis), Dice(seed)).await;
    }
}

async fn use_at_random(store: &Both, mut dice: Dice) {
    let clock = ManualClock::at(NOW);
    let mut now = NOW;
    let apps: [AppId; 2] = ["demo", "other"].map(|app| app.parse().unwrap());
    let owners = [Owner::User("u-1".parse().unwrap()), Owner::User("u-2".parse().unwrap()), apps[0].clone().into()];
    let mut issued: Vec<Issued> = Vec::new();
    let mut grants: Vec<IssuedGrant> = Vec::new();
    for _ in 0..1000 {
        let seconds = [0, 0, 1, 7, 31, 64][dice.below(6)];
        clock.advance(Duration::from_secs(seconds));
        now += seconds;
        let mut tokens = Tokens::new(store.clone())
            .with_clock(clock.clone())
            .with_lifetime(Duration::from_secs(200))
            .with_session_lifetime(Duration::from_secs(900))
            .with_renewal_overlap(Duration::from_secs([0, 1, 30][dice.below(3)]))
            .with_max_sessions(6)
            .with_max_grants(3)
            .with_end_reasons(Duration::from_secs([0, 50][dice.below(2)]));
        match dice.below(4) {
            0 => tokens = tokens.with_limit(SessionLimit::NewestWins(1 + dice.below(3))),
            1 => tokens = tokens.with_limit(SessionLimit::Refuse(2)),
            2 => tokens = tokens.with_idle_timeout(Duration::from_secs(100)),
            _ => {}
        }
        let (app, owner) = (&apps[dice.below(2)], &owners[dice.below(3)]);
        let any = issued.len().checked_sub(1).map(|last| &issued[last - dice.below((last + 1).min(12))]);
        match (dice.below(24), any) {
            (0..4, _) | (_, None) => {
                let mut new = match owner {
                    Owner::User(user) => NewToken::for_user(user.clone()),
                    _ => NewToken::for_app(),
                };
                match dice.below(6) {
                    0 => new = new.one_time(),
                    1 => new = new.bearer(),
                    2 => new = new.on("web".parse().unwrap()),
                    3 => new = new.with_data(&"d\0 \u{fc}".repeat(dice.below(200))).unwrap(),
                    _ => {}
                }
                issued.extend(tokens.issue_for(app, new).await.ok());
            }
            (4..8, Some(any)) => match tokens.renew_for(any.session().app_id(), any.token()).await {
                Err(IssueError::TooManyRenewals) => {}
                renewed => issued.extend(renewed.unwrap()),
            },
            (8..12, Some(any)) => {
                let until = [None, Some(now + 130)][dice.below(2)];
                store.touch(&TokenRef::of(any.token()).unwrap(), now, until).await.unwrap();
            }
            // Services take no other tokens.
            (12, Some(any)) if any.session().is_one_time() => {
                store.take(&TokenRef::of(any.token()).unwrap(), now).await.unwrap();
            }
            (13, Some(any)) => drop(tokens.end(any.session()).await.unwrap()),
            (14, Some(any)) => drop(tokens.end_by_id(any.session().owner(), any.session().id()).await.unwrap()),
            (15, Some(any)) => drop(tokens.end_others(any.session()).await.unwrap()),
            (16, Some(_)) => match dice.below(3) {
                0 => drop(tokens.end_all(owner).await.unwrap()),
                _ => drop(tokens.end_all_of(owner, app).await.unwrap()),
            },
            (17..20, Some(any)) => {
                grants.extend(tokens.grant(any.session(), Duration::from_secs(150)).await.ok());
            }
            (20, Some(_)) => {
                if let Some(last) = grants.last() {
                    tokens.end_grant(last.grant().owner(), last.grant().id()).await.unwrap();
                }
            }
            (21, Some(_)) => drop(tokens.grants(owner).await.unwrap()),
            _ => drop(tokens.sessions(owner).await.unwrap()),
        }
        for any in grants.iter().rev().take(4) {
            store.find(&TokenRef::of_grant(any.token()), now).await.unwrap();
        }
        for any in issued.iter().rev().take(4) {
            store.find(&TokenRef::of(any.token()).unwrap(), now).await.unwrap();
        }
    }
}
