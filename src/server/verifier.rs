//! The verifier: it takes a request and returns the request that may reach the service.

use std::{fmt, sync::Arc, time::Duration};

use http::{Request, request::Parts};

#[cfg(feature = "submissions")]
use crate::server::signed_submission::SignedSubmission;
use crate::{
    clock::{Clock, SystemClock},
    protocol::{Limits, ParameterPolicy, Rejection, Scheme},
    server::{
        body::{
            admitted::{AdmittedBody, BodyVerdict},
            budget::ByteBudget,
            incoming::{BodyCheck, BodyMode, IncomingBody},
            request::RequestBody,
        },
        bypass::Bypass,
        forward::{ForwardedRequest, hide_secrets},
        link::options::Links,
        non_decreasing_clock::NonDecreasingClock,
        outcome::{Observer, OutcomeRecorder},
        signed::slot::ResponseSlot,
    },
    store::{KeyStore, Membership, MemoryNonceStore, NonceStore, retention},
};

/// Accepts only requests that are signed, fresh and not repeated.
///
/// [`VerifyLayer`](crate::VerifyLayer) wraps a verifier for tower services. To verify a request yourself, call
/// [`verify`](Self::verify). Clones share the stores, the clock and the memory limits of bodies.
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
    /// Whether to reject all timestamps that the last process may have accepted.
    pub(super) strict_restart: bool,
    /// The retention that the service has set, if it has set one.
    pub(super) retention: Option<Duration>,
    pub(super) scheme: Arc<Scheme>,
    /// The tolerance, in seconds.
    pub(super) tolerance: u64,
    pub(super) limits: Limits,
    pub(super) parameters: ParameterPolicy,
    /// The start of the path that a proxy removes.
    pub(super) prefix: Arc<str>,
    pub(super) body_mode: BodyMode,
    pub(super) form_budget: Arc<ByteBudget>,
    pub(super) body_budget: Arc<ByteBudget>,
    pub(super) bypass: Option<Bypass>,
    /// How share links are answered, if they are accepted.
    pub(super) links: Option<Links>,
    /// Whether the caller gets the string to sign if its signature is invalid.
    pub(super) explanations: bool,
    #[cfg(feature = "tokens")]
    pub(super) tokens: Option<crate::server::token_source::TokenSource>,
    /// Whether requests get what a [`SubmitOnceLayer`](crate::submission::SubmitOnceLayer) needs.
    #[cfg(feature = "submissions")]
    pub(super) fingerprints: bool,
    pub(super) observer: Arc<Observer>,
}

/// The default tolerance, in seconds.
const TOLERANCE: u64 = 300;

impl<K: KeyStore> Verifier<K> {
    /// Makes a verifier with the protocol's defaults: [`Scheme::new`], [`Limits::new`], a tolerance of 300 seconds, the
    /// system's clock and a new [`MemoryNonceStore`].
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
            links: None,
            explanations: false,
            #[cfg(feature = "tokens")]
            tokens: None,
            #[cfg(feature = "submissions")]
            fingerprints: false,
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
    /// The verifier removes unsigned parameters and override headers, checks the body, and inserts the
    /// [`Caller`](super::Caller) into the extensions. If you drop the future while the nonce is claimed, the nonce may
    /// be used up. The client must then sign again.
    ///
    /// # Errors
    ///
    /// Returns a [`Rejection`] of one of the [kinds](crate::RejectionKind). The verifier stores nothing about a request
    /// without a valid signature. Before it has checked the signature, it reads no body except a form.
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
            // A place for the key that signs the response, if a `SignResponsesLayer` is above (server/signed/slot.rs).
            let slot = ResponseSlot::take_from(&mut parts.extensions);
            let body = self.decide(&mut parts, body, slot.as_ref(), &mut recorder).await;
            recorder.finish(body.as_ref().err());
            body.map(|mut body| {
                let verdict = body.take_verdict();
                result(Admission { request: Request::from_parts(parts, B::from_admitted(body)), verdict })
            })
        }
    }

    /// Runs the ten steps of PROTOCOL.md. Each comment has the number of a step and the files, in `src`, with its code.
    /// The methods of `self`, which call them, are in `server/steps.rs`, and those of steps 7 and 9b in
    /// `server/token.rs`.
    async fn decide<B: RequestBody>(
        &self,
        parts: &mut Parts,
        body: B,
        slot: Option<&ResponseSlot>,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<AdmittedBody, Rejection> {
        // Mark secrets as sensitive first, so that they stay out of logs on every path.
        hide_secrets(&self.scheme, &mut parts.headers);
        if self.bypass.as_ref().is_some_and(|bypass| bypass.covers(parts)) {
            recorder.finish_bypassed();
            return Ok(Bypass::admit(parts, body));
        }
        if self.takes_as_link(parts) {
            // A share link takes the same steps (server/link/verify.rs).
            return Box::pin(self.decide_link(parts, body, recorder)).await;
        }
        let arrived = self.time();
        // The block ends the borrows of the head.
        let (body, forwarded, app, signed, window, time) = {
            // 1: the fields, the rest of the head, and the length of the body (server/head.rs, protocol/claim).
            let (claim, head, length) = self.read_head(parts, &body, arrived, recorder)?;
            // 2: the timestamp (protocol/verify/freshness.rs).
            let window = self.window(arrived, claim.timestamp());
            let timely = claim.timely(arrived.now, &window)?;
            // 3: the parameters of the query (protocol/canonical/parameters.rs).
            let head_and_query = self.read_query(&head)?;
            // 4: the app's keys (store/key.rs, server/app_lookup.rs). An unknown app is rejected at step 6.
            let app = self.look_up(timely.app_id(), arrived, recorder).await?;
            // 5: a form (server/body/incoming.rs). While it arrives, the keys may get too old.
            let (body, app) = match head.is_form() {
                true => self.read_form(body, length, app, timely.app_id(), arrived, recorder).await?,
                false => (IncomingBody::Unread(body), app),
            };
            let canonical = self.with_form(head_and_query, body.form())?;
            // 6: the signature (protocol/verify/mac.rs, over the string of protocol/canonical/string_to_sign.rs).
            let time = self.time();
            let authentic =
                timely.authenticate(canonical, app.keys(), self.takes_session_keys(), time.now, |string, error| {
                    self.explain(string, error, recorder)
                })?;
            if let Some(slot) = slot {
                self.prepare_response(slot, &authentic, &app, &parts.method);
            }
            // For step 10, while the head is borrowed (server/forward.rs).
            let form = body.form();
            let forwarded =
                ForwardedRequest::new(&authentic, &head, length, form, parts, self.parameters, &self.scheme)?;
            #[cfg(feature = "submissions")]
            let forwarded = match self.fingerprints {
                true => forwarded.with_submission(SignedSubmission::new(&authentic, &self.scheme)),
                false => forwarded,
            };
            let signed = authentic.into_signed_fields();
            (body, forwarded, app, signed, window, time)
        };
        let is_body_checked_first = self.body_mode == BodyMode::Buffered || body.form().is_some() || body.is_empty();
        let window = window.with_retention(self.membership.retention_of(signed.timestamp().unix_seconds()));
        let (token, caller) = match self.sends_token_and_nonce_together(&signed) {
            // 7 and 8 in one round trip to a shared store. The token is judged first.
            true => {
                let pending = signed.pending(time.now, time.forget, &window)?;
                Box::pin(self.find_token_and_claim(pending, is_body_checked_first, &window, time, &app, recorder))
                    .await?
            }
            false => {
                // 7: the token, if there is one (server/token.rs, token/find.rs). The store is only read.
                let token = match signed.token() {
                    Some(token) => {
                        self.find_token(signed.app_id(), token, is_body_checked_first, time, recorder).await?
                    }
                    None => None,
                };
                // 8: the timestamp again, and the nonce (protocol/verify/replay.rs, store/nonce.rs).
                let pending = signed.pending(time.now, time.forget, &window)?;
                (token, self.claim_nonce(pending, |timestamp, now| window.check(timestamp, now), &app, recorder).await?)
            }
        };
        // From here on, the response is signed.
        if let Some(slot) = slot {
            slot.open();
        }
        // 9a: the key again (server/app_lookup.rs), if the claim may have taken long. A memory store answers at once.
        let (app, caller) = match self.nonces.is_persistent() {
            true => self.check_key_again(app, caller, slot, recorder).await?,
            false => (app, caller),
        };
        // 9: the body (server/body/incoming.rs, server/body/check.rs). If it has not arrived yet, `read_body` repeats 9a.
        let mut has_waited = self.nonces.is_persistent();
        let (body, caller) = match body.check(forwarded.expectation(), self.body_mode, recorder)? {
            BodyCheck::Now(body) => (body, caller),
            BodyCheck::Unread(mut body) => match body.check_at_once().await {
                Some(body) => (body?, caller),
                None => {
                    has_waited = true;
                    Box::pin(self.read_body(body, app, caller, arrived, slot, recorder)).await?
                }
            },
        };
        // 9b: a one-time token is spent, and the use of a session is recorded (server/token.rs, token/find.rs).
        let caller = match token {
            Some(token) => self.use_token(token, caller, has_waited, slot, recorder).await?,
            None => caller,
        };
        // 10: the request for the service, with its `Caller` (server/forward.rs, server/caller.rs).
        forwarded.apply(parts, &body, caller, &self.scheme);
        Ok(body)
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
            #[cfg(feature = "tokens")]
            tokens: self.tokens.clone(),
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
            .field("explanations", &self.explanations)
            .field("links", &self.links)
            .field("has_bypass", &self.bypass.is_some())
            .field("strict_restart", &self.strict_restart)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}
