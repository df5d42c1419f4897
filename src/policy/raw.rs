//! The policy file as written: every field, what it means, and an example.
//!
//! The docs here are what an operator reads in the editor (`leeward schema`) and in `policies/README.md`.
//! Later versions add fields and choices; they do not change the meaning of one.

use super::decode::{At, Entries, OneOrMany, Part, choice, record};
use super::raw_care::{BalancerCare, ElbPace, ZonalShift};
use super::raw_site::Site;
use super::raw_tell::{StatusPage, Tell};
use super::units::{
    Address, Count, LagText, Number, Percent, Port, Rate, RequestRate, Span, StatusRange, Text,
    Url, Weight,
};
use crate::domain::{RecordName, ServiceName, ZoneId};

record! {
    /// The policy of one service: what an operator wants, in one file.
    "a policy" File {
        /// The version of this language.
        version: Part<At<Count>> = "version: 1",
        /// The unit that fails over.
        service: Part<ServiceName> = "service: shop",
        /// How far the controller may go by itself; `observe` if it is not written.
        mode: Option<Part<Mode>> = "mode: observe",
        /// The deployments of the service.
        regions: Part<Entries<Region>> = "regions: { eu-west-1: { role: primary, weight: 100 } }",
        /// The places from which probes are sent.
        vantages: Option<Part<Entries<Vantage>>> = "vantages: { here: {} }",
        /// The ways to move traffic, in order of preference.
        levers: Part<At<Vec<Part<At<Lever>>>>> = "levers: [{ weights: { ... } }]",
        /// The sources of readings.
        signals: Part<Entries<Signal>> = "signals: { outside: { class: outside, fresh_for: 30s, ... } }",
        /// When a region counts as bad.
        judge: Part<At<Judge>> = "judge: { success_below: 95%, window: 1m, sustain: 2m, vantages: 2, classes: 2, ... }",
        /// How traffic moves away from a bad region.
        shift: Part<At<Shift>> = "shift: { ramp: [100%], hold: 2m, spare: 10%, ... }",
        /// How traffic comes home.
        failback: Part<Failback> = "failback: manual",
        /// Refreshing the configuration of a balancer that fails while its targets are well. Not done if it is not written.
        refresh: Option<Part<Refresh>> = "refresh: { order: [web-eu, api-eu], wait: 5m, tries: 2 }",
        /// What may not happen now.
        guards: Part<At<Guards>> = "guards: { cooldown: 10m, shifts: { max: 2, within: 1h }, ... }",
        /// Who hears of it. Nobody if it is not written.
        tell: Option<Part<Tell>> = "tell: { channels: [{ webhook: \"https://example.com/hook\" }] }",
        /// By which ways events may come from outside. An event asks for a look; it never decides. None come if it is not written.
        triggers: Option<Part<At<Triggers>>> = "triggers: { queues: [{ url: \"https://sqs.eu-central-1.amazonaws.com/111122223333/leeward\" }] }",
        /// Programs and services of the operator that are asked, or told, around a move. None if it is not written.
        hooks: Option<Part<At<Hooks>>> = "hooks: { before: [{ name: freeze-jobs, does: { run: [\"/opt/shop/freeze-jobs\"] }, timeout: 20s, if_it_fails: veto }] }",
        /// A status page that everybody can read. None if it is not written.
        status_page: Option<Part<At<StatusPage>>> = "status_page: { title: Example Shop status, publish: [{ directory: /var/www/status }] }",
        /// Drawn and recorded outages, and what is to be done in them: `leeward test` plays them.
        tests: Option<Part<At<Vec<Part<At<Test>>>>>> = "tests: [{ name: a short blip, seen: { eu-west-1: \"..xx......\" }, expect: \"----------\" }]",
    }
}

choice! {
    /// How far the controller may go by itself.
    "a mode" Mode {
        /// Says what it sees.
        Observe = "observe" "mode: observe",
        /// Says what it would do.
        Advise = "advise" "mode: advise",
        /// Does it after a human's yes.
        Approve = "approve" "mode: approve",
        /// Does it within its budget.
        Auto = "auto" "mode: auto",
    }
}

record! {
    /// One deployment of the service, named by its key.
    "a region" Region {
        /// What the region is for.
        role: At<Role> = "role: primary",
        /// The weight of its records on a calm day, 0 to 255. A share is a weight over the sum of weights.
        weight: Part<At<Weight>> = "weight: 100",
        /// Requests per second it can carry. Without it only signals tell.
        capacity: Option<Part<At<RequestRate>>> = "capacity: 3000 rps",
        /// The AWS region code; the name of the region if that looks like one.
        aws_region: Option<At<Text>> = "aws_region: eu-west-1",
        /// Its load balancers.
        balancers: Option<Entries<Balancer>> = "balancers: { web-eu: { connect: web-eu.example.com } }",
        /// The cached copy of public pages that it shows, if it is a last resort. Somebody else's matter if it is not written.
        site: Option<Part<At<Site>>> = "site: { pages: [\"https://www.example.com/\"], to: { directory: /var/www/last-resort }, every: 6h }",
    }
}

choice! {
    /// What a region is for.
    "a role" Role {
        /// Where traffic belongs.
        Primary = "primary" "role: primary",
        /// Carries a part of the traffic on a calm day.
        Active = "active" "role: active",
        /// Waits.
        Standby = "standby" "role: standby",
        /// A cached copy with a friendly page, for when nothing else is left.
        LastResort = "last_resort" "role: last_resort",
    }
}

record! {
    /// One load balancer of a region, named by its key. No other balancer of the policy has that name.
    "a balancer" Balancer {
        /// Its part of the region's traffic. The parts of a region add up to 100%; equal parts if none is written.
        carries: Option<At<Percent>> = "carries: 70%",
        /// Where a probe connects: the balancer's own name or address, without port.
        connect: Option<At<Text>> = "connect: web-eu.example.com",
        /// Its ARN, for refreshing it and for deriving its metrics.
        arn: Option<At<Text>> = "arn: \"arn:aws:elasticloadbalancing:eu-west-1:111122223333:loadbalancer/app/web/50dc6c495c0c9188\"",
        /// The ARNs of the target groups behind it, for target health.
        target_groups: Option<Vec<At<Text>>> = "target_groups: [\"arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067\"]",
        /// Taking a bad zone out of it by a zonal shift. Not done if it is not written.
        zonal_shift: Option<Part<At<ZonalShift>>> = "zonal_shift: { zones: { eu-west-1a: euw1-az2, eu-west-1b: euw1-az3 }, rest: 60%, expires: 3h, back_after: 15m }",
    }
}

record! {
    /// A place from which probes are sent, named by its key: this process, or another Leeward.
    "a vantage" Vantage {
        /// The address that this process sends its probes from.
        source: Option<At<Address>> = "source: 192.0.2.10",
        /// The HTTP address of another Leeward, whose readings are fetched.
        peer: Option<At<Url>> = "peer: \"http://leeward-us.internal:9464\"",
    }
}

choice! {
    /// A way to move traffic.
    "a lever" Lever {
        /// Route 53 weighted records, through the control plane in us-east-1.
        Weights(Weights) = "weights" "weights: { records: [...], ... }",
        /// Objects that inverted Route 53 health checks look at: publishing one takes its region out of the answers, without the control plane.
        Gates(Gates) = "gates" "gates: { regions: {...}, check: { every: 10s, failures: 3 }, ... }",
        /// Routing controls of Amazon Application Recovery Controller, over the five endpoints of their cluster.
        Arc(Arc) = "arc" "arc: { endpoints: {...}, controls: {...}, ... }",
    }
}

record! {
    /// Gates in the DNS data plane. A health check looks at each and is inverted, so that publishing an object takes its region out of the answers, and a controller that is dead takes nothing out.
    "a gates lever" Gates {
        /// The gates of each region: one, or a list of them. A region with several has as many weighted records of equal weight, and can be left in steps.
        regions: Entries<OneOrMany<At<Slot>>> = "regions: { eu-west-1: { s3: { bucket: shop-gates, key: eu-west-1, aws_region: us-west-2 } } }",
        /// How the health checks look at the gates.
        check: At<GateCheck> = "check: { every: 10s, failures: 3 }",
        /// How many controllers must publish before a region is out; one alone if it is not written.
        votes: Option<At<Votes>> = "votes: { needed: 2, of: 3 }",
        /// The time to live of the records: how long clients keep an old answer.
        ttl: Part<At<Span>> = "ttl: 60s",
        /// What is not in the answers after this long has failed: it is turned back, and the next lever is tried.
        in_force_within: Part<At<Span>> = "in_force_within: 5m",
        /// A name that shows which regions are answered.
        witness: Part<Witness> = "witness: { txt: { zone: Z0123456789ABCDEFGHIJ, name: _where.api.example.com, servers: [\"192.0.2.53:53\"] } }",
    }
}

record! {
    /// One gate, and the health check that looks at it. Exactly one of `s3` and `http` says where it stands.
    "a gate" Slot {
        /// An object in a bucket that the public can read.
        s3: Option<At<S3Gate>> = "s3: { bucket: shop-gates, key: eu-west-1, aws_region: us-west-2 }",
        /// An address of this very controller, as the health checks reach it.
        http: Option<At<HttpGate>> = "http: { url: \"https://leeward-us.example.com/gates/shop/eu-west-1/0\", aws_region: us-west-2 }",
        /// The id of the health check, for asking how it sees the gate.
        health_check: Option<At<Text>> = "health_check: 1f9a3c5e-7b2d-4c6f-8a1b-2c3d4e5f6a7b",
    }
}

record! {
    /// A gate in a bucket. The object is there while the region is to be out.
    "a gate in a bucket" S3Gate {
        /// The bucket.
        bucket: At<Text> = "bucket: shop-gates",
        /// The object's key. `{holder}` in it stands for the name of the controller that publishes.
        key: At<Text> = "key: \"shop/eu-west-1\"",
        /// The AWS region of the bucket: one that works when the gated region does not.
        aws_region: At<Text> = "aws_region: us-west-2",
        /// Where the health checks find the object, if not at `https://BUCKET.s3.REGION.amazonaws.com/KEY`. `{holder}` in it stands for the name of the controller that publishes.
        url: Option<At<Url>> = "url: \"https://gates.example.com/shop/eu-west-1\"",
    }
}

record! {
    /// A gate that this controller answers itself: 200 while the region is to be out, 404 otherwise. It opens when the controller stops.
    "a gate over HTTP" HttpGate {
        /// The address under which the health checks find it. The path ends in `/gates/SERVICE/REGION/NUMBER`, with numbers from 0. `{holder}` in it stands for the name of the controller.
        url: At<Url> = "url: \"https://leeward-us.example.com/gates/shop/eu-west-1/0\"",
        /// The AWS region where it stands, if it stands in one.
        aws_region: Option<At<Text>> = "aws_region: us-west-2",
    }
}

record! {
    /// The request interval and the failure threshold of the health checks.
    "a check" GateCheck {
        /// 10s or 30s.
        every: At<Span> = "every: 10s",
        /// 1 to 10 in a row.
        failures: At<Count> = "failures: 3",
    }
}

record! {
    /// How many of several controllers must agree, which a calculated health check counts.
    "votes" Votes {
        /// So many must publish.
        needed: At<Count> = "needed: 2",
        /// So many controllers there are.
        of: At<Count> = "of: 3",
    }
}

choice! {
    /// A name that shows which regions are answered.
    "a witness" Witness {
        /// A TXT name with one weighted record for each region, with the weights and health checks of the service's own records and the region's name as its value.
        Txt(WitnessTxt) = "txt" "witness: { txt: { zone: Z0123456789ABCDEFGHIJ, name: _where.api.example.com, servers: [\"192.0.2.53:53\"] } }",
        /// Nothing can be asked, and `check` warns of it. Gates are in force after the time that their checks need, twice over, and routing controls after 30s and `ttl`, if nothing that can be asked says otherwise and the region's own counters do not tell that more than half of its part of the requests still arrives.
        Nothing = "none" "witness: none",
    }
}

record! {
    /// The TXT name that shows which regions are answered.
    "a witness" WitnessTxt {
        /// The hosted zone.
        zone: At<ZoneId> = "zone: Z0123456789ABCDEFGHIJ",
        /// The record's name.
        name: At<RecordName> = "name: _where.api.example.com",
        /// The zone's name servers, each as host and port. They are written down because looking them up would need the control plane.
        servers: At<Vec<At<Text>>> = "servers: [\"ns-1.awsdns-00.com:53\"]",
    }
}

record! {
    /// Routing controls of Amazon Application Recovery Controller.
    "an arc lever" Arc {
        /// The five endpoints of the cluster, by AWS region.
        endpoints: At<Entries<At<Url>>> = "endpoints: { us-east-1: \"https://aaaaaaaa.route53-recovery-cluster.us-east-1.amazonaws.com/v1\" }",
        /// The ARN of each region's routing control: `On` is in the answers.
        controls: Entries<At<Text>> = "controls: { eu-west-1: \"arn:aws:route53-recovery-control::111122223333:controlpanel/0123456789abcdef0123456789abcdef/routingcontrol/abcdefg1234567\" }",
        /// Safety rules that are overridden when they stand in the way, by ARN. Write it down only for a day on which they are known to be wrong.
        override_safety_rules: Option<At<Vec<At<Text>>>> = "override_safety_rules: [\"arn:aws:route53-recovery-control::111122223333:controlpanel/0123456789abcdef0123456789abcdef/safetyrule/abcdefg1234567\"]",
        /// The time to live of the records: how long clients keep an old answer.
        ttl: Part<At<Span>> = "ttl: 60s",
        /// What is not in the answers after this long has failed: it is turned back, and the next lever is tried.
        in_force_within: Part<At<Span>> = "in_force_within: 3m",
        /// A name that shows which regions are answered.
        witness: Part<Witness> = "witness: { txt: { zone: Z0123456789ABCDEFGHIJ, name: _where.api.example.com, servers: [\"192.0.2.53:53\"] } }",
    }
}

record! {
    /// Route 53 weighted records.
    "a weights lever" Weights {
        /// The weighted records that move together, busiest first.
        records: Part<At<Vec<Part<Records>>>> = "records: [{ zone: Z0123456789ABCDEFGHIJ, name: api.example.com, types: [A], members: { eu-west-1: eu } }]",
        /// A TXT record in which the controller says who moved traffic, when and whereto.
        epoch_record: Part<EpochRecord> = "epoch_record: { zone: Z0123456789ABCDEFGHIJ, name: _leeward.api.example.com }",
        /// The time to live of the records: how long clients keep an old answer.
        ttl: Part<At<Span>> = "ttl: 60s",
        /// An accepted change that is not in sync at all name servers after this long is stuck.
        in_sync_within: Part<At<Span>> = "in_sync_within: 5m",
        /// How the answers are looked at after a change.
        readback: Part<Readback> = "readback: name_servers",
        /// The controller's own limits, well under the account's.
        pace: Option<Part<Pace>> = "pace: { requests: 5/s, requests_burst: 25, changes: 80/s, changes_burst: 1200 }",
    }
}

record! {
    /// Weighted record sets of one zone that move together.
    "an entry of records" Records {
        /// The hosted zone.
        zone: At<ZoneId> = "zone: Z0123456789ABCDEFGHIJ",
        /// The record's name; not together with `all`.
        name: Option<At<RecordName>> = "name: api.example.com",
        /// The record's types; not together with `all`.
        types: Option<At<Vec<At<Text>>>> = "types: [A, AAAA]",
        /// Every weighted name of the zone that has one set for each of `members`.
        all: Option<At<bool>> = "all: true",
        /// The set identifier of each region's record.
        members: Entries<At<Text>> = "members: { eu-west-1: eu, eu-central-1: central }",
    }
}

record! {
    /// Where the controller writes down what it did.
    "an epoch record" EpochRecord {
        /// The hosted zone.
        zone: At<ZoneId> = "zone: Z0123456789ABCDEFGHIJ",
        /// The record's name.
        name: At<RecordName> = "name: _leeward.api.example.com",
    }
}

choice! {
    /// How the answers are looked at after a change.
    "a readback" Readback {
        /// Looks up the zone's name servers and asks each of them.
        NameServers = "name_servers" "readback: name_servers",
        /// Asks these servers, each as host and port; for private zones and laboratories.
        Servers(At<Vec<At<Text>>>) = "servers" "readback: { servers: [\"127.0.0.1:5353\"] }",
        /// Does not ask. A change is done when it is in sync.
        Nothing = "none" "readback: none",
    }
}

record! {
    /// The controller's own limits for Route 53 calls.
    "a pace" Pace {
        /// Requests per second.
        requests: At<Rate> = "requests: 5/s",
        /// Requests at once after a pause.
        requests_burst: At<Count> = "requests_burst: 25",
        /// Record changes per second; creating or deleting a record counts one.
        changes: At<Rate> = "changes: 80/s",
        /// Record changes at once after a pause.
        changes_burst: At<Count> = "changes_burst: 1200",
    }
}

record! {
    /// One source of readings, named by its key. Exactly one of `probe`, `target_health`, `metric`, `beacon` and `pushed` says what it is.
    "a signal" Signal {
        /// The kind of evidence. Kinds are independent of each other.
        class: At<Class> = "class: outside",
        /// A reading older than this is unknown.
        fresh_for: At<Span> = "fresh_for: 30s",
        /// Sends requests to every balancer.
        probe: Option<Part<At<Probe>>> = "probe: { protocol: https, host: api.example.com, every: 5s, ... }",
        /// Asks for the health of the targets behind every balancer.
        target_health: Option<Part<At<TargetHealth>>> = "target_health: { every: 15s }",
        /// Asks CloudWatch.
        metric: Option<Part<At<Metric>>> = "metric: { measures: balancer_errors, every: 60s, period: 60s, window: 5m, from: alb }",
        /// A neutral place that tells whether our own network is well.
        beacon: Option<Part<At<Beacon>>> = "beacon: { url: \"https://example.com/\", every: 10s, timeout: 2s }",
        /// Readings that arrive by themselves.
        pushed: Option<Part<At<Pushed>>> = "pushed: {}",
    }
}

choice! {
    /// An independent kind of evidence.
    "a class" Class {
        /// Probes from vantages.
        Outside = "outside" "class: outside",
        /// What users got, counted at the balancer.
        Traffic = "traffic" "class: traffic",
        /// Targets, capacity, replication.
        Inside = "inside" "class: inside",
        /// Deploys, notices, beacons. Never evidence by itself.
        Context = "context" "class: context",
    }
}

record! {
    /// Requests to every balancer of the probed regions, from every vantage.
    "a probe" Probe {
        /// What is spoken.
        protocol: At<Protocol> = "protocol: https",
        /// What is sent as host and server name, whatever address is connected to; the balancer's `connect` if it is not written.
        host: Option<At<Text>> = "host: api.example.com",
        /// The port; 443 for `https` and `https_unverified`, 80 for `http`.
        port: Option<At<Port>> = "port: 443",
        /// The path and query; not for `tcp`.
        path: Option<At<Text>> = "path: /health",
        /// The time between two probes of one balancer from one vantage.
        every: At<Span> = "every: 5s",
        /// The limit of each phase. All four together bound the whole.
        timeout: ProbeTimeout = "timeout: { connect: 2s, tls: 2s, first_byte: 3s, body: 2s }",
        /// What a good answer looks like; a status of 200 to 299 if it is not written. Not for `tcp`.
        expect: Option<At<ProbeExpect>> = "expect: { status: [200-299], body_contains: ok }",
        /// The regions that are probed; all but the last resort if it is not written.
        regions: Option<Vec<At<Text>>> = "regions: [eu-west-1]",
        /// The vantages that probe; all if it is not written.
        from: Option<Vec<At<Text>>> = "from: [here]",
    }
}

choice! {
    /// What a probe speaks.
    "a protocol" Protocol {
        /// HTTP without encryption.
        Http = "http" "protocol: http",
        /// HTTP over TLS; certificate chain and host name are verified.
        Https = "https" "protocol: https",
        /// HTTP over TLS; any certificate will do, as for Route 53's own checkers.
        HttpsUnverified = "https_unverified" "protocol: https_unverified",
        /// A TCP connection that opens is good.
        Tcp = "tcp" "protocol: tcp",
    }
}

record! {
    /// Time limits of a probe, each for one phase.
    "a probe timeout" ProbeTimeout {
        /// Until the TCP connection stands, name lookup included.
        connect: At<Span> = "connect: 2s",
        /// For the TLS handshake.
        tls: At<Span> = "tls: 2s",
        /// From request to the first byte of the answer.
        first_byte: At<Span> = "first_byte: 3s",
        /// For the body.
        body: At<Span> = "body: 2s",
    }
}

record! {
    /// What a good answer looks like.
    "an expectation" ProbeExpect {
        /// Status codes and ranges of them; 200 to 299 if it is not written.
        status: Option<At<Vec<StatusRange>>> = "status: [200-299]",
        /// A text that must occur in the first 16 KiB of the body.
        body_contains: Option<At<Text>> = "body_contains: ok",
    }
}

record! {
    /// ELBv2 target health of the target groups of every balancer.
    "target health" TargetHealth {
        /// The time between two looks.
        every: At<Span> = "every: 15s",
    }
}

record! {
    /// A CloudWatch metric for each region.
    "a metric" Metric {
        /// What the number is taken for.
        measures: At<Measures> = "measures: balancer_errors",
        /// For `measures: verdict`: bad above this.
        above: Option<At<Number>> = "above: 5",
        /// For `measures: verdict`: bad below this.
        below: Option<At<Number>> = "below: 100",
        /// The time between two looks.
        every: At<Span> = "every: 60s",
        /// The length of one data point.
        period: At<Span> = "period: 60s",
        /// How far back data points are asked for.
        window: At<Span> = "window: 5m",
        /// Derives the query from the ARNs of the balancers; not together with `queries`.
        from: Option<At<Derived>> = "from: alb",
        /// With `from` and `measures: verdict`: what is counted, per request of all balancers of a region, 0 to 1.
        of: Option<At<Symptom>> = "of: fail_open",
        /// What to ask for, by region; a list asks for several. Not together with `from`.
        queries: Option<Entries<OneOrMany<Query>>> = "queries: { eu-west-1: { namespace: AWS/ApplicationELB, name: RequestCount, statistic: Sum, dimensions: { LoadBalancer: app/web/50dc6c495c0c9188 } } }",
    }
}

choice! {
    /// What a number is taken for.
    "a measure" Measures {
        /// Errors made by the balancer, per request, 0 to 1.
        BalancerErrors = "balancer_errors" "measures: balancer_errors",
        /// Errors made by targets, per request, 0 to 1.
        TargetErrors = "target_errors" "measures: target_errors",
        /// Requests per second that arrive.
        Requests = "requests" "measures: requests",
        /// Requests per second that could be served now.
        Capacity = "capacity" "measures: capacity",
        /// Seconds that this region's data is behind.
        ReplicationLag = "replication_lag" "measures: replication_lag",
        /// Healthy part of the registered targets, 0 to 1.
        HealthyHosts = "healthy_hosts" "measures: healthy_hosts",
        /// Milliseconds.
        Latency = "latency" "measures: latency",
        /// Bad when it crosses `above` or `below`.
        Verdict = "verdict" "measures: verdict",
    }
}

choice! {
    /// Where a derived metric comes from.
    "a source of metrics" Derived {
        /// Application Load Balancers: `balancer_errors`, `target_errors`, `requests` and `latency`; of verdicts all
        /// but `resets`. Connections to targets that failed count as errors of targets.
        Alb = "alb" "from: alb",
        /// Network Load Balancers: `requests`, which are new connections; verdicts of `fail_open` and `resets`.
        Nlb = "nlb" "from: nlb",
    }
}

choice! {
    /// What a balancer counts of trouble.
    "a symptom" Symptom {
        /// Requests that are sent to targets although none is healthy: it is the targets, not the balancer.
        FailOpen = "fail_open" "of: fail_open",
        /// Connections to targets that failed.
        ConnectionErrors = "connection_errors" "of: connection_errors",
        /// Clients that did not agree on TLS with the balancer.
        HandshakeErrors = "handshake_errors" "of: handshake_errors",
        /// Connections that were refused because the balancer is at its limit.
        RejectedConnections = "rejected_connections" "of: rejected_connections",
        /// Connections that the balancer has reset.
        Resets = "resets" "of: resets",
    }
}

record! {
    /// One metric, or metric math over several `inputs`.
    "a query" Query {
        /// The balancer it speaks of; the region as a whole if it is not written.
        balancer: Option<At<Text>> = "balancer: web-eu",
        /// Where CloudWatch is asked; the region's own `aws_region` if it is not written.
        aws_region: Option<At<Text>> = "aws_region: eu-west-1",
        /// The namespace of the metric.
        namespace: Option<At<Text>> = "namespace: AWS/ApplicationELB",
        /// The name of the metric.
        name: Option<At<Text>> = "name: RequestCount",
        /// The statistic.
        statistic: Option<At<Text>> = "statistic: Sum",
        /// The dimensions of the metric.
        dimensions: Option<Entries<Text>> = "dimensions: { LoadBalancer: app/web/50dc6c495c0c9188 }",
        /// Metric math over `inputs`, instead of a single metric.
        expression: Option<At<Text>> = "expression: errors / requests",
        /// The metrics of the expression, by id.
        inputs: Option<Entries<Input>> = "inputs: { errors: { namespace: Shop, name: Errors, statistic: Sum } }",
    }
}

record! {
    /// A metric that an expression works on.
    "an input" Input {
        /// The namespace of the metric.
        namespace: Text = "namespace: AWS/ApplicationELB",
        /// The name of the metric.
        name: Text = "name: RequestCount",
        /// The statistic.
        statistic: At<Text> = "statistic: Sum",
        /// The dimensions of the metric.
        dimensions: Option<Entries<Text>> = "dimensions: { LoadBalancer: app/web/50dc6c495c0c9188 }",
    }
}

record! {
    /// A neutral place that tells whether our own network is well.
    "a beacon" Beacon {
        /// What is fetched.
        url: Url = "url: \"https://example.com/\"",
        /// The time between two looks.
        every: At<Span> = "every: 10s",
        /// The limit of one look.
        timeout: At<Span> = "timeout: 2s",
    }
}

record! {
    /// Readings that arrive by themselves.
    "a pushed signal" Pushed {}
}

record! {
    /// When a region counts as bad.
    "`judge`" Judge {
        /// Fewer successes than this are bad, for a region and for each of its balancers.
        success_below: At<Percent> = "success_below: 95%",
        /// Slower than this is bad. Latency is not judged if it is not written.
        latency_above: Option<At<Span>> = "latency_above: 2s",
        /// The mean is taken over this long.
        window: At<Span> = "window: 1m",
        /// So long it must be bad, without a break, before anything is moved.
        sustain: At<Span> = "sustain: 2m",
        /// So many vantages must agree.
        vantages: At<Count> = "vantages: 2",
        /// So many independent classes of evidence must agree.
        classes: At<Count> = "classes: 2",
        /// A smaller healthy part of the targets is bad.
        healthy_hosts_below: At<Percent> = "healthy_hosts_below: 50%",
        /// A deploy this recent is the first suspect. Deploys are not looked at if it is not written.
        deploy_guard: Option<At<Span>> = "deploy_guard: 30m",
    }
}

record! {
    /// How traffic moves away from a bad region.
    "`shift`" Shift {
        /// What the whole service gets on a busy day, for when no signal tells.
        demand: Option<At<RequestRate>> = "demand: 2000 rps",
        /// The destination's part of the moved traffic, step by step; `[100%]` is all at once.
        ramp: At<Vec<At<Percent>>> = "ramp: [25%, 50%, 100%]",
        /// The time between two steps, with a look that decides about the next one.
        hold: At<Span> = "hold: 2m",
        /// The part of a destination's capacity that stays free.
        spare: At<Percent> = "spare: 10%",
        /// What happens if the destination cannot take all.
        overflow: Overflow = "overflow: spill",
        /// What happens when no acceptable region is left.
        last_resort: At<LastResort> = "last_resort: never",
        /// What happens when nothing proves the destination fit.
        unready: Unready = "unready: hold",
    }
}

choice! {
    /// What happens if the destination cannot take all.
    "an overflow" Overflow {
        /// Moves what fits, and more as it grows.
        Spill = "spill" "overflow: spill",
        /// Moves nothing and calls a human.
        Hold = "hold" "overflow: hold",
    }
}

choice! {
    /// What happens when no acceptable region is left.
    "a last resort" LastResort {
        /// Nothing is moved.
        Never = "never" "last_resort: never",
        /// The region of that role gets the traffic after this much patience.
        After(At<Span>) = "after" "last_resort: { after: 5m }",
    }
}

choice! {
    /// What happens when nothing proves the destination fit.
    "a choice of unready" Unready {
        /// Nothing is moved.
        Hold = "hold" "unready: hold",
        /// Traffic moves anyway: anything is better than a region that is down.
        ShiftAnyway = "shift_anyway" "unready: shift_anyway",
    }
}

choice! {
    /// How traffic comes home.
    "a failback" Failback {
        /// A human says when.
        Manual = "manual" "failback: manual",
        /// The controller goes home in small steps.
        Auto(FailbackAuto) = "auto" "failback: { auto: { hold: 30m, step: 25%, every: 10m } }",
    }
}

record! {
    /// Going home by itself.
    "an automatic failback" FailbackAuto {
        /// Unbroken health that is needed first.
        hold: At<Span> = "hold: 30m",
        /// The largest step of share.
        step: At<Percent> = "step: 25%",
        /// The time between two steps.
        every: At<Span> = "every: 10m",
    }
}

record! {
    /// Refreshing the configuration of a balancer.
    "`refresh`" Refresh {
        /// Which balancer first; busiest first if it is not written.
        order: Option<At<Vec<At<Text>>>> = "order: [web-eu, api-eu]",
        /// So long the effect is looked at before the next one.
        wait: At<Span> = "wait: 5m",
        /// At most so often for each balancer.
        tries: At<Count> = "tries: 2",
        /// The controller's own limits for calls of Elastic Load Balancing; half of what an account has if it is not written. `run` takes the lowest of all its policies.
        pace: Option<Part<ElbPace>> = "pace: { calls: 5/s, calls_burst: 20, registrations: 2/s, changes: 1.5/s, subnets: 0.1/s }",
        /// What may be done to which balancer. On AWS nothing is done to one that is not here.
        balancers: Option<Entries<BalancerCare>> = "balancers: { web-eu: { owned: { tag: { key: leeward, value: may-refresh } }, rungs: [{ reassert: as_read }], give_up: shift } }",
    }
}

record! {
    /// What may not happen now.
    "`guards`" Guards {
        /// So long nothing moves after the end of an execution.
        cooldown: At<Span> = "cooldown: 10m",
        /// A limit on shifts.
        shifts: At<Shifts> = "shifts: { max: 2, within: 1h }",
        /// After too many shifts only a human moves again.
        latch: At<Latch> = "latch: { after: 4, within: 24h }",
        /// No shift to a region whose data is further behind than this. Not looked at if it is not written.
        replication_lag: Option<At<Span>> = "replication_lag: 30s",
        /// A reason why a human must approve each shift.
        needs_approval: Option<Text> = "needs_approval: the accounts database is written in one region only",
        /// A destination with a smaller healthy part of its targets is not ready.
        standby_healthy_hosts: At<Percent> = "standby_healthy_hosts: 70%",
        /// Weekly local times in which nothing moves by itself.
        blocked: Option<Vec<At<Text>>> = "blocked: [\"Fri 18:00-Mon 06:00 Europe/Berlin\"]",
    }
}

record! {
    /// A limit on shifts.
    "`shifts`" Shifts {
        /// So many at most.
        max: At<Count> = "max: 2",
        /// In any span of this length.
        within: At<Span> = "within: 1h",
    }
}

record! {
    /// After too many shifts only a human moves again.
    "`latch`" Latch {
        /// So many shifts are too many.
        after: At<Count> = "after: 4",
        /// In any span of this length.
        within: At<Span> = "within: 24h",
    }
}

record! {
    /// By which ways events may come. All but queues need `leeward run --intake ADDRESS`.
    "`triggers`" Triggers {
        /// An alarm or a notice told later than this after it happened asks for nothing any more; 15 minutes if it is not written.
        late_after: Option<At<Span>> = "late_after: 15m",
        /// Queues of SQS that are polled.
        queues: Option<At<Vec<At<Queue>>>> = "queues: [{ url: \"https://sqs.eu-central-1.amazonaws.com/111122223333/leeward\" }]",
        /// The SNS topics that may send over HTTP. Their signatures are verified.
        topics: Option<At<Vec<At<Text>>>> = "topics: [\"arn:aws:sns:eu-west-1:111122223333:alarms\"]",
        /// API destinations of EventBridge.
        eventbridge: Option<KeyHeader> = "eventbridge: { header: x-leeward-key, key: { env: LEEWARD_EVENTBRIDGE_KEY } }",
        /// The bearer token that Prometheus' Alertmanager sends.
        alertmanager: Option<At<Secret>> = "alertmanager: { file: /etc/leeward/alertmanager.token }",
        /// Who may send signed events, each by a name of their own.
        senders: Option<Entries<Sender>> = "senders: { pipeline: { key: { env: LEEWARD_PIPELINE_KEY }, may: [deploy] } }",
    }
}

record! {
    /// A queue of SQS.
    "a queue" Queue {
        /// Its address.
        url: At<Url> = "url: \"https://sqs.eu-central-1.amazonaws.com/111122223333/leeward\"",
        /// Where it is; taken from its address if it is not written.
        aws_region: Option<At<Text>> = "aws_region: eu-central-1",
        /// The SNS topics whose messages are taken; all if it is not written.
        topics: Option<At<Vec<At<Text>>>> = "topics: [\"arn:aws:sns:eu-west-1:111122223333:alarms\"]",
    }
}

record! {
    /// A key that is sent in a header.
    "a key" KeyHeader {
        /// The name of the header.
        header: At<Text> = "header: x-leeward-key",
        /// Where the key is.
        key: At<Secret> = "key: { env: LEEWARD_EVENTBRIDGE_KEY }",
    }
}

choice! {
    /// Where a secret is. It is never written into the policy itself.
    "a place of a secret" Secret {
        /// In this environment variable.
        Env(At<Text>) = "env" "key: { env: LEEWARD_PIPELINE_KEY }",
        /// In this file, one secret a line: two of them hold while one is replaced by the other.
        File(At<Text>) = "file" "key: { file: /etc/leeward/pipeline.key }",
    }
}

record! {
    /// Somebody who signs what they send, named by the key of this entry.
    "a sender" Sender {
        /// Where the secret is that they sign with.
        key: At<Secret> = "key: { env: LEEWARD_PIPELINE_KEY }",
        /// What they may send. Who approves may send nothing else.
        may: At<Vec<At<May>>> = "may: [deploy, reading]",
    }
}

choice! {
    /// What a sender may send.
    "a permission" May {
        /// A request to look now.
        Look = "look" "may: [look]",
        /// That a new version was deployed.
        Deploy = "deploy" "may: [deploy]",
        /// What a provider says about itself.
        Notice = "notice" "may: [notice]",
        /// Readings of pushed signals.
        Reading = "reading" "may: [reading]",
        /// A yes or a no to what waits for one, in their name.
        Approve = "approve" "may: [approve]",
    }
}

record! {
    /// Programs and services of the operator around a move. Each gets what is going on as JSON and a key that stays the same for the same thing, so that doing it again can be told from doing it anew.
    "`hooks`" Hooks {
        /// Asked one after the other before traffic moves; each may veto.
        before: Option<At<Vec<Part<At<Hook>>>>> = "before: [{ name: freeze-jobs, does: { run: [\"/opt/shop/freeze-jobs\"] }, timeout: 20s, if_it_fails: veto }]",
        /// Stops writes where traffic leaves, so that two regions never write at once. Asked last before a move away from a region.
        fence: Option<Part<At<Hook>>> = "fence: { name: demote, does: { run: [\"/opt/shop/demote-database\"] }, timeout: 30s, if_it_fails: veto }",
        /// Told once after a move is in force.
        after: Option<At<Vec<Part<At<Hook>>>>> = "after: [{ name: thaw-jobs, does: { run: [\"/opt/shop/thaw-jobs\"] }, timeout: 20s, if_it_fails: go_on }]",
        /// Puts the old version back when a change has broken every region that it reached. Called once for each change.
        rollback: Option<Part<At<Rollback>>> = "rollback: { when: common_cause, name: undo, does: { run: [\"/opt/shop/rollback\"] }, timeout: 2m }",
    }
}

record! {
    /// One hook.
    "a hook" Hook {
        /// What it is called in the journal and in messages.
        name: At<Text> = "name: freeze-jobs",
        /// What is done.
        does: At<HookDoes> = "does: { run: [\"/opt/shop/freeze-jobs\"] }",
        /// It is given so long. A move waits for it.
        timeout: At<Span> = "timeout: 20s",
        /// What follows if it fails, takes too long or cannot be started. A veto always holds.
        if_it_fails: IfItFails = "if_it_fails: veto",
        /// The kinds of moves it is for; all of them if it is not written.
        moves: Option<At<Vec<At<HookedMove>>>> = "moves: [evacuate, last_resort]",
    }
}

choice! {
    /// What follows when a hook fails.
    "an answer" IfItFails {
        /// The move waits, and the hook is asked again a minute later.
        Veto = "veto" "if_it_fails: veto",
        /// The move goes on without it.
        GoOn = "go_on" "if_it_fails: go_on",
    }
}

choice! {
    /// What a hook does.
    "what a hook does" HookDoes {
        /// A local program, with the call as JSON on its standard input. Exit status 0 is yes, 3 is a veto, anything else is a failure. At the time-out it is ended; what it started goes on, unless it is started by `exec`.
        Run(At<Vec<Text>>) = "run" "run: [\"/opt/shop/freeze-jobs\", \"--now\"]",
        /// The call as JSON to an HTTP address, by `POST`. A status of 200 to 299 is yes, 409 is a veto, anything else is a failure.
        Call(HookCall) = "call" "call: { url: \"https://ops.example.com/hooks/freeze\" }",
    }
}

record! {
    /// An HTTP address that is called.
    "a call" HookCall {
        /// Where.
        url: Url = "url: \"https://ops.example.com/hooks/freeze\"",
        /// A file with the token that goes along as `Authorization: Bearer`. Read anew for each call.
        token_file: Option<At<Text>> = "token_file: /etc/leeward/hook-token",
    }
}

choice! {
    /// A kind of move.
    "a kind of move" HookedMove {
        /// Away from a bad region.
        Evacuate = "evacuate" "moves: [evacuate]",
        /// Home again.
        Failback = "failback" "moves: [failback]",
        /// To the cached copy.
        LastResort = "last_resort" "moves: [last_resort]",
        /// A human asked for it.
        Operator = "operator" "moves: [operator]",
    }
}

record! {
    /// How a broken change is undone.
    "`rollback`" Rollback {
        /// In so many words: it is called when a change is the cause in every region that it reached.
        when: RollbackWhen = "when: common_cause",
        /// What it is called in the journal and in messages.
        name: At<Text> = "name: undo",
        /// What is done.
        does: At<HookDoes> = "does: { run: [\"/opt/shop/rollback\"] }",
        /// It is given so long.
        timeout: At<Span> = "timeout: 2m",
    }
}

choice! {
    /// When a change is undone.
    "a condition" RollbackWhen {
        /// The diagnosis is `CommonCause` and names a change.
        CommonCause = "common_cause" "when: common_cause",
    }
}

record! {
    /// One drawn outage, and what is to be done in it. A line has one character for each step; spaces in it are not counted. What is not drawn is well.
    /// One drawn outage, and what is to be done in it. A line has one character for each step; spaces in it are not counted. What is not drawn is well. Or one recorded outage: `trace` names its file, and besides it only `mode`, `regions`, `balancers`, `vantages`, `without`, `finds`, `holds` and `ends` may be written; the file says what happens, what capacities and demand are, and what is demanded.
    "a test" Test {
        /// What is claimed.
        name: At<Text> = "name: a short blip moves nothing",
        /// What one character stands for; 10 seconds if it is not written.
        step: Option<At<Span>> = "step: 10s",
        /// When the picture begins, for blocked windows; noon of a Wednesday in UTC if it is not written.
        begins: Option<At<Text>> = "begins: 2025-01-10T20:00:00+01:00",
        /// Another mode than the policy's.
        mode: Option<Mode> = "mode: auto",
        /// What probes see of a region, or of one of its balancers: `.` well, `x` fails, `~` half of them fail, `s` slow, `?` no reading.
        seen: Option<Entries<At<Text>>> = "seen: { eu-west-1: \"..xxxxxxxxxx\" }",
        /// What one vantage sees instead.
        seen_from: Option<Entries<Entries<At<Text>>>> = "seen_from: { us: { eu-west-1: \"............\" } }",
        /// What metrics and target health say of a region, or of one of its balancers: `.` well, `x` targets make errors, `b` the balancer makes errors and its targets are well, `s` slow, `z` the hosts of a zone are gone, `h` nearly all hosts are gone, `?` silent. They agree with the probes if they are not drawn.
        counters: Option<Entries<At<Text>>> = "counters: { eu-west-1: \"..??????????\" }",
        /// Whether a vantage reaches its beacons: `.` yes, `x` no.
        beacons: Option<Entries<At<Text>>> = "beacons: { here: \"..xxxxxxxxxx\" }",
        /// How Route 53 takes calls: `.` well, `x` every call fails, `p` changes stay pending.
        control_plane: Option<At<Text>> = "control_plane: \"..xxxx......\"",
        /// Whether gates can be set: `x` means that calls fail, `p` that they are set and no health check follows.
        gates: Option<At<Text>> = "gates: \"..xxxx......\"",
        /// The same for routing controls.
        arc: Option<At<Text>> = "arc: \"..xxxx......\"",
        /// What becomes of the refresh of a balancer; `fail` if it is not written. Every rung counts as one refresh here: a drawing has no configuration.
        refreshes: Option<Refreshes> = "refreshes: work",
        /// How far the data of every region is behind, or `unknown`; one second if it is not written.
        lag: Option<At<LagText>> = "lag: 3m",
        /// What the whole service gets; `shift.demand` if it is not written, or else half of what the smallest region can carry.
        requests: Option<At<RequestRate>> = "requests: 2000 rps",
        /// What a region can carry, instead of what the policy says.
        capacity: Option<Entries<At<RequestRate>>> = "capacity: { eu-central-1: 500 rps }",
        /// What happens besides.
        events: Option<At<Vec<TestEvent>>> = "events: [{ at: 30s, happens: approve }]",
        /// What is done in each step: `S` a shift, `H` home, `L` to the last resort, `R` a refresh is tried, `-` nothing, `.` anything.
        expect: Option<At<Text>> = "expect: \"-----------S\"",
        /// Diagnoses that are made in some step.
        finds: Option<At<Vec<At<Text>>>> = "finds: [RegionDown]",
        /// Reasons for doing nothing, or less, that are given in some step.
        holds: Option<At<Vec<At<Text>>>> = "holds: [Cooldown]",
        /// Hooks that say no. The others say yes.
        vetoes: Option<At<Vec<At<Text>>>> = "vetoes: [freeze-jobs]",
        /// Hooks that are called in some step.
        calls: Option<At<Vec<At<Text>>>> = "calls: [undo]",
        /// The weights of the records at the end.
        ends: Option<Entries<At<Weight>>> = "ends: { eu-west-1: 0, eu-central-1: 100 }",
        /// A recorded outage: a file in the `outage-trace` format, relative to this policy. It is played in closed loop, and its own expectations are the test.
        trace: Option<At<Text>> = "trace: traces/region-loss.json",
        /// Which region of the trace is which of this policy. Those of one name need not be written.
        regions: Option<Entries<At<Text>>> = "regions: { east: eu-west-1, west: eu-central-1 }",
        /// Which balancer of the trace is which of this policy. A balancer of the policy without one shows the mean of its region.
        balancers: Option<Entries<At<Text>>> = "balancers: { east-web: web-eu }",
        /// Which prober of the trace is which vantage of this policy. Those of one name need not be written, the others are paired in their order.
        vantages: Option<Entries<At<Text>>> = "vantages: { p-eu: here }",
        /// Kinds of expectations of the trace that do not count here, because this operator wants something else.
        without: Option<At<Vec<At<Text>>>> = "without: [status_gap]",
    }
}

choice! {
    /// What becomes of the refresh of a balancer.
    "an outcome of refreshes" Refreshes {
        /// It is accepted. Whether it cures is what is drawn.
        Work = "work" "refreshes: work",
        /// It fails.
        Fail = "fail" "refreshes: fail",
    }
}

record! {
    /// Something that happens in a test.
    "an event" TestEvent {
        /// So long after the beginning.
        at: At<Span> = "at: 30s",
        /// What happens.
        happens: Happening = "happens: approve",
    }
}

choice! {
    /// Something that happens, as opposed to something that is measured.
    "an event" Happening {
        /// A new version reaches regions.
        Deploy(TestDeploy) = "deploy" "happens: { deploy: { version: v42, regions: [eu-west-1] } }",
        /// A human forbids all moves, for this reason.
        Freeze(Text) = "freeze" "happens: { freeze: a drill }",
        /// A human lifts that.
        Unfreeze = "unfreeze" "happens: unfreeze",
        /// A human says yes.
        Approve = "approve" "happens: approve",
        /// A human says no.
        Deny = "deny" "happens: deny",
    }
}

record! {
    /// A new version of the service.
    "a deploy" TestDeploy {
        /// What is deployed.
        version: Text = "version: v42",
        /// Where.
        regions: At<Vec<At<Text>>> = "regions: [eu-west-1]",
    }
}
