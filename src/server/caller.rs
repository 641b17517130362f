//! The verified caller of a request.

use std::{fmt, sync::Arc};

use crate::{
    protocol::{AppId, KeyLabel, KeyName, Nonce, Scheme, SignedBy, Timestamp, Token, Verified},
    server::link::opened::OpenedLink,
    store::AppData,
};
#[cfg(feature = "tokens")]
use crate::{
    protocol::{Challenge, token::Subject},
    token::{CheckedToken, Session},
};

/// The verified identity of the caller that signed a request.
///
/// The verifier inserts it into the request's extensions. With the feature `axum` it is also an extractor.
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
    verified: Verified,
    data: Option<AppData>,
    link: Option<Arc<OpenedLink>>,
    #[cfg(feature = "tokens")]
    checked: Option<CheckedBy>,
}

/// What is known about the token of a caller.
#[cfg(feature = "tokens")]
#[derive(Clone)]
enum CheckedBy {
    Tokens(Session),
    TokenCheck(Arc<CheckedToken>),
}

impl Caller {
    pub(crate) fn new(verified: impl Into<Verified>, data: Option<AppData>) -> Self {
        Self {
            verified: verified.into(),
            data,
            link: None,
            #[cfg(feature = "tokens")]
            checked: None,
        }
    }

    /// Replaces the app's data and the label of the signing key with those of a later lookup.
    pub(super) fn with_app(mut self, key: KeyLabel, data: Option<AppData>) -> Self {
        self.verified = self.verified.with_key(key);
        self.data = data;
        self
    }

    pub(super) fn with_link(self, link: OpenedLink) -> Self {
        Self { link: Some(Arc::new(link)), ..self }
    }

    #[cfg(feature = "tokens")]
    pub(super) fn with_session(self, session: Session) -> Self {
        Self { checked: Some(CheckedBy::Tokens(session)), ..self }
    }

    #[cfg(feature = "tokens")]
    pub(super) fn with_checked_token(self, token: Arc<CheckedToken>) -> Self {
        Self { checked: Some(CheckedBy::TokenCheck(token)), ..self }
    }

    /// The name of the cookie for tokens, if the token came in its field. The signature does not cover this cookie.
    pub(super) fn unsigned_token_cookie<'s>(&self, scheme: &'s Scheme) -> Option<&'s str> {
        let is_field = !self.verified.fields().token.is_in_cookie() && self.token().is_some();
        scheme.token_location().cookie().filter(|_| is_field)
    }

    /// The challenges of a 401 about this caller's token.
    #[cfg(feature = "tokens")]
    pub(super) fn challenge(&self) -> Challenge {
        match self.verified.fields().token.is_bearer() {
            true => Challenge::SignatureAndBearer,
            false => Challenge::Signature,
        }
    }

    /// Whether the verifier has checked the token.
    #[cfg(feature = "tokens")]
    pub(crate) fn is_token_checked(&self) -> bool {
        self.checked.is_some()
    }

    /// Makes a caller for tests of handlers. It is not verified, and its timestamp and nonce are placeholders.
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
        Self::new(Verified::for_test(app_id, None, None), None)
    }

    /// Sets the token, for tests.
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn with_test_token(self, token: Token) -> Self {
        let verified = Verified::for_test(self.app_id().clone(), Some(token), self.verified.key().name.clone());
        Self { verified, ..self }
    }

    /// Sets the session of the token, for tests.
    #[cfg(all(feature = "test-util", feature = "tokens"))]
    #[cfg_attr(docsrs, doc(cfg(all(feature = "test-util", feature = "tokens"))))]
    #[must_use]
    pub fn with_test_session(self, session: Session) -> Self {
        self.with_session(session)
    }

    /// Sets the name of the key that signed, for tests.
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn with_test_key_name(self, name: KeyName) -> Self {
        let verified = Verified::for_test(self.app_id().clone(), self.token().cloned(), Some(name));
        Self { verified, ..self }
    }

    /// Sets the data of the app, for tests.
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn with_test_data<T: Send + Sync + 'static>(self, data: T) -> Self {
        Self { data: Some(Arc::new(data)), ..self }
    }

    /// Returns the id of the app that signed the request.
    #[must_use]
    pub fn app_id(&self) -> &AppId {
        &self.verified.fields().app_id
    }

    /// Returns the app's data from the key store, if it has the type `T`: for example its tenant, plan or scopes.
    ///
    /// Returns `None` if the store's [`App`](crate::App) has no data, or data of another type.
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

    /// Returns the time at which the request was signed, by the client's clock.
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.verified.fields().timestamp
    }

    /// Returns the nonce of the request. A [share link](Self::link) that can be opened more than once has none.
    #[must_use]
    pub fn nonce(&self) -> Option<&Nonce> {
        self.verified.fields().nonce.as_ref()
    }

    /// Returns the share link, if this is no request but a link that was opened. [`Verifier::with_links`](crate::Verifier::with_links)
    /// takes links.
    #[must_use]
    pub fn link(&self) -> Option<&OpenedLink> {
        self.link.as_deref()
    }

    /// Returns the token that was signed with the request, or `None` if the request has no token. The token is live only if the
    /// verifier checks tokens: `Verifier::with_tokens` and `with_token_check` (feature `tokens`).
    #[must_use]
    pub fn token(&self) -> Option<&Token> {
        self.verified.fields().token.token()
    }

    /// Returns whether the token came in a cookie, and not in another [location](crate::TokenLocation). A renewal then belongs
    /// in a cookie too, so that a script in the page never gets a token.
    #[must_use]
    pub fn is_token_in_cookie(&self) -> bool {
        self.verified.fields().token.is_in_cookie()
    }

    /// Returns the session of the token, if the verifier [checks tokens](crate::Verifier::with_tokens) and the request has one
    /// (feature `tokens`).
    #[cfg(feature = "tokens")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        match self.checked.as_ref()? {
            CheckedBy::Tokens(session) => Some(session),
            CheckedBy::TokenCheck(_) => None,
        }
    }

    /// Returns the user of the token, if the verifier has checked the token and a user owns it (feature `tokens`). An API token
    /// has no user.
    #[cfg(feature = "tokens")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
    #[must_use]
    pub fn user(&self) -> Option<&Subject> {
        match self.checked.as_ref()? {
            CheckedBy::Tokens(session) => session.user(),
            CheckedBy::TokenCheck(token) => Some(token.subject()),
        }
    }

    /// Returns the data that a [token check](crate::Verifier::with_token_check) gave, if it has the type `T` (feature
    /// `tokens`). The data of a session is at [`Session::data`](crate::token::Session::data).
    #[cfg(feature = "tokens")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
    #[must_use]
    pub fn token_data<T: Send + Sync + 'static>(&self) -> Option<&T> {
        match self.checked.as_ref()? {
            CheckedBy::Tokens(_) => None,
            CheckedBy::TokenCheck(token) => token.data(),
        }
    }

    /// Returns the kind of key that signed: a key of the app, or the key of a session. Session keys need
    /// `Tokens::with_session_keys` (feature `tokens`).
    #[must_use]
    pub fn signed_by(&self) -> SignedBy {
        self.verified.key().signed_by
    }

    /// Returns the index of the key that signed, in the app's [`KeyRing`](crate::KeyRing), starting at 0.
    #[must_use]
    pub fn key_index(&self) -> usize {
        self.verified.key().index
    }

    /// Returns the [name](crate::Key::with_name) of the key that signed, or `None` if the key has no name.
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
            .field("signed_by", &self.signed_by())
            .field("key_index", &self.key_index())
            .field("key_name", &self.key_name())
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}
