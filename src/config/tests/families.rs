//! Small components with every feature the checks look at.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    component::{
        Carries, Claim, Component, Configure, Context, Error, Evidence, Need, PortSpec, Problem,
        Reference, Signature,
    },
    config::{Facts, Families, Family, NoKeys},
    record::{Kind, Kinds},
};

#[derive(Debug)]
pub(super) struct Test;

impl Families for Test {
    type Source = Source;
    type Transform = Transform;
    type Sink = Sink;
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub(super) enum Source {
    /// Captures packets.
    Capture(Capture),
    /// Watches.
    Gate(Gate),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub(super) enum Transform {
    /// Lines to packets.
    Decode(Decode),
    /// Packets to flows.
    Track(Track),
    /// Hands on.
    Pass(Pass),
    /// Judges.
    Judge(Judge),
}

#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub(super) enum Sink {
    /// Writes a file.
    File(Output),
    /// Forgets.
    Blackhole(NoKeys),
}

#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Capture {
    /// How it captures.
    pub(super) mode: Mode,
    /// The interface.
    pub(super) interface: Option<String>,
    /// Extra fields.
    pub(super) fields: Vec<String>,
    /// Processes (1), at most 64.
    pub(super) workers: u32,
    /// Segments.
    pub(super) segment: Segment,
    /// Whether it sees all.
    pub(super) promiscuous: bool,
    /// A login.
    pub(super) token: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// By segments.
    #[default]
    Segments,
    /// By a pipe.
    Pipe,
}

#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Segment {
    /// Bytes of a segment.
    pub(super) max_bytes: u64,
    /// A share.
    pub(super) share: f64,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Gate {}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Decode {
    /// Extra fields.
    pub(super) fields: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Track {
    /// Networks inside.
    pub(super) internal_networks: Vec<std::net::IpAddr>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Pass {}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Judge {
    pub(super) block: Block,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Block {
    /// The source that blocks.
    pub(super) via: Option<String>,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Output {
    /// Where to.
    pub(super) path: PathBuf,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Common {
    /// How records are batched.
    pub(super) batch: Batch,
}

#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Batch {
    /// Records in a request.
    pub(super) max_events: Option<u16>,
}

// === impl Family ===

impl Family for Source {
    type Common = NoKeys;

    fn facts(&self, _: &NoKeys) -> Facts {
        match self {
            Self::Capture(config) => Facts::of(config),
            Self::Gate(config) => Facts::of(config),
        }
    }

    fn check_environment(&self) -> Vec<Problem> {
        match self {
            Self::Capture(_) => vec![Problem::new("interface", "there is no interface `eth0`")],
            Self::Gate(_) => Vec::new(),
        }
    }
}

impl Family for Transform {
    type Common = NoKeys;

    fn facts(&self, _: &NoKeys) -> Facts {
        match self {
            Self::Decode(config) => Facts::of(config),
            Self::Track(config) => Facts::of(config),
            Self::Pass(config) => Facts::of(config),
            Self::Judge(config) => Facts::of(config),
        }
    }

    fn check_environment(&self) -> Vec<Problem> {
        Vec::new()
    }
}

impl Family for Sink {
    type Common = Common;

    fn facts(&self, common: &Common) -> Facts {
        let (claims, mut problems) = match self {
            Self::File(output) => {
                let what = format!("file {}", output.path.display());
                let key = "path".to_owned();
                let missing = output.path.as_os_str().is_empty();
                let problem = Problem::new("path", "the path is empty").hint("give a path");
                (vec![Claim { key, what }], Vec::from_iter(missing.then_some(problem)))
            }
            Self::Blackhole(_) => (Vec::new(), Vec::new()),
        };
        if common.batch.max_events == Some(0) {
            problems.push(Problem::new("batch.max_events", "0 records are too few"));
        }
        Facts {
            signature: Signature::sink(Kinds::REPORTS),
            problems,
            claims,
            needs: Vec::new(),
            remarks: Vec::new(),
            provides: Vec::new(),
            asks: Vec::new(),
            takes_verdicts: false,
            enforces: false,
            has_outputs_to_choose: false,
            passes_on: None,
            evidence: Evidence::default(),
            references: Vec::new(),
        }
    }

    fn check_environment(&self) -> Vec<Problem> {
        Vec::new()
    }
}

// === impl Configure ===

fn nothing_runs() -> Result<Component, Error> {
    Err(Error::configuration("components of these tests don't run"))
}

impl Configure for Capture {
    fn signature(&self) -> Signature {
        Signature::source(Kind::Raw)
    }

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.interface.is_none() {
            problems.push(Problem::new("interface", "no interface is given").hint("give one"));
        }
        if !(1..=64).contains(&self.workers) {
            let message = format!("{} is not from 1 to 64", self.workers);
            problems.push(Problem::new("workers", message).hint("give one per core"));
        }
        problems
    }

    fn provides(&self) -> Vec<String> {
        self.fields.clone()
    }

    fn build(&self, _: &Context) -> Result<Component, Error> {
        nothing_runs()
    }
}

impl Configure for Gate {
    fn signature(&self) -> Signature {
        let contacts = PortSpec::named("contacts", Carries::Only(Kind::Contact)).shedding();
        Signature::source(Kind::Flow).and(contacts)
    }

    fn takes_verdicts(&self) -> bool {
        true
    }

    fn build(&self, _: &Context) -> Result<Component, Error> {
        nothing_runs()
    }
}

impl Configure for Decode {
    fn signature(&self) -> Signature {
        Signature::transform(Kind::Raw.into(), Carries::Only(Kind::Packet))
            .and(PortSpec::named("dropped", Carries::Inputs))
    }

    fn needs(&self) -> Vec<Need> {
        let need = |(at, field): (usize, &String)| Need {
            key: format!("fields[{at}]"),
            field: field.clone(),
        };
        self.fields.iter().enumerate().map(need).collect()
    }

    fn build(&self, _: &Context) -> Result<Component, Error> {
        nothing_runs()
    }
}

impl Configure for Track {
    fn signature(&self) -> Signature {
        Signature::transform(Kind::Packet.into(), Carries::Only(Kind::Flow))
            .and(PortSpec::named("contacts", Carries::Only(Kind::Contact)))
    }

    fn build(&self, _: &Context) -> Result<Component, Error> {
        nothing_runs()
    }
}

impl Configure for Pass {
    fn signature(&self) -> Signature {
        Signature::transform(Kinds::ALL, Carries::Inputs)
    }

    fn build(&self, _: &Context) -> Result<Component, Error> {
        nothing_runs()
    }
}

impl Configure for Judge {
    fn signature(&self) -> Signature {
        let takes = Kinds::of(&[Kind::Flow, Kind::Contact]);
        Signature::transform(takes, Carries::Only(Kind::Flow))
            .and(PortSpec::named("alerts", Carries::Only(Kind::Alert)))
    }

    fn references(&self) -> Vec<Reference> {
        let reference = |id: &String| Reference { key: "block.via".to_owned(), id: id.clone() };
        self.block.via.iter().map(reference).collect()
    }

    fn build(&self, _: &Context) -> Result<Component, Error> {
        nothing_runs()
    }
}

// === impl Default ===

impl Default for Capture {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            interface: None,
            fields: Vec::new(),
            workers: 1,
            segment: Segment::default(),
            promiscuous: false,
            token: None,
        }
    }
}

impl Default for Segment {
    fn default() -> Self {
        Self { max_bytes: 64 << 20, share: 0.5 }
    }
}
