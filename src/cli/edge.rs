//! The world that a command may touch: AWS if this build has it, DNS, and policy files.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Exit, Failure};
use crate::answers::DnsResolver;
use crate::clock::SystemClock;
use crate::policy::{LeverKind, Policy, Problem};
use crate::ports::{Account, Levers};
use crate::runtime::World;
use crate::runtime::file;
use crate::runtime::telling::Reach;

/// Until a name server has answered one question.
const ASK_WITHIN: Duration = Duration::from_secs(2);

/// Where AWS is, for tests and laboratories.
#[derive(Debug, clap::Args)]
pub struct EdgeArgs {
    /// Another address for an AWS service, as `SERVICE=URL` or `SERVICE@REGION=URL`.
    #[arg(
        long = "endpoint",
        value_name = "SERVICE=URL",
        env = "LEEWARD_ENDPOINTS",
        value_delimiter = ',',
        hide = true
    )]
    endpoints: Vec<String>,
}

impl EdgeArgs {
    #[cfg(feature = "aws")]
    fn settings(&self) -> Result<crate::aws::Settings, Failure> {
        let endpoints = self.endpoints.iter().map(|text| {
            text.parse().map_err(|error: crate::aws::MalformedEndpoint| {
                Failure::new(Exit::Input, error.to_string())
            })
        });
        let endpoints = endpoints.collect::<Result<_, _>>()?;
        Ok(crate::aws::Settings { endpoints, ..crate::aws::Settings::default() })
    }

    /// The account, to be read; `here` is the AWS region in which this runs.
    #[cfg(feature = "aws")]
    pub(super) async fn account(&self, here: Option<&str>) -> Result<Arc<dyn Account>, Failure> {
        let home_region = here.map(str::to_owned);
        let settings = crate::aws::Settings { home_region, ..self.settings()? };
        Ok(crate::aws::Edge::connect(&settings).await.account)
    }

    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unused_async, reason = "with the AWS edge it waits for the SDK's set-up")]
    pub(super) async fn account(&self, _here: Option<&str>) -> Result<Arc<dyn Account>, Failure> {
        Err(Failure::new(Exit::Trouble, "this build has no AWS edge that could read an account"))
    }

    /// The world of these policies: sessions are asked for in the regions that they name as well.
    pub(super) async fn connect_for(&self, policies: &[&Policy]) -> Result<World, Failure> {
        // Records and targets are read all day long; switches only when they are needed.
        let switches = |policy: &&Policy| {
            [LeverKind::Gates, LeverKind::Arc].into_iter().any(|kind| policy.has_lever(kind))
        };
        let regions = policies.iter().flat_map(|policy| policy.aws_regions()).collect();
        self.reach(regions, policies.iter().any(switches)).await
    }

    pub(super) async fn connect(&self) -> Result<World, Failure> {
        self.reach(Vec::new(), false).await
    }

    #[cfg(feature = "aws")]
    async fn reach(&self, sts_regions: Vec<String>, ready: bool) -> Result<World, Failure> {
        let settings = crate::aws::Settings { sts_regions, ..self.settings()? };
        let edge = crate::aws::Edge::connect(&settings).await;
        if ready {
            tokio::spawn(edge.clone().stay_ready());
        }
        let clusters = Some(edge.clusters());
        Ok(World {
            levers: Levers {
                weights: Some(edge.weights),
                configurations: Some(edge.configurations),
                zonal_shifts: Some(edge.zonal_shifts),
                ..without_aws()
            },
            targets: Some(edge.targets),
            metrics: Some(edge.metrics),
            queues: Some(edge.queues),
            reach: Reach { topics: Some(edge.topics), pages: Some(edge.pages) },
            objects: Some(edge.objects),
            checks: Some(edge.checks),
            clusters,
            clock: Arc::new(SystemClock),
        })
    }

    /// This build has no AWS edge: records cannot be read, and every plan says so.
    #[cfg(not(feature = "aws"))]
    #[expect(clippy::unused_async, reason = "with the AWS edge it waits for the SDK's set-up")]
    async fn reach(&self, _sts_regions: Vec<String>, _ready: bool) -> Result<World, Failure> {
        if let Some(endpoint) = self.endpoints.first() {
            let why = format!("this build has no AWS edge that could use `{endpoint}`");
            return Err(Failure::new(Exit::Input, why));
        }
        let clock = Arc::new(SystemClock);
        Ok(World {
            levers: without_aws(),
            targets: None,
            metrics: None,
            queues: None,
            reach: Reach::default(),
            objects: None,
            checks: None,
            clusters: None,
            clock,
        })
    }
}

fn without_aws() -> Levers {
    Levers { resolver: Some(Arc::new(DnsResolver::new(ASK_WITHIN))), ..Levers::default() }
}

/// A policy from a file, or everything that is wrong with it.
pub(super) fn policy(path: &Path) -> Result<(Policy, Vec<Problem>), Failure> {
    let bytes = file::read(path).map_err(|error| unreadable(path, &error))?;
    file::load(&bytes, path).map_err(|problems| {
        Failure::new(
            Exit::Input,
            format!("`{}` is not a valid policy\n\n{problems}", path.display()),
        )
        .hint("`leeward check` shows the problems of many files at once")
    })
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let failure =
        Failure::new(Exit::Input, format!("read the policy `{}`: {error}", path.display()));
    if error.kind() == std::io::ErrorKind::NotFound {
        failure.hint("name the path of a policy file, such as `shop.yaml`")
    } else if error.kind() == std::io::ErrorKind::IsADirectory {
        failure.hint("name the files in it")
    } else {
        failure
    }
}
