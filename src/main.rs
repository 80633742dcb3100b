//! The program: hands its arguments to the command line and exits with what
//! that answers.

use mimalloc::MiMalloc;
use std::process::ExitCode;

// Posts are made on one thread and dropped on another, which the system's allocator pays
// for in time and in memory that it does not give back.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    postgate::cli::run()
}
