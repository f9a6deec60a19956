//! An entry of a store as `tidegate verdicts list --json` prints it.

use std::{net::IpAddr, time::Duration};

use serde::Serialize;

use super::{Action, By, Entry, Mode, Scope};
use crate::record::{Id, Timestamp};

/// One line. Seconds are rounded up, so that what still holds never has 0 left.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Listed<'a> {
    address: IpAddr,
    prefix: u8,
    /// The id of the source whose store it is in.
    source: &'a str,
    action: Action,
    scope: Scope,
    /// `None`: all ports.
    port: Option<u16>,
    mode: Mode,
    ttl_s: Option<u64>,
    expires: Option<Timestamp>,
    /// `None`: it does not end by itself.
    remaining_s: Option<u64>,
    packets: u64,
    bytes: u64,
    score: u8,
    offence: u32,
    reasons: &'a [Box<str>],
    by: By,
    id: Id,
}

// === impl Listed ===

impl<'a> Listed<'a> {
    /// `entry` of the store of `source`, at `now`.
    pub fn new(source: &'a str, entry: &'a Entry, now: Timestamp) -> Self {
        let verdict = &entry.verdict;
        let expires = entry.deadline();
        Self {
            address: verdict.network.addr(),
            prefix: verdict.network.prefix_len(),
            source,
            action: verdict.action,
            scope: verdict.scope,
            port: verdict.port,
            mode: entry.mode,
            ttl_s: verdict.ttl.map(whole_secs),
            expires,
            remaining_s: expires.map(|end| whole_secs(Duration::from_nanos(end.since(now)))),
            packets: entry.packets,
            bytes: entry.bytes,
            score: verdict.score,
            offence: verdict.offence,
            reasons: &verdict.reasons,
            by: verdict.by,
            id: verdict.id,
        }
    }
}

fn whole_secs(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::verdict::Verdict;

    #[test]
    fn a_line_has_every_key_of_the_interface() {
        let verdict = Verdict {
            id: Id::of("verdict", "test").finish(),
            network: "2001:db8:1::/64".parse().unwrap(),
            action: Action::RateLimit,
            scope: Scope::New,
            port: None,
            ttl: Some(Duration::from_millis(60_500)),
            score: 66,
            offence: 2,
            reasons: vec!["12 of 14 contacts failed".into()],
            by: By::Score,
        };
        let entry = Entry { packets: 3, bytes: 180, ..Entry::new(verdict, Mode::Observe, at(0)) };
        let line = serde_json::to_value(Listed::new("gate", &entry, at(59_600))).unwrap();
        assert_eq!(
            line,
            json!({
                "address": "2001:db8:1::", "prefix": 64, "source": "gate",
                "action": "rate_limit", "scope": "new", "port": null, "mode": "observe",
                "ttl_s": 61, "expires": "1970-01-01T00:01:00.500Z", "remaining_s": 1,
                "packets": 3, "bytes": 180, "score": 66, "offence": 2,
                "reasons": ["12 of 14 contacts failed"], "by": "score",
                "id": Id::of("verdict", "test").finish().to_string(),
            })
        );
        let forever = Verdict { ttl: None, by: By::Cli, ..entry.verdict };
        let entry = Entry::new(forever, Mode::Enforce, at(0));
        let line = serde_json::to_value(Listed::new("gate", &entry, at(1))).unwrap();
        assert_eq!([&line["ttl_s"], &line["expires"], &line["remaining_s"]], [&json!(null); 3]);
        assert_eq!((&line["mode"], &line["by"]), (&json!("enforce"), &json!("cli")));
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }
}
