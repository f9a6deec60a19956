//! The path of a file sink: a text with the record's time in it.

use std::path::PathBuf;

use jiff::fmt::strtime;

use crate::record::Timestamp;

/// The directives a path may have.
const DIRECTIVES: &str = "use %Y year, %m month, %d day, %H hour, %M minute, %S second, %F \
    year-month-day, %j day of the year, %G and %V ISO week's year and number, %% a percent sign";
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A path with `strftime` directives. Only directives of digits and `-` are taken, so whatever time
/// a record claims, the path stays in the directory the config names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    text: String,
    /// For how many seconds, counted from the epoch, the path stays the same; `None` for ever.
    seconds: Option<i64>,
}

/// The seconds since the epoch at which a path's time begins; records of equal ones share a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket(i64);

/// What is wrong with a template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("the path is empty")]
    Empty,
    #[error("{0:?} names a directory")]
    Directory(String),
    #[error("{0:?} holds a NUL character")]
    Nul(String),
    #[error("{directive:?} in {text:?} is not a directive of a path")]
    Directive { text: String, directive: String },
}

// === impl Error ===

impl Error {
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Directive { .. } => DIRECTIVES,
            _ => "name a file, such as /var/log/tidegate/flows-%Y-%m-%d.ndjson",
        }
    }
}

// === impl Template ===

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        if text.contains('\0') {
            return Err(Error::Nul(text.to_owned()));
        }
        if text.ends_with(['/', '.']) && matches!(text.rsplit('/').next(), Some("" | "." | "..")) {
            return Err(Error::Directory(text.to_owned()));
        }
        let mut seconds: Option<i64> = None;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                continue;
            }
            let directive = chars.next();
            let unit = match directive {
                Some('%') => continue,
                Some('S') => 1,
                Some('M') => MINUTE,
                Some('H') => HOUR,
                Some('Y' | 'm' | 'd' | 'F' | 'j' | 'G' | 'V') => DAY,
                _ => {
                    let directive = directive.map_or("%".to_owned(), |c| format!("%{c}"));
                    return Err(Error::Directive { text: text.to_owned(), directive });
                }
            };
            seconds = Some(seconds.map_or(unit, |seconds| seconds.min(unit)));
        }
        Ok(Self { text: text.to_owned(), seconds })
    }

    /// Which file a record of this time belongs to.
    pub(super) fn bucket(&self, time: Timestamp) -> Bucket {
        let (seconds, _) = time.parts();
        Bucket(self.seconds.map_or(0, |unit| seconds.div_euclid(unit) * unit))
    }

    /// The file's path.
    pub(super) fn path(&self, bucket: Bucket) -> PathBuf {
        let time = jiff::Timestamp::from_second(bucket.0).unwrap_or_default();
        let path = strtime::format(&self.text, time);
        PathBuf::from(path.expect("each directive was checked when the template was parsed"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(template: &str, nanos: i64) -> String {
        let template = Template::parse(template).unwrap();
        let path = template.path(template.bucket(Timestamp::from_nanos(nanos)));
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn directives_give_the_records_time_in_utc() {
        // 2023-10-17T14:55:23.5Z, the 290th day, in ISO week 42.
        let nanos = 1_697_554_523_500_000_000;
        for (template, expected) in [
            ("flows.ndjson", "flows.ndjson"),
            ("/log/%Y/%m/flows-%d.ndjson", "/log/2023/10/flows-17.ndjson"),
            ("%F-%H.json", "2023-10-17-14.json"),
            ("%H%M%S", "145523"),
            ("%G-W%V-%j", "2023-W42-290"),
            ("100%%-%Y", "100%-2023"),
        ] {
            assert_eq!(path(template, nanos), expected, "{template}");
        }
    }

    #[test]
    fn what_is_no_path_or_no_safe_directive_is_refused() {
        for template in
            ["", "/log/", "..", "a/..", "a\0b", "%", "a%", "%D", "%s", "%e", "%-d", "%q"]
        {
            assert!(Template::parse(template).is_err(), "{template:?}");
        }
    }

    proptest! {
        #[test]
        fn every_time_of_a_bucket_has_the_buckets_path(nanos: i64, later in 0..200_000_000_000_000_i64) {
            for text in ["%F", "%F-%H", "%F-%H-%M", "%F-%H-%M-%S", "%G-%V", "%j"] {
                let template = Template::parse(text).unwrap();
                let (one, other) =
                    (Timestamp::from_nanos(nanos), Timestamp::from_nanos(nanos.saturating_add(later)));
                let (one, other) = (template.bucket(one), template.bucket(other));
                let (first, second) = (template.path(one), template.path(other));
                prop_assert!(one != other || first == second);
                // Exact wherever the unit has a directive of its own.
                if text.starts_with("%F") {
                    prop_assert_eq!(one == other, first == second);
                }
                prop_assert_eq!(first.components().count(), 1);
            }
        }

        #[test]
        fn any_template_that_parses_has_a_path_for_any_time(text in "[%YmdHMSFjGV/.a]{0,12}", nanos: i64) {
            if let Ok(template) = Template::parse(&text) {
                template.path(template.bucket(Timestamp::from_nanos(nanos)));
            }
        }
    }
}
