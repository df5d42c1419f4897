//! What the policy declares: shown by `plan`, mended by `apply` of what was reviewed, and by nobody else.

use super::*;

const DECLARED: &str = r#"      give_up: page
      declared:
        attributes: { idle_timeout.timeout_seconds: "90" }
        forwards: [{ listener: 8080, weights: { web: 3, files: 1 } }]
        targets: { web: ["10.0.0.30:8080", "10.0.0.31:8080", "10.0.1.30:8080", "10.0.2.30:8080"] }
"#;

impl Shop {
    /// As it is declared from now on.
    fn declare(&self, mode: &str, declared: &str) {
        let file = self.folder.path().join("shop.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let (text, _) = text.split_once("      give_up: page\n").unwrap();
        let (_, rest) = POLICY.split_once("      give_up: page\n").unwrap();
        let text = format!("{text}{declared}{rest}");
        let now = text.lines().find(|line| line.starts_with("mode: ")).unwrap();
        std::fs::write(&file, text.replace(now, &format!("mode: {mode}"))).unwrap();
    }

    fn says(&self, command: &str, more: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_leeward"));
        program.env_clear().env("HOME", self.folder.path());
        program.env("AWS_EC2_METADATA_DISABLED", "true");
        let nowhere = "http://127.0.0.1:1";
        let endpoints =
            format!("elbv2={},route53={nowhere},cloudwatch={nowhere}", self.proxy.url());
        program.arg(command).args(more).args(["--endpoint", &endpoints, "--format", "json"]);
        program.stdin(std::process::Stdio::null()).kill_on_drop(true);
        with_credentials(&mut program);
        program
    }

    /// The dry run of a calm day, and the file that it wrote.
    async fn plan(&self) -> (serde_json::Value, PathBuf) {
        let (policy, file) = (self.path("shop.yaml"), self.path("mend.json"));
        let well = ["--assume", "eu-west-1=well", "--assume", "us-west-2=well"];
        let (policy, out) = (policy.to_str().unwrap(), file.to_str().unwrap());
        let more = [&[policy, "--out", out][..], &well].concat();
        let done = output(&mut self.says("plan", &more)).await;
        // There are no records here, and that does not keep drift from being shown.
        assert_eq!(done.status.code(), Some(5), "{}", words(&done));
        (serde_json::from_slice(&done.stdout).unwrap(), file)
    }

    async fn apply(&self, file: &std::path::Path) -> (Option<i32>, String) {
        let (policy, state) = (self.path("shop.yaml"), self.state());
        let more = [
            file.to_str().unwrap(),
            "--policy",
            policy.to_str().unwrap(),
            "--state",
            state.to_str().unwrap(),
        ];
        let said = ["--for", "1h", "--reason", "reviewed", "--by", "ana", "--unknown-service"];
        let done = output(&mut self.says("apply", &[&more[..], &said].concat())).await;
        (done.status.code(), words(&done))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[tokio::test]
async fn drift_is_shown_by_plan_and_mended_by_apply_of_what_was_reviewed() {
    let shop = Shop::open().await;
    shop.declare("auto", DECLARED);
    let before = shop.live().await;
    let (told, file) = shop.plan().await;
    let drift = &told["drift"][0];
    let places: Vec<&str> = drift["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| found["place"].as_str().unwrap())
        .collect();
    for place in ["attributes / idle_timeout.timeout_seconds", "targets / 10.0.2.30:8080"] {
        assert!(places.iter().any(|found| found.ends_with(place)), "{place} in {places:?}");
    }
    let mended =
        ["RegisterTargets", "ModifyLoadBalancerAttributes", "ModifyListener", "DeregisterTargets"];
    assert_eq!(operations(drift), mended);
    assert_eq!(told["changed"], false);
    assert_eq!(shop.changes().len(), 0, "a dry run changes nothing");

    // Who may only look mends nothing, and neither does who reviewed something else.
    shop.declare("advise", DECLARED);
    let (_, of_advise) = shop.plan().await;
    let (status, said) = shop.apply(&of_advise).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("in mode `advise` nothing is changed"), "{said}");
    let (status, said) = shop.apply(&file).await;
    assert_eq!(status, Some(3), "the policy is another: {said}");
    shop.declare("auto", DECLARED);
    let (_, file) = shop.plan().await;
    let text = std::fs::read_to_string(&file).unwrap();
    let forged = shop.path("forged.json");
    std::fs::write(&forged, text.replace("\"90\"", "\"4000\"")).unwrap();
    let (status, said) = shop.apply(&forged).await;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("changed after it was written"), "{said}");
    let also = DECLARED.replace("\"90\"", "\"80\"");
    shop.declare("auto", &also);
    let dry = ["--mend", "--reason", "by hand", "--by", "ben", "--yes", "--state"];
    let state = shop.state().display().to_string();
    let by_hand = output(&mut shop.lb("refresh", &[&dry[..], &[&state]].concat())).await;
    assert!(by_hand.status.success(), "{}", words(&by_hand));
    let made = shop.changes().len();
    shop.declare("auto", DECLARED);
    let (status, said) = shop.apply(&file).await;
    assert_eq!(status, Some(3), "somebody else was there: {said}");
    assert!(said.contains("no change any more of") && said.contains("not reviewed"), "{said}");
    assert_eq!(shop.changes().len(), made, "nothing was touched");

    let (told, file) = shop.plan().await;
    assert_eq!(operations(&told["drift"][0]), ["ModifyLoadBalancerAttributes"]);
    let (status, said) = shop.apply(&file).await;
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(shop.changes().len(), made + 1);
    let after = shop.live().await;
    assert_eq!(after.attributes["idle_timeout.timeout_seconds"], "90");
    assert_eq!(after.listeners.len(), before.listeners.len());
    assert_eq!(after.groups["web"].targets.len(), 4);
    let (told, _) = shop.plan().await;
    assert_eq!(told["drift"][0]["differences"].as_array().unwrap().len(), 0, "{told:#}");
    let mend = ("web".to_owned(), Purpose::Mend);
    assert_eq!(cures::begun(&shop.state()), [mend.clone(), mend]);
    // What is as declared is not mended again.
    let (status, said) = shop.apply(&file).await;
    assert_eq!(status, Some(3), "{said}");
    assert_eq!(shop.changes().len(), made + 1);
}
