//! `tidegate tune` over a million rows: the built program, from the file to its JSON, by the clock and by what it
//! took of the processor. `cargo bench --bench tune`.
//!
//! The rows are generated: 20,000 clients of a network with 50 servers over a day, most connections well, some
//! refused or timed out, and 200 sources from outside that scan.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

const ROWS: u32 = 1_000_000;
const ROUNDS: usize = 3;
/// Seconds that it may take.
const BAR: f64 = 10.0;
/// Ticks of the kernel's accounts in a second (`USER_HZ`).
const TICKS: f64 = 100.0;
const HEADING: &str = "#separator \\x09\n#set_separator\t,\n#unset_field\t-\n#path\tconn\n#fields\tts\tuid\t\
    id.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\t\
    history\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\n";

fn main() -> std::io::Result<()> {
    let folder = tempfile::tempdir()?;
    for (name, is_json) in [("conn.log", false), ("conn.json", true)] {
        let log = folder.path().join(name);
        write(&log, is_json)?;
        let bytes = fs::metadata(&log)?.len();
        let mut best = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ROUNDS {
            let (wall, processor) = tuned(folder.path(), &log)?;
            best = (best.0.min(wall), best.1.min(processor));
        }
        let (wall, processor) = best;
        println!(
            "{name}: {ROWS} rows, {} MB: {wall:.2} s, {processor:.2} s of a processor ({} {BAR} s)",
            bytes >> 20,
            if wall <= BAR { "within" } else { "MISSES" }
        );
    }
    Ok(())
}

/// Seconds by the clock and of the processor.
fn tuned(folder: &Path, log: &Path) -> std::io::Result<(f64, f64)> {
    let out = folder.join("tuned.json");
    let (before, began) = (spent(), now());
    let status = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["tune", "--json"])
        .arg(log)
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .status()?;
    let wall = began.elapsed().as_secs_f64();
    assert!(status.success(), "{status}");
    let told: serde_json::Value = serde_json::from_reader(File::open(&out)?)?;
    let sources = told["sources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let blocked = sources.iter().filter(|source| source["verdict"] == "block");
    assert_eq!(blocked.count(), 200, "the scanners, and nobody else");
    let ticks = u32::try_from(spent() - before).unwrap_or(u32::MAX);
    Ok((wall, f64::from(ticks) / TICKS))
}

fn write(path: &Path, is_json: bool) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    if !is_json {
        out.write_all(HEADING.as_bytes())?;
    }
    for number in 0..ROWS {
        let mixed = number.wrapping_mul(2_654_435_761) >> 8;
        let time = 1_700_000_000.0 + f64::from(number) * 86_400.0 / f64::from(ROWS);
        let scans = number % 50 == 0;
        let (source, server, port, state) = if scans {
            let scanner = number / 50 % 200;
            (
                format!("203.0.{}.{}", scanner / 100, scanner % 100 + 1),
                mixed % 50,
                number / 10_000,
                "REJ",
            )
        } else {
            let client = mixed % 20_000;
            let port = [80, 443, 443, 443, 53, 5432][(client % 6) as usize];
            let state = ["SF", "SF", "SF", "SF", "SF", "SF", "SF", "S1", "RSTO", "REJ"];
            // Who is refused is so by few servers.
            let state = if client % 40 == 0 { state[(number % 10) as usize] } else { "SF" };
            (format!("10.0.{}.{}", client / 250, client % 250 + 1), client % 7, port, state)
        };
        let (history, packets) = if state == "REJ" { ("Sr", 1) } else { ("ShADadFf", 8) };
        if is_json {
            writeln!(
                out,
                "{{\"ts\":{time:.6},\"uid\":\"C{number:x}\",\"id.orig_h\":\"{source}\",\"id.orig_p\":{op},\
                 \"id.resp_h\":\"10.1.0.{server}\",\"id.resp_p\":{port},\"proto\":\"tcp\",\"duration\":0.25,\
                 \"orig_bytes\":500,\"resp_bytes\":4000,\"conn_state\":\"{state}\",\"history\":\"{history}\",\
                 \"orig_pkts\":{packets},\"orig_ip_bytes\":900,\"resp_pkts\":{packets},\"resp_ip_bytes\":4400}}",
                op = 32_768 + mixed % 28_000,
            )?;
        } else {
            writeln!(
                out,
                "{time:.6}\tC{number:x}\t{source}\t{op}\t10.1.0.{server}\t{port}\ttcp\t-\t0.25\t500\t4000\t{state}\t\
                 {history}\t{packets}\t900\t{packets}\t4400",
                op = 32_768 + mixed % 28_000,
            )?;
        }
    }
    out.flush()
}

/// Processor time of the processes that this one has waited for, in ticks (proc(5)).
fn spent() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("proc is mounted");
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
    let mut fields = fields.split(' ').skip(13);
    let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    next() + next()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}
