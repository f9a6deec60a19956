//! The registry: every component that a config can name, one variant a `type`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::family::{Facts, Families, Family, NoKeys};
use crate::{
    component::{Component, Configure, Context, Error, Problem},
    sinks::{self, ConfigureSink, options::Options},
    sources, transforms,
};

/// The components of this build.
#[derive(Debug)]
pub struct Product;

/// A source.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub enum SourceConfig {
    /// Packets from an interface or from capture files, dissected by tshark.
    Tshark(Box<sources::tshark::Config>),
}

/// A transform.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub enum TransformConfig {
    /// Lines of tshark become packets.
    Extract(transforms::extract::Config),
}

/// A sink.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(tag = "type")]
pub enum SinkConfig {
    /// Records are thrown away, and counted.
    Blackhole(sinks::blackhole::Config),
    /// Records go to stdout.
    Console(sinks::console::Config),
    /// Records go to files.
    File(sinks::file::Config),
}

// === impl Product ===

impl Families for Product {
    type Source = SourceConfig;
    type Transform = TransformConfig;
    type Sink = SinkConfig;
}

// === impl SourceConfig ===

impl SourceConfig {
    /// Its `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Tshark(_) => "tshark",
        }
    }

    fn get(&self) -> &dyn Configure {
        match self {
            Self::Tshark(config) => config.as_ref(),
        }
    }

    /// Builds the source.
    ///
    /// # Errors
    /// When something it needs to begin is missing.
    pub fn build(&self, context: &Context) -> Result<Component, Error> {
        self.get().build(context)
    }
}

impl Family for SourceConfig {
    type Common = NoKeys;

    fn facts(&self, _: &NoKeys) -> Facts {
        Facts::of(self.get())
    }

    fn check_environment(&self) -> Vec<Problem> {
        self.get().check_environment()
    }
}

// === impl TransformConfig ===

impl TransformConfig {
    /// Its `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Extract(_) => "extract",
        }
    }

    fn get(&self) -> &dyn Configure {
        match self {
            Self::Extract(config) => config,
        }
    }

    /// Builds the transform.
    ///
    /// # Errors
    /// When something it needs to begin is missing.
    pub fn build(&self, context: &Context) -> Result<Component, Error> {
        self.get().build(context)
    }
}

impl Family for TransformConfig {
    type Common = NoKeys;

    fn facts(&self, _: &NoKeys) -> Facts {
        Facts::of(self.get())
    }

    fn check_environment(&self) -> Vec<Problem> {
        self.get().check_environment()
    }
}

// === impl SinkConfig ===

impl SinkConfig {
    /// Its `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Blackhole(_) => "blackhole",
            Self::Console(_) => "console",
            Self::File(_) => "file",
        }
    }

    fn get(&self) -> &dyn ConfigureSink {
        match self {
            Self::Blackhole(config) => config,
            Self::Console(config) => config,
            Self::File(config) => config,
        }
    }

    /// Builds the sink and what drives it.
    ///
    /// # Errors
    /// When something it needs to begin is missing.
    pub fn build(&self, options: &Options, context: &Context) -> Result<Component, Error> {
        self.get().build(options, context)
    }
}

impl Family for SinkConfig {
    type Common = Options;

    fn facts(&self, options: &Options) -> Facts {
        let sink = self.get();
        let (mut problems, mut claims) = (options.check(), options.claims());
        problems.extend(sink.check(options));
        claims.extend(sink.claims());
        Facts {
            signature: sink.signature(),
            problems,
            claims,
            needs: Vec::new(),
            provides: Vec::new(),
            references: Vec::new(),
        }
    }

    fn check_environment(&self) -> Vec<Problem> {
        self.get().check_environment()
    }
}
