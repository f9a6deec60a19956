//! Traffic as others make it: jumbo frames, nmap, hping3, curl; and an interface that goes away.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use super::live::{BAD, GOOD, NEAR, Site, gets_through};
use crate::harness::{
    Case, Outcome, Scene, config,
    netns::INTERFACE,
    poll::{self, SOON},
    process::output,
};

/// Bytes of a datagram that a frame of 9000 has room for, and one of 1500 has not.
const JUMBO: usize = 8_000;

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::with(frames_of_9000_bytes_are_dropped_and_passed_whole, "native", "native")
            .needs_root(),
        Case::with(frames_of_9000_bytes_are_dropped_and_passed_whole, "skb", "skb").needs_root(),
        Case::new(nmap_hping3_and_curl_of_a_blocked_source_get_nothing).needs_root(),
        Case::new(an_interface_that_is_deleted_is_told_and_leaves_nothing).needs_root(),
    ]
}

fn frames_of_9000_bytes_are_dropped_and_passed_whole(scene: &Scene, attach: &str) -> Outcome {
    let site = Site::enforcing(scene, &format!("attach: {attach}"))?;
    for side in [&site.wire.near, &site.wire.far] {
        side.run("ip", &["link", "set", "dev", INTERFACE, "mtu", "9000"])?;
    }
    let running = site.start()?;
    let (_, health) = site.wire.near.get(config::API_PORT, "/health")?;
    let program = if attach == "native" { "tidegate_frags" } else { "tidegate" };
    poll::until_true("/health to name the program", SOON, || {
        let page = site.wire.near.get(config::API_PORT, "/health");
        page.is_ok_and(|(_, health)| health.contains(&format!(r#""program":"{program}""#)))
    })
    .map_err(|failed| Failed::from(format!("{:?}: {health}", failed.message())))?;
    let server = site.server()?;
    let (bad, good) = (site.client(BAD)?, site.client(GOOD)?);
    site.add(BAD, &[])?;
    let before = counted(&site)?;
    for _ in 0..5 {
        bad.send(&[7; JUMBO])?;
    }
    let mut buffer = vec![0; JUMBO + 1];
    let (read, from) = poll::until("a jumbo datagram of the good client", SOON, || {
        good.send(&[7; JUMBO]).unwrap_or_default();
        server.recv_from(&mut buffer).ok()
    })?;
    assert_eq!((read, from.ip().to_string()), (JUMBO, GOOD.to_owned()));
    let header = 28;
    let after = counted(&site)?;
    assert_eq!(after.0 - before.0, 5);
    assert_eq!(after.1 - before.1, 5 * (JUMBO as u64 + header));
    running.signal(Signal::TERM);
    running.wait(SOON)?.expect(0)?;
    Ok(())
}

/// Packets and bytes that the verdict on the bad source met.
fn counted(site: &Site<'_>) -> Result<(u64, u64), Failed> {
    let listed = site.list()?;
    let entry = listed.iter().find(|entry| entry["address"] == BAD).ok_or("no verdict")?;
    let number = |key: &str| entry[key].as_u64().ok_or("no number");
    Ok((number("packets")?, number("bytes")?))
}

fn nmap_hping3_and_curl_of_a_blocked_source_get_nothing(scene: &Scene) -> Outcome {
    const SYNS: u64 = 2_000;
    let site = Site::enforcing(scene, "")?;
    let _running = site.start()?;
    let server = site.server()?;
    let listener = site.wire.near.inside(|| TcpListener::bind((NEAR, 8080)))??;
    listener.set_nonblocking(true)?;
    let over = AtomicBool::new(false);
    let shown = thread::scope(|scope| -> Outcome {
        scope.spawn(|| serve(&listener, &over));
        let done = tools(&site, SYNS);
        over.store(true, Ordering::Relaxed);
        done
    });
    shown?;
    // And nothing of it came by: who is not blocked is served.
    assert!(!gets_through(&server, &site.client(BAD)?, &site.client(GOOD)?)?);
    Ok(())
}

fn tools(site: &Site<'_>, syns: u64) -> Outcome {
    let page = format!("http://{NEAR}:8080/");
    let curl = |address: &str, max_time: &str| {
        let mut command = site.wire.far.command("curl");
        output(command.args(["--silent", "--max-time", max_time, "--interface", address, &page]))
    };
    let scan = |address: &str| {
        let ports = ["-p", "1-64,8080", "--max-retries", "0", "--host-timeout", "5m"];
        let mut command = site.wire.far.command("nmap");
        command.args(["-n", "-Pn", "-sS", "-oG", "-", "-e", INTERFACE, "-S", address]).args(ports);
        output(command.arg(NEAR))
    };
    assert_eq!(curl(BAD, "60")?, "served");
    assert!(scan(BAD)?.contains("8080/open"), "nothing is blocked yet");
    site.add(BAD, &[])?;
    assert!(curl(BAD, "5").is_err());
    let scanned = scan(BAD)?;
    assert!(!scanned.contains("/open/") && !scanned.contains("/closed/"), "{scanned}");
    assert_eq!(curl(GOOD, "60")?, "served");
    // Each packet that arrives is counted, once.
    let (before, dropped) = (site.packets(BAD)?, site.wire.dropped()?);
    let count = syns.to_string();
    let mut command = site.wire.far.command("hping3");
    command
        .args(["--quiet", "--syn", "-p", "443", "-i", "u500", "-c", &count, "--spoof", BAD, NEAR]);
    // It ends with 1 when nothing was answered, as it should be.
    let ran = command.output()?;
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(said.contains(&format!("{syns} packets transmitted, 0 packets received")), "{said}");
    let arrived = syns - (site.wire.dropped()? - dropped);
    poll::until_true("all of them to be counted", SOON, || {
        site.packets(BAD).is_ok_and(|packets| packets - before >= arrived)
    })?;
    assert_eq!(site.packets(BAD)? - before, arrived);
    Ok(())
}

/// Answers every connection with a page, until it is over.
fn serve(listener: &TcpListener, over: &AtomicBool) {
    while !over.load(Ordering::Relaxed) {
        let Ok((mut stream, _)) = listener.accept() else {
            thread::sleep(std::time::Duration::from_millis(5));
            continue;
        };
        // A scanner resets it, and hears nothing.
        let mut request = [0; 1024];
        if stream.set_nonblocking(false).is_ok()
            && stream.read(&mut request).is_ok_and(|read| read > 0)
        {
            let page = b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nserved";
            stream.write_all(page).unwrap_or_default();
        }
    }
}

fn an_interface_that_is_deleted_is_told_and_leaves_nothing(scene: &Scene) -> Outcome {
    let site = Site::enforcing(scene, "")?;
    let mut running = site.start()?;
    site.add(BAD, &[])?;
    site.wire.cut()?;
    poll::until_true("the daemon to see it", SOON, || {
        running.stderr().contains("the gate is put back when it is there again")
    })?;
    running.still_runs()?;
    let (_, health) = site.wire.near.get(config::API_PORT, "/health")?;
    let health: Value = serde_json::from_str(&health)?;
    let gate = health["components"].as_array().and_then(|all| {
        all.iter().find(|one| one["type"] == "xdp").map(|one| one["gate"]["attached"].clone())
    });
    assert_eq!(gate, Some("no".into()));
    assert_eq!(site.list()?.len(), 1, "the verdicts are there all the same");
    let status = site.command(&["gate", "status", "--source", &site.id]).run()?.expect(0)?;
    assert!(status.stdout.contains("its interface is gone"), "{}", status.stdout);
    running.signal(Signal::TERM);
    // It did not do all that it was told to.
    running.wait(SOON)?.expect(3)?;
    site.command(&["gate", "detach", "--source", &site.id]).run()?.expect(0)?;
    assert!(!fs::exists(site.pins())?);
    Ok(())
}
