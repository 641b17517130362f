//! How the run of a submission ends, and what that means.

use http::StatusCode;

/// How the run of a submission ended, for [`SubmitOnceLayer::end_as`](super::SubmitOnceLayer::end_as).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// The service answered with this status.
    Status(StatusCode),
    /// The service returned an error instead of an answer.
    Failed,
    /// The service panicked.
    Panicked,
    /// The run was dropped before the service answered, because the runtime shut down. A client that goes away does not drop
    /// it.
    Cancelled,
    /// The lease ended before the service answered: the process crashed or stood still, or the store could not be reached.
    Lost,
}

/// What the end of a run means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The submission was carried out. A repeated one gets the same answer.
    Done,
    /// It may have been carried out. A repeated one is rejected, and does not run.
    Unknown,
    /// Nothing was done. A repeated one runs.
    Release,
}

/// An extension of the service's response: the submission was carried out, whatever the status says.
///
/// ```
/// use countersign::submission::Done;
///
/// // The bank declined the payment. The same submission must not ask it again.
/// let mut response = http::Response::builder().status(402).body(())?;
/// response.extensions_mut().insert(Done);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done;

/// An extension of the service's response: nothing was done, whatever the status says. The submission may run again.
///
/// ```
/// use countersign::submission::NothingDone;
///
/// // The database was not reachable before anything was written.
/// let mut response = http::Response::builder().status(503).body(())?;
/// response.extensions_mut().insert(NothingDone);
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NothingDone;

impl Ending {
    /// The meaning of an end without a rule of the service.
    pub(super) fn default_end(self) -> End {
        match self {
            // nginx uses 499 for a client that has gone. Some middlewares answer so too.
            Self::Status(status) if matches!(status.as_u16(), 408 | 499 | 500..) => End::Unknown,
            Self::Status(status) if status.is_client_error() => End::Release,
            Self::Status(_) => End::Done,
            Self::Failed | Self::Panicked | Self::Cancelled | Self::Lost => End::Unknown,
        }
    }
}
