//! The program: hands its arguments to the command line and exits with what
//! that answers.

use std::process::ExitCode;

fn main() -> ExitCode {
    postgate::cli::run()
}
