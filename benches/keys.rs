//! The time of a cached key lookup of a known app: `CachedKeys` compared with `StaticKeys`, a hash map. Each has a
//! thousand apps, looked up in random order.
//!
//! ```sh
//! cargo bench --bench keys
//! ```

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench may panic")]

mod rig;

use std::time::Duration;

use countersign::{
    AppId, StaticKeys,
    store::{CachedKeys, KeyStore},
};
use futures_util::FutureExt;

use self::rig::time;

const APPS: usize = 1000;

fn main() {
    let mut criterion = rig::criterion();
    let apps: Vec<AppId> = (0..APPS).map(|n| format!("app-{n}").parse().unwrap()).collect();
    let keys = StaticKeys::new(apps.iter().map(|app| (app.clone(), rig::secret()))).unwrap();
    let cached = CachedKeys::new(keys.clone()).with_ttl(Duration::from_secs(3600));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        for app in &apps {
            cached.keys(app).await.unwrap().unwrap();
        }
    });

    let mut turn = 0;
    rig::in_turns(&mut criterion, "keys/of a known app", ["cached", "static"], |count| {
        let ids: Vec<&AppId> = (0..count).map(|n| &apps[(turn + n) * 619 % APPS]).collect();
        turn += count;
        let (cached_time, _) = time(&ids, |app| cached.keys(app).now_or_never().unwrap().unwrap().unwrap());
        let (static_time, _) = time(&ids, |app| keys.keys(app).now_or_never().unwrap().unwrap().unwrap());
        [cached_time, static_time]
    });
    criterion.final_summary();
}
