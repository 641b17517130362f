//! A real nginx in front of a service.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio::net::TcpStream;

use crate::redis::server::free_port;

/// Runs in a directory of its own until it is dropped.
pub(crate) struct Nginx {
    process: Child,
    directory: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// `http` is the inside of the `http` block. `LISTEN` in it stands for the address to listen on.
    pub(crate) async fn start(http: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("countersign-nginx-{}-{count}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let configuration = format!(
            "pid nginx.pid; error_log error.log; daemon off; master_process off; events {{}}
            http {{
                access_log off; client_body_temp_path body; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
                proxy_temp_path temp;
                {}
            }}",
            http.replace("LISTEN", &address.to_string())
        );
        fs::write(directory.join("nginx.conf"), configuration).unwrap();
        let process = Command::new("nginx")
            .args(["-e", "error.log", "-c", "nginx.conf", "-p"])
            .arg(&directory)
            .stderr(Stdio::null())
            .spawn()
            .expect("these tests need nginx");
        let mut nginx = Self { process, directory, address };
        let started = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let has_ended = nginx.process.try_wait().unwrap().is_some();
            let is_late = started.elapsed() > Duration::from_secs(10);
            assert!(!has_ended && !is_late, "nginx does not listen: {}", nginx.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        nginx
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("nginx says: {}", self.log());
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}
