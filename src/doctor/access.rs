//! Permissions: who acts, what the rescue needs, and whether the account would allow it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Facts, Findings, Severity, Told};
use crate::policy::{Gate, HOLDER, Policy, WeightsLever, WhichRecords};
use crate::ports::{CallFailed, Permission, Verdict};

/// What the levers of a policy have to be allowed, with the values of the condition keys that the real
/// calls carry (Service Authorization Reference: Amazon Route 53, Amazon S3, Amazon Route 53 Recovery
/// Cluster). Who publishes a gate is `holder`.
pub fn permissions(policy: &Policy, holder: &str) -> Vec<Permission> {
    let mut asked = policy.weights_lever().map_or(Vec::new(), of_weights);
    asked.extend(of_gates(policy, holder));
    asked.extend(of_controls(policy));
    asked
}

fn of_gates(policy: &Policy, holder: &str) -> BTreeSet<Permission> {
    let mut asked = BTreeSet::new();
    let slots = policy.gates_lever().into_iter().flat_map(|lever| lever.slots.values().flatten());
    for slot in slots {
        let Gate::S3 { bucket, key, .. } = &slot.gate else { continue };
        let bucket = format!("arn:aws:s3:::{bucket}");
        let object = format!("{bucket}/{}", key.replace(HOLDER, holder));
        let uses = [
            ("s3:PutObject", &object),
            ("s3:DeleteObject", &object),
            ("s3:GetObject", &object),
            // Without it an open gate is answered as one that may not be read.
            ("s3:ListBucket", &bucket),
        ];
        asked.extend(uses.map(|(action, resource)| Permission {
            action: action.to_owned(),
            resource: resource.clone(),
            context: BTreeMap::new(),
        }));
    }
    asked
}

fn of_controls(policy: &Policy) -> Vec<Permission> {
    let Some(lever) = policy.arc_lever() else { return Vec::new() };
    let action = |name: &str| format!("route53-recovery-cluster:{name}");
    let overrides = (!lever.override_rules.is_empty()).to_string();
    let mut asked = Vec::new();
    for arn in lever.controls.values() {
        asked.push(Permission {
            action: action("UpdateRoutingControlStates"),
            resource: arn.clone(),
            context: [(action("AllowSafetyRulesOverrides"), vec![overrides.clone()])].into(),
        });
        asked.push(Permission {
            action: action("GetRoutingControlState"),
            resource: arn.clone(),
            context: BTreeMap::new(),
        });
    }
    asked
}

fn of_weights(lever: &WeightsLever) -> Vec<Permission> {
    let mut names: BTreeMap<_, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for records in &lever.records {
        let (zone_names, kinds) = names.entry(&records.zone).or_default();
        if let WhichRecords::Named { name, types } = &records.which {
            zone_names.insert(name.as_str().to_owned());
            kinds.extend(types.iter().map(|kind| kind.to_ascii_uppercase()));
        }
    }
    let (epoch_names, epoch_kinds) = names.entry(&lever.epoch_record.zone).or_default();
    epoch_names.insert(lever.epoch_record.name.as_str().to_owned());
    epoch_kinds.insert("TXT".to_owned());
    let mut asked = Vec::new();
    for (zone, (zone_names, kinds)) in names {
        let resource = format!("arn:aws:route53:::hostedzone/{zone}");
        let key = |name: &str| format!("route53:ChangeResourceRecordSets{name}");
        let context = [
            (key("NormalizedRecordNames"), zone_names.into_iter().collect()),
            (key("RecordTypes"), kinds.into_iter().collect()),
            (key("Actions"), vec!["CREATE".to_owned(), "DELETE".to_owned()]),
        ];
        let action = "route53:ChangeResourceRecordSets".to_owned();
        asked.push(Permission { action, resource, context: context.into() });
    }
    asked.push(Permission {
        action: "route53:GetChange".to_owned(),
        resource: "arn:aws:route53:::change/*".to_owned(),
        context: BTreeMap::new(),
    });
    asked
}

/// The principal whose policies count: of a session, its role. `None` for what has none that could be
/// asked about (the account's root, a federated user).
pub fn role_of(arn: &str) -> Option<String> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let &[_, partition, service, _, account, resource] = parts.as_slice() else { return None };
    match (service, resource.split('/').collect::<Vec<_>>().as_slice()) {
        ("iam", ["user" | "role", ..]) => Some(arn.to_owned()),
        ("sts", ["assumed-role", role, ..]) => {
            Some(format!("arn:{partition}:iam::{account}:role/{role}"))
        }
        _ => None,
    }
}

pub(super) fn look(policy: &Policy, facts: &Facts, findings: &mut Findings) {
    let caller = match &facts.caller {
        Some(Ok(caller)) => caller,
        Some(Err(failure)) => {
            findings.unread(Severity::Stops, "credentials", failure, "sts:GetCallerIdentity");
            return;
        }
        None => return,
    };
    let acts = matches!(policy.mode, crate::policy::Mode::Approve | crate::policy::Mode::Auto);
    if role_of(&caller.arn).is_none() {
        findings.add(Severity::Weakens, format!("caller {}", caller.arn), Told {
            what: "is no user or role, so its permissions cannot be simulated".to_owned(),
            why: "whoever may do everything may do too much: a rescue needs a handful of actions",
            mend: "a role of its own (infra/README.md)",
        });
    }
    for (asked, read) in &facts.may {
        let about = format!("permission {} on {}", asked.action, asked.resource);
        let no = |findings: &mut Findings, what: &str| {
            findings.add(
                if acts { Severity::Stops } else { Severity::Weakens },
                &about,
                Told {
                    what: what.to_owned(),
                    why: "the call would be refused in the middle of an outage",
                    mend: "allow it as the templates in infra/ do",
                },
            );
        };
        match read {
            Ok(Verdict::Allowed) => {}
            Ok(Verdict::Denied) => no(findings, "is denied by a statement"),
            Ok(Verdict::NotAllowed) => no(findings, "is not allowed by any statement"),
            Err(CallFailed::NotFound { .. }) => findings.add(
                Severity::Weakens,
                &about,
                Told {
                    what: format!(
                        "could not be simulated: there is no {}",
                        role_of(&caller.arn).unwrap_or_default()
                    ),
                    why: "a role with a path does not show its path in a session",
                    mend: "name the role with `--principal ARN`",
                },
            ),
            Err(failure) => {
                findings.unread(Severity::Weakens, &about, failure, "iam:SimulatePrincipalPolicy");
            }
        }
    }
}
