//! The integration tests: one binary, cases registered by module, real counterparts.
//!
//! `TIDEGATE_DATA` names the folder with captures whose answers are known (default
//! `../shared/data`). `TIDEGATE_TESTS` is a list of `full` (slow cases too) and `unprivileged` (cases
//! that need root are ignored rather than failed).

#![expect(clippy::print_stderr, reason = "a test says what it could not clean up")]

mod architecture;
mod commands;
mod community_id;
mod damage;
mod elasticsearch;
mod harness;
mod hostile;
mod live;
mod nfdump;
mod project;
mod protocol;
mod replay;
mod reverse_dns;
mod sinks;
mod splunk_hec;
mod supervision;
mod zeek;

use harness::Settings;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let settings = Settings::from_environment();
    let cases = [
        architecture::cases(),
        commands::cases(),
        community_id::cases(),
        damage::cases(),
        elasticsearch::cases(),
        harness::cases(),
        hostile::cases(),
        live::cases(),
        nfdump::cases(),
        project::cases(),
        protocol::cases(),
        replay::cases(),
        reverse_dns::cases(),
        sinks::cases(),
        splunk_hec::cases(),
        supervision::cases(),
        zeek::cases(),
    ];
    let trials = cases.into_iter().flatten().filter_map(|case| case.trial(&settings)).collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    harness::server::end_all(conclusion.has_failed());
    conclusion.exit();
}
