//! `tidegate run`: a config's pipeline, until it is stopped or its sources end.

use std::path::Path;

use tokio::sync::watch;

use super::{
    ConfigFile,
    exit::Exit,
    live::{self, Live},
    output,
    pipeline::{self, Rereading},
};
use crate::{
    api::Api,
    component::Clock,
    config::{Components, Config},
    topology::{Ended, Unbuilt, build},
};

/// Run the pipeline of a config file until it is stopped or its sources end.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(args: &Args, quiet: bool) -> Exit {
    let Some(loaded) = output::load(args.config.path()) else { return Exit::Configuration };
    let introduction = live::introduction(&loaded.config, args.config.path());
    let path = args.config.path();
    match pipeline::block_on(serve(&loaded.config, path, &introduction, quiet)) {
        Ok(ended) => {
            output::ended(&ended, quiet);
            Exit::of(&ended)
        }
        Err(unbuilt) => output::unbuilt(&unbuilt),
    }
}

async fn serve(
    config: &Config<Components>,
    path: &Path,
    introduction: &str,
    quiet: bool,
) -> Result<Ended, Unbuilt> {
    let metrics = pipeline::record_metrics()?;
    let (reload, reloaded) = watch::channel(0);
    let mut plan = build(config, Clock::Wall, reloaded).await?;
    let renewer = plan.renewer.take();
    let rereading = renewer.map(|renewer| Rereading { path: path.to_owned(), renewer });
    let api = Api::bind(config.globals.api.address).await?;
    for line in introduction.lines() {
        output::say(quiet, line);
    }
    let mut live = None;
    let ended = pipeline::run(plan, reload, rereading, Some((api, metrics)), |running| {
        live = Some(Live::start(running.components(), quiet));
    })
    .await;
    drop(live);
    Ok(ended?)
}
