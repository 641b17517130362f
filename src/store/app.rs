//! Apps as key stores return them: keys, and data of the service.

use std::{any::Any, fmt, sync::Arc};

use crate::protocol::{KeyRing, Secret};

/// An app: its keys, and optional data such as its tenant, plan or scopes.
///
/// A [`KeyStore`](super::KeyStore) returns an `App`. Handlers read the data with [`Caller::data`](crate::Caller::data),
/// and need no second lookup. A cache stores the data together with the keys, so the data is as old as the keys. Clones
/// share keys and data.
///
/// ```
/// # use countersign::{App, Secret, StaticKeys};
/// struct Plan { tenant: u32, may_refund: bool }
///
/// let secret = Secret::new("0123456789abcdef0123456789abcdef")?;
/// let app = App::new(secret).with_data(Plan { tenant: 7, may_refund: false });
/// assert_eq!(app.data::<Plan>().map(|plan| plan.tenant), Some(7));
/// let keys = StaticKeys::new([("demo".parse()?, app)])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct App {
    keys: KeyRing,
    data: Option<AppData>,
}

/// The data of an app, of any type.
pub(crate) type AppData = Arc<dyn Any + Send + Sync>;

impl App {
    /// Creates an app with these keys and no data. The keys are a [`KeyRing`] or a single [`Secret`].
    #[must_use]
    pub fn new(keys: impl Into<KeyRing>) -> Self {
        Self { keys: keys.into(), data: None }
    }

    /// Adds data for handlers. A second call replaces the first. To pass several values, put them into one struct.
    #[must_use]
    pub fn with_data<T: Send + Sync + 'static>(self, data: T) -> Self {
        Self { data: Some(Arc::new(data)), ..self }
    }

    /// Returns the app's keys.
    #[must_use]
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    /// Returns the app's data, or `None` if it has none of this type.
    #[must_use]
    pub fn data<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.data.as_ref()?.downcast_ref()
    }

    pub(crate) fn shared_data(&self) -> Option<AppData> {
        self.data.clone()
    }

    #[cfg(feature = "key-file")]
    pub(super) fn with_shared_data(self, data: Option<AppData>) -> Self {
        Self { data, ..self }
    }
}

impl From<KeyRing> for App {
    fn from(keys: KeyRing) -> Self {
        Self::new(keys)
    }
}

impl From<Secret> for App {
    fn from(secret: Secret) -> Self {
        Self::new(secret)
    }
}

/// Does not show the data, because it may contain secrets.
impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("keys", &self.keys).field("has_data", &self.data.is_some()).finish()
    }
}
