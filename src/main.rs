//! Parses, dispatches, maps the result to an exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    leeward::cli::main()
}
