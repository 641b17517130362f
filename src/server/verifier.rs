//! The one entry: a request goes in, the request that may reach the service comes out.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, request::Parts};

use crate::{
    clock::{Clock, NonDecreasingClock, SystemClock, Time},
    protocol::{
        AppId, CanonicalRequest, Head, HeadAndQuery, Limits, ParameterPolicy, Rejection, Scheme, Timestamp, Window,
    },
    server::{
        app_lookup::LookedUp,
        body::{
            budget::ByteBudget,
            deadline::Deadline,
            incoming::{BodyCheck, BodyMode, IncomingBody, read},
            request::RequestBody,
        },
        bypass::Bypass,
        caller::Caller,
        forward::{ForwardedRequest, hide_secrets, signed_uri},
        head,
        outcome::{Observer, OutcomeRecorder},
    },
    store::{KeyStore, Membership, MemoryNonceStore, NonceStore},
};

/// Lets in signed, fresh, unrepeated requests, and nothing else.
///
/// It is the spine of [`VerifyLayer`](crate::VerifyLayer), and can be called by itself. Clones share the stores and the clock.
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
    /// Among the verifiers that use the same nonce store.
    pub(super) membership: Arc<Membership>,
    pub(super) strict_restart: bool,
    pub(super) retention: Option<Duration>,
    pub(super) scheme: Arc<Scheme>,
    /// In seconds.
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

/// In seconds.
const TOLERANCE: u64 = 300;

impl<K: KeyStore> Verifier<K> {
    /// A verifier with the protocol's defaults, the system's clock and a [`MemoryNonceStore`].
    pub fn new(keys: K) -> Self {
        let nonces = MemoryNonceStore::new();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let registry = nonces.registry().cloned().unwrap_or_default();
        let clock = Arc::new(NonDecreasingClock::new(clock.clone(), registry.age(&clock)));
        let membership = Arc::new(registry.join(TOLERANCE, TOLERANCE + 1));
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

impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
    /// Verifies a request and returns the only one that may reach the service: stripped of what was not signed, its
    /// body checked, its [`Caller`](super::Caller) in the extensions.
    ///
    /// Dropping the future once the nonce is being claimed may have spent it: the caller then signs again.
    ///
    /// # Errors
    ///
    /// Whatever [`RejectionKind`](crate::RejectionKind) says. What is not verified is not remembered, and but
    /// for a form its body is not read.
    pub fn verify<B: RequestBody>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Result<Request<B::ServiceBody>, Rejection>> + Send + use<'_, K, N, B> {
        // Here, so that the future holds them once.
        let (mut parts, body) = request.into_parts();
        async move {
            let mut recorder = self.observer.recorder(&self.clock);
            let body = self.decide(&mut parts, body, &mut recorder).await;
            let decided = body.map(|body| Request::from_parts(parts, body));
            recorder.finish(&decided);
            decided
        }
    }

    async fn decide<B: RequestBody>(
        &self,
        parts: &mut Parts,
        body: B,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<B::ServiceBody, Rejection> {
        // Whatever comes of it, and while its headers are at hand.
        hide_secrets(&self.scheme, &mut parts.headers);
        if self.bypass.as_ref().is_some_and(|bypass| bypass.covers(parts)) {
            recorder.finish_bypassed();
            return Ok(Bypass::admit(parts, body));
        }
        // The numbers are those of PROTOCOL.md.
        let arrived = self.time();
        let (body, forwarded, app, caller) = {
            let (scheme, uri) = (&*self.scheme, signed_uri(parts));
            let (timely, window, head, length) = {
                let (claim, head, length) = head::read(scheme, &self.limits, &self.prefix, uri, parts, &body) // 1
                    .inspect_err(|refused| {
                        recorder.record_partial_claim(refused, scheme, (uri, &parts.headers), arrived.now)
                    })?;
                recorder.record_claim(&claim, arrived.now);
                let window = self.window(arrived.started_at, claim.timestamp());
                (claim.timely(arrived.now, &window)?, window, head, length) // 2
            };
            let request = self.read_query(&head)?; // 3
            let mut app = self.look_up(timely.app_id(), arrived, recorder).await?; // 4
            let body = match head.is_form() {
                true => {
                    let deadline = self.deadline(self.limits.form_timeout(), arrived);
                    let (form, has_waited) = read(body, length.limit, self.form_budget.share(None), deadline).await?; // 5
                    if has_waited {
                        app = self.look_up_again(app, timely.app_id(), recorder).await?;
                    }
                    IncomingBody::Form(form)
                }
                false => IncomingBody::Unread(body),
            };
            let request = self.read_form(request, body.form())?;
            // The wall too: a machine that was suspended meanwhile has a monotonic clock that stood still.
            let time = self.time();
            let authentic = timely.authenticate(request, app.keys(), time.now)?; // 6
            let forwarded =
                ForwardedRequest::new(&authentic, &head, length, body.form(), parts, self.parameters, scheme)?;
            let retention = self.membership.retention_of(authentic.timestamp().unix_seconds());
            let window = window.with_retention(retention);
            let pending = authentic.pending(time.now, time.forget, &window)?; // 8
            let timer = recorder.start_timer();
            let unrepeated = pending.claim(&*self.nonces, &window, || self.time().now).await;
            let caller = unrepeated.map(|unrepeated| Caller::new(unrepeated, app.data()));
            recorder.record_nonce_claim(timer, &*self.nonces, &caller);
            (body, forwarded, app, caller?)
        };
        // Nothing else takes long enough for a key to have been retired meanwhile.
        let (app, caller) = match self.nonces.is_persistent() {
            true => self.check_key_again(app, caller, recorder).await?, // 9a
            false => (app, caller),
        };
        let (body, caller) = match body.check(forwarded.expectation(), self.body_mode, recorder)? {
            BodyCheck::Now(body) => (body, caller),
            BodyCheck::Unread(body) => {
                let deadline = self.deadline(self.limits.body_timeout(), arrived);
                let share = self.body_budget.share(Some(caller.app_id()));
                match body.check(&self.scheme, share, deadline).await? {
                    (body, false) => (body, caller),
                    (body, true) => (body, self.check_key_again(app, caller, recorder).await?.1), // 9a
                }
            }
        };
        forwarded.apply(parts, &body, caller, &self.scheme); // 10
        Ok(B::from_admitted(body))
    }

    /// Asks the key store, at this time.
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

    /// The same answer, or another one if this is some time old.
    async fn look_up_again(
        &self,
        app: LookedUp,
        app_id: &AppId,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<LookedUp, Rejection> {
        let time = self.time();
        match app.is_old(time) {
            true => Box::pin(self.look_up(app_id, time, recorder)).await,
            false => Ok(app),
        }
    }

    /// If the app is looked up again, the key that signed must still be active.
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

    fn read_form<'r>(
        &self,
        request: HeadAndQuery<'r>,
        form: Option<&'r Bytes>,
    ) -> Result<CanonicalRequest<'r>, Rejection> {
        let Some(form) = form else {
            return Ok(request.without_form());
        };
        let request = request.read_form(self.limits.parameters(), form)?;
        self.refuse_empty(request.form().had_empty(), "form")?;
        // Nothing would be left of these bytes. A form without bytes has lost nothing.
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
        // Nothing that was let in before has a longer lifetime.
        let hold = match self.nonces.is_persistent() {
            true => self.tolerance.saturating_add(self.membership.retention()),
            false => 0,
        };
        self.clock.read(Duration::from_secs(hold))
    }

    /// For this timestamp. `started_at` is when the nonces of the store began to be remembered, in Unix seconds.
    fn window(&self, started_at: u64, timestamp: Timestamp) -> Window {
        let not_before = match (self.nonces.is_persistent(), self.strict_restart) {
            (true, _) => 0,
            (false, false) => started_at,
            // As many seconds after the start as a timestamp may lie ahead of any verifier.
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
