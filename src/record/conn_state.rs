//! The state of a connection and the history of its packets, in the terms of Zeek's `conn.log`.
//!
//! Source: Zeek, `base/protocols/conn/main.zeek` (`conn_state`, `history`).

use std::fmt;

/// What became of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnState {
    /// An attempt without an answer.
    S0,
    /// Established, not ended.
    S1,
    /// Established and ended in order.
    Sf,
    /// The attempt was rejected.
    Rej,
    /// Established; the initiator closed, the responder did not.
    S2,
    /// Established; the responder closed, the initiator did not.
    S3,
    /// The initiator reset it.
    Rsto,
    /// The responder reset it.
    Rstr,
    /// The initiator sent SYN and then RST; no answer was seen.
    Rstos0,
    /// The responder sent SYN-ACK and then RST; no SYN was seen.
    Rstrh,
    /// The initiator sent SYN and then FIN; no answer was seen.
    Sh,
    /// The responder sent SYN-ACK and then FIN; no SYN was seen.
    Shr,
    /// None of these: joined under way, or a transport without connections.
    Oth,
}

/// What happened in a flow, in order: a letter for each kind of event, upper case for the initiator's.
///
/// Holds 25 letters; later ones are left out.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct History(u128);

/// A kind of event in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Letter {
    /// `s`: SYN without ACK.
    Syn = 1,
    /// `h`: SYN with ACK.
    SynAck,
    /// `a`: ACK without payload.
    Ack,
    /// `d`: payload.
    Data,
    /// `f`: FIN.
    Fin,
    /// `r`: RST.
    Reset,
    /// `c`: wrong checksum.
    BadChecksum,
    /// `g`: a gap in the payload.
    Gap,
    /// `t`: payload sent again.
    Retransmission,
    /// `w`: no window.
    ZeroWindow,
    /// `i`: FIN and RST at once.
    Inconsistent,
    /// `q`: SYN with FIN or RST.
    MultiFlag,
}

const BITS: u32 = 5;
const CAPACITY: u32 = 25;
const LETTER: u128 = (1 << BITS) - 1;
const INITIATOR: u8 = 12;
const FLIP: u8 = 25;
const SYMBOLS: &[u8; 26] = b" shadfrcgtwiqSHADFRCGTWIQ^";

// === impl ConnState ===

impl ConnState {
    /// All states.
    pub const ALL: [Self; 13] = [
        Self::S0,
        Self::S1,
        Self::Sf,
        Self::Rej,
        Self::S2,
        Self::S3,
        Self::Rsto,
        Self::Rstr,
        Self::Rstos0,
        Self::Rstrh,
        Self::Sh,
        Self::Shr,
        Self::Oth,
    ];

    /// The name in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S0 => "S0",
            Self::S1 => "S1",
            Self::Sf => "SF",
            Self::Rej => "REJ",
            Self::S2 => "S2",
            Self::S3 => "S3",
            Self::Rsto => "RSTO",
            Self::Rstr => "RSTR",
            Self::Rstos0 => "RSTOS0",
            Self::Rstrh => "RSTRH",
            Self::Sh => "SH",
            Self::Shr => "SHR",
            Self::Oth => "OTH",
        }
    }
}

// === impl History ===

impl History {
    /// Adds an event of the initiator's or of the responder's.
    pub fn push(&mut self, letter: Letter, by_initiator: bool) {
        self.add(letter as u8 + if by_initiator { INITIATOR } else { 0 });
    }

    /// The roles are exchanged from here on: puts `^` at the end.
    pub fn turn(&mut self) {
        self.add(FLIP);
    }

    fn add(&mut self, code: u8) {
        let len = self.len();
        if len < CAPACITY {
            self.0 |= u128::from(code) << (BITS * len);
        }
    }

    /// Takes the last such event out again.
    pub fn withdraw(&mut self, letter: Letter, by_initiator: bool) {
        let code = letter as u8 + if by_initiator { INITIATOR } else { 0 };
        let last = (0..).zip(self.codes()).filter(|(_, other)| *other == code).last();
        if let Some((at, _)) = last {
            let below = (1 << (BITS * at)) - 1;
            self.0 = self.0 & below | self.0 >> BITS & !below;
        }
    }

    /// The roles were exchanged: puts `^` in front and exchanges upper and lower case.
    pub fn flip(&mut self) {
        let mut flipped = Self(u128::from(FLIP));
        for (at, code) in (1..CAPACITY).zip(self.codes()) {
            let code = match code {
                FLIP => FLIP,
                code if code > INITIATOR => code - INITIATOR,
                code => code + INITIATOR,
            };
            flipped.0 |= u128::from(code) << (BITS * at);
        }
        *self = flipped;
    }

    /// Whether the roles were exchanged after something had happened.
    pub fn has_turned(self) -> bool {
        self.codes().skip(1).any(|code| code == FLIP)
    }

    /// How many letters it has.
    pub fn len(self) -> u32 {
        (u128::BITS - self.0.leading_zeros()).div_ceil(BITS)
    }

    /// Whether nothing has happened.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The history that is written so; `None` if it is none.
    pub fn from_letters(letters: &str) -> Option<Self> {
        let mut history = Self::default();
        for (at, letter) in (0..).zip(letters.bytes()) {
            // The first symbol stands for nothing.
            let code = SYMBOLS.iter().skip(1).position(|symbol| *symbol == letter)? + 1;
            if at >= CAPACITY {
                return None;
            }
            history.0 |= (code as u128) << (BITS * at);
        }
        Some(history)
    }

    /// The letters.
    pub fn letters(self) -> impl Iterator<Item = char> {
        self.codes().map(|code| char::from(SYMBOLS.get(usize::from(code)).copied().unwrap_or(b'?')))
    }

    fn codes(self) -> impl Iterator<Item = u8> {
        (0..self.len()).map(move |at| u8::try_from((self.0 >> (BITS * at)) & LETTER).unwrap_or(0))
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.letters().try_for_each(|letter| f.write_char(letter))
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "History({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flip_exchanges_the_sides_and_says_so_in_front() {
        let mut history = History::default();
        history.push(Letter::SynAck, true);
        history.push(Letter::Ack, false);
        history.push(Letter::MultiFlag, true);
        assert_eq!(history.to_string(), "HaQ");
        history.flip();
        assert_eq!(history.to_string(), "^hAq");
    }

    #[test]
    fn what_is_withdrawn_leaves_no_gap() {
        let mut history = History::default();
        for letter in [Letter::Syn, Letter::Data, Letter::Syn, Letter::Ack] {
            history.push(letter, true);
        }
        history.withdraw(Letter::Fin, true);
        history.withdraw(Letter::Syn, false);
        assert_eq!(history.to_string(), "SDSA");
        history.withdraw(Letter::Syn, true);
        assert_eq!(history.to_string(), "SDA");
        history.withdraw(Letter::Ack, true);
        history.withdraw(Letter::Syn, true);
        assert_eq!(history.to_string(), "D");
    }

    #[test]
    fn a_full_history_leaves_later_letters_out() {
        let mut history = History::default();
        for _ in 0..30 {
            history.push(Letter::MultiFlag, true);
        }
        history.push(Letter::Syn, false);
        assert_eq!(history.to_string(), "Q".repeat(25));
        history.flip();
        assert_eq!(history.to_string(), format!("^{}", "q".repeat(24)));
    }
}
