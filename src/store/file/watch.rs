//! Polls the file on a thread.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Weak,
    thread::{self, JoinHandle},
    time::Duration,
};

/// A target for polling.
pub(super) trait Poll: Send + Sync + 'static {
    /// Polls once and returns the time until the next poll.
    fn poll(&self) -> Duration;

    /// Recovers from a panic in `poll` and returns the time until the next poll.
    fn recover(&self) -> Duration;
}

/// Starts a thread that polls. With its own thread, a slow disk blocks no other task, and no runtime is needed. The
/// thread ends when the target is dropped. Unpark the thread to poll at once.
pub(super) fn watch(watched: Weak<impl Poll>, first_after: Duration) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("key-file".to_owned()).spawn(move || {
        let mut wait = first_after;
        loop {
            thread::park_timeout(wait);
            match watched.upgrade() {
                Some(watched) => {
                    let looked = catch_unwind(AssertUnwindSafe(|| watched.poll()));
                    wait = looked.unwrap_or_else(|_panic| watched.recover());
                }
                None => return,
            }
        }
    })
}

#[cfg(test)]
#[allow(clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")]
mod tests {
    use std::sync::{
        Arc,
        mpsc::{Sender, channel},
    };

    use super::*;

    struct Snapshots(Sender<()>);

    impl Poll for Snapshots {
        fn poll(&self) -> Duration {
            self.0.send(()).unwrap();
            Duration::from_millis(1)
        }

        fn recover(&self) -> Duration {
            Duration::from_millis(1)
        }
    }

    struct Clumsy(Sender<()>);

    impl Poll for Clumsy {
        fn poll(&self) -> Duration {
            panic!("on purpose")
        }

        fn recover(&self) -> Duration {
            self.0.send(()).unwrap();
            Duration::from_millis(1)
        }
    }

    #[test]
    fn it_goes_on_after_a_panic() {
        let (tell, told) = channel();
        let clumsy = Arc::new(Clumsy(tell));
        let watcher = watch(Arc::downgrade(&clumsy), Duration::ZERO).unwrap();
        (0..3).for_each(|_| told.recv().unwrap());
        drop(clumsy);
        watcher.join().unwrap();
    }

    #[test]
    fn watcher_ends_when_its_target_is_dropped() {
        let (tell, told) = channel();
        let seen = Arc::new(Snapshots(tell));
        let watcher = watch(Arc::downgrade(&seen), Duration::ZERO).unwrap();
        (0..3).for_each(|_| told.recv().unwrap());
        drop(seen);
        watcher.join().unwrap();
    }
}
