//! Redis is unavailable, slow, full or without the scripts. Calls fail in time, and nothing is found that is not there.

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use countersign::store::Which;

use super::{super::outages::custom_server, *};

/// The longest time for a call: the deadline, and a margin for a busy machine.
const IN_TIME: Duration = Duration::from_millis(250 + 150);

/// Calls each method, and asserts that it fails in time. Returns the errors.
async fn all_fail<C: Connect>(store: &RedisTokenStore<C>, issued: &Issued) -> Vec<String> {
    let (at, app, tokens) = (reference(issued), demo(), Tokens::new(store.clone()));
    let start = Instant::now();
    let (put, found, touched, taken, renewed, ended, listed) = tokio::join!(
        tokens.issue_for(&app, user("u-1")),
        store.find(&at, NOW),
        store.touch(&at, NOW, None),
        store.take(&at, NOW),
        tokens.renew_for(&app, issued.token()),
        store.end(at.owner(), RecordKind::Session, Which::All, 0, NOW),
        store.list(at.owner(), RecordKind::Session, NOW),
    );
    assert!(start.elapsed() < IN_TIME, "{:?}", start.elapsed());
    vec![
        format!("{:?}", put.unwrap_err()),
        format!("{:?}", found.unwrap_err()),
        format!("{:?}", touched.unwrap_err()),
        format!("{:?}", taken.unwrap_err()),
        format!("{:?}", renewed.unwrap_err()),
        format!("{:?}", ended.unwrap_err()),
        format!("{:?}", listed.unwrap_err()),
    ]
}

/// A token that no store knows.
async fn any_token() -> Issued {
    let tokens = Tokens::new(countersign::store::MemoryTokenStore::new().unwrap());
    tokens.issue_for(&demo(), user("u-1")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hung_redis_fails_calls_in_time() {
    let server = RedisServer::start();
    let store = token_store(&server);
    let tokens = Tokens::new(store.clone());
    let issued = tokens.issue_for(&demo(), user("u-1")).await.unwrap();
    server.freeze();
    for error in all_fail(&store, &issued).await {
        assert!(error.contains("Deadline"), "{error}");
    }
    server.thaw();
    let start = Instant::now();
    while tokens.sessions(&owner("u-1")).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(2));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let later = tokens.issue_for(&demo(), user("u-1")).await.unwrap();
    assert!(is_live(&tokens, &later).await);
}

#[tokio::test]
async fn killed_or_loading_redis_fails_calls() {
    let mut server = RedisServer::start();
    let store = token_store(&server);
    let issued = Tokens::new(store.clone()).issue_for(&demo(), user("u-1")).await.unwrap();
    server.kill();
    all_fail(&store, &issued).await;
    let loading = server_that_answers("-LOADING Redis is loading the dataset in memory\r\n", Duration::ZERO);
    for error in all_fail(&RedisTokenStore::new(loading, owner_key()), &issued).await {
        assert!(error.contains("Redis is loading"), "{error}");
    }
}

#[tokio::test]
async fn full_redis_stores_nothing_but_ends_sessions() {
    let server = RedisServer::start();
    let store = token_store(&server);
    let tokens = Tokens::new(store.clone()).with_end_reasons(Duration::from_secs(100));
    let issued = tokens.issue_for(&demo(), user("u-1")).await.unwrap();
    let one_time = tokens.issue_for(&demo(), user("u-2").one_time()).await.unwrap();
    server.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = tokens.issue_for(&demo(), user("u-3")).await.unwrap_err();
    assert!(format!("{error:?}").contains("OOM"), "{error:?}");
    let error = tokens.renew_for(&demo(), issued.token()).await.unwrap_err();
    assert!(format!("{error:?}").contains("OOM"), "{error:?}");
    assert!(is_live(&tokens, &issued).await, "no live record is dropped");
    assert!(store.take(&reference(&one_time), one_time.session().issued_at()).await.unwrap());
    assert_eq!(tokens.end_all(&owner("u-1")).await.unwrap(), 1);
    assert!(!is_live(&tokens, &issued).await);
}

#[tokio::test]
async fn replica_stores_nothing() {
    let server = RedisServer::start();
    let tokens = Tokens::new(token_store(&server));
    let issued = tokens.issue_for(&demo(), user("u-1")).await.unwrap();
    server.command::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    let error = tokens.issue_for(&demo(), user("u-1")).await.unwrap_err();
    assert!(format!("{error:?}").to_lowercase().contains("read only"), "{error:?}");
    assert!(tokens.end_all(&owner("u-1")).await.is_err());
    server.command::<()>(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(tokens.end_all(&owner("u-1")).await.unwrap(), 1);
    assert!(!is_live(&tokens, &issued).await);
}

#[tokio::test]
async fn scripts_are_sent_again_when_redis_forgets_them() {
    let server = RedisServer::start();
    let tokens = Tokens::new(token_store(&server));
    for _ in 0..3 {
        let issued = tokens.issue_for(&demo(), user("u-1")).await.unwrap();
        server.command::<()>(&["SCRIPT", "FLUSH"]);
        let renewed = tokens.renew_for(&demo(), issued.token()).await.unwrap().unwrap();
        server.command::<()>(&["SCRIPT", "FLUSH"]);
        assert!(tokens.end(renewed.session()).await.unwrap());
    }
    let stats: String = server.command(&["INFO", "commandstats"]);
    assert!(!stats.contains("cmdstat_script|load"), "{stats}");
}

/// The text of a script has the time that is left of the deadline.
#[tokio::test(flavor = "multi_thread")]
async fn script_that_is_sent_again_has_no_deadline_of_its_own() {
    let unknown = "-NOSCRIPT No matching script. Please use EVAL.\r\n";
    let client = server_that_answers(unknown, Duration::from_millis(150));
    let store = RedisTokenStore::new(client, owner_key());
    let start = Instant::now();
    let error = store.take(&reference(&any_token().await), NOW).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_millis(350), "{:?}", start.elapsed());
    assert!(start.elapsed() >= Duration::from_millis(250) && format!("{error:?}").contains("Deadline"), "{error:?}");
}

/// A fake server that gives this answer to all but the text of a script, some time later.
fn server_that_answers(answer: &'static str, after: Duration) -> redis::Client {
    custom_server(move |mut stream| {
        let mut buffer = [0; 65536];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            let count = |word: &str| text.matches(&format!("\r\n{word}\r\n")).count();
            let greetings = "+OK\r\n".repeat(count("CLIENT"));
            let commands = ["HGET", "HGETALL", "EVALSHA"].into_iter().map(count).sum();
            if commands > 0 {
                std::thread::sleep(after);
            }
            stream.write_all((greetings + &answer.repeat(commands)).as_bytes()).unwrap();
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_for_one_owner_leaves_places_for_others() {
    let server = RedisServer::start();
    let nonces = RedisNonceStore::new(server.client()).with_max_in_flight(100);
    let store = RedisTokenStore::sharing(&nonces, owner_key());
    let tokens = Tokens::new(store.clone());
    let issued = tokens.issue_for(&demo(), user("u-1")).await.unwrap();
    let other = reference(&tokens.issue_for(&demo(), user("u-2")).await.unwrap());
    server.freeze();
    let at = reference(&issued);
    let mut flood = tokio::task::JoinSet::new();
    for _ in 0..300 {
        let store = store.clone();
        flood.spawn(async move { format!("{:?}", store.find(&at, NOW).await.unwrap_err()) });
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (found, claimed) = tokio::join!(store.find(&other, NOW), claim(&nonces, "nonce-1"));
    for error in [found.map(drop).unwrap_err(), claimed.map(drop).unwrap_err()] {
        assert!(format!("{error:?}").contains("Deadline"), "it had a place: {error:?}");
    }
    let busy = flood.join_all().await.iter().filter(|error| error.contains("Busy")).count();
    assert!((200..=250).contains(&busy), "{busy}");
}
