//! What came of a TCP connection of which nothing is known but how much went each way. Packetbeat and Suricata count
//! frames with their Ethernet header.

use super::log::State;

/// A frame shorter than this has no data; each of a refusal is.
const SHORT_BYTES: u64 = 80;
/// The longest frame of a SYN: Ethernet's header, IPv4's, and TCP's with all the options that it can hold.
const MAX_SYN_BYTES: u64 = 94;
/// By how much IPv6's header is longer than IPv4's.
const IPV6_MORE_BYTES: u64 = 20;
/// The longest frame of an RST, which has no options: padded, and with a VLAN.
const MAX_RESET_BYTES: u64 = 64;
/// How often the same SYN is sent at most: Linux gives up after 7 by default, macOS after 11.
const MAX_SYNS: u64 = 12;
/// How often a SYN that was refused is sent at most: Windows tries again.
const MAX_REFUSALS: u64 = 5;
/// Packets that the client of a connection sends at least: a SYN, an ACK, and what ends it.
const MIN_CLIENT_PACKETS: u64 = 3;

/// Below it a port is a service's, if the other one is not (RFC 6335 section 6).
const FIRST_USER_PORT: u16 = 1024;
/// From it on a port is a client's, if the other one is not: Linux takes no lower ones for them.
const FIRST_CLIENT_PORT: u16 = 32_768;

/// How much went each way, of the source first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic {
    pub(super) packets: [u64; 2],
    pub(super) bytes: [u64; 2],
    /// 0 for one that is not known.
    pub(super) ports: [u16; 2],
    pub(super) is_ipv6: bool,
}

// === impl Traffic ===

impl Traffic {
    /// What came of it.
    pub(super) fn outcome(self) -> State {
        let [sent, answers] = self.packets;
        if answers == 0 {
            self.unanswered()
        } else if self.is_refused() {
            // A server's last word to a client that is gone, by ports.
            if self.is_an_answer() { State::Unknown } else { State::Refused }
        } else if (1..MIN_CLIENT_PACKETS).contains(&sent) && !self.has_data() {
            State::Unknown
        } else {
            State::Success
        }
    }

    /// What came of one of which no packet came back.
    pub(super) fn unanswered(self) -> State {
        let ([sent, _], [bytes, _]) = (self.packets, self.bytes);
        if self.is_an_answer() {
            return State::Unknown;
        }
        // The answers go another way: the source goes on as though there had been one.
        if bytes > sent.saturating_mul(self.longer(MAX_SYN_BYTES)) {
            return State::Unproven;
        }
        // A SYN that is sent again is as long as it was.
        let are_alike = bytes.checked_rem(sent).unwrap_or(0) == 0;
        if are_alike && sent <= MAX_SYNS { State::TimedOut } else { State::Unknown }
    }

    /// Whether it may be a SYN that an RST answered, or several of them: as many short frames back, each an RST's and
    /// shorter than a SYN with options.
    pub(super) fn is_refused(self) -> bool {
        let ([sent, answers], [bytes, received]) = (self.packets, self.bytes);
        let short = self.longer(SHORT_BYTES);
        match answers {
            1 => sent <= 1 && bytes < short && received < short,
            2..=MAX_REFUSALS => {
                let are_alike = bytes % answers == 0 && received % answers == 0;
                let are_resets = received <= answers * self.longer(MAX_RESET_BYTES);
                sent == answers
                    && are_alike
                    && are_resets
                    && (received + 1..answers * short).contains(&bytes)
            }
            _ => false,
        }
    }

    /// Whether the source is the one who answers, by ports: of answers alone nobody can tell what they answer.
    fn is_an_answer(self) -> bool {
        let [from, to] = self.ports;
        from != 0
            && ((from < FIRST_USER_PORT && to >= FIRST_USER_PORT)
                || (from < FIRST_CLIENT_PORT && to >= FIRST_CLIENT_PORT))
    }

    fn has_data(self) -> bool {
        let short = self.longer(SHORT_BYTES);
        let each = self.packets.iter().zip(self.bytes);
        each.map(|(packets, bytes)| bytes.checked_div(*packets).unwrap_or(0))
            .any(|mean| mean >= short)
    }

    const fn longer(self, bytes: u64) -> u64 {
        if self.is_ipv6 { bytes + IPV6_MORE_BYTES } else { bytes }
    }
}
