//! How much of a request is read at most, and for how long.

use std::time::Duration;

/// Bounds on what a verifier reads of a request: `Verifier::with_limits`.
///
/// A request beyond one of them is rejected with 400, 413 or 414, before its signature is checked. The timeout of a body that is
/// no form begins to matter after that.
///
/// ```
/// # use countersign::Limits;
/// let limits = Limits::new().with_body(10 * 1024 * 1024); // 10 MiB
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    parameters: usize,
    query: usize,
    form: usize,
    body: u64,
    form_timeout: Duration,
    body_timeout: Duration,
}

impl Limits {
    /// 256 parameters, 16 KiB of query, 256 KiB of form in 15 seconds, 2 MiB of body in 300 seconds.
    #[must_use]
    pub fn new() -> Self {
        Self {
            parameters: 256,
            query: 16 * 1024,
            form: 256 * 1024,
            body: 2 * 1024 * 1024,
            form_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(300),
        }
    }

    /// The most parameters in a query, and again in a form. Default: 256.
    #[must_use]
    pub fn with_parameters(self, parameters: usize) -> Self {
        Self { parameters, ..self }
    }

    /// The most bytes of a query. Default: 16 KiB.
    #[must_use]
    pub fn with_query(self, bytes: usize) -> Self {
        Self { query: bytes, ..self }
    }

    /// The most bytes of a form, the one body that is read before its request is verified. Default: 256 KiB.
    #[must_use]
    pub fn with_form(self, bytes: usize) -> Self {
        Self { form: bytes, ..self }
    }

    /// The most bytes of a body, forms included. Default: 2 MiB.
    #[must_use]
    pub fn with_body(self, bytes: u64) -> Self {
        Self { body: bytes, ..self }
    }

    /// By when a form has to be there, counted from when the verifier gets the request's head. Default: 15 seconds.
    ///
    /// Later it is rejected with 400 [`BodyTimeout`](crate::protocol::RejectionKind::BodyTimeout). With [`Duration::MAX`] it may take
    /// forever. Waiting for it needs a tokio runtime with timers; without one the answer is 500
    /// [`Misconfigured`](crate::protocol::RejectionKind::Misconfigured).
    #[must_use]
    pub fn with_form_timeout(self, timeout: Duration) -> Self {
        Self { form_timeout: timeout, ..self }
    }

    /// The same for any other body that is read whole. Default: 300 seconds.
    ///
    /// A streamed body has no such timeout: the service sees its bytes as they come, and bounds the time itself.
    #[must_use]
    pub fn with_body_timeout(self, timeout: Duration) -> Self {
        Self { body_timeout: timeout, ..self }
    }

    /// The most parameters in a query, and again in a form.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// The most bytes of a query.
    #[must_use]
    pub fn query(&self) -> usize {
        self.query
    }

    /// The most bytes of a form: never more than of a body.
    #[must_use]
    pub fn form(&self) -> usize {
        self.form.min(usize::try_from(self.body).unwrap_or(usize::MAX))
    }

    /// The most bytes of a body.
    #[must_use]
    pub fn body(&self) -> u64 {
        self.body
    }

    /// By when a form has to be there.
    #[must_use]
    pub fn form_timeout(&self) -> Duration {
        self.form_timeout
    }

    /// By when any other body that is read whole has to be there.
    #[must_use]
    pub fn body_timeout(&self) -> Duration {
        self.body_timeout
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}
