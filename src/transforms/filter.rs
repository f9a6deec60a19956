//! `filter`: only the records for which a condition holds go on.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    ack::End,
    batch::Batch,
    component::{
        Asks, Carries, Component, Configure, Context, Error, Outbox, Port, Problem, Signature,
        Transform,
    },
    condition::{Asked, Condition, Predicate},
    record::{Kind, Kinds, Records, Timestamp},
};

/// The kinds that conditions can be asked of.
pub(super) const KINDS: Kinds = Kinds::REPORTS.union(Kinds::of(&[Kind::Contact]));
/// Reason under which records count that the condition does not let through.
const CONDITION: &str = "condition";
/// Reason for records of another kind, which validation keeps away.
pub(super) const WRONG_KIND: &str = "wrong_kind";

/// Lets those records through for which a condition holds. The others are counted as filtered; they
/// are neither lost nor dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What has to hold of a record.
    pub condition: Condition,
}

#[derive(Debug)]
struct Filter {
    predicate: Predicate,
}

// === impl Config ===

impl Configure for Config {
    fn signature(&self) -> Signature {
        Signature::transform(KINDS, Carries::Inputs)
    }

    fn check(&self) -> Vec<Problem> {
        self.condition.compile("condition").err().unwrap_or_default()
    }

    fn asks(&self) -> Vec<Asks> {
        self.condition.asks("condition")
    }

    fn build(&self, _context: &Context) -> Result<Component, Error> {
        Ok(Component::transform(Filter { predicate: compile(&self.condition)? }))
    }
}

/// A condition that was checked, ready to be asked.
pub(super) fn compile(condition: &Condition) -> Result<Predicate, Error> {
    condition.compile("condition").map_err(|problems| {
        let messages: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
        Error::configuration(messages.join("; "))
    })
}

// === impl Filter ===

impl Filter {
    /// The records for which the condition holds, in their order; all of them are not touched.
    fn keep<T: Asked + Clone>(&self, records: Arc<Vec<T>>) -> Arc<Vec<T>> {
        let holds = |record: &T| self.predicate.holds(record);
        let Some(first) = records.iter().position(|record| !holds(record)) else {
            return records;
        };
        match Arc::try_unwrap(records) {
            Ok(mut owned) => {
                let mut rest = owned.split_off(first);
                rest.retain(holds);
                owned.append(&mut rest);
                Arc::new(owned)
            }
            Err(shared) => {
                let (before, rest) = shared.split_at(first);
                let rest = rest.iter().filter(|record| holds(record));
                Arc::new(before.iter().chain(rest).cloned().collect())
            }
        }
    }
}

impl Transform for Filter {
    fn apply(&mut self, batch: Batch, _now: Timestamp, out: &mut Outbox<'_>) {
        let before = batch.records.len() as u64;
        let Batch { records, ack, watermark } = batch;
        let records = match records {
            Records::Packets(packets) => Records::Packets(self.keep(packets)),
            Records::Contacts(contacts) => Records::Contacts(self.keep(contacts)),
            Records::Flows(flows) => Records::Flows(self.keep(flows)),
            Records::Alerts(alerts) => Records::Alerts(self.keep(alerts)),
            Records::Health(health) => Records::Health(self.keep(health)),
            Records::Raw(_) | Records::Frames(_) | Records::Returned(_) => {
                out.dropped(WRONG_KIND, before);
                ack.settle(End::Dropped);
                return;
            }
        };
        out.filtered_for(CONDITION, before.saturating_sub(records.len() as u64));
        out.push(Port::MAIN, Batch { records, ack, watermark });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{ack::Receipts, metrics::Meter, record::Health};

    /// The packet counts of the health records that come out, and how the receipt ended.
    fn pass(filter: &mut Filter, meter: &Meter, records: Arc<Vec<Health>>) -> (Vec<u64>, End) {
        let receipts = Receipts::default();
        let (ack, records) = (receipts.open(), Records::Health(records));
        meter.received(records.len() as u64);
        let mut ready = Vec::new();
        let mut out = Outbox::new(&mut ready, &[true], meter, &receipts);
        filter.apply(Batch { records, ack, watermark: None }, Timestamp::default(), &mut out);
        let (_, batch) = ready.pop().unwrap();
        assert!(ready.is_empty());
        let Records::Health(health) = &batch.records else { panic!("{batch:?}") };
        let packets = health.iter().map(|health| health.packets).collect();
        batch.ack.settle(End::Delivered);
        (packets, End::ALL.into_iter().find(|end| receipts.ended(*end) == 1).unwrap())
    }

    fn reports<const N: usize>(packets: [u64; N]) -> Arc<Vec<Health>> {
        Arc::new(packets.map(|packets| Health { packets, ..Health::default() }).into())
    }

    #[test]
    fn what_the_condition_holds_for_goes_on_and_the_rest_is_counted() {
        let condition = json!({"field": "tidegate.health.packets", "range": {"gte": 5}});
        let predicate = compile(&serde_json::from_value(condition).unwrap()).unwrap();
        let mut filter = Filter { predicate };
        for shared in [false, true] {
            let meter = Meter::new("only", "filter");
            let mut passed = |records| pass(&mut filter, &meter, records);
            let records = reports([7, 1, 8, 5, 4]);
            let other = shared.then(|| Arc::clone(&records));
            assert_eq!(passed(records), (vec![7, 8, 5], End::Delivered));
            assert_eq!(passed(reports([9, 9])), (vec![9, 9], End::Delivered));
            assert_eq!(passed(reports([0])), (vec![], End::Delivered));
            let balance = meter.balance();
            assert_eq!((balance.received, balance.passed, balance.filtered), (8, 5, 3));
            assert_eq!((balance.held, balance.dropped_total()), (0, 0));
            assert!(other.is_none_or(|other| other.len() == 5));
        }
    }
}
