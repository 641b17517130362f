//! A Redis server for one test. It listens on a unix socket, and on a port where a test needs one.

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

    /// Starts a server with these command-line options.
    pub(super) fn start_with(options: &[&str]) -> Self {
        Self::start_prepared(|_| {}, options)
    }

    /// Starts a server in a directory that `prepare` fills first.
    pub(super) fn start_prepared(prepare: impl FnOnce(&Path), options: &[&str]) -> Self {
        Self::try_start(prepare, options).expect("redis-server exited at its start")
    }

    /// Starts a server that listens on a free loopback port too, with this configuration file.
    ///
    /// A port cannot be reserved, and a cluster node needs the port 10,000 above it as well. If a server exits because
    /// a port is taken, the next attempt uses another one. All ports are below the system's range of ephemeral ports.
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
        panic!("no port is free, or redis-server rejects {configuration} {options:?}");
    }

    /// Returns `None` if the server exits before it answers.
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
        server.wait_until_ready().then_some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.directory.join("socket").display())
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    /// Sends a command over a separate connection and returns the reply.
    pub(crate) fn command<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let (name, arguments) = command.split_first().unwrap();
        redis::cmd(name).arg(arguments).query(&mut self.client().get_connection().unwrap()).unwrap()
    }

    /// Whether it is a replica that has finished its initial synchronization.
    pub(super) fn is_synced(&self) -> bool {
        self.command::<String>(&["INFO", "replication"]).contains("master_link_status:up")
    }

    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) fn restart(&mut self) {
        self.process = spawn(&self.directory, &self.options);
        assert!(self.wait_until_ready(), "redis-server did not restart");
    }

    /// Stops the process. Connections stay open, and no command is answered.
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

    /// Waits until the server accepts connections. Returns false if it has exited.
    fn wait_until_ready(&mut self) -> bool {
        let start = Instant::now();
        while self.client().get_connection().is_err() {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "redis-server did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

/// A port that is free at the moment.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(directory: &PathBuf, options: &[String]) -> Child {
    // The server keeps no data after its end, and listens only on the socket unless the options say otherwise.
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
