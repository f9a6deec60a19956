//! Alerts, health records, and records that come again.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    super::values::{Address, Blob, NamesForm, PointForm, Word},
    details::DetailsForm,
    text,
};
use crate::{
    metrics::{Label, LossCause},
    record::{
        Action, Alert, ClockState, GateStates, Health, Kind, MapFill, ObservationPoint, Returned,
        Timestamp,
    },
};

/// The cause under which losses are told whose cause only a newer version knows.
const OTHER_CAUSE: &str = "other";

/// An alert.
#[derive(Serialize, Deserialize)]
pub(in crate::codec::wire) struct AlertForm<'a> {
    time: i64,
    origin: PointForm<'a>,
    source: Address,
    action: Word<Action>,
    risk_score: u8,
    reasons: Vec<Cow<'a, str>>,
    ordinal: u32,
    names: NamesForm<'a>,
    details: DetailsForm<'a>,
}

/// A health record.
#[derive(Serialize, Deserialize)]
pub(in crate::codec::wire) struct HealthForm<'a> {
    time: i64,
    interval_nanos: u64,
    uptime_nanos: u64,
    packets: u64,
    lost: Vec<(Cow<'a, str>, u64)>,
    unknown_losses: u64,
    delivered: u64,
    dead_lettered: u64,
    filtered: u64,
    dropped: u64,
    waiting_events: u64,
    waiting_bytes: u64,
    /// Entries, capacity.
    verdict_map: Option<(u64, u64)>,
    /// Nanoseconds off, whether it is synchronised.
    clock: Option<(i64, bool)>,
    config_hash: Cow<'a, str>,
    /// Since version 4: interfaces, modes and attachments of gates.
    #[serde(default)]
    gates: [Vec<Cow<'a, str>>; 3],
}

/// A record on its way a second time.
#[derive(Serialize, Deserialize)]
pub(in crate::codec::wire) struct ReturnedForm<'a> {
    kind: Word<Kind>,
    time: Option<i64>,
    id: Option<Cow<'a, str>>,
    document: Blob<'a>,
}

// === alerts, health, returned ===

impl<'a> From<&'a Alert> for AlertForm<'a> {
    fn from(alert: &'a Alert) -> Self {
        let Alert { time, origin, source, action, risk_score, reasons, ordinal, names, details } =
            alert;
        Self {
            time: time.nanos(),
            origin: (*origin).into(),
            source: Address(*source),
            action: Word(*action),
            risk_score: *risk_score,
            reasons: reasons.iter().map(|reason| text(reason)).collect(),
            ordinal: *ordinal,
            names: names.into(),
            details: (&**details).into(),
        }
    }
}

impl From<AlertForm<'_>> for Alert {
    fn from(form: AlertForm<'_>) -> Self {
        Self {
            time: Timestamp::from_nanos(form.time),
            origin: form.origin.into(),
            source: form.source.0,
            action: form.action.0,
            risk_score: form.risk_score,
            reasons: form.reasons.into_iter().map(Into::into).collect(),
            ordinal: form.ordinal,
            names: form.names.into(),
            details: Box::new(form.details.into()),
        }
    }
}

impl<'a> From<&'a Health> for HealthForm<'a> {
    fn from(health: &'a Health) -> Self {
        let Health {
            time,
            interval_nanos,
            uptime_nanos,
            packets,
            lost,
            unknown_losses,
            delivered,
            dead_lettered,
            filtered,
            dropped,
            waiting_events,
            waiting_bytes,
            verdict_map,
            gates,
            clock,
            config_hash,
            // Whose it is stands around the form.
            origin: _,
        } = health;
        let fill = |MapFill { entries, capacity }| (entries, capacity);
        let state = |ClockState { offset_nanos, synchronised }| (offset_nanos, synchronised);
        Self {
            time: time.nanos(),
            interval_nanos: *interval_nanos,
            uptime_nanos: *uptime_nanos,
            packets: *packets,
            lost: lost.iter().map(|(cause, n)| (text(cause), *n)).collect(),
            unknown_losses: *unknown_losses,
            delivered: *delivered,
            dead_lettered: *dead_lettered,
            filtered: *filtered,
            dropped: *dropped,
            waiting_events: *waiting_events,
            waiting_bytes: *waiting_bytes,
            verdict_map: verdict_map.map(fill),
            clock: clock.map(state),
            config_hash: text(config_hash),
            gates: gates.lists().map(|list| list.iter().map(|word| text(word)).collect()),
        }
    }
}

impl From<HealthForm<'_>> for Health {
    fn from(form: HealthForm<'_>) -> Self {
        let known = |name: &str| {
            let cause = LossCause::ALL.into_iter().map(Label::name).find(|cause| *cause == name);
            cause.unwrap_or(OTHER_CAUSE)
        };
        let fill = |(entries, capacity)| MapFill { entries, capacity };
        let state = |(offset_nanos, synchronised)| ClockState { offset_nanos, synchronised };
        let list = |words: Vec<Cow<'_, str>>| words.into_iter().map(Into::into).collect();
        let [interfaces, modes, attached] = form.gates.map(list);
        Self {
            time: Timestamp::from_nanos(form.time),
            interval_nanos: form.interval_nanos,
            uptime_nanos: form.uptime_nanos,
            packets: form.packets,
            lost: form.lost.iter().map(|(cause, n)| (known(cause), *n)).collect(),
            unknown_losses: form.unknown_losses,
            delivered: form.delivered,
            dead_lettered: form.dead_lettered,
            filtered: form.filtered,
            dropped: form.dropped,
            waiting_events: form.waiting_events,
            waiting_bytes: form.waiting_bytes,
            verdict_map: form.verdict_map.map(fill),
            gates: GateStates { interfaces, modes, attached },
            clock: form.clock.map(state),
            config_hash: form.config_hash.into(),
            origin: ObservationPoint::default(),
        }
    }
}

impl<'a> From<&'a Returned> for ReturnedForm<'a> {
    fn from(returned: &'a Returned) -> Self {
        let Returned { kind, time, id, document } = returned;
        Self {
            kind: Word(*kind),
            time: time.map(Timestamp::nanos),
            id: id.as_deref().map(text),
            document: Blob(Cow::Borrowed(document)),
        }
    }
}

impl From<ReturnedForm<'_>> for Returned {
    fn from(form: ReturnedForm<'_>) -> Self {
        Self {
            kind: form.kind.0,
            time: form.time.map(Timestamp::from_nanos),
            id: form.id.map(Into::into),
            document: form.document.0.into_owned().into(),
        }
    }
}
