use std::{
    collections::HashMap,
    convert::Infallible,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use httpsig_hyper::{
    ContentDigestType, HyperDigestError, MessageSignature, MessageSignatureReq, RequestContentDigest,
    prelude::{AlgorithmName, HttpSignatureParams, SharedKey, message_component::HttpMessageComponentId},
};

use crate::peer::{APP, KEY, Peer, Replays, TOLERANCE};

/// [`KEY`] in base64.
const BASE64: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

pub(crate) struct HttpSig {
    key: SharedKey,
    keys: HashMap<String, SharedKey>,
    of_a_head: Vec<HttpMessageComponentId>,
    of_a_body: Vec<HttpMessageComponentId>,
    replays: Replays,
}

impl HttpSig {
    pub(crate) fn new() -> Self {
        let key = || {
            let key = SharedKey::from_base64(&AlgorithmName::HmacSha256, BASE64).unwrap();
            assert!(matches!(&key, SharedKey::HmacSha256(bytes) if bytes == KEY.as_bytes()));
            key
        };
        let components = |names: &[&str]| names.iter().map(|name| (*name).try_into().unwrap()).collect();
        Self {
            key: key(),
            keys: HashMap::from([(APP.to_owned(), key())]),
            of_a_head: components(&["@method", "@path", "@query"]),
            of_a_body: components(&["@method", "@path", "@query", "content-type", "content-digest"]),
            replays: Replays::new(),
        }
    }

    fn components<B>(&self, request: &Request<B>) -> &[HttpMessageComponentId] {
        let has_body = request.headers().contains_key("content-type");
        if has_body { &self.of_a_body } else { &self.of_a_head }
    }
}

impl Peer for HttpSig {
    const NAME: &'static str = "httpsig-hyper 0.0.26";
    const SIGNED: &'static str = "method, path, query, type, body, time, nonce";
    const REPLAYS: &'static str = Replays::NAME;

    type Signed = Request<BoxBody<Bytes, HyperDigestError>>;
    type Received = Request<Full<Bytes>>;
    type Verified = Request<BoxBody<Bytes, HyperDigestError>>;

    /// The futures never wait, here and in `verify`.
    fn sign(&self, request: Request<Bytes>) -> Self::Signed {
        let mut params = HttpSignatureParams::try_new(self.components(&request)).unwrap();
        params.set_alg(&AlgorithmName::HmacSha256).set_keyid(APP).set_random_nonce();
        let request = request.map(Full::new);
        let mut request = if request.headers().contains_key("content-type") {
            request.set_content_digest(&ContentDigestType::Sha256).now_or_never().unwrap().unwrap()
        } else {
            boxed(request)
        };
        request.set_message_signature(&params, &self.key, None).now_or_never().unwrap().unwrap();
        request
    }

    fn send(signed: Self::Signed) -> Request<Bytes> {
        signed.map(|body| body.collect().now_or_never().unwrap().unwrap().to_bytes())
    }

    fn receive(request: Request<Bytes>) -> Self::Received {
        request.map(Full::new)
    }

    fn verify(&self, request: Self::Received) -> Option<Self::Verified> {
        let (_, params) = request.get_signature_params().ok()?.pop()?;
        let (id, nonce, created) = (params.keyid?, params.nonce?, params.created?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        if params.covered_components != self.components(&request) || now.abs_diff(created) > TOLERANCE.as_secs() {
            return None;
        }
        let key = self.keys.get(&id)?;
        request.verify_message_signature(key, Some(&id)).now_or_never().unwrap().ok()?;
        let request = if request.headers().contains_key("content-type") {
            request.verify_content_digest().now_or_never().unwrap().ok()?
        } else {
            boxed(request)
        };
        self.replays.is_first(format!("{id}/{nonce}")).then_some(request)
    }
}

fn boxed(request: Request<Full<Bytes>>) -> Request<BoxBody<Bytes, HyperDigestError>> {
    request.map(|body| body.map_err(|never: Infallible| match never {}).boxed())
}
