//! Signing and verifying the same two requests with countersign and with its peers, including the replay check.
//!
//! ```sh
//! cargo bench --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! Each peer is used as in its own documentation, with its fastest way to hold a key. The peers take turns in the same
//! run, in batches of 64. The table has the medians and their ratio to countersign's. Some peers leave replays to the
//! caller. For those, `moka::sync::Cache` rejects replays for ten minutes. Before the measurement, each peer must
//! accept its request, reject its replay, and reject a changed request.
//!
//! The peers differ in what they do:
//!
//! - countersign signs the method, path, sorted parameters, content type and body. It rejects ambiguous requests and
//!   removes unsigned parameters. It collects the body itself.
//! - hawk signs the method, host, path with query, content type and body. The caller hashes the body. Its hashing is
//!   done by ring, in assembler.
//! - httpsig-hyper implements RFC 9421 and signs the chosen components: here the method, path and query, and for a body
//!   its type and digest. It looks up no key by id before the caller has parsed the header, and then parses the header
//!   again.
//! - standardwebhooks signs an id, the time and the body, and no part of the head, so its signature does not protect
//!   the GET. It has no key id, so it looks up no key.
//! - AWS's SigV4 is signed by aws-sigv4 and verified by scratchstack-aws-signature. It signs the method, path, query,
//!   headers and body. It has no nonce. The header with the invocation id, which AWS's clients send too, makes a
//!   request unique, and the replay check stores the signature. Signing keys are valid for a day. The signer derives
//!   one for each request, and the verifier has it cached.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod hawk;
mod httpsig;
mod ours;
mod peer;
#[path = "../rig/mod.rs"]
mod rig;
mod sigv4;
mod standardwebhooks;

use bytes::Bytes;
use criterion::Criterion;
use http::Request;

use self::{
    hawk::Hawk,
    httpsig::HttpSig,
    ours::Ours,
    peer::{check, turn},
    sigv4::SigV4,
    standardwebhooks::StandardWebhooks,
};

/// The first of the peers is countersign.
const PEERS: usize = 5;

fn main() {
    let mut criterion = rig::criterion();
    let peers = Peers {
        ours: Ours::new(),
        hawk: Hawk::new(),
        httpsig: HttpSig::new(),
        webhooks: StandardWebhooks::new(),
        sigv4: SigV4::new(),
    };
    for (name, unsigned) in [("GET, 8 parameters", rig::get()), ("POST, 1 KiB of JSON", rig::post_json())] {
        let rows = peers.rows(&unsigned);
        peers.measure(&mut criterion, name, &unsigned, rows);
    }
    criterion.final_summary();
}

struct Peers {
    ours: Ours,
    hawk: Hawk,
    httpsig: HttpSig,
    webhooks: StandardWebhooks,
    sigv4: SigV4,
}

/// The name and version, the signed parts, and the component that rejects replays.
type Row = [&'static str; 3];

impl Peers {
    fn rows(&self, unsigned: &Request<Bytes>) -> [Row; PEERS] {
        [
            check(&self.ours, unsigned),
            check(&self.hawk, unsigned),
            check(&self.httpsig, unsigned),
            check(&self.webhooks, unsigned),
            check(&self.sigv4, unsigned),
        ]
    }

    fn measure(&self, criterion: &mut Criterion, name: &str, unsigned: &Request<Bytes>, rows: [Row; PEERS]) {
        let medians = rig::medians(criterion, &format!("peers/{name}"), |count| {
            let times = [
                turn(&self.ours, unsigned, count),
                turn(&self.hawk, unsigned, count),
                turn(&self.httpsig, unsigned, count),
                turn(&self.webhooks, unsigned, count),
                turn(&self.sigv4, unsigned, count),
            ];
            std::array::from_fn::<_, { 2 * PEERS }, _>(|i| times[i / 2][i % 2])
        });
        let Some(medians) = medians else { return };
        println!("{name:<50}      sign              verify            replays      signed");
        for (i, [peer, signed, replays]) in rows.into_iter().enumerate() {
            let beside = |work: usize| {
                let median = medians[2 * i + work];
                format!("{median:>6.0} ns {:>6.2} x", median / medians[work])
            };
            println!("{peer:<50} {}   {}   {replays:<12} {signed}", beside(0), beside(1));
        }
    }
}
