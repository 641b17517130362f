//! The owners of tokens, and the tags that stand for them.

use std::{fmt, str::FromStr};

use arrayvec::ArrayString;
use hmac::Mac;

use super::OwnerTag;
use crate::protocol::{
    encode::charset::Charset,
    field::{
        error::FieldError,
        value::{AppId, inline},
    },
    key::{
        app_key::prepared,
        secret::{Secret, SecretError},
    },
};

/// The owner of a token: an app itself, or a user of the service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Owner {
    /// An app. Its tokens are API tokens.
    App(AppId),
    /// A user of the service. Several apps can have tokens for the same user.
    User(Subject),
}

/// A user's id as the service knows it: 1 to 128 visible ASCII characters.
///
/// ```
/// # use countersign::token::Subject;
/// let user: Subject = "u-17".parse()?;
/// assert_eq!(user.as_str(), "u-17");
/// assert!("no spaces".parse::<Subject>().is_err());
/// # Ok::<(), countersign::FieldError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(ArrayString<128>);

/// A kind of device, for limits on the number of sessions: 1 to 16 of `a-z 0-9 -`, for example `web` or `phone`.
///
/// ```
/// # use countersign::token::Device;
/// let device: Device = "web".parse()?;
/// assert!("Web".parse::<Device>().is_err());
/// # Ok::<(), countersign::FieldError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device(ArrayString<16>);

/// The secret of a service from which the tags of owners are made, at least 16 bytes long.
///
/// A token contains the tag of its owner. Because the tag is keyed, a token cannot be used to test guesses of a user's
/// id. All machines of a service use the same owner key. With another owner key no earlier token is found, so all users
/// log in again.
#[derive(Clone)]
pub struct OwnerKey(Secret);

impl Owner {
    /// The word for the kind of owner, and the id.
    pub(crate) fn kind_and_id(&self) -> (&'static str, &str) {
        match self {
            Self::App(app) => ("app", app.as_str()),
            Self::User(user) => ("user", user.as_str()),
        }
    }
}

impl From<AppId> for Owner {
    fn from(app: AppId) -> Self {
        Self::App(app)
    }
}

impl From<Subject> for Owner {
    fn from(user: Subject) -> Self {
        Self::User(user)
    }
}

impl Subject {
    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        static ALLOWED: Charset = Charset::visible();
        inline(text.as_bytes(), 1, &ALLOWED, "user id", "1 to 128 visible ASCII characters").map(Self)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Subject({})", self.0)
    }
}

impl Device {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Device {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        static ALLOWED: Charset = Charset::lowercase_alphanumeric_and(b"-");
        inline(text.as_bytes(), 1, &ALLOWED, "device", "1 to 16 of a-z 0-9 -").map(Self)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.0)
    }
}

impl OwnerKey {
    /// Makes an owner key from these bytes, which are used as they are.
    ///
    /// # Errors
    ///
    /// Fails if there are less than 16 bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, SecretError> {
        Secret::from_bytes(bytes).map(Self)
    }

    /// Returns the tag of an owner: the first 16 bytes of HMAC-SHA256(owner key, `CS1-OWNER` LF kind LF id).
    #[must_use]
    pub fn tag(&self, owner: &Owner) -> OwnerTag {
        let (kind, id) = owner.kind_and_id();
        OwnerTag::from_bytes(self.hmac(&[b"CS1-OWNER\n", kind.as_bytes(), b"\n", id.as_bytes()]))
    }

    /// Returns a public id of this owner key, which stores put into their keys: the first four bytes of
    /// HMAC-SHA256(owner key, `CS1-OWNER-ID`).
    #[must_use]
    pub fn id(&self) -> [u8; 4] {
        self.hmac(&[b"CS1-OWNER-ID"])
    }

    /// The first bytes of the HMAC of these parts.
    fn hmac<const N: usize>(&self, parts: &[&[u8]]) -> [u8; N] {
        let mut mac = prepared(self.0.bytes());
        parts.iter().for_each(|part| mac.update(part));
        let mac = mac.finalize().into_bytes();
        std::array::from_fn(|i| mac[i])
    }
}

impl fmt::Debug for OwnerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnerKey(..)")
    }
}
