//! The client in Python, which knows PROTOCOL.md alone: directly, and through nginx.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
};

use super::*;

const PLACES: [(&str, &str); 3] = [("field", "field"), ("bearer", "bearer"), ("cookie", "cookie:__Host-cs1")];

fn server(place: &str) -> Server {
    Server::start_with_key_of_other(KEY, &["--tokens", "--session-keys", "--token-place", place])
}

fn run_client(base: &str, place: &str) {
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokens_client.py");
    let output = Command::new("python3").args([client, base, place]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{place}: {}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().count(), 5, "{place}");
}

pub(super) fn is_missing(program: &str, argument: &str) -> bool {
    let is_missing = Command::new(program).arg(argument).output().is_err();
    if is_missing {
        eprintln!("skipped: no {program} here");
    }
    is_missing
}

#[test]
fn python_client_finds_no_difference() {
    if is_missing("python3", "--version") {
        return;
    }
    for (place, argument) in PLACES {
        run_client(&server(argument).base, place);
    }
}

#[test]
fn python_client_finds_no_difference_behind_nginx() {
    if is_missing("python3", "--version") || is_missing("nginx", "-v") {
        return;
    }
    for (place, argument) in PLACES {
        let server = server(argument);
        let nginx = Nginx::start(&server.base);
        run_client(&nginx.base, place);
    }
}

/// A proxy in front of a server, in a folder of its own.
pub(super) struct Nginx {
    child: Child,
    folder: PathBuf,
    pub(super) base: String,
}

impl Nginx {
    pub(super) fn start(upstream: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("countersign-nginx-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let here = folder.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let temporary: String = temporary.map(|name| format!("{name}_temp_path {here}/{name};")).concat();
        let upstream = upstream.trim_start_matches("http://").trim_end_matches('/');
        let configuration = format!(
            "daemon off; master_process off; pid {here}/pid; error_log {here}/error; events {{}}\n\
             http {{ access_log off; {temporary}\n\
             upstream echo {{ server {upstream}; keepalive 8; }}\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://echo; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $http_host; }} }} }}\n"
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(&folder).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self { child, folder, base: format!("http://127.0.0.1:{port}") }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
