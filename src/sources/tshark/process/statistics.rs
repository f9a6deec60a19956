//! What dumpcap says at its end: how many packets it captured, and how many it did not.

use crate::metrics::{CAPTURE_LOST, LossCause, Meter};

/// dumpcap's last words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::sources::tshark) struct Statistics {
    /// Packets it wrote, or had in hand to write when it was stopped; `None` if it did not come to say so.
    pub(in crate::sources::tshark) captured: Option<u64>,
    /// Packets it did not, by cause.
    drops: [u64; CAUSES.len()],
}

/// dumpcap's name of each cause, and ours.
const CAUSES: [(&str, LossCause); 4] = [
    ("pcap:", LossCause::KernelBuffer),
    ("dumpcap:", LossCause::DumpcapBuffer),
    ("flushed:", LossCause::DumpcapFlushed),
    ("ps_ifdrop:", LossCause::Interface),
];

// === impl Statistics ===

impl Statistics {
    /// Reads `Packets captured: 5` and `Packets received/dropped on interface 'eth0': 5/0
    /// (pcap:0/dumpcap:0/flushed:0/ps_ifdrop:0) (100.0%)`.
    pub(in crate::sources::tshark) fn read(words: &str) -> Self {
        let mut statistics = Self::default();
        for line in words.lines() {
            // Where there is no terminal the first line begins with the return that would overwrite a count.
            let line = line.trim_start_matches('\r');
            if let Some(count) = line.strip_prefix("Packets captured: ") {
                statistics.captured = count.trim().parse().ok();
            } else if line.starts_with("Packets received/dropped on interface ")
                && let Some((_, counts)) = line.rsplit_once("(pcap:")
            {
                let counts = format!("pcap:{counts}");
                for ((name, _), drops) in CAUSES.iter().zip(&mut statistics.drops) {
                    let part = counts.split(['/', ')']).find_map(|part| part.strip_prefix(name));
                    *drops = part.and_then(|count| count.parse().ok()).unwrap_or(0);
                }
            }
        }
        statistics
    }

    /// Counts what was dropped.
    pub(in crate::sources::tshark) fn count(&self, meter: &Meter) {
        for ((_, cause), drops) in CAUSES.iter().zip(self.drops) {
            meter.count(CAPTURE_LOST, *cause, drops);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_counted_apart() {
        let words = "\rPackets captured: 47\nPackets received/dropped on interface 'a (pcap:9': \
                     47/10 (pcap:1/dumpcap:2/flushed:3/ps_ifdrop:4) (82.5%)";
        let statistics = Statistics::read(words);
        assert_eq!(statistics.captured, Some(47));
        let meter = Meter::new("wire", "tshark");
        statistics.count(&meter);
        let lost: Vec<_> = meter.balance().lost.into_iter().collect();
        assert_eq!(
            lost,
            [("dumpcap_buffer", 2), ("dumpcap_flushed", 3), ("interface", 4), ("kernel_buffer", 1)]
        );
    }

    #[test]
    fn other_words_say_nothing() {
        for words in ["", "Packets captured: many", "Packets received/dropped"] {
            assert_eq!(Statistics::read(words), Statistics::default(), "{words}");
        }
    }
}
