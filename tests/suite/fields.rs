//! Each malformed field, header and target is rejected with a specific error.

use countersign::{Field, FieldLocation, Scheme, TokenLocation};
use http::{HeaderName, HeaderValue, Request};

use crate::rig::{self, NOW, get, post, signed, signed_by, signer_of, verifier};

/// The code and the field name of the rejection.
async fn rejection(scheme: &Scheme, request: Request<&'static str>) -> (&'static str, String) {
    let verifier = verifier().0.with_scheme(scheme.clone());
    match rig::verify(&verifier, request).await {
        Ok(_) => ("accepted", String::new()),
        Err(rejection) => {
            let field = rejection.field().unwrap_or_default().to_owned();
            assert!(rejection.detail().starts_with(&field), "{rejection} starts with its field");
            (rejection.kind().code(), field)
        }
    }
}

async fn with_header(name: &'static str, value: &[u8]) -> (&'static str, String) {
    let mut request = signed(get("/"));
    request.headers_mut().insert(name, HeaderValue::from_bytes(value).unwrap());
    rejection(&Scheme::new(), request).await
}

#[tokio::test]
async fn malformed_fields_are_rejected() {
    let long = |n| "a".repeat(n);
    let hex = "0123456789abcdef".repeat(4);
    let cases: &[(&str, &[&str])] = &[
        ("x-app-id", &["", " ", "a b", "ä", "a/b", "a~b", "a,b", &long(65)]),
        (
            "x-timestamp",
            &[
                "",
                "0",
                "00",
                "-1",
                "+1700000000",
                "017",
                "0x1",
                "1.7e9",
                "1700000000.5",
                "1_700_000_000",
                "1700000000 ",
                "\t17",
                "1700000000,1700000000",
                "１７０００００００００",
                "٣",
                "18446744073709551615",
                "18446744073709551616",
                "9223372036854775808a",
                "10000000000000000000",
                "99999999999999999999",
                "1700000000000",
                "NaN",
                "now",
            ],
        ),
        ("x-nonce", &["", "short", "five5", "has space", "a+bcdef", "a/bcdef", "nonceé", "a=bcdef", &long(129)]),
        ("x-token", &["", "a b", "a,b", "tök", "a\"b", "a;b", "a:b", &long(513)]),
        (
            "x-sign",
            &[
                "",
                "00",
                &hex[..62],
                &hex[..63],
                &format!("{hex}0"),
                &format!("{hex}00"),
                &hex.to_uppercase(),
                &format!("0x{}", &hex[..62]),
                &format!("{}g", &hex[..63]),
                &format!(" {}", &hex[..63]),
                &format!("{}é", &hex[..62]),
            ],
        ),
        ("x-content-sha256", &["", "00", &hex[..63], &format!("{hex}0"), &hex.to_uppercase()]),
    ];
    for (name, values) in cases {
        for value in *values {
            let rejection = with_header(name, value.as_bytes()).await;
            assert_eq!(rejection, ("malformed_field", (*name).to_owned()), "{name}: {value:?}");
        }
        assert_eq!(
            with_header(name, b"\xff\xfe\xfd\xfc\xfb\xfa").await.0,
            "malformed_field",
            "{name}: bytes above ASCII"
        );
    }
}

#[tokio::test]
async fn signature_digits_are_lowercase_hex() {
    for byte in b'!'..=b'~' {
        let expected = if b"0123456789abcdef".contains(&byte) { "invalid_signature" } else { "malformed_field" };
        for place in [0, 31, 63] {
            let mut sign = [b'0'; 64];
            sign[place] = byte;
            assert_eq!(with_header("x-sign", &sign).await.0, expected, "{:?}", char::from(byte));
        }
    }
}

#[tokio::test]
async fn shortest_and_longest_values_are_well_formed() {
    for (name, shortest, longest) in [("x-app-id", 1, 64), ("x-nonce", 6, 128), ("x-token", 1, 512)] {
        for length in [shortest, longest] {
            let rejection = with_header(name, &b"a".repeat(length)).await.0;
            assert_eq!(rejection, "invalid_signature", "{name}: {length}");
        }
    }
}

#[tokio::test]
async fn extreme_timestamps_are_stale() {
    for timestamp in ["1", "4294967295", "4294967296", "99999999999999999", "999999999999999999"] {
        assert_eq!(with_header("x-timestamp", timestamp.as_bytes()).await.0, "stale_timestamp", "{timestamp}");
    }
}

#[test]
fn errors_describe_field_and_value() {
    let of = |error: countersign::FieldError| error.to_string();
    let app = |text: &str| of(text.parse::<countersign::AppId>().unwrap_err());
    let nonce = |text: &str| of(text.parse::<countersign::Nonce>().unwrap_err());
    let time = |text: &str| of(text.parse::<countersign::Timestamp>().unwrap_err());
    let token = |text: &str| of(text.parse::<countersign::Token>().unwrap_err());
    let digest = |text: &str| of(text.parse::<countersign::BodyDigest>().unwrap_err());
    let key = |text: &str| of(text.parse::<countersign::KeyName>().unwrap_err());
    for (message, expected) in [
        (app(""), "app id: expected 1 to 64 of A-Z a-z 0-9 . _ -, found nothing"),
        (app(&"a".repeat(70)), "app id: expected 1 to 64 of A-Z a-z 0-9 . _ -, found 70 characters"),
        (app("demo\n"), "app id: expected 1 to 64 of A-Z a-z 0-9 . _ -, found white space at position 5"),
        (
            app("démo"),
            "app id: expected 1 to 64 of A-Z a-z 0-9 . _ -, found a character that is not ASCII at position 2",
        ),
        (nonce("short"), "nonce: expected 6 to 128 of A-Z a-z 0-9 . _ ~ -, found 5 characters"),
        (
            token("s3cr\0et"),
            "token: expected 1 to 512 of A-Z a-z 0-9 . _ ~ + / = -, found a control character at position 5",
        ),
        (
            token("s3cr,et"),
            "token: expected 1 to 512 of A-Z a-z 0-9 . _ ~ + / = -, found another character at position 5",
        ),
        (digest("0"), "body digest: expected exactly 64 lowercase hex digits, found 1 character"),
        (
            digest(&"A".repeat(64)),
            "body digest: expected exactly 64 lowercase hex digits, found an uppercase letter at position 1",
        ),
        (key("2026 q4"), "key name: expected 1 to 64 of A-Z a-z 0-9 . _ -, found white space at position 5"),
        (
            time("+1"),
            "timestamp: expected Unix seconds, 1 to 18 digits without sign or leading zero, found another character at position 1",
        ),
        (
            time("01"),
            "timestamp: expected Unix seconds, 1 to 18 digits without sign or leading zero, found a leading zero",
        ),
        (
            time(&"1".repeat(20)),
            "timestamp: expected Unix seconds, 1 to 18 digits without sign or leading zero, found 20 characters",
        ),
    ] {
        assert_eq!(message, expected);
    }
}

#[tokio::test]
async fn malformed_field_error_describes_the_value() {
    let mut request = signed(get("/"));
    request.headers_mut().insert("x-sign", "0123".parse().unwrap());
    let rejection = rig::verify(&verifier().0, request).await.unwrap_err();
    assert_eq!(rejection.detail(), "x-sign: expected exactly 64 lowercase hex digits, found 4 characters");
}

#[tokio::test]
async fn subsecond_units_are_named() {
    for (text, unit) in [
        ("1700000000000", "milliseconds"),
        ("1700000000000000", "microseconds"),
        ("1700000000000000000", "nanoseconds"),
        ("9223372036854775807", "nanoseconds"),
        ("9999999999999999999", "nanoseconds"),
    ] {
        let mut request = signed(get("/"));
        request.headers_mut().insert("x-timestamp", text.parse().unwrap());
        let rejection = rig::verify(&verifier().0, request).await.unwrap_err();
        assert_eq!(rejection.kind().code(), "malformed_field", "{text}");
        assert!(rejection.detail().contains(unit), "{rejection}");
    }
}

#[tokio::test]
async fn missing_or_repeated_fields_are_rejected() {
    for name in ["x-app-id", "x-timestamp", "x-nonce", "x-sign"] {
        let mut request = signed(get("/"));
        request.headers_mut().remove(name);
        assert_eq!(rejection(&Scheme::new(), request).await, ("missing_field", name.to_owned()));
    }
    for name in ["x-app-id", "x-timestamp", "x-nonce", "x-sign", "x-token", "x-content-sha256", "content-type"] {
        let signer = rig::signer().with_token("token".parse().unwrap());
        let mut request = signed_by(&signer, NOW, post("/", "application/json", "{}"));
        let value = request.headers()[name].clone();
        request.headers_mut().append(name, value);
        assert_eq!(rejection(&Scheme::new(), request).await, ("malformed_field", name.to_owned()));
    }
}

#[tokio::test]
async fn flipped_signature_digit_is_rejected() {
    for i in [0, 63] {
        let mut request = signed(get("/"));
        let mut sign = request.headers()["x-sign"].as_bytes().to_vec();
        sign[i] = if sign[i] == b'0' { b'1' } else { b'0' };
        request.headers_mut().insert("x-sign", HeaderValue::from_bytes(&sign).unwrap());
        assert_eq!(rejection(&Scheme::new(), request).await.0, "invalid_signature");
    }
}

#[tokio::test]
async fn signed_headers_named_in_connection_are_rejected() {
    for (connection, field) in [
        ("x-nonce", "x-nonce"),
        ("keep-alive, X-Sign", "x-sign"),
        ("close,\tx-content-sha256 ,", "x-content-sha256"),
        ("content-type", "content-type"),
    ] {
        let mut request = signed(get("/"));
        request.headers_mut().insert("connection", connection.parse().unwrap());
        assert_eq!(rejection(&Scheme::new(), request).await, ("malformed_field", field.to_owned()), "{connection}");
    }
    let mut request = signed(get("/"));
    request.headers_mut().insert("connection", "keep-alive, Upgrade".parse().unwrap());
    assert_eq!(rejection(&Scheme::new(), request).await.0, "accepted");
}

#[tokio::test]
async fn malformed_content_type_is_rejected() {
    let unsigned = |content_type: &[u8]| {
        let mut request = signed(get("/"));
        request.headers_mut().insert("content-type", HeaderValue::from_bytes(content_type).unwrap());
        request
    };
    for malformed in [
        "",
        " ",
        "json",
        "application/",
        "/json",
        "application/json, text/html",
        "application json/x",
        "a/b/c",
        "application/x-www-form-urlencoded, application/json",
        "text/html text/plain",
        "téxt/html",
        "text/html,",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=\"\"",
        "multipart/form-data; boundary=a; boundary=a",
        "multipart/form-data; boundary*=a",
        "multipart/form-data; boundary=a b",
        "multipart/form-data; boundary*0=a; boundary*1=b",
        "multipart/form-data; boundary=\"a",
        "multipart/form-data boundary=a",
        "multipart/form-data; x=\"; boundary=a",
        "multipart/form-data; boundary = a",
        "multipart/form-data; ; ; y; boundary=a",
        // Some parsers resolve escapes, and others do not.
        r#"multipart/form-data; boundary="X\Y""#,
        r#"multipart/form-data; a="\"; boundary=evil; b=\""; boundary=ab"#,
        r#"multipart/form-data; a="\"; boundary=ab; b="\""#,
        "multipart/form-data; boundary=\"a<b\"",
        "multipart/form-data; boundary=\"ends with a space \"",
        "multipart/form-data; boundary=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        let rejection = rejection(&Scheme::new(), unsigned(malformed.as_bytes())).await;
        assert_eq!(rejection, ("malformed_field", "content-type".to_owned()), "{malformed:?}");
    }
    for other in
        ["application/json", "text/html; charset", "a/b; ;;x=\"", "multipart/form-data; boundary=a; x=\"boundary=b\""]
    {
        assert_eq!(rejection(&Scheme::new(), unsigned(other.as_bytes())).await.0, "invalid_signature", "{other:?}");
    }
}

#[tokio::test]
async fn connect_request_is_rejected() {
    let request = Request::connect("example.com:443").body("").unwrap();
    let mut request = request;
    *request.headers_mut() = signed(get("/")).headers().clone();
    assert_eq!(rejection(&Scheme::new(), request).await.0, "malformed_field");
}

#[tokio::test]
async fn authority_form_target_is_rejected() {
    let mut request = signed(get("/"));
    *request.uri_mut() = "example.com:80".parse().unwrap();
    assert_eq!(rejection(&Scheme::new(), request).await.0, "malformed_field");
}

#[tokio::test]
async fn path_of_an_absolute_target_is_signed() {
    for (sent, signed_as) in [
        ("http://example.com/a/../b?x=1", "/a/../b?x=1"),
        ("http://example.com", "/"),
        ("http://example.com?x=1", "/?x=1"),
    ] {
        let mut request = signed(get(signed_as));
        *request.uri_mut() = sent.parse().unwrap();
        assert_eq!(rejection(&Scheme::new(), request).await.0, "accepted", "{sent}");
    }
}

fn host_scheme() -> Scheme {
    Scheme::new().with_signed_headers([HeaderName::from_static("host")]).unwrap()
}

#[tokio::test]
async fn signed_host_may_be_header_or_authority() {
    let at = |uri: &'static str, host: Option<&'static str>| {
        let mut request = get(uri);
        if let Some(host) = host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        request
    };
    let signer = signer_of(host_scheme());
    let by_header = signed_by(&signer, NOW, at("/", Some("example.com:8080")));
    let mut by_authority = by_header.clone();
    by_authority.headers_mut().remove("host");
    *by_authority.uri_mut() = "http://example.com:8080/".parse().unwrap();
    let mut by_both = by_authority.clone();
    by_both.headers_mut().insert("host", "EXAMPLE.com:8080".parse().unwrap());
    for request in [by_header, by_authority.clone(), by_both] {
        assert_eq!(rejection(&host_scheme(), request).await.0, "accepted");
    }
    by_authority.headers_mut().insert("host", "example.org".parse().unwrap());
    assert_eq!(rejection(&host_scheme(), by_authority).await, ("malformed_field", "host".to_owned()));
    let mut twice = signed_by(&signer, NOW, at("/", Some("example.com")));
    twice.headers_mut().append("host", "example.com".parse().unwrap());
    assert_eq!(rejection(&host_scheme(), twice).await, ("malformed_field", "host".to_owned()));
}

#[tokio::test]
async fn signed_headers_are_bound() {
    let scheme = Scheme::new().with_signed_headers([HeaderName::from_static("x-tenant")]).unwrap();
    let tenant = |value: &'static str| {
        let mut request = get("/");
        request.headers_mut().insert("x-tenant", value.parse().unwrap());
        signed_by(&signer_of(scheme.clone()), NOW, request)
    };
    assert_eq!(rejection(&scheme, tenant("blue")).await.0, "accepted");
    let mut changed = tenant("blue");
    changed.headers_mut().insert("x-tenant", "red".parse().unwrap());
    assert_eq!(rejection(&scheme, changed).await.0, "invalid_signature");
    let mut removed = tenant("");
    removed.headers_mut().remove("x-tenant");
    assert_eq!(rejection(&scheme, removed).await.0, "invalid_signature");
    let mut twice = tenant("blue");
    twice.headers_mut().append("x-tenant", "blue".parse().unwrap());
    assert_eq!(rejection(&scheme, twice).await, ("malformed_field", "x-tenant".to_owned()));
}

#[tokio::test]
async fn query_fields_are_decoded_and_unique() {
    let query = Scheme::new().with_field_location(FieldLocation::Query);
    let sent = |change: fn(String) -> String| {
        let mut request =
            signed_by(&signer_of(Scheme::new().with_field_location(FieldLocation::Query)), NOW, get("/p?b=2"));
        let uri = change(request.uri().to_string());
        *request.uri_mut() = uri.parse().unwrap();
        request
    };
    assert_eq!(rejection(&query, sent(|uri| uri)).await.0, "accepted");
    assert_eq!(
        rejection(&query, sent(|uri| uri.replace("appId", "a%70p%49d"))).await.0,
        "accepted",
        "names are compared after decoding"
    );
    assert_eq!(
        rejection(&query, sent(|uri| uri.replace("appId=d", "appId=%64"))).await.0,
        "accepted",
        "values are decoded"
    );
    type Change = fn(String) -> String;
    let malformed: [(Change, &str); 9] = [
        (|uri| uri + "&appId=demo", "appId"),
        (|uri| uri + "&%61ppId=demo", "appId"),
        (|uri| uri.replace("appId=demo", "appId="), "appId"),
        (|uri| uri.replace("appId=demo", "appId"), "appId"),
        (|uri| uri.replace("appId=demo", "appId=d+mo"), "appId"),
        (|uri| uri.replace("appId=demo", "appId=d%zzmo"), "appId"),
        (|uri| uri.replace("timestamp=17", "timestamp=%2B17"), "timestamp"),
        (|uri| uri + "&token=", "token"),
        (|uri| uri.replace("nonce=", "nonce=%F0%90"), "nonce"),
    ];
    for (change, field) in malformed {
        assert_eq!(rejection(&query, sent(change)).await, ("malformed_field", field.to_owned()));
    }
    let missing: [(Change, &str); 2] =
        [(|uri| uri.replace("appId=", "appid="), "appId"), (|uri| uri.replace("sign=", "Sign="), "sign")];
    for (change, field) in missing {
        assert_eq!(rejection(&query, sent(change)).await, ("missing_field", field.to_owned()));
    }
    assert_eq!(rejection(&query, signed(get("/p"))).await, ("unsigned", String::new()));
}

#[tokio::test]
async fn fields_in_both_locations_are_rejected() {
    let either = Scheme::new().with_field_location(FieldLocation::Either);
    let query = Scheme::new().with_field_location(FieldLocation::Query);
    let by_query = || signed_by(&signer_of(query.clone()), NOW, post("/p", "text/plain", "x"));
    assert_eq!(rejection(&either, signed(get("/p"))).await.0, "accepted");
    assert_eq!(rejection(&either, by_query()).await.0, "accepted", "the digest is always a header");
    for scheme in [&either, &query] {
        for name in ["x-app-id", "x-timestamp", "x-nonce", "x-token", "x-sign"] {
            let mut both = by_query();
            both.headers_mut().insert(name, "1".parse().unwrap());
            assert_eq!(rejection(scheme, both).await, ("malformed_field", name.to_owned()));
        }
    }
    assert_eq!(rejection(&either, get("/p")).await, ("unsigned", String::new()));
    // With fields in headers, a query may contain parameters of the same names.
    assert_eq!(rejection(&Scheme::new(), signed(get("/p?sign=1&appId=2"))).await.0, "accepted");
    assert_eq!(rejection(&Scheme::new(), by_query()).await, ("unsigned", String::new()));
}

#[tokio::test]
async fn unsigned_depends_on_the_field_location() {
    let of = |carrier| Scheme::new().with_field_location(carrier);
    let [headers, query, either] = [FieldLocation::Headers, FieldLocation::Query, FieldLocation::Either].map(of);
    let with = |target, names: &[&'static str]| {
        let mut request = get(target);
        for name in names {
            request.headers_mut().append(*name, HeaderValue::from_static("1"));
        }
        request
    };
    for (scheme, request, code) in [
        (&headers, with("/p", &[]), "unsigned"),
        (&headers, with("/p", &["x-token", "x-token", "x-content-sha256"]), "unsigned"),
        (&headers, with("/p?appId=demo&sign=1", &[]), "unsigned"),
        (&headers, with("/p", &["x-sign"]), "missing_field"),
        (&headers, with("/p", &["x-nonce", "x-nonce"]), "missing_field"),
        (&headers, with("/p", &["x-app-id", "x-app-id"]), "malformed_field"),
        (&query, with("/p", &["x-app-id", "x-sign"]), "unsigned"),
        (&query, with("/p?token=1&token=2", &[]), "unsigned"),
        (&query, with("/p?token=%zz&Sign=1", &[]), "unsigned"),
        (&query, with("/p?%73ign", &[]), "missing_field"),
        (&query, with("/p?timestamp=1", &["x-token"]), "malformed_field"),
        (&either, with("/p?token=1", &["x-token"]), "unsigned"),
        (&either, with("/p?nonce=1", &[]), "missing_field"),
        (&either, with("/p", &["x-timestamp"]), "missing_field"),
        (&either, with("/p?token=1", &["x-app-id"]), "malformed_field"),
    ] {
        let shown = format!("{:?} {} {:?}", scheme.field_location(), request.uri(), request.headers());
        assert_eq!(rejection(scheme, request).await.0, code, "{shown}");
    }
}

#[tokio::test]
async fn unsigned_rejection_lists_the_required_fields() {
    let scheme = Scheme::new().with_field_location(FieldLocation::Either);
    let scheme = scheme.with_header_name(Field::AppId, HeaderName::from_static("x-client")).unwrap();
    let rejection = rig::verify(&verifier().0.with_scheme(scheme), get("/p")).await.unwrap_err();
    assert_eq!((rejection.kind().status().as_u16(), rejection.field()), (401, None));
    for expected in ["x-client, x-timestamp, x-nonce, x-sign", "appId, timestamp, nonce, sign", "https://"] {
        assert!(rejection.detail().contains(expected), "{rejection}");
    }
}

#[tokio::test]
async fn malformed_bearer_token_is_rejected() {
    let bearer = Scheme::new().with_token_location(TokenLocation::Bearer).unwrap();
    let signer = signer_of(bearer.clone()).with_token("tok_1".parse().unwrap());
    let sent = || signed_by(&signer, NOW, get("/"));
    assert_eq!(sent().headers()["authorization"], "Bearer tok_1");
    assert_eq!(rejection(&bearer, sent()).await.0, "accepted");
    for (authorization, code) in [
        ("bearer tok_1", "accepted"),
        ("BEARER   tok_1 ", "accepted"),
        ("Bearer tok_2", "invalid_signature"),
        ("Basic tok_1", "invalid_signature"),
        ("Bearertok_1", "invalid_signature"),
        ("Bearer", "malformed_field"),
        ("Bearer ", "malformed_field"),
        ("Bearer a b", "malformed_field"),
        ("Bearer\ttok_1", "malformed_field"),
        ("Bearer \ttok_1", "malformed_field"),
        ("Bearer=tok_1", "malformed_field"),
        ("Bearer/tok_1", "malformed_field"),
    ] {
        let mut request = sent();
        request.headers_mut().insert("authorization", authorization.parse().unwrap());
        assert_eq!(rejection(&bearer, request).await.0, code, "{authorization:?}");
    }
    let mut twice = sent();
    twice.headers_mut().append("authorization", "Basic eDp5".parse().unwrap());
    assert_eq!(rejection(&bearer, twice).await, ("malformed_field", "authorization".to_owned()));
    let mut ignored = sent();
    ignored.headers_mut().insert("x-token", "ignored here".parse().unwrap());
    assert_eq!(rejection(&bearer, ignored).await.0, "accepted", "the token header is ignored here");
}

#[tokio::test]
async fn token_header_is_ignored_with_another_location() {
    let scheme =
        Scheme::new().with_token_location(TokenLocation::Bearer).unwrap().with_field_location(FieldLocation::Query);
    let mut request = get("/");
    request.headers_mut().insert("x-token", "of somebody else's".parse().unwrap());
    let request = signed_by(&signer_of(scheme.clone()), NOW, request);
    assert_eq!(request.headers()["x-token"], "of somebody else's", "the signer keeps the header");
    let scheme = scheme.with_field_location(FieldLocation::Either);
    assert_eq!(rejection(&scheme, request).await.0, "accepted", "the header does not count as a field");
}

#[tokio::test]
async fn malformed_cookie_token_is_rejected() {
    let cookie = Scheme::new().with_token_location(TokenLocation::Cookie("sid".into())).unwrap();
    let signer = signer_of(cookie.clone()).with_token("tok_1".parse().unwrap());
    for (cookies, code) in [
        (&["sid=tok_1"][..], "accepted"),
        (&["a=1; sid=tok_1;b=2"], "accepted"),
        (&["a=1", "sid=tok_1"], "accepted"),
        (&["SID=tok_1"], "invalid_signature"),
        (&["sid=tok_2"], "invalid_signature"),
        (&[], "invalid_signature"),
        (&["sid=tok_1; sid=tok_1"], "malformed_field"),
        (&["sid=tok_1", "a=1;sid=tok_2"], "malformed_field"),
        (&["sid="], "malformed_field"),
        (&["sid"], "malformed_field"),
        (&["sid=\"tok_1\""], "malformed_field"),
    ] {
        let mut request = signed_by(&signer, NOW, get("/"));
        request.headers_mut().remove("cookie");
        for cookie in cookies {
            request.headers_mut().append("cookie", cookie.parse().unwrap());
        }
        assert_eq!(rejection(&cookie, request).await.0, code, "{cookies:?}");
    }
}

#[tokio::test]
async fn field_names_are_configurable() {
    let scheme = Scheme::new()
        .with_header_name(Field::AppId, HeaderName::from_static("x-client"))
        .and_then(|scheme| scheme.with_header_name(Field::Sign, HeaderName::from_static("x-mac")))
        .and_then(|scheme| scheme.with_parameter_name(Field::Nonce, "n"))
        .unwrap();
    let request = signed_by(&signer_of(scheme.clone()), NOW, get("/"));
    assert_eq!(request.headers()["x-client"], "demo");
    assert_eq!(rejection(&scheme, request.clone()).await.0, "accepted");
    assert_eq!(rejection(&Scheme::new(), request).await, ("missing_field", "x-app-id".to_owned()));

    let scheme = scheme.with_field_location(FieldLocation::Query);
    let request = signed_by(&signer_of(scheme.clone()), NOW, get("/"));
    assert!(request.uri().query().unwrap().contains("&n=nonce-"), "{}", request.uri());
    assert_eq!(rejection(&scheme, request).await.0, "accepted");
}

#[tokio::test]
async fn undecodable_parameter_name_is_not_a_field() {
    let scheme =
        Scheme::new().with_field_location(FieldLocation::Query).with_parameter_name(Field::Nonce, "n%").unwrap();
    let request = signed_by(&signer_of(scheme.clone()), NOW, get("/"));
    let uri = request.uri().to_string();
    assert_eq!(rejection(&scheme, request).await.0, "accepted");
    assert!(uri.contains("&n%25=nonce-"), "{uri}");
    let broken = get(&uri.replace("&n%25=", "&n%="));
    assert_eq!(rejection(&scheme, broken).await, ("missing_field", "n%".to_owned()));
}

#[test]
fn contradictory_scheme_is_rejected() {
    let name = HeaderName::from_static;
    for reserved in ["content-type", "content-length", "cookie", "authorization", "host", "connection", "x-nonce"] {
        assert!(Scheme::new().with_header_name(Field::Sign, name(reserved)).is_err(), "{reserved}");
    }
    for unsignable in ["content-type", "content-length", "cookie", "x-sign", "x-content-sha256"] {
        assert!(Scheme::new().with_signed_headers([name(unsignable)]).is_err(), "{unsignable}");
    }
    assert!(Scheme::new().with_signed_headers([name("x-a"), name("x-a")]).is_err());
    let signs_a = Scheme::new().with_signed_headers([name("x-a")]).unwrap();
    assert!(signs_a.with_header_name(Field::Nonce, name("x-a")).is_err());
    assert!(Scheme::new().with_parameter_name(Field::Sign, "nonce").is_err());
    assert!(Scheme::new().with_parameter_name(Field::Sign, "").is_err());
    assert!(Scheme::new().with_audience("two words").is_err());
    assert!(Scheme::new().with_audience("é").is_err());
    assert!(Scheme::new().with_audience("x".repeat(256)).is_err());
    assert!(Scheme::new().with_token_location(TokenLocation::Cookie("a=b".into())).is_err());
    for prefix in ["api", "/api/", "/", "/a?b", "http://a/b", "/a b"] {
        assert!(verifier().0.with_prefix(prefix).is_err(), "{prefix}");
    }
}

const HOP_BY_HOP: [&str; 7] =
    ["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

#[test]
fn headers_that_proxies_remove_cannot_be_signed() {
    for name in HOP_BY_HOP {
        let error = Scheme::new().with_signed_headers([HeaderName::from_static(name)]).unwrap_err();
        let expected =
            format!("header \"{name}\" cannot be a signed header: it belongs to one hop, and proxies remove it");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn headers_with_another_meaning_cannot_carry_a_field() {
    let of_http = ["set-cookie", "set-cookie2", "proxy-authorization", "http2-settings", "via", "max-forwards"];
    let overrides = ["x-http-method-override", "x-http-method", "x-method-override", "x-original-url", "x-rewrite-url"];
    for (names, reason) in [
        (&HOP_BY_HOP[..], "it belongs to one hop, and proxies remove it"),
        (&of_http, "it has a meaning of its own in HTTP"),
        (&overrides, "it overrides the request's method or URL, and is removed"),
        (&["x-nonce"], "another field has this name"),
    ] {
        for name in names {
            let error = Scheme::new().with_header_name(Field::Sign, HeaderName::from_static(name)).unwrap_err();
            assert_eq!(error.to_string(), format!("header \"{name}\" cannot carry a field: {reason}"));
        }
    }
}

#[tokio::test]
async fn audience_separates_services() {
    let one = Scheme::new().with_audience("one.example.com").unwrap();
    let two = Scheme::new().with_audience("two.example.com").unwrap();
    let request = signed_by(&signer_of(one.clone()), NOW, get("/"));
    assert_eq!(rejection(&two, request.clone()).await.0, "invalid_signature");
    assert_eq!(rejection(&one, request).await.0, "accepted");
}
