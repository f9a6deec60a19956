//! The measurement for a terminal.

use std::fmt::Write as _;

use super::{
    measure::{Measured, SourceOutcome},
    observe::Gravest,
};

/// The measurement as a table: sources, then thresholds.
pub fn table(measured: &Measured) -> String {
    let mut text = String::new();
    let put = |text: &mut String, line: &str| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    let heading = format!(
        "{:<39} {:<10} {:<30} {:<10} {:>5} {:>9} {:>7}  why",
        "source", "label", "scenario", "verdict", "score", "block s", "packets"
    );
    if measured.sources.is_empty() {
        put(&mut text, "No source would be alerted on, limited or blocked, and none has a label.");
    } else {
        put(&mut text, &heading);
    }
    let mut sources: Vec<_> = measured.sources.iter().collect();
    sources.sort_by_key(|source| (std::cmp::Reverse(source.verdict), source.src));
    for source in sources {
        put(&mut text, &row(source));
    }
    let unknown = measured
        .sources
        .iter()
        .filter(|source| source.label.is_none() && source.verdict >= Gravest::RateLimit);
    let unknown: Vec<_> = unknown.map(|source| source.src.to_string()).collect();
    if !unknown.is_empty() {
        let line = format!(
            "\nWithout a label, and limited or blocked: {}. Are any of these yours? Put them into \
             `networks.allow`, or label them benign and tune again.",
            unknown.join(", ")
        );
        put(&mut text, &line);
    }
    if measured.recommended_threshold.is_some() {
        put(&mut text, "\nthreshold   tp   fp   fn   tn  precision  recall  fpr (95 %)");
        for at in &measured.thresholds {
            let share = |share: Option<f64>| share.map_or("-".to_owned(), |it| format!("{it:.3}"));
            let line = format!(
                "{:>9} {:>4} {:>4} {:>4} {:>4} {:>10} {:>7}  {} ({:.3} to {:.3})",
                at.threshold,
                at.tp,
                at.fp,
                at.r#fn,
                at.tn,
                share(at.precision),
                share(at.recall),
                share(at.fpr),
                at.fpr_low,
                at.fpr_high
            );
            put(&mut text, &line);
        }
    }
    let recommended = match (measured.recommended_threshold, measured.doubt()) {
        (Some(threshold), None) => threshold.to_string(),
        (Some(threshold), Some(doubt)) => format!("{threshold} ({doubt})"),
        (None, doubt) => format!("none: {}", doubt.unwrap_or_default()),
    };
    let theta0 = measured.theta0;
    let _infallible = writeln!(text, "\ntheta0 {theta0:.2} · recommended threshold {recommended}");
    text
}

fn row(source: &SourceOutcome) -> String {
    let verdict = match source.verdict {
        Gravest::None => "none",
        Gravest::Alert => "alert",
        Gravest::RateLimit => "rate limit",
        Gravest::Block => "block",
    };
    let cut =
        |text: Option<&str>, most: usize| text.unwrap_or("").chars().take(most).collect::<String>();
    format!(
        "{:<39} {:<10} {:<30} {:<10} {:>5} {:>9} {:>7}  {}",
        source.src.to_string(),
        cut(source.label.as_deref(), 10),
        cut(source.scenario.as_deref(), 30),
        verdict,
        source.max_score,
        source.first_block_s.map_or(String::new(), |secs| format!("{secs:.1}")),
        source.packets_before_block.map_or(String::new(), |packets| packets.to_string()),
        source.reasons.first().map_or("", |reason| reason)
    )
}
