//! What a look-up of a known app's keys costs that needs no database: remembered by `CachedKeys`, beside `StaticKeys`,
//! which is a hash map, with a thousand apps each, asked for in no order.
//!
//! ```sh
//! cargo bench --bench keys
//! ```

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench that fails is no bench")]

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
        let asked: Vec<&AppId> = (0..count).map(|n| &apps[(turn + n) * 619 % APPS]).collect();
        turn += count;
        let (remembered, _) = time(&asked, |app| cached.keys(app).now_or_never().unwrap().unwrap().unwrap());
        let (held, _) = time(&asked, |app| keys.keys(app).now_or_never().unwrap().unwrap().unwrap());
        [remembered, held]
    });
    criterion.final_summary();
}
