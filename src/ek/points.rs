//! Where a frame was seen: the interface of a capture that has several, else what the source knows.

use super::{
    error::Error,
    fields::{READ, place},
    number::unsigned,
    values::Values,
};
use crate::record::{Interface, ObservationPoint};

/// Points remembered; a capture has a handful of interfaces.
const MAX_CACHED: usize = 64;
/// Bytes kept of an interface's name: Linux has 15 at most, Windows some 50.
const MAX_NAME_BYTES: usize = 64;
/// What tshark calls an interface without a name.
const UNKNOWN: &str = "unknown";

const INTERFACE_ID: usize = place("frame.interface_id");
const INTERFACE_NAME: usize = place("frame.interface_name");

/// The points seen lately.
#[derive(Debug, Default)]
pub(super) struct Points(Vec<Known>);

#[derive(Debug)]
struct Known {
    source: ObservationPoint,
    number: u32,
    name: Option<Box<str>>,
    point: ObservationPoint,
}

// === impl Points ===

impl Points {
    /// Where a frame that `source` read was seen. The first interface of a capture that doesn't name
    /// it is the capture itself: classic captures have no interfaces, and look so once they are cut
    /// into chunks.
    pub(super) fn of(
        &mut self,
        source: ObservationPoint,
        values: &Values<'_, '_>,
    ) -> Result<ObservationPoint, Error> {
        let Some(number) = values.get(INTERFACE_ID, 0) else { return Ok(source) };
        let number = unsigned(READ[INTERFACE_ID], number)?;
        let name = values.get(INTERFACE_NAME, 0).filter(|name| !["", UNKNOWN].contains(name));
        let same = |known: &&Known| {
            (known.source, known.number, known.name.as_deref()) == (source, number, name)
        };
        if let Some(known) = self.0.iter().find(same) {
            return Ok(known.point);
        }
        let point = match name {
            Some(name) => {
                let end = name.floor_char_boundary(MAX_NAME_BYTES);
                source.on(Interface::Named(name.get(..end).unwrap_or_default().into()))
            }
            None if number == 0 => source,
            None => source.on(Interface::Numbered(number)),
        };
        if self.0.len() == MAX_CACHED {
            self.0.clear();
        }
        self.0.push(Known { source, number, name: name.map(Into::into), point });
        Ok(point)
    }
}
