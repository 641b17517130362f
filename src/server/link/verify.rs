//! The steps of PROTOCOL.md for a share link.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Version, header, request::Parts};
use http_body::Body;

use super::{answer::LinkAnswer, forward::ForwardedLink, opened::OpenedLink};
use crate::{
    protocol::{Head, LinkClaim, LinkWindow, PendingLink, PendingNonce, Rejection, RejectionKind, UnreadableClaim},
    server::{
        app_lookup::LookedUp,
        body::{admitted::AdmittedBody, request::RequestBody},
        caller::Caller,
        forward::signed_uri,
        head::{check_query_length, content_length, refuse_verified},
        outcome::OutcomeRecorder,
        verifier::Verifier,
    },
    store::{KeyStore, NonceStore},
};

impl<K: KeyStore, N: NonceStore> Verifier<K, N> {
    /// Whether the request is a share link, and this verifier takes links.
    pub(in crate::server) fn takes_as_link(&self, parts: &Parts) -> bool {
        self.links.is_some() && LinkClaim::is_in(&self.scheme, signed_uri(parts), &parts.headers)
    }

    /// What the response to this caller needs, if the caller opened a link.
    pub(in crate::server) fn link_answer(&self, caller: &Caller) -> Option<LinkAnswer> {
        Some(LinkAnswer::new(self.links?, caller.link()?))
    }

    /// Verifies a share link. The numbers of the steps are those of a request.
    pub(in crate::server) async fn decide_link<B: RequestBody>(
        &self,
        parts: &mut Parts,
        body: B,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<AdmittedBody, Rejection> {
        let accept = parts.headers.get(header::ACCEPT).cloned();
        self.open_link(parts, body, recorder).await.map_err(|rejection| rejection.of_link(accept))
    }

    async fn open_link<B: RequestBody>(
        &self,
        parts: &mut Parts,
        body: B,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<AdmittedBody, Rejection> {
        let arrived = self.time();
        // The block ends the borrows of the head.
        let (forwarded, app, signed, window, grant, time) = {
            // 1: the method, the body, and the fields (protocol/claim/link.rs).
            let claim = match read(self, parts, &body) {
                Ok(claim) => claim,
                Err(unreadable) => {
                    recorder.record_partial_claim(&unreadable, arrived.now);
                    return Err(unreadable.rejection);
                }
            };
            recorder.record_claim(&claim.claim, arrived.now);
            // 2: the timestamp and the end (protocol/verify/freshness.rs).
            let (timely, window, grant) = claim.timely(arrived.now, self.tolerance)?;
            // 3: the parameters.
            let head = Head::of_link(&self.scheme, &self.prefix, signed_uri(parts));
            let head_and_query = self.read_query(&head)?;
            // 4: the app's keys.
            let app = self.look_up(timely.app_id(), arrived, recorder).await?;
            // 6: the signature, by a key of the app. Links are not explained.
            let time = self.time();
            let canonical = head_and_query.without_form();
            let authentic = timely.authenticate(canonical, app.keys(), false, time.now, |_, rejection| rejection)?;
            // For step 10, while the head is borrowed.
            let forwarded = ForwardedLink::new(&authentic, parts, self.parameters, &self.scheme)?;
            (forwarded, app, authentic.into_signed_fields(), window, grant, time)
        };
        // 7: the grant (server/link/grant.rs, token/grants.rs).
        let grant = match &grant {
            Some(grant) => Some(self.find_grant(signed.app_id(), grant, time, recorder).await?),
            None => None,
        };
        // 8: the end again, and the nonce of a link for one use (protocol/verify/replay.rs, store/nonce.rs).
        let (caller, is_one_time) = match signed.pending_link(time.now, time.forget, &window)? {
            PendingLink::Reusable(link) => (Caller::new(link, app.data()), false),
            PendingLink::Once(nonce) => {
                refuse_previews(&parts.method, &parts.headers)?;
                (self.spend_link(nonce, &window, app, recorder).await?, true)
            }
        };
        let caller = caller.with_link(OpenedLink::new(window.end(), is_one_time, grant));
        recorder.record_caller(&caller);
        // 10: the request for the service.
        forwarded.apply(parts, &self.scheme);
        parts.extensions.insert(caller);
        Ok(AdmittedBody::whole(Bytes::new()))
    }

    /// Claims the nonce of a link for one use, and checks the key again if that took long.
    async fn spend_link(
        &self,
        nonce: PendingNonce,
        window: &LinkWindow,
        app: LookedUp,
        recorder: &mut OutcomeRecorder<'_>,
    ) -> Result<Caller, Rejection> {
        if !self.nonces.is_persistent() {
            return Err(Rejection::new(
                RejectionKind::Misconfigured,
                "a link for one use needs a nonce store that outlives the process, such as RedisNonceStore: another would \
                 open the link again after a restart",
            ));
        }
        let caller = self.claim_nonce(nonce, |_, now| window.check(now), &app, recorder).await?;
        Ok(self.check_key_again(app, caller, None, recorder).await?.1)
    }
}

/// Step 1.
fn read<K, N>(verifier: &Verifier<K, N>, parts: &Parts, body: &impl Body) -> Result<LinkClaim, UnreadableClaim> {
    refuse_verified(parts)?;
    let uri = signed_uri(parts);
    check_query_length(uri, &verifier.limits)?;
    let is_websocket =
        parts.method == Method::CONNECT && parts.version >= Version::HTTP_2 && uri.path().starts_with('/');
    if !matches!(parts.method, Method::GET | Method::HEAD) && !is_websocket {
        return Err(method_not_allowed("a link takes only GET and HEAD", "GET, HEAD").into());
    }
    let headers = verifier.scheme.header_table().find_in(&parts.headers);
    let has_body = content_length(&headers)?.is_some_and(|length| length > 0) || !body.is_end_stream();
    if has_body {
        return Err(Rejection::malformed("body", "a link is opened without a body").into());
    }
    LinkClaim::read(&verifier.scheme, uri)
}

/// Refuses what does not show the link to a person: it would use the link up.
fn refuse_previews(method: &Method, headers: &HeaderMap) -> Result<(), Rejection> {
    const SEC_PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
    let is_prefetch = headers
        .get_all(SEC_PURPOSE)
        .iter()
        .any(|value| value.as_bytes().get(..8).is_some_and(|purpose| purpose.eq_ignore_ascii_case(b"prefetch")));
    match *method == Method::HEAD || is_prefetch {
        true => Err(method_not_allowed("a link for one use is opened with GET, and not fetched in advance", "GET")),
        false => Ok(()),
    }
}

fn method_not_allowed(detail: &'static str, allowed: &'static str) -> Rejection {
    Rejection::new(RejectionKind::MethodNotAllowed, detail).with_allowed_methods(allowed)
}
