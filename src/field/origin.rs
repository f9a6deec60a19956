//! What all records of a run have in common: who saw them, and where they are going.

use std::sync::Arc;

use crate::{
    component::{Clock, Context, Machine, View},
    record::{Added, Kind, Timestamp},
};

/// What all records of a run have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The sensor's name.
    pub(crate) observer: Arc<str>,
    /// A name of the sensor that no other sensor has: a hash of its name.
    pub(crate) agent: Box<str>,
    /// Of each kind, by [`Kind`]: the data set.
    pub(crate) datasets: [Box<str>; Kind::ALL.len()],
    /// The data stream's namespace.
    pub(crate) namespace: Box<str>,
    /// The interface they were captured on.
    pub(crate) interface: Option<Arc<str>>,
    /// The sensor's machine.
    machine: Arc<Machine>,
    clock: Clock,
    /// What the config adds to every record.
    pub(crate) added: Added,
}

// === impl Origin ===

impl Origin {
    /// Records of `observer`, in data sets named after their kind, in the namespace `default`.
    pub fn new(observer: &str, clock: Clock) -> Self {
        let agent = crate::record::Id::of("agent", observer).finish();
        Self {
            observer: observer.into(),
            agent: agent.to_string().into(),
            datasets: Kind::ALL.map(|kind| format!("tidegate.{kind}").into()),
            namespace: "default".into(),
            interface: None,
            machine: Arc::default(),
            clock,
            added: Added::default(),
        }
    }

    /// Records of the run a component is built for.
    pub fn of(context: &Context) -> Self {
        let (interface, machine) = (context.interface.clone(), Arc::clone(&context.machine));
        let added = Added::clone(&context.added);
        Self { interface, machine, added, ..Self::new(&context.observer, context.clock) }
    }

    /// The machine that records are made on. None in a replay, whose output is the same on any.
    pub(crate) fn machine(&self) -> Option<&Machine> {
        (self.clock == Clock::Wall && !self.machine.hostname.is_empty()).then_some(&*self.machine)
    }

    /// The same, if the traffic is its own.
    pub(crate) fn host(&self) -> Option<&Machine> {
        self.machine().filter(|_| self.is_own_traffic())
    }

    /// Whether what is seen is the machine's own traffic.
    pub(crate) fn is_own_traffic(&self) -> bool {
        self.machine.view == View::Host
    }

    /// Records of another sensor, whose machine is not known.
    #[must_use]
    pub(crate) fn of_other(&self, observer: &Arc<str>) -> Self {
        let Self { datasets, namespace, added, .. } = self.clone();
        Self { datasets, namespace, added, ..Self::new(observer, self.clock) }
    }

    /// Names the data stream they go to: the data set of all kinds, if it is not each kind's own,
    /// and the namespace.
    #[must_use]
    pub fn in_data_stream(mut self, dataset: Option<&str>, namespace: &str) -> Self {
        if let Some(dataset) = dataset {
            self.datasets = Kind::ALL.map(|_| dataset.into());
        }
        self.namespace = namespace.into();
        self
    }

    /// Adds what a sink has of its own.
    #[must_use]
    pub fn adding(mut self, own: &Added) -> Self {
        self.added = own.over(&self.added);
        self
    }

    /// The data set of a kind of record.
    pub(crate) fn dataset(&self, kind: Kind) -> &str {
        self.datasets.get(kind as usize).map_or("", |dataset| dataset)
    }

    /// When a record that is written now was made. None in a replay: its output is the same whenever
    /// it runs.
    pub(crate) fn created(&self) -> Option<Timestamp> {
        match self.clock {
            Clock::Wall => Some(self.clock.now(None)),
            Clock::Event => None,
        }
    }
}
