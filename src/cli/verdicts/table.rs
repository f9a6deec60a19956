//! Verdicts on stdout: a table for people, objects for programs.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    record::Timestamp,
    verdict::{Action, By, Entry, Listed, Mode, Scope, Why},
};

/// One object a line, as INTERFACE has it; of what has ended also when and why.
pub(super) fn json(entries: &[(&str, Entry)], now: Timestamp) -> String {
    let line = |(source, entry): &(&str, Entry)| {
        let mut line = serde_json::to_value(Listed::new(source, entry, now)).unwrap_or(Value::Null);
        if let (Some(ended), Some(object)) = (entry.ended, line.as_object_mut()) {
            object.insert("ended".to_owned(), json!(ended.at));
            object.insert("why".to_owned(), why(ended.why).into());
        }
        format!("{line}\n")
    };
    entries.iter().map(line).collect()
}

/// A table whose columns are as wide as what stands in them. `with_id`: also what records name a verdict by.
pub(super) fn text(entries: &[(&str, Entry)], now: Timestamp, with_id: bool) -> String {
    let head = [
        "ADDRESS", "ACTION", "SCOPE", "MODE", "LEFT", "PACKETS", "BYTES", "SCORE", "BY", "SOURCE",
        "ID", "REASONS",
    ];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(entries.iter().map(|(source, entry)| row(source, entry, now)));
    let shown = |column: &usize| with_id || head[*column] != "ID";
    let columns: Vec<_> = (0..head.len()).filter(shown).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths = head.iter().enumerate().map(|(column, _)| width(column).unwrap_or(0));
    let widths: Vec<_> = widths.collect();
    let line = |row: &[String; 12]| {
        let cells = columns.iter().map(|at| format!("{:<width$}", row[*at], width = widths[*at]));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn row(source: &str, entry: &Entry, now: Timestamp) -> [String; 12] {
    let verdict = &entry.verdict;
    let network = verdict.network;
    let is_address = network.prefix_len() == network.max_prefix_len();
    let address = if is_address { network.addr().to_string() } else { network.to_string() };
    let scope = match verdict.scope {
        Scope::All => "all",
        Scope::New => "new",
    };
    let left = match (entry.ended, entry.deadline()) {
        (Some(ended), _) => why(ended.why).to_owned(),
        (None, None) => "no end".to_owned(),
        (None, Some(end)) if end <= now => why(Why::Expired).to_owned(),
        (None, Some(end)) => left(Duration::from_nanos(end.since(now))),
    };
    [
        address,
        match verdict.action {
            Action::Drop => "drop",
            Action::RateLimit => "rate_limit",
        }
        .to_owned(),
        verdict.port.map_or_else(|| scope.to_owned(), |port| format!("{scope}:{port}")),
        match entry.mode {
            Mode::Observe => "observe",
            Mode::Enforce => "enforce",
        }
        .to_owned(),
        left,
        entry.packets.to_string(),
        entry.bytes.to_string(),
        verdict.score.to_string(),
        match verdict.by {
            By::Score => "score",
            By::Guard => "guard",
            By::Cli => "cli",
            By::List => "list",
        }
        .to_owned(),
        source.to_owned(),
        verdict.id.to_string(),
        // A reason may come from a list that somebody else writes.
        verdict.reasons.join("; ").replace(char::is_control, " "),
    ]
}

fn why(why: Why) -> &'static str {
    match why {
        Why::Expired => "expired",
        Why::Removed => "removed",
        Why::Allowed => "allowed",
    }
}

/// `59 s`, `4 min 5 s`, `3 h 7 min`, rounded up to whole seconds.
fn left(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record::Id, verdict::Verdict};

    #[test]
    fn a_table_has_the_hits_and_the_time_that_is_left() {
        let verdict = Verdict {
            id: Id::of("verdict", "test").finish(),
            network: "203.0.113.7/32".parse().unwrap(),
            action: Action::Drop,
            scope: Scope::New,
            port: Some(22),
            ttl: Some(Duration::from_mins(5)),
            score: 85,
            offence: 0,
            reasons: vec!["a scan\u{1b}[31m".into(), "odd flags".into()],
            by: By::Score,
        };
        let start = Timestamp::from_nanos(0);
        let entry = Entry { packets: 12, bytes: 720, ..Entry::new(verdict, Mode::Enforce, start) };
        let listed = [("gate", entry)];
        let now = Timestamp::from_nanos(55_500_000_000);
        let table = text(&listed, now, false);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(
            lines[1].split_whitespace().collect::<Vec<_>>().join(" "),
            "203.0.113.7 drop new:22 enforce 4 min 5 s 12 720 85 score gate a scan [31m; odd flags"
        );
        assert_eq!(lines[0].find("PACKETS"), lines[1].find("12 "));
        let explained = text(&listed, now, true);
        let id = listed[0].1.verdict.id.to_string();
        let places = explained.lines().map(|line| line.find("ID").or_else(|| line.find(&id)));
        assert!(places.clone().all(|place| place == explained.find("ID")), "{explained}");
        for (seconds, said) in [(1, "1 s"), (60, "1 min 0 s"), (3_660, "1 h 1 min")] {
            assert_eq!(left(Duration::from_secs(seconds)), said);
        }
    }
}
