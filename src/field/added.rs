//! Static fields, beside those of the table: which names and values they may have.

use super::{Schema, named};
use crate::{component::Problem, record::Added};

/// Labels at most, and tags.
const MAX_ADDED: usize = 64;
/// Characters of a label's name.
const MAX_NAME: usize = 64;
/// Characters of a value, and of a tag.
const MAX_VALUE: usize = 1_024;
/// The name of the list of tags in every schema.
const TAGS: &str = "tags";

/// What is wrong with static fields, keys below `add`, where they stand in records of these schemas.
pub fn check_added(added: &Added, schemas: &[Schema]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if added.labels.len().max(added.tags.len()) > MAX_ADDED {
        let problem = Problem::new("add", "these are too many labels or tags");
        problems.push(problem.hint(format!("give {MAX_ADDED} of each at most")));
    }
    for (name, value) in &added.labels {
        let key = format!("add.labels.{name}");
        if !is_name(name) {
            let message = format!("{name:?} is no name of a label");
            let hint = "a letter or `_`, then letters, digits, `_` and `-`, 64 at most";
            problems.push(Problem::new(key, message).hint(hint));
        } else if let Some(schema) = schemas.iter().find(|schema| is_taken(name, **schema)) {
            let message = format!("records have a field `{name}` in the schema {}", schema.name());
            problems.push(Problem::new(key, message).hint("choose another name"));
        } else if !is_value(value) {
            let message = "the value is empty, too long, or has control characters";
            problems.push(Problem::new(key, message));
        }
    }
    for (at, _) in added.tags.iter().enumerate().filter(|(_, tag)| !is_value(tag)) {
        let message = "the tag is empty, too long, or has control characters";
        problems.push(Problem::new(format!("add.tags[{at}]"), message));
    }
    problems
}

fn is_name(name: &str) -> bool {
    let begins = name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
    let goes_on = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    begins && name.chars().all(goes_on) && name.len() <= MAX_NAME
}

fn is_value(value: &str) -> bool {
    !value.is_empty() && value.chars().count() <= MAX_VALUE && !value.chars().any(char::is_control)
}

/// Whether records have a field of this name, where labels stand beside them.
fn is_taken(name: &str, schema: Schema) -> bool {
    schema != Schema::Ecs && (name == TAGS || named(schema).any(|field| field.name == name))
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
    fn names_that_records_have_are_refused_where_labels_stand_beside_them() {
        let keys = |added: &Added, schema| {
            let problems = check_added(added, &[schema]);
            problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
        };
        let taken =
            added(&[("src_ip", "x"), ("dvc", "x"), ("tags", "x"), ("env", "prod")], &["dmz"]);
        assert_eq!(keys(&taken, Schema::Ecs), [""; 0]);
        assert_eq!(
            keys(&taken, Schema::Cim),
            ["add.labels.dvc", "add.labels.src_ip", "add.labels.tags"]
        );
        let taken = added(&[("packet_size", "1")], &[]);
        assert_eq!(keys(&taken, Schema::Simple), ["add.labels.packet_size"]);
        assert_eq!(keys(&taken, Schema::Ecs), [""; 0]);
    }

    #[test]
    fn what_can_be_no_label_or_tag_is_named() {
        let long = "x".repeat(MAX_VALUE + 1);
        let wrong = added(
            &[("a.b", "x"), ("1a", "x"), ("ok", ""), ("also", &long), ("fine", "x y")],
            &["", "good", "line\nbreak"],
        );
        let keys: Vec<_> = check_added(&wrong, &Schema::ALL).into_iter().map(|it| it.key).collect();
        assert_eq!(
            keys,
            [
                "add.labels.1a",
                "add.labels.a.b",
                "add.labels.also",
                "add.labels.ok",
                "add.tags[0]",
                "add.tags[2]"
            ]
        );
    }
}
