//! Presigns with a clock and the system's random source.

use super::signer::timestamp;
use crate::protocol::{Link, Nonce, Presign, SignError};

/// Methods of the feature `client`, which use a clock and the system's random source.
impl Presign<'_> {
    /// Makes a link that can be opened once. Only a verifier whose nonce store is persistent takes it.
    ///
    /// Previews of links and mail scanners open links too. Mail a link to a page, and let the page presign the link for one
    /// use when a person asks for it.
    pub fn one_time(mut self) -> Self {
        self.is_one_time = true;
        self
    }

    /// Signs the link.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use countersign::{Secret, Signer};
    /// # let signer = Signer::new("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?);
    /// let link = signer.presign(&"https://api.example.com/orders/17".parse()?, Duration::from_secs(3600)).one_time().sign()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Fails like [`sign_at`](Presign::sign_at), and if the system has no random bytes, or its clock is before 1970.
    pub fn sign(self) -> Result<Link, SignError> {
        let timestamp = timestamp(self.signer.clock.wall())?;
        let nonce = self.is_one_time.then(Nonce::random).transpose()?;
        self.sign_at(timestamp, nonce)
    }
}
