//! Every file in `policies/` is whole, free of hazards, and in step with the language.

use std::path::PathBuf;

use leeward::policy::{self, Measures, MetricQuery, Policy, QueryBody, Source, Test};
use leeward::scenario::{self, trace};

fn files() -> Vec<PathBuf> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn the_examples_load_without_warnings() {
    let files = files();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        match policy::load(&text, &file.display().to_string()) {
            Ok((_, warnings)) => assert_eq!(warnings, [], "{}", file.display()),
            Err(problems) => panic!("{problems}"),
        }
    }
}

#[test]
fn the_examples_pass_their_own_tests() {
    for file in files() {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let policy = example(&name);
        assert!(!policy.tests.is_empty(), "{name} has no tests");
        for test in &policy.tests {
            match test {
                Test::Drawn(case) => {
                    let ran = scenario::run(&policy, case).unwrap();
                    assert_eq!(ran.faults, [], "{name}, {}: {}", case.name, ran.line());
                }
                Test::Recorded(recording) => {
                    let path = file.parent().unwrap().join(&recording.trace);
                    let shown = path.display().to_string();
                    let trace = trace::load(&std::fs::read(path).unwrap(), &shown).unwrap();
                    let ran = trace::run(&policy, &trace, recording).unwrap();
                    let failed: Vec<_> = ran.failed().collect();
                    assert!(ran.passed(), "{name}, {}: {failed:?} {:?}", test.name(), ran.missing);
                }
            }
        }
    }
}

/// A file that is written by a command, and the command.
fn assert_in_step(name: &str, now: &str, command: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name);
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == now, "policies/{name} is out of step: `{command} > policies/{name}`");
}

#[test]
fn the_schema_is_in_step_with_the_types() {
    assert_in_step("schema.json", &format!("{:#}\n", policy::json_schema()), "leeward schema");
}

#[test]
fn the_description_is_in_step_with_the_types() {
    let now = format!("{}\n", policy::markdown().trim_end());
    assert_in_step("README.md", &now, "leeward schema --markdown");
}

fn example(name: &str) -> Policy {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policies").join(name);
    policy::load(&std::fs::read_to_string(path).unwrap(), name).unwrap().0
}

fn queries(policy: &Policy, signal: &str) -> Vec<MetricQuery> {
    let Source::Metric(metric) = &policy.signals[&signal.parse().unwrap()].source else {
        panic!("{signal} is no metric")
    };
    metric.queries.values().flatten().cloned().collect()
}

#[test]
fn the_errors_of_a_balancer_are_counted_against_all_that_it_was_asked() {
    let queries = queries(&example("two-region-web.yaml"), "users");
    assert_eq!(queries.len(), 4, "one for each balancer: {queries:?}");
    let web = queries.iter().find(|q| q.balancer == "web-west".parse().ok()).unwrap();
    assert_eq!(web.aws_region, "eu-west-1");
    let QueryBody::Share(share) = &web.what else { panic!("{web:?}") };
    assert!(share.beside, "`RequestCount` knows nothing of what never found a target");
    assert_eq!(names(&share.of), ["HTTPCode_ELB_5XX_Count"]);
    assert_eq!(names(&share.but), ["TargetConnectionErrorCount"]);
    assert_eq!(names(&share.among), ["RequestCount"]);
    for query in share.of.iter().chain(&share.but).chain(&share.among) {
        let QueryBody::Metric { namespace, statistic, dimensions, .. } = query else { panic!() };
        assert_eq!((namespace.as_str(), statistic.as_str()), ("AWS/ApplicationELB", "Sum"));
        assert_eq!(dimensions["LoadBalancer"], "app/web/50dc6c495c0c9188");
    }
}

fn names(queries: &[QueryBody]) -> Vec<String> {
    let name = |query: &QueryBody| match query {
        QueryBody::Metric { name, .. } => name.clone(),
        QueryBody::Expression { expression, .. } => expression.clone(),
        QueryBody::Share(_) => panic!("a share of shares"),
    };
    queries.iter().map(name).collect()
}

/// Fail-open is counted by target group only, so all groups of a balancer are asked for; a verdict is about all
/// balancers of a region.
#[test]
fn symptoms_are_derived_for_the_region_as_a_whole() {
    let policy = example("grey-balancer.yaml");
    let queries = queries(&policy, "open");
    let home = &queries[0];
    assert_eq!(home.balancer, None);
    let QueryBody::Share(share) = &home.what else { panic!("{home:?}") };
    assert_eq!(names(&share.among), ["RequestCount", "RequestCount"], "of both balancers");
    assert_eq!(share.of.len(), 2);
    let asked = names(&share.of)[0].clone();
    for part in [
        "SUM(SEARCH('{AWS/ApplicationELB,LoadBalancer,TargetGroup}",
        "MetricName=\"UnhealthyRoutingRequestCount\"",
        "LoadBalancer=\"app/",
        "'Sum', 60))",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
}

#[test]
fn requests_are_derived_per_second_and_target_errors_per_request() {
    let arriving = queries(&example("two-region-web.yaml"), "arriving");
    let QueryBody::Expression { expression, .. } = &arriving[0].what else { panic!() };
    assert_eq!(expression, "r / 60");
    let policy = example("last-resort.yaml");
    let answers = queries(&policy, "answers");
    let QueryBody::Share(share) = &answers[0].what else { panic!() };
    assert_eq!(names(&share.of), ["HTTPCode_Target_5XX_Count", "TargetConnectionErrorCount"]);
    assert!(share.but.is_empty() && !share.beside && names(&share.among) == ["RequestCount"]);
    // The region's own AWS region, not its name, and nothing for the last resort.
    assert_eq!((answers.len(), answers[0].aws_region.as_str()), (1, "eu-central-1"));
}

#[test]
fn a_policy_says_what_was_written() {
    let policy = example("active-active.yaml");
    let region = &policy.regions[&"eu-west-1".parse().unwrap()];
    assert_eq!(region.aws_region.as_deref(), Some("eu-west-1"));
    assert_eq!(region.capacity_rps, Some(5000.0));
    assert!((region.balancers[0].carries.get() - 1.0).abs() < 1e-9, "alone it carries all");
    let lever = policy.weights_lever().unwrap();
    assert_eq!(lever.records.len(), 2);
    assert_eq!(lever.records[0].members, lever.records[1].members, "through an alias");
    assert!((lever.pace.changes_per_second - 40.0).abs() < 1e-9);
    assert_eq!(policy.home_split().unwrap().to_string(), "eu-west-1=60 us-west-2=40");
    let Source::Metric(failed) = &policy.signals[&"failed-searches".parse().unwrap()].source else {
        panic!()
    };
    assert_eq!(
        (failed.measures, failed.bad),
        (Measures::Verdict, Some(policy::BadWhen::Above(0.05)))
    );
    assert_eq!(example("last-resort.yaml").last_resort().unwrap().as_str(), "cached-pages");
}
