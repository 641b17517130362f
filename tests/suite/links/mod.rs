//! Share links: presigning, each step of the verifier, the request that the service gets, and the headers of responses.

mod answers;
mod examples;
mod forwarding;
mod grants;
mod presigning;
mod properties;
mod servers;
mod steps;

use std::time::Duration;

use countersign::{
    Link, Rejection, Scheme, Signer, StaticKeys, Verifier,
    clock::ManualClock,
    server::{Links, ServiceBody},
    store::{MemoryNonceStore, NonceClaim, NonceStatus, NonceStore, Retention, StoreError},
};
use http::Request;

use crate::rig::{self, NOW};

const HOUR: Duration = Duration::from_secs(3600);

/// A nonce store in memory that says that it outlives the process, as a shared one does.
#[derive(Default)]
struct Shared(MemoryNonceStore);

impl NonceStore for Shared {
    async fn claim(&self, claim: &NonceClaim<'_>, retention: Retention) -> Result<NonceStatus, StoreError> {
        self.0.claim(claim, retention).await
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

/// A verifier that takes links. Its clock stands at [`NOW`].
fn verifier() -> (Verifier<StaticKeys, Shared>, ManualClock) {
    let (verifier, clock) = rig::verifier_on(Shared::default());
    (verifier.with_links(Links::new()), clock)
}

fn verifier_of(scheme: Scheme) -> Verifier<StaticKeys, Shared> {
    verifier().0.with_scheme(scheme)
}

/// A link that was signed at [`NOW`], for an hour.
fn link(target: &str) -> String {
    link_by(&rig::signer(), target)
}

fn link_by(signer: &Signer, target: &str) -> String {
    presigned(signer, target).sign_at(NOW.try_into().unwrap(), None).unwrap().to_string()
}

/// The same for one use.
fn one_time_link(target: &str) -> String {
    let nonce = rig::fresh_nonce();
    let link: Link = presigned(&rig::signer(), target).sign_at(NOW.try_into().unwrap(), Some(nonce)).unwrap();
    link.to_string()
}

fn presigned<'s>(signer: &'s Signer, target: &str) -> countersign::protocol::Presign<'s> {
    // Leaked, because the builder borrows the URL.
    signer.presign(Box::leak(Box::new(target.parse().unwrap())), HOUR)
}

/// Opens a link with GET.
async fn open<N: NonceStore>(
    verifier: &Verifier<StaticKeys, N>,
    link: &str,
) -> Result<Request<ServiceBody>, Rejection> {
    rig::verify(verifier, rig::get(link)).await
}

async fn code<N: NonceStore>(verifier: &Verifier<StaticKeys, N>, link: &str) -> &'static str {
    rig::code(verifier, rig::get(link)).await
}
