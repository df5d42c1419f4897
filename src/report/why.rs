//! Why it does, or does not, act: diagnosis, evidence, what was ruled out, holds and the smallest change
//! that would flip them. No IO.

use std::fmt::Write as _;

use super::card::{mode, title, wish};
use super::{STRONG, UNKNOWN, paint, paragraph, plain, reading, zones};
use crate::decide::{Decision, Digest, Finding, Fitness, Hold};
use crate::domain::{ServiceName, Timestamp, span};
use crate::plan::Wanted;

/// The reasons of one decision, whole.
pub fn why(service: &ServiceName, decision: &Decision) -> String {
    let mut page = String::new();
    let _ = writeln!(
        page,
        "{}   at {}   mode {}",
        paint(STRONG, service.as_str()),
        decision.at,
        mode(decision.mode)
    );
    paragraph(&mut page, "in short", &in_short(decision));
    if let Some((label, text)) = zones::wish(decision) {
        paragraph(&mut page, label, &text);
    }
    findings(&mut page, &decision.findings);
    regions(&mut page, decision);
    holds(&mut page, &decision.holds);
    page
}

/// The same from the journal, which keeps readings in words.
pub fn digest(service: &ServiceName, at: Timestamp, digest: &Digest) -> String {
    let mut page = String::new();
    let _ =
        writeln!(page, "{}   decided {at}, out of the journal", paint(STRONG, service.as_str()));
    let short = sentence(digest.wanted.as_ref(), digest.proposed.as_ref(), &digest.holds);
    paragraph(&mut page, "in short", &short);
    findings(&mut page, &digest.findings);
    for (name, says) in &digest.readings {
        for line in says {
            paragraph(&mut page, "saw", &format!("{name}: {line}"));
        }
    }
    holds(&mut page, &digest.holds);
    page
}

fn findings(page: &mut String, findings: &[Finding]) {
    for finding in findings {
        paragraph(page, "diagnosis", &format!("{} since {}", title(finding), finding.since));
        for evidence in &finding.evidence {
            paragraph(page, "because", evidence);
        }
        for other in &finding.ruled_out {
            paragraph(page, "ruled out", other);
        }
        if let Some(change) = &finding.turns_if {
            paragraph(page, "other if", change);
        }
    }
}

fn holds(page: &mut String, holds: &[Hold]) {
    for hold in holds {
        paragraph(page, "holds", &hold.to_string());
        paragraph(page, "flips when", &hold.flips_when());
    }
}

/// One sentence: what happens, and the smallest change that would make it different.
pub fn in_short(decision: &Decision) -> String {
    sentence(decision.wanted.as_ref(), decision.proposed.as_ref(), &decision.holds)
}

fn sentence(wanted: Option<&Wanted>, proposed: Option<&Wanted>, holds: &[Hold]) -> String {
    match (wanted, proposed, holds) {
        (Some(wanted), _, []) => format!("it acts: {}", wish(wanted)),
        (Some(wanted), _, holds) => {
            format!("it acts: {}; not more, because {}", wish(wanted), flip(holds))
        }
        (None, Some(proposed), holds) => {
            format!("it would {}, but {}", wish(proposed), flip(holds))
        }
        (None, None, []) => "nothing is to be done".to_owned(),
        (None, None, holds) => format!("it does nothing, because {}", flip(holds)),
    }
}

/// All holds have to flip, so one hold is named with its change and several by their number.
fn flip(holds: &[Hold]) -> String {
    match holds {
        [] => "nothing holds it".to_owned(),
        [hold] => format!("{hold}; it flips when {}", hold.flips_when()),
        [first, rest @ ..] => format!(
            "{first}, and {} other hold(s); all of them have to flip, the first when {}",
            rest.len(),
            first.flips_when()
        ),
    }
}

fn regions(page: &mut String, decision: &Decision) {
    for (name, verdict) in &decision.regions {
        let (word, style) = reading(verdict.reading);
        let _ = writeln!(page, " {} {}", paint(STRONG, name.as_str()), paint(style, word));
        for (class, says) in &verdict.classes {
            let (word, _) = reading(says.reading);
            let age = says.age.map_or("no sample".to_owned(), |age| format!("{} old", span(age)));
            let class = format!("{class:?}").to_lowercase();
            paragraph(page, &format!("  {class}"), &format!("{word}, {age}: {}", says.says));
        }
        if verdict.classes.is_empty() {
            let _ = writeln!(page, "   {}", paint(UNKNOWN, "no signal speaks of it"));
        }
        match &verdict.fit {
            Fitness::Fit { .. } => paragraph(page, "  takes", "may take traffic"),
            Fitness::Unfit { why } => {
                paragraph(page, "  takes", &format!("no traffic: {}", plain(why)));
            }
            Fitness::Unproven { why } => {
                paragraph(page, "  takes", &format!("not proven fit: {}", plain(why)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn the_reasons_of_an_outage_are_complete() {
        let text = why(&"shop".parse().unwrap(), &samples::outage());
        samples::settings().bind(|| {
            insta::assert_snapshot!("why_outage", anstream::adapter::strip_str(&text).to_string());
        });
    }

    #[test]
    fn the_journal_tells_the_same_reasons() {
        let digest = digest(&"shop".parse().unwrap(), samples::NOW, &samples::outage().digest());
        samples::settings().bind(|| {
            insta::assert_snapshot!(
                "why_journal",
                anstream::adapter::strip_str(&digest).to_string()
            );
        });
    }

    #[test]
    fn one_hold_is_named_with_the_change_that_flips_it() {
        let mut decision = samples::outage();
        decision.holds.truncate(1);
        assert_eq!(
            in_short(&decision).split(", but ").nth(1).unwrap(),
            "mode is `advise`; it flips when the policy's `mode` is `approve` or `auto`"
        );
    }
}
