//! Host names from outside: whoever runs a zone chooses what stands in it.

/// Bytes of a name at most, without the trailing dot (RFC 1035, 2.3.4).
const MAX_NAME_BYTES: usize = 253;
/// Bytes of a label at most.
const MAX_LABEL_BYTES: usize = 63;

/// The host name in lower case without its trailing dot, or `None` for what is no host name.
///
/// Labels are letters, digits and inner hyphens (RFC 1123, 2.1), with `_` let pass because service
/// names in use have it. Control characters, spaces, escapes, quotes and markup are refused with
/// everything else, and so is a name that ends in a number, which would read as an address.
pub fn host_name(text: &str) -> Option<Box<str>> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_name = name.len() <= MAX_NAME_BYTES
        && name.split('.').all(is_label)
        && name.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()));
    is_name.then(|| name.to_ascii_lowercase().into())
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_host_names_pass_and_in_one_form() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = ["a".repeat(63).as_str(); 4].join(".");
        let cases = [
            ("Mail.Example.COM.", Some("mail.example.com")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("_dmarc.example", Some("_dmarc.example")),
            ("router", Some("router")),
            ("", None),
            (".", None),
            ("a..b", None),
            ("example..", None),
            ("-a.example", None),
            ("a-.example", None),
            ("10.0.0.1", None),
            ("a b.example", None),
            ("a\u{1b}[31m.example", None),
            ("a\n.example", None),
            ("<script>.example", None),
            ("a\\000b.example", None),
            ("bücher.example", None),
            (&long_label, None),
            (&long_name, None),
        ];
        for (text, name) in cases {
            assert_eq!(host_name(text).as_deref(), name, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_is_short_and_plain(text in "\\PC{0,300}|[ -~]{0,300}|[a-zA-Z0-9.-]{0,300}") {
            if let Some(name) = host_name(&text) {
                prop_assert!(name.len() <= MAX_NAME_BYTES);
                prop_assert!(name.bytes().all(
                    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b)
                ));
                prop_assert_eq!(host_name(&name), Some(name));
            }
        }
    }
}
