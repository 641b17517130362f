//! The service: stores what it is sent if, and only if, it is what was signed.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::Ipv4Addr,
    path::PathBuf,
};

use axum::{Router, body::Body, extract::State, http::StatusCode, routing::put};
use countersign::{Limits, Secret, StaticKeys, Verifier};
use http_body_util::BodyExt;
use tokio::{net::TcpListener, runtime::Handle, task::spawn_blocking};

use crate::{Error, SECRET, peak_memory};

/// Where uploads are stored; `None` only counts their bytes.
type Directory = Option<PathBuf>;

pub(crate) fn verifier() -> Result<Verifier<StaticKeys>, Error> {
    let keys = StaticKeys::new([("demo".parse()?, Secret::new(SECRET)?)])?;
    Ok(Verifier::new(keys).with_limits(Limits::new().with_body(u64::MAX)).with_streamed_bodies())
}

/// Serves, and prints where.
pub(crate) async fn serve(directory: Directory) -> Result<(), Error> {
    let checked = Router::new().route("/checked", put(store)).layer(verifier()?.into_layer());
    let app = checked.route("/unchecked", put(store)).with_state(directory);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// Files block, so they are written in a thread for that. It acts when the body has ended well: until then what it has
/// written is nobody's file.
async fn store(State(directory): State<Directory>, body: Body) -> Result<String, (StatusCode, String)> {
    let storing = spawn_blocking(move || {
        let Some(directory) = directory else {
            return Handle::current().block_on(write(body, io::sink()));
        };
        let part = directory.join("received.part");
        let written = Handle::current().block_on(write(body, File::create(&part)?));
        match written {
            Ok(_) => fs::rename(&part, directory.join("received"))?,
            Err(_) => fs::remove_file(&part)?,
        }
        written
    });
    match storing.await {
        Ok(Ok(bytes)) => Ok(format!("{bytes} bytes, peak memory {}", peak_memory())),
        Ok(Err(error)) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

/// Were it not the signed body, its last frame would be an error.
pub(crate) async fn write(mut body: Body, mut target: impl Write) -> Result<usize, Error> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            target.write_all(&data)?;
            bytes += data.len();
        }
    }
    Ok(bytes)
}
