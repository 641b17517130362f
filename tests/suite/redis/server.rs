//! A Redis of a test's own: on a unix socket, and on a port where others must find it; gone with the test.

use std::{
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

pub(crate) struct RedisServer {
    process: Child,
    directory: PathBuf,
    options: Vec<String>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// With options of its command line.
    pub(super) fn start_with(options: &[&str]) -> Self {
        Self::start_after(|_| {}, options)
    }

    /// In a directory that is prepared before.
    pub(super) fn start_after(prepare: impl FnOnce(&Path), options: &[&str]) -> Self {
        Self::try_start(prepare, options).expect("redis-server ends right away")
    }

    /// On a free port of loopback too, with the lines of its configuration file.
    ///
    /// Nobody can reserve a port, nor the one 10,000 above where a cluster's node meets others: a server that ends
    /// because one is taken is followed by another. All are below those that connections get from the system.
    pub(super) fn start_on_port(configuration: &str, options: &[&str]) -> (Self, u16) {
        for attempt in 0..100 {
            let port = 10_000 + (RandomState::new().hash_one(attempt) % 12_000) as u16;
            let text = port.to_string();
            let options = [options, &["--port", &text, "--bind", "127.0.0.1"]].concat();
            let configure = |directory: &Path| std::fs::write(directory.join("redis.conf"), configuration).unwrap();
            if let Some(server) = Self::try_start(configure, &options) {
                return (server, port);
            }
        }
        panic!("no port is free, or redis-server does not like {configuration} {options:?}");
    }

    /// `None` if it ends before it answers.
    fn try_start(prepare: impl FnOnce(&Path), options: &[&str]) -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("countersign-redis-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("redis.conf"), "").unwrap();
        prepare(&directory);
        let options: Vec<_> = options.iter().map(|&option| option.to_owned()).collect();
        let process = spawn(&directory, &options);
        let mut server = Self { process, directory, options };
        server.answers().then_some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.directory.join("socket").display())
    }

    pub(super) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    /// What it answers to a command, over a connection of the test's own.
    pub(crate) fn tell<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let (name, arguments) = command.split_first().unwrap();
        redis::cmd(name).arg(arguments).query(&mut self.client().get_connection().unwrap()).unwrap()
    }

    /// Whether it is a replica that has all of its master's keys.
    pub(super) fn has_its_copy(&self) -> bool {
        self.tell::<String>(&["INFO", "replication"]).contains("master_link_status:up")
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) fn restart(&mut self) {
        self.process = spawn(&self.directory, &self.options);
        assert!(self.answers(), "redis-server does not come up again");
    }

    /// Stops it in the middle of whatever it does: connections stay open, and nobody answers.
    pub(super) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(super) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(signal).arg(self.process.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits until it answers, or has ended.
    fn answers(&mut self) -> bool {
        let start = Instant::now();
        while self.client().get_connection().is_err() {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "redis-server does not come up");
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

/// That nobody listens on just now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(directory: &PathBuf, options: &[String]) -> Child {
    // It forgets everything when it ends, and listens nowhere else unless told to.
    let child = Command::new("redis-server")
        .arg("redis.conf")
        .args(["--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "no"])
        .args(options)
        .current_dir(directory)
        .stdout(Stdio::null())
        .spawn();
    child.expect("these tests need redis-server: apt-get install redis-server")
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
