//! Two processes on one directory or one file: the second is refused, and told which the first is.

use std::{fs, time::Duration};

use rustix::process::Signal;

use crate::harness::{
    Case, Outcome, Scene, captures, config,
    live::Live,
    poll::{self, SOON},
    tidegate::Tidegate,
};

/// What the second process may take to end.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_second_process_on_one_data_dir_is_refused_and_told_of_the_first)
            .needs_root()
            .alone(),
        Case::new(a_second_process_on_one_file_is_refused_and_told_of_the_first)
            .needs_root()
            .alone(),
    ]
}

fn a_second_process_on_one_data_dir_is_refused_and_told_of_the_first(scene: &Scene) -> Outcome {
    let live = Live::start(scene, "segment: { max_secs: 1 }")?;
    let first = format!("another process (pid {}) uses", live.running.pid());
    let second = || {
        Tidegate::inside(scene, &live.wire.near, ["run", "-c"])
            .arg(scene.path("live.yaml"))
            .run()?
            .expect(1)?
            .says(&["data_dir can't be used", &first, &scene.path("state").display().to_string()])
    };
    // The second one leaves the first one's lock alone.
    second()?;
    second()?;
    live.stop()?.0.expect(0)?;
    // A killed process leaves no lock behind.
    let capture = scene.path("ten.pcap");
    captures::numbered(10).write(&capture);
    for records in [10, 20] {
        let live = Live::start(scene, "segment: { max_secs: 1 }")?;
        live.wire.send(&capture, 1_000, 1)?;
        live.wait_for_records(records)?;
        if records == 10 {
            live.running.signal(Signal::KILL);
        } else {
            live.stop()?;
        }
    }
    Ok(())
}

fn a_second_process_on_one_file_is_refused_and_told_of_the_first(scene: &Scene) -> Outcome {
    let capture = scene.path("ten.pcap");
    captures::numbered(10).write(&capture);
    let letters = scene.path("letters.ndjson");
    let sink = format!("dead_letter: {{ path: {} }}", letters.display());
    let config = config::live(scene, "mode: pipe", &sink);
    let live = Live::start_with(scene, |wire| {
        Tidegate::inside(scene, &wire.near, ["run", "-c"]).arg(&config)
    })?;
    live.wire.send(&capture, 1_000, 1)?;
    live.wait_for_records(10)?;
    let first = format!("another process (pid {}) uses", live.running.pid());

    // A dead-letter file is opened at the start.
    let second = Tidegate::inside(scene, &live.wire.near, ["run", "-c"]).arg(&config).run()?;
    second.expect(1)?.says(&[&first, &letters.display().to_string()])?;

    // The file of a time is opened for the first record of that time: the records are held.
    let config = config::replay(scene, "", "");
    let replay = Tidegate::new(scene, ["replay", "-c"]).arg(config).arg(&capture).start()?;
    poll::until_true("the other process to be named", SOON, || replay.stderr().contains(&first))?;
    let records = fs::read_to_string(scene.path("records.out"))?.lines().count();
    assert_eq!(records, 10, "the second one wrote into the file of the first");
    let (ended, _) = live.stop()?;
    ended.expect(0)?;
    // Once the first has ended, it is the second one's.
    replay.wait(ENDS_WITHIN)?.expect(0)?;
    Ok(())
}
