//! A large file through both ends in constant memory: signed by its digest, and checked while it is stored.
//!
//! ```sh
//! cargo run --release --example upload -- --mib 1024
//! ```

mod client;
mod service;

use std::{
    convert::Infallible,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::body::Body;
use bytes::Bytes;
use clap::Parser;
use countersign::{BodyDigest, BodyHasher};
use http::Request;
use http_body::Frame;
use http_body_util::StreamBody;
use sha2::{Digest, Sha256};

type Error = Box<dyn std::error::Error + Send + Sync>;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

#[derive(Parser)]
struct Options {
    /// How large the file is, in MiB.
    #[arg(long, default_value_t = 64)]
    mib: usize,
    /// Has the service count what arrives and not store it.
    #[arg(long)]
    discard: bool,
    /// Is the service, which stores in this directory.
    #[arg(long, hide = true)]
    serve: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let options = Options::parse();
    if let Some(directory) = options.serve {
        return service::serve(if options.discard { None } else { Some(directory) }).await;
    }
    let directory = std::env::temp_dir().join(format!("countersign-upload-{}", std::process::id()));
    fs::create_dir(&directory)?;
    let result = upload(&directory, options.mib, options.discard).await;
    fs::remove_dir_all(&directory)?;
    result
}

async fn upload(directory: &Path, mib: usize, discard: bool) -> Result<(), Error> {
    let rate = |what: &str, time: Duration| println!("{what:<32}{:>7.0} MiB/s", mib as f64 / time.as_secs_f64());
    let chunk: Bytes = (0..1024 * 1024).map(|i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    in_memory(&chunk, mib, rate).await?;

    let path = directory.join("sent");
    let mut file = File::create(&path)?;
    (0..mib).try_for_each(|_| file.write_all(&chunk))?;
    let start = Instant::now();
    let digest = client::digest_of(&path)?;
    rate("the file's digest", start.elapsed());

    let (mut service, address) = start_service(directory, discard)?;
    let result = over_tcp(&path, &address, digest, rate).await;
    println!("  the client's peak memory: {}", peak_memory());
    service.kill()?;
    service.wait()?;
    result
}

/// What the check itself costs, on either end, beside the least that it could.
async fn in_memory(chunk: &Bytes, mib: usize, rate: impl Fn(&str, Duration)) -> Result<(), Error> {
    let start = Instant::now();
    let mut bare = Sha256::new();
    (0..mib).for_each(|_| bare.update(chunk));
    let bare: [u8; 32] = bare.finalize().into();
    rate("bare SHA-256, in memory", start.elapsed());

    let start = Instant::now();
    let mut hasher = BodyHasher::new();
    (0..mib).for_each(|_| hasher.update(chunk));
    let digest = hasher.finish();
    let parts = client::signed("http://localhost/checked", digest)?;
    rate("signed, in memory", start.elapsed());
    assert_eq!(digest, BodyDigest::from(bare));

    let frames = std::iter::repeat_n(chunk.clone(), mib).map(|data| Ok::<_, Infallible>(Frame::data(data)));
    let body = Body::new(StreamBody::new(futures_util::stream::iter(frames)));
    let start = Instant::now();
    let request = service::verifier()?.verify(Request::from_parts(parts, body)).await?;
    let bytes = service::write(request.into_body(), io::sink()).await?;
    rate("checked, in memory", start.elapsed());
    assert_eq!(bytes, mib * chunk.len());
    Ok(())
}

async fn over_tcp(path: &Path, address: &str, digest: BodyDigest, rate: impl Fn(&str, Duration)) -> Result<(), Error> {
    let wrong = BodyDigest::of(b"another file");
    for (what, route, digest, expected) in [
        ("a wrong digest", "checked", wrong, 401),
        ("sent and checked", "checked", digest, 200),
        ("sent, and not checked", "unchecked", digest, 200),
    ] {
        let stored = path.with_file_name("received");
        let start = Instant::now();
        let (status, text) = client::send(path, &format!("http://{address}/{route}"), digest).await?;
        rate(what, start.elapsed());
        println!("  {status}: {text}");
        if status != expected || (expected == 401 && stored.exists()) {
            return Err(format!("{what}: {expected} was expected").into());
        }
    }
    Ok(())
}

fn start_service(directory: &Path, discard: bool) -> Result<(Child, String), Error> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--serve").arg(directory).stdout(Stdio::piped());
    if discard {
        command.arg("--discard");
    }
    let mut service = command.spawn()?;
    let mut address = String::new();
    if let Some(stdout) = service.stdout.take() {
        BufReader::new(stdout).read_line(&mut address)?;
    }
    Ok((service, address.trim().to_owned()))
}

/// As Linux tells it.
fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".to_owned(), |line| line.trim().to_owned())
}
