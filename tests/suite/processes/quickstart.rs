//! The example `quickstart`.

use super::*;

#[test]
fn quickstart_shows_eight_calls() {
    let output = output_of(&mut example("quickstart"));
    assert!(output.status.success(), "{output:?}");
    let stdout = text(&output.stdout);
    let rows: Vec<Vec<&str>> = stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    let expected = [
        "call status code",
        "a good call 200",
        "the same bytes again 401 replayed_nonce",
        "a changed parameter 401 invalid_signature",
        "a changed body 401 body_mismatch",
        "a changed path 401 invalid_signature",
        "an old timestamp 401 stale_timestamp",
        "an unknown app 401 invalid_signature",
        "no signature 401 unsigned",
    ];
    assert_eq!(rows.iter().map(|row| row.join(" ")).collect::<Vec<_>>(), expected);
}
