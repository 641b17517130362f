//! Step 7 of a share link: its grant.

#[cfg(feature = "tokens")]
mod checked {
    use crate::{
        protocol::{AppId, GrantToken, Rejection, RejectionKind},
        server::{
            link::opened::FoundGrant, non_decreasing_clock::Time, outcome::OutcomeRecorder, token_source::TokenSource,
            verifier::Verifier,
        },
        store::{KeyStore, NonceStore},
    };

    impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
        /// Finds the grant of a link. It must be of the app that signed the link. The response to any other grant is
        /// `invalid_token`, without a reason and without a challenge for tokens.
        pub(in crate::server) async fn find_grant(
            &self,
            app_id: &AppId,
            grant: &GrantToken,
            time: Time,
            recorder: &mut OutcomeRecorder<'_>,
        ) -> Result<FoundGrant, Rejection> {
            let Some(TokenSource::Issued(tokens)) = &self.tokens else {
                return Err(Rejection::new(
                    RejectionKind::Misconfigured,
                    "a link has a grant, and the verifier has no token store: give it Verifier::with_tokens",
                ));
            };
            let timer = recorder.start_timer();
            let answer = tokens.find_grant(app_id, grant, time.now).await;
            recorder.record_token_call(timer, &answer);
            answer.map_err(Rejection::unavailable)?.ok_or_else(Rejection::invalid_token)
        }
    }
}

#[cfg(not(feature = "tokens"))]
mod unchecked {
    use crate::{
        protocol::{AppId, GrantToken, Rejection, RejectionKind},
        server::{link::opened::FoundGrant, non_decreasing_clock::Time, outcome::OutcomeRecorder, verifier::Verifier},
        store::{KeyStore, NonceStore},
    };

    impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
        /// No grant is found without a token store.
        #[expect(clippy::unused_async, reason = "with tokens, a store is asked")]
        pub(in crate::server) async fn find_grant(
            &self,
            _: &AppId,
            _: &GrantToken,
            _: Time,
            _: &mut OutcomeRecorder<'_>,
        ) -> Result<FoundGrant, Rejection> {
            let detail = "a link has a grant, and countersign was built without the feature tokens";
            Err(Rejection::new(RejectionKind::Misconfigured, detail))
        }
    }
}
