//! Cuts a child's output into lines.
//!
//! The lines that one read completed are slices of one allocation, which is given back once the last
//! of them is dropped: whoever keeps one line keeps up to [`BUFFER_BYTES`].

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memrchr};

/// Room for one read from a child.
pub(in crate::sources::tshark) const BUFFER_BYTES: usize = 256 << 10;

/// Every packet has a line before it that is meant for Elasticsearch's bulk API.
const INDEX_PREFIX: &[u8] = b"{\"index\"";

/// The first field we ask for.
const NUMBER_KEY: &[u8] = b"\"frame_number\":";

/// How far into a line its value stands.
const NUMBER_WITHIN_BYTES: usize = 96;

/// Collects what is read, and gives whole lines.
#[derive(Debug)]
pub(in crate::sources::tshark) struct Framer {
    buffer: Vec<u8>,
    max_line_bytes: usize,
    /// In the middle of an over-long line.
    skipping: bool,
}

/// What one read completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::sources::tshark) struct Block {
    /// The packets' lines, without newline.
    pub(in crate::sources::tshark) lines: Vec<Bytes>,
    /// Lines that were left out because they are over-long.
    pub(in crate::sources::tshark) too_long: u64,
}

/// The number of the line's packet, counted by tshark from 1; `None` where the line does not begin
/// with it.
pub(in crate::sources::tshark) fn frame_number(line: &[u8]) -> Option<u64> {
    let head = line.get(..NUMBER_WITHIN_BYTES).unwrap_or(line);
    let (key, values) = head.split_at(memchr(b'[', head)?);
    let digits = values.strip_prefix(b"[\"").filter(|_| key.ends_with(NUMBER_KEY))?;
    let end = memchr(b'"', digits)?;
    str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

// === impl Framer ===

impl Framer {
    /// A framer that leaves out lines of more than `max_line_bytes`.
    pub(in crate::sources::tshark) fn new(max_line_bytes: usize) -> Self {
        Self { buffer: Vec::new(), max_line_bytes, skipping: false }
    }

    /// Where to append what is read next: never without room.
    pub(in crate::sources::tshark) fn room(&mut self) -> &mut Vec<u8> {
        self.buffer.reserve(BUFFER_BYTES / 2);
        &mut self.buffer
    }

    /// The lines that are complete by now.
    pub(in crate::sources::tshark) fn take(&mut self) -> Block {
        let mut block = Block::default();
        if self.skipping {
            let Some(end) = memchr(b'\n', &self.buffer) else {
                self.buffer.clear();
                return block;
            };
            self.buffer.drain(..=end);
            self.skipping = false;
        }
        if let Some(end) = memrchr(b'\n', &self.buffer) {
            let complete = Bytes::copy_from_slice(self.buffer.get(..=end).unwrap_or_default());
            self.buffer.drain(..=end);
            let mut start = 0;
            for end in memchr_iter(b'\n', &complete) {
                self.line(complete.slice(start..end), &mut block);
                start = end + 1;
            }
        }
        if self.buffer.len() > self.max_line_bytes {
            // Such lines are rare: their room is not kept.
            self.buffer = Vec::new();
            self.skipping = true;
            block.too_long += 1;
        } else if self.buffer.len() <= BUFFER_BYTES / 2 {
            // Nor is that of a long line that was taken, or the blocks after it were as large.
            self.buffer.shrink_to(BUFFER_BYTES);
        }
        block
    }

    /// Whether a line was begun and never ended.
    pub(in crate::sources::tshark) fn is_cut(&self) -> bool {
        self.skipping || !self.buffer.is_empty()
    }

    fn line(&self, line: Bytes, block: &mut Block) {
        if line.len() > self.max_line_bytes {
            block.too_long += 1;
        } else if !line.starts_with(INDEX_PREFIX) && !line.is_empty() {
            block.lines.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(input: &[u8], reads: &[usize], max_line_bytes: usize) -> Block {
        let mut framer = Framer::new(max_line_bytes);
        let mut all = Block::default();
        let mut rest = input;
        let mut reads = reads.iter().cycle();
        while !rest.is_empty() {
            let size = (*reads.next().unwrap()).clamp(1, rest.len());
            let (read, after) = rest.split_at(size);
            framer.room().extend_from_slice(read);
            rest = after;
            let block = framer.take();
            all.lines.extend(block.lines);
            all.too_long += block.too_long;
        }
        all
    }

    #[test]
    fn index_lines_and_empty_lines_are_left_out() {
        let block = frame(b"{\"index\":{}}\n{\"a\":1}\n\n{\"b\"", &[7], 100);
        assert_eq!(block.lines, ["{\"a\":1}"]);
    }

    #[test]
    fn an_over_long_line_is_skipped_to_its_end_and_counted_once() {
        let input = [b"{1}\n", "x".repeat(50).as_bytes(), b"\n{2}\n"].concat();
        for read in [1, 5, 20, 100] {
            let block = frame(&input, &[read], 10);
            assert_eq!(block.lines, ["{1}", "{2}"], "reads of {read}");
            assert_eq!(block.too_long, 1, "reads of {read}");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_twice_the_cap() {
        let mut framer = Framer::new(1 << 20);
        let mut too_long = 0;
        for _ in 0..1000 {
            framer.room().extend_from_slice(&vec![b'x'; 65_536]);
            too_long += framer.take().too_long;
            assert!(framer.buffer.capacity() <= 2 * ((1 << 20) + BUFFER_BYTES));
        }
        assert_eq!(too_long, 1);
        assert!(framer.is_cut());
    }

    #[test]
    fn after_a_long_line_there_is_no_more_room_than_before() {
        let mut framer = Framer::new(1 << 20);
        for part in [vec![b'x'; 1 << 19], vec![b'x'; (1 << 19) - 1], b"\n{}".to_vec()] {
            framer.room().extend_from_slice(&part);
            assert_eq!(framer.take().too_long, 0);
        }
        assert!(framer.room().capacity() <= BUFFER_BYTES);
        assert_eq!(framer.buffer, b"{}");
    }

    #[test]
    fn the_frame_number_is_read_without_parsing_the_line() {
        for (line, number) in [
            (r#"{"timestamp":"1","layers":{"frame_number":["17"],"a":["b"]}}"#, Some(17)),
            (r#"{"layers":{"frame_number":["x"]}}"#, None),
            (r#"{"layers":{"frame_number":["99999999999999999999999"]}}"#, None),
            (r#"{"layers":{"frame_number":["1"#, None),
            ("", None),
        ] {
            assert_eq!(frame_number(line.as_bytes()), number, "{line}");
        }
    }

    proptest! {
        #[test]
        fn lines_come_out_the_same_however_they_were_read(
            lines in prop::collection::vec("[a-z{}\"]{0,30}", 0..40),
            reads in prop::collection::vec(1_usize..50, 1..10),
        ) {
            let input: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            let block = frame(input.as_bytes(), &reads, 20);
            let expected: Vec<_> = lines
                .iter()
                .filter(|line| (1..=20).contains(&line.len()) && !line.starts_with("{\"index\""))
                .map(|line| Bytes::from(line.clone()))
                .collect();
            let too_long = lines.iter().filter(|line| line.len() > 20).count() as u64;
            prop_assert_eq!(block, Block { lines: expected, too_long });
        }

        #[test]
        fn no_bytes_make_the_number_scan_fail(line in prop::collection::vec(any::<u8>(), 0..200)) {
            frame_number(&line);
        }
    }
}
