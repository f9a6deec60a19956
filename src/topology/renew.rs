//! A config that was read again while its pipeline runs: what of it holds without a restart.
//!
//! Data passes: SIGHUP → the command line loads the file anew → [`Renewer`] → the lists of networks, and for
//! each component what it can take while it runs ([`Configure::renewal`](crate::component::Configure)). A
//! config that can't be used changes nothing.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;

use crate::{
    component::Renewed,
    config::{Components, Config},
    networks::Lists,
};

/// Hands a new config to those who can take it.
#[derive(Debug)]
pub struct Renewer {
    pub(super) lists: watch::Sender<Lists>,
    pub(super) components: HashMap<String, watch::Sender<Option<Renewed>>>,
    /// The hash of the config that holds.
    pub(super) hash: Arc<str>,
}

/// What a new config changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Renewal {
    /// Whether it says anything else than the one before.
    pub is_new: bool,
    /// Components that took something of it.
    pub taken: Vec<String>,
    /// Components that could, and are not in it any more: they go on as before.
    pub missing: Vec<String>,
}

// === impl Renewer ===

impl Renewer {
    /// From now on this config holds, as far as it may without a restart. Lists are read by those who keep
    /// them when they are told to reload.
    pub fn renew(&mut self, config: &Config<Components>) -> Renewal {
        let is_new = self.hash != config.hash;
        self.hash = Arc::clone(&config.hash);
        self.lists.send_replace(config.networks.clone());
        let mut renewal = Renewal { is_new, ..Renewal::default() };
        for (id, sender) in &self.components {
            let declared = config.transforms.iter().find(|transform| transform.id == *id);
            match declared.and_then(|declared| declared.config.configure().renewal()) {
                Some(renewed) => {
                    sender.send_replace(Some(renewed.of(&config.hash)));
                    renewal.taken.push(id.clone());
                }
                None => renewal.missing.push(id.clone()),
            }
        }
        renewal.taken.sort();
        renewal.missing.sort();
        renewal
    }
}
