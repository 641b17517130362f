//! The submission store of a single process: the `store`, the `table` behind its lock, and the `copy` of an answer that it keeps.

mod copy;
mod store;
mod table;

pub use self::store::MemorySubmissionStore;
