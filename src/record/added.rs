//! Static fields: what a config adds to every record.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is added to every record, to tell where it comes from. A name that records have already is
/// refused.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Added {
    /// Names and their values, texts: `labels.NAME` in the schema `ecs`, `NAME` in `cim` and `simple`
    /// (none). A sink's own come before those of the top level. For `env`, `site`, `team`.
    pub labels: BTreeMap<String, String>,
    /// Words that are added to the list `tags` (none); a sink's beside those of the top level.
    pub tags: Vec<String>,
}

// === impl Added ===

impl Added {
    /// Whether it is nothing.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.tags.is_empty()
    }

    /// These, and those of `wider` that they don't replace.
    #[must_use]
    pub fn over(&self, wider: &Self) -> Self {
        let mut all = wider.clone();
        all.labels.extend(self.labels.clone());
        let new = self.tags.iter().filter(|tag| !wider.tags.contains(tag));
        all.tags.extend(new.cloned());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(labels: &[(&str, &str)], tags: &[&str]) -> Added {
        Added {
            labels: labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        }
    }

    #[test]
    fn a_sinks_own_come_before_those_of_the_top_level() {
        let wider = added(&[("env", "prod"), ("site", "a")], &["dmz", "x"]);
        let own = added(&[("env", "test")], &["x", "y"]);
        let all = own.over(&wider);
        assert_eq!(all, added(&[("env", "test"), ("site", "a")], &["dmz", "x", "y"]));
        assert!(Added::default().over(&Added::default()).is_empty());
    }
}
