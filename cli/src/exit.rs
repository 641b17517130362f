//! The exit codes.

use std::process::ExitCode;

use clap::error::ErrorKind;

/// The part of the help that lists the exit codes.
pub(crate) const HELP: &str = "\
Exit codes:
  0  success; a request or a vector is valid; two strings are the same
  1  a request or a vector is not valid; two strings differ; a server could not start
  2  wrong usage
  3  a file, a key or a request cannot be read or signed
  4  send: the service refused the request
  5  send: the service answered with another status from 400 on
  6  send: there was no answer, or it was not signed as required: the outcome is unknown";

pub(crate) const INVALID: u8 = 1;
pub(crate) const INPUT: u8 = 3;
pub(crate) const REFUSED: u8 = 4;
pub(crate) const ERROR_STATUS: u8 = 5;
pub(crate) const NO_ANSWER: u8 = 6;

/// A message for stderr and an exit code. The message holds no secret.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A file, a key or a request that cannot be read.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(INPUT, message)
    }

    /// Ends the process as clap does for wrong usage.
    pub(crate) fn usage(subcommand: &str, message: impl std::fmt::Display) -> ! {
        let mut command = crate::command();
        command.build();
        match command.find_subcommand_mut(subcommand) {
            Some(command) => command.error(ErrorKind::ValueValidation, message).exit(),
            None => command.error(ErrorKind::ValueValidation, message).exit(),
        }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn report(&self) -> ExitCode {
        anstream::eprintln!("error: {}", self.message);
        ExitCode::from(self.code)
    }
}
