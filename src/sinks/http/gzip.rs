//! Compressing a request's body without holding up the thread's other tasks.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

/// Bytes compressed before other tasks of the thread get their turn: about a millisecond.
const TURN_BYTES: usize = 128 << 10;

/// The body as one gzip member.
pub(super) async fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Compression::fast());
    for piece in body.chunks(TURN_BYTES) {
        encoder.write_all(piece).expect("writing into memory does not fail");
        tokio::task::yield_now().await;
    }
    encoder.finish().expect("writing into memory does not fail")
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn what_is_compressed_comes_out_again() {
        let body: Vec<u8> = (0..50).flat_map(|n| vec![n; 10_000]).collect();
        let packed = gzip(&body).await;
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
        assert!(packed.len() < body.len() / 10);
        assert_eq!(unpacked, body);
    }
}
