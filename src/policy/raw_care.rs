//! The part of the policy file about refreshing a load balancer, as written. Like `raw`.

use super::decode::{At, Entries, Part, choice, record};
use super::units::{Count, Percent, Port, Rate, Span, Text};

record! {
    /// How one balancer may be refreshed, named by its key.
    "a balancer's refresh" BalancerCare {
        /// What proves that a target group may be touched.
        owned: Part<Owned> = "owned: { tag: { key: leeward, value: may-refresh } }",
        /// What may be tried, in this order, mildest first. The next one is tried when one had no effect.
        rungs: Part<At<Vec<Part<At<Rung>>>>> = "rungs: [{ reassert: as_read }]",
        /// What is done when nothing helped or something made it worse.
        give_up: Part<GiveUp> = "give_up: shift",
        /// What the configuration should be. Where it is not so is shown by `leeward plan`, and mended by `leeward apply` or `leeward lb refresh --mend`, with the floor of the rung `targets`, or half of the healthy targets of each zone where there is none.
        declared: Option<Part<Declared>> = "declared: { attributes: { idle_timeout.timeout_seconds: \"60\" } }",
    }
}

record! {
    /// The controller's own limits for calls of Elastic Load Balancing, for each account and region.
    "a pace of refreshes" ElbPace {
        /// Calls of any kind per second.
        calls: At<Rate> = "calls: 5/s",
        /// Calls of any kind at once after a pause. One look at a balancer takes 20 and more.
        calls_burst: At<Count> = "calls_burst: 20",
        /// Registrations and their ends per second.
        registrations: At<Rate> = "registrations: 2/s",
        /// Other changes per second.
        changes: At<Rate> = "changes: 1.5/s",
        /// Changes of subnets per second.
        subnets: At<Rate> = "subnets: 0.1/s",
    }
}

choice! {
    /// What proves that a target group may be touched.
    "a proof of ownership" Owned {
        /// A tag that it carries.
        Tag(OwnedTag) = "tag" "owned: { tag: { key: leeward, value: may-refresh } }",
        /// Its ARN stands here.
        Listed(At<Vec<At<Text>>>) = "listed" "owned: { listed: [\"arn:aws:elasticloadbalancing:eu-west-1:111122223333:targetgroup/web/73e2d6bc24d8a067\"] }",
    }
}

record! {
    /// A tag.
    "a tag" OwnedTag {
        /// The key.
        key: At<Text> = "key: leeward",
        /// The value.
        value: At<Text> = "value: may-refresh",
    }
}

choice! {
    /// One way to refresh a balancer.
    "a rung" Rung {
        /// Writes the configuration back. Touches settings, written back as they are.
        Reassert(Reassert) = "reassert" "reassert: as_read",
        /// Takes targets out and registers them again, batch by batch. Touches one batch of targets at once.
        Targets(Targets) = "targets" "targets: { batch: 2, floor: 50%, healthy_within: 5m, drained_within: 6m }",
        /// Makes a twin of each target group and moves the requests over step by step. Touches the requests of one target group at once.
        Swap(Swap) = "swap" "swap: { steps: [10%, 50%, 100%], hold: 1m, healthy_within: 5m, drain: 5m }",
        /// Takes one zone after the other out of the balancer and puts it in again. Touches one zone at once.
        Zones(Zones) = "zones" "zones: { rest: 60%, pause: 2m, healthy_within: 5m }",
    }
}

choice! {
    /// What is written back.
    "what is written back" Reassert {
        /// Everything as it was read: attributes, actions, health checks.
        AsRead = "as_read" "reassert: as_read",
        /// What differs from `declared`.
        Declared = "declared" "reassert: declared",
    }
}

record! {
    /// Taking targets out and registering them again.
    "`targets`" Targets {
        /// At most so many targets at once.
        batch: At<Count> = "batch: 2",
        /// The part of each zone's healthy targets that stays, rounded up.
        floor: At<Percent> = "floor: 50%",
        /// A registered target must be healthy after this long.
        healthy_within: At<Span> = "healthy_within: 5m",
        /// A target must have drained after this long; longer than its group's deregistration delay.
        drained_within: At<Span> = "drained_within: 6m",
    }
}

record! {
    /// A twin of each target group.
    "`swap`" Swap {
        /// Parts of the requests that the twin gets, rising to 100%.
        steps: At<Vec<At<Percent>>> = "steps: [10%, 50%, 100%]",
        /// The time between two steps.
        hold: At<Span> = "hold: 1m",
        /// The twin's targets must be healthy after this long.
        healthy_within: At<Span> = "healthy_within: 5m",
        /// The time after the last step in which connections to the old group may end.
        drain: At<Span> = "drain: 5m",
    }
}

record! {
    /// One zone after the other.
    "`zones`" Zones {
        /// The part of all healthy targets that the other zones must have.
        rest: At<Percent> = "rest: 60%",
        /// The time after each change.
        pause: At<Span> = "pause: 2m",
        /// The targets of a zone that came back must be healthy after this long.
        healthy_within: At<Span> = "healthy_within: 5m",
    }
}

choice! {
    /// What is done when no rung helped, or one made it worse.
    "what is done at last" GiveUp {
        /// The region is left, as after any other outage, also where only probes see the balancer fail.
        Shift = "shift" "give_up: shift",
        /// Nothing moves; a human is called.
        Page = "page" "give_up: page",
    }
}

record! {
    /// What a balancer's configuration should be. What is not written is left alone.
    "`declared`" Declared {
        /// Attributes of the load balancer.
        attributes: Option<Entries<At<Text>>> = "attributes: { idle_timeout.timeout_seconds: \"60\" }",
        /// Weights of forward actions.
        forwards: Option<Vec<Part<At<DeclaredForward>>>> = "forwards: [{ listener: 443, weights: { web: 100 } }]",
        /// The registered targets of a group, all of them, each as address or instance with a port. A tag cannot name them.
        targets: Option<Entries<At<Vec<At<Text>>>>> = "targets: { web: [\"10.0.0.1:8080\", \"10.0.1.1:8080\"] }",
    }
}

record! {
    /// The weights of one forward action.
    "an entry of forwards" DeclaredForward {
        /// The listener's port.
        listener: At<Port> = "listener: 443",
        /// The rule's priority; the default action if it is not written.
        rule: Option<At<Text>> = "rule: \"10\"",
        /// The weight of each target group by its name, 0 to 999.
        weights: Entries<At<Count>> = "weights: { web: 100, web-next: 0 }",
    }
}

record! {
    /// Taking a bad zone out of a balancer by a zonal shift, which ends by itself. Never more than one zone of a region at a time, and only where the others are well.
    "`zonal_shift`" ZonalShift {
        /// Every zone of the balancer, as its targets name it, with its id. Which id a zone has differs from account to account: EC2's `describe-availability-zones` tells.
        zones: Entries<At<Text>> = "zones: { eu-west-1a: euw1-az2, eu-west-1b: euw1-az3 }",
        /// The part of all its targets that must be healthy in the other zones.
        rest: At<Percent> = "rest: 60%",
        /// The shift ends by itself after this long, 1m to 72h. It is renewed while the zone is bad.
        expires: At<Span> = "expires: 3h",
        /// The zone must have been well for so long before the shift is taken back.
        back_after: At<Span> = "back_after: 15m",
    }
}
