//! Files of blocked networks → verdicts of the store.

use std::{collections::BTreeMap, path::PathBuf};

use ipnet::IpNet;
use tracing::{info, warn};

use crate::{
    gate::GateStore,
    networks::Lists,
    record::{Id, Timestamp},
    verdict::{Action, Answer, By, Scope, Store, Verdict},
};

/// Makes the verdicts of lists those that the files name: new ones are applied, others taken back. What is
/// wrong in a file, or refused, is told by its line, and the rest counts. Waits for the disk.
pub(super) fn follow(store: &GateStore, files: &[PathBuf], now: Timestamp) {
    let lists = Lists { allow_files: files.to_vec(), ..Lists::default() };
    let (read, faults) = lists.read();
    for fault in faults {
        warn!("the list of blocked networks {fault}");
    }
    let mut before: BTreeMap<IpNet, Verdict> = store
        .list(now)
        .into_iter()
        .filter(|entry| entry.verdict.by == By::List)
        .map(|entry| (entry.verdict.network, entry.verdict))
        .collect();
    let (mut fresh, mut refused) = (0_usize, 0_usize);
    for (network, entry) in read.allow.iter() {
        let reason = if entry.reason.is_empty() {
            entry.place.clone()
        } else {
            format!("{} ({})", entry.reason, entry.place)
        };
        let reasons = vec![reason.into_boxed_str()];
        if before.remove(network).is_some_and(|verdict| verdict.reasons == reasons) {
            continue;
        }
        let verdict = Verdict {
            id: Id::of("verdict", "list").bytes(network.to_string().as_bytes()).finish(),
            network: *network,
            action: Action::Drop,
            scope: Scope::All,
            port: None,
            ttl: None,
            score: 0,
            offence: 0,
            reasons,
            by: By::List,
        };
        match store.apply(verdict, now) {
            Answer::Applied(_) => fresh += 1,
            Answer::Refused(refusal) => {
                refused += 1;
                warn!("{}: not blocked: {refusal}", entry.place);
            }
        }
    }
    let gone = before.len();
    for network in before.into_keys() {
        store.remove(network, now);
    }
    if fresh + gone + refused > 0 {
        info!(fresh, gone, refused, "verdicts of lists");
    }
}
