//! `leeward failback`: a human sends traffic home.

use super::ask::{Overrides, Word};
use super::{Exit, Failure, Output};
use crate::domain::ServiceName;
use crate::memory::Asked;
use crate::runtime::pin::Says;

/// Goes back to the weights of the policy: the only way home under `failback: manual`.
///
/// Under `failback: auto` it takes the policy's own steps; `--override soak` does not wait for the
/// unbroken health that is asked for first. Home must be proven fit in any case.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service, as its policy calls it.
    service: ServiceName,
    #[command(flatten)]
    overrides: Overrides,
    #[command(flatten)]
    word: Word,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let request = args.word.request(Asked::Failback, &args.overrides)?;
    args.word.carry(&args.service, Says::Ask(Box::new(request)), out)
}
