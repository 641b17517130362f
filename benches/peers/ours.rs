use bytes::Bytes;
use countersign::{
    Signer, StaticKeys, Verifier,
    server::{ServiceBody, UnverifiedBody},
};
use futures_util::FutureExt;
use http::Request;
use http_body_util::Full;

use crate::{peer::Peer, rig};

pub(crate) struct Ours {
    signer: Signer,
    verifier: Verifier<StaticKeys>,
}

impl Ours {
    pub(crate) fn new() -> Self {
        let keys = StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap();
        Self { signer: rig::signer(), verifier: Verifier::new(keys) }
    }
}

impl Peer for Ours {
    const NAME: &'static str = "countersign";
    const SIGNED: &'static str = "method, path, parameters, type, body, time, nonce";
    const REPLAYS: &'static str = "its own";

    type Signed = Request<Bytes>;
    type Received = Request<UnverifiedBody>;
    type Verified = Request<ServiceBody>;

    fn sign(&self, request: Request<Bytes>) -> Self::Signed {
        self.signer.sign(request).unwrap()
    }

    fn send(signed: Self::Signed) -> Request<Bytes> {
        signed
    }

    fn receive(request: Request<Bytes>) -> Self::Received {
        request.map(|body| UnverifiedBody::new(Full::new(body)))
    }

    /// The future never waits.
    fn verify(&self, request: Self::Received) -> Option<Self::Verified> {
        self.verifier.verify(request).now_or_never().unwrap().ok()
    }
}
