//! What a service writes by hand: a key that is set if it is absent, and set again with the answer.

use redis::{Value, aio::MultiplexedConnection};

use super::{
    place,
    turns::{EACH, Task, Work},
};

pub(crate) struct ByHand(pub(crate) MultiplexedConnection);

pub(crate) struct ByHandTask {
    connection: MultiplexedConnection,
    keys: Vec<Vec<u8>>,
}

impl Work for ByHand {
    type Task = ByHandTask;

    fn task(&self) -> ByHandTask {
        let key = |_| [b"plain:", &place().key()[..]].concat();
        ByHandTask { connection: self.0.clone(), keys: (0..EACH).map(key).collect() }
    }
}

impl Task for ByHandTask {
    async fn turn(&mut self, turn: usize) {
        let key = &self.keys[turn];
        let mut reserve = redis::cmd("SET");
        reserve.arg(key).arg(&[1_u8; 58][..]).arg("NX").arg("PX").arg(86_460_000);
        let reserved: Value = reserve.query_async(&mut self.connection).await.unwrap();
        let mut finish = redis::cmd("SET");
        finish.arg(key).arg(&[1_u8; 190][..]).arg("PX").arg(86_400_000);
        let finished: Value = finish.query_async(&mut self.connection).await.unwrap();
        assert!(matches!((&reserved, &finished), (Value::Okay, Value::Okay)), "{reserved:?} {finished:?}");
    }
}
