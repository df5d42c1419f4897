//! The findings of a preflight, for people and programs. No IO.

use std::fmt::Write as _;

use anstyle::Style;
use serde::Serialize;

use super::{BAD, GOOD, STRONG, UNKNOWN, paint, paragraph, plain};
use crate::doctor::{Finding, Severity};
use crate::domain::{ServiceName, Timestamp};

/// What a preflight came to.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    pub service: &'a ServiceName,
    pub at: Timestamp,
    /// The gravest first.
    pub findings: &'a [Finding],
    /// What `leeward check` warns of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The whole page.
pub fn page(report: &Report<'_>) -> String {
    let mut page = String::new();
    let count = |severity| report.findings.iter().filter(|f| f.severity == severity).count();
    let (stops, trouble) = (count(Severity::Stops), count(Severity::Trouble));
    let (word, style) = match (stops, trouble) {
        (0, 0) => ("NOTHING STOPS A RESCUE", GOOD),
        (0, _) => ("CANNOT SAY", UNKNOWN),
        (_, _) => ("A RESCUE WOULD BE STOPPED", BAD),
    };
    let _ = writeln!(
        page,
        "{} {}   {stops} stop(s), {} weaken(s), {trouble} unread, {} note(s)",
        paint(STRONG, report.service.as_str()),
        paint(style, word),
        count(Severity::Weakens),
        count(Severity::Note)
    );
    for warning in &report.warnings {
        paragraph(&mut page, "policy", warning);
    }
    for finding in report.findings {
        let (label, style) = label(finding.severity);
        let about = paint(style, &plain(&finding.about));
        let _ = writeln!(page, "\n {label:<11}{about}");
        paragraph(&mut page, "", &finding.what);
        paragraph(&mut page, "  why", &finding.why);
        paragraph(&mut page, "  mend", &finding.mend);
    }
    let _ = writeln!(page);
    paragraph(&mut page, "changed", "nothing was changed: a preflight only reads");
    page
}

fn label(severity: Severity) -> (&'static str, Style) {
    match severity {
        Severity::Stops => ("STOPS", BAD),
        Severity::Trouble => ("UNREAD", UNKNOWN),
        Severity::Weakens => ("weakens", UNKNOWN),
        Severity::Note => ("note", STRONG),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    fn finding(severity: Severity, about: &str) -> Finding {
        Finding {
            severity,
            about: about.to_owned(),
            what: "is cached for 3600s".to_owned(),
            why: "clients keep coming for as long".to_owned(),
            mend: "60s or 120s".to_owned(),
        }
    }

    #[test]
    fn every_finding_says_what_why_and_how_to_mend_it() {
        let findings = [
            finding(Severity::Stops, "api.example.com A \"eu\""),
            finding(Severity::Trouble, "zone Z1"),
            finding(Severity::Weakens, "clock\u{1b}[2J"),
            finding(Severity::Note, "region eu-west-1"),
        ];
        let service = "shop".parse().unwrap();
        let warnings = vec!["one class of signals only".to_owned()];
        let report = Report { service: &service, at: samples::NOW, findings: &findings, warnings };
        let text = anstream::adapter::strip_str(&page(&report)).to_string();
        samples::settings().bind(|| insta::assert_snapshot!("doctor", text));
    }
}
