//! The commands of the token store in Redis, one for each call.

use redis::{Value, from_redis_value};

use super::{
    super::{connect::Connect, error::CommandError},
    layout::{Live, Stored, encode},
    scripts,
    store::RedisTokenStore,
};
use crate::{
    protocol::token::{Owner, OwnerKey, OwnerTag, RecordKind, TokenRef},
    store::{
        Found, Offer, Placed, Record, Renewed, Room, StoreError, TokenStore, Touched, Which,
        token::record::SessionLimit,
    },
};

impl<C: Connect> TokenStore for RedisTokenStore<C> {
    fn owner_key(&self) -> &OwnerKey {
        &self.owner_key
    }

    async fn put(&self, at: &TokenRef, record: &Record, room: Room, now: u64) -> Result<Placed, StoreError> {
        let (limit, refuses) = match room.limit.filter(|_| record.is_plain()) {
            Some(SessionLimit::NewestWins(limit)) => (limit.to_string(), "0"),
            Some(SessionLimit::Refuse(limit)) => (limit.to_string(), "1"),
            None => (String::new(), "0"),
        };
        // An app has many tokens, and no limit ends them.
        let is_scanned = matches!(record.owner, Owner::User(_)) || !limit.is_empty();
        let script = if is_scanned { &scripts::PUT } else { &scripts::PUT_UNLIMITED };
        let (value, max) = (encode(record, false), room.max.to_string());
        let remembered = now.saturating_add(room.remember).to_be_bytes();
        let arguments: [&[u8]; 7] = [
            at.digest(),
            &value,
            &now.to_be_bytes(),
            max.as_bytes(),
            limit.as_bytes(),
            refuses.as_bytes(),
            &remembered,
        ];
        match self.run(script, at.kind(), at.owner(), &arguments).await? {
            Value::Int(-1) => Ok(Placed::Refused),
            answer => Ok(Placed::Done { ended: count(answer)? }),
        }
    }

    async fn find(&self, at: &TokenRef, now: u64) -> Result<Found, StoreError> {
        match self.read(at.kind(), at.owner(), Some(at.digest())).await? {
            Value::Nil => Ok(Found::Unknown),
            Value::BulkString(value) => Ok(Stored::decode(&value)?.found(now)),
            _ => Err(CommandError::Unexpected.into()),
        }
    }

    async fn touch(&self, at: &TokenRef, now: u64, until: Option<u64>) -> Result<Touched, StoreError> {
        let until = until.map(u64::to_be_bytes);
        let until = until.as_ref().map_or(&[][..], |until| until);
        match count(self.run(&scripts::TOUCH, at.kind(), at.owner(), &[at.digest(), &now.to_be_bytes(), until]).await?)?
        {
            0 => Ok(Touched::Gone),
            _ => Ok(Touched::Done),
        }
    }

    async fn take(&self, at: &TokenRef, now: u64) -> Result<bool, StoreError> {
        Ok(count(self.run(&scripts::TAKE, at.kind(), at.owner(), &[at.digest(), &now.to_be_bytes()]).await?)? == 1)
    }

    async fn renew(&self, old: &TokenRef, offer: &Offer, now: u64) -> Result<Renewed, StoreError> {
        let (now, overlap) = (now.to_be_bytes(), offer.overlap.to_be_bytes());
        let value = encode(&offer.record, true);
        let arguments: [&[u8]; 6] =
            [old.digest(), &now, offer.successor.digest(), &value, &overlap, offer.seed.as_bytes()];
        match self.run(&scripts::RENEW, old.kind(), old.owner(), &arguments).await? {
            Value::Int(0) => Ok(Renewed::NotLive),
            Value::Int(1) => Ok(Renewed::TooOften),
            Value::Int(2) => Ok(Renewed::Kept { seed: offer.seed, record: offer.record.clone() }),
            answer => {
                let (renewed, successor): (Vec<u8>, Vec<u8>) = from_redis_value(answer).map_err(StoreError::new)?;
                let Stored::Renewed(renewal) = Stored::decode(&renewed)? else {
                    return Err(CommandError::Unexpected.into());
                };
                Ok(Renewed::Kept { seed: renewal.seed, record: renewal.offered(Stored::decode(&successor)?)? })
            }
        }
    }

    async fn end(
        &self,
        owner: &OwnerTag,
        kind: RecordKind,
        which: Which<'_>,
        remember: u64,
        now: u64,
    ) -> Result<usize, StoreError> {
        let (word, id, app) = match &which {
            Which::One(id) => ("one", Some(id), None),
            Which::OneOf(app, id) => ("of", Some(id), Some(*app)),
            Which::AllBut(app, id) => ("but", Some(id), Some(*app)),
            Which::AllOf(app) => ("app", None, Some(*app)),
            Which::All => ("all", None, None),
        };
        let id = id.map_or(&[][..], |id| id.as_bytes());
        let app = app.map_or("", |app| app.as_str());
        let remembered = now.saturating_add(remember).to_be_bytes();
        let arguments = [&now.to_be_bytes()[..], &remembered, word.as_bytes(), id, app.as_bytes()];
        Ok(count(self.run(&scripts::END, kind, owner, &arguments).await?)?)
    }

    async fn list(&self, owner: &OwnerTag, kind: RecordKind, now: u64) -> Result<Vec<Record>, StoreError> {
        let fields = self.read(kind, owner, None).await?;
        let fields: Vec<(Vec<u8>, Vec<u8>)> = from_redis_value(fields).map_err(StoreError::new)?;
        let mut live = Vec::new();
        // The other field is the sequence of the owner.
        for (_, value) in fields.iter().filter(|(field, _)| field.len() == 32) {
            if let Stored::Live(Live { record, sequence, .. }) = Stored::decode(value)?
                && record.is_live(now)
            {
                live.push((sequence, record));
            }
        }
        live.sort_by_key(|(sequence, _)| *sequence);
        Ok(live.into_iter().map(|(_, record)| record).collect())
    }
}

/// The number that a script has returned.
fn count(answer: Value) -> Result<usize, CommandError> {
    match answer {
        Value::Int(count) => usize::try_from(count).map_err(|_| CommandError::Unexpected),
        _ => Err(CommandError::Unexpected),
    }
}
