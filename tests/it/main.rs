//! The integration tests: one binary, cases registered by module, real counterparts.
//!
//! `TIDEGATE_DATA` names the folder with captures whose answers are known (default
//! `../shared/data`). `TIDEGATE_TESTS` is a list of `full` (slow cases too) and `unprivileged` (cases
//! that need root are ignored rather than failed).

#![expect(clippy::print_stderr, reason = "a test says what it could not clean up")]

mod architecture;
mod commands;
mod community_id;
mod conditions;
mod damage;
mod dead_letters;
mod decode;
mod elasticsearch;
mod examples;
mod harness;
mod headers;
mod health;
mod hostile;
mod live;
mod network;
mod nfdump;
mod over_http;
mod project;
mod protocol;
mod replay;
mod reverse_dns;
mod route;
mod schemas;
mod sinks;
mod splunk_hec;
mod stopped;
mod supervision;
mod zeek;

use harness::Settings;

fn main() {
    // One for the process; the sinks set the same.
    rustls::crypto::ring::default_provider().install_default().unwrap_or_default();
    let arguments = libtest_mimic::Arguments::from_args();
    let settings = Settings::from_environment();
    let cases = [
        architecture::cases(),
        commands::cases(),
        community_id::cases(),
        conditions::cases(),
        damage::cases(),
        dead_letters::cases(),
        decode::cases(),
        elasticsearch::cases(),
        examples::cases(),
        harness::cases(),
        headers::cases(),
        health::cases(),
        hostile::cases(),
        live::cases(),
        network::cases(),
        nfdump::cases(),
        over_http::cases(),
        project::cases(),
        protocol::cases(),
        replay::cases(),
        route::cases(),
        reverse_dns::cases(),
        schemas::cases(),
        sinks::cases(),
        splunk_hec::cases(),
        stopped::cases(),
        supervision::cases(),
        zeek::cases(),
    ];
    let trials = cases.into_iter().flatten().filter_map(|case| case.trial(&settings)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    harness::table::print();
    harness::server::end_all(conclusion.has_failed());
    conclusion.exit();
}
