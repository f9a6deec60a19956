//! Logs that a sensor has written to several files one after the other: one judge reads them, for a slow scan
//! spans hours.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{
    log::{Event, Row, in_order},
    observe::Observer,
    open::Input,
};
use crate::{networks::Networks, record::Timestamp, score::Settings};

const SECOND: u64 = 1_000_000_000;
/// Between the last flow of a file and the first of the next one: an hour in which nothing happened has no file.
const MAX_GAP_NANOS: u64 = 2 * 3_600 * SECOND;
/// How much later than it ended a flow may be written: flows without an end are given up after minutes.
const LATE_NANOS: u64 = 900 * SECOND;
/// Times before this (1980) count from the beginning of a capture, and adjoin nothing.
const SINCE: Timestamp = Timestamp::from_nanos(315_532_800_000_000_000);

/// Which kind of program has written a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Writer {
    Zeek,
    Suricata,
    /// Anything that writes ECS.
    Shipper,
}

/// What a log tells, until it is judged.
#[derive(Debug)]
pub(super) struct Log {
    events: Vec<Event>,
    /// Sources of the network that is watched, as far as its rows say so.
    local: HashSet<IpAddr>,
    writer: Writer,
    /// The end of the flow that ended first, and of the one that ended last: files come in this order, while flows
    /// may have begun long before.
    ended: [Timestamp; 2],
}

// === impl Log ===

impl Log {
    pub(super) fn new(writer: Writer, row: &Row) -> Self {
        let (events, local) = Default::default();
        Self { events, local, writer, ended: [row.end(); 2] }
    }

    pub(super) fn add(&mut self, row: &Row) {
        let [first, last] = &mut self.ended;
        (*first, *last) = ((*first).min(row.end()), (*last).max(row.end()));
        if row.is_local && row.source.is_ipv6() {
            self.local.insert(row.source);
        }
        row.events(&mut self.events);
    }

    /// Whether this one, which began no earlier, goes on where `before` ended.
    fn follows(&self, before: &Self) -> bool {
        let [first, last] = self.ended;
        let [first_before, last_before] = before.ended;
        let shorter = last.since(first).min(last_before.since(first_before));
        self.writer == before.writer
            && first_before >= SINCE
            && last >= last_before
            && first.since(last_before) <= MAX_GAP_NANOS
            // Two sensors write at the same time.
            && last_before.since(first) <= LATE_NANOS.max(shorter / 2)
    }
}

/// Judges the logs among the inputs that wait for it. Those that adjoin are judged as one; what comes of it has the
/// first of them.
pub fn judge(inputs: &mut [Input], settings: &Settings, networks: &Arc<Networks>) {
    let waiting = inputs.iter_mut().enumerate();
    let mut logs: Vec<_> =
        waiting.filter_map(|(at, input)| Some((at, input.log.take()?))).collect();
    logs.sort_by_key(|(_, log)| (log.writer, log.ended));
    let mut logs = logs.into_iter().peekable();
    while let Some((at, mut log)) = logs.next() {
        let mut events = std::mem::take(&mut log.events);
        let mut local = std::mem::take(&mut log.local);
        while let Some((_, mut next)) = logs.next_if(|(_, next)| next.follows(&log)) {
            events.append(&mut next.events);
            local.extend(next.local.drain());
            log = next;
        }
        in_order(&mut events);
        let networks = with_local(networks, &local);
        let mut observer = Observer::new(settings.clone(), networks);
        for event in events {
            event.tell(&mut observer);
        }
        if let Some(input) = inputs.get_mut(at) {
            input.judged = observer.finish();
        }
    }
}

/// The networks with those sources inside that a log says are, each by itself: unless others are configured.
fn with_local(networks: &Arc<Networks>, local: &HashSet<IpAddr>) -> Arc<Networks> {
    if local.is_empty() || !networks.internal.is_empty() {
        return Arc::clone(networks);
    }
    let internal = local.iter().copied().map(IpNet::from).collect();
    Arc::new(Networks { internal, ..Networks::clone(networks) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        transforms::score,
        tune::{log::Rows, observe::Gravest},
    };

    /// The verdicts on a source that tries a new port each `every` seconds from `begin` on, by file.
    fn judged(files: &[(&str, u64, u64)]) -> Vec<Option<Gravest>> {
        let mut inputs: Vec<Input> = files
            .iter()
            .map(|(form, begin, every)| {
                let mut input = Input::default();
                for number in 0..6 {
                    let (time, port) = (begin + number * every, begin % 50_000 + number);
                    let line = match *form {
                        "zeek" => format!(
                            r#"{{"ts":{time}.5,"id.orig_h":"10.0.0.1","id.resp_h":"10.0.0.2","id.resp_p":{port},"proto":"tcp","conn_state":"REJ"}}"#
                        ),
                        _ => format!(
                            r#"{{"event_type":"flow","src_ip":"10.0.0.1","dest_ip":"10.0.0.2","dest_port":{port},"proto":"TCP","flow":{{"start":"{}","pkts_toclient":1}}}}"#,
                            jiff::Timestamp::from_second(i64::try_from(time).unwrap()).unwrap()
                        ),
                    };
                    let mut rows = Rows::default();
                    let row = rows.parse(line.as_bytes()).unwrap().unwrap();
                    let log = input.log.get_or_insert_with(|| Log::new(rows.writer().unwrap(), &row));
                    log.add(&row);
                }
                input
            })
            .collect();
        judge(&mut inputs, &score::Config::default().settings().at_once(), &Arc::default());
        let verdict = |input: &Input| input.judged.sources.values().next().map(|met| met.verdict);
        inputs.iter().map(verdict).collect()
    }

    #[test]
    fn a_slow_scan_is_found_over_the_files_that_it_spans() {
        const BEGIN: u64 = 1_700_000_000;
        const HOUR: u64 = 3_600;
        let (alone, found) = (Some(Gravest::None), Some(Gravest::Block));
        for (files, verdicts) in [
            (vec![("zeek", BEGIN, 300)], vec![alone]),
            (vec![("zeek", BEGIN, 300), ("zeek", BEGIN + HOUR, 300)], vec![found, None]),
            // In whatever order they are named.
            (vec![("zeek", BEGIN + HOUR, 300), ("zeek", BEGIN, 300)], vec![None, found]),
            (vec![("eve", BEGIN, 300), ("eve", BEGIN + HOUR, 300)], vec![found, None]),
            // By others, at the same time, a day later, or without a date.
            (vec![("zeek", BEGIN, 300), ("eve", BEGIN + HOUR, 300)], vec![alone, alone]),
            (vec![("zeek", BEGIN, 900), ("zeek", BEGIN + 60, 900)], vec![alone, alone]),
            (vec![("zeek", BEGIN, 300), ("zeek", BEGIN + 24 * HOUR, 300)], vec![alone, alone]),
            (vec![("zeek", 10, 300), ("zeek", 10 + HOUR, 300)], vec![alone, alone]),
        ] {
            assert_eq!(judged(&files), verdicts, "{files:?}");
        }
    }
}
