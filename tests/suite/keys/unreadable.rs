//! Unreadable key files, and the permissions of key files.

use std::{fs, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use countersign::store::FileKeys;

use super::{KeyFile, ring, secret_line};
use crate::secrets::log_of;

fn text(letter: char) -> String {
    format!("[apps.demo]\nkeys = [{{ {} }}]\n", secret_line(letter))
}

fn reason(file: &KeyFile) -> String {
    let error = file.open().unwrap_err();
    assert_eq!((error.line(), error.column()), (None, None), "{error}");
    error.to_string().strip_prefix(&format!("{}: ", file.path().display())).unwrap().to_owned()
}

#[test]
fn unreadable_files_are_rejected_with_a_reason() {
    let file = KeyFile::new("");
    assert_eq!(reason(&file), "it is empty");
    file.write(b"[apps.demo]\nkeys = '\xff'\n");
    assert_eq!(reason(&file), "it is not valid UTF-8");
    let padding = "#".repeat((1 << 20) - text('a').len());
    file.write(text('a') + &padding);
    assert!(file.open().is_ok(), "1 MiB is accepted");
    file.write(text('a') + &padding + "#");
    assert_eq!(reason(&file), "it is longer than 1048576 bytes, which is the most that is read");
    fs::remove_file(file.path()).unwrap();
    assert!(reason(&file).starts_with("it cannot be read: No such file"), "{}", reason(&file));
    fs::create_dir(file.path()).unwrap();
    assert_eq!(reason(&file), "it cannot be read: it is no regular file");
    fs::remove_dir(file.path()).unwrap();
    assert!(Command::new("mkfifo").arg(file.path()).status().unwrap().success());
    assert_eq!(reason(&file), "it cannot be read: it is no regular file");
}

/// A file in `/proc` reports a length of 0, which differs from the number of bytes read.
#[cfg(target_os = "linux")]
#[test]
fn file_that_changes_while_read_is_rejected() {
    let error = FileKeys::open("/proc/self/status").unwrap_err().to_string();
    assert!(error.contains("it changes while it is read"), "{error}");
}

#[tokio::test]
async fn failed_reload_keeps_the_keys() {
    let file = KeyFile::new(text('a'));
    let keys = file.open().unwrap().with_interval(Duration::MAX);
    assert_eq!(keys.last_failure(), None);
    let huge = "#".repeat((1 << 20) + 1);
    for (broken, reason) in
        [(None, "No such file"), (Some(""), "empty"), (Some("[apps"), "line 1"), (Some(&huge), "1048576")]
    {
        match broken {
            Some(text) => file.replace(text),
            None => fs::remove_file(file.path()).unwrap(),
        }
        let error = keys.reload().unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(keys.last_failure(), Some(error));
        assert!(ring(&keys, "demo").await.is_some());
    }
    file.replace(text('b').replace("demo", "other"));
    keys.reload().unwrap();
    assert_eq!(keys.last_failure(), None);
    assert!(ring(&keys, "demo").await.is_none() && ring(&keys, "other").await.is_some());
}

/// The test checks nothing if it runs as root, because root can read every file.
#[test]
fn file_without_read_permission_is_rejected() {
    let file = KeyFile::new(text('a'));
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(file.path()).is_err() {
        assert!(reason(&file).starts_with("it cannot be read: Permission denied"), "{}", reason(&file));
    }
}

#[test]
fn world_accessible_key_file_is_warned_about() {
    let file = KeyFile::new(text('a'));
    let open_with = |mode| {
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        log_of(|_| drop(file.open().unwrap()))
    };
    for (mode, is_warned) in [(0o600, false), (0o640, false), (0o644, true), (0o602, true)] {
        let log = open_with(mode);
        assert!(log.contains("keys were read") && log.contains("keys.toml"), "{log}");
        assert_eq!(log.contains("WARN") && log.contains("every user of this machine"), is_warned, "{mode:o}: {log}");
    }
    let broken = KeyFile::new("[apps");
    assert_eq!(log_of(|_| drop(broken.open())), "", "the caller gets the error, so nothing is logged");
    let keys = file.open().unwrap().with_interval(Duration::MAX);
    file.replace("[apps.demo]\nkeys = 'text:hush-hush-hush-hush'\n");
    let log = log_of(|_| drop(keys.reload()));
    assert!(log.contains("WARN") && log.contains("keys.toml, line 2, column 8: expected"), "{log}");
    assert!(log.contains("those that were read before stay") && !log.contains("hush"), "{log}");
}
