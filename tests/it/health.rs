//! The sensor's reports on itself, from the built program.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{
    Case, Outcome, Scene, captures,
    poll::{self, SOON},
    server,
    tidegate::Tidegate,
};

/// How long the program may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(a_sensor_reports_each_interval_and_once_more_when_it_is_stopped),
        Case::new(a_run_over_files_ends_with_a_report_of_its_packets),
        Case::new(a_replay_has_no_reports),
        Case::new(who_only_connects_to_the_api_keeps_nobody_out_for_long),
    ]
}

fn a_sensor_reports_each_interval_and_once_more_when_it_is_stopped(scene: &Scene) -> Outcome {
    let text = "\
data_dir: state
api: { address: \"127.0.0.1:0\" }
sources: { self: { type: health, interval_secs: 1 } }
sinks: { out: { type: file, inputs: [self], path: reports.ndjson, encoding: { schema: simple } } }
";
    let config = scene.write("health.yaml", text);
    let running = Tidegate::new(scene, ["run", "-c"]).arg(&config).start()?;
    poll::until("two reports", PATIENCE, || {
        reports(scene).ok().filter(|reports| reports.len() >= 2)
    })?;
    let before = reports(scene)?.len();
    running.signal(Signal::TERM);
    running.wait(PATIENCE)?.expect(0)?;
    let reports = reports(scene)?;
    assert!(reports.len() > before, "{reports:?}");
    for report in &reports {
        assert!(report["timestamp"].is_string(), "{report}");
        assert_eq!((&report["packets"], &report["lost_packets"]), (&0.into(), &0.into()));
    }
    Ok(())
}

fn a_run_over_files_ends_with_a_report_of_its_packets(scene: &Scene) -> Outcome {
    let config = with_capture(scene);
    Tidegate::new(scene, ["run", "-c"]).arg(&config).run()?.expect(0)?;
    let reports = reports(scene)?;
    let packets: u64 = reports.iter().filter_map(|report| report["packets"].as_u64()).sum();
    assert_eq!(packets, 1_000, "{reports:?}");
    Ok(())
}

fn a_replay_has_no_reports(scene: &Scene) -> Outcome {
    let config = with_capture(scene);
    let ended = Tidegate::new(scene, ["replay", "-c"])
        .arg(&config)
        .arg(scene.path("some.pcap"))
        .run()?
        .expect(0)?;
    ended.says(&["blackhole: in 1000 =", "file: in 0 = "])?;
    assert!(!scene.path("reports.ndjson").exists());
    Ok(())
}

fn who_only_connects_to_the_api_keeps_nobody_out_for_long(scene: &Scene) -> Outcome {
    let port = server::free_port()?;
    let text = format!(
        "\
data_dir: state
api: {{ address: \"127.0.0.1:{port}\" }}
sources: {{ self: {{ type: health, interval_secs: 1 }} }}
sinks: {{ out: {{ type: blackhole, inputs: [self] }} }}
"
    );
    let config = scene.write("api.yaml", text);
    let running = Tidegate::new(scene, ["run", "-c"]).arg(&config).start()?;
    let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
    poll::until("the API to listen", PATIENCE, connect)?;
    // More than it serves at once; none of them ever says what it wants.
    let silent: Vec<_> = (0..100).filter_map(|_| connect()).collect();
    assert_eq!(silent.len(), 100);
    let sockets = fs::read_dir(format!("/proc/{}/fd", running.pid()))?.count();
    assert!(sockets < 100, "{sockets} files are open: each connection has one");
    let mut asking = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    asking.set_read_timeout(Some(SOON))?;
    asking.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    asking.read_to_string(&mut answer)?;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    running.signal(Signal::TERM);
    running.wait(PATIENCE)?.expect(0)?;
    Ok(())
}

/// A pipeline over a file of 1,000 packets, and the sensor's reports.
fn with_capture(scene: &Scene) -> PathBuf {
    captures::numbered(1_000).write(&scene.path("some.pcap"));
    let text = "\
data_dir: state
api: { address: \"127.0.0.1:0\" }
sources:
  capture: { type: tshark, mode: file, files: [some.pcap] }
  self: { type: health }
transforms: { extracted: { type: extract, inputs: [capture] } }
sinks:
  packets: { type: blackhole, inputs: [extracted] }
  reports: { type: file, inputs: [self], path: reports.ndjson, encoding: { schema: simple } }
";
    scene.write("capture.yaml", text)
}

fn reports(scene: &Scene) -> Result<Vec<Value>, Failed> {
    let text = fs::read_to_string(scene.path("reports.ndjson"))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(Failed::from)).collect()
}
