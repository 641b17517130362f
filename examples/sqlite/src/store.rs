//! A key store in SQL. It asks the database each time, and leaves the remembering to `CachedKeys`.

use countersign::{
    App, AppId, KeyRing, Secret,
    store::{KeyStore, StoreError},
};
use sqlx::SqlitePool;

pub struct SqliteKeys(pub SqlitePool);

/// What the database says of an app beside its keys. Handlers read it from their `Caller`.
pub struct Plan {
    pub name: String,
}

/// An app can have up to four secrets, so that a new one can be used before the old one is deleted.
///
/// They lie there as they are, and not as hashes: HMAC needs the very bytes, so whoever can read this table can sign for
/// every app. Give it to a database user of its own, and encrypt its disk and its backups.
///
/// Ids are compared byte by byte, as SQLite does by default. In a database where `demo` = `DEMO` (MySQL), give the column a
/// binary collation.
const SCHEMA: &str = "
    CREATE TABLE apps (
        id TEXT NOT NULL PRIMARY KEY,
        enabled INTEGER NOT NULL DEFAULT 1,
        plan TEXT NOT NULL DEFAULT 'free'
    ) STRICT;
    CREATE TABLE secrets (
        id INTEGER PRIMARY KEY,
        app_id TEXT NOT NULL REFERENCES apps (id) ON DELETE CASCADE,
        secret BLOB NOT NULL CHECK (length(secret) >= 16)
    ) STRICT;
    CREATE INDEX secrets_of_app ON secrets (app_id);
";

impl KeyStore for SqliteKeys {
    async fn keys(&self, app: &AppId) -> Result<Option<App>, StoreError> {
        let newest_first = sqlx::query_as::<_, (Vec<u8>, String)>(
            "SELECT secret, plan FROM secrets JOIN apps ON apps.id = app_id WHERE app_id = ? AND enabled ORDER BY secrets.id DESC",
        );
        let rows = newest_first.bind(app.as_str()).fetch_all(&self.0).await.map_err(StoreError::new)?;
        let Some(name) = rows.first().map(|(_, plan)| plan.clone()) else {
            return Ok(None); // no such app, or it is disabled, or has no secret left
        };
        let secrets: Result<Vec<Secret>, _> = rows.into_iter().map(|(secret, _)| Secret::from_bytes(secret)).collect();
        let ring = KeyRing::new(secrets.map_err(StoreError::new)?).map_err(StoreError::new)?;
        Ok(Some(App::new(ring).with_data(Plan { name })))
    }
}

impl SqliteKeys {
    pub async fn create_schema(&self) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(SCHEMA).execute(&self.0).await.map(drop)
    }

    pub async fn create_app(&self, app: &AppId, secret: &[u8]) -> Result<(), sqlx::Error> {
        sqlx::query("INSERT INTO apps (id) VALUES (?)").bind(app.as_str()).execute(&self.0).await?;
        let insert = sqlx::query("INSERT INTO secrets (app_id, secret) VALUES (?, ?)");
        insert.bind(app.as_str()).bind(secret).execute(&self.0).await.map(drop)
    }

    pub async fn disable_app(&self, app: &AppId) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE apps SET enabled = 0 WHERE id = ?").bind(app.as_str()).execute(&self.0).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use countersign::store::conformance;

    use super::*;

    #[tokio::test]
    async fn it_conforms() {
        let store = SqliteKeys(crate::open().await.unwrap());
        let (demo, stranger) = ("demo".parse().unwrap(), "stranger".parse().unwrap());
        store.create_schema().await.unwrap();
        store.create_app(&demo, &[7; 32]).await.unwrap();
        conformance::key_store(&store, &demo, &stranger).await;
        store.disable_app(&demo).await.unwrap();
        assert!(store.keys(&demo).await.unwrap().is_none());
    }
}
