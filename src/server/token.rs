//! Steps 7 and 9b: the token of a request.

#[cfg(feature = "tokens")]
mod checked {
    use futures_util::future::join;

    use crate::{
        protocol::{
            AppId, Challenge, PendingNonce, Rejection, Scheme, SignedBy, SignedFields, Token, TokenLocation, Window,
        },
        server::{
            app_lookup::{LookedUp, MAX_AGE},
            caller::Caller,
            non_decreasing_clock::Time,
            outcome::OutcomeRecorder,
            signed::slot::ResponseSlot,
            token_source::{LiveToken, TokenSource},
            verifier::Verifier,
        },
        store::{KeyStore, NonceStore, StoreError},
        token::{self, TokenKind},
    };

    /// A token that was live at step 7.
    pub(in crate::server) struct FoundToken {
        live: LiveToken,
        found: Time,
    }

    impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
        /// Whether a key that is derived from a key of the app and a token may sign.
        pub(in crate::server) fn takes_session_keys(&self) -> bool {
            matches!(&self.tokens, Some(TokenSource::Issued(tokens)) if tokens.takes_session_keys())
        }

        /// Finds the token of a request, if this verifier checks tokens. `is_body_checked_first` says whether the body is
        /// checked before the service gets it.
        pub(in crate::server) async fn find_token(
            &self,
            app_id: &AppId,
            token: &Token,
            is_body_checked_first: bool,
            time: Time,
            recorder: &mut OutcomeRecorder<'_>,
        ) -> Result<Option<FoundToken>, Rejection> {
            let Some(source) = &self.tokens else { return Ok(None) };
            let live = self.look_up_token(source, app_id, token, time, recorder).await?;
            FoundToken::new(live, is_body_checked_first, time).map(Some)
        }

        /// Whether the token is looked for while the nonce is claimed, so that the commands to a shared store travel together.
        /// With a session key they do not: a user who was logged out could then still fill the room of the app.
        pub(in crate::server) fn sends_token_and_nonce_together(&self, signed: &SignedFields) -> bool {
            self.nonces.is_persistent()
                && matches!(&self.tokens, Some(TokenSource::Issued(_)))
                && signed.token().is_some()
                && signed.signed_by() == SignedBy::AppKey
        }

        /// Finds the token and claims the nonce at the same time. The token is judged first.
        pub(in crate::server) async fn find_token_and_claim(
            &self,
            pending: PendingNonce,
            is_body_checked_first: bool,
            window: &Window,
            time: Time,
            app: &LookedUp,
            recorder: &mut OutcomeRecorder<'_>,
        ) -> Result<(Option<FoundToken>, Caller), Rejection> {
            let fields = pending.fields();
            let (Some(source), Some(token)) = (&self.tokens, fields.token.token()) else {
                return Ok((
                    None,
                    self.claim_nonce(pending, |timestamp, now| window.check(timestamp, now), app, recorder).await?,
                ));
            };
            let timer = recorder.start_timer();
            let clock = || timer.map(|_| self.clock.monotonic());
            let look_up = async {
                let answer = source.look_up(&fields.app_id, token, time.now).await;
                (answer, clock())
            };
            let (claim, (answer, answered)) =
                join(self.claim_nonce(pending, |timestamp, now| window.check(timestamp, now), app, recorder), look_up)
                    .await;
            recorder.record_token_call_until(timer, answered, &answer);
            let live = self.judge(answer)?;
            Ok((Some(FoundToken::new(live, is_body_checked_first, time)?), claim?))
        }

        /// Spends a token that is accepted once, or records the use of a session. If much time has passed, the token is
        /// found again before. `has_waited` is whether time may have passed. Returns the caller with its session.
        pub(in crate::server) async fn use_token(
            &self,
            token: FoundToken,
            caller: Caller,
            has_waited: bool,
            slot: Option<&ResponseSlot>,
            recorder: &mut OutcomeRecorder<'_>,
        ) -> Result<Caller, Rejection> {
            let FoundToken { live, found } = token;
            let time = if has_waited { self.time() } else { found };
            let is_old = time.since(&found) > MAX_AGE;
            // Most tokens have nothing to write.
            let live = match !is_old && self.is_use_recorded(&live, time.now) {
                true => live,
                false => Box::pin(self.write_use(live, is_old, &caller, time, slot, recorder)).await?,
            };
            let caller = match live {
                LiveToken::Issued { session, .. } => caller.with_session(session),
                LiveToken::Other(token) => caller.with_checked_token(token),
            };
            recorder.record_caller(&caller);
            Ok(caller)
        }

        /// Whether the use of a token has nothing to write.
        fn is_use_recorded(&self, live: &LiveToken, now: u64) -> bool {
            match (live, &self.tokens) {
                (LiveToken::Issued { session, is_unused_successor }, Some(TokenSource::Issued(tokens))) => {
                    // A verifier that only reports spends and prolongs nothing.
                    !self.observer.is_enforced() || tokens.is_use_recorded(session, *is_unused_successor, now)
                }
                _ => true,
            }
        }

        async fn write_use(
            &self,
            mut live: LiveToken,
            is_old: bool,
            caller: &Caller,
            time: Time,
            slot: Option<&ResponseSlot>,
            recorder: &mut OutcomeRecorder<'_>,
        ) -> Result<LiveToken, Rejection> {
            let (Some(source), Some(text)) = (&self.tokens, caller.token()) else { return Ok(live) };
            if is_old {
                // 9a: a refusal is not signed.
                let again = self.look_up_token(source, caller.app_id(), text, time, recorder).await;
                live = again.inspect_err(|_| ResponseSlot::clear(slot))?;
            }
            if self.is_use_recorded(&live, time.now) {
                return Ok(live);
            }
            if let (LiveToken::Issued { session, .. }, TokenSource::Issued(tokens)) = (&live, source) {
                let timer = recorder.start_timer();
                let answer = tokens.use_token(text, session, time.now).await;
                recorder.record_token_call(timer, &answer);
                if !token::is_live(session, answer)? {
                    return Err(invalid(&self.scheme));
                }
            }
            Ok(live)
        }

        async fn look_up_token(
            &self,
            source: &TokenSource,
            app_id: &AppId,
            token: &Token,
            time: Time,
            recorder: &mut OutcomeRecorder<'_>,
        ) -> Result<LiveToken, Rejection> {
            let timer = recorder.start_timer();
            let answer = source.look_up(app_id, token, time.now).await;
            recorder.record_token_call(timer, &answer);
            self.judge(answer)
        }

        fn judge(
            &self,
            answer: Result<Result<LiveToken, Option<&'static str>>, StoreError>,
        ) -> Result<LiveToken, Rejection> {
            answer.map_err(Rejection::unavailable)?.map_err(|reason| invalid(&self.scheme).with_reason(reason))
        }
    }

    impl FoundToken {
        /// Rejects a token of a kind that this request cannot have.
        fn new(live: LiveToken, is_body_checked_first: bool, found: Time) -> Result<Self, Rejection> {
            let kind = match &live {
                LiveToken::Issued { session, .. } => session.kind(),
                LiveToken::Other(_) => return Ok(Self { live, found }),
            };
            match kind {
                TokenKind::Bearer => Err(Rejection::token_not_allowed(
                    "this token is for routes without a signature: use another one for signed requests",
                )),
                TokenKind::OneTime if !is_body_checked_first => Err(Rejection::token_not_allowed(
                    "this route takes bodies before they are checked, and a token that is accepted once would be spent by a \
                     wrong one",
                )),
                _ => Ok(Self { live, found }),
            }
        }
    }

    fn invalid(scheme: &Scheme) -> Rejection {
        Rejection::invalid_token().with_challenge(match scheme.token_location() {
            TokenLocation::Bearer => Challenge::SignatureAndBearer,
            _ => Challenge::Signature,
        })
    }
}

#[cfg(not(feature = "tokens"))]
mod unchecked {
    use crate::{
        protocol::{AppId, PendingNonce, Rejection, SignedFields, Token, Window},
        server::{
            app_lookup::LookedUp, caller::Caller, non_decreasing_clock::Time, outcome::OutcomeRecorder,
            signed::slot::ResponseSlot, verifier::Verifier,
        },
        store::{KeyStore, NonceStore},
    };

    pub(in crate::server) struct FoundToken;

    impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
        pub(in crate::server) fn takes_session_keys(&self) -> bool {
            false
        }

        #[expect(clippy::unused_async, reason = "with tokens, a store is asked")]
        pub(in crate::server) async fn find_token(
            &self,
            _: &AppId,
            _: &Token,
            _: bool,
            _: Time,
            _: &mut OutcomeRecorder<'_>,
        ) -> Result<Option<FoundToken>, Rejection> {
            Ok(None)
        }

        pub(in crate::server) fn sends_token_and_nonce_together(&self, _: &SignedFields) -> bool {
            false
        }

        pub(in crate::server) async fn find_token_and_claim(
            &self,
            pending: PendingNonce,
            _: bool,
            window: &Window,
            _: Time,
            app: &LookedUp,
            recorder: &mut OutcomeRecorder<'_>,
        ) -> Result<(Option<FoundToken>, Caller), Rejection> {
            Ok((None, self.claim_nonce(pending, |timestamp, now| window.check(timestamp, now), app, recorder).await?))
        }

        #[expect(clippy::unused_async, reason = "with tokens, a store is asked")]
        pub(in crate::server) async fn use_token(
            &self,
            _: FoundToken,
            caller: Caller,
            _: bool,
            _: Option<&ResponseSlot>,
            _: &mut OutcomeRecorder<'_>,
        ) -> Result<Caller, Rejection> {
            Ok(caller)
        }
    }
}
