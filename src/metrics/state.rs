//! What a component is doing at present.

/// A component's state, for `/health` and `/ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Built, not running yet.
    Starting = 0,
    /// At work.
    Running = 1,
    /// At work, but its other end is not: it holds what it has and tries again.
    Holding = 2,
    /// Done.
    Ended = 3,
    /// Ended by an error.
    Failed = 4,
}

// === impl State ===

impl State {
    pub(super) const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Starting,
            1 => Self::Running,
            2 => Self::Holding,
            3 => Self::Ended,
            _ => Self::Failed,
        }
    }

    /// Whether it does no more.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Failed)
    }

    /// The name in `/health`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Holding => "holding",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }
}
