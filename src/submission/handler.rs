//! The submission as the handler sees it.

use std::fmt;

use super::IdempotencyKey;
use crate::store::SubmissionRef;

/// The submission that a handler runs, in the request's extensions. With the feature `axum` it is an extractor.
///
/// ```
/// use countersign::submission::Submission;
///
/// fn reference<B>(request: &http::Request<B>) -> Option<&str> {
///     Some(request.extensions().get::<Submission>()?.key()?.as_str())
/// }
/// ```
#[derive(Clone)]
pub struct Submission {
    at: SubmissionRef,
    key: Option<IdempotencyKey>,
}

impl Submission {
    pub(super) fn new(at: SubmissionRef, key: Option<IdempotencyKey>) -> Self {
        Self { at, key }
    }

    /// Makes a submission for tests of handlers. No store has it.
    ///
    /// ```
    /// # use countersign::submission::Submission;
    /// let mut request = http::Request::new(());
    /// request.extensions_mut().insert(Submission::for_test("demo".parse()?, Some("8e03978e".parse()?)));
    /// # Ok::<(), countersign::FieldError>(())
    /// ```
    #[cfg(feature = "test-util")]
    #[cfg_attr(docsrs, doc(cfg(feature = "test-util")))]
    #[must_use]
    pub fn for_test(app_id: crate::AppId, key: Option<IdempotencyKey>) -> Self {
        Self::new(SubmissionRef::new([0; 32], app_id, None), key)
    }

    /// Returns the idempotency key of the client, or `None` if the submission is known by its fingerprint alone.
    #[must_use]
    pub fn key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }

    /// Returns the place of the submission in the store. Keep it, or its key of 32 bytes, to ask for the
    /// [state](super::SubmitOnceLayer::state) later.
    #[must_use]
    pub fn at(&self) -> &SubmissionRef {
        &self.at
    }
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission").field("at", &self.at).field("has_key", &self.key.is_some()).finish()
    }
}
