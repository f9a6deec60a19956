//! The fields of alerts.

use super::{
    Field, Fields,
    Type::{Date, Float, Ip, Ips, Keyword, Keywords},
    Value,
    shared::{name, name_origin, name_origins, reliable, unverified},
    texts::Form,
};
use crate::record::{Action, Alert};

type F = Field<Alert>;

/// CIM's words for risk scores.
const SEVERITIES: [&str; 5] = ["informational", "low", "medium", "high", "critical"];

/// An alert. The order is that of the simple schema.
const FIELDS: &[Field<Alert>] = &[
    F::new(Date, "when it was decided", |alert, _| Value::Time(alert.time))
        .simple(&["timestamp"])
        .ecs(&["@timestamp"])
        .cim(&["timestamp"]),
    F::new(Ip, "whom it is about", |alert, _| Value::Address(alert.source))
        .simple(&["source_ip"])
        .ecs(&["source.ip"])
        .cim(&["src", "src_ip"]),
    F::new(Keyword, "whom it is about", |alert, _| Value::Address(alert.source))
        .ecs(&["source.address"])
        .of_form(Form::Address),
    F::new(Keyword, "what was decided", |alert, _| Value::Plain(alert.action.name()))
        .simple(&["action"])
        .ecs(&["event.action"])
        .cim(&["signature", "vendor_action"])
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
    F::of_run(Keyword, "what the document is", |_, _| Value::Plain("alert")).ecs(&["event.kind"]),
    F::of_run(Keywords, "what it is about", |_, _| {
        Value::Words(&["intrusion_detection", "network"])
    })
    .ecs(&["event.category"]),
    F::new(Keywords, "`denied` where packets are dropped, else `info`", |alert, _| {
        Value::Words(if alert.action == Action::Block { &["denied"] } else { &["info"] })
    })
    .ecs(&["event.type"])
    .one_of(|| vec!["denied", "info"]),
    F::new(Keyword, "`blocked` where packets are dropped, else `allowed`", |alert, _| {
        Value::Plain(if alert.action == Action::Block { "blocked" } else { "allowed" })
    })
    .cim(&["action"])
    .one_of(|| vec!["blocked", "allowed"]),
    F::of_run(Keyword, "what detected it", |_, _| Value::Plain("network")).cim(&["ids_type"]),
    F::of_run(Keyword, "what kind of detection it is", |_, _| Value::Plain("behaviour"))
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
    F::new(Ips, "the address, to search for", |alert, _| Value::Addresses(alert.source, None))
        .ecs(&["related.ip"]),
    F::new(Keywords, "all names that lead back to the address", |alert, _| reliable(&alert.names))
        .ecs(&["related.hosts"]),
    F::new(Keywords, "names nobody vouches for: no rule may rely on them", |alert, _| {
        unverified(&alert.names)
    })
    .ecs(&["tidegate.ptr.unverified"]),
];

impl Fields for Alert {
    const FIELDS: &'static [Field<Self>] = FIELDS;
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
