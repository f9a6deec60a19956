//! The two clocks: the wall's, live, and the data's own, in a replay.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{batch::Watermark, record::Timestamp};

/// Which clock a run goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// Live: the wall clock.
    #[default]
    Wall,
    /// Replay: time is what the data's watermark says, so a run gives the same output twice.
    Event,
}

impl Clock {
    /// The time now: the wall's, or the watermark's (epoch 0 before there is one).
    pub fn now(self, watermark: Option<Watermark>) -> Timestamp {
        match self {
            Self::Wall => wall(),
            Self::Event => watermark.map_or(Timestamp::default(), |mark| mark.time),
        }
    }

    /// How long a runner may sleep until `deadline`; `None` by event time, which no sleep moves.
    pub fn until(self, deadline: Timestamp) -> Option<Duration> {
        match self {
            Self::Wall => Some(Duration::from_nanos(deadline.since(wall()))),
            Self::Event => None,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where runners read the wall clock")]
fn wall() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX))
}
