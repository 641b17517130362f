//! The commands `sign`, `send` and `vectors` with tokens and session keys.

use super::*;

fn run(command: &mut Command) -> (i32, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn example() -> Value {
    serde_json::from_str(include_str!("../../../tests/vectors/tokens.json")).unwrap()
}

#[tokio::test]
async fn send_signs_with_a_session_key() {
    let server = Server::start(&["--tokens", "--session-keys"]);
    let issued = server.issue(json!({ "user": "u" })).await;
    let text = |name: &str| issued[name].as_str().unwrap().to_owned();
    let folder = std::env::temp_dir().join(format!("countersign-cli-session-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("key");
    std::fs::write(&file, format!("{}\n", text("session_key"))).unwrap();
    for option in [["--session-key-env", "SESSION"], ["--session-key-file", file.to_str().unwrap()]] {
        let mut send = command();
        send.env("SESSION", text("session_key")).env("COUNTERSIGN_TOKEN", text("token"));
        let (code, stdout, stderr) =
            run(send.args(["send", "--app", "demo"]).args(option).arg(server.url("/me").as_str()));
        assert_eq!(code, 0, "{option:?}: {stderr}");
        assert_eq!(serde_json::from_str::<Value>(&stdout).unwrap()["signed_by"], "session_key");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn sign_reproduces_the_worked_example() {
    let example = &example()["session_key"];
    let text = |name: &str| example[name].as_str().unwrap().to_owned();
    let mut sign = command();
    sign.env("SESSION", text("session_key")).env("COUNTERSIGN_TOKEN", text("token"));
    sign.args(["sign", "--app", "demo", "--session-key-env", "SESSION", "--audience", &text("audience")]);
    sign.args(["--at", &text("timestamp"), "--nonce", &text("nonce"), "http://api.example.com/me"]);
    let (code, stdout, stderr) = run(&mut sign);
    assert_eq!((code, &*stderr), (0, ""));
    assert!(stdout.contains(&format!("x-sign: {}\n", text("sign"))), "{stdout}");
    assert!(!stdout.contains(&text("session_key")), "{stdout}");
}

#[test]
fn session_key_needs_its_token() {
    let secret = "hush-hush-hush-hush-hush";
    let sign =
        |command: &mut Command, more: &[&str]| run(command.args(["sign", "--app", "demo", "http://a/"]).args(more));
    let (code, _, stderr) = sign(command().env("SESSION", secret), &["--session-key-env", "SESSION"]);
    assert!(code == 3 && stderr.contains("a session key signs with its token"), "{stderr}");
    let (code, _, stderr) = sign(command().env("COUNTERSIGN_TOKEN", "t"), &["--session-key-env", secret]);
    assert!(code == 3 && stderr.contains("there is no session key") && !stderr.contains("hush"), "{stderr}");
    let (code, _, stderr) = sign(command().env("COUNTERSIGN_TOKEN", "t"), &["--session-key-file", secret]);
    assert!(code == 3 && stderr.contains("--session-key-file: ") && !stderr.contains("hush"), "{stderr}");
    for more in [["--key-file", secret], ["--keys", secret], ["--key-env", secret], ["--session-key-file", secret]] {
        let (code, _, stderr) = sign(&mut command(), &[&["--session-key-env", "SESSION"][..], &more].concat());
        assert!(code == 2 && stderr.contains("cannot be used with") && !stderr.contains("hush"), "{stderr}");
    }
}

#[test]
fn vectors_print_the_examples_for_tokens() {
    let (code, stdout, _) = run(command().args(["vectors", "tokens"]));
    assert_eq!((code, serde_json::from_str::<Value>(&stdout).unwrap()), (0, example()));
    for name in ["session_key", "renewal", "cookie_token_line"] {
        assert!(example()[name].is_object(), "{name}");
    }
}

#[test]
fn page_of_the_echo_server_has_all_options() {
    let (_, help, _) = run(command().args(["serve", "--help"]));
    let page = include_str!("../../../docs/echo_server.md");
    let options: Vec<_> = help.lines().filter_map(|line| line.trim_start().strip_prefix("--")).collect();
    assert!(options.len() > 20, "{help}");
    for option in options {
        let name = option.split([' ', ',']).next().unwrap();
        assert!(page.contains(&format!("`--{name}")), "docs/echo_server.md does not have --{name}");
    }
    for path in help.lines().filter_map(|line| line.trim_start().split_once(" /_")).map(|(_, path)| path) {
        let path = path
            .split(' ')
            .next()
            .unwrap()
            .replace("ID", "{id}")
            .replace("USER", "{user}")
            .replace("STATUS", "{status}");
        assert!(page.contains(&format!(" /_{path}`")), "docs/echo_server.md does not have /_{path}");
    }
}
