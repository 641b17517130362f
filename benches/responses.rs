//! The cost of signed responses: the same service with and without `SignResponsesLayer`, and with a client that checks the
//! signature. The responses have a small body and one of 64 KiB.
//!
//! ```sh
//! cargo bench --bench responses
//! ```
//!
//! The cases take turns in the same run. A line shows the ratio of the medians.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod rig;

use axum::{Router, body::Body, routing::get};
use bytes::Bytes;
use countersign::{Payload, SignResponsesLayer, Signer, StaticKeys, Verifier};
use futures_util::FutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::ServiceExt;

use self::rig::time;

fn main() {
    let mut criterion = rig::criterion();
    let signer = rig::signer();
    for (name, size) in [("11 bytes", 11), ("64 KiB", 64 * 1024)] {
        let body = Bytes::from(vec![b'x'; size]);
        let (plain, signing) = (service(&body, false), service(&body, true));
        let works = ["a signed response", "an unsigned response", "the client's check"];
        rig::in_turns(&mut criterion, &format!("responses/{name}"), works, |count| {
            let requests = || -> Vec<Request<Body>> {
                (0..count).map(|_| signer.sign(rig::get()).unwrap().map(Body::from)).collect()
            };
            let for_signing = requests();
            let sent: Vec<_> = for_signing
                .iter()
                .map(|request| {
                    let mut parts = Request::get(request.uri()).body(()).unwrap().into_parts().0;
                    parts.headers = request.headers().clone();
                    signer.sent_request(&parts).unwrap()
                })
                .collect();
            let (signed, responses) = time(for_signing, |request| call(&signing, request));
            let (unsigned, _) = time(requests(), |request| call(&plain, request));
            let pairs: Vec<_> = sent.into_iter().zip(responses).collect();
            let (checked, _) = time(pairs, |(sent, response)| check(&signer, &sent, response));
            [signed, unsigned, checked]
        });
    }
    criterion.final_summary();
    let body = Bytes::from_static(b"{\"ok\":true}");
    let size = |is_signing| {
        let response = call(&service(&body, is_signing), signer.sign(rig::get()).unwrap().map(Body::from));
        response.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum::<usize>()
    };
    println!("bytes that a signature adds to a response of HTTP/1.1: {}", size(true) - size(false));
}

fn service(body: &Bytes, is_signing: bool) -> Router {
    let keys = StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap();
    let (verifier, body) = (Verifier::new(keys), body.clone());
    let layer = SignResponsesLayer::new(verifier.scheme()).unwrap();
    let service = Router::new().fallback(get(move || std::future::ready(body.clone()))).layer(verifier.into_layer());
    if is_signing { service.layer(layer) } else { service }
}

/// The futures never wait.
fn call(service: &Router, request: Request<Body>) -> Response<Bytes> {
    let (parts, body) = service.clone().oneshot(request).now_or_never().unwrap().unwrap().into_parts();
    Response::from_parts(parts, body.collect().now_or_never().unwrap().unwrap().to_bytes())
}

fn check(signer: &Signer, sent: &countersign::SentRequest, response: Response<Bytes>) {
    let (parts, body) = response.into_parts();
    signer.check_response(sent, &parts, Payload::Bytes(&body)).unwrap();
}
