//! Files of blocked networks → verdicts of the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use ipnet::IpNet;
use tracing::{info, warn};

use crate::{
    gate::GateStore,
    networks::{Entry, Fault, Former, Lists, NetworkMap},
    record::{Id, Timestamp},
    verdict::{Action, Answer, By, MAX_REASON_BYTES, Scope, Store, Verdict},
};

/// The files, and what they hold.
#[derive(Debug)]
pub(super) struct BlockLists {
    files: Vec<PathBuf>,
    former: Former,
    read: NetworkMap<Entry>,
    /// Files that could never be read: what an earlier run knew of them holds on.
    unread: Vec<PathBuf>,
    /// Networks of which it was told that they are not blocked.
    refused: BTreeSet<IpNet>,
}

// === impl BlockLists ===

impl BlockLists {
    /// Those of these files, which are not read yet.
    pub(super) fn new(files: &[PathBuf]) -> Self {
        Self {
            files: files.to_vec(),
            former: Former::default(),
            read: NetworkMap::default(),
            unread: Vec::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Reads the files, and tells what is wrong in them by its line; one that can't be read keeps what it held. Waits
    /// for the disk.
    pub(super) fn read(&mut self) {
        let lists = Lists { allow_files: self.files.clone(), ..Lists::default() };
        let (networks, faults) = lists.read_again(&mut self.former);
        let unread = faults.iter().filter(|fault| fault.line.is_none());
        self.unread = unread.map(|Fault { path, .. }| path.clone()).collect();
        for fault in faults {
            warn!("the list of blocked networks {fault}");
        }
        self.read = networks.allow;
        self.refused.clear();
    }

    /// Makes the verdicts of lists those that the files named when they were read: new ones are applied, others taken
    /// back. What is refused is told, and the rest counts.
    pub(super) fn follow(&mut self, store: &GateStore, now: Timestamp) {
        let mut before: BTreeMap<IpNet, Verdict> = store
            .list(now)
            .into_iter()
            .filter(|entry| entry.verdict.by == By::List)
            .map(|entry| (entry.verdict.network, entry.verdict))
            .collect();
        let (mut fresh, mut refused) = (0_usize, BTreeSet::new());
        for (network, entry) in self.read.iter() {
            let verdict = verdict(*network, entry);
            if before.remove(network).is_some_and(|known| known.reasons == verdict.reasons) {
                continue;
            }
            match store.apply(verdict, now) {
                Answer::Applied(_) => fresh += 1,
                Answer::Refused(refusal) => {
                    if !self.refused.contains(network) {
                        warn!("{}: not blocked: {refusal}", entry.place);
                    }
                    refused.insert(*network);
                }
            }
        }
        before.retain(|_, verdict| !self.is_unread(verdict));
        let gone = before.len();
        for network in before.into_keys() {
            store.remove(network, now);
        }
        if fresh + gone > 0 || refused != self.refused {
            info!(fresh, gone, refused = refused.len(), "verdicts of lists");
        }
        self.refused = refused;
    }

    /// Whether a verdict comes of a file that can't be read.
    fn is_unread(&self, verdict: &Verdict) -> bool {
        let names = |path: &PathBuf| {
            let place = format!("{}:", path.display());
            verdict.reasons.iter().any(|reason| reason.contains(&place))
        };
        self.unread.iter().any(names)
    }
}

fn verdict(network: IpNet, entry: &Entry) -> Verdict {
    let Entry { reason, place, .. } = entry;
    let reason = match reason.get(..reason.floor_char_boundary(MAX_REASON_BYTES)) {
        None | Some("") => place.clone(),
        Some(reason) => format!("{reason} ({place})"),
    };
    Verdict {
        id: Id::of("verdict", "list").bytes(network.to_string().as_bytes()).finish(),
        network,
        action: Action::Drop,
        scope: Scope::All,
        port: None,
        ttl: None,
        score: 0,
        offence: 0,
        reasons: vec![reason.into_boxed_str()],
        by: By::List,
    }
}
