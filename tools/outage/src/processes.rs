//! The processes of Redis and of the service. They are killed when their handles are dropped.

use std::{path::Path, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UnixStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::Error;

/// A Redis on a Unix socket. Its append-only file keeps the nonces across a restart.
pub(crate) struct Redis {
    process: Child,
    directory: TempDir,
}

impl Redis {
    /// Returns when Redis accepts connections. Fails after 10 seconds.
    pub(crate) async fn start() -> Result<Self, Error> {
        let directory = tempfile::tempdir()?;
        let redis = Self { process: spawn_redis(directory.path())?, directory };
        let ready = async {
            while UnixStream::connect(redis.directory.path().join("socket")).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(10), ready).await.map_err(|_| "redis-server does not accept connections")?;
        Ok(redis)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}/socket", self.directory.path().display())
    }

    pub(crate) async fn kill(&mut self) -> Result<(), Error> {
        Ok(self.process.kill().await?)
    }

    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        self.process = spawn_redis(self.directory.path())?;
        Ok(())
    }

    /// `STOP` suspends the process, `CONT` resumes it.
    pub(crate) async fn signal(&self, name: &str) -> Result<(), Error> {
        let pid = self.process.id().ok_or("redis-server has exited")?;
        let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().await?;
        if status.success() { Ok(()) } else { Err(format!("kill -{name} {pid}: {status}").into()) }
    }
}

fn spawn_redis(directory: &Path) -> Result<Child, Error> {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "yes"]);
    command.current_dir(directory).stdout(Stdio::null()).kill_on_drop(true);
    command.spawn().map_err(|error| format!("redis-server: {error}").into())
}

/// `countersign serve`.
pub(crate) struct Service {
    _process: Child,
    pub(crate) url: String,
    pub(crate) metrics: String,
}

impl Service {
    pub(crate) async fn start(program: &str, redis: &str, keys: &[&str]) -> Result<Self, Error> {
        let app = format!("demo:{}", keys.join(","));
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--app", &app, "--redis", redis]);
        // stderr has a line for each rejected request.
        command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        let mut lines = BufReader::new(process.stdout.take().ok_or("the service has no stdout")?).lines();
        let mut address = async |label: &str| {
            let line = lines.next_line().await?.unwrap_or_default();
            let address = line.strip_prefix(label).map(str::to_owned);
            address.ok_or_else(|| Error::from(format!("{program}: expected `{label}` and an address, found `{line}`")))
        };
        let (url, metrics) = (address("listening on ").await?, address("metrics on ").await?);
        Ok(Self { _process: process, url, metrics })
    }
}
