//! One call of [`Sign`](super::Sign): a request is signed and sent, and a refusal is read. After a refused timestamp,
//! the clock is corrected and the request is signed and sent once more.

use std::{future::poll_fn, mem, time::Duration};

use tower_service::Service;

use super::{
    Refusal, SendError,
    correction::{ClockCorrection, OffsetUpdate, corrected, corrected_at},
};
use crate::{
    event::{self, catch_panics},
    protocol::{BoxError, Explanation, SentRequest, SignError, SignErrorKind, Signer, Timestamp},
};

/// A request for a client, which is signed and sent.
pub(super) trait Exchange: Send {
    type Response: Send;

    /// Signs the request, sends it, and reads a refusal. `keeps` is whether the request may be sent again afterwards.
    fn attempt(
        &mut self,
        signer: &Signer,
        timestamp: Timestamp,
        keeps: bool,
    ) -> impl Future<Output = Result<Answer<Self::Response>, SendError>> + Send;

    /// Whether the request can be kept. Its body is in memory then.
    fn can_be_kept(&self) -> bool;

    /// Whether the method only reads: GET or HEAD.
    fn is_safe(&self) -> bool;

    /// Whether the response comes over TLS.
    fn is_tls(&self) -> bool;

    /// Puts the refusal into the extensions of the response.
    fn attach(response: &mut Self::Response, refusal: Refusal);
}

/// The result of an attempt.
pub(super) struct Answer<T> {
    pub(super) response: T,
    pub(super) refusal: Option<Refusal>,
    /// The client's clock when the head of the response arrived.
    pub(super) received: Duration,
    /// The string that was signed, with a placeholder for the key.
    pub(super) signed: Vec<u8>,
    /// What checks the signature of the response.
    pub(super) sent: SentRequest,
}

/// A response whose signature is to be checked.
pub(super) struct Unchecked<T> {
    pub(super) response: T,
    pub(super) sent: SentRequest,
    /// The corrected clock when the head of the response arrived.
    pub(super) received: Timestamp,
}

/// Signs and sends a request once, and never again: a refusal that is not signed says nothing about it. A refused timestamp
/// corrects the clock for later requests.
pub(super) async fn exchange_once<E: Exchange>(
    mut exchange: E,
    signer: &Signer,
    correction: &ClockCorrection,
) -> Result<Unchecked<E::Response>, SendError> {
    let is_tls = exchange.is_tls();
    let offset = correction.offset(is_tls);
    let answer = exchange.attempt(signer, corrected(&*signer.clock, offset)?, false).await?;
    let received = corrected_at(answer.received, offset)?;
    let response = match answer.refusal {
        Some(refusal) => {
            let (refusal, update) = learn(refusal, answer.received, offset, correction, is_tls);
            let refusal = if update.is_some() { refusal.with_corrected_clock() } else { refusal };
            refused::<E>(answer.response, refusal, &answer.signed, signer)
        }
        None => answer.response,
    };
    Ok(Unchecked { response, sent: answer.sent, received })
}

/// Learns the offset of the clock from a refusal that was received at this time, of a request with this offset.
fn learn(
    refusal: Refusal,
    received: Duration,
    offset: i64,
    correction: &ClockCorrection,
    is_tls: bool,
) -> (Refusal, Option<OffsetUpdate>) {
    let refusal = refusal.measured_at(received, offset);
    let update = refusal.clock_offset().and_then(|measured| correction.update(measured, offset, is_tls));
    if let Some(update) = &update {
        catch_panics(|| event::clock_corrected(update.offset()));
    }
    (refusal, update)
}

/// Signs and sends a request.
pub(super) async fn exchange<E: Exchange>(
    mut exchange: E,
    signer: &Signer,
    correction: &ClockCorrection,
) -> Result<E::Response, SendError> {
    let (is_tls, is_safe) = (exchange.is_tls(), exchange.is_safe());
    let offset = correction.offset(is_tls);
    // Without TLS, anybody on the way can refuse a request that the service has carried out.
    let keeps = correction.is_on() && exchange.can_be_kept() && (is_tls || is_safe);
    let answer = exchange.attempt(signer, corrected(&*signer.clock, offset)?, keeps).await?;
    let Some(refusal) = answer.refusal else { return Ok(answer.response) };
    let (refusal, update) = learn(refusal, answer.received, offset, correction, is_tls);
    let Some(update) = update else {
        return Ok(refused::<E>(answer.response, refusal, &answer.signed, signer));
    };
    let timestamp = corrected(&*signer.clock, update.offset());
    let (true, Ok(timestamp)) = (keeps, timestamp) else {
        return Ok(refused::<E>(answer.response, refusal.with_corrected_clock(), &answer.signed, signer));
    };
    drop(answer.response);
    let answer = exchange.attempt(signer, timestamp, false).await?;
    let Some(refusal) = answer.refusal else { return Ok(answer.response) };
    let refusal = refusal.measured_at(answer.received, update.offset());
    if refusal.clock_offset().is_some() {
        correction.revert(&update);
    }
    Ok(refused::<E>(answer.response, refusal, &answer.signed, signer))
}

fn refused<E: Exchange>(mut response: E::Response, refusal: Refusal, signed: &[u8], signer: &Signer) -> E::Response {
    let refusal = match refusal.string_to_sign() {
        Some(_) => refusal.compared_with(&Explanation::of_text(signer.scheme(), signed)),
        None => refusal,
    };
    if let Some((comparison, cause)) =
        refusal.comparison().and_then(|comparison| comparison.cause().map(|cause| (comparison, cause)))
    {
        let line = comparison.difference().map_or("none", |difference| difference.line().code());
        catch_panics(|| event::signature_explained(line, cause.code(), cause.advice()));
    }
    E::attach(&mut response, refusal);
    response
}

/// The error for a request that was not kept. No caller sees it.
pub(super) fn sent_already() -> SignError {
    SignError::new(SignErrorKind::Malformed, "the request was sent already")
}

/// A client that is ready for its first call, and is polled before each later one.
pub(super) struct ReadyClient<S> {
    inner: S,
    is_ready: bool,
}

impl<S> ReadyClient<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner, is_ready: true }
    }

    pub(super) async fn call<R>(&mut self, request: R) -> Result<S::Response, SendError>
    where
        S: Service<R, Error: Into<BoxError>>,
    {
        let error = |error: S::Error| SendError::Client(error.into());
        if !mem::take(&mut self.is_ready) {
            poll_fn(|context| self.inner.poll_ready(context)).await.map_err(error)?;
        }
        self.inner.call(request).await.map_err(error)
    }
}
