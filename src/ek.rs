//! Lines of `tshark -T ek -e FIELD…`: which fields we ask for and, from them, packets.

pub mod fields;
