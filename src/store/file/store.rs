//! The key store over a TOML file. It answers from memory and reloads the file when the file changes.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;

use super::{
    current::Reloader,
    data::{DataFormat, data_format},
    error::FileKeysError,
};
use crate::{
    protocol::AppId,
    store::{App, KeyStore, StoreError},
};

/// A key store that reads apps and keys from a TOML file and reloads the file when it changes.
///
/// ```
/// # use countersign::{VerifyLayer, store::FileKeys};
/// # let path = std::env::temp_dir().join(format!("keys-{}.toml", std::process::id()));
/// # std::fs::write(&path, r#"
/// [apps.demo]
/// keys = [
///     { name = "2026-q4", secret = "hex:6b1f0c55e0a94d3c8e2775d3f4a1b09c", not-before = 2026-10-01T00:00:00Z },
///     { name = "2026-q3", secret = "base64:n0xh4aY2S5q3PhbWcUOvKw==", not-after = 2026-10-31T23:59:59Z },
/// ]
///
/// [apps."old.shop"]
/// enabled = false
/// keys = [{ secret = "text:0123456789abcdef0123456789abcdef" }]
/// # "#)?;
/// # let keys = FileKeys::open(&path)?;
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Each key has a `secret`, which begins with `text:`, `hex:` or `base64:`. It may also have a `name`, `not-before` and
/// `not-after`: see [`Key`](crate::Key). If `enabled` is `false`, the requests of the app are rejected like those of an
/// unknown app. An app may have `data`, which [`open_with_data`](Self::open_with_data) reads. Any other name in the
/// file is an error.
///
/// The store polls the file every second on its own thread, and compares the content, not the modification time. After
/// a change, it reads the file again after 100 ms and applies the change if the content is still the same. So a change
/// takes effect within 1.1 seconds plus the time of two reads. The store detects edits in place, renames and swaps of a
/// symbolic link, as in Kubernetes. It misses a change that is undone between two polls. If a writer pauses for 100 ms
/// in the middle of an edit in place, the store may apply the first half, if that half is a valid file. To avoid this,
/// write the new file beside the old one and rename it over the old one.
///
/// **If the file is missing, unreadable or invalid, the store keeps its current keys**, including keys that you have
/// removed. It reports the failure in an event (feature `tracing`) and in [`last_failure`](Self::last_failure). The
/// file may have at most 1 MiB, about 8,000 keys. Clones share the keys and the thread.
///
/// ```no_run
/// use countersign::{VerifyLayer, store::FileKeys};
/// let layer = VerifyLayer::new(FileKeys::open("/etc/orders/keys.toml")?);
/// # Ok::<(), countersign::store::file::FileKeysError>(())
/// ```
#[derive(Clone)]
pub struct FileKeys(Arc<Reloader>);

impl FileKeys {
    /// The default polling interval: one second.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

    /// Reads the file, and starts a thread that watches it for changes.
    ///
    /// Blocks while it reads. Call it before the service starts.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or its content is invalid.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, FileKeysError> {
        Self::open_as(path.into(), None)
    }

    /// Opens a key file like [`open`](Self::open), and reads the `data` of each app as a value of type `T`. Handlers
    /// get the value from [`Caller::data`](crate::Caller::data).
    ///
    /// An app without `data` has no value. If the `data` of an app does not match `T`, the whole file is invalid. Give
    /// `T` serde's `deny_unknown_fields`, so that a misspelt name is an error.
    ///
    /// ```
    /// # use countersign::{Caller, store::FileKeys};
    /// # let path = std::env::temp_dir().join(format!("keys-and-data-{}.toml", std::process::id()));
    /// # std::fs::write(&path, r#"
    /// [apps.demo]
    /// data = { tenant = 7, scopes = ["orders"] }
    /// keys = [{ secret = "hex:6b1f0c55e0a94d3c8e2775d3f4a1b09c" }]
    /// # "#)?;
    /// #[derive(serde::Deserialize)]
    /// #[serde(deny_unknown_fields)]
    /// struct Plan {
    ///     tenant: u32,
    ///     scopes: Vec<String>,
    /// }
    ///
    /// let keys = FileKeys::open_with_data::<Plan>(&path)?;
    ///
    /// async fn handler(caller: Caller) {
    ///     let tenant = caller.data::<Plan>().map(|plan| plan.tenant);
    /// }
    /// # std::fs::remove_file(path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails like [`open`](Self::open), and if the data of an app does not match `T`.
    pub fn open_with_data<T>(path: impl Into<PathBuf>) -> Result<Self, FileKeysError>
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        Self::open_as(path.into(), Some(data_format::<T>()))
    }

    fn open_as(path: PathBuf, format: Option<DataFormat>) -> Result<Self, FileKeysError> {
        let current = Arc::new(Reloader::new(path.into(), format, Self::DEFAULT_INTERVAL));
        current.load()?;
        current.watch()?;
        Ok(Self(current))
    }

    /// Sets the polling interval for all clones. The minimum is one millisecond. `Duration::MAX` disables polling.
    /// Default: one second.
    #[must_use]
    pub fn with_interval(self, interval: Duration) -> Self {
        self.0.set_interval(interval);
        self
    }

    /// Reads the file and applies it at once. Use this after you have written the complete file.
    ///
    /// Blocks while it reads. If the disk may be slow, call it in `tokio::task::spawn_blocking` or on a thread of your
    /// own.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or its content is invalid. The store then keeps its current keys.
    pub fn reload(&self) -> Result<(), FileKeysError> {
        self.0.reload()
    }

    /// Returns the error of the last read of the file, or `None` if the current keys are those of the file.
    #[must_use]
    pub fn last_failure(&self) -> Option<FileKeysError> {
        self.0.failure()
    }
}

impl KeyStore for FileKeys {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        Ok(self.0.app(app))
    }
}

impl fmt::Debug for FileKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKeys")
            .field("path", &self.0.path())
            .field("failure", &self.last_failure())
            .finish_non_exhaustive()
    }
}
