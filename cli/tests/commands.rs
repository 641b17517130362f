//! The commands as users run them: output, exit codes, and no secret anywhere.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

const KEY: &str = "0123456789abcdef0123456789abcdef";
const TOKEN: &str = "tok_of_a_user_1";

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    for name in ["COUNTERSIGN_APP", "COUNTERSIGN_KEY", "COUNTERSIGN_TOKEN"] {
        command.env_remove(name);
    }
    command.env("no_proxy", "*");
    command
}

/// Runs the command for the app `demo`, with its key in the environment.
fn run(arguments: &[&str]) -> Ran {
    run_with(command().env("COUNTERSIGN_APP", "demo").env("COUNTERSIGN_KEY", KEY).args(arguments), b"")
}

fn run_with(command: &mut Command, stdin: &[u8]) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that does not read its input may have ended.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A running `countersign serve`.
struct Server(Child, String);

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let app = format!("demo:{KEY}");
        let mut command = command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--app", &app]).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base = line.trim_end().strip_prefix("listening on ").expect("the first line").to_owned();
        Self(child, base)
    }

    fn url(&self, target: &str) -> String {
        format!("{}{target}", self.1)
    }

    /// Ends the server and returns what it wrote to stderr.
    fn stderr(mut self) -> String {
        self.0.kill().unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.0.stderr.take().unwrap(), &mut text).unwrap();
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("countersign-cli-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn send_shows_the_answer_and_its_exit_code() {
    let server = Server::start(&[]);
    let json = r#"{"amount":10}"#;
    let sent = run(&["send", "-d", json, "-H", "content-type: application/json", &server.url("/orders?b=2&a=x y")]);
    assert_eq!((sent.code, &*sent.stderr), (0, ""), "{}", sent.stdout);
    assert_eq!(sent.json()["body_len"], json.len());
    assert_eq!(sent.json()["method"], "POST");

    let form = run(&["send", "--json", "--form", "a=b c&d", "--form", "e=1+1", &server.url("/form")]);
    assert_eq!(form.code, 0, "{}", form.stderr);
    let body: Value = serde_json::from_str(form.json()["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["content_type"], "application/x-www-form-urlencoded");
    assert_eq!((&form.json()["status"], &form.json()["refusal"]), (&200.into(), &Value::Null));

    let refused = run(&["send", "--audience", "other", &server.url("/orders")]);
    assert_eq!((refused.code, &*refused.stdout), (4, ""));
    for part in ["refused with 401 Unauthorized: invalid_signature", "line 3, the audience differs", "signed:  other"] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert!(!refused.stderr.contains('\u{1b}'), "there are no colours without a terminal");

    let nowhere = run(&["send", "http://127.0.0.1:1/"]);
    assert_eq!(nowhere.code, 6);
    assert!(nowhere.stderr.starts_with("error: there was no answer: "), "{}", nowhere.stderr);

    // Without the key of the service, health is open and every other path is not.
    assert_eq!(run(&["send", &server.url("/health")]).code, 0);
    let log = server.stderr();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.starts_with("refused a request of app demo (wrong_signature): invalid_signature: "), "{log}");
    assert!(!log.contains(KEY));
}

#[test]
fn send_requires_a_signed_response() {
    let server = Server::start(&["--sign-responses", "--signed-response-header", "location"]);
    let options = ["send", "--require-signed", "--signed-response-header", "location", "-d", "text"];
    let signed = run(&[&options[..], &["-H", "content-type: text/plain", "-i", &server.url("/orders")]].concat());
    assert_eq!(signed.code, 0, "{}", signed.stderr);
    assert!(signed.stderr.contains("x-response-sign: "), "{}", signed.stderr);
    // The two schemes differ.
    let other = run(&["send", "--require-signed", &server.url("/orders")]);
    assert_eq!(other.code, 6, "{}", other.stderr);
    assert!(other.stderr.contains("the response's signature does not match"), "{}", other.stderr);
}

#[test]
fn send_takes_an_unsigned_response_for_an_unknown_outcome() {
    let (plain, signing) = (Server::start(&[]), Server::start(&["--sign-responses"]));
    let unsigned = run(&["send", "--require-signed", &plain.url("/orders")]);
    assert_eq!((unsigned.code, &*unsigned.stdout), (6, ""), "{}", unsigned.stderr);
    assert!(unsigned.stderr.contains("the outcome of the request is unknown: the response is not signed"));
    let mut other_key = command();
    other_key.env("COUNTERSIGN_APP", "demo").env("COUNTERSIGN_KEY", "f".repeat(32));
    let refused = run_with(other_key.args(["send", "--require-signed", &signing.url("/orders")]), b"");
    assert_eq!(refused.code, 6);
    assert!(refused.stderr.contains("The unsigned response says: invalid_signature"), "{}", refused.stderr);
}

#[test]
fn serve_cannot_sign_responses_with_a_signed_accept_encoding() {
    let ran = run(&["serve", "--app", "demo", "--sign-responses", "--signed-header", "accept-encoding"]);
    assert_eq!(ran.code, 2);
    assert!(ran.stderr.contains("--sign-responses: ") && ran.stderr.contains("accept-encoding"), "{}", ran.stderr);
}

#[test]
fn send_uploads_a_file_by_its_digest() {
    let (server, folder) = (Server::start(&["--body-limit", "8000000"]), Folder::new("upload"));
    let file = folder.write("file", vec![7; 5_000_000]);
    let sent = run(&["send", "-X", "PUT", "--data-file", &file, &server.url("/files/1")]);
    assert_eq!((sent.code, &*sent.stderr), (0, ""), "{}", sent.stdout);
    assert_eq!(sent.json()["body_len"], 5_000_000);
    let output = folder.0.join("answer");
    assert_eq!(run(&["send", "-o", output.to_str().unwrap(), &server.url("/x")]).code, 0);
    assert!(std::fs::read_to_string(output).unwrap().contains("\"path\":\"/x\""));
    assert_eq!(run(&["send", "--data-file", "/does/not/exist", &server.url("/x")]).code, 3);
}

#[test]
fn send_reports_another_error_of_the_service() {
    let server = Server::start(&["--no-explanations"]);
    let wrong = run_with(
        command().env("COUNTERSIGN_KEY", "w".repeat(32)).args(["send", "--app", "demo", &server.url("/")]),
        b"",
    );
    assert_eq!(wrong.code, 4);
    assert!(wrong.stderr.contains("does not explain signatures"), "{}", wrong.stderr);
    assert!(!wrong.stderr.contains(&"w".repeat(16)), "{}", wrong.stderr);

    let (address, answer) = answer_once(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone".to_vec());
    let missing = run(&["send", &format!("http://{address}/")]);
    answer.join().unwrap();
    assert_eq!((missing.code, &*missing.stdout), (5, "gone"));
    assert!(missing.stderr.contains("404 Not Found"), "{}", missing.stderr);
}

#[test]
fn signed_requests_are_accepted_from_curl() {
    let server = Server::start(&["--carrier", "either", "--signed-header", "idempotency-key"]);
    for arguments in [
        &["-X", "DELETE"][..],
        &["-d", "it's \"quoted\" $HOME"],
        &["-d", "{}", "-H", "content-type: application/json; charset=utf-8"],
        &["--form", "name=a b", "--form", "n=1+1", "-H", "idempotency-key: 7"],
        &["--carrier", "query"],
        &["-H", "idempotency-key: "],
    ] {
        let url = server.url("/a/./b%20c?x=[1]&y={2}");
        let arguments = [&["sign", "--curl", "--signed-header", "idempotency-key"], arguments, &[&*url]].concat();
        let signed = run(&arguments);
        assert_eq!((signed.code, &*signed.stderr), (0, ""));
        let sent = run_with(Command::new("sh").args(["-c", &signed.stdout]).env("no_proxy", "*"), b"");
        assert_eq!(sent.json()["path"], "/a/./b%20c", "{} {}{}", signed.stdout, sent.stdout, sent.stderr);
    }
}

#[test]
fn sign_prints_headers_json_and_the_string() {
    let at = ["--at", "1700000000", "--nonce", "4f3c2b1a0d9e8f7a6b5c4d3e2f1a0b9c"];
    let url = "http://api.example.com/v1/orders?symbol=BTC&side=BUY&amount=10";
    let sign = |more: &[&str]| run(&[&["sign"], &at[..], more, &[url]].concat());
    let headers = sign(&[]);
    assert_eq!(headers.code, 0, "{}", headers.stderr);
    assert!(
        headers.stdout.contains("x-sign: 6f65cf0aea12a0762697dd8bd0a887ad255015091ef55e0d40cbcba0d1f05bf4\n"),
        "{}",
        headers.stdout
    );
    assert_eq!(headers.stdout.lines().count(), 4);
    let json = sign(&["--json"]).json();
    assert_eq!(json["headers"]["x-timestamp"], "1700000000");
    assert_eq!(json["url"], url);
    let string = run_with(
        command()
            .env("COUNTERSIGN_KEY", KEY)
            .env("COUNTERSIGN_TOKEN", TOKEN)
            .args(["sign", "--app", "demo", "--string"])
            .args(at)
            .arg(url),
        b"",
    );
    let expected = "CS1-REQUEST\nGET\n\n/v1/orders\namount=10&side=BUY&symbol=BTC\n\n\n\ndemo\n{token}\n{key}\n1700000000\n4f3c2b1a0d9e8f7a6b5c4d3e2f1a0b9c\n";
    assert_eq!(string.stdout, expected);
    let query = sign(&["--carrier", "query"]);
    assert!(query.stdout.starts_with(&format!("{url}&appId=demo&")), "{}", query.stdout);
}

#[test]
fn keys_come_from_the_environment_a_file_or_a_key_file() {
    let folder = Folder::new("keys");
    let alone = folder.write("key", format!("{KEY}\n"));
    let toml = folder.write(
        "keys.toml",
        format!(
            "[apps.demo]\nkeys = [\n  {{ secret = \"text:{0}\", not-before = 2999-01-01T00:00:00Z }},\n  {{ secret = \"text:{0}\", not-after = 2001-01-01T00:00:00Z }},\n  {{ secret = \"text:{KEY}\" }},\n]\n",
            "x".repeat(32)
        )
        .replacen(&"x".repeat(32), &"y".repeat(32), 1),
    );
    let sign = ["sign", "--app", "demo", "--at", "1700000000", "--nonce", "nonce-1", "http://a/"];
    let by = |command: &mut Command| run_with(command.args(sign), b"").stdout;
    let expected = by(command().env("COUNTERSIGN_KEY", KEY));
    assert!(expected.contains("x-sign: "));
    let spelled = format!("hex:{}", KEY.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(by(command().env("COUNTERSIGN_KEY", spelled)), expected);
    for more in [["--key-env", "OTHER"], ["--key-file", &alone], ["--keys", &toml]] {
        let mut command = command();
        command.env("OTHER", KEY).args(sign).args(more);
        let ran = run_with(&mut command, b"");
        assert_eq!(ran.stdout, expected, "{more:?}: {}", ran.stderr);
    }
    for (more, message) in [
        (["--key-env", "UNSET"], "there is no key: set the environment variable of --key-env"),
        (["--key-file", "/does/not/exist"], "--key-file: "),
        (["--keys", "/does/not/exist"], "--keys: "),
        (["--keys", &alone], "--keys: "),
    ] {
        let ran = run_with(command().args(sign).args(more), b"");
        assert_eq!(ran.code, 3, "{more:?}");
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(message), "{}", ran.stderr);
        assert!(!ran.stderr.contains(KEY), "{}", ran.stderr);
    }
    let short = run_with(command().env("COUNTERSIGN_KEY", "hush-hush").args(sign), b"");
    assert!(
        short.code == 3 && short.stderr.contains("at least 16") && !short.stderr.contains("hush"),
        "{}",
        short.stderr
    );
}

/// A request that was signed at this second, as text.
fn saved(more: &[&str], body: &str) -> String {
    let json = run(&[&["sign", "--json"], more, &["http://a.example/p?b=2&a=1"]].concat()).json();
    let headers = json["headers"].as_object().unwrap().iter();
    let headers: String = headers.map(|(name, value)| format!("{name}: {}\n", value.as_str().unwrap())).collect();
    format!("{} /p?b=2&a=1 HTTP/1.1\nhost: a.example\n{headers}\n{body}", json["method"].as_str().unwrap())
}

#[test]
fn verify_tells_the_verdict_and_the_age() {
    let verify = |text: &str, more: &[&str]| {
        let mut command = command();
        command.env("COUNTERSIGN_APP", "demo").env("COUNTERSIGN_KEY", KEY).arg("verify").args(more);
        run_with(&mut command, text.as_bytes())
    };
    let request = saved(&["-d", "body", "-H", "content-type: text/plain"], "body\n");
    let request = request.replace("host: a.example", "host: a.example\ncontent-length: 4");
    let valid = verify(&request, &[]);
    assert_eq!(valid.code, 0, "{}", valid.stdout);
    assert!(
        valid.stdout.starts_with("valid: the signature is that of demo\nwith the audience \"\" and the prefix"),
        "{}",
        valid.stdout
    );
    assert!(valid.stdout.contains("\nage: 0 s\n"), "{}", valid.stdout);
    assert!(valid.stdout.contains("\na=1&b=2\n"), "{}", valid.stdout);

    let old = verify(&saved(&["--at", "1700000000"], ""), &["-"]);
    assert_eq!(old.code, 0);
    assert!(old.stdout.contains("a verifier refuses it now as stale_timestamp"), "{}", old.stdout);

    let changed = verify(&request.replace("b=2", "b=3"), &["--json"]);
    assert_eq!(changed.code, 1);
    assert_eq!((&changed.json()["valid"], &changed.json()["code"]), (&false.into(), &"invalid_signature".into()));
    assert_eq!(changed.json()["cause"], "string_or_key");
    let body = verify(&request.replace("\nbody", "\nfake"), &["--json"]);
    assert_eq!(body.json()["code"], "body_mismatch");
    let unsigned = verify("GET / HTTP/1.1\n\n", &[]);
    assert!(unsigned.code == 1 && unsigned.stdout.contains("not valid: unsigned"), "{}", unsigned.stdout);
    for malformed in ["", "\n", "GET", "GET / HTTP/1.1\nno colon\n\n", "\u{0}\u{1}"] {
        let ran = verify(malformed, &[]);
        assert_eq!(ran.code, 3, "{malformed:?}: {}", ran.stdout);
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
    for ran in [valid, old, changed, body] {
        assert!(!ran.stdout.contains(KEY) && !ran.stderr.contains(KEY));
    }
}

#[test]
fn verify_reads_the_apps_of_a_key_file() {
    let folder = Folder::new("apps");
    let other = "y".repeat(32);
    let keys = folder.write(
        "keys.toml",
        format!(
            "[apps.demo]\nkeys = [{{ secret = \"text:{other}\" }}, {{ secret = \"text:{KEY}\" }}]\n[apps.old]\nkeys = [{{ secret = \"text:{KEY}\", not-after = 2023-12-31T00:00:00Z }}]\n[apps.off]\nenabled = false\nkeys = [{{ secret = \"text:{KEY}\" }}]\n"
        ),
    );
    let verify = |app: &str, at: &str, more: &[&str]| {
        let text = saved(&["--app", app, "--at", at], "");
        run_with(command().args(["verify", "--json", "--keys", &keys]).args(more), text.as_bytes())
    };
    // The second key, and a key that was active when the request was signed.
    for (app, at) in [("demo", "1700000000"), ("old", "1700000000")] {
        let ran = verify(app, at, &[]);
        assert_eq!((ran.code, &ran.json()["app_id"]), (0, &app.into()), "{}", ran.stdout);
    }
    let cases = [
        ("unknown", "1700000000", "unknown_app"),
        ("off", "1700000000", "app_disabled"),
        ("old", "1800000000", "no_active_key"),
    ];
    for (app, at, cause) in cases {
        let ran = verify(app, at, &[]);
        assert_eq!((ran.code, &ran.json()["cause"]), (1, &cause.into()), "{}{}", ran.stdout, ran.stderr);
        assert!(!ran.stdout.contains(KEY));
    }
    assert_eq!(verify("unknown", "1700000000", &["--app", "demo"]).json()["cause"], "another_app");
}

#[test]
fn verify_finds_a_spelling_in_every_place_of_the_token() {
    for more in [&["--carrier", "query"][..], &["--token-place", "bearer"], &["--token-place", "cookie:sid"], &[]] {
        let decoded = folder_key("place", &hex::decode(KEY).unwrap());
        let mut sign = command();
        sign.env("COUNTERSIGN_TOKEN", TOKEN).args(["sign", "--json", "--app", "demo", "--key-file", &decoded.1]);
        let json = run_with(sign.args(more).arg("http://a.example/p?b=2"), b"").json();
        let url = json["url"].as_str().unwrap().strip_prefix("http://a.example").unwrap().to_owned();
        let headers = json["headers"].as_object().unwrap().iter();
        let headers: String = headers.map(|(name, value)| format!("{name}: {}\n", value.as_str().unwrap())).collect();
        let request = format!("GET {url} HTTP/1.1\nhost: a.example\n{headers}\n");
        let mut verify = command();
        verify.env("COUNTERSIGN_KEY", KEY).args(["verify", "--json"]).args(more);
        let ran = run_with(&mut verify, request.as_bytes());
        assert_eq!(ran.json()["cause"], "key_spelling", "{more:?}: {}{}", ran.stdout, ran.stderr);
    }
}

/// A file with this key, as text that the command line reads.
fn folder_key(name: &str, bytes: &[u8]) -> (Folder, String) {
    let folder = Folder::new(name);
    let path = folder.write("key", format!("hex:{}", hex::encode(bytes)));
    (folder, path)
}

#[test]
fn verify_finds_the_spelling_of_the_key() {
    use hmac::{Hmac, KeyInit, Mac};
    let string = "CS1-REQUEST\nGET\n\n/p\na=1&b=2\n\n\n\ndemo\nTOKEN\nKEY\n1700000000\nnonce-1".replace("TOKEN", TOKEN);
    let sign = |mac_key: &[u8], line: &[u8]| {
        let (before, after) = string.split_once("KEY").unwrap();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(mac_key).unwrap();
        [before.as_bytes(), line, after.as_bytes()].into_iter().for_each(|part| mac.update(part));
        hex::encode(mac.finalize().into_bytes())
    };
    let (key, decoded) = (KEY.as_bytes(), hex::decode(KEY).unwrap());
    let cases = [
        (sign(&decoded, &decoded), "decoded from hex digits"),
        (sign(&decoded, key), "decoded from hex digits for the HMAC"),
        (sign(key, &decoded), "decoded from hex digits in the string"),
        (sign(format!("{KEY}\n").as_bytes(), format!("{KEY}\n").as_bytes()), "with a line end after it"),
        (sign(key, b""), "leaves the line of the key empty"),
        (sign(key, b"{key}"), "writes {key}"),
        (sign(KEY.to_uppercase().as_bytes(), KEY.to_uppercase().as_bytes()), "in capital letters"),
    ];
    for (sign, mistake) in cases {
        let request = format!(
            "GET /p?b=2&a=1 HTTP/1.1\nhost: a\nx-app-id: demo\nx-timestamp: 1700000000\nx-nonce: nonce-1\nx-token: {TOKEN}\nx-sign: {sign}\n\n"
        );
        let mut command = command();
        let ran = run_with(command.env("COUNTERSIGN_KEY", KEY).args(["verify", "--app", "demo"]), request.as_bytes());
        assert_eq!(ran.code, 1);
        assert!(
            ran.stdout.contains("cause: key_spelling: ") && ran.stdout.contains(mistake),
            "{mistake}: {}",
            ran.stdout
        );
        assert!(
            !ran.stdout.contains(KEY) && !ran.stdout.contains(TOKEN) && !ran.stdout.contains(&sign),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn explain_compares_strings_requests_and_answers() {
    let folder = Folder::new("explain");
    let string = "CS1-REQUEST\nGET\n\n/api/p\n\n\n\n\ndemo\n\n{key}\n1700000000\nnonce-1";
    let signed = folder.write("signed", string.replace("{key}", KEY));
    let arrived = string.replace("/api/p", "/p");
    let problem = serde_json::json!({"code": "invalid_signature", "string_to_sign": arrived}).to_string();
    let head = "HTTP/2 401\r\nx-error-code: invalid_signature\r\ncontent-type: application/problem+json\r\n\r\n";
    for (name, text) in
        [("string", arrived.clone()), ("json", problem.clone()), ("response", format!("{head}{problem}"))]
    {
        let answer = folder.write(name, text);
        let ran = run(&["explain", &signed, &answer]);
        assert_eq!(ran.code, 1, "{name}: {}", ran.stderr);
        for part in ["line 4, the path differs", "signed:  /api/p", "arrived: /p", "cause: prefix_removed: "] {
            assert!(ran.stdout.contains(part), "{name}: {}", ran.stdout);
        }
        assert!(!ran.stdout.contains(KEY), "{}", ran.stdout);
        let json = run(&["explain", "--json", &signed, &answer]).json();
        assert_eq!((&json["line"], &json["cause"]), (&"path".into(), &"prefix_removed".into()));
    }
    let same = run_with(command().args(["explain", &signed, "-"]), string.as_bytes());
    assert_eq!(same.code, 0);
    assert!(same.stdout.starts_with("cause: key: "), "{}", same.stdout);

    let request = "GET /api/p HTTP/1.1\nx-app-id: demo\nx-timestamp: 1700000000\nx-nonce: nonce-1\nx-sign: SIGN\n\n";
    let request = folder.write("request", request.replace("SIGN", &"0".repeat(64)));
    let ran = run_with(command().args(["explain", &request, "-"]), arrived.as_bytes());
    assert!(ran.stdout.contains("cause: prefix_removed"), "{}{}", ran.stdout, ran.stderr);

    let other = folder.write("other", r#"{"code":"stale_timestamp"}"#);
    let ran = run(&["explain", &signed, &other]);
    assert!(ran.code == 3 && ran.stderr.contains("has no string to sign"), "{}", ran.stderr);
    assert_eq!(run(&["explain", "-", "-"]).code, 2);
    assert_eq!(run(&["explain", "/does/not/exist", &signed]).code, 3);
    let hostile = format!("CS1-REQUEST\nGET\n\n\u{1b}[2J\u{7}{}\n\n\n\n\na\n\nk\n1\nn", "x".repeat(100_000));
    let ran = run_with(command().args(["explain", &signed, "-"]), hostile.as_bytes());
    assert!(ran.stdout.len() < 4000 && !ran.stdout.contains('\u{1b}'), "{}", ran.stdout);
}

#[test]
fn explain_hides_the_key_and_refuses_swapped_files() {
    let folder = Folder::new("hides");
    let string = "CS1-REQUEST\nGET\n\n/p\na=1\n\n\n\ndemo\n\n{key}\n1700000000\nnonce-1";
    let answer = folder.write("answer", string);
    for i in 1..8 {
        let mut lines: Vec<_> = string.split('\n').map(str::to_owned).collect();
        lines[i] = format!("{}key={KEY}", lines[i]);
        let signed = folder.write("signed", lines.join("\n"));
        let ran = run(&["explain", &signed, &answer]);
        assert_eq!(ran.code, 1);
        assert!(!ran.stdout.contains(KEY), "line {i}: {}", ran.stdout);
    }
    // A line end after the last line, as editors and `echo` write it.
    let signed = folder.write("signed", format!("{}\n", string.replace("{key}", KEY)));
    let ran = run(&["explain", &signed, &answer]);
    assert!(ran.code == 0 && ran.stdout.contains("next: save the request"), "{}", ran.stdout);
    let signed = folder.write("signed", format!("{}\n", string.replace("/p", "/q").replace("{key}", KEY)));
    assert!(run(&["explain", &signed, &answer]).stdout.contains("the line end after the last line"));

    let json =
        folder.write("json", serde_json::json!({"code": "invalid_signature", "string_to_sign": string}).to_string());
    let swapped = run(&["explain", &json, &signed.replace("signed", "none")]);
    assert_eq!(swapped.code, 3);
    let swapped = run(&["explain", &answer, &folder.write("text", "401 {\"code\":…}")]);
    assert!(swapped.code == 3 && swapped.stderr.contains("are the two files swapped?"), "{}", swapped.stderr);

    let request = "GET /p?a=1 HTTP/2\nx-app-id: demo\nx-timestamp: 1700000000\nx-nonce: nonce-1\nx-sign: SIGN\n\n";
    let request = folder.write("request", request.replace("SIGN", &"0".repeat(64)));
    let ran = run(&["explain", &request, &answer]);
    assert!(ran.code == 0 && ran.stdout.contains("note: SIGNED is a request"), "{}{}", ran.stdout, ran.stderr);
    let continued = format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/3 401\r\nx-error-code: invalid_signature\r\ncontent-type: application/problem+json\r\n\r\n{}",
        std::fs::read_to_string(&json).unwrap()
    );
    let ran = run(&["explain", &request, &folder.write("continued", continued)]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
}

#[test]
fn no_error_shows_a_token_or_a_signature() {
    let mut send = command();
    send.env("COUNTERSIGN_KEY", KEY).env("COUNTERSIGN_TOKEN", TOKEN);
    let ran = run_with(send.args(["send", "--app", "demo", "--carrier", "query", "http://127.0.0.1:1/p"]), b"");
    assert_eq!(ran.code, 6);
    assert!(!ran.stderr.contains(TOKEN) && !ran.stderr.contains("sign="), "{}", ran.stderr);
    let secret = "hush-hush-hush-hush-hush";
    let ran = run_with(command().args(["sign", "--app", "demo", "--key-env", secret, "http://a/"]), b"");
    assert!(ran.code == 3 && !ran.stderr.contains("hush"), "{}", ran.stderr);
}

#[test]
fn send_shows_the_errors_of_the_service_itself() {
    for (head, code) in [("200 OK\r\nx-error-code: none", 0), ("422 Unprocessable\r\nx-error-code: out_of_stock", 5)] {
        let response = format!("HTTP/1.1 {head}\r\ncontent-length: 4\r\n\r\nbody");
        let (address, answer) = answer_once(response.into_bytes());
        let ran = run(&["send", &format!("http://{address}/")]);
        answer.join().unwrap();
        assert_eq!((ran.code, &*ran.stdout), (code, "body"), "{}", ran.stderr);
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    for arguments in
        [&["keygen"][..], &["completions", "bash"], &["man"], &["vectors", "print"], &["sign", "--json", "http://a/"]]
    {
        let mut command = command();
        command.env("COUNTERSIGN_APP", "demo").env("COUNTERSIGN_KEY", KEY).args(arguments);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
    }
}

#[cfg(unix)]
#[test]
fn a_full_disk_and_a_pipe_as_a_body_are_errors() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command().arg("keygen").stdout(full).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(3) && !stderr.contains("panicked"), "{stderr}");
    for file in ["/dev/null", "/"] {
        let ran = run(&["send", "--data-file", file, "http://127.0.0.1:1/"]);
        assert!(ran.code == 3 && ran.stderr.contains("expected a regular file"), "{}", ran.stderr);
    }
}

#[test]
fn secrets_in_the_wrong_place_are_not_repeated() {
    let secret = "hush-hush-hush-hush-hush";
    for arguments in [
        &["sign", "--token-place", &format!("cookie:a={secret}"), "http://a/"][..],
        &["serve", "--app", &format!("{secret}:demo")],
        &["verify", secret],
        &["explain", secret, "-"],
        &["send", "--data-file", secret, "http://a/"],
        &["sign", "--key-file", secret, "http://a/"],
    ] {
        let ran = run(arguments);
        assert!(ran.code >= 2, "{arguments:?}");
        assert!(!ran.stderr.contains("hush") && !ran.stdout.contains("hush"), "{arguments:?}: {}", ran.stderr);
    }
    let help = run_with(command().env("COUNTERSIGN_APP", secret).args(["sign", "--help"]), b"");
    assert!(!help.stdout.contains("hush"), "{}", help.stdout);
    // Other users can read arguments.
    let mut sign = command();
    sign.env("COUNTERSIGN_KEY", KEY).env("COUNTERSIGN_TOKEN", TOKEN).args([
        "sign",
        "--app",
        "demo",
        "--curl",
        "http://a/",
    ]);
    let curl = run_with(&mut sign, b"").stdout;
    assert!(!curl.lines().next().unwrap().contains(TOKEN) && curl.contains(TOKEN), "{curl}");
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text_are_no_panic() {
    use std::os::unix::ffi::OsStrExt;
    let ran = run_with(command().arg(std::ffi::OsStr::from_bytes(b"\xff")), b"");
    assert_eq!(ran.code, 2, "{}", ran.stderr);
}

#[test]
fn vectors_check_the_output_of_a_client() {
    let printed = run(&["vectors", "print"]);
    let mut cases = printed.json();
    let count = cases.as_array().unwrap().len();
    assert!(count >= 20);
    let check = |cases: &Value, more: &[&str]| {
        run_with(command().args(["vectors", "check", "-"]).args(more), cases.to_string().as_bytes())
    };
    let all = check(&cases, &[]);
    assert_eq!((all.code, all.stdout), (0, format!("{count} of {count} are right\n")));
    let sorted = cases.as_array().unwrap().iter().position(|case| case["name"] == "query-sorted").unwrap();
    cases[sorted]["sign"] = "0".repeat(64).into();
    let string = cases[sorted]["string_to_sign"].as_str().unwrap();
    cases[sorted]["string_to_sign"] =
        string.replace("amount=10&side=BUY&symbol=BTC", "symbol=BTC&side=BUY&amount=10").into();
    cases.as_array_mut().unwrap().remove(0);
    let wrong = check(&cases, &[]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.stdout.contains("query-sorted: line 5, the query, differs"), "{}", wrong.stdout);
    assert!(
        wrong.stdout.contains("bare-get: missing") && wrong.stdout.contains("sort the parameters"),
        "{}",
        wrong.stdout
    );
    let json = check(&cases, &["--json"]).json();
    assert_eq!((json["right"].as_u64(), json["of"].as_u64()), (Some(count as u64 - 2), Some(count as u64)));
    assert_eq!(check(&serde_json::json!({}), &[]).code, 3);
    assert_eq!(check(&serde_json::json!([{"name": "unknown", "sign": ""}]), &[]).code, 3);
}

#[test]
fn keygen_makes_keys_that_work() {
    let (one, other) = (run(&["keygen"]).stdout, run(&["keygen"]).stdout);
    assert!(one.len() == 65 && one != other && one.trim_end().bytes().all(|b| b.is_ascii_hexdigit()));
    assert_eq!(run(&["keygen", "--bytes", "16"]).stdout.len(), 33);
    assert_eq!(run(&["keygen", "--bytes", "8"]).code, 2);
    let folder = Folder::new("keygen");
    let file = folder.write("keys.toml", run(&["keygen", "--toml", "old.shop"]).stdout);
    let signed = run_with(command().args(["sign", "--app", "old.shop", "--keys", &file, "http://a/"]), b"");
    assert_eq!(signed.code, 0, "{}", signed.stderr);
}

#[test]
fn help_completions_and_the_manual_page_are_there() {
    for arguments in [&["--help"][..], &["send", "--help"], &["man"], &["completions", "bash"], &["completions", "zsh"]]
    {
        let ran = run(arguments);
        assert!(ran.code == 0 && ran.stdout.contains("countersign") && ran.stderr.is_empty(), "{arguments:?}");
        assert!(!ran.stdout.contains(KEY), "{arguments:?}");
    }
    assert!(run(&["--help"]).stdout.contains("4  send: the service refused the request"));
    for command in ["sign", "send", "verify", "explain", "keygen", "vectors", "serve"] {
        assert!(run(&[command, "--help"]).stdout.contains("Example"), "{command}");
    }
}

#[test]
fn wrong_usage_shows_no_secret() {
    let secret = "hush-hush-hush-hush-hush-hush";
    for arguments in [
        &["send", secret, secret][..],
        &["sign", "--key", secret, "http://a/"],
        &["sign", "--key-file"],
        &["sign", "--at", secret, "http://a/"],
        &["sign", "--key-file", "a", "--keys", secret, "http://a/"],
        &[secret],
        &["verify", "--prefix", secret],
        &["keygen", "--bytes", secret],
        &["vectors"],
        &[],
    ] {
        let ran = run(arguments);
        assert_eq!(ran.code, 2, "{arguments:?}: {}", ran.stderr);
        assert!(!ran.stderr.contains("hush") && ran.stdout.is_empty(), "{arguments:?}: {}", ran.stderr);
    }
}

/// Answers the first request on a free port of loopback with these bytes.
fn answer_once(response: Vec<u8>) -> (std::net::SocketAddr, std::thread::JoinHandle<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let _ = std::io::Read::read(&mut stream, &mut request).unwrap();
        stream.write_all(&response).unwrap();
    });
    (address, answer)
}
