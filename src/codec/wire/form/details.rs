//! The circumstances of an alert.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    super::values::{Address, Octets, Word},
    text,
};
use crate::record::{
    CommunityId, Destination, Details, Id, Signal, Transport, VerdictDetails, Weight,
};

/// What there is to know of an alert beyond the decision.
#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct DetailsForm<'a> {
    rule: Word<Signal>,
    is_alert: bool,
    is_in_force: bool,
    is_from_inside: bool,
    is_spoofable: bool,
    confidence: u8,
    /// Address, port, transport.
    destination: Option<(Address, Option<u16>, u8)>,
    /// Signal, value, threshold, points.
    signals: Vec<(Word<Signal>, u64, u64, u8)>,
    verdict: Option<VerdictForm>,
    asset: Option<Address>,
    host: Option<Cow<'a, str>>,
    config_hash: Cow<'a, str>,
    /// Since version 2.
    #[serde(default)]
    community_ids: Vec<Octets<20>>,
}

#[derive(Serialize, Deserialize)]
struct VerdictForm {
    id: Octets<16>,
    ttl_secs: u64,
    offence: u32,
    path_proven: bool,
    port: Option<u16>,
}

impl<'a> From<&'a Details> for DetailsForm<'a> {
    fn from(details: &'a Details) -> Self {
        let Details {
            rule,
            is_alert,
            is_in_force,
            is_from_inside,
            is_spoofable,
            confidence,
            destination,
            signals,
            verdict,
            asset,
            host,
            config_hash,
            community_ids,
        } = details;
        let met = |Destination { address, port, transport }| (Address(address), port, transport.0);
        let weight = |Weight { signal, value, threshold, points }: &Weight| {
            (Word(*signal), *value, *threshold, *points)
        };
        Self {
            rule: Word(*rule),
            is_alert: *is_alert,
            is_in_force: *is_in_force,
            is_from_inside: *is_from_inside,
            is_spoofable: *is_spoofable,
            confidence: *confidence,
            destination: destination.map(met),
            signals: signals.iter().map(weight).collect(),
            verdict: verdict.map(Into::into),
            asset: asset.map(Address),
            host: host.as_deref().map(text),
            config_hash: text(config_hash),
            community_ids: community_ids.iter().map(|id| Octets(*id.bytes())).collect(),
        }
    }
}

impl From<DetailsForm<'_>> for Details {
    fn from(form: DetailsForm<'_>) -> Self {
        let met = |(address, port, transport): (Address, _, _)| Destination {
            address: address.0,
            port,
            transport: Transport(transport),
        };
        let weight = |(signal, value, threshold, points): (Word<Signal>, _, _, _)| Weight {
            signal: signal.0,
            value,
            threshold,
            points,
        };
        let ids = form.community_ids.into_iter();
        Self {
            rule: form.rule.0,
            is_alert: form.is_alert,
            is_in_force: form.is_in_force,
            is_from_inside: form.is_from_inside,
            is_spoofable: form.is_spoofable,
            confidence: form.confidence,
            destination: form.destination.map(met),
            signals: form.signals.into_iter().map(weight).collect(),
            verdict: form.verdict.map(Into::into),
            asset: form.asset.map(|address| address.0),
            host: form.host.map(Into::into),
            config_hash: form.config_hash.into(),
            community_ids: ids.map(|id| CommunityId::from_bytes(id.0)).collect(),
        }
    }
}

impl From<VerdictDetails> for VerdictForm {
    fn from(details: VerdictDetails) -> Self {
        let VerdictDetails { id, ttl_secs, offence, path_proven, port } = details;
        Self { id: Octets(*id.bytes()), ttl_secs, offence, path_proven, port }
    }
}

impl From<VerdictForm> for VerdictDetails {
    fn from(form: VerdictForm) -> Self {
        let VerdictForm { id, ttl_secs, offence, path_proven, port } = form;
        Self { id: Id::from_bytes(id.0), ttl_secs, offence, path_proven, port }
    }
}
