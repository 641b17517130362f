//! The time of a claim at a million live nonces, for a fresh nonce and for a live nonce. A claim of a live nonce is a
//! replay and changes nothing. The store is compared with moka's two caches, with which a service would use
//! `entry(key).or_insert_with(..).is_fresh()`. The bench `allocations` measures the bytes per live nonce.
//!
//! ```sh
//! cargo bench --bench nonces
//! ```
//!
//! As many nonces expire as are claimed, and all stores remove expired nonces inside their claims. moka does its
//! housekeeping in one write of 64, which is once in a batch. The memory store sweeps in one claim of hundreds, which a
//! median does not show. The table therefore also has means. The means are valid only if moka held its million all the
//! time. After a pause of the machine it must expire many nonces at once.
//!
//! The memory store gets its time as an argument, and keeps nonces for 301 seconds at 3322 nonces a second. moka uses
//! real time. It keeps nonces for thirty seconds at 33,333 a second, and the bench waits between batches. The number of
//! live nonces is the same, and each claim pays for one expired nonce. moka gets every advantage:
//!
//! - It has no `max_capacity`. With one it would drop live nonces or not store fresh ones, and accept their replays.
//!   Without one it need not track the popularity of its entries.
//! - Its keys are created before the measurement. Each is one string, the smallest and fastest owned key.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

#[path = "../rig/mod.rs"]
mod rig;
mod stores;

use std::{ops::Range, time::Duration};

use criterion::Criterion;

use self::{
    rig::time,
    stores::{Future, LIVE, Ours, Pace, Store, Sync},
};

fn main() {
    let (warm_up, measurement) = (Duration::from_secs(1), Duration::from_secs(12));
    let criterion = Criterion::default().warm_up_time(warm_up).measurement_time(measurement);
    let mut criterion = criterion.configure_from_args();

    let mut rig = Rig { ours: Ours::new(), sync: Sync::new(), future: Future::new(), pace: Pace::start() };
    // Without the flag, cargo runs the bench as a test.
    let before = if std::env::args().any(|argument| argument == "--bench") { LIVE * 11 / 10 } else { 6400 };
    for _ in (0..before).step_by(64) {
        rig.batch(64);
    }
    let mut table = Table::new();
    let medians = rig::medians(&mut criterion, "nonces/a million live", |count| {
        let times = rig.batch(count);
        table.add(count, times);
        table.record_live([rig.ours.live(), rig.sync.live(), rig.future.live()]);
        times
    });
    if let Some(medians) = medians {
        table.print(medians);
    }
    criterion.final_summary();
}

struct Rig {
    ours: Ours,
    sync: Sync,
    future: Future,
    pace: Pace,
}

impl Rig {
    /// The times of `count` claims of fresh nonces in each store, and of as many claims of live nonces.
    fn batch(&mut self, count: usize) -> [Duration; 6] {
        let range = self.pace.next(count);
        let ours = turn(&mut self.ours, range.clone());
        let sync = turn(&mut self.sync, range.clone());
        let future = turn(&mut self.future, range);
        [ours[0], sync[0], future[0], ours[1], sync[1], future[1]]
    }
}

fn turn<S: Store>(store: &mut S, range: Range<u64>) -> [Duration; 2] {
    let fresh: Vec<_> = range.clone().map(|number| store.key(number)).collect();
    let (first, outcomes) = time(fresh, |key| store.claim(key));
    assert!(outcomes.iter().all(|is_first| *is_first));
    // In random order.
    let earlier = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % range.start.clamp(1, LIVE / 2);
    let live: Vec<_> = range.clone().map(|number| store.key(range.end - 1 - earlier(number))).collect();
    let (again, outcomes) = time(live, |key| store.claim(key));
    assert!(outcomes.iter().all(|is_first| !is_first), "the machine was paused for too long");
    [first, again]
}

struct Table {
    claims: usize,
    sums: [Duration; 6],
    /// The minimum and the maximum number of nonces in each store.
    live: [(u64, u64); 3],
}

impl Table {
    fn new() -> Self {
        Self { claims: 0, sums: [Duration::ZERO; 6], live: [(u64::MAX, 0); 3] }
    }

    fn record_live(&mut self, live: [u64; 3]) {
        for ((fewest, most), live) in self.live.iter_mut().zip(live) {
            (*fewest, *most) = (live.min(*fewest), live.max(*most));
        }
    }

    fn add(&mut self, count: usize, times: [Duration; 6]) {
        self.claims += count;
        self.sums.iter_mut().zip(times).for_each(|(sum, time)| *sum += time);
    }

    fn print(&self, medians: [f64; 6]) {
        println!("nonces/a million live    MemoryNonceStore    moka::sync::Cache  moka::future::Cache");
        let means = self.sums.map(|sum| sum.as_nanos() as f64 / self.claims as f64);
        for (name, values) in [("a fresh nonce", &medians[..3]), ("  mean", &means[..3]), ("a replay", &medians[3..])] {
            let [ours, sync, future] = [values[0], values[1], values[2]];
            let beside = |value: f64| format!("{value:.0} ns = {:.2} x", value / ours);
            println!("{name:<22} {:>15.0} ns {:>20} {:>20}", ours, beside(sync), beside(future));
        }
        let [ours, sync, future] = self.live.map(|(fewest, most)| format!("{} - {}", fewest / 1000, most / 1000));
        println!("{:<22} {ours:>18} {sync:>20} {future:>20}", "thousands live");
    }
}
