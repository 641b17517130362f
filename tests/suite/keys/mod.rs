//! Keys: active spans, key files, and rotation.

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

/// A distinct secret of 32 bytes for each letter.
fn secret(letter: char) -> Secret {
    Secret::new(letter.to_string().repeat(32)).unwrap()
}

/// The same secret as a line of a key file.
fn secret_line(letter: char) -> String {
    format!("secret = \"text:{}\"", letter.to_string().repeat(32))
}

fn name(name: &str) -> KeyName {
    name.parse().unwrap()
}

fn signer(app: &str, letter: char) -> Signer {
    Signer::new(app.parse().unwrap(), secret(letter))
}

/// The caller of an accepted request, or the rejection.
fn caller(verdict: Result<Request<ServiceBody>, Rejection>) -> Result<Caller, Rejection> {
    verdict.map(|request| request.extensions().get::<Caller>().unwrap().clone())
}

async fn ring(keys: &FileKeys, app: &str) -> Option<App> {
    keys.keys(&app.parse().unwrap()).await.unwrap()
}

/// A key file in its own folder. Dropping it removes the folder.
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

    /// Writes the file in place.
    pub(crate) fn write(&self, text: impl AsRef<[u8]>) {
        fs::write(self.path(), text).unwrap();
    }

    /// Writes a new file and renames it, as operators should.
    pub(crate) fn replace(&self, text: impl AsRef<[u8]>) {
        let new_path = self.folder.join("keys.toml.new");
        fs::write(&new_path, text).unwrap();
        fs::set_permissions(&new_path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new_path, self.path()).unwrap();
    }

    fn open(&self) -> Result<FileKeys, FileKeysError> {
        FileKeys::open(self.path())
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        // A folder that stays in the temporary directory does no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
