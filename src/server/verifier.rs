//! The verifier: it takes a request and returns the request that may reach the service.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, request::Parts};
use http_body::Body;

use crate::{
    clock::{Clock, NonDecreasingClock, SystemClock, Time},
    collect::{AtOnce, look_at_once},
    protocol::{
        AppId, CanonicalRequest, Claim, Head, HeadAndQuery, Limits, ParameterPolicy, PendingNonce, Rejection, Scheme,
        Timestamp, Window,
    },
    server::{
        app_lookup::LookedUp,
        body::{
            admitted::{AdmittedBody, BodyVerdict},
            budget::ByteBudget,
            check::Length,
            deadline::Deadline,
            incoming::{BodyCheck, BodyMode, IncomingBody, UnreadBody, read, unreadable},
            request::RequestBody,
        },
        bypass::Bypass,
        caller::Caller,
        forward::{ForwardedRequest, hide_secrets, signed_uri},
        head,
        outcome::{Observer, OutcomeRecorder},
    },
    store::{KeyStore, Membership, MemoryNonceStore, NonceStore, retention},
};

/// Accepts only requests that are signed, fresh and not repeated.
///
/// [`VerifyLayer`](crate::VerifyLayer) uses it, and you can call it directly. Clones share the stores and the clock.
///
/// ```
/// use countersign::{Secret, Verifier, server::UnverifiedBody, store::StaticKeys};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keys = StaticKeys::new([("demo".parse()?, Secret::new("0123456789abcdef0123456789abcdef")?)])?;
/// let verifier = Verifier::new(keys);
///
/// let request = http::Request::get("/").body(UnverifiedBody::new(String::new()))?;
/// let rejection = verifier.verify(request).await.unwrap_err();
/// assert_eq!(rejection.kind().code(), "unsigned");
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct Verifier<K, N = MemoryNonceStore> {
    pub(super) keys: Arc<K>,
    pub(super) nonces: Arc<N>,
    pub(super) clock: Arc<NonDecreasingClock>,
    /// The membership in the group of verifiers that use the same nonce store.
    pub(super) membership: Arc<Membership>,
    pub(super) strict_restart: bool,
    pub(super) retention: Option<Duration>,
    pub(super) scheme: Arc<Scheme>,
    /// The tolerance, in seconds.
    pub(super) tolerance: u64,
    pub(super) limits: Limits,
    pub(super) parameters: ParameterPolicy,
    pub(super) prefix: Arc<str>,
    pub(super) body_mode: BodyMode,
    pub(super) form_budget: Arc<ByteBudget>,
    pub(super) body_budget: Arc<ByteBudget>,
    pub(super) bypass: Option<Bypass>,
    pub(super) observer: Arc<Observer>,
}

/// The default tolerance, in seconds.
const TOLERANCE: u64 = 300;

impl<K: KeyStore> Verifier<K> {
    /// Makes a verifier with the protocol's defaults, the system's clock and a [`MemoryNonceStore`].
    pub fn new(keys: K) -> Self {
        let nonces = MemoryNonceStore::new();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let registry = nonces.registry().cloned().unwrap_or_default();
        let clock = Arc::new(NonDecreasingClock::new(clock.clone(), registry.age(&clock)));
        let membership = Arc::new(registry.join(TOLERANCE, retention(TOLERANCE, None, nonces.is_persistent())));
        Self {
            keys: Arc::new(keys),
            nonces: Arc::new(nonces),
            clock,
            membership,
            strict_restart: false,
            retention: None,
            scheme: Arc::new(Scheme::new()),
            tolerance: TOLERANCE,
            limits: Limits::new(),
            parameters: ParameterPolicy::default(),
            prefix: "".into(),
            body_mode: BodyMode::Buffered,
            form_budget: Arc::new(ByteBudget::new(64 * 1024 * 1024)),
            body_budget: Arc::new(ByteBudget::new(256 * 1024 * 1024)),
            bypass: None,
            observer: Arc::new(Observer::new()),
        }
    }
}

/// A request that may reach the service.
pub(super) struct Admission<B> {
    pub(super) request: Request<B>,
    pub(super) verdict: BodyVerdict,
}

impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
    /// Verifies a request and returns the request that may reach the service.
    ///
    /// Unsigned parts are removed from the returned request, its body is checked, and its [`Caller`](super::Caller) is
    /// in the extensions. If you drop the future while the nonce is claimed, the nonce may be used up. The caller must
    /// then sign again.
    ///
    /// # Errors
    ///
    /// Returns a [`Rejection`] of one of the [kinds](crate::RejectionKind). Requests without a valid signature leave no
    /// state behind, and only form bodies are read before the signature is checked.
    pub fn verify<B: RequestBody>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Request<B::ServiceBody>, Rejection>> + Send + use<'_, K, N, B> {
        self.run(request, |admission| admission.request)
    }

    /// Verifies a request like [`verify`](Self::verify), and also returns the verdict on the rest of its body.
    pub(super) fn admit<B: RequestBody>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Admission<B::ServiceBody>, Rejection>> + Send + use<'_, K, N, B> {
        self.run(request, |admission| admission)
    }

    fn run<B: RequestBody, T>(
        &self,
        request: Request<B>,
        result: impl FnOnce(Admission<B::ServiceBody>) -> T + Send,
    ) -> impl Future<Output = Result<T, Rejection>> + Send {
        // Split outside the async block to keep the future small.
        let (mut parts, body) = request.into_parts();
        async move {
            let mut recorder = self.observer.recorder(&self.clock);
            let body = self.decide(&mut parts, body, &mut recorder).await;
            recorder.finish(body.as_ref().err());
            body.map(|mut body| {
                let verdict = body.take_verdict();
                result(Admission { request: Request::from_parts(parts, B::from_admitted(body)), verdict })
            })
        }
    }

    /// Runs the steps of PROTOCOL.md. The comments give their numbers.
    async fn decide<B: RequestBody>(
        &self,
        parts: &mut Parts,
        body: B,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<AdmittedBody, Rejection> {
        // Mark secrets as sensitive first, so that they stay out of logs on every path.
        hide_secrets(&self.scheme, &mut parts.headers);
        if self.bypass.as_ref().is_some_and(|bypass| bypass.covers(parts)) {
            recorder.finish_bypassed();
            return Ok(Bypass::admit(parts, body));
        }
        let arrived = self.time();
        // The block ends the borrows of the head.
        let (body, forwarded, app, caller) = {
            let (claim, head, length) = self.read_head(parts, &body, arrived, recorder)?; // 1
            let window = self.window(arrived.started_at, claim.timestamp());
            let timely = claim.timely(arrived.now, &window)?; // 2
            let query = self.read_query(&head)?; // 3
            let app = self.look_up(timely.app_id(), arrived, recorder).await?; // 4
            let (body, app) = match head.is_form() {
                true => self.read_form(body, length, app, timely.app_id(), arrived, recorder).await?, // 5
                false => (IncomingBody::Unread(body), app),
            };
            let signed = self.with_form(query, body.form())?; // 5
            let time = self.time();
            let authentic = timely.authenticate(signed, app.keys(), time.now)?; // 6
            let form = body.form();
            // The head is at hand here. It is forwarded in step 10. Step 7, the check of tokens, does not exist yet.
            let forwarded =
                ForwardedRequest::new(&authentic, &head, length, form, parts, self.parameters, &self.scheme)?;
            let window = window.with_retention(self.membership.retention_of(authentic.timestamp().unix_seconds()));
            let pending = authentic.pending(time.now, time.forget, &window)?;
            let caller = self.claim_nonce(pending, &window, &app, recorder).await?; // 8
            (body, forwarded, app, caller)
        };
        let (app, caller) = match self.nonces.is_persistent() {
            true => self.check_key_again(app, caller, recorder).await?, // 9a
            // A claim in a store that is not persistent is quick, so no key can have been retired meanwhile.
            false => (app, caller),
        };
        // 9
        let (body, caller) = match body.check(forwarded.expectation(), self.body_mode, recorder)? {
            BodyCheck::Now(body) => (body, caller),
            BodyCheck::Unread(mut body) => match body.check_at_once().await {
                Some(body) => (body?, caller),
                None => Box::pin(self.read_body(body, app, caller, arrived, recorder)).await?, // 9a
            },
        };
        forwarded.apply(parts, &body, caller, &self.scheme); // 10
        Ok(body)
    }

    fn read_head<'r>(
        &'r self,
        parts: &'r Parts,
        body: &impl Body,
        arrived: Time,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<(Claim, Head<'r>, Length), Rejection> {
        match head::read(&self.scheme, &self.limits, &self.prefix, signed_uri(parts), parts, body) {
            Ok(read) => {
                recorder.record_claim(&read.0, arrived.now);
                Ok(read)
            }
            Err(unreadable) => {
                recorder.record_partial_claim(&unreadable, arrived.now);
                Err(unreadable.rejection)
            }
        }
    }

    /// Looks up the app in the key store at the time `at`.
    async fn look_up(
        &self,
        app_id: &AppId,
        at: Time,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<LookedUp, Rejection> {
        let timer = recorder.start_timer();
        let app = self.keys.keys(app_id).await;
        recorder.record_key_lookup(timer, &app);
        Ok(LookedUp { app: app.map_err(Rejection::unavailable)?, at })
    }

    /// Reads a form. Looks up the app again if the lookup is too old by then.
    async fn read_form<B: RequestBody>(
        &self,
        mut body: B,
        length: Length,
        app: LookedUp,
        app_id: &AppId,
        arrived: Time,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<(IncomingBody<B>, LookedUp), Rejection> {
        let start = match look_at_once(&mut body, length.limit).await {
            Ok(AtOnce::Whole(form)) => return Ok((IncomingBody::Form(form), app)),
            Ok(AtOnce::Start(start)) => start,
            Err(error) => return Err(unreadable(error, length.limit)),
        };
        let form = read(body, start, length.limit, self.form_budget.share(None));
        let form = Box::pin(self.deadline(self.limits.form_timeout(), arrived).wait_for(form)).await?;
        let time = self.time();
        let app = match app.is_old(time) {
            true => Box::pin(self.look_up(app_id, time, recorder)).await?,
            false => app,
        };
        Ok((IncomingBody::Form(form), app))
    }

    /// Reads a body. Checks the key again if the lookup is too old by then.
    async fn read_body<B: RequestBody>(
        &self,
        body: UnreadBody<B>,
        app: LookedUp,
        caller: Caller,
        arrived: Time,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<(AdmittedBody, Caller), Rejection> {
        let body = body.check(&self.scheme, self.body_budget.share(Some(caller.app_id())));
        let body = self.deadline(self.limits.body_timeout(), arrived).wait_for(body).await?;
        Ok((body, self.check_key_again(app, caller, recorder).await?.1))
    }

    async fn claim_nonce(
        &self,
        pending: PendingNonce,
        window: &Window,
        app: &LookedUp,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<Caller, Rejection> {
        let timer = recorder.start_timer();
        let unrepeated = pending.claim(&*self.nonces, window, || self.time().now).await;
        let caller = unrepeated.map(|unrepeated| Caller::new(unrepeated, app.data()));
        recorder.record_nonce_claim(timer, &*self.nonces, &caller);
        caller
    }

    /// Looks up the app again if the earlier lookup is too old. The key that signed must still be active then.
    async fn check_key_again(
        &self,
        earlier: LookedUp,
        caller: Caller,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<(LookedUp, Caller), Rejection> {
        let time = self.time();
        if !earlier.is_old(time) {
            return Ok((earlier, caller));
        }
        let app = Box::pin(self.look_up(caller.app_id(), time, recorder)).await?;
        let caller = app.caller_as_of_now(caller, &earlier)?;
        recorder.record_caller(&caller);
        Ok((app, caller))
    }

    fn deadline(&self, timeout: Duration, arrived: Time) -> Deadline<impl Fn() -> Duration + Send> {
        Deadline::new(timeout, move || self.time().since(&arrived))
    }

    fn read_query<'r>(&self, head: &'r Head<'r>) -> Result<HeadAndQuery<'r>, Rejection> {
        let request = head.read_query(&self.scheme, self.limits.parameters())?;
        self.refuse_empty(request.query().had_empty(), "query")?;
        Ok(request)
    }

    fn with_form<'r>(
        &self,
        request: HeadAndQuery<'r>,
        form: Option<&'r Bytes>,
    ) -> Result<CanonicalRequest<'r>, Rejection> {
        let Some(form) = form else {
            return Ok(request.without_form());
        };
        let request = request.read_form(self.limits.parameters(), form)?;
        self.refuse_empty(request.form().had_empty(), "form")?;
        // Without parameters and without a digest, the signature would not cover these bytes. An empty form is fine.
        if request.form().is_empty() && request.digest().is_none() && !form.is_empty() {
            return Err(Rejection::malformed_parameters(
                "the form has bytes, but no parameter with a name and a value: if the body is no form, set its content \
                 type; if it is one, send its SHA-256",
            ));
        }
        Ok(request)
    }

    fn refuse_empty(&self, had_empty: bool, place: &str) -> Result<(), Rejection> {
        if had_empty && self.parameters == ParameterPolicy::Reject {
            let detail = format!("the {place} has a parameter with an empty name or value, which would not be signed");
            return Err(Rejection::malformed_parameters(detail));
        }
        Ok(())
    }

    fn time(&self) -> Time {
        // No accepted request has a longer lifetime.
        let hold = match self.nonces.is_persistent() {
            true => self.tolerance.saturating_add(self.membership.retention()),
            false => 0,
        };
        self.clock.read(Duration::from_secs(hold))
    }

    /// Returns the window for this timestamp. `started_at` is the Unix second since which the store holds nonces.
    fn window(&self, started_at: u64, timestamp: Timestamp) -> Window {
        let not_before = match (self.nonces.is_persistent(), self.strict_restart) {
            (true, _) => 0,
            (false, false) => started_at,
            // A timestamp can be ahead of any verifier's clock by at most this many seconds.
            (false, true) => started_at.saturating_add(self.membership.retention()),
        };
        let memory = self.membership.memory_of(timestamp.unix_seconds());
        Window::new(self.tolerance).with_not_before(not_before).with_memory(memory)
    }
}

impl<K, N> Clone for Verifier<K, N> {
    fn clone(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            nonces: self.nonces.clone(),
            clock: self.clock.clone(),
            membership: self.membership.clone(),
            scheme: self.scheme.clone(),
            prefix: self.prefix.clone(),
            form_budget: self.form_budget.clone(),
            body_budget: self.body_budget.clone(),
            bypass: self.bypass.clone(),
            observer: self.observer.clone(),
            ..*self
        }
    }
}

impl<K, N> fmt::Debug for Verifier<K, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("scheme", &self.scheme)
            .field("tolerance", &self.tolerance)
            .field("limits", &self.limits)
            .field("parameters", &self.parameters)
            .field("prefix", &self.prefix)
            .field("body_mode", &self.body_mode)
            .field("form_memory", &self.form_budget.limit())
            .field("body_memory", &self.body_budget.limit())
            .field("has_bypass", &self.bypass.is_some())
            .field("strict_restart", &self.strict_restart)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}
