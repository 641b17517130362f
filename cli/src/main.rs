//! `countersign`: signs, sends, verifies and explains requests from the command line.

mod completions;
mod exit;
mod explain;
mod key;
mod keygen;
mod links;
mod presign;
mod raw;
mod redact;
mod request;
mod scheme;
mod send;
mod serve;
mod show;
mod sign;
mod spelling;
mod vectors;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::redact::redacted;

/// Signs, sends, verifies and explains requests of the CS1 protocol.
///
/// Keys come from an environment variable or a file. Only `serve` takes the keys of its apps as arguments, which other users of
/// the machine can read: use keys for tests there, or --keys.
#[derive(Parser)]
#[command(name = "countersign", version, after_help = exit::HELP, after_long_help = exit::HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Sign(sign::Arguments),
    Presign(presign::Arguments),
    Send(send::Arguments),
    Verify(verify::Arguments),
    Explain(explain::Arguments),
    Keygen(keygen::Arguments),
    Vectors(vectors::Arguments),
    Completions(completions::Arguments),
    Man(completions::ManArguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| redacted(error).exit());
    let result = match arguments.command {
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Sign(arguments) => sign::run(&arguments),
        Command::Presign(arguments) => presign::run(&arguments),
        Command::Send(arguments) => send::run(&arguments).await,
        Command::Verify(arguments) => verify::run(&arguments).await,
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Keygen(arguments) => keygen::run(&arguments),
        Command::Vectors(arguments) => vectors::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => completions::man(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// The definition of all commands, for completions and the manual page.
fn command() -> clap::Command {
    <Arguments as clap::CommandFactory>::command()
}
