//! What a section of the config can hold: an enum with one variant per `type`, which is the
//! registry of its components.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};

use crate::document::de::{Deserializer, Fault};
use crate::{
    component::{Asks, Claim, Configure, Evidence, Need, Problem, Reference, Signature},
    document::{
        text::Span,
        tree::{Entry, Node, Origin, Scalar, Value},
    },
    record::Kind,
};

/// One section's components. Serde reads the enum as externally tagged, the tag being `type`; its
/// schema says `#[schemars(tag = "type")]`.
pub trait Family: Clone + fmt::Debug + DeserializeOwned + JsonSchema {
    /// Keys that all of them take beside their own.
    type Common: Clone + fmt::Debug + DeserializeOwned + JsonSchema;

    /// What the checks of the whole pipeline look at.
    fn facts(&self, common: &Self::Common) -> Facts;

    /// What this machine lacks.
    fn check_environment(&self) -> Vec<Problem>;

    /// How to come by a type that this build has left out.
    fn left_out(_kind: &str) -> Option<&'static str> {
        None
    }

    /// The defaults of common keys that are this component's own: an object like the config's.
    fn common_defaults(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
}

/// The three sections.
pub trait Families: fmt::Debug {
    /// `sources`.
    type Source: Family;
    /// `transforms`.
    type Transform: Family;
    /// `sinks`.
    type Sink: Family;
}

/// A component as the checks of the whole pipeline see it.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its ports.
    pub signature: Signature,
    /// Values out of range.
    pub problems: Vec<Problem>,
    /// What nobody else may use.
    pub claims: Vec<Claim>,
    /// Fields it needs from upstream.
    pub needs: Vec<Need>,
    /// Fields it provides.
    pub provides: Vec<String>,
    /// What is better said otherwise.
    pub remarks: Vec<Problem>,
    /// Fields of records it asks for.
    pub asks: Vec<Asks>,
    /// Whether it offers a store for verdicts.
    pub takes_verdicts: bool,
    /// Whether verdicts have effect in it.
    pub enforces: bool,
    /// Whether its outputs are for whoever wants them.
    pub has_outputs_to_choose: bool,
    /// The kind that its main output passes on, if it makes nothing for it.
    pub passes_on: Option<Kind>,
    /// What its packets are as evidence.
    pub evidence: Evidence,
    /// Sources it acts through.
    pub references: Vec<Reference>,
}

/// No keys beside a component's own.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoKeys {}

// === impl Facts ===

impl Facts {
    /// What a component's config says of itself.
    pub fn of(config: &dyn Configure) -> Self {
        Self {
            signature: config.signature(),
            problems: config.check(),
            claims: config.claims(),
            needs: config.needs(),
            provides: config.provides(),
            remarks: config.remarks(),
            asks: config.asks(),
            takes_verdicts: config.takes_verdicts(),
            enforces: config.enforces(),
            has_outputs_to_choose: config.has_outputs_to_choose(),
            passes_on: config.passes_on(),
            evidence: config.evidence(),
            references: config.references(),
        }
    }

    /// Only the ports: all else would follow from defaults nobody chose.
    pub(super) fn ports_only(self) -> Self {
        Self {
            signature: self.signature,
            takes_verdicts: self.takes_verdicts,
            enforces: false,
            has_outputs_to_choose: self.has_outputs_to_choose,
            passes_on: self.passes_on,
            evidence: Evidence::default(),
            problems: Vec::new(),
            claims: Vec::new(),
            needs: Vec::new(),
            provides: Vec::new(),
            remarks: Vec::new(),
            asks: Vec::new(),
            references: Vec::new(),
        }
    }
}

/// The component of this type with no key set.
pub(super) fn plain<F: Family>(kind: &str) -> Option<F> {
    let span = Span::default();
    let nothing = Node { span, value: Value::Mapping(Vec::new()) };
    let entry = Entry { key: kind.to_owned(), key_span: span, value: nothing };
    let tagged = Node { span, value: Value::Mapping(vec![entry]) };
    F::deserialize(Deserializer::new(&tagged)).ok()
}

/// The names that `type` can have in a family.
pub(super) fn types<F: Family>() -> &'static [&'static str] {
    // Serde knows them and says so when none fits.
    let none = Node {
        span: Span::default(),
        value: Value::Scalar(Scalar {
            text: String::new(),
            plain: false,
            origin: Origin::Written,
            secret: false,
        }),
    };
    match F::deserialize(Deserializer::new(&none)).err().map(|error| *error.fault) {
        Some(Fault::UnknownWord(_, known)) => known,
        _ => &[],
    }
}
