//! The cost of the layer for a whole service: an axum service on one core, with and without the layer, under full load.
//! The load comes from another core over 64 connections on loopback.
//!
//! ```sh
//! cargo bench --bench service
//! ```
//!
//! Both sides get the same kind of requests: unique ones, signed just before each round, outside the measured time.
//! Rounds of the two sides alternate, and the table has the medians of their rates. It also shows how busy the server's
//! core was, which must be all the time. The share of empty polls shows that the client waits for the server, and never
//! the reverse.
//!
//! The client never sleeps. The server's writes would have to wake a sleeping client, which on a virtual machine takes
//! longer than the rest of a request, with and without the layer.
//!
//! One service has handlers with the usual work before a database access: they parse the query or the JSON into a
//! struct and respond with JSON. The handlers of the other do nothing and do not read the body. None of the handlers
//! uses the layer.
//!
//! The layer is configured as in the README: fixed keys, nonces in memory, buffered bodies.

#![allow(clippy::panic, clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

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

/// Requests per round, which takes a tenth of a second or two.
const REQUESTS: usize = 8000;

const ROUNDS: usize = 25;

fn main() {
    // Without the flag, cargo runs the bench as a test.
    let rounds = if std::env::args().any(|argument| argument == "--bench") { ROUNDS } else { 2 };
    let [first, second, ..] = core_affinity::get_core_ids().unwrap()[..] else { panic!("the bench needs two cores") };
    let server = Server::start(first);
    assert!(core_affinity::set_for_current(second));

    println!("service                        requests/s  with the layer    ratio   busy  with it     empty  with it");
    for (name, addresses) in [("small handler", server.orders), ("empty handler", server.empty)] {
        for (kind, unsigned) in [("GET, 8 parameters", rig::get()), ("POST, 1 KiB", rig::post_json())] {
            let mut sides = addresses.map(|address| Side { client: Client::connect(address), rounds: Vec::new() });
            for round in 0..=rounds {
                for turn in 0..2 {
                    // The order alternates, so that no side always runs second.
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
    /// The share of the client's polls that found no response.
    empty_polls: f64,
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
        self.rounds.push(Round {
            rate: REQUESTS as f64 / seconds,
            busy: busy / seconds,
            empty_polls: load.empty_polls,
        });
    }

    /// The median of all rounds except the first, which is the warm-up.
    fn median(&self, of: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().skip(1).map(of).collect())
    }
}

fn print(name: &str, sides: &[Side; 2]) {
    let [without, with] = sides.each_ref().map(|side| side.median(|round| round.rate));
    let [busy, busy_with] = sides.each_ref().map(|side| 100.0 * side.median(|round| round.busy));
    let [empty, empty_with] = sides.each_ref().map(|side| 100.0 * side.median(|round| round.empty_polls));
    println!(
        "{name:<30} {without:>10.0} {with:>15.0} {:>8.3} {busy:>5.1}% {busy_with:>7.1}% {empty:>8.1}% {empty_with:>7.1}%",
        with / without
    );
}
