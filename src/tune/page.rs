//! The measurement as one page of HTML that needs nothing from anywhere.

use std::fmt::Write as _;

use super::{
    measure::{Measured, ThresholdOutcome},
    observe::Gravest,
};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;\
padding:0 1rem;color:#1b1f24;background:#fff}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d8dee4;vertical-align:top}\
td.n{text-align:right;font-variant-numeric:tabular-nums}.block{color:#b42318}\
.benign{background:#fff4e5}svg{width:100%;height:auto}";

/// The page.
pub fn page(measured: &Measured) -> String {
    let mut html = String::from("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width\"><title>Tuning</title>");
    let _infallible =
        write!(html, "<style>{STYLE}</style><h1>Tuning</h1><p>{}</p>", summary(measured));
    html.push_str("<h2>Over the threshold</h2>");
    html.push_str(&curve(&measured.thresholds));
    thresholds(&mut html, &measured.thresholds);
    html.push_str("<h2>Sources</h2>");
    sources(&mut html, measured);
    html.push_str("<h2>Without each signal</h2><table><tr><th>signal<th>positive sources told of<th>benign sources told of</tr>");
    for (signal, left) in &measured.ablation {
        let _infallible =
            write!(html, "<tr><td>{signal}<td class=n>{}<td class=n>{}</tr>", left.tp, left.fp);
    }
    html.push_str("</table></html>\n");
    html
}

/// What came out, in plain words.
fn summary(measured: &Measured) -> String {
    let count =
        |verdict| measured.sources.iter().filter(|source| source.verdict == verdict).count();
    let wronged: Vec<_> = measured
        .sources
        .iter()
        .filter(|source| {
            source.label.as_deref() == Some("benign") && source.verdict >= Gravest::RateLimit
        })
        .map(|source| source.src.to_string())
        .collect();
    let blocked = match count(Gravest::Block) {
        1 => "1 source".to_owned(),
        many => format!("{many} sources"),
    };
    let mut text = format!(
        "{blocked} would have been blocked, {} rate-limited and {} alerted on. ",
        count(Gravest::RateLimit),
        count(Gravest::Alert)
    );
    if wronged.is_empty() {
        text.push_str("No source that is labelled benign would have been blocked or limited. ");
    } else {
        let _infallible = write!(
            text,
            "<strong>Benign sources would have been blocked or limited: {}.</strong> ",
            wronged.join(", ")
        );
    }
    if let [Some(median), Some(late)] = measured.block_seconds {
        let _infallible = write!(
            text,
            "Half of the blocks came within {median:.1} s of the source's first packet, 95 of 100 \
             within {late:.1} s. "
        );
    }
    let _infallible = match (measured.recommended_threshold, measured.doubt()) {
        (Some(threshold), None) => {
            write!(text, "The lowest threshold with few enough false positives is {threshold}.")
        }
        (Some(threshold), Some(doubt)) => {
            write!(text, "The lowest threshold without a false positive is {threshold} ({doubt}).")
        }
        (None, doubt) => {
            let doubt = doubt.unwrap_or_default();
            write!(
                text,
                "No threshold can be recommended: {doubt}. Look at the list below for what is yours."
            )
        }
    };
    text
}

/// Recall and false positives over the threshold.
fn curve(thresholds: &[ThresholdOutcome]) -> String {
    let line = |value: fn(&ThresholdOutcome) -> Option<f64>| {
        let points = thresholds.iter().filter_map(|at| {
            let y = 210.0 - 200.0 * value(at)?;
            Some(format!("{},{y:.1}", 50 + 9 * u32::from(at.threshold)))
        });
        points.collect::<Vec<_>>().join(" ")
    };
    format!(
        "<svg viewBox=\"0 0 1000 250\" role=\"img\" aria-label=\"precision, recall and false \
         positives over the threshold\"><path d=\"M50 10V210H960\" fill=\"none\" stroke=\"#667\"/>\
         <polyline points=\"{}\" fill=\"none\" stroke=\"#1a7f37\" stroke-width=\"2\"/>\
         <polyline points=\"{}\" fill=\"none\" stroke=\"#0969da\" stroke-width=\"2\"/>\
         <polyline points=\"{}\" fill=\"none\" stroke=\"#b42318\" stroke-width=\"2\"/>\
         <text x=\"38\" y=\"16\" text-anchor=\"end\">1</text>\
         <text x=\"38\" y=\"215\" text-anchor=\"end\">0</text>\
         <text x=\"50\" y=\"240\">threshold 0</text>\
         <text x=\"950\" y=\"240\" text-anchor=\"middle\">100</text>\
         <text x=\"300\" y=\"240\" fill=\"#1a7f37\">recall</text>\
         <text x=\"420\" y=\"240\" fill=\"#0969da\">precision</text>\
         <text x=\"560\" y=\"240\" fill=\"#b42318\">false positives</text></svg>",
        line(|at| at.recall),
        line(|at| at.precision),
        line(|at| at.fpr)
    )
}

fn thresholds(html: &mut String, thresholds: &[ThresholdOutcome]) {
    html.push_str("<table><tr><th>threshold<th>TP<th>FP<th>FN<th>TN<th>precision<th>recall<th>false-positive rate, 95 %</tr>");
    let share = |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{share:.3}"));
    for at in thresholds {
        let _infallible = write!(
            html,
            "<tr><td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{}\
             <td class=n>{}<td class=n>{}<td class=n>{} ({:.3} to {:.3})</tr>",
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
    }
    html.push_str("</table>");
}

fn sources(html: &mut String, measured: &Measured) {
    html.push_str("<table><tr><th>source<th>label<th>scenario<th>verdict<th>score<th>s to block<th>packets before<th>why</tr>");
    let mut sources: Vec<_> = measured.sources.iter().collect();
    sources.sort_by_key(|source| (std::cmp::Reverse(source.verdict), source.src));
    for source in sources {
        let (verdict, class) = match source.verdict {
            Gravest::None => ("none", ""),
            Gravest::Alert => ("alert", ""),
            Gravest::RateLimit => ("rate limit", ""),
            Gravest::Block => ("block", "block"),
        };
        let is_wronged =
            source.label.as_deref() == Some("benign") && source.verdict >= Gravest::RateLimit;
        let _infallible = write!(
            html,
            "<tr class=\"{}\"><td>{}<td>{}<td>{}<td class=\"{class}\">{verdict}<td class=n>{}\
             <td class=n>{}<td class=n>{}<td>{}</tr>",
            if is_wronged { "benign" } else { "" },
            source.src,
            escaped(source.label.as_deref().unwrap_or("")),
            escaped(source.scenario.as_deref().unwrap_or("")),
            source.max_score,
            source.first_block_s.map_or(String::new(), |secs| format!("{secs:.1}")),
            source.packets_before_block.map_or(String::new(), |packets| packets.to_string()),
            escaped(&source.reasons.join("; "))
        );
    }
    html.push_str("</table>");
}

/// A text that is no markup, whoever wrote it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            _ => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_no_markup() {
        assert_eq!(
            escaped("<script>\"&\"</script>"),
            "&lt;script&gt;&quot;&amp;&quot;&lt;/script&gt;"
        );
    }
}
