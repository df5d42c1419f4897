//! The files that Leeward is run by: unit, image, manifest and task say the same, and what the program knows.
//!
//! No image is built here and no unit is started: base images and a service manager are not at hand. The schema of
//! the manifest is not checked either; its shape is.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::template;
use crate::wire::servers::templates;

const UNIT: &str = include_str!("../../infra/systemd/leeward.service");
const IMAGE: &str = include_str!("../../infra/container/Containerfile");
const IGNORED: &str = include_str!("../../infra/container/Containerfile.dockerignore");
const MANIFEST: &str = "infra/kubernetes/leeward.yaml";

/// What stands behind `key=` in the unit, line by line.
fn unit(key: &str) -> Vec<&'static str> {
    let lines = UNIT.lines().filter_map(|line| line.split_once('='));
    lines.filter(|(name, _)| *name == key).map(|(_, value)| value).collect()
}

/// The program itself takes these arguments: it is asked for help with them.
fn understood(arguments: &[&str]) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_leeward"));
    let said = program.args(arguments).arg("--help").output().unwrap();
    assert!(said.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said.stderr));
    let help = String::from_utf8_lossy(&said.stdout).into_owned();
    for option in arguments.iter().filter(|argument| argument.starts_with("--")) {
        assert!(help.contains(option), "{option} is no option of `{}`", arguments[0]);
    }
}

#[test]
fn the_unit_runs_the_program_as_nobody_and_gives_it_one_folder() {
    let start = unit("ExecStart");
    let [start] = start[..] else { panic!("one start") };
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(words[0], "/usr/local/bin/leeward");
    understood(&words[1..]);
    for (key, value) in [
        ("DynamicUser", "yes"),
        ("StateDirectory", "leeward"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("Restart", "always"),
        ("StartLimitIntervalSec", "0"),
        ("KillSignal", "SIGTERM"),
    ] {
        assert_eq!(unit(key), [value], "{key}");
    }
}

/// By systemd itself, where there is one: the unit of a machine without it is judged by the test above.
#[test]
fn systemd_has_nothing_against_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("leeward.service");
    let ours = env!("CARGO_BIN_EXE_leeward");
    std::fs::write(&file, UNIT.replace("/usr/local/bin/leeward", ours)).unwrap();
    let analyze = |arguments: &[&str]| {
        Command::new("systemd-analyze").args(arguments).arg(&file).output().ok()
    };
    let Some(verified) = analyze(&["verify", "--man=no"]) else {
        // Past what a test prints: this is to be read when it succeeds as well.
        let note = b"NOT RUN: the unit was not shown to systemd, there is no `systemd-analyze`.\n";
        std::io::stderr().write_all(note).unwrap();
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}");
    // In tenths: 1.3 where this was written.
    let judged = analyze(&["security", "--offline=true", "--threshold=20", "--no-pager"]).unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
}

/// Everything that cargo needs is copied, and nothing else is sent along.
#[test]
fn the_image_is_built_of_what_the_manifest_of_cargo_names() {
    let lines: Vec<&str> = IMAGE.lines().collect();
    let manifest = include_str!("../../Cargo.toml");
    let value = |line: &'static str, key: &str| {
        line.strip_prefix(key)?.strip_prefix(" = \"")?.split('"').next()
    };
    let version = manifest.lines().find_map(|line| value(line, "rust-version")).unwrap();
    assert!(lines.contains(&format!("FROM rust:{version}-slim-bookworm AS build").as_str()));
    let copied: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            words[..words.len() - 1].to_vec()
        })
        .collect();
    let sent: BTreeSet<&str> = IGNORED.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert_eq!(copied, sent);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(copied.iter().all(|path| root.join(path).exists()), "{copied:?}");
    let targets: Vec<&str> = manifest.lines().filter_map(|line| value(line, "path")).collect();
    assert!(targets.len() >= 4, "{targets:?}");
    for path in targets {
        let there = copied.iter().any(|copied| Path::new(path).starts_with(copied));
        assert!(there, "{path} is not in the image's build");
    }
}

#[test]
fn the_image_runs_as_nobody_and_keeps_the_journal_outside() {
    let last = IMAGE.split("\nFROM ").last().unwrap();
    let lines: Vec<&str> = last.lines().collect();
    assert!(lines.contains(&"USER 65532:65532"));
    assert!(lines.contains(&"VOLUME /var/lib/leeward"));
    assert!(lines.contains(&"ENTRYPOINT [\"/usr/local/bin/leeward\"]"));
    assert!(!IMAGE.contains("ADD "), "nothing is fetched from an address");
    let command = lines.iter().find_map(|line| line.strip_prefix("CMD ")).unwrap();
    let command: Vec<String> = serde_json::from_str(command).unwrap();
    understood(&command.iter().map(String::as_str).collect::<Vec<_>>());
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|item| item.as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_cluster_runs_one_controller_and_asks_after_its_health() {
    let documents = templates(&["documents", MANIFEST]).await;
    let documents = documents.as_array().unwrap();
    let of_kind = |kind: &str| documents.iter().find(|one| one["kind"] == kind).unwrap();
    for document in documents {
        assert!(document["apiVersion"].is_string() && document["metadata"]["name"].is_string());
        let of_the_cluster = document["kind"] == "Namespace";
        assert_eq!(document["metadata"]["namespace"] == "leeward", !of_the_cluster);
    }
    let deployment = &of_kind("Deployment")["spec"];
    assert_eq!(deployment["replicas"], 1);
    assert_eq!(deployment["strategy"], json!({"type": "Recreate"}));
    let pod = &deployment["template"];
    assert_eq!(deployment["selector"]["matchLabels"], pod["metadata"]["labels"]);
    let policy = of_kind("NetworkPolicy");
    assert_eq!(policy["spec"]["podSelector"]["matchLabels"], pod["metadata"]["labels"]);
    assert_eq!(policy["spec"]["ingress"], Value::Null, "nobody comes in");
    let spec = &pod["spec"];
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(spec["securityContext"]["runAsUser"], 65532, "as in the image");
    let container = &spec["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    let arguments = texts(&container["args"]);
    understood(&arguments);
    let port = container["ports"][0]["containerPort"].to_string();
    assert!(arguments.iter().any(|argument| argument.ends_with(&format!(":{port}"))));
    for (probe, path) in
        [("livenessProbe", "/healthz"), ("startupProbe", "/healthz"), ("readinessProbe", "/readyz")]
    {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "told"}), "{probe}");
    }
    // What is mounted is there, and the journal is on the claim.
    let mounted: BTreeSet<&str> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| mount["name"].as_str().unwrap())
        .collect();
    let volumes: BTreeSet<&str> = spec["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|volume| volume["name"].as_str().unwrap())
        .collect();
    assert_eq!(mounted, volumes);
    let journal = &container["volumeMounts"][1];
    let state = arguments.iter().position(|argument| *argument == "--state").unwrap();
    assert_eq!(journal["mountPath"], arguments[state + 1]);
    let claim = &spec["volumes"][1]["persistentVolumeClaim"]["claimName"];
    assert_eq!(*claim, of_kind("PersistentVolumeClaim")["metadata"]["name"]);
    let config = &spec["volumes"][0]["configMap"]["name"];
    assert_eq!(*config, of_kind("ConfigMap")["metadata"]["name"]);
}

#[tokio::test]
async fn the_task_is_one_and_writes_nothing_but_its_journal() {
    let read = templates(&["read", &template("ecs")]).await;
    let resources = &read["Resources"];
    let service = &resources["One"]["Properties"];
    assert_eq!(service["DesiredCount"], 1);
    let never_two = json!({"MaximumPercent": 100, "MinimumHealthyPercent": 0});
    assert_eq!(service["DeploymentConfiguration"], never_two);
    let task = &resources["Task"]["Properties"];
    let container = &task["ContainerDefinitions"][0];
    assert_eq!(container["ReadonlyRootFilesystem"], true);
    assert_eq!(container["User"], "65532:65532");
    let arguments: Vec<&str> = container["Command"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap_or("filled-in"))
        .collect();
    understood(&arguments);
    let state = arguments.iter().position(|argument| *argument == "--state").unwrap();
    let mount = container["MountPoints"][0]["ContainerPath"].as_str().unwrap();
    assert!(arguments[state + 1].starts_with(mount));
    let volume = &task["Volumes"][0];
    assert_eq!(volume["Name"], container["MountPoints"][0]["SourceVolume"]);
    assert_eq!(volume["EFSVolumeConfiguration"]["TransitEncryption"], "ENABLED");
}
