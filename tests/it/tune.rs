//! `tidegate tune`: the bars that the judge is held to, on captures and logs with known answers.

mod inputs;
mod page;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, sync::Arc};

use ipnet::IpNet;
use libtest_mimic::Failed;
use serde_json::Value;
use tidegate::{
    networks::Networks,
    record::{self, Action, Contact, ObservationPoint, Signal, Timestamp, Transport},
    score::{Judge, Seat},
    transforms::{flow, score},
    tune::{self, Labels},
};

use crate::{
    harness::{Case, Outcome, Scene, tidegate::Tidegate},
    hostile::resident_bytes,
};

/// What a scenario of the lab must come to: packets or seconds before the block, or the least verdict.
enum Bar {
    Packets(u64),
    Seconds(f64),
    Told,
    Limited,
}

/// The lab's attacks, by words of their scenario.
const BARS: [(&str, Bar); 21] = [
    ("-T3 1000 ports", Bar::Packets(20)),
    ("-p- max-rate 5000", Bar::Packets(20)),
    ("-T2 300 ports", Bar::Packets(20)),
    ("-T1 20 ports", Bar::Told),
    ("scan-delay 5 s", Bar::Seconds(60.0)),
    (":22 on 256 hosts", Bar::Packets(35)),
    (":445 on 128 hosts", Bar::Packets(35)),
    (":3389 filtered", Bar::Packets(35)),
    ("filtered target", Bar::Packets(35)),
    ("-sT 200", Bar::Packets(20)),
    ("-sU 60 ports", Bar::Packets(60)),
    ("-sS -f", Bar::Told),
    ("-sN", Bar::Told),
    ("-sX", Bar::Told),
    ("-sA", Bar::Told),
    ("ssh 0.3 s", Bar::Limited),
    ("ssh 6 s", Bar::Told),
    ("hping3 SYN", Bar::Told),
    ("hping3 UDP", Bar::Told),
    ("hping3 ICMP", Bar::Told),
    // Slowloris.
    ("150 sockets", Bar::Limited),
];

/// A pipeline for the judge's records alone.
const REPLAYED: &str = "\
sources:
  wire: { type: tshark, mode: file, files: [none.pcap], dissect: headers }
transforms:
  packets: { type: extract, inputs: [wire] }
  flows: { type: flow, inputs: [packets] }
  scored: { type: score, inputs: [flows, flows.contacts] }
sinks:
  alerts: { type: file, inputs: [scored.alerts], path: alerts.ndjson }
  flows_too: { type: blackhole, inputs: [scored] }
";

/// The cases.
pub(crate) fn cases() -> Vec<Case> {
    let cases = vec![
        Case::new(every_bar_of_the_lab_is_met).needs_data().busy(),
        Case::new(the_destination_of_the_lab_s_flood_is_named_within_a_second).needs_data().busy(),
        Case::new(a_replay_and_a_tuning_run_judge_alike_in_few_words).needs_data().busy(),
        Case::new(backscatter_blocks_nobody).needs_data(),
        Case::new(logs_with_known_answers_are_judged_right).needs_data().busy(),
        Case::new(outsiders_that_probe_make_events_and_no_alert).needs_data(),
        Case::new(rows_that_can_not_be_read_are_counted_with_their_lines),
        Case::new(a_report_needs_nothing_from_anywhere),
        Case::new(an_hour_of_background_scanning_makes_events_and_no_alert).needs_data(),
        Case::new(a_million_spoofed_sources_take_no_more_memory_than_the_cap).alone(),
        Case::new(labels_of_sources_that_no_input_has_are_named_and_count_nowhere),
    ];
    [cases, inputs::cases(), page::cases()].into_iter().flatten().collect()
}

fn every_bar_of_the_lab_is_met(scene: &Scene) -> Outcome {
    let lab = scene.data.join("scans/lab");
    let told = tuned(scene, &lab.join("lab.pcap.gz"), Some(&lab.join("labels.csv")))?;
    let sources = sources(&told);
    let mut missed = Vec::new();
    for (scenario, bar) in BARS {
        let source = sources
            .values()
            .find(|source| source["scenario"].as_str().is_some_and(|text| text.contains(scenario)));
        let source = source.ok_or_else(|| format!("no source is of `{scenario}`"))?;
        let verdict = source["verdict"].as_str().unwrap_or_default();
        let is_met = match bar {
            Bar::Packets(most) => {
                source["packets_before_block"].as_u64().is_some_and(|packets| packets <= most)
            }
            Bar::Seconds(most) => {
                source["first_block_s"].as_f64().is_some_and(|seconds| seconds <= most)
            }
            Bar::Told => verdict != "none",
            Bar::Limited => verdict == "rate_limit",
        };
        if !is_met {
            missed.push(format!("{scenario}: {source}"));
        }
    }
    missed.extend(wronged(&sources));
    if missed.is_empty() { Ok(()) } else { Err(missed.join("\n").into()) }
}

fn the_destination_of_the_lab_s_flood_is_named_within_a_second(scene: &Scene) -> Outcome {
    const SECOND: u64 = 1_000_000_000;
    let flooder = "10.77.0.30".parse()?;
    let networks = Arc::new(Networks::default());
    let policy = flow::Config::default().policy(&"sensor".into(), &networks.internal)?;
    let settings = score::Config::default().settings();
    let (labels, path) = (&mut Labels::default(), scene.data.join("scans/lab/lab.pcap.gz"));
    let judged = tune::read(&path, &settings, &networks, &policy, labels, &mut |_| {})?.judged;
    let began = judged.sources.get(&flooder).and_then(|met| met.first).ok_or("no flood")?;
    let named: Vec<_> = judged
        .alerts
        .iter()
        .filter(|alert| alert.details.rule == Signal::DestinationFlood)
        .map(|alert| {
            let destination = alert.details.destination.as_ref();
            let place = destination.map(|at| (at.address.to_string(), at.port));
            (place, alert.source.is_unspecified(), alert.time)
        })
        .collect();
    // Once, and nobody for it: its source may be forged.
    let [(Some((address, port)), is_nobody, time)] = &named[..] else {
        return Err(format!("named: {named:?}").into());
    };
    assert_eq!((address.as_str(), *port, *is_nobody), ("10.77.200.1", Some(80), true));
    assert!(*time >= began && time.since(began) <= SECOND, "{began} to {time}");
    Ok(())
}

fn a_replay_and_a_tuning_run_judge_alike_in_few_words(scene: &Scene) -> Outcome {
    let capture = scene.data.join("scans/lab/lab.pcap.gz");
    let config = scene.folder.join("tidegate.yaml");
    fs::write(&config, REPLAYED)?;
    let replayed = replayed(scene, &config, &capture)?;
    let mut words = BTreeMap::<_, u64>::new();
    for line in fs::read_to_string(scene.folder.join("alerts.ndjson"))?.lines() {
        let alert: Value = serde_json::from_str(line)?;
        for name in ["/message", "/rule/name"] {
            let text = alert.pointer(name).and_then(Value::as_str).unwrap_or_default();
            *words.entry((name, text.to_owned())).or_default() += 1;
        }
    }
    let alike = gravest(&tuned(scene, &capture, None)?);
    assert_eq!(replayed, alike);
    for name in ["/message", "/rule/name"] {
        let distinct = words.keys().filter(|(field, _)| *field == name).count();
        assert!((2..=12).contains(&distinct), "{words:?}");
    }
    Ok(())
}

/// What a replay comes to for each source that it tells of, the gravest, as [`gravest`] gives it.
fn replayed(scene: &Scene, config: &Path, capture: &Path) -> Result<BTreeMap<String, u8>, Failed> {
    let ended = Tidegate::new(scene, ["replay", "-c"]).arg(config).arg(capture).run()?;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let mut replayed = BTreeMap::<String, u8>::new();
    for line in fs::read_to_string(scene.folder.join("alerts.ndjson"))?.lines() {
        let alert: Value = serde_json::from_str(line)?;
        let gravity = match alert["event"]["action"].as_str() {
            Some("alert") => 1,
            Some("rate_limit") => 2,
            Some("would_block") => 3,
            _ => continue,
        };
        if let Some(source) = alert["source"]["ip"].as_str() {
            let known = replayed.entry(source.to_owned()).or_default();
            *known = gravity.max(*known);
        }
    }
    Ok(replayed)
}

/// The sources that a tuning run tells of, with 1 for an alert, 2 for a limit and 3 for a block.
fn gravest(told: &Value) -> BTreeMap<String, u8> {
    let told = sources(told).into_iter().filter_map(|(address, source)| {
        let gravity = match source["verdict"].as_str()? {
            "alert" => 1,
            "rate_limit" => 2,
            "block" => 3,
            _ => return None,
        };
        Some((address, gravity))
    });
    told.collect()
}

fn backscatter_blocks_nobody(scene: &Scene) -> Outcome {
    let told = tuned(scene, &scene.data.join("scans/simple-scan/backscatter.trace"), None)?;
    let blocked: Vec<_> =
        sources(&told).into_values().filter(|source| source["verdict"] == "block").collect();
    assert!(blocked.is_empty(), "{blocked:?}");
    Ok(())
}

fn logs_with_known_answers_are_judged_right(scene: &Scene) -> Outcome {
    let logs = scene.data.join("logs");
    let njrat = sources(&tuned(scene, &logs.join("001-njrat.conn.log"), None)?);
    assert_eq!(wronged(&njrat), Vec::<String>::new());
    let nmap = sources(&tuned(scene, &logs.join("002-nmap.conn.json"), None)?);
    let held: Vec<_> = nmap
        .iter()
        .filter(|(_, source)| source["verdict"] == "block" || source["verdict"] == "rate_limit")
        .map(|(address, source)| (address.as_str(), source["verdict"].clone()))
        .collect();
    assert_eq!(held, [("172.16.1.11", "block".into())]);
    let path = logs.join("008-workstation.conn.log");
    let workstation = sources(&tuned(scene, &path, None)?);
    assert_eq!(wronged(&workstation), Vec::<String>::new());
    let judged = failing(&fs::read_to_string(path)?);
    let missed: Vec<_> = judged
        .iter()
        .filter(|source| workstation.get(*source).is_none_or(|source| source["verdict"] == "none"))
        .collect();
    assert!(judged.len() > 5 && missed.len() * 10 <= judged.len(), "{missed:?} of {judged:?}");
    Ok(())
}

fn outsiders_that_probe_make_events_and_no_alert(scene: &Scene) -> Outcome {
    let internal: IpNet = "147.32.81.167/32".parse()?;
    let networks =
        Arc::new(Networks { internal: [internal].into_iter().collect(), ..Networks::default() });
    let policy = flow::Config::default().policy(&"sensor".into(), &networks.internal)?;
    let path = scene.data.join("logs/008-workstation.conn.log");
    let settings = score::Config::default().settings();
    let labels = &mut Labels::default();
    let read = tune::read(&path, &settings, &networks, &policy, labels, &mut |_| {})?;
    assert!(read.judged.alerts.len() > 5, "{}", read.judged.alerts.len());
    let alerts = read.judged.alerts.iter().filter(|alert| alert.details.is_alert);
    assert_eq!(alerts.count(), 0);
    Ok(())
}

/// The sources outside that a host on the internet met in a day, all within an hour.
fn an_hour_of_background_scanning_makes_events_and_no_alert(scene: &Scene) -> Outcome {
    const HOST: &str = "147.32.81.167";
    const HOUR: f64 = 3_600.0;
    let log = fs::read_to_string(scene.data.join("logs/008-workstation.conn.log"))?;
    let outside = |line: &&str| line.split('\t').nth(2).is_some_and(|source| source != HOST);
    let rows: Vec<_> = log.lines().filter(|line| !line.starts_with('#')).filter(outside).collect();
    let time = |row: &str| row.split('\t').next().and_then(|time| time.parse::<f64>().ok());
    let times: Vec<f64> = rows.iter().filter_map(|row| time(row)).collect();
    let first = times.iter().copied().fold(f64::INFINITY, f64::min);
    let last = times.iter().copied().fold(0.0, f64::max);
    assert!(times.len() == rows.len() && rows.len() > 1_000, "{} rows", rows.len());
    let headings = log.lines().take_while(|line| line.starts_with('#'));
    let mut hour: String = headings.flat_map(|line| [line, "\n"]).collect();
    for (row, time) in rows.iter().zip(times) {
        let (_, values) = row.split_once('\t').ok_or("no time")?;
        let time = first + (time - first) * HOUR / (last - first);
        writeln!(hour, "{time:.6}\t{values}")?;
    }
    let path = scene.write("hour.conn.log", hour);
    let internal: IpNet = format!("{HOST}/32").parse()?;
    let networks =
        Arc::new(Networks { internal: [internal].into_iter().collect(), ..Networks::default() });
    let policy = flow::Config::default().policy(&"sensor".into(), &networks.internal)?;
    let settings = score::Config::default().settings();
    let labels = &mut Labels::default();
    let read = tune::read(&path, &settings, &networks, &policy, labels, &mut |_| {})?;
    assert_eq!((read.units, read.bad_rows), (rows.len() as u64, 0));
    let told = &read.judged.alerts;
    let blocked = told.iter().filter(|alert| alert.action == Action::WouldBlock);
    assert!(blocked.count() > 5, "{told:?}");
    let alerts: Vec<_> = told.iter().filter(|alert| alert.details.is_alert).collect();
    assert!(alerts.is_empty(), "{alerts:?}");
    Ok(())
}

fn a_million_spoofed_sources_take_no_more_memory_than_the_cap(_: &Scene) -> Outcome {
    const CAP: usize = 20_000;
    let settings = score::Config { max_sources: CAP, ..score::Config::default() };
    let mut judge =
        Judge::new(settings.settings().at_once(), Arc::new(Networks::default()), Seat::default());
    let mut out = Vec::new();
    let mut tell = |judge: &mut Judge, numbers: std::ops::Range<u32>| {
        for number in numbers {
            let contact = Contact {
                time: Timestamp::from_nanos(1_700_000_000_000_000_000 + i64::from(number) * 1_000),
                origin: ObservationPoint::default(),
                source: std::net::Ipv4Addr::from_bits(0x1400_0000 + number).into(),
                destination: [192, 0, 2, 1].into(),
                port: 443,
                source_port: 40_000,
                transport: Transport::TCP,
                outcome: record::Outcome::TimedOut,
                path_proven: false,
            };
            judge.take(&contact, false, contact.time, &mut out);
        }
    };
    // At the cap, and with all else that is bounded by it full.
    tell(&mut judge, 0..200_000);
    let before = resident_bytes();
    tell(&mut judge, 200_000..1_200_000);
    assert_eq!(judge.len(), CAP);
    let grown = resident_bytes().saturating_sub(before);
    if grown < 8 << 20 { Ok(()) } else { Err(format!("{grown} bytes more").into()) }
}

fn labels_of_sources_that_no_input_has_are_named_and_count_nowhere(scene: &Scene) -> Outcome {
    let row = r#"{"ts":1.5,"id.orig_h":"10.0.0.1","id.resp_h":"10.0.0.2","id.resp_p":445,"proto":"tcp","conn_state":"SF"}"#;
    let log = scene.write("conn.log", row);
    let tune = |labels: &str| {
        let labels =
            scene.write("labels.csv", format!("src,label,scenario\n10.0.0.1,benign,\n{labels}"));
        let tidegate = Tidegate::new(scene, ["tune", "--json", "--labels"]).arg(labels);
        tidegate.arg(&log).run()?.expect(0)
    };
    let known = tune("")?;
    assert!(known.stderr.is_empty(), "{}", known.stderr);
    let more = tune("10.0.0.7,benign,\n10.0.0.6,scan,nmap\n")?;
    assert_eq!(more.stdout, known.stdout);
    more.says(&["labels.csv", "2 labels", "10.0.0.6, 10.0.0.7", "no input"])?;
    let many: Vec<_> = (0..30).map(|number| format!("10.0.1.{number},scan,")).collect();
    tune(&many.join("\n"))?.says(&["30 labels", "10.0.1.9 and 20 more"])
}

/// The malicious sources of a log with twelve failed contacts or more.
fn failing(log: &str) -> Vec<String> {
    let mut contacts: BTreeMap<&str, std::collections::BTreeSet<(&str, &str)>> = BTreeMap::new();
    let mut malicious = std::collections::BTreeSet::new();
    for line in log.lines().filter(|line| !line.starts_with('#')) {
        let values: Vec<_> = line.split('\t').collect();
        let (Some(source), Some(state)) = (values.get(2), values.get(11)) else { continue };
        if values.get(21).is_some_and(|label| label.eq_ignore_ascii_case("malicious")) {
            malicious.insert(*source);
        }
        if values.get(6) == Some(&"tcp") && ["S0", "REJ"].contains(state) {
            contacts.entry(source).or_default().insert((values[4], values[5]));
        }
    }
    let many = contacts
        .into_iter()
        .filter(|(source, failed)| failed.len() >= 12 && malicious.contains(source));
    many.map(|(source, _)| source.to_owned()).collect()
}

fn rows_that_can_not_be_read_are_counted_with_their_lines(scene: &Scene) -> Outcome {
    let path = scene.folder.join("rows.log");
    let good = r#"{"ts":1.5,"id.orig_h":"10.0.0.1","id.resp_h":"10.0.0.2","id.resp_p":445,"proto":"tcp","conn_state":"REJ"}"#;
    fs::write(&path, format!("{good}\nnonsense\n{good}\n{{\"ts\":1\n"))?;
    let ended = Tidegate::new(scene, ["tune"]).arg(&path).arg("--json").run()?;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    for words in ["line 2", "line 4", "2 rows could not be read"] {
        assert!(ended.stderr.contains(words), "{words} in {}", ended.stderr);
    }
    Ok(())
}

fn a_report_needs_nothing_from_anywhere(scene: &Scene) -> Outcome {
    let path = scene.folder.join("scan.log");
    let page = scene.folder.join("report.html");
    let row = |port: u16| {
        format!(
            r#"{{"ts":{port}.5,"id.orig_h":"10.0.0.1","id.resp_h":"10.0.0.2","id.resp_p":{port},"proto":"tcp","conn_state":"REJ"}}"#
        )
    };
    fs::write(&path, (1..30).map(row).collect::<Vec<_>>().join("\n"))?;
    let ended = Tidegate::new(scene, ["tune"]).arg(&path).arg("--report").arg(&page).run()?;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stdout.contains("10.0.0.1") && ended.stdout.contains("block"),
        "{}",
        ended.stdout
    );
    let html = fs::read_to_string(page)?;
    assert!(html.contains("1 source would have been blocked") && html.ends_with("</html>\n"));
    for foreign in ["http://", "https://", "<script", "src=", "@import"] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    Ok(())
}

fn tuned(scene: &Scene, input: &Path, labels: Option<&Path>) -> Result<Value, Failed> {
    let mut tidegate = Tidegate::new(scene, ["tune"]).arg(input).arg("--json");
    if let Some(labels) = labels {
        tidegate = tidegate.arg("--labels").arg(labels);
    }
    let ended = tidegate.run()?;
    if ended.code != Some(0) {
        return Err(ended.stderr.into());
    }
    Ok(serde_json::from_str(&ended.stdout)?)
}

fn sources(told: &Value) -> BTreeMap<String, Value> {
    let sources = told["sources"].as_array().into_iter().flatten();
    sources
        .map(|source| (source["src"].as_str().unwrap_or_default().to_owned(), source.clone()))
        .collect()
}

/// Benign sources that would have been limited or blocked.
fn wronged(sources: &BTreeMap<String, Value>) -> Vec<String> {
    let wronged = sources.values().filter(|source| {
        source["label"] == "benign"
            && (source["verdict"] == "block" || source["verdict"] == "rate_limit")
    });
    wronged.map(|source| format!("benign: {source}")).collect()
}
