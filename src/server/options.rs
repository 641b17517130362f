//! The options of a verifier.

use std::{sync::Arc, time::Duration};

use http::{Method, Uri};

#[cfg(feature = "tokens")]
use crate::server::token_source::TokenSource;
use crate::{
    clock::Clock,
    protocol::{Limits, ParameterPolicy, Scheme},
    server::{
        body::{budget::ByteBudget, incoming::BodyMode},
        bypass::Bypass,
        layer::VerifyLayer,
        link::options::Links,
        non_decreasing_clock::NonDecreasingClock,
        outcome::Outcome,
        verifier::Verifier,
    },
    store::{KeyStore, NonceStore, retention},
};

impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
    /// Stores nonces in this store. Default: a new [`MemoryNonceStore`](crate::store::MemoryNonceStore).
    ///
    /// If the store is not [persistent](NonceStore::is_persistent), the verifier rejects requests that were signed
    /// before the first verifier used the store.
    pub fn with_nonces<M: NonceStore>(self, nonces: M) -> Verifier<K, M> {
        let registry = nonces.registry().cloned().unwrap_or_default();
        let clock = Arc::new(self.clock.restarted(registry.age(self.clock.source())));
        let retention = retention(self.tolerance, self.retention, nonces.is_persistent());
        Verifier {
            keys: self.keys,
            membership: Arc::new(registry.join(self.tolerance, retention)),
            nonces: Arc::new(nonces),
            clock,
            strict_restart: self.strict_restart,
            retention: self.retention,
            scheme: self.scheme,
            tolerance: self.tolerance,
            limits: self.limits,
            parameters: self.parameters,
            prefix: self.prefix,
            body_mode: self.body_mode,
            form_budget: self.form_budget,
            body_budget: self.body_budget,
            bypass: self.bypass,
            links: self.links,
            explanations: self.explanations,
            #[cfg(feature = "tokens")]
            tokens: self.tokens,
            #[cfg(feature = "submissions")]
            fingerprints: self.fingerprints,
            observer: self.observer,
        }
    }

    /// Returns the scheme that the verifier shares with its clients.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Returns the store that holds the nonces.
    #[must_use]
    pub fn nonces(&self) -> &N {
        &self.nonces
    }

    /// Sets the scheme that the verifier shares with its clients. Default: [`Scheme::new`].
    pub fn with_scheme(self, scheme: Scheme) -> Self {
        Self { scheme: Arc::new(scheme), ..self }
    }

    /// Sets the largest accepted difference between a timestamp and this verifier's clock, in either direction, in
    /// whole seconds. Default: 300.
    ///
    /// Clients do not need to know the tolerance, because they sign with the current time. If several verifiers of one
    /// process share a store, including clones, the store keeps nonces for the largest of their tolerances. If a
    /// verifier with a larger tolerance joins while others serve requests, its larger tolerance applies only to
    /// timestamps later than those already accepted.
    ///
    /// ```
    /// # use countersign::{Secret, StaticKeys, Verifier};
    /// # use std::time::Duration;
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let verifier = Verifier::new(keys).with_tolerance(Duration::from_secs(60));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance: tolerance.as_secs(), ..self }.joined_again()
    }

    /// Sets how much of a request the verifier reads. Default: [`Limits::new`].
    ///
    /// ```
    /// # use countersign::{Limits, Secret, StaticKeys, Verifier};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let verifier = Verifier::new(keys).with_limits(Limits::new().with_body(10 * 1024 * 1024)); // 10 MiB
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets how the service receives the parameters of a query and of a form. Default: [`ParameterPolicy::Strip`].
    pub fn with_parameters(self, parameters: ParameterPolicy) -> Self {
        Self { parameters, ..self }
    }

    /// Sets the prefix that a proxy removes from the paths that clients sign, for example `/api`. Default: no prefix.
    ///
    /// If the proxy forwards the path `/`, the client may have signed `/api/` or `/api`. The verifier accepts both. For
    /// this path only, it may compute a second MAC.
    ///
    /// # Errors
    ///
    /// Fails if the prefix is not a path or ends with a slash.
    pub fn with_prefix(self, prefix: &str) -> Result<Self, PrefixError> {
        let is_path = prefix.parse::<Uri>().is_ok_and(|uri| uri.authority().is_none() && uri.path() == prefix);
        if !prefix.is_empty() && (!is_path || !prefix.starts_with('/') || prefix.ends_with('/')) {
            return Err(PrefixError(prefix.to_owned()));
        }
        Ok(Self { prefix: prefix.into(), ..self })
    }

    /// Sets the clock. Default: [`SystemClock`](crate::clock::SystemClock).
    pub fn with_clock(self, clock: impl Clock) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let registry = self.membership.registry();
        registry.replace_clock(self.clock.source(), &clock);
        let age = registry.age(&clock);
        Self { clock: Arc::new(NonDecreasingClock::new(clock, age)), ..self }
    }

    /// Also rejects timestamps up to the tolerance after the start, if the nonce store is not
    /// [persistent](NonceStore::is_persistent). Default: off.
    ///
    /// Before the restart, the process may have accepted requests with a timestamp at or after the restart, and it has
    /// lost their nonces. With this option, none of these requests is accepted twice. Until the tolerance has passed
    /// since the start, clients with a correct clock are rejected too. If a longer [retention](Self::with_retention)
    /// applies, it takes the place of the tolerance here.
    pub fn with_strict_restart(self) -> Self {
        Self { strict_restart: true, ..self }
    }

    /// Sets how long nonces are stored, counted from their timestamp, in whole seconds. Default: the tolerance plus one
    /// second, and 60 seconds more if the store is [persistent](NonceStore::is_persistent).
    ///
    /// The value is never less than this verifier's own tolerance plus one second. Within a process, the longest
    /// retention of the verifiers that share a store applies. If verifiers in several processes share a store, set the
    /// same retention in each of them: the largest tolerance, plus one second, plus the largest difference between
    /// their clocks.
    pub fn with_retention(self, retention: Duration) -> Self {
        Self { retention: Some(retention), ..self }.joined_again()
    }

    fn joined_again(self) -> Self {
        let retention = retention(self.tolerance, self.retention, self.nonces.is_persistent());
        Self { membership: Arc::new(self.membership.registry().join(self.tolerance, retention)), ..self }
    }

    /// Calls the service while a body arrives, for bodies that are too large for memory. Default: the verifier buffers
    /// and checks the whole body before it calls the service.
    ///
    /// The body ends without an error only if its digest is the signed one. The verifier holds the last data frame back
    /// until the digest matches. If it does not match, the service gets a [`BodyError`](super::BodyError) instead.
    /// **Until the body has ended without an error, the service must not act on what it has read.** For example, write
    /// to a temporary file, and rename it at the end. A parser may finish before the body ends: bytes after a form's
    /// last boundary or after a JSON value may show that the whole body is forged. Read until no frame is left. Do not
    /// use axum's `Multipart` with streamed bodies.
    ///
    /// A body of known length that is forwarded to another server is never completed with wrong bytes. If the body is
    /// rejected before the service has responded, the caller gets the rejection's response instead of the service's. A
    /// client that waits for a response before it sends the rest of the body waits forever, because its last frame is
    /// held back.
    ///
    /// At most one frame is held in memory. The [body limit](crate::Limits::with_body) (2 MiB by default) still
    /// applies, so raise it. Forms are always buffered, up to [their own limit](crate::Limits::with_form).
    ///
    /// ```
    /// # use countersign::{Limits, Secret, StaticKeys, Verifier};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let limits = Limits::new().with_body(4 << 30); // 4 GiB
    /// let uploads = Verifier::new(keys).with_limits(limits).with_streamed_bodies().into_layer();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_streamed_bodies(self) -> Self {
        Self { body_mode: BodyMode::Streamed, ..self }
    }

    /// Sets how many bytes of memory all forms may use together while they arrive. Default: 64 MiB. Clones share this
    /// memory.
    ///
    /// The verifier reads a form before it authenticates the request, so this option bounds the memory that anonymous
    /// callers can use. If incomplete forms use more, the verifier rejects the largest one with 503
    /// [`Unavailable`](crate::RejectionKind::Unavailable). Among forms of equal size it rejects the oldest. A few slow
    /// senders of large forms therefore cannot keep small forms out. A form that arrives complete in its first frame
    /// does not count.
    ///
    /// Set it to at least the [limit of one form](crate::Limits::with_form). A form that is larger than this memory is
    /// rejected unless it arrives in one frame. A form counts with the bytes that have arrived, plus up to one eighth
    /// of them or 256 bytes. While the verifier joins its pieces, the form uses its length once more, which does not
    /// count.
    ///
    /// ```
    /// # use countersign::{Secret, StaticKeys, Verifier};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let verifier = Verifier::new(keys).with_form_memory(8 * 1024 * 1024);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_form_memory(self, bytes: usize) -> Self {
        Self { form_budget: Arc::new(ByteBudget::new(bytes)), ..self }
    }

    /// Sets how many bytes of memory all buffered bodies except forms may use together while they arrive. Default: 256
    /// MiB. The verifier, its clones and its layers share this memory.
    ///
    /// If the bodies use more, the verifier finds the app whose bodies use most, and rejects its largest body with 503
    /// [`Unavailable`](crate::RejectionKind::Unavailable). Among bodies of equal size it rejects the oldest. The
    /// uploads of one app therefore do not end those of others. A body that arrives complete in its first frame does
    /// not count, and neither does a [streamed](Self::with_streamed_bodies) one.
    ///
    /// Set it to at least the [limit of one body](crate::Limits::with_body). Bodies are counted as in
    /// [`with_form_memory`](Self::with_form_memory). The memory is released when the service gets the body.
    ///
    /// ```
    /// # use countersign::{Secret, StaticKeys, Verifier};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let verifier = Verifier::new(keys).with_body_memory(64 * 1024 * 1024);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_body_memory(self, bytes: usize) -> Self {
        Self { body_budget: Arc::new(ByteBudget::new(bytes)), ..self }
    }

    /// Reports verdicts without enforcing them, for [`ReportOnlyLayer`](crate::danger::ReportOnlyLayer).
    pub(super) fn report_only(self) -> Self {
        let body_mode = if self.body_mode == BodyMode::Buffered { BodyMode::Buffered } else { BodyMode::ReportOnly };
        Self { body_mode, observer: Arc::new(self.observer.reporting()), ..self }
    }

    /// **Accepts the requests that `covers` selects without a signature.** Default: none.
    ///
    /// Use it for endpoints that must stay open in a service without routes, for example gRPC's health check. In a
    /// service with routes, leave the open routes outside the layer instead.
    ///
    /// The service gets these requests unchanged, without a [`Caller`](super::Caller). Only headers that can override
    /// the method or the URL (`x-original-url`, `x-http-method-override` and similar ones) are removed.
    ///
    /// `covers` gets the method and the target as the client sent them, also inside an axum `nest`. Compare whole
    /// paths, in the form in which the service reads them. Compare the method too, because some frameworks also read a
    /// method from the query. A second call replaces the first. If `covers` panics, the panic is caught and the request
    /// is verified.
    ///
    /// ```
    /// # use countersign::{Secret, StaticKeys, Verifier};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let verifier = Verifier::new(keys).with_insecure_bypass(|_, uri| uri.path() == "/grpc.health.v1.Health/Check");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_insecure_bypass(self, covers: impl Fn(&Method, &Uri) -> bool + Send + Sync + 'static) -> Self {
        Self { bypass: Some(Bypass::new(covers)), ..self }
    }

    /// Accepts the token of a request only if it is live, and was issued to the app that signed (feature `tokens`). Default:
    /// tokens are signed, and not checked. It replaces a [token check](Self::with_token_check).
    ///
    /// A request without a token is accepted. The handler finds the session at [`Caller::session`](super::Caller::session).
    /// Without a live token, the response is `invalid_token`. A token that is accepted once is spent only after the nonce and
    /// the body were checked. If the token store fails, the response is 503.
    ///
    /// ```
    /// use countersign::{Secret, StaticKeys, Verifier, store::MemoryTokenStore, token::Tokens};
    ///
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let tokens = Tokens::new(MemoryTokenStore::new()?);
    /// let verifier = Verifier::new(keys).with_tokens(tokens.clone());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "tokens")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
    pub fn with_tokens(self, tokens: crate::token::Tokens) -> Self {
        Self { tokens: Some(TokenSource::Issued(tokens)), ..self }
    }

    /// Accepts the token of a request only if `check` returns its user, for services with tokens of their own: a JWT, a
    /// table of sessions (feature `tokens`). It replaces [`with_tokens`](Self::with_tokens).
    ///
    /// `check` is called for each request with a token, after its signature was checked. If the body then takes more than 5
    /// seconds, it is called again. If it returns `None`, the response is `invalid_token`. If it fails, the response is 503.
    /// A request without a token is accepted. The handler finds the user at [`Caller::user`](super::Caller::user).
    ///
    /// ```
    /// use countersign::{AppId, Secret, StaticKeys, Token, Verifier, store::StoreError};
    /// use countersign::token::{CheckedToken, TokenCheck};
    ///
    /// struct Sessions;
    ///
    /// impl TokenCheck for Sessions {
    ///     async fn check(&self, _: &AppId, token: &Token) -> Result<Option<CheckedToken>, StoreError> {
    ///         let user = (token.expose() == "tok_1").then_some("u-17");
    ///         Ok(user.map(|user| user.parse().map(CheckedToken::new)).transpose().map_err(StoreError::new)?)
    ///     }
    /// }
    ///
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let verifier = Verifier::new(keys).with_token_check(Sessions);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "tokens")]
    #[cfg_attr(docsrs, doc(cfg(feature = "tokens")))]
    pub fn with_token_check(self, check: impl crate::token::TokenCheck) -> Self {
        Self { tokens: Some(TokenSource::Other(std::sync::Arc::new(check))), ..self }
    }

    /// Gives each request what a [`SubmitOnceLayer`](crate::submission::SubmitOnceLayer) below needs (feature `submissions`):
    /// the signed method and path, and a fingerprint of the signed content. Default: off.
    ///
    /// The fingerprint is a SHA-256 over the signed parts of the request, without its token, timestamp and nonce. It costs about
    /// as much as half a signature.
    ///
    /// ```
    /// # use countersign::{Secret, StaticKeys, Verifier};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let verifier = Verifier::new(keys).with_fingerprints();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "submissions")]
    #[cfg_attr(docsrs, doc(cfg(feature = "submissions")))]
    pub fn with_fingerprints(self) -> Self {
        Self { fingerprints: true, ..self }
    }

    /// Accepts share links: URLs with a signature of their own, which [`Signer::presign`](crate::Signer::presign) makes. Default:
    /// requests only.
    ///
    /// A link is opened with GET or HEAD, until it ends. Every route behind this verifier takes links then, so add the check of
    /// a token or a key to routes that must not: see `RequireLayer` (feature `tokens`). The handler
    /// finds out at [`Caller::link`](super::Caller::link). A link for one use needs a nonce store that is
    /// [persistent](NonceStore::is_persistent).
    ///
    /// ```
    /// # use countersign::{Secret, StaticKeys, Verifier, server::Links};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let verifier = Verifier::new(keys).with_links(Links::new());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_links(self, links: Links) -> Self {
        Self { links: Some(links), ..self }
    }

    /// Explains each invalid signature to its sender. The response then has the member `string_to_sign`: the text that the
    /// verifier signed for comparison, as an [`Explanation`](crate::Explanation). Default: off.
    ///
    /// Use it in development, and for partners who write a client. It depends on the request and the verifier's
    /// configuration alone. Therefore the responses to an unknown app, a disabled app and a wrong key stay the same. But
    /// anyone who sends a request learns the audience, the [prefix](Self::with_prefix) and the names of signed headers,
    /// and gets their own form back, passwords included.
    ///
    /// [`ProblemJson`](super::ProblemJson) sends the text. Other renderers find it at
    /// [`Rejection::string_to_sign`](crate::Rejection::string_to_sign). An [observer](Self::with_observer) gets it in any
    /// case, at [`Outcome::string_to_sign`].
    ///
    /// ```
    /// # use countersign::{Secret, StaticKeys, Verifier};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let verifier = Verifier::new(keys).with_explanations();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_explanations(self) -> Self {
        Self { explanations: true, ..self }
    }

    /// Calls `observe` with the outcome of each request, for logs, metrics and alerts. Default: no observer.
    ///
    /// A second call replaces the first. Layers that are made from this verifier report to the observer too. Each
    /// request has one [`Outcome`], which is reported when it is final:
    ///
    /// - as soon as the request is accepted, rejected or bypassed;
    /// - if the body is [streamed](Self::with_streamed_bodies), when it ends, or when the service drops it before its
    ///   end ([`Decision::BodyNotRead`](super::Decision::BodyNotRead));
    /// - if the future is dropped early, when it is dropped ([`Decision::Cancelled`](super::Decision::Cancelled)).
    ///
    /// `observe` runs on the task that serves the request, and sometimes in a destructor. It must not block. If it
    /// panics, the panic is caught and counted.
    ///
    /// ```
    /// # use countersign::{Secret, StaticKeys, Verifier};
    /// # let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
    /// let verifier = Verifier::new(keys).with_observer(|outcome| {
    ///     if let Some(rejection) = outcome.rejection() {
    ///         eprintln!("{:?} was refused, its clock off by {:?} s: {rejection}", outcome.claimed_app_id(), outcome.skew());
    ///     }
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_observer(self, observe: impl Fn(&Outcome<'_>) + Send + Sync + 'static) -> Self {
        Self { observer: Arc::new(self.observer.with_hook(observe)), ..self }
    }

    /// Makes a tower layer that uses this verifier.
    pub fn into_layer(self) -> VerifyLayer<K, N> {
        VerifyLayer::from(self)
    }
}

/// The error for a prefix that is not a valid path prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("prefix {0:?}: expected a path that starts with / and does not end with it, /api for example")]
pub struct PrefixError(String);
