//! The `portald` program: arguments → settings → log → run; what fails is printed with its causes and the next step.

use std::process::ExitCode;

use clap::Parser;
use portald::cli::{self, Cli};

fn main() -> ExitCode {
    match cli::main(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}
