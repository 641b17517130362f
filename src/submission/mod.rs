//! Runs each submission once (feature `submissions`): a payment, an order, an upload that a client may send again.
//!
//! [`SubmitOnceLayer`] stands below a [`VerifyLayer`](crate::VerifyLayer). It reserves a submission in a
//! [store](crate::store::SubmissionStore), runs the service, and answers a repeated submission with the stored answer. The
//! handler finds its [`Submission`] in the request's extensions. See [the guide](crate::guide::retries).

// A request goes through the files in this order: `service` calls `read`, which finds the `place` of the submission in the
// `scope` of its caller; `reserve` asks the store; `reply` answers a repeated one. Otherwise `run` calls the service in a task
// (`running`), while `lease` renews the lease. `ending` decides what the answer means, `answer` what is stored of it, and
// `finish` tells the store.

mod answer;
#[cfg(feature = "axum")]
mod axum;
mod ending;
mod finish;
mod handler;
mod layer;
mod lease;
mod options;
mod outcome;
mod read;
mod reply;
mod reserve;
mod run;
mod running;
mod scope;
mod service;

pub use self::{
    ending::{Done, End, Ending, NothingDone},
    handler::Submission,
    layer::{SubmitOnceLayer, UnsignedKeyError},
    scope::SubmissionScope,
    service::SubmitOnce,
};
pub use crate::{protocol::IdempotencyKey, response_body::ResponseBody};
