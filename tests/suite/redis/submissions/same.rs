//! The store in Redis answers as the store in memory does.

use std::hash::{BuildHasher, RandomState};

use countersign::{clock::ManualClock, store::MemorySubmissionStore};

use super::*;

/// Random numbers that a failed test can repeat: it prints the seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// The states and fingerprints must be equal. The clocks differ by the time that the test takes.
fn assert_same(memory: Option<Entry>, redis: Option<Entry>, call: &str) {
    match (memory, redis) {
        (None, None) => {}
        (Some(memory), Some(redis)) => {
            assert_eq!((memory.fingerprint, memory.state), (redis.fingerprint, redis.state), "{call}");
            let difference = memory.expires_in.abs_diff(redis.expires_in);
            assert!(difference < MINUTE, "{call}: {:?} and {:?}", memory.expires_in, redis.expires_in);
        }
        (memory, redis) => panic!("{call}: {memory:?} in memory, {redis:?} in Redis"),
    }
}

/// Lets time pass for all entries of Redis.
fn pass(server: &RedisServer, time: Duration) {
    for key in server.command::<Vec<String>>(&["KEYS", "*"]) {
        let left = server.command::<i64>(&["PTTL", &key]) - time.as_millis() as i64;
        server.command::<()>(&["PEXPIRE", &key, &left.to_string()]);
    }
}

#[tokio::test]
async fn random_use_is_answered_as_in_memory() {
    let server = RedisServer::start();
    for _ in 0..2 {
        let seed = RandomState::new().hash_one(0);
        println!("seed {seed}");
        server.command::<()>(&["FLUSHALL"]);
        use_at_random(&server, Dice(seed)).await;
    }
}

/// All times are in hours, so that the seconds that the test takes end nothing.
async fn use_at_random(server: &RedisServer, mut dice: Dice) {
    const HOUR: Duration = Duration::from_secs(3600);
    let clock = ManualClock::at(NOW);
    let (memory, redis) = (MemorySubmissionStore::new().with_clock(clock.clone()), submission_store(server));
    for n in 0..1500 {
        if dice.below(3) == 0 {
            let time = HOUR * (1 + dice.below(3) as u32);
            clock.advance(time);
            pass(server, time);
        }
        let at = place(dice.below(3) as u64);
        // Leases end at 20 or 40 minutes past an hour, so that none ends at the time of a call.
        let lasts = [Duration::ZERO, MINUTE * 20, HOUR * 2 + MINUTE * 20, HOUR * 4 + MINUTE * 20][dice.below(4)];
        let lease = Lease { id: [dice.below(4) as u8; 16], lasts };
        let ttl = HOUR * 3 * dice.below(4) as u32 + MINUTE * 30;
        let when_lost = [WhenLost::Unknown, WhenLost::TakeOver][dice.below(2)];
        let print = fingerprint(dice.below(4) as u8 / 3);
        let end = match dice.below(4) {
            0 => Finish::Release,
            1 => Finish::Unknown,
            2 => Finish::Done(StoredAnswer::new(StatusCode::CREATED, None)),
            _ => Finish::Done(answer()),
        };
        let call = dice.below(12);
        let text = format!("step {n}, call {call}, {at:?}, {lease:?}, {ttl:?}, {when_lost:?}, {end:?}");
        match call {
            0..5 => {
                let entry = |reserved| match reserved {
                    Reserved::No(entry) => Some(entry),
                    _ => None,
                };
                let memory = memory.reserve(&at, &lease, &print, ttl, when_lost).await.unwrap();
                let redis = redis.reserve(&at, &lease, &print, ttl, when_lost).await.unwrap();
                assert_same(entry(memory), entry(redis), &text);
            }
            5 | 6 => {
                let memory = memory.renew(&at, &lease).await.unwrap();
                assert_eq!(memory, redis.renew(&at, &lease).await.unwrap(), "{text}");
            }
            7 | 8 => {
                let memory = memory.finish(&at, &lease, &end).await.unwrap();
                assert_eq!(memory, redis.finish(&at, &lease, &end).await.unwrap(), "{text}");
            }
            9 => {
                let memory = memory.settle(&at, &end).await.unwrap();
                assert_eq!(memory, redis.settle(&at, &end).await.unwrap(), "{text}");
            }
            10 => assert_eq!(memory.forget(&at).await.unwrap(), redis.forget(&at).await.unwrap(), "{text}"),
            _ => {}
        }
        assert_same(memory.state(&at).await.unwrap(), redis.state(&at).await.unwrap(), &text);
    }
}
