//! What tokens cost inside Redis: bytes of memory, and the time of each command by the number of sessions of the owner.

use std::time::Duration;

use countersign::{
    AppId,
    store::{RecordKind, RedisTokenStore, TokenStore, Which},
    token::{Issued, NewToken, Owner, SessionLimit, TokenRef, Tokens},
};
use redis::InfoDict;

use crate::server::RedisServer;

/// The number of owners whose commands are measured.
const OWNERS: usize = 200;

/// The bytes of a session, where each owner has this many.
pub(crate) async fn bytes(server: &RedisServer, store: &RedisTokenStore, each: usize) -> f64 {
    let () = server.command(&["FLUSHALL"]);
    let used = || {
        let info: String = server.command(&["INFO", "memory"]);
        InfoDict::new(&info).get::<f64>("used_memory").unwrap()
    };
    let tokens = Tokens::new(store.clone());
    // The script is in the memory before.
    tokens.issue_for(&demo(), user("first")).await.unwrap();
    let before = used();
    let owners = 9999 / each;
    for owner in 0..owners {
        for _ in 0..each {
            tokens.issue_for(&demo(), user(&format!("user-{owner}")).on("web".parse().unwrap())).await.unwrap();
        }
    }
    (used() - before) / (owners * each) as f64
}

/// Prints the microseconds of each command, as `INFO commandstats` reports them.
pub(crate) async fn print_times(server: &RedisServer, store: &RedisTokenStore) {
    println!("us in Redis, at sessions of one owner:     1       5      20      64");
    let mut rows: Vec<(&str, Vec<f64>)> = Vec::new();
    for sessions in [1, 5, 20, 64] {
        for (name, time) in times(server, store, sessions).await {
            match rows.iter_mut().find(|row| row.0 == name) {
                Some(row) => row.1.push(time),
                None => rows.push((name, vec![time])),
            }
        }
    }
    for (name, times) in rows {
        println!("{name:<38} {}", times.iter().map(|time| format!("{time:>7.1}")).collect::<Vec<_>>().join(" "));
    }
}

async fn times(server: &RedisServer, store: &RedisTokenStore, sessions: usize) -> Vec<(&'static str, f64)> {
    let () = server.command(&["FLUSHALL"]);
    let tokens = Tokens::new(store.clone()).with_max_sessions(sessions + 1);
    let mut issued: Vec<Issued> = Vec::new();
    for owner in 0..OWNERS {
        for _ in 0..sessions {
            issued.push(tokens.issue_for(&demo(), user(&format!("user-{owner}"))).await.unwrap());
        }
    }
    let firsts: Vec<&Issued> = issued.iter().step_by(sessions).collect();
    let now = firsts[0].session().issued_at();
    let at = |issued: &Issued| TokenRef::of(issued.token()).unwrap();
    let mut found = Vec::new();
    macro_rules! measure {
        ($name:literal, $command:literal, |$first:ident| $call:expr) => {
            let () = server.command(&["CONFIG", "RESETSTAT"]);
            for $first in &firsts {
                $call;
            }
            found.push(($name, time_of(server, $command)));
        };
    }
    measure!("find", "hget", |first| store.find(&at(first), now).await.unwrap());
    measure!("list", "hgetall", |first| store.list(at(first).owner(), RecordKind::Session, now).await.unwrap());
    measure!("touch", "evalsha", |first| store.touch(&at(first), now, None).await.unwrap());
    measure!("renew", "evalsha", |first| tokens.renew_for(&demo(), first.token()).await.unwrap().unwrap());
    measure!("renew again", "evalsha", |first| tokens.renew_for(&demo(), first.token()).await.unwrap().unwrap());
    measure!("end one", "evalsha", |first| assert!(tokens.end(first.session()).await.unwrap()));
    measure!("put", "evalsha", |first| put(&tokens, first).await);
    let newest = tokens.clone().with_limit(SessionLimit::NewestWins(sessions));
    measure!("put, one is replaced", "evalsha", |first| put(&newest, first).await);
    let remembering = newest.clone().with_end_reasons(Duration::from_secs(3600));
    measure!("put, one is replaced and remembered", "evalsha", |first| put(&remembering, first).await);
    let mut one_time = Vec::new();
    for first in &firsts {
        let new = user(first.session().user().unwrap().as_str()).one_time();
        one_time.push(tokens.issue_for(&demo(), new).await.unwrap());
    }
    let () = server.command(&["CONFIG", "RESETSTAT"]);
    for issued in &one_time {
        assert!(store.take(&at(issued), now).await.unwrap());
    }
    found.push(("take", time_of(server, "evalsha")));
    measure!("end all, remembered", "evalsha", |first| store
        .end(at(first).owner(), RecordKind::Session, Which::All, 100, now)
        .await
        .unwrap());
    let api = NewToken::for_app;
    for _ in 0..sessions {
        tokens.issue_for(&demo(), api()).await.unwrap();
    }
    let () = server.command(&["CONFIG", "RESETSTAT"]);
    for _ in 0..OWNERS {
        tokens.issue_for(&demo(), api()).await.unwrap();
    }
    found.push(("put for an app", time_of(server, "evalsha")));
    while tokens.issue_for(&demo(), api()).await.is_ok() {}
    let () = server.command(&["CONFIG", "RESETSTAT"]);
    for _ in 0..OWNERS {
        tokens.issue_for(&demo(), api()).await.unwrap_err();
    }
    found.push(("put for an app with 1,000", time_of(server, "evalsha")));
    found
}

async fn put(tokens: &Tokens, first: &Issued) {
    let Owner::User(user) = first.session().owner() else { panic!("a user") };
    tokens.issue_for(&demo(), NewToken::for_user(user.clone())).await.unwrap();
}

/// The microseconds of a call of this command, on average.
fn time_of(server: &RedisServer, command: &str) -> f64 {
    let stats: String = server.command(&["INFO", "commandstats"]);
    let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:"))).unwrap();
    line.split(',').find_map(|part| part.strip_prefix("usec_per_call=")).unwrap().parse().unwrap()
}

fn demo() -> AppId {
    "demo".parse().unwrap()
}

fn user(id: &str) -> NewToken {
    NewToken::for_user(id.parse().unwrap())
}
