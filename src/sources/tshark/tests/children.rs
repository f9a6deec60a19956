//! What each of our children may do and knows, whichever part of the source starts it.

use std::collections::BTreeMap;

use super::*;

/// Scripts in the place of all programs. Each keeps what the kernel says of its process, under the name
/// of what it was asked for; `reads` is what tshark does with a capture.
fn watched(folder: &TempDir, reads: &str) -> Programs {
    let said = folder.path().join("said");
    fs::create_dir(&said).unwrap();
    let program = |name: &str, script: &str| {
        let script = format!(
            "#!/bin/sh
case \"$*\" in *--version*) task=version;; *-d\\ -f*) task=check;; *) task=read;; esac
to={said}/{name}-$task-$$
(cat /proc/$$/status; tr '\\0' '\\n' < /proc/$$/environ; cut -d' ' -f5 /proc/$$/stat; echo $$) > $to.part
mv $to.part $to
{script}
",
            said = said.display()
        );
        program(folder, name, &script).into_os_string()
    };
    let version = "echo 'TShark (Wireshark) 4.0'";
    Programs {
        tshark: program("tshark", &format!("[ $task = version ] && {version} || {reads}")),
        dumpcap: program("dumpcap", "[ $task = check ] || sleep 600"),
        editcap: program("editcap", "sleep 600"),
        ..Programs::default()
    }
}

/// What the children said of themselves, by program and task.
fn said(folder: &TempDir) -> BTreeMap<String, Vec<String>> {
    let mut said = BTreeMap::<_, Vec<_>>::new();
    for entry in fs::read_dir(folder.path().join("said")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none() {
            let task = name.rsplit_once('-').unwrap().0.to_owned();
            said.entry(task).or_default().push(fs::read_to_string(path).unwrap());
        }
    }
    said
}

/// Runs the source until its children have begun these tasks.
async fn run_until(config: &Config, folder: &TempDir, tasks: &[&str]) {
    let source = Started::new(config);
    let begun = async {
        while !tasks.iter().all(|task| said(folder).contains_key(*task)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let begun = tokio::time::timeout(Duration::from_mins(1), begun).await;
    assert!(begun.is_ok(), "{tasks:?}: only {:?}", said(folder).keys());
    source.running.abort();
    drop(source.running.await);
}

/// Checks what the children have said, and that they were those of these tasks.
fn check(folder: &TempDir, tasks: &[&str]) {
    let said = said(folder);
    assert_eq!(said.keys().collect::<Vec<_>>(), tasks);
    for (task, children) in said {
        // dumpcap may open packet sockets (CAP_NET_RAW), and nobody anything else.
        let allowed: u64 = if task.starts_with("dumpcap") { 1 << 13 } else { 0 };
        for child in children {
            assert!(child.contains("NoNewPrivs:\t1\n"), "{task}: {child}");
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                let line = child.lines().find_map(|line| line.strip_prefix(set)).unwrap();
                let mask = line.trim_start_matches(':').trim();
                let mask = u64::from_str_radix(mask, 16).unwrap();
                assert_eq!(mask & !allowed, 0, "{task}: {set} {mask:x}");
            }
            let environment = child.lines().filter_map(|line| line.split_once('='));
            for (variable, _) in environment {
                assert!(["PATH", "LC_ALL", "HOME"].contains(&variable), "{task}: {variable}");
            }
            // A process group of its own, so that what it starts can be ended with it.
            let [.., group, pid] = child.lines().collect::<Vec<_>>()[..] else { panic!("{child}") };
            assert_eq!(group, pid, "{task}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_starts_no_child_with_privileges_or_our_environment() {
    let folder = tempfile::tempdir().unwrap();
    // Large enough to be cut.
    let mut config = files(&folder, &[("big.pcap", capture(60_000))]);
    config.programs = watched(&folder, "sleep 600");
    let tasks = ["editcap-read", "tshark-version"];
    run_until(&config, &folder, &tasks).await;
    check(&folder, &tasks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_a_whole_file_has_no_privileges_and_not_our_environment() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = files(&folder, &[("ten.pcap", capture(10))]);
    config.programs = watched(&folder, "sleep 600");
    let tasks = ["tshark-read", "tshark-version"];
    run_until(&config, &folder, &tasks).await;
    check(&folder, &tasks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_capture_starts_no_child_that_may_more_than_capture() {
    for mode in [Mode::Segments, Mode::Pipe] {
        let folder = tempfile::tempdir().unwrap();
        let config = Config {
            mode,
            interface: Some("lo".to_owned()),
            programs: watched(&folder, "cat"),
            segment: Segment { dir: Some(folder.path().join("segments")), ..Segment::default() },
            ..Config::default()
        };
        let tasks = ["dumpcap-read", "tshark-read", "tshark-version"];
        run_until(&config, &folder, &tasks).await;
        check(&folder, &tasks);
    }
}

#[test]
fn the_checks_of_validate_start_no_child_that_may_more_than_capture() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        interface: Some("lo".to_owned()),
        programs: watched(&folder, "cat"),
        ..Config::default()
    };
    assert_eq!(config.check_environment(), []);
    check(&folder, &["dumpcap-check", "tshark-read"]);
}
