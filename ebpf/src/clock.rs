//! The system's clock, as the kernel keeps it (adjtimex(2)).

use std::io;

use crate::sys;

/// What the kernel says of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// What is still to be added to it, in nanoseconds: positive if it is behind.
    pub offset_ns: i64,
    /// Whether somebody keeps it in step with a reference, and the kernel believes in it.
    pub is_synchronised: bool,
}

// === impl Clock ===

impl Clock {
    /// Asks the kernel, which takes no privilege. Nothing is set.
    pub fn read() -> io::Result<Self> {
        let told = sys::clock()?;
        Ok(Self::of(told.state, told.status, told.offset))
    }

    /// Of the answer's state, its status bits, and its offset in the unit that they name.
    fn of(state: libc::c_int, status: libc::c_int, offset: i64) -> Self {
        let is_in_nanos = status & libc::STA_NANO != 0;
        Self {
            offset_ns: if is_in_nanos { offset } else { offset.saturating_mul(1_000) },
            is_synchronised: state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_in_the_unit_that_the_status_names() {
        assert_eq!(Clock::of(libc::TIME_OK, 0, -7).offset_ns, -7_000);
        assert_eq!(Clock::of(libc::TIME_OK, libc::STA_NANO, -7).offset_ns, -7);
        assert_eq!(Clock::of(libc::TIME_OK, 0, i64::MAX).offset_ns, i64::MAX);
    }

    #[test]
    fn a_clock_is_in_step_unless_the_kernel_says_otherwise() {
        for (state, status, expected) in [
            (libc::TIME_OK, libc::STA_PLL | libc::STA_NANO, true),
            // A leap second is due, or goes on.
            (libc::TIME_INS, libc::STA_INS, true),
            (libc::TIME_OOP, libc::STA_INS, true),
            (libc::TIME_ERROR, libc::STA_UNSYNC, false),
            (libc::TIME_ERROR, libc::STA_CLOCKERR, false),
            (libc::TIME_OK, libc::STA_UNSYNC, false),
        ] {
            let read = Clock::of(state, status, 0);
            assert_eq!(read.is_synchronised, expected, "{state} {status:#x}");
        }
    }

    #[test]
    fn the_kernel_answers() {
        // Half a second is the most it slews by itself.
        assert!(Clock::read().unwrap().offset_ns.abs() <= 500_000_000);
    }
}
