//! What is known of the sources: `src,label,scenario` a line.

use std::{collections::HashMap, fs, net::IpAddr, path::Path};

use super::open::Input;

/// Labels of sources.
#[derive(Debug, Clone, Default)]
pub struct Labels(HashMap<IpAddr, (Box<str>, Box<str>)>);

// === impl Labels ===

impl Labels {
    /// Reads a file of labels. The first line may be a heading; `ignore` is no label.
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
        for (number, line) in (1..).zip(text.lines()) {
            let mut parts = line.splitn(3, ',').map(|part| part.trim().trim_matches('"'));
            let (source, label) = (parts.next().unwrap_or_default(), parts.next());
            if source.is_empty() {
                continue;
            }
            match (source.parse::<IpAddr>(), label) {
                (Ok(source), Some(label)) if !label.is_empty() => {
                    let scenario = parts.next().unwrap_or_default();
                    labels.insert(source, (label.into(), scenario.into()));
                }
                _ if number == 1 => {}
                _ => return Err(number),
            }
        }
        Ok(Self(labels))
    }

    /// Labels a source.
    pub fn insert(&mut self, source: IpAddr, label: &str, scenario: &str) {
        self.0.insert(source, (label.into(), scenario.into()));
    }

    /// The label of a source, and the scenario it belongs to.
    pub fn of(&self, source: IpAddr) -> Option<(&str, &str)> {
        self.0.get(&source).map(|(label, scenario)| (&**label, &**scenario))
    }

    /// The labelled sources that none of the inputs has, sorted.
    pub fn unmet(&self, inputs: &[Input]) -> Vec<IpAddr> {
        let is_met = |source: &&IpAddr| {
            inputs.iter().any(|input| input.judged.sources.contains_key(*source))
        };
        let mut unmet: Vec<_> = self.0.keys().filter(|source| !is_met(source)).copied().collect();
        unmet.sort_unstable();
        unmet
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        for (text, line) in [("10.0.0.1,a\nten,b\n", 2), ("src,l\n10.0.0.1\n", 2)] {
            assert_eq!(Labels::parse(text).unwrap_err(), line);
        }
    }
}
