//! What `/proc` says of processes, and signals by process id.

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command};

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};

use super::Scene;

/// One live process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Its id.
    pub(crate) pid: u32,
    /// Its parent's.
    pub(crate) parent: u32,
    /// Its process group's.
    pub(crate) group: u32,
    /// The program's name, cut at 15 bytes by the kernel.
    pub(crate) name: String,
    /// The kernel's one-letter state; `Z` is dead but not yet waited for.
    pub(crate) state: char,
}

/// What is preloaded to have a system call fail.
pub(crate) fn shim(scene: &Scene, name: &str) -> Result<PathBuf, Failed> {
    let shim = scene.path(&format!("{name}.so"));
    let source = Scene::project(&format!("tests/it/harness/{name}.c"));
    output(
        Command::new("cc")
            .args(["-Wall", "-Werror", "-shared", "-fPIC", "-o"])
            .args([&shim, &source])
            .arg("-ldl"),
    )?;
    Ok(shim)
}

/// Every process that can be seen.
pub(crate) fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(get)
        .collect()
}

/// The process of this id, if it lives.
pub(crate) fn get(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once('(')?;
    let mut fields = after.split(' ');
    Some(Process {
        pid,
        name: name.to_owned(),
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}

/// Children, their children and so on, of a live process.
pub(crate) fn descendants(pid: u32) -> Vec<Process> {
    let mut children = BTreeMap::<u32, Vec<Process>>::new();
    for process in all() {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            parents.push(child.pid);
            found.push(child);
        }
    }
    found
}

/// The descendants of `pid` that run this program.
pub(crate) fn descendants_named(pid: u32, name: &str) -> Vec<Process> {
    let mut found = descendants(pid);
    found.retain(|process| process.name == name && process.state != 'Z');
    found
}

/// The value behind `key:` in `/proc/PID/status`.
pub(crate) fn status(pid: u32, key: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name == key).then(|| value.trim().to_owned())
    })
}

/// Bytes a process has written so far, to whatever it writes to; 0 if it is gone.
pub(crate) fn written(pid: u32) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let written = counts.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok());
    written.unwrap_or_default()
}

/// The program and arguments a process was started with, a space after each; empty if it is gone.
pub(crate) fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// The environment a process was started with.
pub(crate) fn environment(pid: u32) -> Option<Vec<String>> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).ok()?;
    Some(
        bytes
            .split(|byte| *byte == 0)
            .filter(|entry| !entry.is_empty())
            .map(|entry| String::from_utf8_lossy(entry).into_owned())
            .collect(),
    )
}

/// Sends a signal to one process; one that is gone already is fine.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => panic!("can't signal {pid:?}: {error}"),
        }
    }
}

/// Runs a program to its end, and answers what it printed on stdout.
///
/// # Errors
/// When it can't be started or doesn't end well: with its words.
pub(crate) fn output(command: &mut Command) -> Result<String, Failed> {
    let output = command.output().map_err(|error| format!("can't start {command:?}: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} ended with {}: {words}", output.status).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
