//! Limits on the size of a request and on the time for reading it.

use std::time::Duration;

/// Limits on the size of a request, and on the time in which its body must arrive. Set them with
/// `Verifier::with_limits`.
///
/// A request that exceeds a limit is rejected with 400, 413 or 414. The verifier checks the limits of the query, the
/// parameters, the form and a declared Content-Length before it checks the signature. After the signature check, it
/// reads the body, up to the limit and the timeout of a body.
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
    /// Makes the default limits: 256 parameters, 16 KiB of query, 256 KiB of form in 15 seconds, and 2 MiB of body in
    /// 300 seconds.
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

    /// Sets the maximum number of parameters in a query, and separately in a form. Empty parameters count. Default:
    /// 256.
    #[must_use]
    pub fn with_parameters(self, parameters: usize) -> Self {
        Self { parameters, ..self }
    }

    /// Sets the maximum size of a query, in bytes. Default: 16 KiB.
    #[must_use]
    pub fn with_query(self, bytes: usize) -> Self {
        Self { query: bytes, ..self }
    }

    /// Sets the maximum size of a form, in bytes. Default: 256 KiB. The verifier reads a form before it checks the
    /// signature, so anybody can make it read this much.
    #[must_use]
    pub fn with_form(self, bytes: usize) -> Self {
        Self { form: bytes, ..self }
    }

    /// Sets the maximum size of a body, in bytes. Default: 2 MiB. It also limits forms.
    #[must_use]
    pub fn with_body(self, bytes: u64) -> Self {
        Self { body: bytes, ..self }
    }

    /// Sets the time within which a form must arrive, counted from the arrival of the request's head. Default: 15
    /// seconds.
    ///
    /// A form that arrives later is rejected with 400 [`BodyTimeout`](crate::protocol::RejectionKind::BodyTimeout).
    /// With [`Duration::MAX`] there is no deadline. The timeout needs a tokio runtime with timers. Without one, a
    /// request that must wait for its body is rejected with 500
    /// [`Misconfigured`](crate::protocol::RejectionKind::Misconfigured).
    #[must_use]
    pub fn with_form_timeout(self, timeout: Duration) -> Self {
        Self { form_timeout: timeout, ..self }
    }

    /// Sets the time within which any other buffered body must arrive. Default: 300 seconds.
    ///
    /// The timeout counts from the arrival of the request's head, and works like
    /// [`with_form_timeout`](Self::with_form_timeout). It does not apply to streamed bodies. The service gets their
    /// bytes as they arrive and must limit the time itself.
    #[must_use]
    pub fn with_body_timeout(self, timeout: Duration) -> Self {
        Self { body_timeout: timeout, ..self }
    }

    /// Returns the maximum number of parameters in a query, and separately in a form.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.parameters
    }

    /// Returns the maximum size of a query, in bytes.
    #[must_use]
    pub fn query(&self) -> usize {
        self.query
    }

    /// Returns the maximum size of a form, in bytes. It is never more than the limit of a body.
    #[must_use]
    pub fn form(&self) -> usize {
        self.form.min(usize::try_from(self.body).unwrap_or(usize::MAX))
    }

    /// Returns the maximum size of a body, in bytes.
    #[must_use]
    pub fn body(&self) -> u64 {
        self.body
    }

    /// Returns the time within which a form must arrive.
    #[must_use]
    pub fn form_timeout(&self) -> Duration {
        self.form_timeout
    }

    /// Returns the time within which any other buffered body must arrive.
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
