//! What is wrong with a config: by its values alone, and on this machine.

use std::{fs, path::Path};

use super::process::{
    arguments,
    child::Exit,
    programs::{self, Privilege},
    question::Question,
    refusal::{is_about_the_interface, refused},
};
use super::{Config, Dissect, Mode, Restart, Segment, is_of_headers};
use crate::{
    component::{Error, Problem, with_causes},
    host::interfaces,
    storage::directory::unmakable,
};

/// What dumpcap says of a filter that it can't compile.
const BAD_FILTER: &str = "Invalid capture filter";

/// libpcap's own maximum (`MAXIMUM_SNAPLEN`).
pub(super) const MAX_SNAPLEN: u32 = 262_144;

/// Values that don't go together, and keys that don't go with the mode.
pub(super) fn values(config: &Config) -> Vec<Problem> {
    let mut findings = Findings::default();
    match config.mode {
        Mode::File => findings.replaying(config),
        Mode::Segments | Mode::Pipe => findings.capturing(config),
    }
    findings.ranges(config);
    findings.segment(config);
    findings.fields(config);
    findings.headers(config);
    findings.0
}

/// What is right but better said otherwise.
pub(super) fn remarks(config: &Config) -> Vec<Problem> {
    if config.dissect != Dissect::Transport || !config.reads_frames() {
        return Vec::new();
    }
    let remark =
        "`transport` means `headers` up to the ports: we read the packets, and no tshark runs";
    let hint = "write `dissect: headers`, which names TLS, HTTP and DNS too";
    vec![Problem::new("dissect", remark).hint(hint)]
}

#[derive(Default)]
struct Findings(Vec<Problem>);

impl Findings {
    fn unless(&mut self, fine: bool, key: &str, message: impl Into<String>, hint: &str) {
        if !fine {
            self.0.push(Problem::new(key, message).hint(hint));
        }
    }

    fn replaying(&mut self, config: &Config) {
        self.unless(
            !config.files.is_empty(),
            "files",
            "`mode: file` needs `files`",
            "name at least one capture file",
        );
        self.unless(
            config.interface.is_none(),
            "interface",
            "`interface` does not go with `mode: file`",
            "leave it out, or capture with `mode: segments`",
        );
        self.unless(
            config.capture_filter.is_none(),
            "capture_filter",
            "`capture_filter` does not go with `mode: file`",
            "leave it out: files are read as they are",
        );
    }

    fn capturing(&mut self, config: &Config) {
        let interface = config.interface.as_deref().unwrap_or_default();
        // dumpcap would take others for options, pipes or remote machines.
        let is_name = !interface.starts_with('-') && !interface.contains(['/', '|', '@']);
        self.unless(
            !interface.is_empty(),
            "interface",
            "capturing needs an `interface`",
            "name one of those `ip link` lists, or read files with `mode: file`",
        );
        self.unless(
            is_name,
            "interface",
            format!("`{interface}` is no interface"),
            "name one of those `ip link` lists",
        );
        self.unless(
            config.files.is_empty(),
            "files",
            "`files` does not go with capturing",
            "leave it out, or read files with `mode: file`",
        );
        self.unless(
            config.mode != Mode::Pipe || config.workers <= 1 || config.reads_frames(),
            "workers",
            format!("`mode: pipe` has one tshark, not {}", config.workers),
            "leave it out, or use `mode: segments`",
        );
    }

    fn ranges(&mut self, config: &Config) {
        self.unless(
            config.snaplen == 0 || config.snaplen >= 64,
            "snaplen",
            format!("snaplen is {}, not 0 or 64 to {MAX_SNAPLEN}", config.snaplen),
            "128 holds the headers; 0 keeps whole packets",
        );
        let Restart { initial_secs, max_secs } = config.restart;
        self.unless(
            initial_secs <= max_secs,
            "restart",
            format!("restart goes from {initial_secs} to {max_secs} seconds"),
            "give a max_secs that is not less than initial_secs",
        );
    }

    /// What only tshark knows, asked for where no tshark runs.
    fn headers(&mut self, config: &Config) {
        if config.dissect != Dissect::Headers {
            return;
        }
        for (place, field) in config.fields.iter().enumerate() {
            self.unless(
                is_of_headers(field),
                &format!("fields[{place}]"),
                format!("only tshark knows `{field}`, and with `dissect: headers` none runs"),
                "leave it out, or have tshark read with `dissect: application`",
            );
        }
    }

    fn segment(&mut self, config: &Config) {
        let Segment { max_bytes, disk_budget_bytes, .. } = config.segment;
        self.unless(
            disk_budget_bytes / 3 >= max_bytes,
            "segment.disk_budget_bytes",
            format!(
                "segment.disk_budget_bytes is {disk_budget_bytes}, less than three segments of {max_bytes}"
            ),
            "one segment is written and one is read while a third waits",
        );
    }

    fn fields(&mut self, config: &Config) {
        for (place, field) in config.fields.iter().enumerate() {
            let is_name = !field.is_empty()
                && !field.starts_with('-')
                && field.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
            self.unless(
                is_name,
                &format!("fields[{place}]"),
                format!("`{field}` is not a field's name"),
                "names are those of `tshark -G fields`, such as dns.qry.name",
            );
        }
    }
}

/// Files that are not there or can't be read.
pub(super) fn files(config: &Config) -> Vec<Problem> {
    if config.mode != Mode::File {
        return Vec::new();
    }
    let files = config.files.iter().enumerate();
    files
        .filter_map(|(place, path)| {
            let reason = unreadable(path)?;
            let message = format!("{} can't be read: {reason}", path.display());
            Some(Problem::new(format!("files[{place}]"), message))
        })
        .collect()
}

fn unreadable(path: &Path) -> Option<String> {
    match fs::metadata(path) {
        Err(error) => Some(error.to_string()),
        Ok(meta) if meta.is_dir() => Some("it is a folder".to_owned()),
        // Opening a named pipe would wait for its writer.
        Ok(meta) if !meta.is_file() => None,
        Ok(_) => fs::File::open(path).err().map(|error| error.to_string()),
    }
}

/// What this machine lacks.
pub(super) fn environment(config: &Config) -> Vec<Problem> {
    let mut problems = files(config);
    if !config.reads_frames() {
        match programs::find(&config.programs.tshark) {
            Err(error) => problems.push(problem("", &error)),
            Ok(tshark) => problems.extend(fields(config, &tshark)),
        }
    }
    if config.mode == Mode::File {
        if !config.reads_frames() {
            let editcap = programs::find(&config.programs.editcap);
            problems.extend(editcap.err().map(|error| problem("", &error)));
        }
        return problems;
    }
    problems.extend(segments(config));
    match programs::find(&config.programs.dumpcap) {
        Err(error) => problems.push(problem("", &error)),
        Ok(dumpcap) => problems.extend(capturing(config, &dumpcap)),
    }
    problems
}

/// What keeps dumpcap from capturing on the interface.
fn capturing(config: &Config, dumpcap: &Path) -> Option<Problem> {
    let interface = config.interface.as_deref()?;
    if !exists(interface) {
        let message = format!("there is no interface `{interface}`: `run` waits for it");
        let hint = format!("there are: {}", interfaces().join(", "));
        return Some(Problem::new("interface", message).hint(hint).warning());
    }
    let problem = capture(config, dumpcap, interface)?;
    // One that is down is waited for, as one that is missing.
    Some(if is_about_the_interface(&problem.message) { problem.warning() } else { problem })
}

/// The folder of segments, if it can be neither used nor made.
fn segments(config: &Config) -> Option<Problem> {
    let folder = config.segment.dir.as_ref().filter(|_| config.mode == Mode::Segments)?;
    let message = unmakable(folder)?;
    Some(Problem::new("segment.dir", message).hint("choose another, or give the user access"))
}

/// What can't be checked here, and why.
pub(super) fn unchecked(config: &Config) -> Vec<String> {
    let interface = config.interface.as_deref().filter(|_| config.mode != Mode::File);
    interface.map_or_else(Vec::new, |interface| {
        not_checked(config, interface, exists(interface), programs::may_capture())
    })
}

/// The same, of an interface that is there or not, by a user who may capture or not. dumpcap opens nothing to
/// compile a filter, so that it does is no proof that it may.
fn not_checked(config: &Config, interface: &str, is_there: bool, may_capture: bool) -> Vec<String> {
    let (missing, unprivileged) =
        (format!("there is no interface {interface}"), "without CAP_NET_RAW");
    let privileges = (!may_capture).then(|| format!("privileges ({unprivileged})"));
    let why = match (is_there, may_capture) {
        (false, _) => Some(missing.as_str()),
        (true, false) => Some(unprivileged),
        (true, true) => None,
    };
    let filter = why.filter(|_| config.capture_filter.is_some());
    privileges.into_iter().chain(filter.map(|why| format!("capture_filter ({why})"))).collect()
}

fn exists(interface: &str) -> bool {
    interface == "any" || interfaces().iter().any(|name| name == interface)
}

/// Has tshark read nothing, for what it says about its command line.
fn fields(config: &Config, tshark: &Path) -> Option<Problem> {
    let key = |words: &str| if words.contains("fields") { "fields" } else { "" };
    complaint(tshark, Privilege::None, arguments::tshark(config, false), key)
}

/// Has dumpcap open the interface, for what it says about permission and filter.
fn capture(config: &Config, dumpcap: &Path, interface: &str) -> Option<Problem> {
    let filter = config.capture_filter.as_deref().unwrap_or_default();
    let arguments = ["-i", interface, "-d", "-f", filter].map(str::to_owned).to_vec();
    let key = |words: &str| if words.contains("filter") { "capture_filter" } else { "interface" };
    complaint(dumpcap, Privilege::Capture, arguments, key)
}

/// What a program says if it fails, as a problem with the `key` that its words are about.
fn complaint(
    program: &Path,
    privilege: Privilege,
    arguments: Vec<String>,
    key: impl FnOnce(&str) -> &'static str,
) -> Option<Problem> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let question = Question { program: program.to_owned(), arguments, privilege };
    match question.ask_and_block() {
        // dumpcap ends well with a filter that it can't compile, and only says so.
        Ok(answer) if answer.exit == Exit::Code(0) && !answer.words.contains(BAD_FILTER) => None,
        Ok(answer) => Some(problem(key(&answer.words), &refused(&name, &answer.words))),
        Err(error) => Some(problem("", &error)),
    }
}

fn problem(key: &str, error: &Error) -> Problem {
    let problem = Problem::new(key, with_causes(error));
    match error.remedy() {
        Some(remedy) => problem.hint(remedy),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    type Row = (fn(&mut Config), &'static [&'static str]);

    fn keys(config: &Config) -> Vec<String> {
        values(config).into_iter().map(|it| it.key).collect()
    }

    #[test]
    fn each_value_that_does_not_go_with_the_others_is_named() {
        let good = Config { interface: Some("eth0".to_owned()), ..Config::default() };
        assert_eq!(keys(&good), [""; 0]);
        let bad = |change: fn(&mut Config)| {
            let mut config = good.clone();
            change(&mut config);
            keys(&config)
        };
        let table: [Row; 9] = [
            (|c| c.interface = None, &["interface"]),
            (|c| c.interface = Some("-w/etc/x".to_owned()), &["interface"]),
            (|c| c.interface = Some("TCP@host:1".to_owned()), &["interface"]),
            (|c| c.files = vec!["a.pcap".into()], &["files"]),
            (|c| c.snaplen = 63, &["snaplen"]),
            (|c| c.segment.disk_budget_bytes = 1, &["segment.disk_budget_bytes"]),
            (|c| c.restart.initial_secs = 31, &["restart"]),
            (|c| c.fields = vec!["dns.a".to_owned(), "-w".to_owned()], &["fields[1]"]),
            (
                |c| {
                    c.mode = Mode::Pipe;
                    c.workers = 2;
                    c.segment = Segment { disk_budget_bytes: 1, ..Segment::default() };
                },
                &["workers", "segment.disk_budget_bytes"],
            ),
        ];
        for (row, (change, expected)) in table.into_iter().enumerate() {
            assert_eq!(bad(change), expected, "row {row}");
        }
    }

    #[test]
    fn a_file_mode_without_files_and_with_an_interface_has_two_problems() {
        let config =
            Config { mode: Mode::File, interface: Some("eth0".to_owned()), ..Config::default() };
        assert_eq!(keys(&config), ["files", "interface"]);
    }

    #[test]
    fn headers_are_for_what_they_hold() {
        let with = |mode, dissect, fields: &[&str]| {
            let interface = (mode != Mode::File).then(|| "eth0".to_owned());
            let files = if mode == Mode::File { vec!["a.pcap".into()] } else { Vec::new() };
            let fields = fields.iter().map(|field| (*field).to_owned()).collect();
            Config { mode, interface, files, fields, dissect, ..Config::default() }
        };
        let headers = Dissect::Headers;
        assert_eq!(keys(&with(Mode::File, headers, &["dns.a", "http.host"])), [""; 0]);
        assert_eq!(keys(&with(Mode::File, headers, &["dns.a", "http.date"])), ["fields[1]"]);
        assert_eq!(keys(&with(Mode::Pipe, headers, &["dns.a"])), [""; 0]);
        let several = |dissect| Config { workers: 2, ..with(Mode::Pipe, dissect, &[]) };
        assert_eq!(keys(&several(headers)), [""; 0]);
        assert_eq!(keys(&several(Dissect::Application)), ["workers"]);
        let reads = |mode, dissect, fields| with(mode, dissect, fields).decoders();
        assert_eq!(reads(Mode::File, Dissect::Transport, &[]), Some(1));
        assert_eq!(reads(Mode::File, Dissect::Transport, &["http.date"]), None);
        assert_eq!(reads(Mode::Segments, Dissect::Transport, &[]), Some(1));
        assert_eq!(reads(Mode::Segments, headers, &[]), Some(1));
        assert_eq!(reads(Mode::Pipe, Dissect::Transport, &["http.date"]), None);
        assert_eq!(reads(Mode::File, Dissect::Application, &[]), None);
        assert_eq!(remarks(&with(Mode::File, Dissect::Transport, &[])).len(), 1);
        assert_eq!(remarks(&with(Mode::Segments, Dissect::Transport, &["http.date"])), []);
    }

    #[test]
    fn missing_files_and_folders_are_named_before_anything_starts() {
        let config = Config {
            mode: Mode::File,
            files: vec![PathBuf::from("/no/such.pcap"), PathBuf::from("/")],
            ..Config::default()
        };
        let messages: Vec<_> = files(&config).into_iter().map(|it| it.message).collect();
        assert_eq!(
            messages,
            [
                "/no/such.pcap can't be read: No such file or directory (os error 2)",
                "/ can't be read: it is a folder",
            ]
        );
    }

    #[test]
    fn whether_a_user_without_the_capability_may_capture_is_not_checked_by_name() {
        let table: [(bool, bool, Option<&str>, &[&str]); 5] = [
            (true, true, Some("udp"), &[]),
            (true, false, None, &["privileges (without CAP_NET_RAW)"]),
            (
                true,
                false,
                Some("udp"),
                &["privileges (without CAP_NET_RAW)", "capture_filter (without CAP_NET_RAW)"],
            ),
            (false, true, Some("udp"), &["capture_filter (there is no interface eth9)"]),
            (
                false,
                false,
                Some("udp"),
                &[
                    "privileges (without CAP_NET_RAW)",
                    "capture_filter (there is no interface eth9)",
                ],
            ),
        ];
        for (row, (is_there, may_capture, filter, expected)) in table.into_iter().enumerate() {
            let config = Config { capture_filter: filter.map(str::to_owned), ..Config::default() };
            assert_eq!(not_checked(&config, "eth9", is_there, may_capture), expected, "row {row}");
        }
    }

    #[test]
    fn an_interface_that_is_missing_is_a_warning_and_its_filter_not_checked() {
        let config = Config {
            interface: Some("none-such0".to_owned()),
            capture_filter: Some("port 1 and and".to_owned()),
            dissect: Dissect::Headers,
            ..Config::default()
        };
        let problems = environment(&config);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].is_warning && problems[0].message.contains("none-such0"));
        assert_eq!(unchecked(&config), ["capture_filter (there is no interface none-such0)"]);
        let without = Config { capture_filter: None, ..config };
        assert_eq!(unchecked(&without), [""; 0]);
    }

    #[test]
    fn a_folder_of_segments_that_can_not_be_made_is_named() {
        let folder = |dir: &str| {
            let segment = Segment { dir: Some(dir.into()), ..Segment::default() };
            let interface = Some("lo".to_owned());
            let config = Config { interface, segment, ..Config::default() };
            segments(&config).map(|problem| (problem.key, problem.message))
        };
        assert_eq!(folder("/tmp/not/there/yet"), None);
        let (key, message) = folder("/proc/version/segments").unwrap();
        assert_eq!(key, "segment.dir");
        assert!(message.contains("/proc/version"), "{message}");
    }

    #[test]
    fn a_field_that_tshark_does_not_know_is_a_problem_of_fields() {
        let config = Config { fields: vec!["no.such.field".to_owned()], ..Config::default() }
            .replay(vec![PathBuf::from("/dev/null")]);
        let problems = environment(&config);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].key, "fields");
        assert!(problems[0].message.contains("no.such.field"));
    }
}
