//! The program: hands its arguments to the command line and exits with what
//! that answers.

use mimalloc::MiMalloc;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    postgate::cli::run()
}
