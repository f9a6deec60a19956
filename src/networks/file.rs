//! Files of networks, one a line: `CIDR` or `ADDRESS`, and behind a `#` why it is there. Empty lines and
//! lines that begin with `#` are skipped.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use super::{Entry, parse_exact};

/// Bytes that are read of a file.
const MAX_BYTES: u64 = 4 << 20;
/// Bytes of a line that are shown.
const MAX_SHOWN: usize = 60;

/// Bad lines of a file that are told each by itself: one that something else was written to has thousands.
const MAX_TOLD: usize = 20;

/// What could not be read of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; `None` if it is the file as a whole.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

/// The networks of a file; what is wrong with it is added to `faults`.
///
/// # Errors
/// If it can't be read as a whole.
pub(super) fn read(path: &Path, faults: &mut Vec<Fault>) -> Result<Vec<(IpNet, Entry)>, Fault> {
    let mut bytes = Vec::new();
    // A pipe or a device may never end, and the former not even be opened.
    let opened = fs::metadata(path).and_then(|metadata| {
        if !metadata.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)
    });
    let whole = |message| Fault { path: path.to_owned(), line: None, message, hint: None };
    match opened {
        Err(error) => return Err(whole(format!("can't be read: {error}"))),
        Ok(read) if read as u64 > MAX_BYTES => {
            // The line that is cut may be another network than the one meant.
            bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').unwrap_or(0));
            faults.push(whole(format!("only its first {MAX_BYTES} bytes are read")));
        }
        Ok(_) => {}
    }
    let mut entries = Vec::new();
    lines(path, &bytes, &mut entries, faults);
    Ok(entries)
}

fn lines(path: &Path, bytes: &[u8], entries: &mut Vec<(IpNet, Entry)>, faults: &mut Vec<Fault>) {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let (mut bad, mut last) = (0_usize, 0);
    for (line, at) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let line = String::from_utf8_lossy(line);
        let (network, reason) = line.split_once('#').unwrap_or((&line, ""));
        let network = network.trim();
        if network.is_empty() {
            continue;
        }
        let shown = network.char_indices().nth(MAX_SHOWN).and_then(|(end, _)| network.get(..end));
        match parse_exact(shown.unwrap_or(network)) {
            Ok(network) => {
                let place = format!("{}:{at}", path.display());
                let reason = reason.trim().to_owned();
                entries.push((network, Entry { place, reason, ..Entry::default() }));
            }
            Err((message, hint)) => {
                (bad, last) = (bad + 1, at);
                if bad <= MAX_TOLD {
                    let (path, hint) = (path.to_owned(), Some(hint));
                    faults.push(Fault { path, line: Some(at), message, hint });
                }
            }
        }
    }
    if let Some(more) = bad.checked_sub(MAX_TOLD).filter(|more| *more > 0) {
        let message = format!("{more} more lines, up to this one, are no networks or addresses");
        faults.push(Fault { path: path.to_owned(), line: Some(last), message, hint: None });
    }
}

// === impl Fault ===

/// `PATH:LINE: MESSAGE`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &[u8]) -> (Vec<(String, String)>, Vec<Option<usize>>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("allow.txt");
        fs::write(&path, text).unwrap();
        let mut faults = Vec::new();
        let entries = read(&path, &mut faults).unwrap();
        let of_file = |entry: &Entry| entry.place.starts_with(path.to_str().unwrap());
        assert!(entries.iter().all(|(_, entry)| of_file(entry)));
        let entries = entries.into_iter().map(|(net, entry)| (net.to_string(), entry.reason));
        (entries.collect(), faults.into_iter().map(|fault| fault.line).collect())
    }

    #[test]
    fn of_a_file_that_holds_something_else_the_first_bad_lines_are_told_and_the_rest_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blocked.txt");
        for (lines, told) in
            [(MAX_TOLD, None), (MAX_TOLD + 1, Some("1 more")), (999, Some("979 more"))]
        {
            fs::write(&path, "nonsense\n".repeat(lines) + "192.0.2.1\n").unwrap();
            let mut faults = Vec::new();
            assert_eq!(read(&path, &mut faults).unwrap().len(), 1, "the good ones count");
            assert_eq!(faults.len(), MAX_TOLD + usize::from(told.is_some()));
            let last = faults.last().unwrap();
            assert_eq!(last.line, Some(lines));
            assert!(told.is_none_or(|told| last.message.starts_with(told)), "{last}");
        }
    }

    #[test]
    fn a_bad_line_is_told_by_its_number_and_the_good_ones_are_kept() {
        let text =
            b"\xef\xbb\xbf# ours\r\n10.0.0.0/8 # the office\r\n\r\n10.0.0/8\n  fd00::1\t#x # y\n\
            10.0.0.5/8\nhost.example\n192.0.2.1 192.0.2.2\n\xff\xfe\n203.0.113.7";
        let (entries, faults) = read_text(text);
        let expected =
            [("10.0.0.0/8", "the office"), ("fd00::1/128", "x # y"), ("203.0.113.7/32", "")];
        assert_eq!(entries, expected.map(|(net, reason)| (net.to_owned(), reason.to_owned())));
        assert_eq!(faults, [4, 6, 7, 8, 9].map(Some));
    }

    #[test]
    fn a_file_that_is_too_long_counts_up_to_its_last_whole_line() {
        let line = b"10.0.0.1\n";
        let mut text = line.repeat(usize::try_from(MAX_BYTES).unwrap() / line.len() + 1);
        text.extend_from_slice(b"10.0.0.2\n");
        let (entries, faults) = read_text(&text);
        assert_eq!(faults, [None]);
        assert!(entries.iter().all(|(network, _)| network == "10.0.0.1/32"));
        assert_eq!(entries.len(), usize::try_from(MAX_BYTES).unwrap() / line.len());
    }

    #[test]
    fn what_is_no_regular_file_is_told() {
        for (path, said) in [("/nonexistent/list", "No such file"), ("/dev/zero", "regular file")] {
            let fault = read(Path::new(path), &mut Vec::new()).unwrap_err().to_string();
            assert!(fault.contains(said) && fault.starts_with(path), "{fault}");
        }
    }
}
