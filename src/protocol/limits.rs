//! How much of a request is read at most.

/// Bounds on what a verifier reads of a request: `Verifier::with_limits`.
///
/// A request beyond one of them is rejected before its signature is checked, with 400, 413 or 414.
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
}

impl Limits {
    /// 256 parameters, 16 KiB of query, 256 KiB of form, 2 MiB of body.
    #[must_use]
    pub fn new() -> Self {
        Self { parameters: 256, query: 16 * 1024, form: 256 * 1024, body: 2 * 1024 * 1024 }
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
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}
