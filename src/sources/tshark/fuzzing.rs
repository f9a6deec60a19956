//! What `fuzz/` reaches of this module.

use super::process::{lines, pcap, statistics::Statistics, version};

/// Room of the framer: small, so that lines come out over-long.
const MAX_LINE_BYTES: usize = 40;

/// Reads `bytes` as each thing that a child may write: its output in reads of these sizes, its last
/// words, its version, and a capture file.
pub fn child_output(bytes: &[u8], read_bytes: usize) {
    let mut framer = lines::Framer::new(MAX_LINE_BYTES);
    let mut whole = lines::Block::default();
    for read in bytes.chunks(read_bytes.max(1)) {
        framer.room().extend_from_slice(read);
        let block = framer.take();
        whole.lines.extend(block.lines);
        whole.too_long += block.too_long;
    }
    let ends = bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!(whole.lines.iter().all(|line| (1..=MAX_LINE_BYTES).contains(&line.len())));
    assert!(whole.lines.len() <= ends && whole.too_long <= ends as u64 + 1);
    lines::frame_number(bytes);
    let text = String::from_utf8_lossy(bytes);
    Statistics::read(&text);
    version::major(&text);
    let packets = pcap::count(bytes).expect("reading from memory can't fail");
    assert!(packets <= bytes.len() as u64 / 16);
}
