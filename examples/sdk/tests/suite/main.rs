//! The client against a service behind a verifier, over sockets.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")]

mod calls;
mod echo_server;
mod errors;
mod failures;
mod service;

use std::{path::PathBuf, sync::atomic::AtomicUsize, sync::atomic::Ordering::Relaxed};

/// A file for one test.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(bytes: &[u8]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("orders-sdk-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
