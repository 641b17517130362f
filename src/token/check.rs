//! Tokens of other systems: the check that a service gives to its verifier.

use std::{fmt, pin::Pin, sync::Arc};

use crate::{
    protocol::{AppId, Token, token::Subject},
    store::{AppData, StoreError},
};

/// Checks tokens that another system has issued: a JWT, or a token in the service's own database.
///
/// Give it to [`Verifier::with_token_check`](crate::Verifier::with_token_check). The verifier calls it for each request that
/// has a token and a valid signature, and once more after a body that took more than 5 seconds.
///
/// ```
/// use countersign::{AppId, Token, store::StoreError, token::{CheckedToken, TokenCheck}};
///
/// struct Sessions;
///
/// impl TokenCheck for Sessions {
///     async fn check(&self, _: &AppId, token: &Token) -> Result<Option<CheckedToken>, StoreError> {
///         match token.expose() {
///             "tok_1" => Ok(Some(CheckedToken::new("u-17".parse().map_err(StoreError::new)?))),
///             _ => Ok(None),
///         }
///     }
/// }
/// ```
pub trait TokenCheck: Send + Sync + 'static {
    /// Returns the user of a token, or `None` if the token is unknown, has ended, or was issued to another app than the one
    /// that signed. The response to `None` is 401 `invalid_token`.
    ///
    /// # Errors
    ///
    /// The check could not answer. The response is 503 `unavailable`.
    fn check(
        &self,
        app_id: &AppId,
        token: &Token,
    ) -> impl Future<Output = Result<Option<CheckedToken>, StoreError>> + Send;
}

/// The user of a token that another system has issued.
#[derive(Clone)]
pub struct CheckedToken {
    subject: Subject,
    data: Option<AppData>,
}

impl CheckedToken {
    /// Makes the result of a check.
    #[must_use]
    pub fn new(subject: Subject) -> Self {
        Self { subject, data: None }
    }

    /// Adds data for the handler: roles, a tenant. It gets them at [`Caller::token_data`](crate::Caller::token_data).
    #[must_use]
    pub fn with_data<T: Send + Sync + 'static>(self, data: T) -> Self {
        Self { data: Some(Arc::new(data)), ..self }
    }

    /// The user.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The data, if it has the type `T`.
    #[must_use]
    pub fn data<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.data.as_ref()?.downcast_ref()
    }
}

/// Shows no data.
impl fmt::Debug for CheckedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedToken").field("subject", &self.subject).finish_non_exhaustive()
    }
}

type BoxedCheck<'a> = Pin<Box<dyn Future<Output = Result<Option<CheckedToken>, StoreError>> + Send + 'a>>;

/// A check that is chosen at run time.
pub(crate) trait DynTokenCheck: Send + Sync {
    fn check<'a>(&'a self, app_id: &'a AppId, token: &'a Token) -> BoxedCheck<'a>;
}

impl<T: TokenCheck> DynTokenCheck for T {
    fn check<'a>(&'a self, app_id: &'a AppId, token: &'a Token) -> BoxedCheck<'a> {
        Box::pin(TokenCheck::check(self, app_id, token))
    }
}
