//! Options of cached keys.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) ttl: Duration,
    pub(super) unknown_ttl: Duration,
    pub(super) grace: Duration,
    pub(super) deadline: Duration,
    pub(super) capacity: usize,
    pub(super) unknown_capacity: usize,
    pub(super) most_unknown_in_flight: usize,
}
