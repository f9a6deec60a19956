//! A line of `tshark -T ek`, in which anyone on the network has a say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate::{
    ek::{Line, Parser},
    record::Raw,
};

fuzz_target!(|line: &[u8]| {
    let mut parser = Parser::new(&["dns.qry.name", "dns.a", "ip.src"].map(str::to_owned));
    let mut read = |line: Vec<u8>| {
        let line = parser.parse(&Raw { line: line.into(), epoch: 0, first: 7, origin: tidegate::record::ObservationPoint::default() });
        line.map_err(|error| error.reason())
    };
    let first = read(line.to_vec());
    assert_eq!(read(line.to_vec()), first, "a parser that was used reads something else");
    // A blank at its end takes a line past the short cut for plain ones.
    let spaced = read([line, b" "].concat());
    assert_eq!(spaced, first, "the short cut and simd-json differ");
    if let Ok(Line::Packet(packet)) = first {
        let kept = packet.extra.iter().map(|extra| &extra.values);
        for values in kept {
            assert!(values.len() <= 64 && values.iter().all(|value| value.len() <= 1024));
        }
    }
});
