//! The cost of share links: `Signer::presign` and `Verifier::verify` of a link, compared with signing and verifying a
//! request for the same URL, and with the bare HMAC-SHA256 of the string to sign of that request.
//!
//! ```sh
//! cargo bench --bench links
//! ```
//!
//! The cases take turns in the same run. A line shows the ratio of the medians, which depends less on the machine than the
//! times do.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod rig;

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use countersign::{Signer, StaticKeys, Verifier, server::Links};
use futures_util::FutureExt;
use http::{Request, Uri};

use self::rig::{Bare, time};

fn main() {
    let mut criterion = rig::criterion();
    let (signer, bare, unsigned) = (rig::signer(), Bare::new(), rig::get());
    let keys = StaticKeys::new([("demo".parse().unwrap(), rig::secret())]).unwrap();
    let verifier = Verifier::new(keys).with_links(Links::new());
    let works = ["presign a link", "sign a request", "open a link", "verify a request", "the bare HMAC"];
    rig::in_turns(&mut criterion, "links/GET, 8 parameters", works, |count| {
        let (presigned, links) = time(vec![unsigned.uri().clone(); count], |uri| presign(&signer, &uri));
        let (signed, requests) = time(vec![unsigned.clone(); count], |request| signer.sign(request).unwrap());
        let strings: Vec<_> = requests.iter().map(|request| bare.string_to_sign(&signer, request)).collect();
        let links: Vec<_> = links.into_iter().map(|link| Request::get(link).body(Body::empty()).unwrap()).collect();
        let requests: Vec<_> = requests.into_iter().map(|request: Request<Bytes>| request.map(Body::from)).collect();
        let (opened, _) = time(links, |link| verify(&verifier, link));
        let (verified, _) = time(requests, |request| verify(&verifier, request));
        let (hmac, _) = time(&strings, |string| bare.hmac(string));
        [presigned, signed, opened, verified, hmac]
    });
    criterion.final_summary();
    let link = presign(&signer, unsigned.uri());
    println!("bytes that a link adds to its URL: {}", link.to_string().len() - unsigned.uri().to_string().len());
}

fn presign(signer: &Signer, uri: &Uri) -> Uri {
    signer.presign(uri, Duration::from_secs(3600)).sign().unwrap().uri().clone()
}

/// The future never waits.
fn verify(verifier: &Verifier<StaticKeys>, request: Request<Body>) -> Request<Body> {
    verifier.verify(request).now_or_never().unwrap().unwrap()
}
