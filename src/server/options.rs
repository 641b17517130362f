//! What can be set on a verifier.

use std::{sync::Arc, time::Duration};

use http::{Method, Uri};

use crate::{
    clock::{Clock, NonDecreasingClock},
    protocol::{Limits, ParameterPolicy, Scheme},
    server::{
        body::{budget::ByteBudget, incoming::BodyMode},
        bypass::Bypass,
        layer::VerifyLayer,
        outcome::Outcome,
        verifier::Verifier,
    },
    store::{KeyStore, NonceStore},
};

impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
    /// Remembers nonces in this store. Where it does not outlive the process, what was signed before its first verifier got it is
    /// refused. Default: a [`MemoryNonceStore`](crate::store::MemoryNonceStore) of its own.
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
            observer: self.observer,
        }
    }

    /// What it has agreed on with its clients.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Where it remembers nonces.
    #[must_use]
    pub fn nonces(&self) -> &N {
        &self.nonces
    }

    /// What it has agreed on with its clients. Default: [`Scheme::new`].
    pub fn with_scheme(self, scheme: Scheme) -> Self {
        Self { scheme: Arc::new(scheme), ..self }
    }

    /// How far a timestamp may lie from this verifier's clock, either way, in whole seconds. Default: 300.
    ///
    /// Clients need not know it: they sign with the time of now. Verifiers of one process that share a store keep nonces for the
    /// most tolerant of them, clones included. One that gets a larger tolerance while requests are served uses it for timestamps
    /// later than those that were let in before.
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

    /// How much of a request is read. Default: [`Limits::new`].
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

    /// What the service gets of a query and of a form. Default: [`ParameterPolicy::Strip`].
    pub fn with_parameters(self, parameters: ParameterPolicy) -> Self {
        Self { parameters, ..self }
    }

    /// What a proxy takes off the paths that clients sign: `/api` for example. Default: nothing.
    ///
    /// Where the proxy leaves `/`, the client may have signed `/api/` or `/api`: both are accepted, at the cost of a second MAC on
    /// that path alone.
    ///
    /// # Errors
    ///
    /// The prefix is no path, or ends with a slash.
    pub fn with_prefix(self, prefix: &str) -> Result<Self, PrefixError> {
        let is_path = prefix.parse::<Uri>().is_ok_and(|uri| uri.authority().is_none() && uri.path() == prefix);
        if !prefix.is_empty() && (!is_path || !prefix.starts_with('/') || prefix.ends_with('/')) {
            return Err(PrefixError(prefix.to_owned()));
        }
        Ok(Self { prefix: prefix.into(), ..self })
    }

    /// Reads time here. Default: [`SystemClock`](crate::clock::SystemClock).
    pub fn with_clock(self, clock: impl Clock) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock);
        let registry = self.membership.registry();
        registry.replace_clock(self.clock.source(), &clock);
        let age = registry.age(&clock);
        Self { clock: Arc::new(NonDecreasingClock::new(clock, age)), ..self }
    }

    /// Refuses also what was signed up to the tolerance after the start, where nonces do not outlive the process.
    ///
    /// A process that was restarted has forgotten the nonces of requests that were stamped ahead of its start, or in
    /// the very second of it. With this, none of them can pass twice; for the tolerance's length clients with a right
    /// clock are refused too. Default: off.
    pub fn with_strict_restart(self) -> Self {
        Self { strict_restart: true, ..self }
    }

    /// How long nonces are remembered from their timestamp on, in whole seconds.
    ///
    /// Verifiers in several processes that share a store must all have what the most tolerant of them needs: its tolerance, a
    /// second, and the difference of their clocks. Within a process the longest of them counts. Never less than this verifier's own tolerance and a second. Default: that, and
    /// 60 seconds more in a store that [outlives the process](NonceStore::is_persistent).
    pub fn with_retention(self, retention: Duration) -> Self {
        Self { retention: Some(retention), ..self }.joined_again()
    }

    fn joined_again(self) -> Self {
        let retention = retention(self.tolerance, self.retention, self.nonces.is_persistent());
        Self { membership: Arc::new(self.membership.registry().join(self.tolerance, retention)), ..self }
    }

    /// Calls the service while a body arrives, for bodies that are too large to be held in memory. Default: it is called
    /// when the whole body is there and has been checked.
    ///
    /// The body then ends well only if it is the one that was signed: its last data frame is held back until the digest
    /// matches, and in its place comes a [`BodyError`](super::BodyError). **Until it has ended well, the service must
    /// not act on what it has read**: it writes to a temporary file, say, and renames that at the end. A parser that is
    /// done is not the end of the body: what follows a form's last boundary, or a JSON value, may show that all of it
    /// is forged. Read on until there is no frame any more, and give axum's `Multipart` no streamed body.
    ///
    /// A body of known length that is forwarded to another server is never completed with wrong bytes. If the body is
    /// refused before the service has answered, the caller gets the rejection's answer in place of the service's. A
    /// client that waits for an answer before it sends on will wait in vain, for its last frame is not handed on.
    ///
    /// Memory holds one frame. The [limit](crate::Limits::with_body) (2 MiB by default) stands; raise it. Forms are read
    /// whole all the same, up to [theirs](crate::Limits::with_form).
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

    /// The most bytes of memory that forms take together while they arrive. Default: 64 MiB. Clones share them.
    ///
    /// A form is read before its request has proved itself, so this bounds what anonymous callers can make a process
    /// hold. When forms that are still incomplete take more, the one that holds most is ended with 503
    /// [`Unavailable`](crate::RejectionKind::Unavailable), among equals the oldest: a few slow senders of large forms
    /// cannot keep small ones out. A form that is there with its first frame takes nothing of it.
    ///
    /// Give it at least the [limit of one form](crate::Limits::with_form): a form that is larger than this memory is
    /// ended whenever it does not come in one frame. A form takes its own length, and up to an eighth more or 256
    /// bytes, which count too. While it is put together it takes its length once more, which does not count.
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

    /// How many bytes of memory all bodies but forms take together while they arrive to be read whole: of this verifier, its
    /// clones and its layers. Default: 256 MiB.
    ///
    /// When they take more, the app that holds most has its largest body ended with 503
    /// [`Unavailable`](crate::RejectionKind::Unavailable), among equals the oldest: one app's uploads do not end the others'. A
    /// body that is there with its first frame takes nothing of it, nor does a [streamed](Self::with_streamed_bodies) one.
    ///
    /// Give it at least the [limit of one body](crate::Limits::with_body). It is counted as in
    /// [`with_form_memory`](Self::with_form_memory), and given back when the service gets the body.
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

    /// Has nobody refused, for [`ReportOnlyLayer`](crate::danger::ReportOnlyLayer).
    pub(super) fn report_only(self) -> Self {
        let body_mode = if self.body_mode == BodyMode::Buffered { BodyMode::Buffered } else { BodyMode::ReportOnly };
        Self { body_mode, observer: Arc::new(self.observer.reporting()), ..self }
    }

    /// **Lets these requests in without a signature**: what must stay open where there are no routes, gRPC's health check
    /// for example. With routes, leave the open ones outside the layer. Default: none.
    ///
    /// The service gets them as they came, without a [`Caller`](super::Caller); only headers that could make them other
    /// requests (`x-original-url`, `x-http-method-override` and their like) are removed.
    ///
    /// `covers` gets the method and the target as the client sent them, also inside an axum `nest`. Compare whole paths, as
    /// the service reads them, and the method, for frameworks that look for another one in the query too. A second call
    /// replaces the first. If `covers` panics, the panic is caught, and the request is verified.
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

    /// Tells what became of each request that it verifies, by itself or in a layer: for logs, metrics and alarms of one's
    /// own. A second call replaces the first. Default: nobody is told, and nothing is measured.
    ///
    /// Each request has one [`Outcome`], told when it is final:
    ///
    /// - as soon as the request is let in, rejected or bypassed;
    /// - where bodies are [streamed](Self::with_streamed_bodies), at the end of the body, or when the service drops it
    ///   before that ([`Decision::BodyNotRead`](super::Decision::BodyNotRead));
    /// - when the future is dropped before ([`Decision::Cancelled`](super::Decision::Cancelled)).
    ///
    /// `observe` is called where the request is served, also while something is dropped: it must not block or panic.
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

    /// The tower layer that verifies with this.
    pub fn into_layer(self) -> VerifyLayer<K, N> {
        VerifyLayer::from(self)
    }
}

/// How long a verifier needs nonces to be kept from their timestamp on, in seconds.
fn retention(tolerance: u64, configured: Option<Duration>, is_shared: bool) -> u64 {
    let least = tolerance.saturating_add(1);
    match configured {
        Some(retention) => least.max(retention.as_secs()),
        // A minute more, for the difference of the verifiers' clocks.
        None if is_shared => least.saturating_add(60),
        None => least,
    }
}

/// A proxy cannot take this off a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("prefix {0:?}: expected a path that starts with / and does not end with it, /api for example")]
pub struct PrefixError(String);
