//! The `blackhole` sink: encodes records, counts them, and forgets them. For benchmarks, and for
//! pipelines that are run for their verdicts alone.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ConfigureSink, driver, options::Options};
use crate::{
    codec::{Encoder, Origin},
    component::{Component, Context, Error, Items, SendError, SendOutcome, Sink},
    record::Records,
};

/// Takes records, encodes them and forgets them. It has no keys of its own.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

#[derive(Debug)]
struct Blackhole {
    encoder: Encoder,
}

// === impl Config ===

impl ConfigureSink for Config {
    fn outline(&self) -> Option<String> {
        Some("nowhere: counted and forgotten".to_owned())
    }

    fn takes_wire(&self) -> bool {
        true
    }

    fn build(&self, options: &Options, context: &Context) -> Result<Component, Error> {
        let encoder = Encoder::new(
            &options.encoding,
            self.schema(),
            Origin::of(context).adding(&options.add),
        );
        let sink = Blackhole { encoder };
        driver::component(sink, self.requests(), options, context)
    }
}

// === impl Blackhole ===

impl Sink for Blackhole {
    type Meta = ();
    type Pending = ();

    fn encode(&self, records: &Records, index: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        Ok(self.encoder.encode(records, index, out)?)
    }

    async fn send(&self, _items: &Items<'_, ()>) -> Result<SendOutcome<()>, SendError> {
        Ok(SendOutcome::Delivered)
    }
}
