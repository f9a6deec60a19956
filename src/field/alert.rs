//! The fields of alerts.

use super::{
    Field, Fields, Origin,
    Type::{Boolean, Date, Float, Ip, Ips, Keyword, Keywords, Long, Text},
    Value,
    common::addresses,
    shared::{
        cim_transport, keywords, name, name_origin, name_origins, reliable, transport, unverified,
    },
    texts::Form,
};
use crate::{
    component::Machine,
    record::{Action, Alert, Signal, Technique, Weight},
};

type F = Field<Alert>;

/// CIM's words for risk scores.
const SEVERITIES: [&str; 5] = ["informational", "low", "medium", "high", "critical"];

/// An alert. The order is that of the simple schema.
const FIELDS: &[Field<Alert>] = &[
    F::new(Date, "when it was decided", |alert, _| Value::Time(alert.time))
        .simple(&["timestamp"])
        .ecs(&["@timestamp"])
        .cim(&["timestamp"]),
    F::new(Ip, "whom it is about", |alert, _| source(alert))
        .simple(&["source_ip"])
        .ecs(&["source.ip"])
        .cim(&["src", "src_ip", "threat_object"]),
    F::new(Keyword, "whom it is about", |alert, _| source(alert))
        .ecs(&["source.address"])
        .of_form(Form::Address),
    F::new(Keyword, "what was decided", |alert, _| Value::Plain(alert.action.name()))
        .simple(&["action"])
        .ecs(&["event.action"])
        .cim(&["vendor_action"])
        .one_of(|| Action::ALL.map(Action::name).to_vec()),
    F::new(Float, "the risk score, 0 to 100", |alert, _| Value::Number(alert.risk_score.into()))
        .simple(&["risk_score"])
        .ecs(&["event.risk_score", "event.risk_score_norm"])
        .cim(&["risk_score"]),
    F::new(Keywords, "why, one sentence each, the heaviest first", |alert, _| {
        Value::Texts([&alert.reasons, &[]])
    })
    .simple(&["reasons"])
    .ecs(&["tidegate.alert.reasons"])
    .cim(&["reasons"]),
    F::new(Keyword, "the heaviest reason", |alert, _| {
        Value::text(alert.reasons.first().map(|reason| &**reason))
    })
    .ecs(&["event.reason"])
    .cim(&["reason"]),
    F::new(Keyword, "the alert, the same whenever it is decided again", |alert, origin| {
        Value::Id(alert.id(&origin.observer))
    })
    .ecs(&["event.id"])
    .cim(&["event_id"])
    .of_form(Form::Id),
    F::new(Keyword, "`alert` where it is worth somebody's attention, else `event`", |alert, _| {
        Value::Plain(if alert.details.is_alert { "alert" } else { "event" })
    })
    .ecs(&["event.kind"])
    .one_of(|| vec!["alert", "event"]),
    F::new(Text, "what it is, in one of few ways of saying it", |alert, _| {
        Value::Plain(alert.message())
    })
    .ecs(&["message"]),
    F::new(Long, "how grave it is, as rules of Elastic's have it", |alert, _| {
        Value::Number(match alert.action {
            Action::Log | Action::Unblock | Action::Expire => 21,
            Action::Alert => 47,
            Action::RateLimit | Action::Refused => 73,
            Action::Block | Action::WouldBlock => 99,
        })
    })
    .ecs(&["event.severity"]),
    F::of_run(Keywords, "what it is about", |_, _| {
        Value::Words(&["intrusion_detection", "network"])
    })
    .ecs(&["event.category"]),
    F::new(Keywords, "`denied` where packets are dropped, else `info`", |alert, _| {
        Value::Words(if alert.details.is_in_force { &["denied"] } else { &["info"] })
    })
    .ecs(&["event.type"])
    .one_of(|| vec!["denied", "info"]),
    F::new(Keyword, "`blocked` where packets are dropped, else `allowed`", |alert, _| {
        Value::Plain(if alert.details.is_in_force { "blocked" } else { "allowed" })
    })
    .cim(&["action"])
    .one_of(|| vec!["blocked", "allowed"]),
    F::of_run(Keyword, "what detected it", |_, _| Value::Plain("network")).cim(&["ids_type"]),
    F::new(Keyword, "what kind of attack it speaks of", |alert, _| {
        Value::plain(alert.rule().map(Signal::category))
    })
    .ecs(&["rule.category"])
    .cim(&["category"]),
    F::new(Keyword, "how grave it is, from the risk score", |alert, _| {
        Value::Plain(severity(alert.risk_score))
    })
    .cim(&["severity"])
    .one_of(|| SEVERITIES.to_vec()),
    F::new(Keyword, "a name of the source that leads back to its address", |alert, _| {
        name(alert.names.source.as_deref())
    })
    .simple(&["source_name"])
    .ecs(&["source.domain"])
    .cim(&["src_host"]),
    F::new(Keyword, "where the source's names are from: `passive` or `ptr`", |alert, _| {
        name_origin(alert.names.source.as_deref())
    })
    .ecs(&["tidegate.source.name_origin"])
    .cim(&["src_host_origin"])
    .one_of(name_origins),
    F::new(Ips, "the addresses, to search for either", |alert, _| {
        let destination = alert.details.destination.map(|destination| destination.address);
        match destination {
            Some(destination) if alert.source.is_unspecified() => {
                Value::Addresses(destination, None)
            }
            _ if alert.source.is_unspecified() => Value::Absent,
            _ => Value::Addresses(alert.source, destination),
        }
    })
    .ecs(&["related.ip"]),
    F::new(Keywords, "all names that lead back to the address", |alert, _| reliable(&alert.names))
        .ecs(&["related.hosts"]),
    F::new(Keywords, "names nobody vouches for: no rule may rely on them", |alert, _| {
        unverified(&alert.names)
    })
    .ecs(&["tidegate.ptr.unverified"]),
    F::new(Ip, "what the source contacted most, or what is flooded", |alert, _| destination(alert))
        .ecs(&["destination.ip"])
        .cim(&["dest", "dest_ip"]),
    F::new(Keyword, "what the source contacted most, or what is flooded", |alert, _| {
        destination(alert)
    })
    .ecs(&["destination.address"])
    .of_form(Form::Address),
    F::new(Long, "its port", |alert, _| {
        Value::number(alert.details.destination.and_then(|to| to.port))
    })
    .ecs(&["destination.port"])
    .cim(&["dest_port"]),
    F::new(Keyword, "the transport's IANA keyword", |alert, _| {
        alert.details.destination.map_or(Value::Absent, |to| transport(to.transport))
    })
    .ecs(&["network.transport"])
    .one_of(keywords),
    F::new(Keyword, "the transport's IANA keyword, `icmp` for both versions", |alert, _| {
        alert.details.destination.map_or(Value::Absent, |to| cim_transport(to.transport))
    })
    .cim(&["transport"]),
    F::new(
        Keywords,
        "Community IDs of the flows that were held against the source last, 20 at most",
        |alert, _| match alert.details.community_ids.as_slice() {
            [] => Value::Absent,
            ids => Value::CommunityIds(ids),
        },
    )
    .ecs(&["tidegate.alert.community_ids"])
    .cim(&["community_ids"])
    .of_form(Form::CommunityId),
    F::new(Keyword, "the rule: that of the heaviest signal", |alert, _| {
        Value::plain(alert.rule().map(Signal::rule_id))
    })
    .ecs(&["rule.id"])
    .cim(&["signature_id"]),
    F::new(Keyword, "its name", |alert, _| Value::plain(alert.rule().map(Signal::rule)))
        .ecs(&["rule.name"])
        .cim(&["signature"])
        .one_of(|| Signal::ALL.map(Signal::rule).to_vec()),
    F::new(Keyword, "where it is described", |alert, _| {
        Value::plain(alert.rule().map(Signal::reference))
    })
    .ecs(&["rule.reference"]),
    F::of_run(Keyword, "whose rule it is", |_, _| Value::Plain("tidegate")).ecs(&["rule.ruleset"]),
    F::of_run(Keyword, "the release that the rule is of", |_, _| {
        Value::Text(env!("CARGO_PKG_VERSION"))
    })
    .ecs(&["rule.version"]),
    F::of_run(Keyword, "what names techniques", |_, _| Value::Plain("MITRE ATT&CK"))
        .ecs(&["threat.framework"]),
    F::new(Keywords, "the tactic", |alert, _| words(technique(alert).tactic_id))
        .ecs(&["threat.tactic.id"]),
    F::new(Keywords, "the tactic's name", |alert, _| words(technique(alert).tactic))
        .ecs(&["threat.tactic.name"]),
    F::new(Keywords, "the technique", |alert, _| words(technique(alert).id))
        .ecs(&["threat.technique.id"])
        .cim(&["annotations.mitre_attack.mitre_technique_id"]),
    F::new(Keywords, "the technique's name", |alert, _| words(technique(alert).name))
        .ecs(&["threat.technique.name"]),
    F::new(Keywords, "the signals that say something", |alert, _| signals(alert))
        .ecs(&["tidegate.risk.signals"])
        .cim(&["signals"]),
    F::new(Long, "how sure it is that the source did it, 0 to 100", |alert, _| {
        Value::Number(alert.details.confidence.into())
    })
    .ecs(&["tidegate.risk.confidence"])
    .cim(&["confidence"]),
    F::new(Boolean, "whether a sender that is nobody can have made it up", |alert, _| {
        Value::Bool(alert.details.is_spoofable)
    })
    .ecs(&["tidegate.risk.spoofable"])
    .cim(&["spoofable"]),
    F::new(Long, "what `scan` counted", |alert, _| weight(alert, 0, |weight| weight.value))
        .ecs(&["tidegate.risk.scan.value"]),
    F::new(Long, "from which count on `scan` is full", |alert, _| {
        weight(alert, 0, |weight| weight.threshold)
    })
    .ecs(&["tidegate.risk.scan.threshold"]),
    F::new(Long, "what `scan` adds, of 100 points", |alert, _| {
        weight(alert, 0, |weight| weight.points.into())
    })
    .ecs(&["tidegate.risk.scan.points"]),
    F::new(Long, "what `stealth_flags` counted", |alert, _| {
        weight(alert, 1, |weight| weight.value)
    })
    .ecs(&["tidegate.risk.stealth_flags.value"]),
    F::new(Long, "from which count on `stealth_flags` is full", |alert, _| {
        weight(alert, 1, |weight| weight.threshold)
    })
    .ecs(&["tidegate.risk.stealth_flags.threshold"]),
    F::new(Long, "what `stealth_flags` adds, of 100 points", |alert, _| {
        weight(alert, 1, |weight| weight.points.into())
    })
    .ecs(&["tidegate.risk.stealth_flags.points"]),
    F::new(Long, "what `split_header` counted", |alert, _| weight(alert, 2, |weight| weight.value))
        .ecs(&["tidegate.risk.split_header.value"]),
    F::new(Long, "from which count on `split_header` is full", |alert, _| {
        weight(alert, 2, |weight| weight.threshold)
    })
    .ecs(&["tidegate.risk.split_header.threshold"]),
    F::new(Long, "what `split_header` adds, of 100 points", |alert, _| {
        weight(alert, 2, |weight| weight.points.into())
    })
    .ecs(&["tidegate.risk.split_header.points"]),
    F::new(Long, "what `ack_probe` counted", |alert, _| weight(alert, 3, |weight| weight.value))
        .ecs(&["tidegate.risk.ack_probe.value"]),
    F::new(Long, "from which count on `ack_probe` is full", |alert, _| {
        weight(alert, 3, |weight| weight.threshold)
    })
    .ecs(&["tidegate.risk.ack_probe.threshold"]),
    F::new(Long, "what `ack_probe` adds, of 100 points", |alert, _| {
        weight(alert, 3, |weight| weight.points.into())
    })
    .ecs(&["tidegate.risk.ack_probe.points"]),
    F::new(Long, "what `auth_attempts` counted", |alert, _| {
        weight(alert, 4, |weight| weight.value)
    })
    .ecs(&["tidegate.risk.auth_attempts.value"]),
    F::new(Long, "from which count on `auth_attempts` is full", |alert, _| {
        weight(alert, 4, |weight| weight.threshold)
    })
    .ecs(&["tidegate.risk.auth_attempts.threshold"]),
    F::new(Long, "what `auth_attempts` adds, of 100 points", |alert, _| {
        weight(alert, 4, |weight| weight.points.into())
    })
    .ecs(&["tidegate.risk.auth_attempts.points"]),
    F::new(Long, "what `icmp_sweep` counted", |alert, _| weight(alert, 5, |weight| weight.value))
        .ecs(&["tidegate.risk.icmp_sweep.value"]),
    F::new(Long, "from which count on `icmp_sweep` is full", |alert, _| {
        weight(alert, 5, |weight| weight.threshold)
    })
    .ecs(&["tidegate.risk.icmp_sweep.threshold"]),
    F::new(Long, "what `icmp_sweep` adds, of 100 points", |alert, _| {
        weight(alert, 5, |weight| weight.points.into())
    })
    .ecs(&["tidegate.risk.icmp_sweep.points"]),
    F::new(Long, "what `rate` counted", |alert, _| weight(alert, 6, |weight| weight.value))
        .ecs(&["tidegate.risk.rate.value"]),
    F::new(Long, "from which count on `rate` is full", |alert, _| {
        weight(alert, 6, |weight| weight.threshold)
    })
    .ecs(&["tidegate.risk.rate.threshold"]),
    F::new(Long, "what `rate` adds, of 100 points", |alert, _| {
        weight(alert, 6, |weight| weight.points.into())
    })
    .ecs(&["tidegate.risk.rate.points"]),
    F::new(Long, "what `idle_connections` counted", |alert, _| {
        weight(alert, 7, |weight| weight.value)
    })
    .ecs(&["tidegate.risk.idle_connections.value"]),
    F::new(Long, "from which count on `idle_connections` is full", |alert, _| {
        weight(alert, 7, |weight| weight.threshold)
    })
    .ecs(&["tidegate.risk.idle_connections.threshold"]),
    F::new(Long, "what `idle_connections` adds, of 100 points", |alert, _| {
        weight(alert, 7, |weight| weight.points.into())
    })
    .ecs(&["tidegate.risk.idle_connections.points"]),
    F::new(Long, "what `destination_flood` counted", |alert, _| {
        weight(alert, 8, |weight| weight.value)
    })
    .ecs(&["tidegate.risk.destination_flood.value"]),
    F::new(Long, "from which count on `destination_flood` is full", |alert, _| {
        weight(alert, 8, |weight| weight.threshold)
    })
    .ecs(&["tidegate.risk.destination_flood.threshold"]),
    F::new(Long, "what `destination_flood` adds, of 100 points", |alert, _| {
        weight(alert, 8, |weight| weight.points.into())
    })
    .ecs(&["tidegate.risk.destination_flood.points"]),
    F::new(Keyword, "the verdict, as its store has it", |alert, _| {
        alert.details.verdict.map_or(Value::Absent, |verdict| Value::Id(verdict.id))
    })
    .ecs(&["tidegate.verdict.id"])
    .cim(&["verdict_id"])
    .of_form(Form::Id),
    F::new(Long, "seconds that the verdict holds", |alert, _| {
        Value::number(alert.details.verdict.map(|verdict| verdict.ttl_secs))
    })
    .ecs(&["tidegate.block.ttl_s"])
    .cim(&["ttl"]),
    F::new(
        Long,
        "how often the source has offended before, as far as it is remembered",
        |alert, _| Value::number(alert.details.verdict.map(|verdict| verdict.offence)),
    )
    .ecs(&["tidegate.block.offence"])
    .cim(&["offence"]),
    F::new(Boolean, "whether the source is proven to be at its address", |alert, _| {
        alert.details.verdict.map_or(Value::Absent, |verdict| Value::Bool(verdict.path_proven))
    })
    .ecs(&["tidegate.block.path_proven"])
    .cim(&["path_proven"]),
    F::new(Long, "the port that the verdict is confined to", |alert, _| {
        Value::number(alert.details.verdict.and_then(|verdict| verdict.port))
    })
    .ecs(&["tidegate.block.port"]),
    F::new(Keyword, "who decided", |alert, _| {
        Value::plain(alert.details.verdict.and(alert.rule()).map(|_| "score"))
    })
    .ecs(&["tidegate.verdict.by"]),
    F::new(Keyword, "the hash of the config by which it was decided", |alert, _| {
        Value::text((!alert.details.config_hash.is_empty()).then_some(&*alert.details.config_hash))
    })
    .ecs(&["tidegate.config.hash"]),
    F::new(
        Keyword,
        "the host at risk, where the config asks for it (`alerts.host: asset`); else the sensor, where the \
         traffic is its own",
        |alert, origin| match &alert.details.host {
            Some(host) => Value::Text(host),
            None if origin.is_own_traffic() => Value::Text(&origin.observer),
            None => Value::Absent,
        },
    )
    .ecs(&["host.name"]),
    F::new(Ips, "its addresses; the sensor's are not in a replay", |alert, origin| {
        match (&alert.details.host, alert.details.asset) {
            (Some(_), Some(asset)) => Value::Addresses(asset, None),
            _ => addresses(origin.host()),
        }
    })
    .ecs(&["host.ip"]),
    F::new(Keyword, "the name of the sensor's machine, where `host.name` is its", |alert, origin| {
        Value::text(sensor(alert, origin).map(|machine| &*machine.hostname))
    })
    .ecs(&["host.hostname"]),
    F::new(Keywords, "its link-layer addresses", |alert, origin| {
        sensor(alert, origin).map_or(Value::Absent, |machine| Value::texts(&machine.macs, &[]))
    })
    .ecs(&["host.mac"]),
    F::new(Keyword, "its machine id (`machine-id(5)`)", |alert, origin| {
        Value::text(sensor(alert, origin).and_then(|machine| machine.id.as_deref()))
    })
    .ecs(&["host.id"]),
    F::new(Keyword, "its architecture", |alert, origin| {
        Value::plain(sensor(alert, origin).map(|_| std::env::consts::ARCH))
    })
    .ecs(&["host.architecture"]),
    F::new(Keyword, "the address of ours that is at risk", |alert, _| {
        alert.details.asset.map_or(Value::Absent, Value::Address)
    })
    .cim(&["risk_object"]),
    F::new(Keyword, "what is at risk", |alert, _| {
        Value::plain(alert.details.asset.map(|_| "system"))
    })
    .cim(&["risk_object_type"]),
    F::new(Keyword, "why, as risk-based alerting has it", |alert, _| {
        Value::text(alert.reasons.first().map(|reason| &**reason))
    })
    .cim(&["risk_message"]),
    F::new(Keyword, "what the attacker is", |alert, _| {
        Value::plain((!alert.source.is_unspecified()).then_some("ip_address"))
    })
    .cim(&["threat_object_type"]),
];

impl Fields for Alert {
    const FIELDS: &'static [Field<Self>] = FIELDS;
}

/// The sensor's machine, where it is the host that the alert names.
fn sensor<'a>(alert: &Alert, origin: &'a Origin) -> Option<&'a Machine> {
    origin.host().filter(|_| alert.details.host.is_none())
}

/// Whom it is about; a flood is about its destination.
fn source(alert: &Alert) -> Value<'_> {
    if alert.source.is_unspecified() { Value::Absent } else { Value::Address(alert.source) }
}

fn destination(alert: &Alert) -> Value<'_> {
    alert.details.destination.map_or(Value::Absent, |to| Value::Address(to.address))
}

fn words(words: &'static [&'static str]) -> Value<'static> {
    if words.is_empty() { Value::Absent } else { Value::Words(words) }
}

/// None of a verdict that no signal speaks for.
fn technique(alert: &Alert) -> Technique {
    alert.rule().map_or(Technique::NONE, |rule| rule.technique(alert.details.is_from_inside))
}

fn signals(alert: &Alert) -> Value<'_> {
    let signals = &alert.details.signals;
    if signals.is_empty() { Value::Absent } else { Value::Signals(signals) }
}

/// What is known of a signal by its place in [`Signal::ALL`].
fn weight(alert: &Alert, signal: usize, pick: fn(&Weight) -> u64) -> Value<'_> {
    let weights = alert.details.signals.iter();
    Value::number(weights.into_iter().find(|weight| weight.signal.index() == signal).map(pick))
}

/// CIM's word for a risk score, at the default levels of the judge.
fn severity(risk_score: u8) -> &'static str {
    let [informational, low, medium, high, critical] = SEVERITIES;
    match risk_score {
        0..20 => informational,
        20..40 => low,
        40..60 => medium,
        60..80 => high,
        80.. => critical,
    }
}
