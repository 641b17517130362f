//! The submission store of a single process: the `store`, the `table` behind its lock, the `copy` of an answer that it keeps, and
//! the `share` of each app in the bytes of answers.

mod copy;
mod share;
mod store;
mod table;

pub use self::store::MemorySubmissionStore;
