//! The reasons why a signature is invalid, which the caller does not get.

use std::fmt;

/// The reason for the code [`invalid_signature`](crate::RejectionKind::InvalidSignature).
///
/// Operators find it in `Outcome::signature_error`, in events and in metrics. The caller gets the same response in each
/// case, and therefore cannot find out which apps exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignatureError {
    /// The key store does not know the app id, or the app is disabled.
    UnknownApp,
    /// The app has keys, but none of them is active now.
    NoActiveKey,
    /// The signature matches none of the app's active keys.
    WrongSignature,
}

impl SignatureError {
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 3] = [Self::UnknownApp, Self::NoActiveKey, Self::WrongSignature];

    /// Returns the reason as a word for logs and metric labels: `unknown_app`, `no_active_key` or `wrong_signature`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownApp => "unknown_app",
            Self::NoActiveKey => "no_active_key",
            Self::WrongSignature => "wrong_signature",
        }
    }
}

impl fmt::Display for SignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
