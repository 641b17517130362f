//! The example `submit_once`.

use super::*;

#[test]
fn submit_once_pays_once() {
    let output = output_of(&mut example("submit_once"));
    assert!(output.status.success(), "{output:?}");
    let stdout = text(&output.stdout);
    assert_eq!(stdout.matches("payment 1: demo paid 10 EUR (order-1)").count(), 3, "{stdout}");
    assert!(!stdout.contains("payment 2"), "{stdout}");
}
