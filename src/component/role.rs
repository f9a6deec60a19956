//! Where a component stands in the data's way, which is also the section of the config it is in.

/// Where a component stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Brings records in.
    Source,
    /// Turns records into records.
    Transform,
    /// Takes records out.
    Sink,
}

// === impl Role ===

impl Role {
    /// All sections, in the order of the data's way.
    pub const ALL: [Self; 3] = [Self::Source, Self::Transform, Self::Sink];

    /// The section's key.
    pub const fn section(self) -> &'static str {
        match self {
            Self::Source => "sources",
            Self::Transform => "transforms",
            Self::Sink => "sinks",
        }
    }

    /// One of its components, in a message.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Transform => "transform",
            Self::Sink => "sink",
        }
    }
}
