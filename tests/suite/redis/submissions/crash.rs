//! A process is killed while it holds a lease.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::Instant,
};

use super::*;

const LASTS: Duration = Duration::from_millis(900);

/// A process that reserves place 1 and renews its lease until it is killed.
struct Holder {
    process: Child,
    /// The process must be able to write on.
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn start(server: &RedisServer) -> Self {
        let name = format!("{}::renew_until_killed", module_path!().split_once("::").unwrap().1);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", &name, "--nocapture"])
            .env("HOLDER_REDIS", server.url())
            .stdout(Stdio::piped())
            .spawn();
        let mut process = child.unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut holder = Self { process, output };
        let mut line = String::new();
        while !line.contains("renewed") {
            assert_ne!(holder.output.read_line(&mut line).unwrap(), 0, "the process has ended");
        }
        holder
    }

    /// Ends the process with SIGKILL.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
#[ignore = "the process of another test"]
async fn renew_until_killed() {
    let Ok(url) = std::env::var("HOLDER_REDIS") else { return };
    let store = RedisSubmissionStore::new(redis::Client::open(url).unwrap());
    let lease = Lease { id: [1; 16], lasts: LASTS };
    assert_eq!(reserve(&store, &place(1), &lease, WhenLost::Unknown).await.unwrap(), Reserved::Yes);
    // Not forever, if the other test ends first.
    for _ in 0..200 {
        tokio::time::sleep(LASTS / 9).await;
        assert!(store.renew(&place(1), &lease).await.unwrap());
        println!("renewed");
    }
}

/// Reserves the place of a killed process again and again. Returns the last result, and the time since the kill.
async fn after_kill(when_lost: WhenLost) -> (Reserved, Duration) {
    let server = RedisServer::start();
    let store = submission_store(&server);
    let mut holder = Holder::start(&server);
    tokio::time::sleep(LASTS + LASTS / 3).await;
    assert_eq!(state(&store, &place(1)).await, Some(EntryState::InFlight), "it is renewed");
    holder.kill();
    let start = Instant::now();
    loop {
        let reserved = reserve(&store, &place(1), &lease(2), when_lost).await.unwrap();
        let is_running = matches!(&reserved, Reserved::No(entry) if entry.state == EntryState::InFlight);
        if !is_running {
            return (reserved, start.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_process_blocks_no_longer_than_its_lease() {
    let (reserved, after) = after_kill(WhenLost::TakeOver).await;
    assert_eq!(reserved, Reserved::Yes);
    assert!(after > LASTS / 2 && after < LASTS + Duration::from_millis(250), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_process_leaves_an_unknown_outcome() {
    let (reserved, after) = after_kill(WhenLost::Unknown).await;
    assert!(matches!(&reserved, Reserved::No(entry) if entry.state == EntryState::Unknown), "{reserved:?}");
    assert!(after > LASTS / 2 && after < LASTS + Duration::from_millis(250), "{after:?}");
}
