//! docs/keys.md: its example files, its rotation steps, and its documented bounds.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use countersign::{
    Signer, Verifier,
    clock::{Clock, ManualClock},
    store::FileKeys,
};
use tokio::{sync::RwLock, task::JoinSet};

use super::{KeyFile, caller, ring};
use crate::rig::{self, get, signed_by};

const PAGE: &str = include_str!("../../../docs/keys.md");
const OLD: &str = "f3a1c20d5b7e4968a0d1c2b3e4f50617f3a1c20d5b7e4968a0d1c2b3e4f50617";
const NEW: &str = "0b9c41d7e6f25a8830c7d4b1a29e5f630b9c41d7e6f25a8830c7d4b1a29e5f63";
/// 2026-10-01T00:00:00Z.
const NEW_BEGINS: u64 = 1_790_812_800;
/// 2026-10-31T23:59:59Z.
const OLD_ENDS: u64 = 1_793_491_199;

/// The example files of the page, in order: the old key, both keys, both keys with an end for the old one.
fn files() -> [&'static str; 3] {
    let blocks = PAGE.split("\n```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("toml\n"));
    let blocks: Vec<&str> = blocks.collect();
    blocks.try_into().unwrap()
}

fn signer(key: &str) -> Signer {
    Signer::new("demo".parse().unwrap(), format!("hex:{key}").parse().unwrap())
}

/// A verifier with a key file, and clients that sign requests in a loop.
struct Load {
    verifier: Verifier<FileKeys>,
    clock: ManualClock,
    /// Prevents a clock step during a request, which would make the request stale.
    clock_lock: RwLock<()>,
    /// For each client, whether it signs with the new key.
    has_new_key: [AtomicBool; 4],
    /// The number of requests by client and key name.
    signed_with: Mutex<HashMap<(usize, String), usize>>,
    accepted: AtomicUsize,
    stop: AtomicBool,
}

impl Load {
    fn start(keys: FileKeys, now: u64) -> (Arc<Self>, JoinSet<()>) {
        let clock = ManualClock::at(now - 3600);
        let verifier = Verifier::new(keys).with_clock(clock.clone());
        clock.advance(Duration::from_secs(3600));
        let load = Arc::new(Self {
            verifier,
            clock,
            clock_lock: RwLock::default(),
            has_new_key: Default::default(),
            signed_with: Mutex::default(),
            accepted: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let clients = (0..load.has_new_key.len()).map(|client| load.clone().run(client)).collect();
        (load, clients)
    }

    async fn run(self: Arc<Self>, client: usize) {
        let signers = [signer(OLD), signer(NEW)];
        while !self.stop.load(Relaxed) {
            let signer = &signers[usize::from(self.has_new_key[client].load(Relaxed))];
            let name = self.send(signer).await.unwrap_or_else(|code| panic!("a valid request was rejected: {code}"));
            *self.signed_with.lock().unwrap().entry((client, name)).or_default() += 1;
            self.accepted.fetch_add(1, Relaxed);
            tokio::task::yield_now().await;
        }
    }

    /// The name of the key that signed, or the code of the rejection.
    async fn send(&self, signer: &Signer) -> Result<String, &'static str> {
        let _guard = self.clock_lock.read().await;
        let request = signed_by(signer, self.clock.wall().as_secs(), get("/"));
        match caller(self.verifier.verify(rig::incoming(request)).await) {
            Ok(caller) => Ok(caller.key_name().unwrap_or_default().to_owned()),
            Err(rejection) => Err(rejection.kind().code()),
        }
    }

    async fn set_clock(&self, now: u64) {
        let _guard = self.clock_lock.write().await;
        self.clock.set_wall(now);
    }

    /// Waits until this many more requests are accepted.
    async fn accept_more(&self, requests: usize) {
        let end = self.accepted.load(Relaxed) + requests;
        wait_until(async || self.accepted.load(Relaxed) >= end).await;
    }

    fn signed_with(&self, name: &str) -> usize {
        (0..self.has_new_key.len()).map(|client| self.signed_by(client, name)).sum()
    }

    fn signed_by(&self, client: usize, name: &str) -> usize {
        self.signed_with.lock().unwrap().get(&(client, name.to_owned())).copied().unwrap_or_default()
    }

    /// Stops the clients and checks that none of them failed.
    async fn end(&self, clients: JoinSet<()>) {
        self.accept_more(100).await;
        self.stop.store(true, Relaxed);
        clients.join_all().await;
    }
}

async fn wait_until(mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < end, "timeout");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn documented_key_files_can_be_read() {
    for text in files() {
        KeyFile::new(text).open().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rotation_under_load_rejects_no_request() {
    let [before, both, ending] = files();
    let file = KeyFile::new(before);
    let keys = file.open().unwrap().with_interval(Duration::from_millis(5));
    let (load, clients) = Load::start(keys.clone(), NEW_BEGINS - 60);
    load.accept_more(100).await;

    // 1. Add the new key beside the old one. It is rejected before its `not-before`.
    file.replace(both);
    wait_until(async || format!("{:?}", ring(&keys, "demo").await).contains("2 keys")).await;
    assert_eq!(load.send(&signer(NEW)).await, Err("invalid_signature"));
    load.set_clock(NEW_BEGINS).await;
    assert_eq!(load.send(&signer(NEW)).await.as_deref(), Ok("2026-q4"));

    // 2. Switch the clients one by one.
    for (client, has_new_key) in load.has_new_key.iter().enumerate() {
        load.accept_more(50).await;
        assert!(load.signed_with("2026-q3") > 0 && (client == 0) == (load.signed_with("2026-q4") == 0));
        has_new_key.store(true, Relaxed);
        wait_until(async || load.signed_by(client, "2026-q4") > 0).await;
    }

    // 3. Check that no client uses the old key.
    let with_old = load.signed_with("2026-q3");
    load.accept_more(200).await;
    assert_eq!(load.signed_with("2026-q3"), with_old, "no client signs with the old key");

    // 4. The old key ends at its `not-after`.
    file.replace(ending);
    keys.reload().unwrap();
    load.set_clock(OLD_ENDS).await;
    assert_eq!(load.send(&signer(OLD)).await.as_deref(), Ok("2026-q3"));
    load.set_clock(OLD_ENDS + 1).await;
    assert_eq!(load.send(&signer(OLD)).await, Err("invalid_signature"));
    load.end(clients).await;
}

/// Uses the default interval. The slack allows for a busy machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn removed_key_is_rejected_within_documented_bound() {
    const BOUND: Duration = Duration::from_millis(1100);
    const SLACK: Duration = Duration::from_secs(1);
    assert!(PAGE.contains("1.1 s after the file was written whole"));
    let both = files()[1];
    let without_old: String = both.split_inclusive('\n').filter(|line| !line.contains(OLD)).collect();
    let file = KeyFile::new(both);
    let keys = file.open().unwrap();
    let (load, clients) = Load::start(keys.clone(), NEW_BEGINS);
    load.has_new_key.iter().for_each(|has_new_key| has_new_key.store(true, Relaxed));
    wait_until(async || (0..4).all(|client| load.signed_by(client, "2026-q4") > 0)).await;

    // The best of three runs counts, because a busy machine can pause any single run.
    let mut took = Duration::MAX;
    for _ in 0..3 {
        file.replace(both);
        keys.reload().unwrap();
        assert_eq!(load.send(&signer(OLD)).await.as_deref(), Ok("2026-q3"));
        file.replace(&without_old);
        let written = Instant::now();
        wait_until(async || load.send(&signer(OLD)).await == Err("invalid_signature")).await;
        took = took.min(written.elapsed());
        if took < BOUND + SLACK {
            break;
        }
    }
    assert!(took < BOUND + SLACK, "{took:?}");

    // `reload` applies the change at once.
    file.replace(both);
    keys.reload().unwrap();
    assert_eq!(load.send(&signer(OLD)).await.as_deref(), Ok("2026-q3"));
    file.replace(&without_old);
    keys.reload().unwrap();
    assert_eq!(load.send(&signer(OLD)).await, Err("invalid_signature"));
    load.end(clients).await;
}

/// A broken file retires no key and is reported by `last_failure`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn broken_file_during_rotation_rejects_no_request() {
    let [before, both, _] = files();
    let file = KeyFile::new(before);
    let keys = file.open().unwrap().with_interval(Duration::from_millis(5));
    let (load, clients) = Load::start(keys.clone(), NEW_BEGINS);
    load.accept_more(50).await;
    file.replace(both.replace("secret", "sceret"));
    wait_until(async || keys.last_failure().is_some()).await;
    assert_eq!(keys.last_failure().unwrap().line(), Some(3));
    load.accept_more(50).await;
    file.replace(both);
    wait_until(async || keys.last_failure().is_none()).await;
    assert_eq!(load.send(&signer(NEW)).await.as_deref(), Ok("2026-q4"));
    load.end(clients).await;
}
