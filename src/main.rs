//! The program: hands its arguments to the command line and exits with what
//! that answers.

use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    postgate::cli::run()
}
