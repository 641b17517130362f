//! The submission store of a single process: the `store`, and the `table` behind its lock.

mod store;
mod table;

pub use self::store::MemorySubmissionStore;
