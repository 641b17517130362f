//! Bodies that need work before they are signed: files and multipart forms.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use countersign::{BodyDigest, BodyHasher};
use futures_util::TryStreamExt;
use reqwest::multipart::{Form, Part};
use tokio::task::spawn_blocking;

use crate::{Document, Error};

/// A file to upload. It is read twice: once for its digest, which is signed, and once while it is sent.
pub(crate) struct HashedFile {
    path: PathBuf,
    pub(crate) digest: BodyDigest,
    pub(crate) bytes: u64,
}

impl HashedFile {
    /// Hashes the file, in a thread for blocking work.
    pub(crate) async fn read(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        let hashing = spawn_blocking(move || {
            let mut hasher = BodyHasher::new();
            let copied = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut hasher));
            let bytes = copied.map_err(|error| unreadable(&path, &error))?;
            Ok(Self { path, digest: hasher.finish(), bytes })
        });
        hashing.await.map_err(|error| Error::NotMade(error.into()))?
    }

    /// Opens the file again, for one attempt. If it has changed since it was hashed, the service refuses it.
    pub(crate) async fn open(&self) -> Result<reqwest::Body, Error> {
        let file = tokio::fs::File::open(&self.path).await;
        Ok(file.map_err(|error| unreadable(&self.path, &error))?.into())
    }
}

/// Adds the path, which the system's error does not have.
fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::NotMade(io::Error::new(error.kind(), format!("{}: {error}", path.display())).into())
}

/// A multipart form as bytes.
pub(crate) struct SerializedForm {
    /// The content type with the boundary, which is signed.
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

impl SerializedForm {
    /// Serialises the form once. `RequestBuilder::multipart` would stream it, and its digest would not be known.
    pub(crate) async fn new(document: Document) -> Result<Self, Error> {
        let part = Part::bytes(document.bytes).file_name(document.file_name);
        let form = Form::new().text("title", document.title).part("file", part);
        let content_type = format!("multipart/form-data; boundary={}", form.boundary());
        let body: Vec<u8> =
            form.into_stream().map_ok(Vec::from).try_concat().await.map_err(|error| Error::NotMade(error.into()))?;
        Ok(Self { content_type, body: body.into() })
    }
}
