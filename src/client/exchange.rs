//! One call of [`Sign`](super::Sign): a request is signed and sent, and a refusal is read. After a refused timestamp,
//! the clock is corrected and the request is signed and sent once more.

use super::{
    Refusal, SendError,
    correction::{ClockCorrection, corrected},
};
use crate::{
    event::{self, catch_panics},
    protocol::{Explanation, RejectionKind, SignError, Signer, Timestamp},
};

/// A request for a client, which is signed and sent.
pub(super) trait Exchange: Send {
    type Response: Send;

    /// Signs the request. A second call replaces the signature.
    fn sign(&mut self, signer: &Signer, timestamp: Timestamp) -> Result<(), SignError>;

    /// Sends the signed request, and reads a refusal.
    fn send(&mut self) -> impl Future<Output = Result<(Self::Response, Option<Refusal>), SendError>> + Send;

    /// Whether the request can be sent once more. Its body is in memory then.
    fn can_repeat(&self) -> bool;

    /// Whether the response comes over TLS.
    fn is_tls(&self) -> bool;

    /// The string to sign of the signed request.
    fn explanation(&self, signer: &Signer) -> Option<Explanation>;

    /// Puts the refusal into the extensions of the response.
    fn attach(response: &mut Self::Response, refusal: Refusal);
}

/// Signs and sends a request.
pub(super) async fn exchange<E: Exchange>(
    mut exchange: E,
    signer: &Signer,
    correction: &ClockCorrection,
) -> Result<E::Response, SendError> {
    let offset = correction.offset();
    let (response, refusal) = attempt(&mut exchange, signer, offset).await?;
    let Some(refusal) = refusal else { return Ok(response) };
    let lesson = stale(&refusal).and_then(|learned| correction.learn(learned, offset, exchange.is_tls()));
    let Some(lesson) = lesson else {
        return Ok(refused(&exchange, response, refusal, signer));
    };
    catch_panics(|| event::clock_corrected(lesson.offset()));
    if !exchange.can_repeat() {
        return Ok(refused(&exchange, response, refusal.with_corrected_clock(), signer));
    }
    drop(response);
    let (response, refusal) = attempt(&mut exchange, signer, lesson.offset()).await?;
    let Some(refusal) = refusal else { return Ok(response) };
    if stale(&refusal).is_some() {
        correction.unlearn(&lesson);
    }
    Ok(refused(&exchange, response, refusal, signer))
}

async fn attempt<E: Exchange>(
    exchange: &mut E,
    signer: &Signer,
    offset: i64,
) -> Result<(E::Response, Option<Refusal>), SendError> {
    exchange.sign(signer, corrected(&*signer.clock, offset)?)?;
    let (response, refusal) = exchange.send().await?;
    Ok((response, refusal.map(|refusal| measured(refusal, signer))))
}

/// Adds the verifier's clock minus this one.
fn measured(refusal: Refusal, signer: &Signer) -> Refusal {
    let now = i64::try_from(signer.clock.wall().as_secs()).ok();
    let server_time = refusal.server_time().and_then(|time| i64::try_from(time).ok());
    match server_time.zip(now).and_then(|(server_time, now)| server_time.checked_sub(now)) {
        Some(offset) => refusal.with_clock_offset(offset),
        None => refusal,
    }
}

/// The offset of the clock, if the timestamp was refused.
fn stale(refusal: &Refusal) -> Option<i64> {
    refusal.clock_offset().filter(|_| refusal.kind() == Some(RejectionKind::StaleTimestamp))
}

fn refused<E: Exchange>(exchange: &E, mut response: E::Response, refusal: Refusal, signer: &Signer) -> E::Response {
    let explanation = refusal.string_to_sign().and_then(|_| exchange.explanation(signer));
    let refusal = match explanation {
        Some(signed) => refusal.compared_with(&signed),
        None => refusal,
    };
    if refusal.comparison().is_some() {
        catch_panics(|| event::signature_explained(&refusal));
    }
    E::attach(&mut response, refusal);
    response
}
