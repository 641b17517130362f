//! What is asked of each peer, and that it does it.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri};
use moka::sync::Cache;

use crate::rig::time;

pub(crate) const APP: &str = "demo";
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

pub(crate) const TOLERANCE: Duration = Duration::from_secs(300);

pub(crate) trait Peer {
    /// With its version.
    const NAME: &'static str;

    /// What of a request its signature is of.
    const SIGNED: &'static str;

    /// Who refuses replays.
    const REPLAYS: &'static str;

    /// Whether a change of the path or the query is refused.
    const SIGNS_TARGET: bool = true;

    /// A request to be sent.
    type Signed;

    /// A request as the peer takes it from a server.
    type Arrived;

    /// A request that was let in.
    type Verified;

    /// Signs for this moment, and so that no two are the same.
    fn sign(&self, request: Request<Bytes>) -> Self::Signed;

    /// Its bytes on the wire; not measured.
    fn send(signed: Self::Signed) -> Request<Bytes>;

    /// Not measured.
    fn arrive(request: Request<Bytes>) -> Self::Arrived;

    /// `None` if it is refused: by its signature, its time, or because it was there before.
    fn verify(&self, request: Self::Arrived) -> Option<Self::Verified>;
}

/// The times to sign and to verify so many.
pub(crate) fn turn<P: Peer>(peer: &P, unsigned: &Request<Bytes>, count: usize) -> [Duration; 2] {
    let (sign, signed) = time(vec![unsigned.clone(); count], |request| peer.sign(request));
    let arrived: Vec<_> = signed.into_iter().map(|signed| P::arrive(P::send(signed))).collect();
    let (verify, verified) = time(arrived, |request| peer.verify(request));
    assert!(verified.iter().all(Option::is_some));
    [sign, verify]
}

/// Sees the peer let a request in, and refuse it in each way that it should.
pub(crate) fn check<P: Peer>(peer: &P, unsigned: &Request<Bytes>) -> [&'static str; 3] {
    let signed = || P::send(peer.sign(unsigned.clone()));
    let lets_in = |request| peer.verify(P::arrive(request)).is_some();

    let request = signed();
    assert!(lets_in(request.clone()), "{}: a request was refused", P::NAME);
    assert!(!lets_in(request), "{}: a replay was let in", P::NAME);

    let mut changed = signed();
    if changed.method() == Method::POST {
        *changed.body_mut() = [b"{", &changed.body()[1..changed.body().len() - 1], b" "].concat().into();
        assert!(!lets_in(changed), "{}: a changed body was let in", P::NAME);
    }
    let mut changed = signed();
    let other = changed.uri().to_string().replace("orders", "orderz").replace("BUY", "SELL");
    *changed.uri_mut() = other.parse::<Uri>().unwrap();
    assert_eq!(!lets_in(changed), P::SIGNS_TARGET, "{}: a changed target", P::NAME);
    // Nor was anything of that remembered in place of the request.
    assert!(lets_in(signed()), "{}: a request was refused", P::NAME);
    [P::NAME, P::SIGNED, P::REPLAYS]
}

/// The replay check of those that have none.
pub(crate) struct Replays(Cache<String, ()>);

impl Replays {
    pub(crate) const NAME: &'static str = "moka";

    pub(crate) fn new() -> Self {
        Self(Cache::builder().time_to_live(2 * TOLERANCE).build())
    }

    pub(crate) fn is_first(&self, key: String) -> bool {
        self.0.entry(key).or_insert_with(|| ()).is_fresh()
    }
}

/// 32 hex digits.
pub(crate) fn random() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    hex::encode(bytes)
}
