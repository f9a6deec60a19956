//! Verdict stores: offered by sources while they are built, handed to those who act through them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::sync::watch;

use crate::{
    component::{Clock, Component, Error, Reference},
    networks::Networks,
    verdict::{MemoryStore, Mode, Store},
};

/// Verdicts at once in a replay's store: what a firewall has room for where the config says nothing.
const MAX_VERDICTS: usize = 65_536;

/// The stores of a run.
#[derive(Debug, Default)]
pub(super) struct Stores(HashMap<String, Arc<dyn Store>>);

// === impl Stores ===

impl Stores {
    /// Takes what a source offers, if it does.
    pub(super) fn offered(&mut self, id: &str, component: &Component) {
        if let Component::Source(_, Some(store)) = component {
            self.0.insert(id.to_owned(), Arc::clone(store));
        }
    }

    /// The stores of the sources that a component acts through. In a replay the sources don't run: one
    /// in memory stands in for each, the same for all who name it.
    ///
    /// # Errors
    /// When a source offers none: a bug, for its config said that it would.
    pub(super) fn of(
        &mut self,
        references: &[Reference],
        clock: Clock,
        networks: &watch::Receiver<Arc<Networks>>,
    ) -> Result<BTreeMap<String, Arc<dyn Store>>, Error> {
        let mut stores = BTreeMap::new();
        for Reference { id, .. } in references {
            let store = match (self.0.get(id), clock) {
                (Some(store), _) => Arc::clone(store),
                (None, Clock::Event) => {
                    let memory = MemoryStore::new(MAX_VERDICTS, Mode::Observe, networks.clone());
                    let store: Arc<dyn Store> = Arc::new(memory);
                    Arc::clone(self.0.entry(id.clone()).or_insert(store))
                }
                (None, Clock::Wall) => {
                    return Err(Error::failure(format!("`{id}` offers no store for verdicts")));
                }
            };
            stores.insert(id.clone(), store);
        }
        Ok(stores)
    }
}
