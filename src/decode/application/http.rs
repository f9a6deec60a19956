//! The head of an HTTP/1 message (RFC 9112), as far as it is there.

/// Requests, as they begin: the methods of RFC 9110 and RFC 5789, and those of `WebDAV` and `UPnP`.
const METHODS: &[&[u8]] = &[
    b"GET ",
    b"POST ",
    b"HEAD ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"PATCH ",
    b"TRACE ",
    b"PROPFIND ",
    b"PROPPATCH ",
    b"MKCOL ",
    b"COPY ",
    b"MOVE ",
    b"LOCK ",
    b"UNLOCK ",
    b"REPORT ",
    b"SEARCH ",
    b"NOTIFY ",
    b"SUBSCRIBE ",
    b"UNSUBSCRIBE ",
];
/// How a response begins, and how the first line of a request ends.
const VERSION: &[u8] = b"HTTP/1.";
/// Lines of a head that are looked at.
const MAX_LINES: usize = 64;

/// Whether bytes begin a request or a response.
pub(super) fn is_head(bytes: &[u8]) -> bool {
    if let Some([digit, space, ..]) = bytes.strip_prefix(VERSION) {
        return digit.is_ascii_digit() && *space == b' ';
    }
    let Some(target) = METHODS.iter().find_map(|method| bytes.strip_prefix(*method)) else {
        return false;
    };
    match target.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = target.get(..end).unwrap_or_default().trim_ascii_end();
            let version = line.len().checked_sub(VERSION.len() + 1).and_then(|at| line.get(at..));
            version.is_some_and(|version| version.starts_with(VERSION))
        }
        // The line was cut: other protocols have such methods, but never such targets.
        None => target.starts_with(b"/") || target.starts_with(b"http://"),
    }
}

/// The value of a request's `Host`, if the whole line is there.
pub(super) fn host(bytes: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b"host:";
    if bytes.starts_with(VERSION) {
        return None;
    }
    let mut rest = bytes;
    for _ in 0..MAX_LINES {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let (line, next) = rest.split_at_checked(end)?;
        let line = line.trim_ascii();
        if line.is_empty() {
            return None;
        }
        if let Some((name, value)) = line.split_at_checked(NAME.len())
            && name.eq_ignore_ascii_case(NAME)
        {
            return Some(value.trim_ascii());
        }
        rest = next.get(1..)?;
    }
    None
}
