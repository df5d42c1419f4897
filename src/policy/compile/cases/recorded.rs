//! A test that plays a recorded outage: its names, and nothing that belongs to a drawing. The file itself
//! is read by whoever plays it.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use super::super::super::case::{DIAGNOSES, EXPECTATIONS, HOLDS, Recording};
use super::super::super::decode::{At, Entries};
use super::super::super::problem::{Bytes, Code, Finding, Findings, quoted};
use super::super::super::raw;
use super::super::super::units::Text;
use super::super::{Names, Referred, check_entries, check_reference, mode, parsed};
use super::{ends, known};
use crate::domain::Malformed;

/// A path longer than this is a mistake.
const PATH_MAX: usize = 1024;

pub(super) fn compile(
    test: &raw::Test,
    trace: &At<Text>,
    names: &Names,
    to: &mut Findings<'_>,
) -> Option<Recording> {
    let drawn = drawn(test);
    for (field, at) in &drawn {
        let message = format!("`{field}` belongs to a drawn outage, this one is recorded");
        to.add(Finding::new(Code::Conflict, *at, message).label("drawn").help(
            "the trace says what happens; write `trace`, or draw the outage, each in a test of its own",
        ));
    }
    let path = &trace.value.0;
    if path.is_empty() || path.len() > PATH_MAX {
        let message = format!("{} is not a path", quoted(path));
        to.add(
            Finding::new(Code::Malformed, trace.at, message)
                .label("which file?")
                .help("expected a path relative to this policy, such as `traces/region-loss.json`"),
        );
        return None;
    }
    let regions = mapped(test.regions.as_ref(), Referred::Region, names.regions.as_ref(), to);
    let balancers =
        mapped(test.balancers.as_ref(), Referred::Balancer, names.balancers.as_ref(), to);
    let vantages = mapped(test.vantages.as_ref(), Referred::Vantage, names.vantages.as_ref(), to);
    let without =
        known(test.without.as_ref(), EXPECTATIONS, Code::UnknownChoice, "kind of expectation", to);
    let finds = known(test.finds.as_ref(), DIAGNOSES, Code::UnknownDiagnosis, "diagnosis", to);
    let holds = known(test.holds.as_ref(), HOLDS, Code::UnknownHold, "hold", to);
    let ends = ends(test.ends.as_ref(), names, to);
    Some(Recording {
        name: test.name.value.0.clone(),
        line: to.line_of(test.name.at),
        trace: path.clone(),
        place: to.place_of(trace.at),
        mode: test.mode.as_ref().map(mode),
        regions: regions?,
        balancers: balancers?,
        vantages: vantages?,
        without: without?.into_iter().collect::<BTreeSet<_>>(),
        finds: finds?,
        holds: holds?,
        ends: ends?,
    })
    .filter(|_| drawn.is_empty())
}

/// In a drawn outage, what only a recorded one has.
pub(super) fn refuse_fields(test: &raw::Test, to: &mut Findings<'_>) {
    let entries = |of: Option<&Entries<At<Text>>>| of.map(|entries| entries.at);
    let written = [
        ("regions", entries(test.regions.as_ref())),
        ("balancers", entries(test.balancers.as_ref())),
        ("vantages", entries(test.vantages.as_ref())),
        ("without", test.without.as_ref().map(|list| list.at)),
    ];
    for (field, at) in written {
        let Some(at) = at else { continue };
        let message = format!("`{field}` belongs to a recorded outage, this one is drawn");
        to.add(
            Finding::new(Code::Conflict, at, message)
                .label("of which trace?")
                .help("name the file: `trace: traces/region-loss.json`"),
        );
    }
}

/// What is written of a drawing.
fn drawn(test: &raw::Test) -> Vec<(&'static str, Bytes)> {
    let all = [
        ("step", test.step.as_ref().map(|it| it.at)),
        ("begins", test.begins.as_ref().map(|it| it.at)),
        ("seen", test.seen.as_ref().map(|it| it.at)),
        ("seen_from", test.seen_from.as_ref().map(|it| it.at)),
        ("counters", test.counters.as_ref().map(|it| it.at)),
        ("beacons", test.beacons.as_ref().map(|it| it.at)),
        ("control_plane", test.control_plane.as_ref().map(|it| it.at)),
        ("refreshes", test.refreshes.as_ref().map(|_| test.name.at)),
        ("lag", test.lag.as_ref().map(|it| it.at)),
        ("requests", test.requests.as_ref().map(|it| it.at)),
        ("capacity", test.capacity.as_ref().map(|it| it.at)),
        ("events", test.events.as_ref().map(|it| it.at)),
        ("expect", test.expect.as_ref().map(|it| it.at)),
    ];
    all.into_iter().filter_map(|(field, at)| at.map(|at| (field, at))).collect()
}

/// From names of the trace to names of the policy, none of them twice.
fn mapped<N: FromStr<Err = Malformed> + Ord>(
    written: Option<&Entries<At<Text>>>,
    referred: Referred,
    all: Option<&Vec<String>>,
    to: &mut Findings<'_>,
) -> Option<BTreeMap<String, N>> {
    let mut map = Some(BTreeMap::new());
    let Some(written) = written else { return map };
    check_entries(written, "names", to)?;
    let mut used: Vec<&str> = Vec::new();
    for entry in &written.list {
        let Some(name) = &entry.value else {
            map = None;
            continue;
        };
        let text = name.value.0.as_str();
        if used.contains(&text) {
            let message = format!("{} stands for two of the trace", quoted(text));
            to.add(Finding::new(Code::Conflict, name.at, message).label("again"));
        }
        used.push(text);
        let found = check_reference(text, name.at, referred, all, to);
        let found = found.and_then(|()| parsed::<N>(text, name.at, to));
        match (found, &mut map) {
            (Some(found), Some(map)) => {
                map.insert(entry.name.clone(), found);
            }
            _ => map = None,
        }
    }
    map
}
