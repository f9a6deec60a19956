//! `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;

use crate::record::Timestamp;

/// A server that asks for more was misread, or means harm.
const MAX: Duration = Duration::from_hours(1);

/// How long to wait from `now` on, at most an hour; `None` where the text asks for no wait at all.
pub(super) fn parse(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let wait = if let Ok(seconds) = text.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = DateTimeParser::new().parse_timestamp(text).ok()?;
        let nanos = i64::try_from(date.as_nanosecond()).ok()?;
        Duration::from_nanos(Timestamp::from_nanos(nanos).since(now))
    };
    (!wait.is_zero()).then(|| wait.min(MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_waits_and_all_else_is_none() {
        // 2015-10-21T07:28:00Z, the example of RFC 9110.
        let now = Timestamp::from_parts(1_445_412_480, 0).unwrap();
        let cases = [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("0", None),
            ("999999999999", Some(3600)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
            ("Wed, 21 Oct 2015 07:27:30 GMT", None),
            ("Mon, 21 Oct 2115 07:28:00 GMT", Some(3600)),
            ("-3", None),
            ("soon", None),
            ("", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(parse(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
