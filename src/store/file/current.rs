//! The current keys, and the snapshots of their file since.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::Thread,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::{
    data::DataFormat,
    error::FileKeysError,
    parse::parse,
    read::{Content, read},
    watch::{Poll, watch},
};
use crate::{
    clock::milliseconds,
    event,
    protocol::AppId,
    store::{App, StaticKeys},
};

/// Holds the current keys and reloads them when the file changes.
pub(super) struct Reloader {
    path: Arc<Path>,
    format: Option<DataFormat>,
    apps: RwLock<StaticKeys>,
    /// Locked from reading the file until its keys are applied, so that an older read never replaces a newer one.
    seen: Mutex<Snapshots>,
    failure: Mutex<Option<FileKeysError>>,
    /// The polling interval in milliseconds.
    interval: AtomicU64,
    watcher: OnceLock<Thread>,
}

/// The result of reading the file: a digest of its content, or the reason why it could not be read.
type Snapshot = Result<[u8; 32], String>;

#[derive(Default)]
struct Snapshots {
    /// The last snapshot that was applied or rejected.
    applied: Option<Snapshot>,
    /// A newer snapshot that was seen once.
    candidate: Option<Snapshot>,
}

/// How long a change must stay the same before it is applied, so that no half-written file is applied.
const DEBOUNCE: Duration = Duration::from_millis(100);

impl Reloader {
    pub(super) fn new(path: Arc<Path>, format: Option<DataFormat>, interval: Duration) -> Self {
        Self {
            path,
            format,
            apps: RwLock::new(StaticKeys::empty()),
            seen: Mutex::default(),
            failure: Mutex::default(),
            interval: AtomicU64::new(milliseconds(interval)),
            watcher: OnceLock::new(),
        }
    }

    pub(super) fn watch(self: &Arc<Self>) -> Result<(), FileKeysError> {
        let watcher = watch(Arc::downgrade(self), self.interval()).map_err(|error| {
            FileKeysError::of_file(&self.path, format!("no thread can be started to watch it: {error}"))
        })?;
        self.watcher.get_or_init(|| watcher.thread().clone());
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn app(&self, app: &AppId) -> Option<App> {
        self.apps.read().unwrap_or_else(PoisonError::into_inner).app(app)
    }

    pub(super) fn failure(&self) -> Option<FileKeysError> {
        lock(&self.failure).clone()
    }

    pub(super) fn set_interval(&self, interval: Duration) {
        self.interval.store(milliseconds(interval).max(1), Relaxed);
        self.wake();
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval.load(Relaxed))
    }

    pub(super) fn reload(&self) -> Result<(), FileKeysError> {
        self.load().inspect_err(event::key_file_rejected)
    }

    /// Reads and applies the file. Emits no event on failure, because on the first load there are no keys to keep.
    pub(super) fn load(&self) -> Result<(), FileKeysError> {
        let mut seen = lock(&self.seen);
        let content = read(&self.path);
        *seen = Snapshots { applied: Some(snapshot(&content)), candidate: None };
        self.apply(content)
    }

    fn apply(&self, content: Result<Content, String>) -> Result<(), FileKeysError> {
        let taken = content.map_err(|detail| FileKeysError::of_file(&self.path, detail)).and_then(|content| {
            let text = std::str::from_utf8(&content.bytes)
                .map_err(|_| FileKeysError::of_file(&self.path, "it is not valid UTF-8"))?;
            let apps =
                parse(text, self.format).map_err(|error_at| FileKeysError::of_text(&self.path, text, error_at))?;
            Ok((apps, content.is_open_to_others))
        });
        match taken {
            Ok((apps, is_open_to_others)) => {
                let mut current = self.apps.write().unwrap_or_else(PoisonError::into_inner);
                let old = std::mem::replace(&mut *current, apps);
                drop(current);
                drop(old);
                *lock(&self.failure) = None;
                event::key_file_loaded(&self.path, is_open_to_others);
                Ok(())
            }
            Err(error) => {
                *lock(&self.failure) = Some(error.clone());
                Err(error)
            }
        }
    }

    fn wake(&self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.unpark();
        }
    }
}

impl Poll for Reloader {
    fn poll(&self) -> Duration {
        let mut seen = lock(&self.seen);
        let content = read(&self.path);
        let snapshot = Some(snapshot(&content));
        if snapshot == seen.applied {
            seen.candidate = None;
        } else if snapshot == seen.candidate {
            *seen = Snapshots { applied: snapshot, candidate: None };
            // The event and `last_failure` report the error.
            let _ = self.apply(content).inspect_err(event::key_file_rejected);
        } else {
            seen.candidate = snapshot;
            return DEBOUNCE;
        }
        self.interval()
    }

    /// Forgets the snapshots, so that the next polls apply the file again: it is unknown whether the panic interrupted
    /// that.
    fn recover(&self) -> Duration {
        *lock(&self.seen) = Snapshots { applied: None, candidate: None };
        let error = FileKeysError::of_file(&self.path, "the reader panicked; the file is read again");
        *lock(&self.failure) = Some(error);
        self.interval()
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        self.wake();
    }
}

fn snapshot(content: &Result<Content, String>) -> Snapshot {
    content.as_ref().map(|content| Sha256::digest(&content.bytes).into()).map_err(String::clone)
}

/// Ignores poisoning. The data is consistent even if a thread panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "that is how a test fails")]
mod tests {
    use std::{fs, time::Instant};

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(1);

    /// Creates a reloader without a thread. The test polls it.
    fn watched(name: &str) -> Reloader {
        let path = std::env::temp_dir().join(format!("countersign-{name}-{}.toml", std::process::id()));
        fs::write(&path, file('a')).unwrap();
        let current = Reloader::new(path.into(), None, INTERVAL);
        current.reload().unwrap();
        current
    }

    fn file(letter: char) -> String {
        format!("[apps.{letter}]\nkeys = [{{ secret = 'text:0123456789abcdef' }}]\n")
    }

    fn knows(current: &Reloader, app: &str) -> bool {
        current.app(&app.parse().unwrap()).is_some()
    }

    #[test]
    fn a_change_is_taken_when_it_has_stayed_the_same() {
        let current = watched("settled");
        assert_eq!(current.poll(), INTERVAL);
        fs::write(&current.path, file('b')).unwrap();
        assert_eq!(current.poll(), DEBOUNCE);
        assert!(knows(&current, "a") && !knows(&current, "b"));
        assert_eq!(current.poll(), INTERVAL);
        assert!(knows(&current, "b") && !knows(&current, "a"));
        fs::remove_file(&current.path).unwrap();
    }

    #[test]
    fn half_written_file_is_not_applied() {
        let current = watched("half");
        fs::write(&current.path, file('b')).unwrap();
        assert_eq!(current.poll(), DEBOUNCE);
        fs::write(&current.path, file('b') + &file('c')).unwrap();
        assert_eq!(current.poll(), DEBOUNCE);
        assert!(!knows(&current, "b"), "half of the file was taken");
        assert_eq!(current.poll(), INTERVAL);
        assert!(knows(&current, "b") && knows(&current, "c"));
        fs::remove_file(&current.path).unwrap();
    }

    #[test]
    fn brief_absence_of_the_file_is_no_failure() {
        let current = watched("undone");
        fs::remove_file(&current.path).unwrap();
        assert_eq!(current.poll(), DEBOUNCE);
        fs::write(&current.path, file('a')).unwrap();
        assert_eq!(current.poll(), INTERVAL);
        assert!(current.failure().is_none());
        fs::remove_file(&current.path).unwrap();
        assert_eq!([current.poll(), current.poll()], [DEBOUNCE, INTERVAL]);
        assert!(knows(&current, "a") && current.failure().is_some());
        *lock(&current.failure) = None;
        assert_eq!(current.poll(), INTERVAL);
        assert!(current.failure().is_none(), "a failure is told once");
    }

    #[test]
    fn after_a_panic_the_file_is_judged_again_in_its_time() {
        let current = watched("panicked");
        assert_eq!(current.recover(), INTERVAL);
        assert!(current.failure().is_some());
        assert_eq!([current.poll(), current.poll()], [DEBOUNCE, INTERVAL]);
        assert!(knows(&current, "a") && current.failure().is_none());
        fs::remove_file(&current.path).unwrap();
    }

    #[test]
    fn watcher_wakes_on_interval_change_and_on_drop() {
        let current = Arc::new(watched("woken"));
        let path = current.path.clone();
        current.set_interval(Duration::MAX);
        let watcher = watch(Arc::downgrade(&current), Duration::MAX).unwrap();
        current.watcher.get_or_init(|| watcher.thread().clone());
        fs::write(&path, file('b')).unwrap();
        current.set_interval(Duration::from_millis(1));
        patiently(|| knows(&current, "b"));
        fs::write(&path, file('c')).unwrap();
        current.set_interval(Duration::MAX);
        patiently(|| knows(&current, "c"));
        drop(current);
        patiently(|| watcher.is_finished());
        fs::remove_file(&path).unwrap();
    }

    fn patiently(until: impl Fn() -> bool) {
        let began = Instant::now();
        while !until() {
            assert!(began.elapsed() < Duration::from_secs(30));
            std::thread::yield_now();
        }
    }
}
