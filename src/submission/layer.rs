//! The layer that runs each submission once.

use std::{fmt, sync::Arc, time::Duration};

use http::request::Parts;
use tower_layer::Layer;

use super::{
    End, Ending, SubmitOnce,
    options::{Mode, Options},
    running::Running,
};
use crate::{
    protocol::{IDEMPOTENCY_KEY, Scheme},
    server::{ProblemJson, RenderRejection},
    store::{Entry, Finish, MemorySubmissionStore, StoreError, SubmissionRef, SubmissionStore},
};

/// Runs each submission once, and answers a repeated one with the stored answer.
///
/// Put it below a [`VerifyLayer`](crate::VerifyLayer) whose verifier has [fingerprints](crate::Verifier::with_fingerprints),
/// around the routes that need it. GET, HEAD, OPTIONS and TRACE pass. A submission belongs to its caller: the app, the owner of
/// the token, and what [`with_scope`](Self::with_scope) gives. Requests without a token and without a scope share one.
///
/// | state of the same submission | response |
/// | --- | --- |
/// | none | the service runs; `Idempotency-Replayed: false` |
/// | it is running | 409 `submission_in_progress`, `Retry-After: 1`, after [`with_wait`](Self::with_wait) |
/// | its outcome is unknown: a crash, a 5xx, 408 or 499, a panic | 409 `submission_outcome_unknown` |
/// | it was answered | the stored answer, `Idempotency-Replayed: true`; or 409 `duplicate_submission` |
/// | the same key, another request | 422 `idempotency_key_reused` |
/// | the store fails | 503 `unavailable`, and the service does not run |
///
/// A 4xx answer, except 408 and 499, says that nothing was done, and releases the submission. The service can say it better with
/// [`Done`](super::Done) or [`NothingDone`](super::NothingDone), or with [`end_as`](Self::end_as).
///
/// The service runs in a task of its own, in the tracing span of the request. It needs a tokio runtime with its timer. A client that goes away does not stop it. Its lease
/// is renewed for at most 15 minutes. At a shutdown, wait for [`idle`](Self::idle).
///
/// Put compression, CORS, request ids, limits and authorization above this layer, because a stored answer runs nothing of the
/// service. Panics of the service reach the caller as they would without the layer.
///
/// ```
/// use countersign::{Scheme, Secret, StaticKeys, Verifier, submission::SubmitOnceLayer};
///
/// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
/// let scheme = Scheme::new().with_signed_headers([http::HeaderName::from_static("idempotency-key")])?;
/// let once = SubmitOnceLayer::by_key(&scheme)?;
/// let verifier = Verifier::new(keys).with_scheme(scheme).with_fingerprints();
/// let layers = tower::ServiceBuilder::new().layer(verifier.into_layer()).layer(once);
/// # drop(layers);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct SubmitOnceLayer<R = ProblemJson> {
    options: Options,
    renderer: Arc<R>,
}

/// The error for a scheme that does not sign `idempotency-key`.
///
/// A change of an unsigned key on the way could make two payments of one, or one of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scheme does not sign idempotency-key: add it with Scheme::with_signed_headers, on both ends")]
pub struct UnsignedKeyError;

impl SubmitOnceLayer {
    /// Makes a layer for requests with an idempotency key of the client. A request without one gets 400 `missing_field`.
    ///
    /// The verifier above uses the same scheme. A new [`MemorySubmissionStore`] has the submissions.
    ///
    /// # Errors
    ///
    /// The scheme does not sign `idempotency-key`.
    pub fn by_key(scheme: &Scheme) -> Result<Self, UnsignedKeyError> {
        match scheme.signed_headers().contains(&IDEMPOTENCY_KEY) {
            true => Ok(Self::new(Mode::Key { is_optional: false })),
            false => Err(UnsignedKeyError),
        }
    }

    /// Makes a layer that knows submissions by their content: the signed parts of the request, except the token.
    ///
    /// Two equal requests within `ttl` are one submission, even if the user meant two. 10 s catch double clicks. 300 s refuse
    /// honest repetitions too. If the scheme signs `idempotency-key` and the request has one, it counts as in
    /// [`by_key`](Self::by_key). An unsigned key is ignored, and the answer then has no `Idempotency-Replayed`. Callers without a
    /// token and a scope get 409 `duplicate_submission` for a repeated request, and never the answer to another caller.
    pub fn by_fingerprint(ttl: Duration) -> Self {
        Self::new(Mode::Fingerprint { ttl })
    }

    fn new(mode: Mode) -> Self {
        let options = Options {
            mode,
            store: Arc::new(MemorySubmissionStore::new()),
            key_ttl: Duration::from_secs(24 * 3600),
            lease: Duration::from_secs(60),
            wait: Duration::ZERO,
            max_stored: Some(64 * 1024),
            scope: None,
            rule: None,
            running: Running::new(),
        };
        Self { options, renderer: Arc::new(ProblemJson::new()) }
    }
}

impl<R> SubmitOnceLayer<R> {
    /// Lets requests without an idempotency key run unguarded. Default: they get 400 `missing_field`. By fingerprint, no request
    /// needs a key.
    pub fn optional(self) -> Self {
        let mode = match self.options.mode {
            Mode::Key { .. } => Mode::Key { is_optional: true },
            mode => mode,
        };
        self.with(|options| options.mode = mode)
    }

    /// Keeps the submissions in this store. Default: a new [`MemorySubmissionStore`], which forgets them when the process ends.
    pub fn with_store(self, store: impl SubmissionStore) -> Self {
        self.with(|options| options.store = Arc::new(store))
    }

    /// Sets how long the store remembers a submission with a key, from its end. Default: 24 hours. A repetition prolongs
    /// nothing.
    pub fn with_ttl(self, ttl: Duration) -> Self {
        self.with(|options| options.key_ttl = ttl)
    }

    /// Sets the time after which a run that is not heard of counts as lost. Default: 60 s. At least 1 s.
    ///
    /// The layer renews the lease every third of this time. After a crash, a repeated request gets `submission_in_progress` for
    /// up to this time.
    pub fn with_lease(self, lease: Duration) -> Self {
        self.with(|options| options.lease = lease.max(Duration::from_secs(1)))
    }

    /// Sets how long a repeated request waits for the end of the first one. Default: not at all.
    ///
    /// It asks the store again after 50 ms, then in growing intervals of at most 1 s. It stops when its client has gone.
    pub fn with_wait(self, wait: Duration) -> Self {
        self.with(|options| options.wait = wait)
    }

    /// Stores no answers. A repeated request gets 409 `duplicate_submission` with the status and the `location` of the first
    /// answer. Default: answers are stored.
    pub fn without_replay(self) -> Self {
        self.with(|options| options.max_stored = None)
    }

    /// Sets the largest body of a stored answer, in bytes. Default: 64 KiB.
    ///
    /// The layer reads a body of up to this size before it sends the answer. Of a longer one it stores the head alone. The same
    /// holds for an answer with `set-cookie` or `Cache-Control: no-store`, for event streams, for trailers, and for a body that
    /// breaks off.
    pub fn with_max_stored(self, bytes: usize) -> Self {
        self.with(|options| options.max_stored = Some(bytes))
    }

    /// Adds a part of the service's own to the scope of submissions, for example a tenant. Default: none.
    ///
    /// The same key in two scopes is two submissions. An empty text adds nothing. If the closure panics, the response is 500
    /// `misconfigured`. With a token that the verifier does not check, the closure must tell its users apart, and an empty text is
    /// 500 `misconfigured`.
    pub fn with_scope(self, scope: impl Fn(&Parts) -> String + Send + Sync + 'static) -> Self {
        self.with(|options| options.scope = Some(Arc::new(scope)))
    }

    /// Sets what the end of a run means. `None` is the default meaning. Default: see [`SubmitOnceLayer`].
    ///
    /// [`End::Release`] for [`Ending::Lost`] lets a repeated request run after a crash, once the lease has ended. The first run
    /// may still go on, so two may run at once. Use it only if the service may run twice safely.
    ///
    /// ```
    /// # use countersign::submission::{End, Ending, SubmitOnceLayer};
    /// # use std::time::Duration;
    /// let layer = SubmitOnceLayer::by_fingerprint(Duration::from_secs(10)).end_as(|ending| match ending {
    ///     Ending::Status(status) if status == 402 => Some(End::Done),
    ///     _ => None,
    /// });
    /// ```
    pub fn end_as(self, rule: impl Fn(Ending) -> Option<End> + Send + Sync + 'static) -> Self {
        self.with(|options| options.rule = Some(Arc::new(rule)))
    }

    /// Sets how the layer responds to rejected requests. Default: [`ProblemJson`].
    pub fn with_renderer<T: RenderRejection>(self, renderer: T) -> SubmitOnceLayer<T> {
        SubmitOnceLayer { options: self.options, renderer: Arc::new(renderer) }
    }

    fn with(mut self, set: impl FnOnce(&mut Options)) -> Self {
        set(&mut self.options);
        self
    }

    /// Waits until no submission of this layer and its clones runs. Call it after a graceful shutdown of the server.
    ///
    /// A run whose end the store does not take tries again for up to 15 minutes. Bound the wait with a timeout.
    pub async fn idle(&self) {
        self.options.running.idle().await;
    }

    /// Returns what the store knows of a submission. [`Submission::at`](super::Submission::at) and
    /// [`SubmissionScope::by_key`](super::SubmissionScope::by_key) give its place.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn state(&self, at: &SubmissionRef) -> Result<Option<Entry>, StoreError> {
        self.options.store.state(at).await
    }

    /// Ends a submission whose outcome is unknown, once it has been found out. Returns whether there was one.
    ///
    /// A run whose lease was lost may still go on. After [`Finish::Release`], a second run can then be at work at once.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn settle(&self, at: &SubmissionRef, end: &Finish) -> Result<bool, StoreError> {
        self.options.store.settle(at, end).await
    }

    /// Removes a submission that does not run, so that it can run again. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn forget(&self, at: &SubmissionRef) -> Result<bool, StoreError> {
        self.options.store.forget(at).await
    }
}

impl<S, R> Layer<S> for SubmitOnceLayer<R> {
    type Service = SubmitOnce<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        SubmitOnce::new(inner, Arc::new(self.options.clone()), self.renderer.clone())
    }
}

impl<R> Clone for SubmitOnceLayer<R> {
    fn clone(&self) -> Self {
        Self { options: self.options.clone(), renderer: self.renderer.clone() }
    }
}

impl<R> fmt::Debug for SubmitOnceLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubmitOnceLayer").field("options", &self.options).finish_non_exhaustive()
    }
}
