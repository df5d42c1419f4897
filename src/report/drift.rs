//! Where a balancer is not as the policy declares, and what would mend it. No IO.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::paragraph;
use crate::balancer::Difference;
use crate::balancer::cure::Step;
use crate::domain::BalancerName;

/// Fields and calls of one balancer that a page shows. JSON has them all.
const SHOWN_MAX: usize = 20;

/// One balancer of which the policy declares something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    pub balancer: BalancerName,
    /// From what is there to what is declared.
    pub differences: Vec<Difference>,
    /// What would mend it, in words.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub calls: Vec<String>,
    /// The same with what is waited for.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub steps: Vec<Step>,
    /// Why no call of ours can mend it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unmendable: Option<String>,
    /// Why nothing is known of it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unread: Option<String>,
}

impl Drift {
    /// A balancer that is as declared.
    pub fn of(balancer: &BalancerName) -> Self {
        Self {
            balancer: balancer.clone(),
            differences: Vec::new(),
            calls: Vec::new(),
            steps: Vec::new(),
            unmendable: None,
            unread: None,
        }
    }

    /// Whether it is known to be otherwise than declared.
    pub fn is_drift(&self) -> bool {
        !self.differences.is_empty() || self.unmendable.is_some()
    }

    pub fn is_mendable(&self) -> bool {
        !self.steps.is_empty()
    }
}

/// SHA-256 over what is to be mended, as JSON: the same drift and the same calls give the same sum. The
/// first 16 hexadecimal digits.
pub fn checksum(mends: &[Drift]) -> String {
    let text = serde_json::to_vec(mends).unwrap_or_default();
    Sha256::digest(text).iter().take(8).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// `beside`: a move is planned as well.
pub(super) fn show(page: &mut String, drift: &[Drift], beside: bool) {
    for one in drift {
        let balancer = &one.balancer;
        if let Some(why) = &one.unread {
            paragraph(page, "declared", &format!("`{balancer}`: not known, {why}"));
        } else if !one.is_drift() {
            paragraph(page, "declared", &format!("`{balancer}` is as declared"));
        }
        let fields = one.differences.iter().map(ToString::to_string).collect::<Vec<_>>();
        if !fields.is_empty() {
            paragraph(page, "drift", &format!("`{balancer}` is not as declared:"));
            list(page, &fields);
        }
        if let Some(why) = &one.unmendable {
            paragraph(page, "drift", &format!("`{balancer}` cannot be mended: {why}"));
        }
        if one.is_mendable() {
            paragraph(page, "mends", &format!("`{balancer}`, not by itself:"));
            list(page, &one.steps.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
    }
    if drift.iter().any(Drift::is_mendable) {
        let by_plan = if beside {
            "when nothing is to be moved, by `leeward apply` of the file that `--out` writes"
        } else {
            "by `leeward apply` of the file that `--out` writes"
        };
        paragraph(
            page,
            "",
            &format!("{by_plan}; at once by `leeward lb refresh FILE BALANCER --mend`"),
        );
    }
}

fn list(page: &mut String, lines: &[String]) {
    for line in lines.iter().take(SHOWN_MAX) {
        paragraph(page, "", line);
    }
    if lines.len() > SHOWN_MAX {
        paragraph(page, "", &format!("and {} more", lines.len() - SHOWN_MAX));
    }
}
