//! Counts the packets of a pcap file, for those that nobody will read.
//!
//! Format: draft-ietf-opsawg-pcap. A header of 24 bytes, then records with a header of 16 bytes whose
//! third number is the length of what follows.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// Bytes of a file without packets.
pub(in crate::sources::tshark) const HEADER_BYTES: usize = 24;

const RECORD_HEADER_BYTES: usize = 16;

/// How many whole packets the file has; what is no pcap file has none.
pub(in crate::sources::tshark) fn count_packets(path: &Path) -> io::Result<u64> {
    count(BufReader::with_capacity(1 << 16, File::open(path)?))
}

pub(in crate::sources::tshark) fn count(mut file: impl Read) -> io::Result<u64> {
    let mut header = [0; HEADER_BYTES];
    if file.read_exact(&mut header).is_err() {
        return Ok(0);
    }
    let length: fn([u8; 4]) -> u32 = match header {
        [0xd4, 0xc3, 0xb2, 0xa1, ..] | [0x4d, 0x3c, 0xb2, 0xa1, ..] => u32::from_le_bytes,
        [0xa1, 0xb2, 0xc3, 0xd4, ..] | [0xa1, 0xb2, 0x3c, 0x4d, ..] => u32::from_be_bytes,
        _ => return Ok(0),
    };
    let mut packets = 0;
    let mut record = [0; RECORD_HEADER_BYTES];
    while file.read_exact(&mut record).is_ok() {
        let [_, _, _, _, _, _, _, _, a, b, c, d, ..] = record;
        let length = u64::from(length([a, b, c, d]));
        if io::copy(&mut file.by_ref().take(length), &mut io::sink())? < length {
            break;
        }
        packets += 1;
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(magic: [u8; 4], lengths: &[u32], big: bool) -> Vec<u8> {
        let mut file = [magic.as_slice(), &[0; 20]].concat();
        for length in lengths {
            let bytes = if big { length.to_be_bytes() } else { length.to_le_bytes() };
            file.extend([[0; 4], [0; 4], bytes, bytes].concat());
            file.extend(vec![0; *length as usize]);
        }
        file
    }

    #[test]
    fn whole_packets_are_counted_in_either_byte_order() {
        for (magic, big) in [
            ([0xd4, 0xc3, 0xb2, 0xa1], false),
            ([0xa1, 0xb2, 0xc3, 0xd4], true),
            ([0x4d, 0x3c, 0xb2, 0xa1], false),
        ] {
            let file = file(magic, &[60, 0, 1500], big);
            assert_eq!(count(file.as_slice()).unwrap(), 3);
            assert_eq!(count(&file[..file.len() - 1]).unwrap(), 2);
        }
    }

    proptest! {
        #[test]
        fn random_bytes_are_no_packets_without_end(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            prop_assert!(count(bytes.as_slice()).unwrap() <= 500 / RECORD_HEADER_BYTES as u64);
        }
    }
}
