//! The one connection that claims share: when it is made, kept, given up and renewed, on time of the test's own.

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

/// What ails the connections that there are. Those that are made later are well.
#[derive(Clone, Copy)]
enum Fault {
    Silent,
    Breaks,
    Says(&'static str),
    /// One answer less than there are commands.
    Short,
}

#[derive(Default)]
struct State {
    /// How often somebody has tried to connect.
    attempts: usize,
    is_away: bool,
    fault: Option<Fault>,
    ailing: usize,
    /// How many commands came in each piece.
    pieces: Vec<usize>,
}

/// `MENDS` as a cluster's client does.
#[derive(Clone, Default)]
struct Server<const MENDS: bool>(Arc<Mutex<State>>);

impl<const MENDS: bool> Server<MENDS> {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    fn ails(&self, fault: Fault) {
        self.with(|state| (state.fault, state.ailing) = (Some(fault), state.attempts));
    }

    fn is_well(&self) {
        self.with(|state| state.fault = None);
    }

    fn is_away(&self, is_away: bool) {
        self.with(|state| state.is_away = is_away);
    }

    fn attempts(&self) -> usize {
        self.with(|state| state.attempts)
    }

    fn pieces(&self) -> Vec<usize> {
        self.with(|state| std::mem::take(&mut state.pieces))
    }
}

impl<const MENDS: bool> Connect for Server<MENDS> {
    type Connection = Connection<MENDS>;

    const RECONNECTS: bool = MENDS;

    async fn connect(&self) -> RedisResult<Self::Connection> {
        let (number, is_away) = self.with(|state| {
            state.attempts += 1;
            (state.attempts, state.is_away)
        });
        tokio::task::yield_now().await;
        if is_away { Err(broken()) } else { Ok(Connection(self.clone(), number)) }
    }
}

fn broken() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::BrokenPipe).into()
}

#[derive(Clone)]
struct Connection<const MENDS: bool>(Server<MENDS>, usize);

impl<const MENDS: bool> Connection<MENDS> {
    async fn answers(&self, count: usize) -> RedisResult<Vec<Value>> {
        let fault = self.0.with(|state| {
            state.pieces.push(count);
            state.fault.filter(|_| self.1 <= state.ailing)
        });
        match fault {
            None => Ok(vec![Value::Okay; count]),
            Some(Fault::Silent) => pending().await,
            Some(Fault::Breaks) => Err(broken()),
            Some(Fault::Says(line)) => Ok(vec![redis::parse_redis_value(line.as_bytes())?; count]),
            Some(Fault::Short) => Ok(vec![Value::Okay; count - 1]),
        }
    }
}

impl<const MENDS: bool> ConnectionLike for Connection<MENDS> {
    fn req_packed_command<'a>(&'a mut self, _: &'a Cmd) -> RedisFuture<'a, Value> {
        self.answers(1).map(|answers| Ok(answers?.remove(0))).boxed()
    }

    fn req_packed_commands<'a>(&'a mut self, _: &'a Pipeline, _: usize, count: usize) -> RedisFuture<'a, Vec<Value>> {
        assert!(!MENDS, "where one connection stands for many each command goes by itself");
        self.answers(count).boxed()
    }

    fn get_db(&self) -> i64 {
        0
    }
}

fn store<const MENDS: bool>() -> (RedisNonceStore<Server<MENDS>>, Server<MENDS>) {
    let server = Server::default();
    (RedisNonceStore::new(server.clone()), server)
}

/// What comes of a claim, once all that it has set going has come as far as it can.
async fn ask<C: Connect>(store: &RedisNonceStore<C>) -> String {
    ask_of(store, "demo").await
}

async fn ask_of<C: Connect>(store: &RedisNonceStore<C>, app: &str) -> String {
    let answer = match claim_of(store, app, rig::fresh_nonce().as_str(), NOW).await {
        Ok(status) => format!("{status:?}"),
        Err(error) => error.source().unwrap().to_string(),
    };
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    answer
}

const BROKEN: &str = "Redis rejected the claim, or the connection broke";
const LATE: &str = "Redis did not answer within 250 ms";

/// A claim that waits to go out.
fn begun<C: Connect>(store: &RedisNonceStore<C>) -> Pin<Box<impl Future<Output = String>>> {
    let mut claim = Box::pin(ask(store));
    assert!(claim.as_mut().now_or_never().is_none());
    claim
}

#[tokio::test(start_paused = true)]
async fn concurrent_claims_share_one_connection_attempt() {
    // Each claim by itself, and not all of them in one piece.
    let (store, server) = store::<true>();
    assert!(join_all((0..100).map(|_| ask(&store))).await.iter().all(|answer| answer == "New"));
    assert_eq!((server.pieces().len(), server.attempts()), (100, 1));
}

#[tokio::test(start_paused = true)]
async fn failed_connection_is_retried_after_100_ms() {
    let (store, server) = store::<false>();
    server.is_away(true);
    for attempt in 1..=3 {
        assert_eq!(ask(&store).await, "not connected to Redis");
        assert_eq!(server.attempts(), attempt);
        advance(99 * MS).await;
        assert_eq!(ask(&store).await, "not connected to Redis");
        assert_eq!(server.attempts(), attempt);
        advance(MS).await;
    }
    server.is_away(false);
    assert_eq!(ask(&store).await, "New");
}

#[tokio::test(start_paused = true)]
async fn server_errors_keep_the_connection() {
    for line in ["-OOM command not allowed when used memory > 'maxmemory'\r\n", "-LOADING Redis is loading\r\n"] {
        let (store, server) = store::<false>();
        assert_eq!(ask(&store).await, "New");
        server.ails(Fault::Says(line));
        for _ in 0..3 {
            assert_eq!(ask(&store).await, BROKEN);
        }
        server.is_well();
        assert_eq!((ask(&store).await.as_str(), server.attempts()), ("New", 1), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn broken_connection_is_replaced() {
    for fault in [
        Fault::Breaks,
        Fault::Says("-NOAUTH Authentication required.\r\n"),
        Fault::Says("-READONLY You can't write against a read only replica.\r\n"),
        Fault::Says("-MASTERDOWN Link with MASTER is down\r\n"),
    ] {
        let (store, server) = store::<false>();
        assert_eq!(ask(&store).await, "New");
        server.ails(fault);
        assert_eq!(ask(&store).await, BROKEN);
        assert_eq!((ask(&store).await.as_str(), server.attempts()), ("New", 2));
    }
}

#[tokio::test(start_paused = true)]
async fn silent_connection_is_dropped_after_500_ms() {
    let (plain, server) = store::<false>();
    let (mending, cluster) = store::<true>();
    assert_eq!((ask(&plain).await.as_str(), ask(&mending).await.as_str()), ("New", "New"));
    server.ails(Fault::Silent);
    for expected in [LATE, LATE, "New"] {
        assert_eq!(ask(&plain).await, expected);
    }
    assert_eq!(server.attempts(), 2);
    cluster.ails(Fault::Silent);
    for expected in [LATE, "New"] {
        assert_eq!(ask(&mending).await, expected, "by now it is silent for long");
    }
}

#[tokio::test(start_paused = true)]
async fn one_unanswered_claim_keeps_the_connection() {
    let (store, server) = store::<false>();
    for _ in 0..2 {
        assert_eq!(ask(&store).await, "New");
        advance(10 * SECOND).await;
    }
    assert_eq!(ask(&store).await, "New");
    server.ails(Fault::Silent);
    assert_eq!(ask(&store).await, LATE);
    server.is_well();
    assert_eq!((ask(&store).await.as_str(), server.attempts()), ("New", 1));
}

#[tokio::test(start_paused = true)]
async fn failing_reconnecting_client_is_rebuilt_every_three_seconds() {
    let (store, server) = store::<true>();
    // Of two claims one fails: it is not silent.
    let fails = async || {
        server.is_well();
        assert_eq!(ask(&store).await, "New");
        server.ails(Fault::Breaks);
        assert_eq!(ask(&store).await, BROKEN);
        server.attempts()
    };
    assert_eq!(fails().await, 1);
    server.is_away(true);
    for attempts in 2..=4 {
        advance(3 * SECOND - MS).await;
        assert_eq!(fails().await, attempts - 1);
        advance(MS).await;
        assert_eq!(fails().await, attempts);
    }
    server.is_away(false);
    advance(3 * SECOND).await;
    assert_eq!(fails().await, 5);
    assert_eq!(ask(&store).await, "New", "over the new one");
}

#[tokio::test(start_paused = true)]
async fn concurrent_claims_are_sent_in_batches_of_32() {
    let (store, server) = store::<false>();
    assert_eq!(ask(&store).await, "New");
    join_all((0..100).map(|_| ask(&store))).await;
    assert_eq!(server.pieces(), [1, 32, 32, 32, 4]);

    // One of them waits for something else first, and is ready when the other has claimed.
    let (other, early) = (store.clone(), store);
    let early = tokio::spawn(async move { ask(&early).await });
    let late = tokio::spawn(async move {
        let mut has_waited = false;
        poll_fn(|context| {
            context.waker().wake_by_ref();
            if std::mem::replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        ask(&other).await
    });
    assert_eq!([early.await.unwrap(), late.await.unwrap()], ["New"; 2]);
    assert_eq!(server.pieces(), [2]);
}

#[tokio::test(start_paused = true)]
async fn short_reply_fails_the_whole_batch() {
    let (store, server) = store::<false>();
    assert_eq!(ask(&store).await, "New");
    server.ails(Fault::Short);
    let answers = join_all((0..3).map(|_| ask(&store))).await;
    assert_eq!(answers, ["unexpected reply from Redis"; 3]);
}

#[tokio::test(start_paused = true)]
async fn deadline_and_max_in_flight_are_configurable() {
    let (store, server) = store::<false>();
    assert_eq!(ask(&store).await, "New");
    server.ails(Fault::Silent);
    let store = store.with_deadline(50 * MS).with_max_in_flight(2);
    let mut answers = join_all((0..3).map(|_| ask(&store))).await;
    assert_eq!(
        answers.pop().unwrap(),
        "too many claims in flight (limit 2 for all apps, and a share of it for each): Redis is slow or unreachable, or the app sends too many requests"
    );
    assert_eq!(answers, ["Redis did not answer within 50 ms"; 2]);
}

#[tokio::test(start_paused = true)]
async fn one_apps_flood_leaves_places_for_others() {
    for mends in [false, true] {
        match mends {
            false => flood(store::<false>()).await,
            true => flood(store::<true>()).await,
        }
    }
}

async fn flood<const MENDS: bool>((store, server): (RedisNonceStore<Server<MENDS>>, Server<MENDS>)) {
    assert_eq!(ask(&store).await, "New");
    server.ails(Fault::Silent);
    let is_busy = |answer: &String| answer.starts_with("too many claims in flight");
    let flooding = join_all((0..2000).map(|_| ask_of(&store, "flood")));
    // They are polled after the flood.
    let others = join_all((0..100).map(|n| ask_of(&store, ["app-1", "app-2", "app-3"][n % 3])));
    let (flooding, others) = join(flooding, others).await;
    let waited = flooding.iter().filter(|answer| !is_busy(answer)).count();
    assert_eq!(waited, 768, "three quarters of the places");
    assert_eq!(others.iter().filter(|answer| is_busy(answer)).count(), 0);
    server.is_well();
    assert!(
        join_all((0..700).map(|_| ask_of(&store, "flood"))).await.iter().all(|answer| !is_busy(answer)),
        "they come back"
    );
}

#[tokio::test(start_paused = true)]
async fn expired_queued_claim_fails_alone() {
    let (store, _) = store::<false>();
    assert_eq!(ask(&store).await, "New");
    let store = store.with_deadline(50 * MS);
    let early = begun(&store);
    // Something else keeps the only thread busy.
    assert!(advance(50 * MS).now_or_never().is_none());
    let answers = join(early, ask(&store)).await;
    assert_eq!(answers, ("Redis did not answer within 50 ms".to_owned(), "New".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn one_that_comes_much_later_has_its_own_time() {
    let (store, server) = store::<false>();
    assert_eq!(ask(&store).await, "New");
    server.ails(Fault::Silent);
    let store = store.with_deadline(20 * MS);
    let early = begun(&store);
    assert!(advance(10 * MS).now_or_never().is_none());
    let start = Instant::now();
    let took = async |claim| (claim.await, start.elapsed());
    let (early, late) = join(took(early), took(begun(&store))).await;
    assert_eq!([&early.0, &late.0], ["Redis did not answer within 20 ms"; 2]);
    assert!((10 * MS..=11 * MS).contains(&early.1) && (20 * MS..=21 * MS).contains(&late.1), "{early:?} {late:?}");
    assert_eq!(server.pieces(), [1, 1, 1], "each in a piece of its own");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_from_the_claim() {
    let (store, server) = store::<false>();
    assert_eq!(ask(&store).await, "New");
    server.ails(Fault::Silent);
    let store = store.with_deadline(50 * MS);
    let start = Instant::now();
    let early = begun(&store);
    assert!(advance(30 * MS).now_or_never().is_none());
    assert_eq!(early.await, "Redis did not answer within 50 ms");
    // The clock of the test's runtime has a millisecond's ticks.
    assert!(start.elapsed() <= 51 * MS, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_given_up_gives_its_place_back() {
    gives_its_place_back(&store::<false>().0).await;
    gives_its_place_back(&store::<true>().0).await;
}

async fn gives_its_place_back<C: Connect>(store: &RedisNonceStore<C>) {
    let store = store.clone().with_max_in_flight(2);
    for _ in 0..3 {
        drop([begun(&store), begun(&store)]);
        assert_eq!(join_all((0..2).map(|_| ask(&store))).await, ["New"; 2]);
        // Nobody looks for them more often.
        advance(20 * MS).await;
    }
}

#[test]
fn stalled_runtime_frees_slots_of_expired_claims() {
    let (store, runtime) = (store::<false>().0, || tokio::runtime::Builder::new_current_thread().enable_all().build());
    let store = store.with_max_in_flight(3).with_deadline(50 * MS);
    let (still, moves) = (runtime().unwrap(), runtime().unwrap());
    let (early, _) = still.block_on(async { (begun(&store), drop([begun(&store), begun(&store)])) });
    moves.block_on(async {
        assert_eq!(join_all((0..2).map(|_| ask(&store))).await, ["New"; 2], "in place of those that were given up");
        assert!(join_all((0..3).map(|_| ask(&store))).await[2].starts_with("too many claims in flight"));
        tokio::time::sleep(60 * MS).await;
        assert_eq!(join_all((0..3).map(|_| ask(&store))).await, ["New"; 3], "in place of what has waited too long");
        assert_eq!(early.await, "Redis did not answer within 50 ms");
    });
}

#[test]
fn a_runtime_that_ends_gives_the_places_of_its_claims_back() {
    let store = store::<false>().0.with_max_in_flight(2);
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            assert_eq!(ask(&store).await, "New");
            drop([begun(&store), begun(&store)]);
        });
    }
}
