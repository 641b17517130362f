//! What the layer costs a whole service: an axum service on one core, with the layer and without it, under all the load
//! that it can take, which comes from another core over 64 connections on loopback.
//!
//! ```sh
//! cargo bench --bench service
//! ```
//!
//! Both get the same requests: unique ones, signed just before each round, outside of its time. The rounds of the two
//! take turns, and the table has the medians of their rates. It tells too how busy the server's core was with it, which
//! must be all the time, and how often the client looked for an answer in vain, which shows that it waits for the
//! server and never the server for it.
//!
//! The client never sleeps: a client that does has to be woken by the server's writes, which on a virtual machine takes
//! longer than all the rest of a request, with the layer and without it.
//!
//! One service has handlers that do what handlers do before they get to their database: they read the query or the
//! JSON into a struct and answer with some JSON. The other's handlers do nothing, not even read a body. Neither knows
//! of the layer.
//!
//! The layer is as in the README: fixed keys, nonces in memory, bodies collected.

#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "a bench that fails is no bench")]

mod client;
#[path = "../rig/mod.rs"]
mod rig;
mod server;

use bytes::Bytes;
use http::Request;

use self::{
    client::{Client, Prepared},
    rig::median,
    server::Server,
};

/// In a round: a tenth of a second or two.
const REQUESTS: usize = 8000;

const ROUNDS: usize = 25;

fn main() {
    // Without the flag cargo only tests the bench.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 2 };
    let [first, second, ..] = core_affinity::get_core_ids().unwrap()[..] else { panic!("it needs two cores") };
    let server = Server::start(first);
    assert!(core_affinity::set_for_current(second));

    println!("service                        requests/s  with the layer    ratio   busy  with it   in vain  with it");
    for (name, addresses) in [("small handler", server.orders), ("empty handler", server.empty)] {
        for (kind, unsigned) in [("GET, 8 parameters", rig::get()), ("POST, 1 KiB", rig::post_json())] {
            let mut sides = addresses.map(|address| Side { client: Client::connect(address), rounds: Vec::new() });
            for round in 0..=rounds {
                for turn in 0..2 {
                    // Nobody comes after the same one each time.
                    sides[(round + turn) % 2].round(&server, &unsigned);
                }
            }
            print(&format!("{kind}: {name}"), &sides);
        }
    }
}

/// The service without the layer, or with it.
struct Side {
    client: Client,
    rounds: Vec<Round>,
}

struct Round {
    /// Requests per second.
    rate: f64,
    /// The part of the time in which the server's thread ran.
    busy: f64,
    /// The part of the client's looks for an answer that found none.
    in_vain: f64,
}

impl Side {
    fn round(&mut self, server: &Server, unsigned: &Request<Bytes>) {
        let signer = rig::signer();
        let requests: Vec<Prepared> =
            (0..REQUESTS).map(|_| Prepared::new(&signer.sign(unsigned.clone()).unwrap())).collect();
        let before = server.processor_time();
        let load = self.client.send(&requests);
        let busy = server.processor_time() - before;
        let seconds = load.elapsed.as_secs_f64();
        self.rounds.push(Round { rate: REQUESTS as f64 / seconds, busy: busy / seconds, in_vain: load.in_vain });
    }

    /// Without the first one, which warms up.
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().skip(1).map(of).collect())
    }
}

fn print(name: &str, sides: &[Side; 2]) {
    let [without, with] = sides.each_ref().map(|side| side.median(|round| round.rate));
    let [busy, busy_with] = sides.each_ref().map(|side| 100.0 * side.median(|round| round.busy));
    let [vain, vain_with] = sides.each_ref().map(|side| 100.0 * side.median(|round| round.in_vain));
    println!(
        "{name:<30} {without:>10.0} {with:>15.0} {:>8.3} {busy:>5.1}% {busy_with:>7.1}% {vain:>8.1}% {vain_with:>7.1}%",
        with / without
    );
}
