//! `leeward abort`: withdraws what is under way, as far as it has not happened.

use super::ask::Word;
use super::{Exit, Failure, Output};
use crate::domain::ServiceName;
use crate::runtime::pin::Says;

/// Withdraws the open order and what was asked, and keeps the machine from moving until the end.
///
/// What was not sent is dropped; if only a part was written, that part is put back. What Route 53 has
/// accepted as a whole cannot be recalled: it is followed up, and `leeward shift` moves it elsewhere.
/// `leeward approve`, or a new request, lets it move again before the end.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The service, as its policy calls it.
    service: ServiceName,
    #[command(flatten)]
    word: Word,
}

pub fn run(args: &Args, out: &mut Output) -> Result<Exit, Failure> {
    let abort = args.word.abort()?;
    args.word.carry(&args.service, Says::Abort(abort), out)
}
