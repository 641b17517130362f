//! The store: it answers from memory, and takes what the file says when that has changed.

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

/// The apps and keys of a TOML file, which is read again when it changes.
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
/// A key has a `secret`, which begins with `text:`, `hex:` or `base64:`, and may have a `name`, `not-before` and
/// `not-after`: see [`Key`](crate::Key). An app is refused like an unknown one while `enabled` is `false`. An app may have
/// `data`, which [`open_with_data`](Self::open_with_data) reads. Any other name in the file is an error.
///
/// The file is looked at every second, on a thread of its own, by what it holds and not by its date. What has changed is
/// looked at once more after a tenth of a second, and taken if it has stayed the same: so a change counts within 1.1
/// seconds and the time that two readings take, and a disk that hangs makes it later. An edit in place, a rename and the
/// swap of a symbolic link, as Kubernetes has it, are found alike. What is not: a change that is undone between two looks;
/// and a writer who stops for a tenth of a second in the middle of an edit in place has half of it taken, if that is a whole
/// file to read. So write the new file beside the old one, and rename it into its place.
///
/// **A file that is missing, unreadable or wrong leaves the keys as they are**, the retired ones too: an event of the
/// feature `tracing` and [`last_failure`](Self::last_failure) tell. It holds at most 1 MiB, some 8,000 keys. Clones share
/// it all.
///
/// ```no_run
/// use countersign::{VerifyLayer, store::FileKeys};
/// let layer = VerifyLayer::new(FileKeys::open("/etc/orders/keys.toml")?);
/// # Ok::<(), countersign::store::file::FileKeysError>(())
/// ```
#[derive(Clone)]
pub struct FileKeys(Arc<Reloader>);

impl FileKeys {
    /// How often the file is looked at: every second.
    pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

    /// Reads the file, and looks for changes from now on.
    ///
    /// It blocks while it reads: call it before the service starts.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or what it says cannot be meant.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, FileKeysError> {
        Self::open_as(path.into(), None)
    }

    /// Like [`open`](Self::open), and reads the data that apps have in the file as values of type `T`, which
    /// [`Caller::data`](crate::Caller::data) gives to the handler.
    ///
    /// An app without `data` has none. Data of another form than `T`'s is an error, like anything else that is wrong in the
    /// file. Give `T` serde's `deny_unknown_fields`, or a misspelt name is passed over.
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
    /// Those of [`open`](Self::open), and data of another form.
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

    /// Looks at the file this often, for all clones. At least every millisecond; `Duration::MAX` is never. Default: every
    /// second.
    #[must_use]
    pub fn with_interval(self, interval: Duration) -> Self {
        self.0.set_interval(interval);
        self
    }

    /// Reads the file now, and takes what it says at once: for those who have just written it whole.
    ///
    /// It blocks while it reads: on a disk that may be slow, call it on a thread that may wait.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or what it says cannot be meant. The keys are as before then.
    pub fn reload(&self) -> Result<(), FileKeysError> {
        self.0.reload()
    }

    /// Why the file was not taken when it was last looked at; `None` if these are its keys.
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
