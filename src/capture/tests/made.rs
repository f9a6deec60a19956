//! Captures that the tests write.

use crate::capture::number::Order;

/// An Ethernet frame of an unknown protocol: its number, and then as many bytes as make it so long.
pub(super) fn frame(number: u8, length: usize) -> Vec<u8> {
    let mut frame = vec![number; length.max(14)];
    frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    frame
}

/// Bytes in a byte order.
#[derive(Debug, Clone)]
pub(super) struct Writer {
    pub(super) order: Order,
    pub(super) bytes: Vec<u8>,
}

/// A pcap in the making.
#[derive(Debug, Clone)]
pub(super) struct Pcap {
    pub(super) out: Writer,
    /// What follows the two lengths in a record's header.
    pub(super) extra: Vec<u8>,
}

/// A pcapng in the making.
#[derive(Debug, Clone)]
pub(super) struct Pcapng(pub(super) Writer);

// === impl Writer ===

impl Writer {
    pub(super) fn new(order: Order) -> Self {
        Self { order, bytes: Vec::new() }
    }

    pub(super) fn u16(&mut self, number: u16) -> &mut Self {
        self.bytes.extend(match self.order {
            Order::Little => number.to_le_bytes(),
            Order::Big => number.to_be_bytes(),
        });
        self
    }

    pub(super) fn u32(&mut self, number: u32) -> &mut Self {
        self.bytes.extend(match self.order {
            Order::Little => number.to_le_bytes(),
            Order::Big => number.to_be_bytes(),
        });
        self
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend(bytes);
        self
    }
}

// === impl Pcap ===

impl Pcap {
    pub(super) fn new(order: Order, magic: u32) -> Self {
        Self::versioned(order, magic, [2, 4], 1)
    }

    pub(super) fn versioned(
        order: Order,
        magic: u32,
        [major, minor]: [u16; 2],
        network: u32,
    ) -> Self {
        let mut out = Writer::new(order);
        out.u32(magic).u16(major).u16(minor).u32(0).u32(0).u32(65_535).u32(network);
        Self { out, extra: Vec::new() }
    }

    /// Adds a frame that was captured whole.
    pub(super) fn frame(&mut self, time: [u32; 2], frame: &[u8]) -> &mut Self {
        let length = u32::try_from(frame.len()).unwrap();
        self.record(time, [length, length], frame)
    }

    pub(super) fn record(
        &mut self,
        [seconds, fraction]: [u32; 2],
        [first, second]: [u32; 2],
        bytes: &[u8],
    ) -> &mut Self {
        self.out.u32(seconds).u32(fraction).u32(first).u32(second);
        self.out.raw(&self.extra.clone()).raw(bytes);
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.out.bytes
    }
}

// === impl Pcapng ===

impl Pcapng {
    /// One section, without interfaces yet.
    pub(super) fn new(order: Order) -> Self {
        let mut made = Self(Writer::new(order));
        made.section();
        made
    }

    pub(super) fn section(&mut self) -> &mut Self {
        let mut body = Writer::new(self.0.order);
        body.u32(0x1a2b_3c4d).u16(1).u16(0).raw(&[0xff; 8]);
        self.block(0x0a0d_0d0a, &body.bytes)
    }

    pub(super) fn block(&mut self, kind: u32, body: &[u8]) -> &mut Self {
        let length = u32::try_from(body.len().next_multiple_of(4) + 12).unwrap();
        self.0.u32(kind).u32(length).raw(body);
        self.0.raw(&vec![0; body.len().next_multiple_of(4) - body.len()]).u32(length);
        self
    }

    /// An interface with these options.
    pub(super) fn interface(&mut self, link: u16, options: &[(u16, &[u8])]) -> &mut Self {
        let mut body = Writer::new(self.0.order);
        body.u16(link).u16(0).u32(0);
        for (code, value) in options {
            body.u16(*code).u16(u16::try_from(value.len()).unwrap()).raw(value);
            body.raw(&vec![0; value.len().next_multiple_of(4) - value.len()]);
        }
        self.block(1, &body.bytes)
    }

    /// An Enhanced Packet Block.
    pub(super) fn packet(&mut self, interface: u32, units: u64, frame: &[u8]) -> &mut Self {
        let length = u32::try_from(frame.len()).unwrap();
        let part = |bits: u64| u32::try_from(bits & 0xffff_ffff).unwrap();
        let mut body = Writer::new(self.0.order);
        body.u32(interface).u32(part(units >> 32)).u32(part(units)).u32(length).u32(length);
        body.raw(frame);
        self.block(6, &body.bytes)
    }

    /// A block whose head says this, whatever follows.
    pub(super) fn head(&mut self, kind: u32, length: u32) -> &mut Self {
        self.0.u32(kind).u32(length);
        self
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }
}
