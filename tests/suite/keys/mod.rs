//! Keys: which of them sign, where they come from, and how one is changed for another.

mod changes;
mod file;
mod rotation;
mod spans;
mod unreadable;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use countersign::{
    App, Caller, KeyName, Rejection, Secret, Signer,
    server::ServiceBody,
    store::{FileKeys, KeyStore, file::FileKeysError},
};
use http::Request;

/// A secret of its own for each letter, 32 bytes long.
fn secret(letter: char) -> Secret {
    Secret::new(letter.to_string().repeat(32)).unwrap()
}

/// The same as a line of a key file.
fn written(letter: char) -> String {
    format!("secret = \"text:{}\"", letter.to_string().repeat(32))
}

fn name(name: &str) -> KeyName {
    name.parse().unwrap()
}

fn signer(app: &str, letter: char) -> Signer {
    Signer::new(app.parse().unwrap(), secret(letter))
}

/// Whom the verifier let in, or why not.
fn caller(verdict: Result<Request<ServiceBody>, Rejection>) -> Result<Caller, Rejection> {
    verdict.map(|request| request.extensions().get::<Caller>().unwrap().clone())
}

async fn ring(keys: &FileKeys, app: &str) -> Option<App> {
    keys.keys(&app.parse().unwrap()).await.unwrap()
}

/// A key file in a folder of its own, which goes with it.
pub(crate) struct KeyFile {
    folder: PathBuf,
}

impl KeyFile {
    pub(crate) fn new(text: impl AsRef<[u8]>) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("countersign-keys-{}-{count}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = Self { folder };
        file.replace(text);
        file
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.join("keys.toml")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// In place.
    pub(crate) fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(self.path(), text).unwrap();
    }

    /// As one should: beside it, and renamed into its place.
    pub(crate) fn replace(&self, text: impl AsRef<[u8]>) {
        let beside = self.folder.join("keys.toml.new");
        fs::write(&beside, text).unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(beside, self.path()).unwrap();
    }

    fn open(&self) -> Result<FileKeys, FileKeysError> {
        FileKeys::open(self.path())
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        // What is left in the temporary folder does no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
