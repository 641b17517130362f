//! The interface of a peer, and a check of its behavior.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri};
use moka::sync::Cache;

use crate::rig::time;

pub(crate) const APP: &str = "demo";
pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef";

pub(crate) const TOLERANCE: Duration = Duration::from_secs(300);

pub(crate) trait Peer {
    /// The name and version.
    const NAME: &'static str;

    /// The signed parts of a request.
    const SIGNED: &'static str;

    /// The component that rejects replays.
    const REPLAYS: &'static str;

    /// Whether a change of the path or the query is rejected.
    const SIGNS_TARGET: bool = true;

    /// A signed request before sending.
    type Signed;

    /// A request in the form that the peer gets from a server.
    type Received;

    /// An accepted request.
    type Verified;

    /// Signs with the current time and a unique nonce or id.
    fn sign(&self, request: Request<Bytes>) -> Self::Signed;

    /// Converts to the bytes on the wire. Not measured.
    fn send(signed: Self::Signed) -> Request<Bytes>;

    /// Not measured.
    fn receive(request: Request<Bytes>) -> Self::Received;

    /// Returns `None` if the request is rejected for its signature, its time, or as a replay.
    fn verify(&self, request: Self::Received) -> Option<Self::Verified>;
}

/// The times to sign and to verify `count` requests.
pub(crate) fn turn<P: Peer>(peer: &P, unsigned: &Request<Bytes>, count: usize) -> [Duration; 2] {
    let (sign, signed) = time(vec![unsigned.clone(); count], |request| peer.sign(request));
    let received: Vec<_> = signed.into_iter().map(|signed| P::receive(P::send(signed))).collect();
    let (verify, verified) = time(received, |request| peer.verify(request));
    assert!(verified.iter().all(Option::is_some));
    [sign, verify]
}

/// Checks that the peer accepts a request, and rejects replays and changes.
pub(crate) fn check<P: Peer>(peer: &P, unsigned: &Request<Bytes>) -> [&'static str; 3] {
    let signed = || P::send(peer.sign(unsigned.clone()));
    let accepts = |request| peer.verify(P::receive(request)).is_some();

    let request = signed();
    assert!(accepts(request.clone()), "{}: a request was rejected", P::NAME);
    assert!(!accepts(request), "{}: a replay was accepted", P::NAME);

    let mut changed = signed();
    if changed.method() == Method::POST {
        *changed.body_mut() = [b"{", &changed.body()[1..changed.body().len() - 1], b" "].concat().into();
        assert!(!accepts(changed), "{}: a changed body was accepted", P::NAME);
    }
    let mut changed = signed();
    let other = changed.uri().to_string().replace("orders", "orderz").replace("BUY", "SELL");
    *changed.uri_mut() = other.parse::<Uri>().unwrap();
    assert_eq!(!accepts(changed), P::SIGNS_TARGET, "{}: a changed target", P::NAME);
    // The rejected requests must not count as replays of valid ones.
    assert!(accepts(signed()), "{}: a request was rejected", P::NAME);
    [P::NAME, P::SIGNED, P::REPLAYS]
}

/// The replay check for peers without one.
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

/// 32 random hex digits.
pub(crate) fn random() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).unwrap();
    hex::encode(bytes)
}
