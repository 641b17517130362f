//! The connection that claims share: its start, reuse, loss and replacement. Time is Tokio's paused clock.

use std::{
    error::Error,
    future::{pending, poll_fn},
    pin::Pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{join, join_all},
};
use redis::{Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value, aio::ConnectionLike};
use tokio::time::{Instant, advance};

use super::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The fault of the existing connections. Later connections work.
#[derive(Clone, Copy)]
enum Fault {
    Silent,
    Breaks,
    Replies(&'static str),
    /// Replies with one answer too few.
    Short,
}

#[derive(Default)]
struct State {
    /// The number of connection attempts.
    attempts: usize,
    is_unreachable: bool,
    fault: Option<Fault>,
    faulty_until: usize,
    /// The number of commands in each batch.
    batches: Vec<usize>,
}

/// A fake server. With `RECONNECTING`, its client reconnects by itself, as a cluster client does.
#[derive(Clone, Default)]
struct Server<const RECONNECTING: bool>(Arc<Mutex<State>>);

impl<const RECONNECTING: bool> Server<RECONNECTING> {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    fn set_fault(&self, fault: Fault) {
        self.with(|state| (state.fault, state.faulty_until) = (Some(fault), state.attempts));
    }

    fn clear_fault(&self) {
        self.with(|state| state.fault = None);
    }

    fn set_unreachable(&self, is_unreachable: bool) {
        self.with(|state| state.is_unreachable = is_unreachable);
    }

    fn attempts(&self) -> usize {
        self.with(|state| state.attempts)
    }

    fn batches(&self) -> Vec<usize> {
        self.with(|state| std::mem::take(&mut state.batches))
    }
}

impl<const RECONNECTING: bool> Connect for Server<RECONNECTING> {
    type Connection = Connection<RECONNECTING>;

    const RECONNECTS: bool = RECONNECTING;

    async fn connect(&self) -> RedisResult<Self::Connection> {
        let (number, is_unreachable) = self.with(|state| {
            state.attempts += 1;
            (state.attempts, state.is_unreachable)
        });
        tokio::task::yield_now().await;
        if is_unreachable { Err(broken()) } else { Ok(Connection(self.clone(), number)) }
    }
}

fn broken() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
}

#[derive(Clone)]
struct Connection<const RECONNECTING: bool>(Server<RECONNECTING>, usize);

impl<const RECONNECTING: bool> Connection<RECONNECTING> {
    async fn answers(&self, count: usize) -> RedisResult<Vec<Value>> {
        let fault = self.0.with(|state| {
            state.batches.push(count);
            state.fault.filter(|_| self.1 <= state.faulty_until)
        });
        match fault {
            None => Ok(vec![Value::Okay; count]),
            Some(Fault::Silent) => pending().await,
            Some(Fault::Breaks) => Err(broken()),
            Some(Fault::Replies(line)) => Ok(vec![redis::parse_redis_value(line.as_bytes())?; count]),
            Some(Fault::Short) => Ok(vec![Value::Okay; count - 1]),
        }
    }
}

impl<const RECONNECTING: bool> ConnectionLike for Connection<RECONNECTING> {
    fn req_packed_command<'a>(&'a mut self, _: &'a Cmd) -> RedisFuture<'a, Value> {
        self.answers(1).map(|answers| Ok(answers?.remove(0))).boxed()
    }

    fn req_packed_commands<'a>(&'a mut self, _: &'a Pipeline, _: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        assert!(!RECONNECTING, "a reconnecting client must send each command separately");
        self.answers(count).boxed()
    }

    fn get_db(&self) -> i64 {
        0
    }
}

fn store<const RECONNECTING: bool>() -> (RedisNonceStore<Server<RECONNECTING>>, Server<RECONNECTING>) {
    let server = Server::default();
    (RedisNonceStore::new(server.clone()), server)
}

/// The result of a claim, after all tasks have run until they wait.
async fn claim_result<C: Connect>(store: &RedisNonceStore<C>) -> String {
    claim_result_of(store, "demo").await
}

async fn claim_result_of<C: Connect>(store: &RedisNonceStore<C>, app: &str) -> String {
    let answer = match claim_of(store, app, rig::fresh_nonce().as_str(), NOW).await {
        Ok(status) => format!("{status:?}"),
        Err(error) => error.source().unwrap().to_string(),
    };
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    answer
}

const BROKEN: &str = "Redis rejected the command, or the connection broke";
const LATE: &str = "Redis did not answer within 250 ms";

/// A claim that is started and not yet sent.
fn start_claim<C: Connect>(store: &RedisNonceStore<C>) -> Pin<Box<impl Future<Output = String>>> {
    let mut claim = Box::pin(claim_result(store));
    assert!(claim.as_mut().now_or_never().is_none());
    claim
}

#[tokio::test(start_paused = true)]
async fn concurrent_claims_share_one_connection_attempt() {
    // A reconnecting client sends each claim separately, not in batches.
    let (store, server) = store::<true>();
    assert!(join_all((0..100).map(|_| claim_result(&store))).await.iter().all(|answer| answer == "New"));
    assert_eq!((server.batches().len(), server.attempts()), (100, 1));
}

#[tokio::test(start_paused = true)]
async fn failed_connection_is_retried_after_100_ms() {
    let (store, server) = store::<false>();
    server.set_unreachable(true);
    for attempt in 1..=3 {
        assert_eq!(claim_result(&store).await, "not connected to Redis");
        assert_eq!(server.attempts(), attempt);
        advance(99 * MS).await;
        assert_eq!(claim_result(&store).await, "not connected to Redis");
        assert_eq!(server.attempts(), attempt);
        advance(MS).await;
    }
    server.set_unreachable(false);
    assert_eq!(claim_result(&store).await, "New");
}

#[tokio::test(start_paused = true)]
async fn server_errors_keep_the_connection() {
    for line in ["-OOM command not allowed when used memory > 'maxmemory'\r\n", "-LOADING Redis is loading\r\n"] {
        let (store, server) = store::<false>();
        assert_eq!(claim_result(&store).await, "New");
        server.set_fault(Fault::Replies(line));
        for _ in 0..3 {
            assert_eq!(claim_result(&store).await, BROKEN);
        }
        server.clear_fault();
        assert_eq!((claim_result(&store).await.as_str(), server.attempts()), ("New", 1), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn broken_connection_is_replaced() {
    for fault in [
        Fault::Breaks,
        Fault::Replies("-NOAUTH Authentication required.\r\n"),
        Fault::Replies("-READONLY You can't write against a read only replica.\r\n"),
        // A script in Redis 6.2.
        Fault::Replies(
            "-ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -READONLY You can't write.\r\n",
        ),
        Fault::Replies("-MASTERDOWN Link with MASTER is down\r\n"),
    ] {
        let (store, server) = store::<false>();
        assert_eq!(claim_result(&store).await, "New");
        server.set_fault(fault);
        assert_eq!(claim_result(&store).await, BROKEN);
        assert_eq!((claim_result(&store).await.as_str(), server.attempts()), ("New", 2));
    }
}

#[tokio::test(start_paused = true)]
async fn silent_connection_is_dropped_after_500_ms() {
    let (plain, server) = store::<false>();
    let (reconnecting, cluster) = store::<true>();
    assert_eq!((claim_result(&plain).await.as_str(), claim_result(&reconnecting).await.as_str()), ("New", "New"));
    server.set_fault(Fault::Silent);
    for expected in [LATE, LATE, "New"] {
        assert_eq!(claim_result(&plain).await, expected);
    }
    assert_eq!(server.attempts(), 2);
    cluster.set_fault(Fault::Silent);
    for expected in [LATE, "New"] {
        assert_eq!(claim_result(&reconnecting).await, expected, "no answer for more than 500 ms");
    }
}

#[tokio::test(start_paused = true)]
async fn one_unanswered_claim_keeps_the_connection() {
    let (store, server) = store::<false>();
    for _ in 0..2 {
        assert_eq!(claim_result(&store).await, "New");
        advance(10 * SECOND).await;
    }
    assert_eq!(claim_result(&store).await, "New");
    server.set_fault(Fault::Silent);
    assert_eq!(claim_result(&store).await, LATE);
    server.clear_fault();
    assert_eq!((claim_result(&store).await.as_str(), server.attempts()), ("New", 1));
}

#[tokio::test(start_paused = true)]
async fn failing_reconnecting_client_is_rebuilt_every_three_seconds() {
    let (store, server) = store::<true>();
    // One of two claims succeeds, so the connection is not silent.
    let fails = async || {
        server.clear_fault();
        assert_eq!(claim_result(&store).await, "New");
        server.set_fault(Fault::Breaks);
        assert_eq!(claim_result(&store).await, BROKEN);
        server.attempts()
    };
    assert_eq!(fails().await, 1);
    server.set_unreachable(true);
    for attempts in 2..=4 {
        advance(3 * SECOND - MS).await;
        assert_eq!(fails().await, attempts - 1);
        advance(MS).await;
        assert_eq!(fails().await, attempts);
    }
    server.set_unreachable(false);
    advance(3 * SECOND).await;
    assert_eq!(fails().await, 5);
    assert_eq!(claim_result(&store).await, "New", "the new connection is used");
}

#[tokio::test(start_paused = true)]
async fn concurrent_claims_are_sent_in_batches_of_32() {
    let (store, server) = store::<false>();
    assert_eq!(claim_result(&store).await, "New");
    join_all((0..100).map(|_| claim_result(&store))).await;
    assert_eq!(server.batches(), [1, 32, 32, 32, 4]);

    // One task is pending at first, and becomes ready when the other has started its claim.
    let (other, early) = (store.clone(), store);
    let early = tokio::spawn(async move { claim_result(&early).await });
    let late = tokio::spawn(async move {
        let mut has_waited = false;
        poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        claim_result(&other).await
    });
    assert_eq!([early.await.unwrap(), late.await.unwrap()], ["New"; 2]);
    assert_eq!(server.batches(), [2]);
}

#[tokio::test(start_paused = true)]
async fn short_reply_fails_the_whole_batch() {
    let (store, server) = store::<false>();
    assert_eq!(claim_result(&store).await, "New");
    server.set_fault(Fault::Short);
    let answers = join_all((0..3).map(|_| claim_result(&store))).await;
    assert_eq!(answers, ["unexpected reply from Redis"; 3]);
}

#[tokio::test(start_paused = true)]
async fn deadline_and_max_in_flight_are_configurable() {
    let (store, server) = store::<false>();
    assert_eq!(claim_result(&store).await, "New");
    server.set_fault(Fault::Silent);
    let store = store.with_deadline(50 * MS).with_max_in_flight(2);
    let mut answers = join_all((0..3).map(|_| claim_result(&store))).await;
    assert_eq!(
        answers.pop().unwrap(),
        "too many commands in flight (limit 2 for all apps, and a share of it for each): Redis is slow or unreachable, or the app sends too many requests"
    );
    assert_eq!(answers, ["Redis did not answer within 50 ms"; 2]);
}

#[tokio::test(start_paused = true)]
async fn one_apps_flood_leaves_slots_for_others() {
    for reconnecting in [false, true] {
        match reconnecting {
            false => flood(store::<false>()).await,
            true => flood(store::<true>()).await,
        }
    }
}

async fn flood<const RECONNECTING: bool>(
    (store, server): (RedisNonceStore<Server<RECONNECTING>>, Server<RECONNECTING>),
) {
    assert_eq!(claim_result(&store).await, "New");
    server.set_fault(Fault::Silent);
    let is_busy = |answer: &String| answer.starts_with("too many commands in flight");
    let flooding = join_all((0..2000).map(|_| claim_result_of(&store, "flood")));
    // These claims are polled after the flood.
    let others = join_all((0..100).map(|n| claim_result_of(&store, ["app-1", "app-2", "app-3"][n % 3])));
    let (flooding, others) = join(flooding, others).await;
    let waited = flooding.iter().filter(|answer| !is_busy(answer)).count();
    assert_eq!(waited, 768, "three quarters of the slots");
    assert_eq!(others.iter().filter(|answer| is_busy(answer)).count(), 0);
    server.clear_fault();
    assert!(
        join_all((0..700).map(|_| claim_result_of(&store, "flood"))).await.iter().all(|answer| !is_busy(answer)),
        "the slots are free again"
    );
}

#[tokio::test(start_paused = true)]
async fn expired_queued_claim_fails_alone() {
    let (store, _) = store::<false>();
    assert_eq!(claim_result(&store).await, "New");
    let store = store.with_deadline(50 * MS);
    let early = start_claim(&store);
    // Another task blocks the only thread.
    assert!(advance(50 * MS).now_or_never().is_none());
    let answers = join(early, claim_result(&store)).await;
    assert_eq!(answers, ("Redis did not answer within 50 ms".to_owned(), "New".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn later_claim_has_its_own_deadline() {
    let (store, server) = store::<false>();
    assert_eq!(claim_result(&store).await, "New");
    server.set_fault(Fault::Silent);
    let store = store.with_deadline(20 * MS);
    let early = start_claim(&store);
    assert!(advance(10 * MS).now_or_never().is_none());
    let start = Instant::now();
    let took = async |claim| (claim.await, start.elapsed());
    let (early, late) = join(took(early), took(start_claim(&store))).await;
    assert_eq!([&early.0, &late.0], ["Redis did not answer within 20 ms"; 2]);
    assert!((10 * MS..=11 * MS).contains(&early.1) && (20 * MS..=21 * MS).contains(&late.1), "{early:?} {late:?}");
    assert_eq!(server.batches(), [1, 1, 1], "each claim in its own batch");
}

#[tokio::test(start_paused = true)]
async fn deadline_starts_with_the_claim() {
    let (store, server) = store::<false>();
    assert_eq!(claim_result(&store).await, "New");
    server.set_fault(Fault::Silent);
    let store = store.with_deadline(50 * MS);
    let start = Instant::now();
    let early = start_claim(&store);
    assert!(advance(30 * MS).now_or_never().is_none());
    assert_eq!(early.await, "Redis did not answer within 50 ms");
    // Tokio's paused clock has a resolution of one millisecond.
    assert!(start.elapsed() <= 51 * MS, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn cancelled_claim_frees_its_slot() {
    check_slots_are_freed(&store::<false>().0).await;
    check_slots_are_freed(&store::<true>().0).await;
}

async fn check_slots_are_freed<C: Connect>(store: &RedisNonceStore<C>) {
    let store = store.clone().with_max_in_flight(2);
    for _ in 0..3 {
        drop([start_claim(&store), start_claim(&store)]);
        assert_eq!(join_all((0..2).map(|_| claim_result(&store))).await, ["New"; 2]);
        // The store looks for cancelled claims at most this often.
        advance(20 * MS).await;
    }
}

#[test]
fn stalled_runtime_frees_slots_of_expired_claims() {
    let (store, runtime) = (store::<false>().0, || tokio::runtime::Builder::new_current_thread().enable_all().build());
    let store = store.with_max_in_flight(3).with_deadline(50 * MS);
    let (stalled, running) = (runtime().unwrap(), runtime().unwrap());
    let (early, _) =
        stalled.block_on(async { (start_claim(&store), drop([start_claim(&store), start_claim(&store)])) });
    running.block_on(async {
        assert_eq!(
            join_all((0..2).map(|_| claim_result(&store))).await,
            ["New"; 2],
            "in the slots of the cancelled claims"
        );
        assert!(join_all((0..3).map(|_| claim_result(&store))).await[2].starts_with("too many commands in flight"));
        tokio::time::sleep(60 * MS).await;
        assert_eq!(
            join_all((0..3).map(|_| claim_result(&store))).await,
            ["New"; 3],
            "in the slot of the expired claim"
        );
        assert_eq!(early.await, "Redis did not answer within 50 ms");
    });
}

#[test]
fn ended_runtime_frees_the_slots_of_its_claims() {
    let store = store::<false>().0.with_max_in_flight(2);
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert_eq!(claim_result(&store).await, "New");
            drop([start_claim(&store), start_claim(&store)]);
        });
    }
}
