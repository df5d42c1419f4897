//! How the laboratory is laid out: who is where, how fast time runs for the eye, and the policy for it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::gates::{BUCKET, Bucket};
use super::pipeline::{ROLLBACK, SENDER};
use crate::domain::{RegionName, span};

/// Names that a person keeps apart at three in the morning, with the AWS region each stands for.
const PLACES: [(&str, &str); REGIONS_MAX] =
    [("dublin", "eu-west-1"), ("frankfurt", "eu-central-1"), ("stockholm", "eu-north-1")];
pub const REGIONS_MIN: usize = 2;
pub const REGIONS_MAX: usize = 3;
/// Where probes come from: source addresses of this machine.
const VANTAGES: [(&str, Ipv4Addr); 3] = [
    ("madrid", Ipv4Addr::new(127, 0, 1, 1)),
    ("oslo", Ipv4Addr::new(127, 0, 1, 2)),
    ("vienna", Ipv4Addr::new(127, 0, 1, 3)),
];
/// The last resort: a cached copy of the shop.
const RESORT: (&str, Ipv4Addr) = ("static", Ipv4Addr::new(127, 0, 14, 1));
/// A neutral place.
pub const BEACON: Ipv4Addr = Ipv4Addr::new(127, 0, 10, 1);
pub const SERVICE: &str = "shop";
pub const ZONE_ID: &str = "ZLAB0000000000";
pub const ZONE: &str = "lab.test";
pub const HOST: &str = "shop.lab.test";
pub const EPOCH_NAME: &str = "_leeward.shop.lab.test";
/// The TXT name that shows which regions are answered.
pub const WITNESS: &str = "_where.shop.lab.test";
/// As the quickest health checks of Route 53: every 10 s, and one look is enough.
pub const CHECK_EVERY: Duration = Duration::from_secs(10);
pub const CHECK_FAILURES: u32 = 1;
/// The tag by which the policy knows what it may touch.
pub const OWNED: (&str, &str) = ("leeward", "may-refresh");
/// Requests per second that each region can carry.
pub const CAPACITY_RPS: u64 = 300;

/// How fast things go. A real policy takes minutes where the laboratory takes seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tempo {
    /// Nothing happens yet.
    pub calm: Duration,
    /// How long it is watched after all is well again, or after the last thing happened.
    pub after: Duration,
    /// Bad for so long before anything moves.
    pub sustain: Duration,
    /// The mean of readings is taken over this long.
    pub window: Duration,
    pub probe_every: Duration,
    /// Between acceptance of a change and its being answered.
    pub propagation: Duration,
    pub ttl: Duration,
    /// A fault shorter than anything worth a move.
    pub blip: Duration,
}

impl Tempo {
    /// For eyes: a regional loss takes half a minute.
    pub const EYES: Self = Self {
        calm: Duration::from_secs(9),
        after: Duration::from_secs(6),
        sustain: Duration::from_secs(6),
        window: Duration::from_secs(3),
        probe_every: Duration::from_millis(500),
        propagation: Duration::from_secs(2),
        ttl: Duration::from_secs(2),
        blip: Duration::from_millis(1200),
    };
    /// For tests.
    pub const FAST: Self = Self {
        calm: Duration::from_secs(6),
        after: Duration::from_secs(3),
        sustain: Duration::from_secs(5),
        window: Duration::from_secs(2),
        probe_every: Duration::from_millis(250),
        propagation: Duration::from_secs(1),
        ttl: Duration::from_secs(1),
        blip: Duration::from_millis(700),
    };
}

/// One region as laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub region: RegionName,
    pub aws_region: &'static str,
    /// Of its first balancer.
    pub address: IpAddr,
    /// Its balancers, busiest first.
    pub fronts: Vec<Front>,
}

/// One balancer as laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    /// What it serves: the name of its target group.
    pub serves: &'static str,
    pub region: RegionName,
    pub address: IpAddr,
    /// Per cent of the region's requests.
    pub carries: u8,
}

impl Front {
    pub fn name(&self) -> String {
        format!("{}-{}", self.serves, self.region)
    }

    pub fn group_name(&self) -> String {
        self.serves.to_owned()
    }

    pub fn arn(&self, aws_region: &str) -> String {
        self.thing(aws_region, "loadbalancer/app")
    }

    pub fn listener(&self, aws_region: &str) -> String {
        format!("{}/{:016x}", self.thing(aws_region, "listener/app"), 2)
    }

    pub fn target_group(&self, aws_region: &str) -> String {
        self.thing(aws_region, "targetgroup")
    }

    fn thing(&self, aws_region: &str, kind: &str) -> String {
        let serves = self.serves;
        format!("arn:aws:elasticloadbalancing:{aws_region}:000000000000:{kind}/{serves}/{:016x}", 1)
    }
}

impl Place {
    /// The key of its gate, which is also the id of the health check that looks at it.
    pub fn gate_key(&self) -> String {
        format!("shop/{}", self.region)
    }
}

/// The first `count` regions; the first of them is home, with two balancers if `two` is asked for.
pub fn places(count: usize, two: bool) -> Vec<Place> {
    let place = |(number, (name, aws_region)): (u8, &(&str, &'static str))| {
        let region: RegionName = name.parse().ok()?;
        let address = |last| IpAddr::V4(Ipv4Addr::new(127, 0, 11 + number, last));
        let front = |serves, last, carries| Front {
            serves,
            region: region.clone(),
            address: address(last),
            carries,
        };
        let fronts = if two && number == 0 {
            // Visitors ask both alike; what is written says which one comes first.
            vec![front("web", 1, 60), front("api", 2, 40)]
        } else {
            vec![front("web", 1, 100)]
        };
        Some(Place { address: address(1), region, aws_region, fronts })
    };
    (0..).zip(&PLACES).take(count).filter_map(place).collect()
}

pub fn vantage_addresses() -> impl Iterator<Item = IpAddr> {
    VANTAGES.into_iter().map(|(_, address)| IpAddr::V4(address))
}

/// What an outage needs besides regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Props {
    /// A cached copy to go to when nothing else is left.
    pub resort: bool,
    /// A pipeline that rolls versions out and takes them back.
    pub pipeline: bool,
    /// Two balancers at home, which may be refreshed.
    pub two: bool,
}

/// The last resort as laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resort {
    pub region: RegionName,
    pub address: IpAddr,
}

pub fn resort() -> Option<Resort> {
    let (name, address) = RESORT;
    Some(Resort { region: name.parse().ok()?, address: IpAddr::V4(address) })
}

/// What the policy has to name.
#[derive(Debug, Clone)]
pub struct Layout {
    pub places: Vec<Place>,
    /// The same for all balancers, so that an address in DNS is enough.
    pub port: u16,
    pub name_server: SocketAddr,
    pub beacon: SocketAddr,
    /// The bucket with the gates.
    pub bucket: SocketAddr,
    pub tempo: Tempo,
    pub resort: Option<Resort>,
    /// Where the pipeline takes calls, and the file with the key that it signs with.
    pub pipeline: Option<(SocketAddr, PathBuf)>,
}

impl Layout {
    /// The policy file of the laboratory: the language of real ones, the times of a film.
    pub fn policy(&self) -> String {
        let mut text = String::from(HEADER);
        self.regions(&mut text);
        text.push_str("\nvantages:\n");
        for (name, address) in VANTAGES {
            let _ = writeln!(text, "  {name}: {{ source: {address} }}");
        }
        self.lever(&mut text);
        self.signals(&mut text);
        self.rules(&mut text);
        text
    }

    fn regions(&self, text: &mut String) {
        text.push_str("\nregions:\n");
        for (number, place) in self.places.iter().enumerate() {
            let (role, weight) = if number == 0 { ("primary", 100) } else { ("standby", 0) };
            let _ = write!(
                text,
                "  {region}:\n    role: {role}\n    weight: {weight}\n    capacity: {CAPACITY_RPS} rps\n    \
                 aws_region: {aws}\n    balancers:\n",
                region = place.region,
                aws = place.aws_region,
            );
            for front in &place.fronts {
                let _ = writeln!(
                    text,
                    "      {balancer}:\n        carries: {carries}%\n        connect: {address}\n        \
                     target_groups: [\"{group}\"]",
                    balancer = front.name(),
                    carries = front.carries,
                    address = front.address,
                    group = front.target_group(place.aws_region),
                );
                if self.refreshes() {
                    let _ = writeln!(text, "        arn: \"{}\"", front.arn(place.aws_region));
                }
            }
        }
        if let Some(resort) = &self.resort {
            let region = &resort.region;
            let _ = writeln!(
                text,
                "  # A copy of the shop, made while it was well.\n  {region}:\n    role: last_resort\n    weight: 0"
            );
        }
    }

    /// Whether balancers may be refreshed.
    pub fn refreshes(&self) -> bool {
        self.places.iter().any(|place| place.fronts.len() > 1)
    }

    /// What may be done to the balancers at home.
    fn refresh(&self, text: &mut String) {
        let Some(home) = self.places.first().filter(|_| self.refreshes()) else { return };
        let names: Vec<String> = home.fronts.iter().map(Front::name).collect();
        let (key, value) = OWNED;
        let _ = write!(
            text,
            "\nrefresh:\n  order: [{}]\n  wait: {}\n  tries: 3\n  # Nobody shares this account.\n  \
             pace: {{ calls: 100/s, calls_burst: 500, registrations: 100/s, changes: 100/s, subnets: 1/s }}\n  \
             balancers:\n",
            names.join(", "),
            span(self.tempo.window + Duration::from_secs(2)),
        );
        for name in names {
            let _ = write!(
                text,
                "    {name}:\n      owned: {{ tag: {{ key: {key}, value: {value} }} }}\n      rungs:\n        \
                 - reassert: as_read\n        - targets: {{ batch: 1, floor: 50%, healthy_within: 30s, \
                 drained_within: 30s }}\n      give_up: shift\n"
            );
        }
    }

    /// All regions that have records.
    pub fn answered(&self) -> Vec<&RegionName> {
        let resort = self.resort.iter().map(|resort| &resort.region);
        self.places.iter().map(|place| &place.region).chain(resort).collect()
    }

    fn lever(&self, text: &mut String) {
        let members: Vec<String> =
            self.answered().into_iter().map(|region| format!("{region}: {region}")).collect();
        let _ = write!(
            text,
            "\nlevers:\n  - weights:\n      records:\n        - {{ zone: {ZONE_ID}, name: {HOST}, \
             types: [A], members: {{ {0} }} }}\n        - {{ zone: {ZONE_ID}, name: {WITNESS}, \
             types: [TXT], members: {{ {0} }} }}\n      epoch_record: {{ zone: {ZONE_ID}, name: \
             {EPOCH_NAME} }}\n      ttl: {1}\n      in_sync_within: 30s\n      readback: {{ servers: \
             [\"{2}\"] }}\n",
            members.join(", "),
            span(self.tempo.ttl),
            self.name_server,
        );
        self.gates(text);
    }

    /// The standby's switch for the day on which no weight can be changed.
    fn gates(&self, text: &mut String) {
        let bucket = Bucket { address: self.bucket };
        let Some((home, standby)) = self.places.first().zip(self.places.get(1)) else { return };
        let _ = write!(
            text,
            "  - gates:\n      regions:\n        {region}: {{ s3: {{ bucket: {BUCKET}, key: {key}, \
             aws_region: {aws}, url: \"{url}\" }} }}\n      check: {{ every: {every}, failures: \
             {CHECK_FAILURES} }}\n      ttl: {ttl}\n      in_force_within: 1m\n      witness: {{ txt: \
             {{ zone: {ZONE_ID}, name: {WITNESS}, servers: [\"{server}\"] }} }}\n",
            region = home.region,
            key = home.gate_key(),
            aws = standby.aws_region,
            url = bucket.url(BUCKET, &home.gate_key()),
            every = span(CHECK_EVERY),
            ttl = span(self.tempo.ttl),
            server = self.name_server,
        );
    }

    fn signals(&self, text: &mut String) {
        let every = span(self.tempo.probe_every);
        let _ = write!(
            text,
            "\nsignals:\n  outside:\n    class: outside\n    fresh_for: 4s\n    probe:\n      protocol: \
             http\n      host: {HOST}\n      port: {}\n      path: /health\n      every: {every}\n      \
             timeout: {{ connect: 800ms, tls: 800ms, first_byte: 1s, body: 800ms }}\n      expect: {{ status: \
             [200-299], body_contains: ok }}\n  targets:\n    class: inside\n    fresh_for: 4s\n    \
             target_health: {{ every: 1s }}\n",
            self.port,
        );
        for (signal, measures, metric) in [
            ("errors", "target_errors", "TargetErrors"),
            ("gateway", "balancer_errors", "BalancerErrors"),
            ("latency", "latency", "Latency"),
            ("load", "requests", "Requests"),
        ] {
            let _ = write!(
                text,
                "  {signal}:\n    class: traffic\n    fresh_for: 5s\n    metric:\n      measures: \
                 {measures}\n      every: 1s\n      period: 1s\n      window: 5s\n      queries:\n"
            );
            for place in &self.places {
                let query = |front: &Front| {
                    format!(
                        "{{ balancer: {0}, namespace: Lab, name: {metric}, statistic: Average, dimensions: \
                         {{ LoadBalancer: {0} }} }}",
                        front.name()
                    )
                };
                let queries: Vec<String> = place.fronts.iter().map(query).collect();
                let _ = match queries.as_slice() {
                    [one] => writeln!(text, "        {}: {one}", place.region),
                    all => writeln!(text, "        {}: [{}]", place.region, all.join(", ")),
                };
            }
        }
        let _ = write!(
            text,
            "  own-network:\n    class: context\n    fresh_for: 4s\n    beacon: {{ url: \
             \"http://{}/\", every: {every}, timeout: 1s }}\n",
            self.beacon,
        );
    }

    fn rules(&self, text: &mut String) {
        let _ = write!(
            text,
            "\njudge:\n  success_below: 90%\n  latency_above: 700ms\n  window: {}\n  sustain: {}\n  \
             vantages: 2\n  classes: 2\n  healthy_hosts_below: 50%\n",
            span(self.tempo.window),
            span(self.tempo.sustain),
        );
        if self.pipeline.is_some() {
            text.push_str("  # A version that was rolled out so lately is the first suspect.\n  deploy_guard: 10m\n");
        }
        let mut rules = RULES.trim_end().to_owned();
        if self.resort.is_some() {
            let sustain = span(self.tempo.sustain);
            let home =
                format!("failback:\n  auto: {{ hold: {sustain}, step: 100%, every: {sustain} }}");
            rules = rules
                .replace("last_resort: never", &format!("last_resort: {{ after: {sustain} }}"));
            rules = rules.replace("failback: manual", &home);
        }
        text.push_str(&rules);
        if let Some((address, key)) = &self.pipeline {
            let _ = write!(
                text,
                "\n\nhooks:\n  rollback:\n    when: common_cause\n    name: take-back\n    does: {{ call: {{ url: \
                 \"http://{address}{ROLLBACK}\" }} }}\n    timeout: 10s\n\ntriggers:\n  senders:\n    {SENDER}: {{ \
                 key: {{ file: \"{}\" }}, may: [deploy] }}",
                key.display(),
            );
        }
        text.push('\n');
        self.refresh(text);
        let _ =
            write!(text, "\ntell:\n  channels:\n    - webhook: \"http://{}/pager\"\n", self.beacon);
    }
}

const HEADER: &str = "\
# The policy of the laboratory, written by `leeward lab`. Its language is that of real policies; its times
# are short so that a person can watch. A real one sustains for minutes, not for seconds.
version: 1
service: shop
mode: auto
";

const RULES: &str = "
shift:
  ramp: [100%]
  hold: 2s
  spare: 10%
  overflow: spill
  last_resort: never
  unready: hold

failback: manual

guards:
  cooldown: 5s
  shifts: { max: 2, within: 1h }
  latch: { after: 3, within: 24h }
  standby_healthy_hosts: 50%

";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy;

    #[test]
    fn the_policy_of_the_laboratory_is_valid() {
        for (count, tempo, two) in
            [(2, Tempo::EYES, false), (3, Tempo::FAST, false), (2, Tempo::FAST, true)]
        {
            let layout = Layout {
                places: places(count, two),
                port: 8080,
                name_server: "127.0.0.1:5300".parse().unwrap(),
                beacon: "127.0.10.1:8081".parse().unwrap(),
                bucket: "127.0.12.2:8082".parse().unwrap(),
                tempo,
                resort: resort().filter(|_| count == 3),
                pipeline: (count == 3)
                    .then(|| ("127.0.10.2:8083".parse().unwrap(), "/srv/pipeline.key".into())),
            };
            let text = layout.policy();
            match policy::load(&text, "lab.yaml") {
                Ok((policy, warnings)) => {
                    let resort = usize::from(layout.resort.is_some());
                    assert_eq!(policy.regions.len(), count + resort);
                    assert_eq!(policy.hooks.rollback.is_some(), layout.pipeline.is_some());
                    assert_eq!(policy.judge.sustain, tempo.sustain);
                    assert_eq!(policy.refresh.is_some(), two);
                    for warning in &warnings {
                        eprintln!("{}", warning.message);
                    }
                }
                Err(problems) => panic!("{text}\n{}", problems.render(false)),
            }
        }
    }
}
