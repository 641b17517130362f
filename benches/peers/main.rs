//! The same two requests signed and verified by countersign and by its peers, replay check included.
//!
//! ```sh
//! cargo bench --manifest-path benches/peers/Cargo.toml
//! ```
//!
//! Each is used as its own documentation shows, with its fastest way to hold a key, and takes its turn in the same run,
//! a batch of 64. The table has the medians and their multiples of countersign's. A peer that leaves replays to its
//! caller has them refused by `moka::sync::Cache`, for ten minutes. Before anything is measured, each peer must let its
//! request in, refuse it the second time, and refuse a changed one.
//!
//! They do not all do the same:
//!
//! - countersign signs the method, path, parameters in an order of their own, content type and body, refuses what is
//!   ambiguous, and hands on a request whose unsigned parameters are stripped. It collects the body itself.
//! - hawk signs the method, host, path with query, content type and body. Its caller hashes the body. ring does its
//!   hashing, in assembler.
//! - httpsig-hyper, which is RFC 9421, signs what it is told to: here the method, path and query, and for a body its type
//!   and digest. It knows no key by its id before the caller has parsed the header, which it then parses again.
//! - standardwebhooks signs an id, the time and the body, and nothing of the head: for the GET its signature is of
//!   no use. It has no id of a key: nothing is looked up.
//! - AWS's SigV4 is signed by aws-sigv4 and verified by scratchstack-aws-signature: the method, path, query, headers and
//!   body. It has no nonce: what makes a request unique is the id of the invocation, a header that AWS's clients send
//!   too, and what is remembered is the signature. Keys are of a day: the signer derives one for each request, the
//!   verifier has it at hand.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that fails is no bench")]

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

/// Its name and version, what is signed, and who refuses replays.
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
