//! Key stores: the trait, a fixed set of apps, and a store made from a function.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    pin::Pin,
    sync::Arc,
};

use super::{App, StoreError};
use crate::protocol::AppId;

/// Looks up an app's keys.
///
/// # Contract
///
/// `Ok(None)` means that the app is unknown or disabled. If the store cannot find out whether the app exists, it
/// returns an error, and the request gets a 503.
///
/// Every lookup ends in bounded time. The verifier may drop the future of a lookup before it ends.
///
/// The store compares ids byte by byte. If it treated `demo` and `DEMO` as equal, an app could authenticate under the
/// id of another app.
///
/// Lookups run before the signature is checked, so lookups of unknown ids must be cheap. `CachedKeys` (feature
/// `key-cache`) wraps any store, makes such lookups cheap, and bounds their time.
///
/// `store::conformance` (feature `test-util`) tests a store against this contract.
///
/// ```
/// use countersign::{App, AppId, Secret, store::{KeyStore, StoreError}};
/// # struct Database;
/// # impl Database {
/// #     async fn secret_of(&self, app: &str) -> Result<Option<String>, std::io::Error> { Ok(None) }
/// # }
///
/// impl KeyStore for Database {
///     async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
///         let secret = self.secret_of(app.as_str()).await.map_err(StoreError::new)?;
///         let secret = secret.map(Secret::new).transpose().map_err(StoreError::new)?;
///         Ok(secret.map(App::from))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a key store",
    note = "`StaticKeys` holds fixed keys, `FileKeys` those of a file, `key_fn` makes a store of an async function",
    note = "a `Verifier` becomes a layer by `into_layer()`"
)]
pub trait KeyStore: Send + Sync + 'static {
    /// Returns the app with its keys, or `None` if it is unknown or disabled.
    ///
    /// # Errors
    ///
    /// Fails if the store cannot find out whether the app exists.
    fn keys(&self, app: &AppId) -> impl Future<Output = Result<Option<App>, StoreError>> + Send;
}

/// A fixed set of apps and their keys.
///
/// ```
/// # use countersign::{Secret, store::StaticKeys};
/// let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct StaticKeys(HashMap<AppId, App>);

impl StaticKeys {
    /// Creates a store from pairs of app id and keys. The keys are a [`Secret`](crate::Secret), a
    /// [`KeyRing`](crate::KeyRing) or an [`App`].
    ///
    /// # Errors
    ///
    /// Fails if an app is listed twice. Put several keys of one app into one [`KeyRing`](crate::KeyRing).
    pub fn new<A: Into<App>>(apps: impl IntoIterator<Item = (AppId, A)>) -> Result<Self, DuplicateAppError> {
        let mut known = HashMap::new();
        for (id, app) in apps {
            match known.entry(id) {
                Entry::Vacant(entry) => drop(entry.insert(app.into())),
                Entry::Occupied(entry) => return Err(DuplicateAppError(entry.key().clone())),
            }
        }
        Ok(Self(known))
    }

    /// Creates a store without apps.
    #[cfg(feature = "key-file")]
    pub(super) fn empty() -> Self {
        Self(HashMap::new())
    }

    pub(super) fn app(&self, app: &AppId) -> Option<App> {
        self.0.get(app).cloned()
    }
}

/// The error of [`StaticKeys`] for an app that is listed twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("app {0} is listed twice: list it once, with all its keys in one KeyRing")]
pub struct DuplicateAppError(AppId);

impl DuplicateAppError {
    /// Returns the id of the app.
    #[must_use]
    pub fn app_id(&self) -> &AppId {
        &self.0
    }
}

impl KeyStore for StaticKeys {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        Ok(self.app(app))
    }
}

impl fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Makes a [`KeyStore`] from an async function. The function takes an app id and returns a [`Secret`](crate::Secret), a
/// [`KeyRing`](crate::KeyRing) or an [`App`].
///
/// ```
/// # use countersign::{AppId, Secret, store::key_fn};
/// let keys = key_fn(|app: AppId| async move {
///     std::env::var(format!("SECRET_OF_{app}")).ok().map(Secret::new).transpose()
/// });
/// ```
pub fn key_fn<F>(f: F) -> KeyFn<F> {
    KeyFn(f)
}

/// The store that [`key_fn`] returns.
#[derive(Clone, Copy)]
pub struct KeyFn<F>(F);

impl<F, Fut, R, E> KeyStore for KeyFn<F>
where
    F: Fn(AppId) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<R>, E>> + Send,
    R: Into<App>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        let app = (self.0)(app.clone()).await.map_err(StoreError::new)?;
        Ok(app.map(Into::into))
    }
}

impl<F> fmt::Debug for KeyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFn(..)")
    }
}

/// A [`KeyStore`] that is chosen at run time. Every key store implements this trait.
///
/// Write the type as `dyn DynKeyStore`. It is `Send` and `Sync` already.
pub trait DynKeyStore: Send + Sync + sealed::Sealed + 'static {
    /// Calls [`KeyStore::keys`] and boxes the future.
    fn keys_boxed<'a>(
        &'a self,
        app: &'a AppId,
    ) -> Pin<Box<dyn Future<Output = Result<Option<App>, StoreError>> + Send + 'a>>;
}

mod sealed {
    pub trait Sealed {}

    impl<T: super::KeyStore> Sealed for T {}
}

impl<T: KeyStore> DynKeyStore for T {
    fn keys_boxed<'a>(
        &'a self,
        app: &'a AppId,
    ) -> Pin<Box<dyn Future<Output = Result<Option<App>, StoreError>> + Send + 'a>> {
        Box::pin(self.keys(app))
    }
}

impl KeyStore for dyn DynKeyStore {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        self.keys_boxed(app).await
    }
}

impl<T: KeyStore + ?Sized> KeyStore for Arc<T> {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        (**self).keys(app).await
    }
}

impl<T: KeyStore + ?Sized> KeyStore for Box<T> {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        (**self).keys(app).await
    }
}
