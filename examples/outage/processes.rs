//! Redis and the echo server, which end with this process.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::Error;

/// On a unix socket, with an append-only file: what it was told it knows after it was killed.
pub(crate) struct RedisServer {
    process: Child,
    directory: PathBuf,
}

impl RedisServer {
    pub(crate) fn start() -> Result<Self, Error> {
        let directory = std::env::temp_dir().join(format!("countersign-outage-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let server = Self { process: spawn(&directory)?, directory };
        server.once_up()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    pub(crate) fn kill(&mut self) -> Result<(), Error> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(fs::remove_file(self.socket())?)
    }

    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        self.process = spawn(&self.directory)?;
        Ok(())
    }

    /// `STOP` has it hang, `CONT` go on.
    pub(crate) fn signal(&self, name: &str) -> Result<(), Error> {
        let status = Command::new("kill").args([format!("-{name}"), self.process.id().to_string()]).status()?;
        if status.success() { Ok(()) } else { Err(format!("kill -{name}: {status}").into()) }
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    fn once_up(self) -> Result<Self, Error> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.socket().exists() {
            if Instant::now() > deadline {
                return Err("redis-server does not start".into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(self)
    }
}

fn spawn(directory: &PathBuf) -> Result<Child, Error> {
    let options = ["--port", "0", "--unixsocket", "socket", "--save", "", "--appendonly", "yes"];
    let mut command = Command::new("redis-server");
    let child = command.args(options).current_dir(directory).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    child.map_err(|error| format!("redis-server: {error}").into())
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The example of that name, which cargo puts beside this one.
pub(crate) struct EchoServer {
    process: Child,
    pub(crate) base: String,
    pub(crate) metrics: String,
}

impl EchoServer {
    pub(crate) fn start(redis: &str, keys: &[&str]) -> Result<Self, Error> {
        let path = std::env::current_exe()?.with_file_name("echo_server");
        let app = format!("demo:{}", keys.join(","));
        let mut command = Command::new(&path);
        command.args(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--app", &app, "--redis", redis]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let process = child.map_err(|error| format!("{}: {error}", path.display()))?;
        let mut server = Self { process, base: String::new(), metrics: String::new() };
        let stdout = server.process.stdout.take().ok_or("the echo server has no stdout")?;
        for line in BufReader::new(stdout).lines().take(2) {
            let line = line?;
            match (line.strip_prefix("listening on "), line.strip_prefix("metrics on ")) {
                (Some(base), _) => base.clone_into(&mut server.base),
                (_, Some(metrics)) => metrics.clone_into(&mut server.metrics),
                _ => return Err(format!("the echo server says {line}").into()),
            }
        }
        Ok(server)
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
