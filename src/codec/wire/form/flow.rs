//! Flows.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{
    super::values::{Address, Letters, NamesForm, Octets, PointForm, Word},
    shared, text,
};
use crate::record::{
    CommunityId, ConnState, Denied, Direction, EndReason, Endpoint, Flow, FlowTags, Icmp, Id,
    MacAddress, TcpFlags, Timestamp, Transport, Vlans,
};

/// A flow.
#[derive(Serialize, Deserialize)]
pub(in crate::codec::wire) struct FlowForm<'a> {
    id: Octets<16>,
    sequence: u32,
    began: i64,
    start: i64,
    end: i64,
    transport: u8,
    initiator: EndpointForm,
    responder: EndpointForm,
    origin: PointForm<'a>,
    vlans: [u16; 2],
    icmp: Option<[u8; 2]>,
    conn_state: Word<ConnState>,
    history: Letters,
    end_reason: Word<EndReason>,
    protocol: Option<Cow<'a, str>>,
    question: Option<Cow<'a, str>>,
    server_name: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
    direction: Option<Word<Direction>>,
    community_id: Octets<20>,
    related_community_ids: Vec<Octets<20>>,
    parent: Option<Octets<16>>,
    tags: u8,
    risk: Option<u8>,
    names: NamesForm<'a>,
    /// Since version 3.
    #[serde(default)]
    denied: Option<DeniedForm>,
}

#[derive(Serialize, Deserialize)]
struct DeniedForm {
    verdict: Option<Octets<16>>,
}

#[derive(Serialize, Deserialize)]
struct EndpointForm {
    address: Address,
    port: Option<u16>,
    mac: Option<Octets<6>>,
    packets: u64,
    bytes: u64,
    tcp_flags: u16,
}

// === flows ===

impl<'a> From<&'a Flow> for FlowForm<'a> {
    fn from(flow: &'a Flow) -> Self {
        let Flow {
            id,
            sequence,
            began,
            start,
            end,
            transport,
            initiator,
            responder,
            origin,
            vlans,
            icmp,
            conn_state,
            history,
            end_reason,
            protocol,
            question,
            server_name,
            host,
            direction,
            community_id,
            related_community_ids,
            parent,
            tags,
            risk,
            names,
            denied,
        } = flow;
        let related = related_community_ids.iter().map(|id| Octets(*id.bytes()));
        Self {
            id: Octets(*id.bytes()),
            sequence: *sequence,
            began: began.nanos(),
            start: start.nanos(),
            end: end.nanos(),
            transport: transport.0,
            initiator: initiator.into(),
            responder: responder.into(),
            origin: (*origin).into(),
            vlans: vlans.words(),
            icmp: icmp.map(|Icmp { kind, code }| [kind, code]),
            conn_state: Word(*conn_state),
            history: Letters(*history),
            end_reason: Word(*end_reason),
            protocol: protocol.as_deref().map(text),
            question: question.as_deref().map(text),
            server_name: server_name.as_deref().map(text),
            host: host.as_deref().map(text),
            direction: direction.map(Word),
            community_id: Octets(*community_id.bytes()),
            related_community_ids: related.collect(),
            parent: parent.map(|id| Octets(*id.bytes())),
            tags: tags.0,
            risk: *risk,
            names: names.into(),
            denied: denied.as_ref().map(DeniedForm::from),
        }
    }
}

impl From<FlowForm<'_>> for Flow {
    fn from(form: FlowForm<'_>) -> Self {
        let related = form.related_community_ids.into_iter();
        Self {
            id: Id::from_bytes(form.id.0),
            sequence: form.sequence,
            began: Timestamp::from_nanos(form.began),
            start: Timestamp::from_nanos(form.start),
            end: Timestamp::from_nanos(form.end),
            transport: Transport(form.transport),
            initiator: form.initiator.into(),
            responder: form.responder.into(),
            origin: form.origin.into(),
            vlans: Vlans::from_words(form.vlans),
            icmp: form.icmp.map(|[kind, code]| Icmp { kind, code }),
            conn_state: form.conn_state.0,
            history: form.history.0,
            end_reason: form.end_reason.0,
            protocol: shared(form.protocol),
            question: shared(form.question),
            server_name: shared(form.server_name),
            host: shared(form.host),
            direction: form.direction.map(|direction| direction.0),
            community_id: CommunityId::from_bytes(form.community_id.0),
            related_community_ids: related.map(|id| CommunityId::from_bytes(id.0)).collect(),
            parent: form.parent.map(|id| Id::from_bytes(id.0)),
            tags: FlowTags(form.tags),
            risk: form.risk,
            names: form.names.into(),
            denied: form.denied.map(Denied::from),
        }
    }
}

impl From<&Endpoint> for EndpointForm {
    fn from(endpoint: &Endpoint) -> Self {
        let Endpoint { address, port, mac, packets, bytes, tcp_flags } = *endpoint;
        let mac = mac.map(|mac| Octets(mac.0));
        Self { address: Address(address), port, mac, packets, bytes, tcp_flags: tcp_flags.0 }
    }
}

impl From<EndpointForm> for Endpoint {
    fn from(form: EndpointForm) -> Self {
        let EndpointForm { address, port, mac, packets, bytes, tcp_flags } = form;
        let (mac, tcp_flags) = (mac.map(|mac| MacAddress(mac.0)), TcpFlags(tcp_flags));
        Self { address: address.0, port, mac, packets, bytes, tcp_flags }
    }
}

impl From<&Denied> for DeniedForm {
    fn from(denied: &Denied) -> Self {
        let Denied { verdict } = denied;
        Self { verdict: verdict.map(|id| Octets(*id.bytes())) }
    }
}

impl From<DeniedForm> for Denied {
    fn from(form: DeniedForm) -> Self {
        Self { verdict: form.verdict.map(|id| Id::from_bytes(id.0)) }
    }
}
