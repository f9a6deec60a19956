//! Why a child refused its command line, in words for the person who wrote the config.

use crate::{component::Error, host::interfaces};

/// What a child's words mean, and how to mend it.
const REMEDIES: &[(&str, &str)] = &[
    ("fields aren't valid", "`tshark -G fields` lists the names there are"),
    (
        "do not have permission",
        "run as root, or give the service `AmbientCapabilities=CAP_NET_RAW`; capabilities set on \
         dumpcap's file or its group `wireshark` don't count, as our children may gain no privileges",
    ),
    (
        "Invalid capture filter",
        "`capture_filter` is in the syntax of pcap-filter(7), not in that of display filters",
    ),
    ("is not up", "bring it up: `ip link set DEVICE up`"),
];

/// What dumpcap says of an interface that is missing or down.
const NO_INTERFACE: [&str; 3] = ["no device named", "No such device", "is not up"];

/// A configuration error that quotes the child.
pub(in crate::sources::tshark) fn refused(program: &str, words: &str) -> Error {
    // What follows is advice on making dumpcap privileged, which our children may not be.
    let words = words.split("Please check to make sure").next().unwrap_or_default().trim_end();
    let words = if words.is_empty() { "it gave no reason" } else { words };
    let error = Error::configuration(format!("{program} refused to start: {words}"));
    match remedy(words) {
        Some(remedy) => error.hint(remedy),
        None => error,
    }
}

/// Whether dumpcap says that its interface is missing or down, which waiting may mend.
pub(in crate::sources::tshark) fn is_about_the_interface(words: &str) -> bool {
    NO_INTERFACE.iter().any(|says| words.contains(says))
}

fn remedy(words: &str) -> Option<String> {
    if words.contains("no device named") || words.contains("No such device") {
        return Some(format!("there are: {}", interfaces().join(", ")));
    }
    REMEDIES.iter().find(|(says, _)| words.contains(says)).map(|(_, remedy)| (*remedy).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_mends_an_interface_and_no_permission() {
        for (words, mended) in [
            ("dumpcap: There is no device named \"eth9\".", true),
            ("That device is not up (No such device)", true),
            ("dumpcap: Device \"eth0\" is not up.", true),
            ("dumpcap: You do not have permission to capture on device \"eth0\".", false),
            ("dumpcap: Invalid capture filter \"x y\" for interface 'lo'.", false),
            ("", false),
        ] {
            assert_eq!(is_about_the_interface(words), mended, "{words}");
        }
    }

    #[test]
    fn a_refusal_quotes_the_child_and_says_how_to_mend_it() {
        for (words, remedy) in [
            ("tshark: Some fields aren't valid:\n\tno.such", "tshark -G fields"),
            ("dumpcap: You do not have permission to capture on device \"eth0\".", "CAP_NET_RAW"),
            ("dumpcap: There is no device named \"eth9\".", "lo"),
            ("dumpcap: Device \"eth0\" is not up.", "ip link set"),
            ("dumpcap: Invalid capture filter \"x y\" for interface 'lo'.", "pcap-filter(7)"),
        ] {
            let error = refused("dumpcap", words);
            assert!(error.is_configuration());
            assert!(error.to_string().contains(words));
            assert!(error.remedy().is_some_and(|hint| hint.contains(remedy)), "{words}");
        }
    }
}
