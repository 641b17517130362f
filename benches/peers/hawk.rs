use std::collections::HashMap;

use bytes::Bytes;
use hawk::{Credentials, Header, Key, PayloadHasher, RequestBuilder, SHA256};
use http::{
    HeaderValue, Request,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};

use crate::peer::{APP, KEY, Peer, Replays, TOLERANCE};

pub(crate) struct Hawk {
    credentials: Credentials,
    keys: HashMap<String, Key>,
    replays: Replays,
}

impl Hawk {
    pub(crate) fn new() -> Self {
        let key = || Key::new(KEY, SHA256).unwrap();
        Self {
            credentials: Credentials { id: APP.to_owned(), key: key() },
            keys: HashMap::from([(APP.to_owned(), key())]),
            replays: Replays::new(),
        }
    }
}

impl Peer for Hawk {
    const NAME: &'static str = "hawk 5.0.1";
    const SIGNED: &'static str = "method, host, path and query, type, body, time, nonce";
    const REPLAYS: &'static str = Replays::NAME;

    type Signed = Request<Bytes>;
    type Received = Request<Bytes>;
    type Verified = Request<Bytes>;

    fn sign(&self, mut request: Request<Bytes>) -> Self::Signed {
        let hash = hash(&request);
        let header = described(&request, hash.as_deref()).make_header(&self.credentials).unwrap();
        let value = HeaderValue::try_from(format!("Hawk {header}")).unwrap();
        request.headers_mut().insert(AUTHORIZATION, value);
        request
    }

    fn send(signed: Self::Signed) -> Request<Bytes> {
        signed
    }

    fn receive(request: Request<Bytes>) -> Self::Received {
        request
    }

    fn verify(&self, request: Self::Received) -> Option<Self::Verified> {
        let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
        let header: Header = value.strip_prefix("Hawk ")?.parse().ok()?;
        let (id, nonce) = (header.id.as_deref()?, header.nonce.as_deref()?);
        let key = self.keys.get(id)?;
        let hash = hash(&request);
        let valid = described(&request, hash.as_deref()).validate_header(&header, key, TOLERANCE);
        (valid && self.replays.is_first(format!("{id}/{nonce}"))).then_some(request)
    }
}

fn described<'a>(request: &'a Request<Bytes>, hash: Option<&'a [u8]>) -> hawk::Request<'a> {
    let path = request.uri().path_and_query().unwrap().as_str();
    let host = request.headers()[HOST].to_str().unwrap();
    RequestBuilder::new(request.method().as_str(), host, 443, path).hash(hash).request()
}

/// A request without a body has no hash.
fn hash(request: &Request<Bytes>) -> Option<Vec<u8>> {
    let content_type = request.headers().get(CONTENT_TYPE)?;
    Some(PayloadHasher::hash(content_type, SHA256, request.body()).unwrap())
}
