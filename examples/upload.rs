//! A large file through both ends in constant memory: signed by its digest, and checked while it is stored.
//!
//! ```sh
//! cargo run --release --example upload -- --mib 1024
//! ```

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::State, routing::put};
use bytes::Bytes;
use clap::Parser;
use countersign::{BodyDigest, BodyHasher, Limits, Payload, Scheme, Secret, Signer, StaticKeys, Verifier};
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tokio::net::TcpListener;

type Error = Box<dyn std::error::Error + Send + Sync>;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const CHUNK: usize = 256 * 1024;

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

fn main() -> Result<(), Error> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match options.serve {
        Some(directory) => runtime.block_on(serve(directory, options.discard)),
        None => {
            let directory = std::env::temp_dir().join(format!("countersign-upload-{}", std::process::id()));
            fs::create_dir(&directory)?;
            let result = runtime.block_on(upload(&directory, options.mib, options.discard));
            fs::remove_dir_all(&directory)?;
            result
        }
    }
}

async fn serve(directory: PathBuf, discard: bool) -> Result<(), Error> {
    let keys = StaticKeys::new([("demo".parse()?, Secret::new(SECRET)?)]);
    let scheme = Scheme::new().with_limits(Limits::new().with_body(usize::MAX));
    let layer = Verifier::new(keys).with_scheme(scheme).with_streamed_bodies().into_layer();
    let target = if discard { None } else { Some(directory) };
    let app = Router::new().route("/file", put(store)).with_state(target).layer(layer);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// Acts when the body has ended well: until then what it writes is nobody's file.
async fn store(State(directory): State<Option<PathBuf>>, body: Body) -> Result<String, (StatusCode, String)> {
    let Some(directory) = directory else {
        return match write(body, io::sink()).await {
            Ok(bytes) => Ok(format!("{bytes} bytes, peak memory {}", peak_memory())),
            Err(error) => Err((StatusCode::BAD_REQUEST, error.to_string())),
        };
    };
    let part = directory.join("received.part");
    let written = async {
        let bytes = write(body, File::create(&part)?).await?;
        fs::rename(&part, directory.join("received"))?;
        Ok::<_, Error>(format!("{bytes} bytes, peak memory {}", peak_memory()))
    };
    written.await.map_err(|error| {
        let _ = fs::remove_file(&part);
        (StatusCode::BAD_REQUEST, error.to_string())
    })
}

/// In a task of its own: one core receives while another one hashes.
async fn write(mut body: Body, mut target: impl Write + Send + 'static) -> Result<usize, Error> {
    let writing = async move {
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            // Were it not the signed file, its last frame would be an error.
            if let Ok(data) = frame?.into_data() {
                target.write_all(&data)?;
                bytes += data.len();
            }
        }
        Ok(bytes)
    };
    tokio::spawn(writing).await?
}

async fn upload(directory: &Path, mib: usize, discard: bool) -> Result<(), Error> {
    let path = directory.join("sent");
    let mut file = File::create(&path)?;
    let chunk: Vec<u8> = (0..1024 * 1024).map(|i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for _ in 0..mib {
        file.write_all(&chunk)?;
    }

    let rate = |what: &str, time: Duration| println!("{what:<28}{:>8.0} MiB/s", mib as f64 / time.as_secs_f64());
    let start = Instant::now();
    let mut hasher = BodyHasher::new();
    (0..mib).for_each(|_| hasher.update(&chunk));
    let bare = hasher.finish();
    rate("bare SHA-256, in memory", start.elapsed());

    let start = Instant::now();
    let mut hasher = BodyHasher::new();
    io::copy(&mut BufReader::with_capacity(CHUNK, File::open(&path)?), &mut hasher)?;
    let digest = hasher.finish();
    rate("digest of the file", start.elapsed());
    assert_eq!(digest, bare);

    let (mut service, address) = start_service(directory, discard)?;
    let result = async {
        let wrong = BodyDigest::of(b"another file");
        for (what, digest, expected) in [("a wrong digest", wrong, 401), ("sent and checked", digest, 200)] {
            let start = Instant::now();
            let (status, text) = send(&path, &format!("http://{address}/file"), digest).await?;
            rate(what, start.elapsed());
            println!("  {status}: {text}");
            let is_stored = directory.join("received").exists();
            if status != expected || (!discard && is_stored != (expected == 200)) {
                return Err(format!("{expected} was expected").into());
            }
        }
        Ok(())
    };
    let result = result.await;
    println!("  the client's peak memory: {}", peak_memory());
    service.kill()?;
    service.wait()?;
    result
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

/// The signature needs the digest alone, so the file streams.
async fn send(path: &Path, url: &str, digest: BodyDigest) -> Result<(StatusCode, String), Error> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let signer = Signer::new("demo".parse()?, Secret::new(SECRET)?);
    let (mut parts, ()) = Request::put(url).header("content-length", length).body(())?.into_parts();
    signer.sign_parts(&mut parts, Payload::Digest(digest))?;

    let frames = std::iter::from_fn(move || {
        let mut chunk = vec![0; CHUNK];
        match file.read(&mut chunk) {
            Ok(0) => None,
            Ok(length) => {
                chunk.truncate(length);
                Some(Ok(Frame::data(Bytes::from(chunk))))
            }
            Err(error) => Some(Err(error)),
        }
    });
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let response = Client::builder(TokioExecutor::new()).build_http().request(Request::from_parts(parts, body)).await?;
    let status = response.status();
    let text = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&text).into_owned()))
}

/// As Linux tells it.
fn peak_memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".to_owned(), |line| line.trim().to_owned())
}
