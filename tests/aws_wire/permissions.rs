//! The policy in `infra/` is enough for every call, and for no other zone or call.
//!
//! ministack enforces signatures, actions and zones; it does not know the condition keys on names,
//! types and actions of a change, so those are only compared as text in `tests/infra.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use leeward::aws::{Edge, Settings};
use leeward::domain::{Timestamp, ZoneId};
use leeward::plan::{Batch, Swap};
use leeward::policy::QueryBody;
use leeward::ports::{CallFailed, ChangeId};

use super::{kind_of, settings, weighted};
use crate::wire::servers;

async fn create(edge: &Edge, zone: &ZoneId, name: &str) -> Result<ChangeId, CallFailed> {
    let swaps = vec![Swap { before: None, after: weighted(zone, name, "eu", 1) }];
    edge.weights.change(&Batch { zone: zone.clone(), comment: String::new(), swaps }).await
}

#[tokio::test]
async fn the_permissions_of_infra_are_enough_and_no_more() {
    let server = servers::strict_ministack().await;
    let granted = servers::grant(server.port).await;
    let settings = settings(&format!("http://127.0.0.1:{}", server.port));
    let key = Credentials::new(&granted.id, &granted.secret, None, None, "granted");
    let credentials = Some(SharedCredentialsProvider::new(key));
    let edge = Edge::connect(&Settings { credentials, ..settings.clone() }).await;
    let ours: ZoneId = granted.ours.parse().unwrap();

    let change = create(&edge, &ours, "api.example.com").await.unwrap();
    edge.weights.status(&change).await.unwrap();
    assert!(!edge.weights.read(&ours, None).await.unwrap().is_empty());
    assert!(!edge.weights.name_servers(&ours).await.unwrap().is_empty());
    let failure = edge.targets.targets("eu-west-1", "arn:aws:elasticloadbalancing:none").await;
    assert_eq!(kind_of(&failure.unwrap_err()), "not found", "allowed to ask");
    let (from, to) = (Timestamp::from_secs(0), Timestamp::from_secs(60));
    let metric = QueryBody::Metric {
        namespace: "N".to_owned(),
        name: "M".to_owned(),
        statistic: "Sum".to_owned(),
        dimensions: BTreeMap::new(),
    };
    edge.metrics.query("eu-west-1", &[metric], Duration::from_secs(60), from, to).await.unwrap();

    let other: ZoneId = granted.other.parse().unwrap();
    let failures = [
        create(&edge, &other, "api.other.example").await.unwrap_err(),
        edge.weights.read(&other, None).await.unwrap_err(),
        edge.weights.name_servers(&other).await.unwrap_err(),
    ];
    for failure in failures {
        assert_eq!(kind_of(&failure), "refused", "{failure}");
        assert!(failure.to_string().contains("AccessDenied"), "{failure}");
    }

    let wrong = Credentials::new(&granted.id, "not the secret", None, None, "wrong");
    let credentials = Some(SharedCredentialsProvider::new(wrong));
    let edge = Edge::connect(&Settings { credentials, ..settings }).await;
    let failure = edge.weights.read(&ours, None).await.unwrap_err();
    assert_eq!(kind_of(&failure), "refused", "{failure}");
    assert!(failure.to_string().contains("SignatureDoesNotMatch"), "{failure}");
}
