//! The shell blocks and the table of PROTOCOL.md.

use super::*;

const PROTOCOL: &str = include_str!("../../../PROTOCOL.md");

/// The only fenced block of PROTOCOL.md in this language that contains this text.
fn block(language: &str, with: &str) -> &'static str {
    let blocks = PROTOCOL.split("\n```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
    let found: Vec<&str> = blocks.filter(|block| block.contains(with)).collect();
    assert_eq!(found.len(), 1, "blocks of {language} with {with}");
    found[0]
}

fn run_block(script: &str, base: &str) -> String {
    let output = output_of(Command::new("bash").args(["-c", script]).env("BASE", base).env("no_proxy", "*"));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    text(&output.stdout)
}

#[test]
fn protocol_example_prints_the_documented_signature() {
    let script = block("sh", "TIMESTAMP=1700000000");
    let printed = run_block(script, "");
    let sign = printed.strip_suffix('\n').unwrap();
    assert_eq!(block("text", &sign[..8]), sign);

    let request = Request::post("/v1/orders?side=BUY&note=a+b%2fc&empty=&client=7")
        .header("content-type", "application/json; charset=utf-8");
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    let body = Payload::Bytes(br#"{"symbol":"BTC","amount":10}"#);
    let (timestamp, nonce) = (Timestamp::try_from(NOW).unwrap(), "4f3c2b1a0d9e8f7a6b5c4d3e2f1a0b9c");
    let nonce: Nonce = nonce.parse().unwrap();
    let string = signer().string_to_sign_at(&parts, body, timestamp, nonce.clone()).unwrap();
    assert_eq!(block("text", "CS1-REQUEST"), string.replace("{key}", KEY));
    signer().sign_at(&mut parts, body, timestamp, nonce).unwrap();
    assert_eq!(parts.headers["x-sign"], sign);
}

#[test]
fn documented_parameter_table_matches_the_signer() {
    let (_, table) = PROTOCOL.split_once("| sent | line |\n|---|---|\n").unwrap();
    let rows = table.split_once("\n\n").unwrap().0.lines();
    let mut cases = 0;
    for (sent, line) in rows.map(|row| row.trim_matches(['|', ' ']).split_once(" | ").unwrap()) {
        let line = line.trim_matches('`');
        for body in sent.split('`').skip(1).step_by(2) {
            let form = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
            let (parts, ()) = form.body(()).unwrap().into_parts();
            let payload = Payload::Bytes(body.as_bytes());
            let string = signer().string_to_sign_at(&parts, payload, Timestamp::try_from(NOW).unwrap(), fresh_nonce());
            assert_eq!(string.unwrap().lines().nth(5), Some(line), "{body}");
            cases += 1;
        }
    }
    assert_eq!(cases, 9);
}

#[tokio::test]
async fn protocol_live_example_is_accepted_every_time() {
    let server = EchoServer::start(&[]);
    let script = block("sh", "BASE=${BASE:-http://127.0.0.1:8080}");
    for handled in 1..=2 {
        let printed = run_block(script, &server.base);
        assert_eq!(printed.lines().last(), Some("200"), "{printed}");
        assert_eq!(server.send(get("/health")).await.json(), json!({ "handled": handled }));
    }
    assert!(block("sh", "cargo run").contains(&format!("cargo run -p countersign-cli -- serve --app demo:{KEY}")));
}
