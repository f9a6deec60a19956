//! The programs of the sidecar: where they are, and which privileges they get.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::component::Error;

/// What children find programs by; ours is not passed on, like the rest of the environment.
pub(in crate::sources::tshark) const CHILD_PATH: &str =
    "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

/// `CAP_NET_RAW` in the masks of `/proc/self/status` (linux/capability.h).
const NET_RAW: u32 = 13;

/// A tshark that says nothing for so long, though there is something to read, is stuck.
const STALLED_AFTER: Duration = Duration::from_mins(2);

/// The names the programs are looked up by, and how long tshark may say nothing; tests put others in their
/// place.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) tshark: OsString,
    pub(crate) dumpcap: OsString,
    pub(crate) editcap: OsString,
    pub(crate) stalled_after: Duration,
}

/// What a child may do that any process may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sources::tshark) enum Privilege {
    /// Nothing.
    None,
    /// Open packet sockets (`CAP_NET_RAW`), where we may ourselves.
    Capture,
}

/// Where `program` is: as it says if it has a slash, else in our `PATH` or in the usual places.
pub(in crate::sources::tshark) fn find(program: &OsString) -> Result<PathBuf, Error> {
    let found = if Path::new(program).components().count() > 1 {
        Some(PathBuf::from(program)).filter(|path| is_program(path))
    } else {
        let ours = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&ours)
            .chain(env::split_paths(CHILD_PATH))
            .map(|folder| folder.join(program))
            .find(|path| is_program(path))
    };
    found.ok_or_else(|| {
        let name = program.to_string_lossy();
        let package = match name.as_ref() {
            "setpriv" => "util-linux",
            "dumpcap" | "editcap" => "wireshark-common",
            _ => "tshark",
        };
        Error::configuration(format!("`{name}` is not installed"))
            .hint(format!("apt-get install {package}"))
    })
}

/// Arguments of setpriv(1) for a child that dies by `death_signal` when we die.
pub(in crate::sources::tshark) fn setpriv(privilege: Privilege, death_signal: &str) -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let keeps = |set| privilege == Privilege::Capture && has_net_raw(&status, set);
    let kept = |keeps| if keeps { "-all,+net_raw" } else { "-all" };
    // As root it is the bounding set that gives a program its capabilities, as another user the
    // ambient set.
    let ambient = kept(keeps("CapAmb:"));
    vec![
        "--no-new-privs".to_owned(),
        format!("--pdeathsig={death_signal}"),
        format!("--inh-caps={ambient}"),
        format!("--ambient-caps={ambient}"),
        format!("--bounding-set={}", kept(keeps("CapEff:"))),
        "--".to_owned(),
    ]
}

/// Whether we may open packet sockets.
pub(in crate::sources::tshark) fn may_capture() -> bool {
    has_net_raw(&fs::read_to_string("/proc/self/status").unwrap_or_default(), "CapEff:")
}

fn has_net_raw(status: &str, set: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix(set))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> NET_RAW & 1 == 1)
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

// === impl Programs ===

impl Default for Programs {
    fn default() -> Self {
        Self {
            tshark: "tshark".into(),
            dumpcap: "dumpcap".into(),
            editcap: "editcap".into(),
            stalled_after: STALLED_AFTER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_a_configuration_error_that_names_the_package() {
        let error = find(&"tshark-of-nowhere".into()).unwrap_err();
        assert!(error.is_configuration());
        assert_eq!(error.to_string(), "`tshark-of-nowhere` is not installed");
        assert_eq!(error.remedy(), Some("apt-get install tshark"));
    }

    #[test]
    fn the_capability_is_read_from_the_mask() {
        let status = "CapPrm:\t0000000000000000\nCapEff:\t0000000000002000\nCapAmb:\t0000\n";
        assert!(has_net_raw(status, "CapEff:"));
        assert!(!has_net_raw(status, "CapAmb:"));
        assert!(!has_net_raw(status, "CapBnd:"));
    }

    #[test]
    fn a_reader_of_captures_keeps_no_capability() {
        let arguments = setpriv(Privilege::None, "KILL").join(" ");
        assert!(arguments.contains("--bounding-set=-all --"), "{arguments}");
        assert!(arguments.contains("--no-new-privs"), "{arguments}");
    }
}
