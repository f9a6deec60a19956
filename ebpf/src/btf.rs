//! The structs of the compiled program, by its BTF: for the test that compares them with ours.
//!
//! Source: Documentation/bpf/btf.rst of Linux.

use std::collections::BTreeMap;

use object::{Object, ObjectSection};

const HEADER_BYTES: usize = 24;
const KIND_STRUCT: u32 = 4;

/// Size and members with their offsets in bytes, of each struct by its name.
pub(crate) struct Types(BTreeMap<String, (usize, Vec<(String, usize)>)>);

// === impl Types ===

impl Types {
    pub(crate) fn of(object: &[u8]) -> Self {
        let file = object::File::parse(object).expect("the object is ELF");
        let section = file.section_by_name(".BTF").expect("it is compiled with -g");
        let btf = section.data().expect("the section is there");
        let word = |at: usize| u32::from_ne_bytes(btf[at..at + 4].try_into().expect("4 bytes"));
        let at = |from: usize| HEADER_BYTES + word(from) as usize;
        let (mut place, end, strings) = (at(8), at(8) + word(12) as usize, at(16));
        let name = |offset: u32| {
            let text = &btf[strings + offset as usize..];
            let end = text.iter().position(|byte| *byte == 0).expect("it ends");
            String::from_utf8_lossy(&text[..end]).into_owned()
        };
        let mut types = BTreeMap::new();
        while place < end {
            let info = word(place + 4);
            let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            if kind == KIND_STRUCT {
                let member = |index: usize| place + 12 + index * 12;
                let fields = (0..members)
                    .map(|index| (name(word(member(index))), word(member(index) + 8) as usize / 8));
                types.insert(name(word(place)), (word(place + 8) as usize, fields.collect()));
            }
            place += 12 + further(kind, members);
        }
        Self(types)
    }

    /// Fails unless the struct has exactly these members at these offsets.
    pub(crate) fn assert(&self, name: &str, size: usize, fields: &[(&str, usize)]) {
        let fields = fields.iter().map(|(name, at)| ((*name).to_owned(), *at)).collect();
        assert_eq!(self.0.get(name), Some(&(size, fields)), "{name}");
    }
}

/// Bytes behind the first 12 of a type of this kind.
fn further(kind: u32, members: usize) -> usize {
    match kind {
        // int, variable, declaration tag
        1 | 14 | 17 => 4,
        // array
        3 => 12,
        // struct, union, section, 64-bit enum
        4 | 5 | 15 | 19 => members * 12,
        // enum, function prototype
        6 | 13 => members * 8,
        _ => 0,
    }
}
