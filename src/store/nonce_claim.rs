//! Claims, the input of a nonce store.

use std::fmt;

use crate::protocol::{AppId, Nonce, token::OwnerTag};

/// A claim on a nonce: the app, the nonce, its purpose and, optionally, the user that signed.
///
/// [Verifiers](crate::Verifier) create claims. Tests of stores create their own:
///
/// ```
/// # use countersign::{AppId, Nonce, store::{NonceClaim, OwnerTag, Purpose}};
/// let (app, nonce): (AppId, Nonce) = ("demo".parse()?, "nonce-1".parse()?);
/// let claim = NonceClaim::new(&app, &nonce);
/// assert_eq!(claim.key().to_string(), "demo/nonce-1");
///
/// let link = claim.with_purpose(Purpose::Link);
/// assert_eq!(link.key().to_string(), "link/demo/nonce-1");
/// # Ok::<(), countersign::FieldError>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct NonceClaim<'a> {
    app_id: &'a AppId,
    nonce: &'a Nonce,
    purpose: Purpose,
    owner: Option<&'a OwnerTag>,
}

/// The purpose of a nonce. The same nonce may be used once for each purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// A signed request.
    #[default]
    Request,
    /// Reserved for single-use links. No verifier claims one yet.
    Link,
}

/// The text that identifies a claim in a store. See [`NonceClaim::key`].
#[derive(Clone, Copy, Debug)]
pub struct NonceKey<'a>(NonceClaim<'a>);

impl<'a> NonceClaim<'a> {
    /// Creates the claim of a request that is signed with a key of the app.
    #[must_use]
    pub fn new(app_id: &'a AppId, nonce: &'a Nonce) -> Self {
        Self { app_id, nonce, purpose: Purpose::Request, owner: None }
    }

    /// Sets the purpose. Default: a signed request.
    #[must_use]
    pub fn with_purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// Sets the user whose session key signed.
    #[must_use]
    pub fn with_owner(self, owner: &'a OwnerTag) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// Returns the app that signed.
    #[must_use]
    pub fn app_id(&self) -> &'a AppId {
        self.app_id
    }

    /// Returns the nonce.
    #[must_use]
    pub fn nonce(&self) -> &'a Nonce {
        self.nonce
    }

    /// Returns the purpose of the nonce.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Returns the user whose session key signed, or `None` if a key of the app signed.
    ///
    /// Stores use it to share room fairly between users. The nonce still belongs to the app, so the user is not part of
    /// the [`key`](Self::key).
    #[must_use]
    pub fn owner(&self) -> Option<&'a OwnerTag> {
        self.owner
    }

    /// Returns a text that is different for any two claims that differ in purpose, app or nonce: `APP/NONCE` for a
    /// request, `link/APP/NONCE` for a link. No field contains a slash.
    #[must_use]
    pub fn key(&self) -> NonceKey<'a> {
        NonceKey(*self)
    }
}

impl Purpose {
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Self::Request => "",
            Self::Link => "link/",
        }
    }
}

impl fmt::Display for NonceKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}", self.0.purpose.prefix(), self.0.app_id, self.0.nonce)
    }
}
