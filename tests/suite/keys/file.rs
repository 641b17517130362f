//! The format of key files, and the errors of invalid ones.

use countersign::{Secret, Signer, Verifier, clock::ManualClock, store::conformance};

use super::{KeyFile, caller, ring, secret, secret_line};
use crate::rig::{self, NOW, get, signed_by};

#[tokio::test]
async fn key_file_passes_the_conformance_suite() {
    let file = KeyFile::new(format!(
        "[apps.demo]\nkeys = [{{ {} }}]\n[apps.off]\nenabled = false\nkeys = [{{ {} }}]\n",
        secret_line('a'),
        secret_line('b')
    ));
    let keys = file.open().unwrap();
    for unknown in ["off", "nobody"] {
        conformance::key_store(&keys, &"demo".parse().unwrap(), &unknown.parse().unwrap()).await;
    }
}

#[tokio::test]
async fn apps_are_enabled_by_default() {
    let app =
        |id: &str, line: &str, letter| format!("[apps.{id}]\n{line}\n[[apps.{id}.keys]]\n{}\n", secret_line(letter));
    let file = KeyFile::new(
        app("plain", "", 'a') + &app("\"dot.ted\"", "enabled = true", 'b') + &app("off", "enabled = false", 'c'),
    );
    let keys = file.open().unwrap();
    assert!(ring(&keys, "plain").await.is_some() && ring(&keys, "dot.ted").await.is_some());
    assert!(ring(&keys, "off").await.is_none() && ring(&keys, "nobody").await.is_none());
}

#[tokio::test]
async fn secret_can_be_text_hex_or_base64() {
    let bytes: Vec<u8> = (0xe0..=0xff).chain([0, b'\n', b':']).collect();
    let cases = [
        ("text:colons: and ünïcödé too".to_owned(), "colons: and ünïcödé too".as_bytes().to_vec()),
        (format!("hex:{}", hex::encode(&bytes)), bytes.clone()),
        (format!("hex:{}", hex::encode_upper(&bytes)), bytes.clone()),
        ("base64:4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3+Pn6+/z9/v8ACjo=".to_owned(), bytes.clone()),
        ("base64:bm90IHBhZGRlZCBhdCBhbGwu".to_owned(), b"not padded at all.".to_vec()),
    ];
    for (secret, bytes) in cases {
        let file = KeyFile::new(format!("[apps.demo]\nkeys = [{{ secret = '{secret}' }}]"));
        let verifier = Verifier::new(file.open().unwrap()).with_clock(ManualClock::at(NOW));
        let signer = Signer::new("demo".parse().unwrap(), Secret::from_bytes(bytes).unwrap());
        let verdict = verifier.verify(rig::incoming(signed_by(&signer, NOW, get("/")))).await;
        assert!(verdict.is_ok(), "{secret}");
    }
}

#[tokio::test]
async fn key_names_and_spans_are_read() {
    // 1,700,000,000 is 2023-11-14T22:13:20Z.
    let cases = [
        ("not-before = 2023-11-14T22:13:20Z", true),
        ("not-before = 2023-11-14T22:13:21Z", false),
        ("not-after = 2023-11-14T22:13:20Z", true),
        ("not-after = 2023-11-14 22:13:19Z", false),
        ("not-before = 2023-11-15T03:43:20+05:30", true),
        ("not-before = 2023-11-15T03:43:21+05:30", false),
        ("not-after = 2023-11-14T14:13:20-08:00", true),
        ("not-after = 2023-11-14T14:13:19-08:00", false),
        ("not-after = 1970-01-01T00:00:00Z", false),
        ("not-before = 9999-12-31T23:59:59Z", false),
        ("not-before = 2023-11-14T22:13:20.000Z", true),
        ("not-before = 2023-11-01T00:00:00Z, not-after = 2023-12-01T00:00:00Z", true),
    ];
    for (span, is_active) in cases {
        let file =
            KeyFile::new(format!("[apps.demo]\nkeys = [{{ {}, name = \"2023.q4\", {span} }}]", secret_line('a')));
        let verifier = Verifier::new(file.open().unwrap()).with_clock(ManualClock::at(NOW));
        let signer = Signer::new("demo".parse().unwrap(), secret('a'));
        let verdict = caller(verifier.verify(rig::incoming(signed_by(&signer, NOW, get("/")))).await);
        assert_eq!(verdict.is_ok(), is_active, "{span}");
        assert!(verdict.is_err() || verdict.unwrap().key_name() == Some("2023.q4"));
    }
}

/// Five keys of one app, one per line from line 2 on.
fn five() -> String {
    let lines = ['a', 'b', 'c', 'd', 'e'].map(|letter| format!("{{ {} }},\n", secret_line(letter)));
    format!("[apps.demo]\nkeys = [{}]\n", lines.concat())
}

#[test]
fn invalid_file_error_names_line_and_column() {
    let key = |rest: &str| format!("[apps.demo]\nkeys = [\n  {{ {}{rest} }},\n]\n", secret_line('a'));
    let secret = |value: &str| format!("[apps.demo]\n[[apps.demo.keys]]\nsecret = {value}\n");
    let app = format!("[apps.demo]\nkeys = [{{ {} }}]\n", secret_line('a'));
    let cases = [
        // No apps or keys.
        ("# nobody\n".to_owned(), (1, 1), "there is no app"),
        ("[apps]\n".to_owned(), (1, 1), "there is no app"),
        ("[apps.demo]\n".to_owned(), (1, 1), "app demo has no keys"),
        ("\n[apps.demo]\nkeys = []\n".to_owned(), (3, 8), "app demo: a key ring needs at least one key"),
        // Unknown names.
        (format!("{app}\n[app.other]\n"), (4, 2), "unknown name: expected apps"),
        (format!("{app}enabeld = false\n"), (3, 1), "unknown name: expected data, enabled, keys"),
        (key(", nmae = 'x'"), (3, 55), "unknown name: expected name, not-after, not-before, secret"),
        ("[apps.a.b]\n".to_owned(), (1, 9), "unknown name: expected data, enabled, keys"),
        // Not TOML.
        (format!("{app}[apps.other\n"), (3, 12), "unclosed table"),
        (format!("{app}[apps.demo]\n"), (3, 7), "app demo is in the file twice, the first time in line 1"),
        (format!("{app}[apps.'demo']\n"), (3, 7), "app demo is in the file twice, the first time in line 1"),
        (format!("{app}enabled = true\nenabled = false\n"), (4, 1), "duplicate key"),
        (secret("text:0123456789abcdef"), (3, 10), "invalid boolean"),
        (secret("'text:0123456789abcdef"), (3, 32), "invalid literal string"),
        // Unexpected types.
        (format!("{app}enabled = \"false\"\n"), (3, 11), "expected true or false"),
        ("apps = 1\n".to_owned(), (1, 8), "expected a table of apps"),
        ("[apps]\ndemo = 'text:0123456789abcdef'\n".to_owned(), (2, 8), "expected an app"),
        ("[apps.demo]\nkeys = 'text:0123456789abcdef'\n".to_owned(), (2, 8), "expected [[apps.ID.keys]]"),
        ("[apps.demo]\nkeys = ['text:0123456789abcdef']\n".to_owned(), (2, 9), "expected a key"),
        (format!("[apps.demo.keys]\n{}\n", secret_line('a')), (1, 1), "expected [[apps.ID.keys]]"),
        ("[apps.demo]\nkeys = [{ name = 'x' }]\n".to_owned(), (2, 9), "the key has no secret"),
        ("[apps.'no id']\n".to_owned(), (1, 7), "the app's id: expected 1 to 64 of"),
        (key(", name = 5"), (3, 62), "expected a text in quotes"),
        (key(", name = 'two words'"), (3, 62), "the key's name: expected 1 to 64 of"),
        // Secrets.
        (secret("'0123456789abcdef'"), (3, 10), "begins with text:, hex: or base64:"),
        (secret("'Hex:30313233343536373839616263646566'"), (3, 10), "begins with text:, hex: or base64:"),
        (secret("'text:0123456789abcde'"), (3, 10), "the secret has 15 bytes: at least 16"),
        (secret("'hex:303132333435363738396162636465'"), (3, 10), "the secret has 15 bytes"),
        (secret("'text:0123456789abcdef '"), (3, 10), "the secret ends with white space"),
        (secret("\"text:\\n0123456789abcdef\""), (3, 10), "the secret begins with white space"),
        (secret("'hex:'"), (3, 10), "the secret has 0 bytes"),
        (secret("'hex:3031323334353637383961626364656'"), (3, 10), "an even number of hex digits"),
        (secret("'hex:3031323334353637383961626364656g'"), (3, 10), "an even number of hex digits"),
        (secret("'base64:MDEyMzQ1Njc4OWFiY2RlZg'"), (3, 10), "= at the end"),
        (secret("'base64:MDEyMzQ1Njc4OWFiY2RlZg==='"), (3, 10), "= at the end"),
        (secret("'base64:_-EyMzQ1Njc4OWFiY2RlZg=='"), (3, 10), "standard alphabet"),
        (secret("'base64:MDEyMzQ1 Njc4OWFiY2RlZg=='"), (3, 10), "standard alphabet"),
        // Times.
        (key(", not-after = 1700000000"), (3, 67), "expected a date and time"),
        (key(", not-after = '2026-10-01T00:00:00Z'"), (3, 67), "expected a date and time"),
        (key(", not-after = 2026-10-01T00:00:00"), (3, 67), "with an offset"),
        (key(", not-after = 2026-10-01"), (3, 67), "expected a date and time"),
        (key(", not-after = 2026-10-01T00:00:00.5Z"), (3, 67), "in whole seconds"),
        (key(", not-after = 1969-12-31T23:59:59Z"), (3, 67), "since 1970"),
        (key(", not-after = 2026-02-29T00:00:00Z"), (3, 67), ""),
        // Invalid key rings.
        (five(), (2, 8), "app demo: at most 4 keys may be active at once"),
        (key(&format!(" }}, {{ {}", secret_line('a'))), (3, 57), "the keys at index 0 and 1 have the same secret"),
        (
            key(", not-before = 2026-10-01T00:00:00Z, not-after = 2026-09-30T00:00:00Z"),
            (3, 3),
            "app demo: the key at index 0 would never be active",
        ),
        (key(&format!(", name = 'x' }}, {{ name = 'x', {}", secret_line('b'))), (2, 8), "two keys are named x"),
        // Columns count characters, not bytes.
        (format!("{app}# ä\n'ä' = 1 ü\n"), (4, 7), ""),
    ];
    for (text, place, reason) in cases {
        let file = KeyFile::new(&text);
        let error = file.open().expect_err(&text);
        let shown = error.to_string();
        assert_eq!((error.line(), error.column()), (Some(place.0), Some(place.1)), "{text}{shown}");
        let place = format!("{}, line {}, column {}: ", file.path().display(), place.0, place.1);
        assert!(shown.strip_prefix(&place).is_some_and(|detail| detail.contains(reason)), "{text}{shown}");
        for secret in ["0123456789", "MDEyMzQ1", "3031323334", "aaaaaaaa"] {
            assert!(!shown.contains(secret) && !format!("{error:?}").contains(secret), "{shown}");
        }
    }
}

/// A typing error anywhere in the file puts no content of the file into a log.
#[test]
fn errors_repeat_no_file_content() {
    let text = concat!(
        "[apps.demo]\nenabled = true\n",
        "[[apps.demo.keys]]\nname = 'q4'\nsecret = 'text:hush-hush-hush-hush'\nnot-before = 2031-10-01T00:00:00Z\n",
        "[[apps.demo.keys]]\nsecret = \"hex:6875736868757368687573686875\\u00373686875\"\n",
    );
    let file = KeyFile::new(text);
    let keys = file.open().unwrap().with_interval(std::time::Duration::MAX);
    let mut rejected = 0;
    let mut check = |broken: &[u8]| {
        file.write(broken);
        let Err(error) = keys.reload() else { return };
        rejected += 1;
        let shown = format!("{error} {error:?} {keys:?}");
        for piece in ["hush", "huxh", "6875", "7368", "2031"] {
            assert!(!shown.contains(piece), "{shown}");
        }
    };
    for at in 0..text.len() {
        check(&text.as_bytes()[..at]);
        check(&text.as_bytes()[at..]);
        for byte in *b"'\n=x\xff" {
            let mut broken = text.as_bytes().to_vec();
            broken[at] = byte;
            check(&broken);
        }
    }
    assert!(rejected > 1000, "only {rejected} files were rejected");
}
