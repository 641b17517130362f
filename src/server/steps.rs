//! What the steps of `Verifier::decide` do.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, request::Parts};
use http_body::Body;

use crate::{
    collect::{AtOnce, look_at_once},
    protocol::{
        AppId, Authentic, CanonicalRequest, Claim, Explanation, Head, HeadAndQuery, ParameterPolicy, PendingNonce,
        Rejection, SentRequest, Signer, StringToSign, Timestamp, Window,
    },
    server::{
        app_lookup::LookedUp,
        body::{
            admitted::AdmittedBody,
            check::Length,
            deadline::Deadline,
            incoming::{IncomingBody, UnreadBody, read, unreadable},
            request::RequestBody,
        },
        caller::Caller,
        forward::signed_uri,
        head,
        non_decreasing_clock::Time,
        outcome::OutcomeRecorder,
        signed::slot::{ResponseSigner, ResponseSlot},
        verifier::Verifier,
    },
    store::{KeyStore, NonceStore},
};

impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
    pub(super) fn read_head<'r>(
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
    pub(super) async fn look_up(
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
    pub(super) async fn read_form<B: RequestBody>(
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
    pub(super) async fn read_body<B: RequestBody>(
        &self,
        body: UnreadBody<B>,
        app: LookedUp,
        caller: Caller,
        arrived: Time,
        slot: Option<&ResponseSlot>,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<(AdmittedBody, Caller), Rejection> {
        let body = body.check(&self.scheme, self.body_budget.share(Some(caller.app_id())));
        let body = self.deadline(self.limits.body_timeout(), arrived).wait_for(body).await?;
        Ok((body, self.check_key_again(app, caller, slot, recorder).await?.1))
    }

    /// Adds the string to sign to the rejection of an invalid signature, if anybody reads it.
    pub(super) fn explain(
        &self,
        string: &StringToSign<'_>,
        rejection: Rejection,
        recorder: &OutcomeRecorder<'_>,
    ) -> Rejection {
        match self.explanations || recorder.has_hook() {
            true => rejection.explained(Explanation::of(&self.scheme, string).to_string(), self.explanations),
            false => rejection,
        }
    }

    /// Keeps the key that signed, so that it can sign the response.
    pub(super) fn prepare_response(
        &self,
        slot: &ResponseSlot,
        authentic: &Authentic<'_>,
        app: &LookedUp,
        method: &Method,
    ) {
        if let Some(signer) = app.keys().and_then(|keys| Signer::of_authentic(authentic, keys, &self.scheme)) {
            let sent = SentRequest::new(authentic.sign(), method);
            slot.prepare(ResponseSigner { signer, sent, clock: self.clock.clone(), hold: self.hold() });
        }
    }

    /// Claims the nonce. `check` checks the timestamp again, at a later time in Unix seconds.
    pub(super) async fn claim_nonce(
        &self,
        pending: PendingNonce,
        check: impl FnOnce(Timestamp, u64) -> Result<(), Rejection> + Send,
        app: &LookedUp,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<Caller, Rejection> {
        let timer = recorder.start_timer();
        let unrepeated = pending.claim(&*self.nonces, move |timestamp| check(timestamp, self.time().now)).await;
        let caller = unrepeated.map(|unrepeated| Caller::new(unrepeated, app.data()));
        recorder.record_nonce_claim(timer, &*self.nonces, &caller);
        caller
    }

    /// Looks up the app again if the earlier lookup is too old. The key that signed must still be active then. Otherwise the
    /// response is not signed with it.
    pub(super) async fn check_key_again(
        &self,
        earlier: LookedUp,
        caller: Caller,
        slot: Option<&ResponseSlot>,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<(LookedUp, Caller), Rejection> {
        let time = self.time();
        if !earlier.is_old(time) {
            return Ok((earlier, caller));
        }
        let app = Box::pin(self.look_up(caller.app_id(), time, recorder)).await;
        let checked = app.and_then(|app| app.with_current_app(caller, &earlier).map(|caller| (app, caller)));
        let (app, caller) = checked.inspect_err(|_| ResponseSlot::clear(slot))?;
        recorder.record_caller(&caller);
        Ok((app, caller))
    }

    fn deadline(&self, timeout: Duration, arrived: Time) -> Deadline<impl Fn() -> Duration + Send> {
        Deadline::new(timeout, move || self.time().since(&arrived))
    }

    pub(super) fn read_query<'r>(&self, head: &'r Head<'r>) -> Result<HeadAndQuery<'r>, Rejection> {
        let request = head.read_query(&self.scheme, self.limits.parameters())?;
        self.refuse_empty(request.query().had_empty(), "query")?;
        Ok(request)
    }

    pub(super) fn with_form<'r>(
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

    pub(super) fn time(&self) -> Time {
        self.clock.read(self.hold())
    }

    /// How long the clock does not go back.
    pub(super) fn hold(&self) -> Duration {
        // No accepted request has a longer lifetime.
        Duration::from_secs(match self.nonces.is_persistent() {
            true => self.tolerance.saturating_add(self.membership.retention()),
            false => 0,
        })
    }

    /// Returns the window for this timestamp, at the time `at`.
    pub(super) fn window(&self, at: Time, timestamp: Timestamp) -> Window {
        let not_before = match (self.nonces.is_persistent(), self.strict_restart) {
            (true, _) => 0,
            (false, false) => at.nonces_since,
            // A timestamp can be ahead of any verifier's clock by at most this many seconds.
            (false, true) => at.nonces_since.saturating_add(self.membership.retention()),
        };
        let memory = self.membership.memory_of(timestamp.unix_seconds());
        Window::new(self.tolerance).with_not_before(not_before).with_memory(memory)
    }
}
