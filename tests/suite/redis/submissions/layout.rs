//! What the store keeps in Redis, and what it does with values that it cannot read.

use super::*;

fn value(server: &RedisServer) -> Vec<u8> {
    server.command(&["GET", &only_key(server)])
}

fn set(server: &RedisServer, value: &[u8], options: &[&str]) {
    let mut set = redis::cmd("SET");
    set.arg(only_key(server)).arg(value).arg(options);
    set.exec(&mut server.client().get_connection().unwrap()).unwrap();
}

#[tokio::test]
async fn submission_is_one_key_with_a_ttl() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    reserve(&store, &at, &lease(9), WhenLost::Unknown).await.unwrap();
    // The key of the place in base64url.
    assert_eq!(only_key(&server), "cs1:o:AAAAAAAAAAEHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
    let head = [&86_400_000_u64.to_be_bytes()[..], &[1; 32]].concat();
    assert_eq!(value(&server), [b"R\x01", &head[..], &[9; 16]].concat());
    let left = pttl(&server);
    assert!((86_450_000..=86_460_000).contains(&left), "{left}");
    store.finish(&at, &lease(9), &Finish::Done(answer())).await.unwrap();
    let lines = b"/payments/17\nlink:</a>; rel=next\nlink:</b>: \"x\"\nx-empty:\nx-bytes:a\t\x80\xff\n\n";
    let body: Vec<u8> = (0..=255).collect();
    let rest = [&201_u16.to_be_bytes()[..], &[3], lines, &body].concat();
    let done = [b"D\x01", &head[..], &(rest.len() as u64).to_be_bytes(), &rest].concat();
    assert_eq!(value(&server), done);
    let left = pttl(&server);
    assert!((86_390_000..=86_400_000).contains(&left), "{left}");
}

#[tokio::test]
async fn answers_are_read_as_they_were_stored() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    let location = || Some(HeaderValue::from_static("/a?b=c%20d"));
    let large = vec![b'\n'; 70_000];
    let answers = [
        StoredAnswer::new(StatusCode::NO_CONTENT, None),
        StoredAnswer::new(StatusCode::from_u16(999).unwrap(), location()),
        StoredAnswer::new(StatusCode::SEE_OTHER, Some(HeaderValue::from_static(""))),
        StoredAnswer::new(StatusCode::OK, None).with_replay(HeaderMap::new(), Default::default()),
        StoredAnswer::new(StatusCode::OK, location()).with_replay(HeaderMap::new(), large.into()),
        answer(),
    ];
    for answer in answers {
        reserve(&store, &at, &lease(1), WhenLost::Unknown).await.unwrap();
        store.finish(&at, &lease(1), &Finish::Done(answer.clone())).await.unwrap();
        let expected = EntryState::Done(answer);
        assert_eq!(state(&store, &at).await.as_ref(), Some(&expected));
        let Reserved::No(entry) = reserve(&store, &at, &lease(2), WhenLost::Unknown).await.unwrap() else {
            panic!("it ran twice");
        };
        assert_eq!(entry.state, expected);
        assert!(store.forget(&at).await.unwrap());
    }
}

#[tokio::test]
async fn another_prefix_has_separate_submissions() {
    let server = RedisServer::start();
    let store = submission_store(&server);
    reserve(&store, &place(1), &lease(1), WhenLost::Unknown).await.unwrap();
    let nonces = RedisNonceStore::new(server.client()).with_key_prefix("orders:");
    for other in [submission_store(&server).with_key_prefix("other:"), RedisSubmissionStore::sharing(&nonces)] {
        assert_eq!(reserve(&other, &place(1), &lease(2), WhenLost::Unknown).await.unwrap(), Reserved::Yes);
    }
    assert_eq!(server.command::<Vec<String>>(&["KEYS", "orders:o:*"]).len(), 1);
}

/// Each call on an unreadable value is an error. Only `forget` succeeds.
async fn assert_unreadable(store: &RedisSubmissionStore, what: &str) {
    let (at, end) = (place(1), Finish::Release);
    let errors = [
        reserve(store, &at, &lease(1), WhenLost::TakeOver).await.map(drop),
        store.renew(&at, &lease(1)).await.map(drop),
        store.finish(&at, &lease(1), &end).await.map(drop),
        store.state(&at).await.map(drop),
        store.settle(&at, &end).await.map(drop),
    ];
    for (n, error) in errors.into_iter().enumerate() {
        let error = format!("{:?}", error.expect_err(&format!("{what}, call {n}")));
        assert!(error.contains("Unreadable"), "{what}, call {n}: {error}");
    }
}

#[tokio::test]
async fn value_of_another_release_is_an_error() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    reserve(&store, &at, &lease(1), WhenLost::Unknown).await.unwrap();
    let reserved = value(&server);
    store.finish(&at, &lease(1), &Finish::Done(answer())).await.unwrap();
    let done = value(&server);
    let with = |at: usize, byte| {
        let mut changed = reserved.clone();
        changed[at] = byte;
        changed
    };
    let mut longer = done.clone();
    longer.push(0);
    let unknown_with_more = with(0, b'U');
    for (what, unreadable) in [
        ("another version", with(1, 2)),
        ("another tag", with(0, b'X')),
        ("a truncated lease", reserved[..reserved.len() - 1].to_vec()),
        ("a longer lease", [&reserved[..], b"x"].concat()),
        ("a truncated answer", done[..done.len() - 1].to_vec()),
        ("an answer without its length", done[..45].to_vec()),
        ("a longer answer", longer),
        ("an unknown entry with more", unknown_with_more),
        ("only a head", reserved[..20].to_vec()),
        ("nothing", Vec::new()),
    ] {
        set(&server, &unreadable, &["PX", "86460000"]);
        assert_unreadable(&store, what).await;
    }
    set(&server, &reserved, &[]);
    assert_unreadable(&store, "a key that never expires").await;
    assert!(store.forget(&at).await.unwrap());
    assert_eq!(reserve(&store, &at, &lease(2), WhenLost::Unknown).await.unwrap(), Reserved::Yes);
}

#[tokio::test]
async fn invalid_answer_is_an_error() {
    let server = RedisServer::start();
    let (store, at) = (submission_store(&server), place(1));
    reserve(&store, &at, &lease(1), WhenLost::Unknown).await.unwrap();
    let head = [b"D", &value(&server)[1..42]].concat();
    for rest in [
        &b""[..],
        b"\0",
        b"\0\x01\0",
        b"\0\xc8\x04",
        b"\0\xc8\x01/a",
        b"\0\xc8\x02a\n\n",
        b"\0\xc8\x02a:b\n",
        b"\0\xc8\0x",
    ] {
        let value = [&head[..], &(rest.len() as u64).to_be_bytes(), rest].concat();
        set(&server, &value, &["PX", "1000000"]);
        let error = format!("{:?}", store.state(&at).await.expect_err(&format!("{rest:?}")));
        assert!(error.contains("Unreadable"), "{rest:?}: {error}");
    }
    assert!(store.forget(&at).await.unwrap());
}

#[test]
fn debug_shows_no_submission() {
    let store = RedisSubmissionStore::new(redis::Client::open("redis://:hush@10.0.0.7/").unwrap());
    let text = format!("{store:?}");
    assert!(text.contains("cs1:o:") && text.contains("250ms") && !text.contains("hush"), "{text}");
}
