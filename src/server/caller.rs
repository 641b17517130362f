//! Who signed the request that the service is looking at.

use std::fmt;

use crate::{
    protocol::{AppId, KeyLabel, KeyName, Nonce, Timestamp, Token, Unrepeated},
    store::AppData,
};

/// The verified identity behind a request, in its extensions once it is past the verifier.
///
/// With the feature `axum` it is an extractor.
///
/// ```
/// # use countersign::Caller;
/// fn greet<B>(request: &http::Request<B>) -> String {
///     match request.extensions().get::<Caller>() {
///         Some(caller) => format!("Hello, {}.", caller.app_id()),
///         None => "This route is not behind the verifier.".to_owned(),
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Caller {
    verified: Unrepeated,
    data: Option<AppData>,
}

impl Caller {
    pub(crate) fn new(verified: Unrepeated, data: Option<AppData>) -> Self {
        Self { verified, data }
    }

    /// What the key store says of the app and of the key that signed, some time later.
    pub(super) fn with_app(self, key: KeyLabel, data: Option<AppData>) -> Self {
        Self { verified: self.verified.with_key(key), data }
    }

    /// A caller for tests of handlers that take one. Nobody has signed anything; its timestamp and nonce mean nothing.
    ///
    /// ```
    /// # use countersign::Caller;
    /// let mut request = http::Request::new(());
    /// request.extensions_mut().insert(Caller::for_test("demo".parse()?));
    /// # Ok::<(), countersign::FieldError>(())
    /// ```
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn for_test(app_id: AppId) -> Self {
        Self { verified: Unrepeated::for_test(app_id, None, None), data: None }
    }

    /// The same with this token, for tests.
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn with_test_token(self, token: Token) -> Self {
        let verified = Unrepeated::for_test(self.app_id().clone(), Some(token), self.verified.key().name.clone());
        Self { verified, ..self }
    }

    /// The same, as if a key of this name had signed, for tests.
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn with_test_key_name(self, name: KeyName) -> Self {
        let verified = Unrepeated::for_test(self.app_id().clone(), self.token().cloned(), Some(name));
        Self { verified, ..self }
    }

    /// The same with this data of the app's, for tests.
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn with_test_data<T: Send + Sync + 'static>(self, data: T) -> Self {
        Self { data: Some(std::sync::Arc::new(data)), ..self }
    }

    /// Whose key signed.
    #[must_use]
    pub fn app_id(&self) -> &AppId {
        &self.verified.fields().app_id
    }

    /// The data that the key store has of the app, if it is of this type: its tenant, plan or scopes, for example.
    ///
    /// `None` if the store's [`App`](crate::App) has no data, or data of another type.
    ///
    /// ```
    /// # use countersign::Caller;
    /// struct Plan { may_refund: bool }
    ///
    /// fn may_refund(caller: &Caller) -> bool {
    ///     caller.data::<Plan>().is_some_and(|plan| plan.may_refund)
    /// }
    /// # #[cfg(feature = "test-util")]
    /// # assert!(may_refund(&Caller::for_test("demo".parse()?).with_test_data(Plan { may_refund: true })));
    /// # Ok::<(), countersign::FieldError>(())
    /// ```
    #[must_use]
    pub fn data<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.data.as_ref()?.downcast_ref()
    }

    /// When the request was signed.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.verified.fields().timestamp
    }

    /// The nonce that made the request unique. Every signed request has one; links that may be opened again will have none.
    #[must_use]
    pub fn nonce(&self) -> Option<&Nonce> {
        Some(&self.verified.fields().nonce)
    }

    /// The token that was signed with the request, if any. Whether it is a live one nobody has checked.
    #[must_use]
    pub fn token(&self) -> Option<&Token> {
        self.verified.fields().token.token()
    }

    /// Which of the app's keys signed: its place in the [`KeyRing`](crate::KeyRing), from 0.
    #[must_use]
    pub fn key_index(&self) -> usize {
        self.verified.key().index
    }

    /// What the key that signed is called, if it has a [name](crate::Key::with_name).
    #[must_use]
    pub fn key_name(&self) -> Option<&str> {
        self.verified.key().name.as_ref().map(KeyName::as_str)
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("app_id", self.app_id())
            .field("timestamp", &self.timestamp())
            .field("key_index", &self.key_index())
            .field("key_name", &self.key_name())
            .finish_non_exhaustive()
    }
}
