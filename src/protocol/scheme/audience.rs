//! The name of a service, which signatures are bound to.

use std::ops::Deref;

use super::error::SchemeError;

/// Line 3 of the string to sign: 0 to 255 visible ASCII characters.
#[derive(Clone, Debug, Default)]
pub(super) struct Audience(String);

impl Audience {
    pub(super) fn new(audience: impl Into<String>) -> Result<Self, SchemeError> {
        let audience = audience.into();
        match audience.len() <= 255 && audience.bytes().all(|b| b.is_ascii_graphic()) {
            true => Ok(Self(audience)),
            false => Err(SchemeError::Audience),
        }
    }
}

impl Deref for Audience {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}
