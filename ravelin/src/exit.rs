//! How the process ends: exit codes, and the one place that prints an error. It must not exit by
//! itself anywhere else, so that every owner is dropped.

use std::process::ExitCode;

use anyhow::Context;

/// Everything was said already: only the status remains.
#[derive(Debug, thiserror::Error)]
#[error("ended with status {0}")]
pub(crate) struct Ended(pub(crate) u8);

/// A check that ran and did not hold, told apart from a failure to run (exit code 1 either way in
/// scripts, but without a chain of causes).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct CheckFailed(pub(crate) String);

/// Whether a change took effect is not known. Never said to have failed: it has a status of its own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unknown(pub(crate) String);

/// The status of a command whose outcome is unknown.
const UNKNOWN_STATUS: u8 = 3;

/// The exit code of a command's result; prints the error with its causes.
pub(crate) fn code(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(Ended(status)) = error.downcast_ref::<Ended>() {
                return ExitCode::from(*status);
            }
            if error.is::<Unknown>() {
                eprintln!("ravelin: {error:#}");
                return ExitCode::from(UNKNOWN_STATUS);
            }
            match error.downcast_ref::<CheckFailed>() {
                Some(CheckFailed(text)) => eprintln!("{text}"),
                None => eprintln!("ravelin: {error:#}"),
            }
            ExitCode::FAILURE
        }
    }
}

/// The runtime of everything but the request path.
///
/// # Errors
/// The system gives no threads.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("control")
        .enable_all()
        .build()
        .context("the runtime could not be started")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn an_unknown_outcome_has_a_status_of_its_own() {
        let status = |error: anyhow::Error| format!("{:?}", code(Err(error)));
        let unknown = anyhow::Error::from(Unknown("who knows".to_owned()));
        assert_eq!(status(unknown.context("apply")), format!("{:?}", ExitCode::from(3)));
        assert_eq!(status(anyhow!("refused")), format!("{:?}", ExitCode::FAILURE));
    }
}
