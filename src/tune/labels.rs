//! What is known of the sources: `src,label,scenario` a line.

use std::{collections::HashMap, fs, net::IpAddr, path::Path};

use super::open::Input;

/// Words that say of a source that it means well, of one that it does not, and that turn one into the other.
const BENIGN: [&str; 3] = ["benign", "background", "normal"];
const MALICIOUS: [&str; 4] = ["malicious", "botnet", "attack", "c&c"];
const NOT: [&str; 3] = ["non", "not", "no"];

/// What a label says of a source, whoever gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Benign,
    /// It is not to be counted.
    Ignored,
    Malicious,
    /// Another text: positive in a file of labels, and nothing in a row of a log, where tools put anything.
    Unclear,
}

/// Words that the heading of a column of addresses has one of; a first line without any is a row.
const HEADINGS: [&str; 10] =
    ["src", "source", "ip", "host", "address", "addr", "srcip", "saddr", "ipaddress", "orig"];

/// Labels of sources.
#[derive(Debug, Clone, Default)]
pub struct Labels(HashMap<IpAddr, Label>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Label {
    name: Box<str>,
    scenario: Box<str>,
    /// Whether rows of a log say so: then other rows may say worse.
    is_of_rows: bool,
}

// === impl Labels ===

impl Labels {
    /// Reads a file of labels. The first line may be a heading; what is not benign is positive, but for `ignore`,
    /// which is no label; in whatever case they are written.
    ///
    /// # Errors
    /// It can't be read, or a line has no address.
    pub fn read(path: &Path) -> Result<Self, String> {
        let cannot = |error| format!("the labels {} can't be read: {error}", path.display());
        let text = fs::read_to_string(path).map_err(cannot)?;
        Self::parse(&text).map_err(|line| format!("{}:{line}: no src,label", path.display()))
    }

    /// The labels in a text; the number of the line that has none is the error.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut labels = HashMap::new();
        // Some programs of Windows begin a text with a mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in (1..).zip(text.lines()) {
            let mut parts = line.splitn(3, ',').map(|part| part.trim().trim_matches('"'));
            let (source, label) = (parts.next().unwrap_or_default(), parts.next());
            if source.is_empty() {
                continue;
            }
            // The zone of a link-local address says by which interface this host reaches it.
            let (address, _zone) = source.split_once('%').unwrap_or((source, ""));
            match (address.parse::<IpAddr>(), label) {
                (Ok(source), Some(label)) if !label.is_empty() => {
                    let scenario = parts.next().unwrap_or_default();
                    labels.insert(source, Label::new(label, scenario));
                }
                _ if number == 1 && is_heading(source) => {}
                _ => return Err(number),
            }
        }
        Ok(Self(labels))
    }

    /// What rows of a log say of a source. A label that was given by a file counts for more, and so does a row that
    /// says it is malicious: a source is if anything that it began was.
    pub fn tell(&mut self, source: IpAddr, is_malicious: bool) {
        let label = if is_malicious { "malicious" } else { "benign" };
        let told = Label { is_of_rows: true, ..Label::new(label, "") };
        let known = self.0.entry(source).or_insert_with(|| told.clone());
        if known.is_of_rows && is_malicious {
            *known = told;
        }
    }

    /// The label of a source, and the scenario it belongs to.
    pub fn of(&self, source: IpAddr) -> Option<(&str, &str)> {
        self.0.get(&source).map(|label| (&*label.name, &*label.scenario))
    }

    /// The sources that a file labels and none of the inputs has, sorted.
    pub fn unmet(&self, inputs: &[Input]) -> Vec<IpAddr> {
        let is_met = |source: &&IpAddr| {
            inputs.iter().any(|input| input.judged.sources.contains_key(*source))
        };
        let given = self.0.iter().filter(|(_, label)| !label.is_of_rows);
        let mut unmet: Vec<_> =
            given.map(|(source, _)| *source).filter(|it| !is_met(&it)).collect();
        unmet.sort_unstable();
        unmet
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether it heads a column: `src`, `Source.IP`, `# host`.
fn is_heading(cell: &str) -> bool {
    let cell = cell.to_lowercase();
    cell.split(|letter: char| !letter.is_alphanumeric()).any(|word| HEADINGS.contains(&word))
}

// === impl Meaning ===

impl Meaning {
    pub(super) fn of(label: &str) -> Self {
        let label = label.to_ascii_lowercase();
        // `From-Normal-V42`, and no sentence about it.
        let parts = || label.split(|c: char| !c.is_alphanumeric() && c != ' ');
        let has = |words: &[&str]| parts().any(|part| words.contains(&part));
        if label == "ignore" {
            Self::Ignored
        } else if MALICIOUS.iter().any(|word| label.contains(word)) {
            // `To-Botnet`: of who answers or asks it, nothing is known.
            if has(&NOT) || label.starts_with("to-") { Self::Unclear } else { Self::Malicious }
        } else if has(&BENIGN) && !has(&NOT) {
            Self::Benign
        } else {
            Self::Unclear
        }
    }
}

// === impl Label ===

impl Label {
    fn new(label: &str, scenario: &str) -> Self {
        let name = match Meaning::of(label) {
            Meaning::Benign => "benign",
            Meaning::Ignored => "ignore",
            Meaning::Malicious | Meaning::Unclear => label,
        };
        Self { name: name.into(), scenario: scenario.into(), is_of_rows: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_is_none_and_a_line_without_an_address_is_a_mistake() {
        let labels =
            Labels::parse("src,label,scenario\n10.0.0.1,scan,a, b\n\n::1,benign\n").unwrap();
        assert_eq!(labels.of("10.0.0.1".parse().unwrap()), Some(("scan", "a, b")));
        assert_eq!(labels.of("::1".parse().unwrap()), Some(("benign", "")));
        assert_eq!(labels.of("::2".parse().unwrap()), None);
        for (text, line) in [
            ("10.0.0.1,a\nten,b\n", 2),
            ("src,l\n10.0.0.1\n", 2),
            ("10.0.0.256,scan\n10.0.0.2,scan\n", 1),
            ("10.0.0.1\n10.0.0.2,scan\n", 1),
            ("10.0.0.1;scan\n10.0.0.2,scan\n", 1),
        ] {
            assert_eq!(Labels::parse(text).unwrap_err(), line, "{text}");
        }
        for heading in ["src", "# Source.IP", "id.orig_h", "IP address", "\"source_ip\"", "Host"] {
            let text = format!("{heading},label\n10.0.0.1,scan\n");
            assert!(Labels::parse(&text).is_ok(), "{heading}");
        }
    }

    #[test]
    fn only_what_a_file_labels_can_be_unmet() {
        let mut labels = Labels::parse("10.0.0.1,benign\n10.0.0.2,scan").unwrap();
        labels.tell("10.0.0.3".parse().unwrap(), true);
        let unmet = ["10.0.0.1", "10.0.0.2"].map(|source| source.parse::<IpAddr>().unwrap());
        assert_eq!(labels.unmet(&[]), unmet);
    }

    #[test]
    fn labels_are_read_as_spreadsheets_and_systems_write_them() {
        let text = "\u{feff}10.0.0.1,Benign\r\n10.0.0.2,IGNORE,ours\r\nfe80::1%eth0,scan\r\n\"10.0.0.3\",Scan";
        let labels = Labels::parse(text).unwrap();
        for (source, label) in [
            ("10.0.0.1", "benign"),
            ("10.0.0.2", "ignore"),
            ("fe80::1", "scan"),
            ("10.0.0.3", "Scan"),
        ] {
            let found = labels.of(source.parse().unwrap()).map(|(label, _)| label);
            assert_eq!(found, Some(label), "{source}");
        }
        assert_eq!(Labels::parse("10.0.0.1,a\n%eth0,b").unwrap_err(), 2);
    }

    #[test]
    fn a_source_is_malicious_if_any_log_says_so_but_not_against_what_was_given() {
        let mut labels = Labels::parse("10.0.0.1,benign\n10.0.0.2,scan,nmap").unwrap();
        for (source, is_malicious, label) in [
            ("10.0.0.1", true, "benign"),
            ("10.0.0.2", false, "scan"),
            ("10.0.0.3", false, "benign"),
            ("10.0.0.3", true, "malicious"),
            ("10.0.0.3", false, "malicious"),
        ] {
            let source = source.parse().unwrap();
            labels.tell(source, is_malicious);
            assert_eq!(labels.of(source).unwrap().0, label);
        }
        assert_eq!(labels.of("10.0.0.2".parse().unwrap()).unwrap().1, "nmap");
    }
}
