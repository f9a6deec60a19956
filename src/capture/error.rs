//! What can be wrong with a capture file.

/// A capture that can't be read on: the frames before were read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}, at byte {offset}{}", if *.unpacked { " of the unpacked file" } else { "" })]
pub struct Damage {
    /// Where the record begins that is wrong or cut, in bytes from the beginning.
    pub offset: u64,
    /// Whether the offset counts bytes of a compressed file as they were unpacked.
    pub unpacked: bool,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is nothing in it.
    #[error("it is empty (zero bytes)")]
    Empty,
    /// It is of another format.
    #[error("it is neither a pcap nor a pcapng file, as it begins with the bytes {0}")]
    UnknownFormat(String),
    /// It is compressed in a way that is not read.
    #[error("it is compressed with {0}, which is not read here: unpack it first")]
    UnknownCompression(&'static str),
    /// It is of a version that nobody writes.
    #[error("version {major}.{minor} of {format} is unknown")]
    UnknownVersion {
        /// Which format.
        format: &'static str,
        /// The version's first number.
        major: u16,
        /// The second.
        minor: u16,
    },
    /// Reserved bits of the link type are set.
    #[error("its link type is {0:#010x}, with reserved bits set")]
    ReservedLinkType(u32),
    /// It ends within a record.
    #[error("it was cut short in the middle of {0}")]
    Cut(&'static str),
    /// A frame is longer than any that can be captured.
    #[error("a frame claims {claimed} captured bytes, more than the {most} there can be")]
    FrameTooLong {
        /// Bytes that the file says were captured.
        claimed: u32,
        /// Bytes at most.
        most: u32,
    },
    /// A block's length can't be right.
    #[error("a block of type {kind:#x} claims a length of {length} bytes")]
    BlockLength {
        /// The block's type.
        kind: u32,
        /// Its length.
        length: u32,
    },
    /// A block's length before and after its body differ.
    #[error(
        "a block of type {kind:#x} claims a length of {before} bytes before its body and {after} after it"
    )]
    BlockEnds {
        /// The block's type.
        kind: u32,
        /// The length before the body.
        before: u32,
        /// That after it.
        after: u32,
    },
    /// A section has no byte order.
    #[error("a section header has the unknown byte-order magic {0:#010x}")]
    ByteOrder(u32),
    /// A packet is of an interface that was not described.
    #[error("a packet is of interface {index}, and {described} are described")]
    UnknownInterface {
        /// The interface's number.
        index: u32,
        /// How many there are.
        described: usize,
    },
    /// There are too many interfaces.
    #[error("more than {0} interfaces are described")]
    TooManyInterfaces(usize),
    /// An option is longer than its block.
    #[error("option {code} of an interface claims {length} bytes, more than there are")]
    OptionLength {
        /// Which option.
        code: u16,
        /// How long it is.
        length: usize,
    },
    /// It can't be unpacked any further.
    #[error("it can't be unpacked: {0}")]
    Unpacking(String),
    /// It can't be read any further.
    #[error("it can't be read: {0}")]
    Reading(String),
}
