//! What it costs that a run speaks: the line on a terminal, spans and the log, beside a run that only says what
//! fails. Both are the built program, on a pseudo-terminal of util-linux's `script`, over the same capture; they
//! take turns, and their processor time is compared. `cargo bench --bench live`.
#![expect(clippy::print_stderr, reason = "a bench says what it measured")]

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio, id},
};

/// Packets of the capture, and how often it is read in a run: long enough for the line to change a few times.
const PACKETS: u32 = 1_000_000;
const TIMES: usize = 8;
const ROUNDS: usize = 15;
/// Ticks of the kernel's accounts in a second (`USER_HZ`).
const TICKS: f64 = 100.0;

/// UDP between two of 65,536 pairs of ports in turn, 60 bytes each, microseconds apart.
fn write_capture(path: &Path) -> std::io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
    out.write_all(&[2, 0, 4, 0])?;
    out.write_all(&[0; 8])?;
    out.write_all(&65_535_u32.to_le_bytes())?;
    out.write_all(&1_u32.to_le_bytes())?;
    for number in 0..PACKETS {
        let [.., high, low] = number.to_be_bytes();
        let mut frame = [0; 60];
        frame[12..24].copy_from_slice(&[8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17]);
        frame[26..34].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        frame[34..40].copy_from_slice(&[high, low, 0x13, 0x88, 0, 26]);
        let begin = [1_700_000_000 + number / 1_000_000, number % 1_000_000, 60, 60];
        begin.iter().try_for_each(|word| out.write_all(&word.to_le_bytes()))?;
        out.write_all(&frame)?;
    }
    out.flush()
}

/// Processor time of the processes that this one has waited for, and of theirs, in ticks (proc(5)).
fn spent() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("proc is mounted");
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in brackets");
    let mut fields = fields.split(' ').skip(13);
    let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    next() + next()
}

/// Runs it with these options; answers its processor time in seconds.
fn run(folder: &Path, config: &Path, options: &str) -> f64 {
    let before = spent();
    let command = format!(
        "stty rows 24 cols 120; exec {} {options} run -c {}",
        env!("CARGO_BIN_EXE_tidegate"),
        config.display()
    );
    let status = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .current_dir(folder)
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("util-linux is there");
    assert!(status.success(), "{options}: {status}");
    let ticks = u32::try_from(spent() - before).expect("it is little");
    f64::from(ticks) / TICKS
}

fn prepare(folder: &Path) -> std::io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    write_capture(&folder.join("some.pcap"))?;
    let files = ["some.pcap"; TIMES].join(", ");
    let config = folder.join("live.yaml");
    fs::write(
        &config,
        format!(
            "data_dir: state
api: {{ address: '127.0.0.1:0' }}
sources: {{ files: {{ type: tshark, mode: file, dissect: headers, files: [{files}] }} }}
transforms:
  packets: {{ type: extract, inputs: [files] }}
  flows: {{ type: flow, inputs: [packets] }}
sinks: {{ nowhere: {{ type: blackhole, inputs: [flows] }} }}
"
        ),
    )?;
    Ok(config)
}

fn main() {
    let folder = std::env::temp_dir().join(format!("tidegate-bench-live-{}", id()));
    let config = prepare(&folder).expect("there is room for temporary files");
    let cases = ["--quiet --log-level error", "", "--log-level debug"];
    let mut seconds = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        for (options, seconds) in cases.iter().zip(&mut seconds) {
            seconds.push(run(&folder, &config, options));
        }
    }
    for of_one in &mut seconds {
        of_one.sort_by(f64::total_cmp);
    }
    let [least, median] = [0, ROUNDS / 2].map(|at| seconds.each_ref().map(|of_one| of_one[at]));
    for (index, options) in cases.iter().enumerate() {
        eprintln!(
            "{options:>28}: {:.2} s at least, {:.2} s in the middle: {:.3} and {:.3} of the silent one",
            least[index],
            median[index],
            least[index] / least[0],
            median[index] / median[0],
        );
    }
    fs::remove_dir_all(&folder).expect("it is ours");
}
