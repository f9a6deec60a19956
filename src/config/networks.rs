//! `networks` at the top level → [`Lists`], with what is wrong at its place.

use std::path::PathBuf;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    component::{Clock, Problem},
    document::{interpolate::Surroundings, report::Diagnostic, tree::Node},
    networks::{Entry, Lists, parse_exact},
    record::Timestamp,
};

const NANOS_PER_DAY: u64 = 86_400_000_000_000;

/// Whose networks are whose: read by `flow`, `score`, the source `xdp` and `tidegate tune`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Networks {
    /// Networks and addresses that are inside (none): flows get a direction. `internal_networks` of `flow` wins where it is given.
    pub internal: Vec<String>,
    /// Networks and addresses that are never blocked: each `{cidr, owner, reason}`, of which `owner` and `reason` may be left out.
    pub allow: Vec<Allow>,
    /// Networks and addresses that are not judged, such as our own vulnerability scanner: each `{cidr, owner, reason, expires}`.
    pub ignore: Vec<Ignore>,
    /// Files of further networks that are never blocked: one CIDR or address a line, and behind a `#` why. Bad lines are told and skipped. Read again on SIGHUP.
    #[schemars(extend("format" = "path"))]
    pub allow_files: Vec<PathBuf>,
    /// TCP ports of this host that its administrators come in by: an old session there is not blocked.
    pub admin_ports: Vec<u16>,
}

/// A network that is never blocked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// The network or address.
    pub cidr: String,
    /// Who answers for it.
    #[serde(default)]
    pub owner: String,
    /// Why it is never blocked.
    #[serde(default)]
    pub reason: String,
}

/// A network that is not judged.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ignore {
    /// The network or address.
    pub cidr: String,
    /// Who answers for it.
    pub owner: String,
    /// Why it is not judged.
    pub reason: String,
    /// Until when: a date, which counts to its end (UTC), or a time (RFC 3339).
    pub expires: String,
}

// === impl Networks ===

impl Default for Networks {
    fn default() -> Self {
        Self {
            internal: Vec::new(),
            allow: Vec::new(),
            ignore: Vec::new(),
            allow_files: Vec::new(),
            admin_ports: vec![22],
        }
    }
}

impl Networks {
    /// The lists, without what is wrong in them.
    pub(super) fn lists(
        &self,
        root: &Node,
        surroundings: Surroundings<'_>,
        problems: &mut Vec<Diagnostic>,
    ) -> Lists {
        let mut wrong = Vec::new();
        let lists = Lists {
            internal: self.internal(&mut wrong),
            allow: self.allow(&mut wrong),
            ignore: self.ignore(&mut wrong),
            allow_files: self.allow_files.clone(),
            admin_ports: self.admin_ports.clone(),
        };
        if self.admin_ports.contains(&0) {
            wrong.push(Problem::new("admin_ports", "0 is no port").hint("give 1 to 65535"));
        }
        for Problem { key, message, hint, .. } in wrong {
            let (span, key) = located(root, &key);
            let problem = Diagnostic::error(span, format!("{key}: {message}"));
            problems.push(Diagnostic { hint, ..problem });
        }
        let now = Clock::Wall.now(None);
        for (_, entry) in &lists.ignore {
            if entry.expires.is_some_and(|end| end <= now) {
                let (span, key) = located(root, entry.place.trim_start_matches("networks."));
                let message = format!("{key}: it has expired: its sources are judged again");
                let warning = Diagnostic::warning(span, message);
                problems.push(warning.hint("give a later `expires`, or remove it"));
            }
        }
        if !surroundings.lenient {
            read_files(&lists, root, problems);
        }
        lists
    }

    fn internal(&self, wrong: &mut Vec<Problem>) -> Vec<IpNet> {
        let read = |(at, text): (usize, &String)| network(text, format!("internal[{at}]"), wrong);
        self.internal.iter().enumerate().filter_map(read).collect()
    }

    fn allow(&self, wrong: &mut Vec<Problem>) -> Vec<(IpNet, Entry)> {
        let read = |(at, Allow { cidr, owner, reason }): (usize, &Allow)| {
            let network = network(cidr, format!("allow[{at}].cidr"), wrong)?;
            let place = format!("networks.allow[{at}]");
            let (owner, reason) = (owner.clone(), reason.clone());
            Some((network, Entry { place, owner, reason, expires: None }))
        };
        self.allow.iter().enumerate().filter_map(read).collect()
    }

    fn ignore(&self, wrong: &mut Vec<Problem>) -> Vec<(IpNet, Entry)> {
        let mut entries = Vec::new();
        for (at, Ignore { cidr, owner, reason, expires }) in self.ignore.iter().enumerate() {
            for (key, text) in [("owner", owner), ("reason", reason)] {
                if text.trim().is_empty() {
                    let hint = "say it: nobody else will know why these sources are not judged";
                    let key = format!("ignore[{at}].{key}");
                    wrong.push(Problem::new(key, "the text is empty").hint(hint));
                }
            }
            let end = end(expires);
            if end.is_none() {
                let message = format!("{expires:?} is no date or time");
                let hint = "write it as 2027-01-31 or 2027-01-31T12:00:00Z";
                wrong.push(Problem::new(format!("ignore[{at}].expires"), message).hint(hint));
            }
            let network = network(cidr, format!("ignore[{at}].cidr"), wrong);
            if let (Some(network), Some(_)) = (network, end) {
                let place = format!("networks.ignore[{at}]");
                let (owner, reason) = (owner.clone(), reason.clone());
                entries.push((network, Entry { place, owner, reason, expires: end }));
            }
        }
        entries
    }
}

fn network(text: &str, key: String, wrong: &mut Vec<Problem>) -> Option<IpNet> {
    match parse_exact(text) {
        Ok(network) => Some(network),
        Err((message, hint)) => {
            wrong.push(Problem::new(key, message).hint(hint));
            None
        }
    }
}

/// The moment from which it has expired.
fn end(text: &str) -> Option<Timestamp> {
    let nanos = |time: jiff::Timestamp| i64::try_from(time.as_nanosecond()).ok();
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return nanos(time).map(Timestamp::from_nanos);
    }
    let midnight = format!("{text}T00:00:00Z").parse().ok()?;
    nanos(midnight).map(|time| Timestamp::from_nanos(time).saturating_add(NANOS_PER_DAY))
}

/// Tells what is wrong in the files of `lists`: bad lines are warnings, for the good ones count.
fn read_files(lists: &Lists, root: &Node, problems: &mut Vec<Diagnostic>) {
    let (_, faults) = lists.read();
    for (at, path) in lists.allow_files.iter().enumerate() {
        let (span, key) = located(root, &format!("allow_files[{at}]"));
        for fault in faults.iter().filter(|fault| fault.path == *path) {
            let message = format!("{key}: {fault}");
            let problem = match fault.line {
                Some(_) => Diagnostic::warning(span, message),
                None => Diagnostic::error(span, message),
            };
            problems.push(Diagnostic { hint: fault.hint.clone(), ..problem });
        }
    }
}

/// Where a key below `networks` stands, and its whole name.
fn located(root: &Node, key: &str) -> (crate::document::text::Span, String) {
    let key = format!("networks.{key}");
    (root.locate(&key).unwrap_or(root.span), key)
}

#[cfg(test)]
mod tests;
