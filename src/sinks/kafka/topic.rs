//! Names of topics, made of what the config says and of nothing that whoever sends packets could choose.

use std::fmt::Write as _;

use crate::{component::Problem, record::Kind};

/// The longest name a topic may have.
const MAX_BYTES: usize = 249;

/// The topic of each kind of record.
#[derive(Debug)]
pub(super) struct Topics([String; Kind::ALL.len()]);

/// A part of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Kind,
    Namespace,
    Observer,
}

/// What is wrong with a template or the namespace.
pub(super) fn check(template: &str, namespace: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Err(message) = parse(template) {
        let hint = "give letters, digits, `.`, `_`, `-`, and {kind}, {namespace}, {observer}";
        problems.push(Problem::new("topic", message).hint(hint));
    } else if let Err(message) = Topics::new(template, namespace, "observer") {
        problems.push(Problem::new("topic", message));
    }
    if namespace.is_empty() || namespace.chars().any(|character| !is_legal(character)) {
        let message = format!("{namespace:?} can't stand in a topic");
        let hint = "give letters, digits, `.`, `_` and `-`";
        problems.push(Problem::new("namespace", message).hint(hint));
    }
    problems
}

fn is_legal(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

fn parse(template: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let (text, behind) =
            rest.split_once('{').map_or((rest, None), |(text, behind)| (text, Some(behind)));
        if let Some(illegal) = text.chars().find(|character| !is_legal(*character)) {
            return Err(format!("{illegal:?} can't stand in a topic"));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        let Some(behind) = behind else { break };
        let Some((name, behind)) = behind.split_once('}') else {
            return Err("a `{` has no `}`".to_owned());
        };
        parts.push(match name {
            "kind" => Part::Kind,
            "namespace" => Part::Namespace,
            "observer" => Part::Observer,
            _ => return Err(format!("there is no {{{name}}} for topics")),
        });
        rest = behind;
    }
    if parts.is_empty() { Err("the topic is empty".to_owned()) } else { Ok(parts) }
}

// === impl Topics ===

impl Topics {
    /// The topics of a template.
    pub(super) fn new(template: &str, namespace: &str, observer: &str) -> Result<Self, String> {
        let parts = parse(template)?;
        let observer: String = observer
            .chars()
            .map(|character| if is_legal(character) { character } else { '_' })
            .collect();
        let name = |kind: Kind| {
            parts.iter().fold(String::new(), |mut name, part| {
                let part = match part {
                    Part::Text(text) => text,
                    Part::Kind => kind.name(),
                    Part::Namespace => namespace,
                    Part::Observer => &observer,
                };
                name.write_str(part).expect("a String takes all");
                name
            })
        };
        let topics = Kind::ALL.map(name);
        let unusable = |name: &&String| {
            name.is_empty() || name.len() > MAX_BYTES || matches!(name.as_str(), "." | "..")
        };
        match topics.iter().find(unusable) {
            Some(name) => {
                Err(format!("{name:?} can't be a topic: 1 to {MAX_BYTES} bytes, not `.` or `..`"))
            }
            None => Ok(Self(topics)),
        }
    }

    /// The topic of a kind.
    pub(super) fn of(&self, kind: Kind) -> &str {
        self.0.get(kind as usize).map_or("", String::as_str)
    }
}
