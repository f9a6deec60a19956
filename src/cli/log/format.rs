//! How one line of the log is written. Each names who speaks: the component whose span the event is
//! in, or else the process itself.
//!
//! For people: `TIME LEVEL ID (TYPE): MESSAGE FIELD=VALUE…`. For machines: one JSON object with the
//! members `timestamp`, `level`, `component_id`, `component_type` and `fields`; the last has `message`
//! and whatever else the event tells.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::Value;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::{Context, Layer},
    registry::LookupSpan,
};

use crate::task;

/// What speaks outside of every component, and its type; a component may have the same id, but not
/// this type.
const PROCESS: (&str, &str) = ("tidegate", "process");

/// Notes which component each component's span is of.
pub(super) struct Speakers;

/// A component, as its span names it.
#[derive(Debug, Default)]
struct Speaker {
    id: String,
    kind: String,
}

/// Lines for people.
pub(super) struct Human;

/// Lines for machines.
pub(super) struct Json;

#[derive(Serialize)]
struct Object<'a> {
    timestamp: &'a str,
    level: &'static str,
    component_id: &'a str,
    component_type: &'a str,
    fields: Fields,
}

/// An event's fields, by name.
#[derive(Debug, Default, Serialize)]
#[serde(transparent)]
struct Fields(BTreeMap<&'static str, Value>);

// === impl Speakers ===

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Speakers {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() == task::SPAN
            && let Some(span) = context.span(id)
        {
            let mut speaker = Speaker::default();
            attributes.record(&mut speaker);
            span.extensions_mut().insert(speaker);
        }
    }
}

// === impl Speaker ===

impl Visit for Speaker {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "component_id" => value.clone_into(&mut self.id),
            "component_type" => value.clone_into(&mut self.kind),
            _ => {}
        }
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}

/// Calls `write` with the id and the type of who speaks.
fn named<S, N, T>(context: &FmtContext<'_, S, N>, write: impl FnOnce(&str, &str) -> T) -> T
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    for span in context.event_scope().into_iter().flatten() {
        if let Some(Speaker { id, kind }) = span.extensions().get() {
            return write(id, kind);
        }
    }
    write(PROCESS.0, PROCESS.1)
}

// === impl Human ===

impl<S, N> FormatEvent<S, N> for Human
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        let (dim, colour, bold, plain) = if writer.has_ansi_escapes() {
            ("\x1b[2m", colour(level), "\x1b[1m", "\x1b[0m")
        } else {
            ("", "", "", "")
        };
        writer.write_str(dim)?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "{plain} {colour}{level:>5}{plain} ")?;
        named(context, |id, kind| write!(writer, "{bold}{id}{plain} ({kind}): "))?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Red, yellow, green, blue and magenta, by the ANSI numbers (ECMA-48, SGR).
fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

// === impl Json ===

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = named(context, |component_id, component_type| {
            serde_json::to_string(&Object {
                timestamp: &timestamp,
                level: event.metadata().level().as_str(),
                component_id,
                component_type,
                fields,
            })
        });
        writeln!(writer, "{}", line.map_err(|_| fmt::Error)?)
    }
}

// === impl Fields ===

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::json;
    use tracing_subscriber::{Registry, filter::LevelFilter, fmt, prelude::*};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `speak` logs, without their times.
    fn logged<E>(format: E, speak: impl FnOnce()) -> Vec<String>
    where
        E: FormatEvent<Registry, fmt::format::DefaultFields> + Send + Sync + 'static,
    {
        let log = Log::default();
        let writer = log.clone();
        let lines = fmt::layer().event_format(format).with_ansi(false);
        let lines = lines.with_writer(move || writer.clone()).with_filter(LevelFilter::INFO);
        let subscriber = Registry::default().with(lines).with(Speakers);
        tracing::subscriber::with_default(subscriber, speak);
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn speak() {
        let (wire, siem) = (task::span("wire", "tshark"), task::span("siem", "file"));
        wire.in_scope(|| {
            tracing::warn!(packets = 3, why = ?Some("full"), "lost");
            siem.in_scope(|| {
                let _request = tracing::error_span!("request", component_id = "other").entered();
                tracing::info!(error = "no \"room\"");
            });
            tracing::debug!("not logged");
        });
        tracing::error!("ended");
    }

    #[test]
    fn a_line_for_people_begins_with_its_speaker() {
        let lines = logged(Human, speak);
        let told: Vec<_> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(
            told,
            [
                " WARN wire (tshark): lost packets=3 why=Some(\"full\")",
                " INFO siem (file): error=\"no \\\"room\\\"\"",
                "ERROR tidegate (process): ended",
            ]
        );
    }

    #[test]
    fn a_line_for_machines_has_its_speaker_beside_its_fields() {
        let lines = logged(Json, speak);
        let mut told: Vec<Value> =
            lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        for line in &mut told {
            assert!(line.as_object_mut().unwrap().remove("timestamp").is_some());
        }
        let line = |level, id, kind, fields| json!({"level": level, "component_id": id, "component_type": kind, "fields": fields});
        assert_eq!(
            told,
            [
                line(
                    "WARN",
                    "wire",
                    "tshark",
                    json!({"message": "lost", "packets": 3, "why": "Some(\"full\")"})
                ),
                line("INFO", "siem", "file", json!({"error": "no \"room\""})),
                line("ERROR", "tidegate", "process", json!({"message": "ended"})),
            ]
        );
    }
}
