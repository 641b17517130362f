use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Request};
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

use crate::peer::{KEY, Peer, Replays, random};

pub(crate) struct StandardWebhooks {
    webhook: Webhook,
    replays: Replays,
}

impl StandardWebhooks {
    pub(crate) fn new() -> Self {
        Self { webhook: Webhook::from_bytes(KEY.into()).unwrap(), replays: Replays::new() }
    }
}

impl Peer for StandardWebhooks {
    const NAME: &'static str = "standardwebhooks 1.0.1";
    const SIGNED: &'static str = "body, time, id";
    const REPLAYS: &'static str = Replays::NAME;
    const SIGNS_TARGET: bool = false;

    type Signed = Request<Bytes>;
    type Received = Request<Bytes>;
    type Verified = Request<Bytes>;

    fn sign(&self, mut request: Request<Bytes>) -> Self::Signed {
        let id = format!("msg_{}", random());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let signature = self.webhook.sign(&id, now as i64, request.body()).unwrap();
        let headers = request.headers_mut();
        headers.insert(HEADER_WEBHOOK_ID, HeaderValue::try_from(id).unwrap());
        headers.insert(HEADER_WEBHOOK_TIMESTAMP, now.into());
        headers.insert(HEADER_WEBHOOK_SIGNATURE, HeaderValue::try_from(signature).unwrap());
        request
    }

    fn send(signed: Self::Signed) -> Request<Bytes> {
        signed
    }

    fn receive(request: Request<Bytes>) -> Self::Received {
        request
    }

    fn verify(&self, request: Self::Received) -> Option<Self::Verified> {
        self.webhook.verify(request.body(), request.headers()).ok()?;
        let id = request.headers()[HEADER_WEBHOOK_ID].to_str().ok()?;
        self.replays.is_first(id.to_owned()).then_some(request)
    }
}
