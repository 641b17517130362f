//! Key files that change while they are in use.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use countersign::store::FileKeys;

use super::{KeyFile, ring, secret_line};

fn app(id: &str) -> String {
    format!("[apps.{id}]\nkeys = [{{ {} }}]\n", secret_line('a'))
}

fn open_polled(file: &KeyFile) -> FileKeys {
    file.open().unwrap().with_interval(Duration::from_millis(5))
}

/// Polls until the condition holds.
async fn wait_until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < end, "timeout while waiting for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn wait_until_known(keys: &FileKeys, app: &str) {
    wait_until(app, async || ring(keys, app).await.is_some()).await;
    assert_eq!(keys.last_failure(), None);
}

#[tokio::test]
async fn file_replaced_by_rename_is_loaded() {
    let file = KeyFile::new(app("one"));
    let keys = open_polled(&file);
    file.replace(app("two"));
    wait_until_known(&keys, "two").await;
    assert!(ring(&keys, "one").await.is_none());
}

/// The new text has the same length and the same modification time.
#[tokio::test]
async fn edit_with_same_length_and_date_is_loaded() {
    let file = KeyFile::new(app("one"));
    let date = fs::metadata(file.path()).unwrap().modified().unwrap();
    let keys = open_polled(&file);
    file.write(app("two"));
    File::options().write(true).open(file.path()).unwrap().set_modified(date).unwrap();
    assert_eq!(fs::metadata(file.path()).unwrap().modified().unwrap(), date);
    wait_until_known(&keys, "two").await;
}

/// Kubernetes mounts `keys.toml` as a symlink to `..data/keys.toml`, and replaces the symlink `..data`.
#[tokio::test]
async fn symlink_target_swap_is_loaded() {
    let file = KeyFile::new("");
    for id in ["one", "two"] {
        fs::create_dir(file.folder().join(id)).unwrap();
        fs::write(file.folder().join(id).join("keys.toml"), app(id)).unwrap();
    }
    fs::remove_file(file.path()).unwrap();
    symlink("one", file.folder().join("..data")).unwrap();
    symlink("..data/keys.toml", file.path()).unwrap();
    let keys = open_polled(&file);
    assert!(ring(&keys, "one").await.is_some());
    symlink("two", file.folder().join("..new")).unwrap();
    fs::rename(file.folder().join("..new"), file.folder().join("..data")).unwrap();
    wait_until_known(&keys, "two").await;
}

#[tokio::test]
async fn missing_file_keeps_its_keys() {
    let file = KeyFile::new(app("one"));
    let keys = open_polled(&file);
    fs::remove_file(file.path()).unwrap();
    wait_until("a failure", async || keys.last_failure().is_some()).await;
    file.replace("[apps");
    wait_until("another failure", async || keys.last_failure().is_some_and(|error| error.line() == Some(1))).await;
    assert!(ring(&keys, "one").await.is_some());
    file.replace(app("one"));
    wait_until("no failure, with the same keys as before", async || keys.last_failure().is_none()).await;
    file.replace(app("two"));
    wait_until_known(&keys, "two").await;
}

/// A writer keeps replacing the file with one of two texts. Each reload reads one of them completely.
#[test]
fn file_replaced_during_reload_is_read_whole() {
    let many = |prefix: &str, count: usize| (0..count).map(|n| app(&format!("{prefix}{n}"))).collect::<String>();
    let texts = [many("few", 50), many("many", 1000)];
    let file = Arc::new(KeyFile::new(&texts[0]));
    let keys = file.open().unwrap().with_interval(Duration::MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (file, stop) = (file.clone(), stop.clone());
        move || {
            let mut turns = 0;
            while !stop.load(Ordering::Relaxed) {
                file.replace(&texts[turns % 2]);
                turns += 1;
            }
            turns
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut seen = [0, 0];
    for _ in 0..40 {
        keys.reload().unwrap();
        let knows = |app: &str| runtime.block_on(ring(&keys, app)).is_some();
        let (few, many) = (["few0", "few49"].map(knows), ["many0", "many999"].map(knows));
        assert!(few[0] == few[1] && many[0] == many[1] && few[0] != many[0], "a mixture of both texts was read");
        seen[usize::from(many[0])] += 1;
    }
    stop.store(true, Ordering::Relaxed);
    assert!(writer.join().unwrap() > 10);
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}
