//! Hooks: programs and services of the operator around a move.

use std::collections::BTreeSet;

use super::super::decode::{At, Part};
use super::super::problem::{Code, Finding, Findings, quoted};
use super::super::units::Text;
use super::super::{Hook, HookDoes, HookedMove, Hooks, IfItFails, raw};
use super::{MINUTE, SECOND, limited_span, program};

/// An order that waits for longer is no rescue; what takes longer belongs behind a hook, not into it.
const TIMEOUT_MAX: u64 = 10 * MINUTE;

pub(super) fn compile(written: &raw::Hooks, to: &mut Findings<'_>) -> Option<Hooks> {
    let mut names = BTreeSet::new();
    let before = several(written.before.as_ref(), &mut names, to);
    let fence = match &written.fence {
        None => Some(None),
        Some(Part(None)) => None,
        Some(Part(Some(hook))) => one(&hook.value, &mut names, to).map(Some),
    };
    let after = several(written.after.as_ref(), &mut names, to);
    let rollback = match &written.rollback {
        None => Some(None),
        Some(Part(None)) => None,
        Some(Part(Some(hook))) => rollback(&hook.value, &mut names, to).map(Some),
    };
    Some(Hooks { before: before?, fence: fence?, after: after?, rollback: rollback? })
}

/// What the hooks are called, as far as it can be read.
pub(super) fn names(written: &raw::Hooks) -> Vec<String> {
    let lists = [&written.before, &written.after].into_iter().flatten();
    let several = lists.flat_map(|list| &list.value).filter_map(|part| part.0.as_ref());
    let fence = written.fence.as_ref().and_then(|part| part.0.as_ref());
    let named = several.chain(fence).map(|hook| &hook.value.name);
    let rollback = written.rollback.as_ref().and_then(|part| part.0.as_ref());
    named.chain(rollback.map(|hook| &hook.value.name)).map(|name| name.value.0.clone()).collect()
}

fn several(
    written: Option<&At<Vec<Part<At<raw::Hook>>>>>,
    names: &mut BTreeSet<String>,
    to: &mut Findings<'_>,
) -> Option<Vec<Hook>> {
    let list = written.map_or(&[][..], |list| list.value.as_slice());
    let hooks: Vec<Option<Hook>> =
        list.iter().map(|part| one(&part.0.as_ref()?.value, names, to)).collect();
    hooks.into_iter().collect()
}

fn one(written: &raw::Hook, names: &mut BTreeSet<String>, to: &mut Findings<'_>) -> Option<Hook> {
    let name = name(&written.name, names, to);
    let does = does(&written.does, to);
    let timeout = limited_span(&written.timeout, SECOND..=TIMEOUT_MAX, "timeout", to);
    let if_it_fails = match written.if_it_fails {
        raw::IfItFails::Veto => IfItFails::Veto,
        raw::IfItFails::GoOn => IfItFails::GoOn,
    };
    let moves = match &written.moves {
        None => Some(BTreeSet::new()),
        Some(moves) if moves.value.is_empty() => {
            to.add(
                Finding::new(Code::WrongShape, moves.at, "the hook is for no move at all")
                    .label("empty")
                    .help("leave `moves` out for all kinds of moves"),
            );
            None
        }
        Some(moves) => Some(moves.value.iter().map(|kind| hooked(&kind.value)).collect()),
    };
    Some(Hook { name: name?, does: does?, timeout: timeout?, if_it_fails, moves: moves? })
}

fn rollback(
    written: &raw::Rollback,
    names: &mut BTreeSet<String>,
    to: &mut Findings<'_>,
) -> Option<Hook> {
    // There is one condition so far, and it has to be written out.
    match written.when {
        raw::RollbackWhen::CommonCause => {}
    }
    let name = name(&written.name, names, to);
    let does = does(&written.does, to);
    let timeout = limited_span(&written.timeout, SECOND..=TIMEOUT_MAX, "timeout", to);
    let (if_it_fails, moves) = (IfItFails::GoOn, BTreeSet::new());
    Some(Hook { name: name?, does: does?, timeout: timeout?, if_it_fails, moves })
}

/// Names are keys of the journal: each stands for one hook.
fn name(written: &At<Text>, names: &mut BTreeSet<String>, to: &mut Findings<'_>) -> Option<String> {
    let text = written.value.0.as_str();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if text.is_empty() || text.len() > 40 || !text.chars().all(plain) {
        let message = format!("{} is not a name for a hook", quoted(text));
        to.add(
            Finding::new(Code::Malformed, written.at, message)
                .label("1 to 40 letters, digits, `-` and `_`")
                .help("such as `freeze-jobs`"),
        );
        return None;
    }
    if !names.insert(text.to_owned()) {
        let message = format!("a second hook is called `{text}`");
        to.add(
            Finding::new(Code::Conflict, written.at, message)
                .label("second mention")
                .help("the journal tells hooks apart by their names"),
        );
        return None;
    }
    Some(text.to_owned())
}

fn does(written: &At<raw::HookDoes>, to: &mut Findings<'_>) -> Option<HookDoes> {
    match &written.value {
        raw::HookDoes::Run(words) => {
            let help = "a whole path cannot be mistaken; arguments are words of their own, no shell is started";
            let (program, arguments) = program(words, help, to)?;
            Some(HookDoes::Run { program, arguments })
        }
        raw::HookDoes::Call(call) => {
            let token_file = match &call.token_file {
                Some(file) if !file.value.0.starts_with('/') => {
                    let message =
                        format!("{} is not the whole path of a file", quoted(&file.value.0));
                    to.add(
                        Finding::new(Code::Malformed, file.at, message)
                            .label("which file?")
                            .help("a whole path does not depend on where the service was started"),
                    );
                    return None;
                }
                file => file.as_ref().map(|file| file.value.0.clone()),
            };
            Some(HookDoes::Call { url: call.url.0.clone(), token_file })
        }
    }
}

fn hooked(written: &raw::HookedMove) -> HookedMove {
    match written {
        raw::HookedMove::Evacuate => HookedMove::Evacuate,
        raw::HookedMove::Failback => HookedMove::Failback,
        raw::HookedMove::LastResort => HookedMove::LastResort,
        raw::HookedMove::Operator => HookedMove::Operator,
    }
}
