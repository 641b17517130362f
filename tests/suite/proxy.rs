//! A real proxy in front of a service. It is stopped at the end of the test.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

pub(crate) struct Proxy {
    process: Child,
    directory: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Proxy {
    /// Starts nginx with these lines of its `http` block, where `LISTEN` is the address to listen on.
    pub(crate) fn nginx(http: &str) -> Self {
        Self::start("nginx", &["-p", ".", "-e", "error.log", "-c", "config"], |port| {
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|name| format!("{name}_temp_path {name};\n"))
                .concat();
            // A single process, so that killing it stops nginx completely.
            format!(
                "daemon off; master_process off; pid nginx.pid; error_log error.log error;\n\
                 events {{ worker_connections 512; }}\n\
                 http {{ access_log off;\n{temporary}{} }}\n",
                http.replace("LISTEN", &format!("127.0.0.1:{port}"))
            )
        })
    }

    /// Starts HAProxy with this configuration, where `LISTEN` is the address to listen on.
    pub(crate) fn haproxy(configuration: &str) -> Self {
        Self::start("haproxy", &["-db", "-f", "config"], |port| {
            configuration.replace("LISTEN", &format!("127.0.0.1:{port}"))
        })
    }

    fn start(program: &str, arguments: &[&str], configuration: impl Fn(u16) -> String) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("countersign-proxy-{}-{count}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        fs::write(directory.join("config"), configuration(port)).unwrap();
        let output = fs::File::create(directory.join("output")).unwrap();
        let process = Command::new(program)
            .args(arguments)
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("these tests need {program}: apt-get install {program}: {error}"));
        let mut proxy = Self { process, directory, address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = proxy.process.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < Duration::from_secs(10), "{program} did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            for name in ["config", "output", "error.log"] {
                eprintln!("{name}:\n{}", fs::read_to_string(self.directory.join(name)).unwrap_or_default());
            }
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}
