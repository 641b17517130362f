//! Tokens: the stores and their contract, and what `Tokens` makes of them.

use countersign::store::{MemoryTokenStore, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn memory_store_keeps_the_contract() {
    conformance::token_store(|| MemoryTokenStore::new().unwrap()).await;
    conformance::bounded_token_store(|capacity| MemoryTokenStore::with_capacity(capacity).unwrap()).await;
}
