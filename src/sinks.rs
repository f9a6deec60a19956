//! Where records leave the pipeline. Each sink only encodes and sends; `driver` does what all of
//! them have in common.

pub mod options;
