//! The client in Python, which knows PROTOCOL.md alone.

use super::*;

#[test]
fn python_client_finds_no_difference() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: no python3 here");
        return;
    }
    for (place, argument) in [("field", "field"), ("bearer", "bearer"), ("cookie", "cookie:__Host-cs1")] {
        let arguments = ["--tokens", "--session-keys", "--token-place", argument];
        let server = Server::start_with_key_of_other(KEY, &arguments);
        let client = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tokens_client.py");
        let output = Command::new("python3").args([client, &server.base, place]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{place}: {}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(text(&output.stdout).lines().count(), 5, "{place}");
    }
}
