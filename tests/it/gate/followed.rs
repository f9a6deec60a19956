//! One source from its first alert to the end of its block, as whoever reads the records sees it: every step with
//! its reasons, and on the command line the same.

use std::{fs, path::Path, process::Stdio};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use super::{
    judged::site,
    live::{BAD, GOOD, NEAR, Site, gets_through, watch},
};
use crate::harness::{
    Case, Outcome, Scene, captures,
    netns::INTERFACE,
    poll::{self, SOON},
};

/// Packets that no sane stack sends: 0.8 · 3 of 5 is 48 points, an alert and no more.
const ODD: u64 = 3;
/// SYNs to closed ports: nine are enough for a block, the rest is dropped.
const SYNS: u64 = 60;
/// Datagrams that `gets_through` sends of the bad source.
const DATAGRAMS: u64 = 10;
/// How long the block holds: long enough to be looked at on a machine that stands still for a while.
const TTL_SECS: u32 = 60;

pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new(a_block_is_followed_from_the_first_alert_to_its_end_by_its_records).needs_root()]
}

fn a_block_is_followed_from_the_first_alert_to_its_end_by_its_records(scene: &Scene) -> Outcome {
    let site = site(scene, TTL_SECS)?;
    let running = site.start()?;
    let server = site.server()?;
    let (bad, good) = (site.client(BAD)?, site.client(GOOD)?);
    let (file, seen) = (scene.path("alerts.ndjson"), scene.path("seen.pcap"));
    let mut tcpdump = watch(&site, &seen)?;

    // The first alert: a signal of its own, that does not block alone.
    let mut sent = hping3(&site, &["-F", "-P", "-U"], ODD)?;
    let alert = record(&file, "alert")?;
    assert_eq!(texts(&alert, "/tidegate/risk/signals"), ["stealth_flags"], "{alert}");
    assert!(site.list()?.is_empty() && alert["tidegate"]["verdict"]["id"].is_null(), "{alert}");
    says(&alert, "TCP flags no sane stack sends")?;

    // The verdict: the second signal, with the first still in it.
    sent += hping3(&site, &["--syn"], SYNS)?;
    let block = record(&file, "block")?;
    let mut signals = texts(&block, "/tidegate/risk/signals");
    signals.sort_unstable();
    assert_eq!(signals, ["scan", "stealth_flags"], "{block}");
    says(&block, "first contacts failed")?;
    let score = |record: &Value| record["event"]["risk_score"].as_f64();
    assert!(score(&block) > score(&alert), "{alert}\n{block}");

    // While it holds the command line says the same of it.
    let explained = poll::until("the reasons on the command line", SOON, || {
        let told = site.verdicts(&["explain", BAD, "--json"]).ok()?;
        let told: Value = serde_json::from_str(told.stdout.lines().next()?).ok()?;
        (!texts(&told, "/reasons").is_empty()).then_some(told)
    })?;
    is_the_same(&explained, &block)?;
    let text = site.verdicts(&["explain", BAD])?.expect(0)?.stdout;
    let all = texts(&block, "/tidegate/alert/reasons").join("; ");
    for words in [BAD, text_of(&block, "/tidegate/verdict/id"), &all] {
        assert!(text.contains(words), "{words} in {text}");
    }
    assert!(!gets_through(&server, &bad, &good)?);
    sent += DATAGRAMS;
    let hits = poll::until("what it meets to be counted", SOON, || {
        site.packets(BAD).ok().filter(|hits| *hits >= DATAGRAMS)
    })?;

    // Its end: with what it dropped, which is what was sent and did not come in.
    let end = record(&file, "expire")?;
    tcpdump.kill()?;
    tcpdump.wait()?;
    let dropped = sent - u64::try_from(captures::count(&fs::read(&seen)?))?;
    assert_eq!(end["tidegate"]["verdict"]["id"], block["tidegate"]["verdict"]["id"]);
    assert_eq!(hits, dropped, "of {sent} packets");
    says(&end, &format!("dropped {dropped} packets"))?;
    poll::until_true("the source to be let in again", SOON, || {
        gets_through(&server, &bad, &good).is_ok_and(|through| through)
    })?;
    let ended = site.verdicts(&["explain", BAD, "--json"])?.expect(0)?.stdout;
    let ended: Value = serde_json::from_str(&ended)?;
    assert_eq!((&ended["why"], &ended["packets"]), (&"expired".into(), &dropped.into()), "{ended}");
    is_the_same(&ended, &block)?;

    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    is_in_order(&file, &["alert", "block", "expire"])
}

/// What a record and the command line say of one verdict.
fn is_the_same(explained: &Value, record: &Value) -> Outcome {
    for (here, there) in [
        ("/id", "/tidegate/verdict/id"),
        ("/reasons", "/tidegate/alert/reasons"),
        ("/ttl_s", "/tidegate/block/ttl_s"),
        ("/offence", "/tidegate/block/offence"),
        ("/by", "/tidegate/verdict/by"),
        ("/address", "/source/ip"),
    ] {
        let (said, recorded) = (explained.pointer(here), record.pointer(there));
        if said.is_none() || said != recorded {
            return Err(format!("{here} of {explained}\nis not {there} of {record}").into());
        }
    }
    assert_eq!(explained["score"].as_f64(), record["event"]["risk_score"].as_f64(), "{explained}");
    assert_eq!(explained["mode"], "enforce", "{explained}");
    Ok(())
}

/// Sends packets of the bad source to ports from 1 on; answers how many went out.
fn hping3(site: &Site<'_>, flags: &[&str], count: u64) -> Result<u64, Failed> {
    let mut hping3 = site.wire.far.command("hping3");
    let count = count.to_string();
    hping3.args(flags).args(["-p", "++1", "-i", "u20000", "-c", &count, "-I", INTERFACE]);
    // It ends with 1 where nobody answered.
    let said = hping3.args(["--spoof", BAD, NEAR]).stdout(Stdio::null()).output()?.stderr;
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| line.contains("packets transmitted"));
    let sent = line.and_then(|line| line.split(' ').next()?.parse().ok());
    sent.ok_or_else(|| format!("hping3 does not say what it sent: {said}").into())
}

/// Waits for the first record of this action about the bad source.
fn record(file: &Path, action: &str) -> Result<Value, Failed> {
    // A block lasts for longer than what comes soon.
    poll::until(&format!("a record of {action}"), 3 * SOON, || {
        records(file).into_iter().find(|record| record["event"]["action"] == action)
    })
}

/// The whole records about the bad source.
fn records(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records.filter(|record| record["source"]["ip"] == BAD).collect()
}

/// The records tell these steps in this order, and each says why.
fn is_in_order(file: &Path, steps: &[&str]) -> Outcome {
    let records = records(file);
    let mut rest = steps.iter();
    let mut next = rest.next();
    for record in &records {
        assert!(!text_of(record, "/event/reason").is_empty(), "no reason: {record}");
        let reasons = texts(record, "/tidegate/alert/reasons");
        assert_eq!(reasons.first(), Some(&text_of(record, "/event/reason")), "{record}");
        if next.is_some_and(|step| record["event"]["action"] == *step) {
            next = rest.next();
        }
    }
    match next {
        None => Ok(()),
        Some(step) => Err(format!("no {step} in its place: {records:#?}").into()),
    }
}

fn says(record: &Value, words: &str) -> Outcome {
    let reasons = texts(record, "/tidegate/alert/reasons").join("; ");
    if reasons.contains(words) { Ok(()) } else { Err(format!("no `{words}` in {record}").into()) }
}

fn texts<'a>(record: &'a Value, place: &str) -> Vec<&'a str> {
    let list = record.pointer(place).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn text_of<'a>(record: &'a Value, place: &str) -> &'a str {
    record.pointer(place).and_then(Value::as_str).unwrap_or_default()
}
