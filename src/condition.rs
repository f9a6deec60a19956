//! Conditions on the fields of records, for the transforms that choose: `filter` and `route`.
//!
//! A [`Condition`] is what the config says. It is checked and compiled once into a [`Predicate`]: for
//! each kind of record a tree of accessors out of the table of fields ([`field`](crate::field)), which
//! is asked of records and allocates nothing.

mod asked;
mod operand;
mod predicate;
mod sort;
mod test;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Deserialize;

use self::{asked::Asked, predicate::Node, test::Test};
pub use self::{
    operand::{Literal, Networks, Range},
    predicate::{Predicate, Question},
};
use crate::{
    component::{Asks, Problem},
    field::{Query, Schema},
    record::Kinds,
};

/// Something that holds for a record or does not: either of a field, or of other conditions.
///
/// A field that a record does not have fails every comparison; of a field with several values (`tags`,
/// `related.ip`) one has to pass. Text is compared as it stands, upper and lower case being different.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Condition {
    /// All of these conditions hold.
    pub all: Option<Vec<Self>>,
    /// At least one of these conditions holds.
    pub any: Option<Vec<Self>>,
    /// This condition does not hold.
    pub not: Option<Box<Self>>,
    /// The field, by its name in any schema of documents (docs/fields.md), or by tshark's name of one
    /// that an `extract` before it keeps (`dns.qry.name`). It goes with one of `equals`, `in`, `cidr`,
    /// `range` and `exists`. What sinks decide (`data_stream.dataset`) is asked for as it is by default.
    pub field: Option<String>,
    /// The schema whose name `field` is: `simple`, `ecs` or `cim` (default: any; a name that means
    /// different things in two of them needs it).
    pub schema: Option<Schema>,
    /// The field has this value: a number, an address, a text, a time, or true or false.
    pub equals: Option<Literal>,
    /// The field has one of these values.
    #[serde(rename = "in")]
    pub one_of: Option<Vec<Literal>>,
    /// The address lies in one of these networks, as `10.0.0.0/8`; one or a list.
    pub cidr: Option<Networks>,
    /// The number or the time lies between these bounds.
    pub range: Option<Range>,
    /// The record has the field (true), or has not (false).
    pub exists: Option<bool>,
}

// === impl Condition ===

impl Condition {
    /// Makes it ready to be asked. `key` is where it stands in its component's config.
    ///
    /// # Errors
    /// Everything in it that can't be meant, each at its key.
    pub fn compile(&self, key: &str) -> Result<Predicate, Vec<Problem>> {
        let mut problems = Vec::new();
        let node = self.node(key, &mut problems);
        if problems.is_empty() { Ok(Predicate::new(&node)) } else { Err(problems) }
    }

    /// The fields it asks for, each with its key and the kinds of record that have it.
    pub fn asks(&self, key: &str) -> Vec<Asks> {
        let mut asks = Vec::new();
        self.visit(key, &mut |condition, key| {
            let Some(field) = &condition.field else { return };
            let query = Query::new(field, condition.schema);
            let facts = query.facts();
            if facts.is_none() && condition.schema.is_some() {
                // A problem of the condition by itself.
                return;
            }
            let extra = query.extra();
            let kinds = match (&extra, facts) {
                (Some((_, kinds)), _) => *kinds,
                (None, facts) => facts.map_or(Kinds::NONE, |facts| facts.kinds),
            };
            let extra = extra.map(|(name, _)| name);
            asks.push(Asks { key: format!("{key}.field"), field: field.clone(), kinds, extra });
        });
        asks
    }

    /// Calls `look` with it and all conditions in it, and their keys.
    fn visit(&self, key: &str, look: &mut impl FnMut(&Self, &str)) {
        look(self, key);
        for (name, list) in [("all", &self.all), ("any", &self.any)] {
            for (at, condition) in list.iter().flatten().enumerate() {
                condition.visit(&format!("{key}.{name}[{at}]"), look);
            }
        }
        if let Some(condition) = &self.not {
            condition.visit(&format!("{key}.not"), look);
        }
    }

    fn node(&self, key: &str, problems: &mut Vec<Problem>) -> Node<Query> {
        let forms = [
            ("all", self.all.is_some()),
            ("any", self.any.is_some()),
            ("not", self.not.is_some()),
            ("field", self.field.is_some()),
        ];
        let given: Vec<_> =
            forms.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        let operators: Vec<_> = self.operators().collect();
        match (given.as_slice(), operators.as_slice()) {
            (["field"], _) => self.comparison(key, &operators, problems),
            ([name], []) => self.joined(name, key, problems),
            ([], []) => {
                problems.push(
                    Problem::new(key, "the condition is empty")
                        .hint("give `field` and what it has to be, or `all`, `any` or `not`"),
                );
                Node::none()
            }
            ([], [operator, ..]) => {
                let message = format!("`{operator}` of what? The key `field` is missing");
                problems.push(Problem::new(key, message).hint("add `field`"));
                Node::none()
            }
            ([first, ..], _) => {
                let second = given.get(1).or(operators.first()).copied().unwrap_or_default();
                let message = format!("`{first}` and `{second}` are two conditions in one");
                problems.push(
                    Problem::new(format!("{key}.{second}"), message)
                        .hint("join them: `all: [{ … }, { … }]`"),
                );
                Node::none()
            }
        }
    }

    /// `all`, `any` or `not`.
    fn joined(&self, name: &str, key: &str, problems: &mut Vec<Problem>) -> Node<Query> {
        if self.schema.is_some() {
            let problem = Problem::new(format!("{key}.schema"), "`schema` goes with `field`");
            problems.push(problem.hint("take it out, or put it into the conditions that it is of"));
        }
        if let Some(condition) = &self.not {
            return Node::Not(Box::new(condition.node(&format!("{key}.not"), problems)));
        }
        let conditions = self.all.as_ref().or(self.any.as_ref()).map_or(&[][..], Vec::as_slice);
        if conditions.is_empty() {
            let problem = Problem::new(format!("{key}.{name}"), "there is no condition in it");
            problems.push(problem.hint("give one at least"));
        }
        let nodes = conditions.iter().enumerate();
        let nodes =
            nodes.map(|(at, inner)| inner.node(&format!("{key}.{name}[{at}]"), problems)).collect();
        if self.all.is_some() { Node::All(nodes) } else { Node::Any(nodes) }
    }

    /// A field and one operator.
    fn comparison(
        &self,
        key: &str,
        operators: &[&str],
        problems: &mut Vec<Problem>,
    ) -> Node<Query> {
        const HINT: &str = "give one of `equals`, `in`, `cidr`, `range` and `exists`";
        let Some(field) = &self.field else { return Node::none() };
        match operators {
            [_] => {}
            [] => {
                let message = format!("what `{field}` has to be is missing");
                problems.push(Problem::new(key, message).hint(HINT));
            }
            [first, second, ..] => {
                let message = format!("`{first}` and `{second}` of one field");
                problems.push(
                    Problem::new(format!("{key}.{second}"), message)
                        .hint("join two conditions: `all: [{ … }, { … }]`"),
                );
            }
        }
        let asked = match Asked::new(field, self.schema, &format!("{key}.field")) {
            Ok(asked) => asked,
            Err(problem) => {
                problems.push(problem);
                return Node::none();
            }
        };
        if let Some(there) = self.exists {
            return Node::Exists(asked.query, there);
        }
        let test = self.test(&asked, key, problems);
        Node::Field(asked.query, test.into())
    }

    fn test(&self, asked: &Asked, key: &str, problems: &mut Vec<Problem>) -> Test {
        let at = |name: &str| format!("{key}.{name}");
        if let Some(value) = &self.equals {
            return Test::values(asked, vec![(at("equals"), value)], problems);
        }
        if let Some(values) = &self.one_of {
            if values.is_empty() {
                problems
                    .push(Problem::new(at("in"), "there is no value").hint("give one at least"));
            }
            let values = values.iter().enumerate();
            let values = values.map(|(index, value)| (format!("{key}.in[{index}]"), value));
            return Test::values(asked, values.collect(), problems);
        }
        if let Some(networks) = &self.cidr {
            return Test::networks(asked, networks, &at("cidr"), problems);
        }
        match &self.range {
            Some(range) => Test::range(asked, range, &at("range"), problems),
            None => Test::Present,
        }
    }

    /// The operators that are given.
    fn operators(&self) -> impl Iterator<Item = &'static str> {
        [
            ("equals", self.equals.is_some()),
            ("in", self.one_of.is_some()),
            ("cidr", self.cidr.is_some()),
            ("range", self.range.is_some()),
            ("exists", self.exists.is_some()),
        ]
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| name)
    }
}
