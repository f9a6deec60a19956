//! The integration tests: one binary, cases registered by module, real counterparts.
//!
//! `TIDEGATE_DATA` names the folder with captures whose answers are known (default
//! `../shared/data`). `TIDEGATE_TESTS` is a list of `full` (slow cases too) and `unprivileged` (cases
//! that need root are ignored rather than failed).

#![expect(clippy::print_stderr, reason = "a test says what it could not clean up")]

mod architecture;
mod buffer;
mod commands;
mod community_id;
mod conditions;
mod damage;
mod dead_letters;
mod decode;
mod elasticsearch;
mod examples;
mod flows;
#[cfg(feature = "xdp")]
mod gate;
mod harness;
mod headers;
mod health;
mod hostile;
mod judge;
#[cfg(feature = "kafka")]
mod kafka;
mod latency;
mod live;
mod locks;
mod logs;
mod moved;
mod names;
mod network;
mod nfdump;
mod over_http;
mod previous_run;
mod project;
mod protocol;
mod refused;
mod replay;
mod reports;
mod reverse_dns;
mod route;
mod schemas;
mod sinks;
mod splunk_hec;
mod standard_streams;
mod stopped;
mod supervision;
mod terminal;
mod tune;
mod variants;
mod zeek;

use harness::{Settings, machine};

fn main() {
    // One for the process; the sinks set the same.
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    let mut arguments = libtest_mimic::Arguments::from_args();
    arguments.test_threads.get_or_insert(machine::AT_ONCE);
    let settings = Settings::from_environment();
    let cases = [
        architecture::cases(),
        buffer::cases(),
        commands::cases(),
        community_id::cases(),
        conditions::cases(),
        damage::cases(),
        dead_letters::cases(),
        decode::cases(),
        elasticsearch::cases(),
        examples::cases(),
        flows::cases(),
        #[cfg(feature = "xdp")]
        gate::cases(),
        harness::cases(),
        headers::cases(),
        health::cases(),
        hostile::cases(),
        judge::cases(),
        #[cfg(feature = "kafka")]
        kafka::cases(),
        latency::cases(),
        live::cases(),
        locks::cases(),
        logs::cases(),
        moved::cases(),
        names::cases(),
        network::cases(),
        nfdump::cases(),
        over_http::cases(),
        previous_run::cases(),
        project::cases(),
        protocol::cases(),
        refused::cases(),
        replay::cases(),
        reports::cases(),
        route::cases(),
        reverse_dns::cases(),
        schemas::cases(),
        sinks::cases(),
        splunk_hec::cases(),
        standard_streams::cases(),
        stopped::cases(),
        supervision::cases(),
        terminal::cases(),
        tune::cases(),
        variants::cases(),
        zeek::cases(),
    ];
    let cases = machine::order(cases.into_iter().flatten().collect());
    let trials = cases.into_iter().filter_map(|case| case.trial(&settings)).collect();
    let began = harness::poll::now();
    let conclusion = libtest_mimic::run(&arguments, trials);
    harness::table::print();
    harness::times::print(began.elapsed());
    harness::server::end_all(conclusion.has_failed());
    conclusion.exit();
}
