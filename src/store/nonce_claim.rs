//! What a nonce store is asked for.

use std::fmt;

use crate::protocol::{AppId, Nonce};

/// The claim on a nonce: whose it is, and what it is for.
///
/// [Verifiers](crate::Verifier) make claims. Tests of stores make their own:
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

/// What a nonce makes unique. The same nonce may be used once for each purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Purpose {
    /// A signed request.
    #[default]
    Request,
    /// Reserved for links that work once. No verifier claims one yet.
    Link,
}

/// The user whose session key signed, as 16 bytes that tell nothing of the user's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OwnerTag([u8; 16]);

/// The text by which a store tells claims apart: see [`NonceClaim::key`].
#[derive(Clone, Copy, Debug)]
pub struct NonceKey<'a>(NonceClaim<'a>);

impl<'a> NonceClaim<'a> {
    /// The claim of a request, signed with a key of the app.
    #[must_use]
    pub fn new(app_id: &'a AppId, nonce: &'a Nonce) -> Self {
        Self { app_id, nonce, purpose: Purpose::Request, owner: None }
    }

    /// The same for something else.
    #[must_use]
    pub fn with_purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// The same, signed with the session key of this user.
    #[must_use]
    pub fn with_owner(self, owner: &'a OwnerTag) -> Self {
        Self { owner: Some(owner), ..self }
    }

    /// The app that signed.
    #[must_use]
    pub fn app_id(&self) -> &'a AppId {
        self.app_id
    }

    /// The nonce.
    #[must_use]
    pub fn nonce(&self) -> &'a Nonce {
        self.nonce
    }

    /// What the nonce makes unique.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The user whose session key signed. `None` where a key of the app did. The nonce is the app's all the same: this is for
    /// fairness between users, and no part of the [`key`](Self::key).
    #[must_use]
    pub fn owner(&self) -> Option<&'a OwnerTag> {
        self.owner
    }

    /// A text that differs for every two claims that differ in purpose, app or nonce: `APP/NONCE` for a request, `link/APP/NONCE`
    /// for a link. No field has a slash in it.
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

impl OwnerTag {
    /// Takes a keyed hash of the user's id.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for OwnerTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnerTag(..)")
    }
}
