//! Runs the service, and tells the store how that ended.

use std::{any::Any, panic::AssertUnwindSafe, pin::pin, sync::Arc};

use bytes::Bytes;
use futures_util::{FutureExt, future::select};
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::{sync::oneshot, time::Instant};
use tower_service::Service;

use super::{
    answer,
    ending::{Done, End, Ending, NothingDone},
    finish::{CancelOnDrop, Finishing},
    lease::Held,
    options::Options,
    outcome::Outcome,
};
use crate::{
    response_body::ResponseBody,
    store::{Finish, StoredAnswer},
};

/// What the caller gets.
pub(super) type Ran<B, E> = Result<Response<ResponseBody<B>>, Failure<E>>;

/// The reason why there is no answer.
pub(super) enum Failure<E> {
    /// The service returned an error.
    Error(E),
    /// The service panicked, with this payload.
    Panic(Box<dyn Any + Send>),
}

/// Calls the service with the request, while the lease is renewed. Stores a body of at most `max_stored` bytes. Sends its answer once the store knows how it ended, or has
/// failed once.
pub(super) async fn run<S, B, ResBody>(
    inner: S,
    request: Request<B>,
    held: Held,
    options: Arc<Options>,
    max_stored: Option<usize>,
    caller: oneshot::Sender<Ran<ResBody, S::Error>>,
) where
    S: Service<Request<B>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    let work = pin!(work(inner, request, &held, &options, max_stored, caller));
    let renewal = pin!(held.renew());
    select(work, renewal).await;
}

async fn work<S, B, ResBody>(
    mut inner: S,
    request: Request<B>,
    held: &Held,
    options: &Options,
    max_stored: Option<usize>,
    caller: oneshot::Sender<Ran<ResBody, S::Error>>,
) where
    S: Service<Request<B>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    let started = Instant::now();
    let cancelled = CancelOnDrop::new(held, options, without_answer(options.end(Ending::Cancelled)));
    let call = async {
        match inner.call(request).await {
            Ok(response) => {
                let (response, end) = judge(response, options, max_stored).await;
                (Ok(response), end)
            }
            Err(error) => (Err(Failure::Error(error)), without_answer(options.end(Ending::Failed))),
        }
    };
    let (ran, end) = AssertUnwindSafe(call)
        .catch_unwind()
        .await
        .unwrap_or_else(|payload| (Err(Failure::Panic(payload)), without_answer(options.end(Ending::Panicked))));
    cancelled.disarm();
    Outcome::of(&end).count();
    let finishing = Finishing::new(held, end, started);
    let is_known = finishing.first().await;
    // The client may have gone. The store knows the end all the same.
    let _ = caller.send(ran);
    if !is_known {
        finishing.again().await;
    }
}

/// Decides what an answer means. What the service says of it goes before its status.
async fn judge<B: Body<Data = Bytes>>(
    response: Response<B>,
    options: &Options,
    max_stored: Option<usize>,
) -> (Response<ResponseBody<B>>, Finish) {
    let extensions = response.extensions();
    let end = match (extensions.get::<Done>(), extensions.get::<NothingDone>()) {
        (Some(_), _) => End::Done,
        (None, Some(_)) => End::Release,
        (None, None) => options.end(Ending::Status(response.status())),
    };
    match end {
        End::Done => {
            let (response, answer) = answer::read(response, max_stored).await;
            (response, Finish::Done(answer))
        }
        End::Unknown => (response.map(ResponseBody::new), Finish::Unknown),
        End::Release => (response.map(ResponseBody::new), Finish::Release),
    }
}

/// The end of a run without an answer. The status stands for one, if the service says that the submission was carried out.
fn without_answer(end: End) -> Finish {
    match end {
        End::Done => Finish::Done(StoredAnswer::new(StatusCode::INTERNAL_SERVER_ERROR, None)),
        End::Unknown => Finish::Unknown,
        End::Release => Finish::Release,
    }
}
