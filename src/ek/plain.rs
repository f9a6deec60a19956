//! Lines of the usual shape, split into nodes without a general JSON parser.
//!
//! tshark writes nearly all lines alike: no blanks, no escapes, and values that are texts, or
//! `layers` with an array of texts each. They make the same nodes here as in simd-json, which reads
//! all the others.

use simd_json::Node;

/// The part of a line that was not read yet.
struct Rest<'l>(&'l str);

/// Replaces what is on `tape` by the line's nodes; `false` if the line is not of the usual shape,
/// and then the tape holds nothing of use.
pub(super) fn fill<'l>(line: &'l [u8], tape: &mut Vec<Node<'l>>) -> bool {
    tape.clear();
    let Ok(text) = str::from_utf8(line) else {
        return false;
    };
    let is_special = |byte: &u8| *byte < b' ' || *byte == b'\\';
    // Without an early end this takes many bytes at once.
    let special = line.iter().fold(false, |any, byte| any | is_special(byte));
    let mut rest = Rest(text);
    !special && rest.line(tape).is_some() && rest.0.is_empty()
}

// === impl Rest ===

impl<'l> Rest<'l> {
    fn line(&mut self, tape: &mut Vec<Node<'l>>) -> Option<()> {
        let head = begin(tape);
        let mut len = 0;
        self.expect("{\"")?;
        loop {
            tape.push(Node::String(self.text()?));
            len += 1;
            self.expect(":")?;
            match self.byte()? {
                b'"' => tape.push(Node::String(self.text()?)),
                b'{' => self.layers(tape)?,
                _ => return None,
            }
            if !self.goes_on(b'}')? {
                return end(tape, head, |count| Node::Object { len, count });
            }
        }
    }

    /// The fields, behind the brace.
    fn layers(&mut self, tape: &mut Vec<Node<'l>>) -> Option<()> {
        let head = begin(tape);
        let mut len = 0;
        self.expect("\"")?;
        loop {
            tape.push(Node::String(self.text()?));
            len += 1;
            self.expect(":[\"")?;
            self.values(tape)?;
            if !self.goes_on(b'}')? {
                return end(tape, head, |count| Node::Object { len, count });
            }
        }
    }

    /// A field's values, behind the first quote.
    fn values(&mut self, tape: &mut Vec<Node<'l>>) -> Option<()> {
        let head = begin(tape);
        loop {
            tape.push(Node::String(self.text()?));
            if !self.goes_on(b']')? {
                return end(tape, head, |count| Node::Array { len: count, count });
            }
        }
    }

    /// Up to the next quote, and past it.
    fn text(&mut self) -> Option<&'l str> {
        // Texts are a few bytes long: a call to memchr would take longer.
        let len = self.0.bytes().position(|byte| byte == b'"')?;
        let text = self.0.get(..len)?;
        self.0 = self.0.get(len + 1..)?;
        Some(text)
    }

    /// Whether a comma and a quote follow, rather than `end`.
    fn goes_on(&mut self, end: u8) -> Option<bool> {
        match self.byte()? {
            b',' => self.expect("\"").map(|()| true),
            byte => (byte == end).then_some(false),
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = *self.0.as_bytes().first()?;
        self.0 = self.0.get(1..)?;
        Some(byte)
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }
}

/// Keeps a place for the head of an object or an array.
fn begin(tape: &mut Vec<Node<'_>>) -> usize {
    tape.push(Node::Object { len: 0, count: 0 });
    tape.len() - 1
}

/// Writes the head, which counts the nodes behind it.
fn end<'l>(tape: &mut [Node<'l>], head: usize, node: impl Fn(usize) -> Node<'l>) -> Option<()> {
    let count = tape.len() - 1 - head;
    *tape.get_mut(head)? = node(count);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What simd-json makes of the line, unless it refuses it.
    fn agrees(line: &str) -> bool {
        let mut tape = Vec::new();
        let filled = fill(line.as_bytes(), &mut tape);
        let mut bytes = line.as_bytes().to_vec();
        !filled || simd_json::to_tape(&mut bytes).is_ok_and(|other| other.0 == tape)
    }

    #[test]
    fn only_lines_of_the_usual_shape_are_split() {
        let cases = [
            (r#"{"timestamp":"1","layers":{"a":["b"],"c":["d","","e"]}}"#, true),
            (r#"{"layers":{"a":["é\u007f"]}}"#, false),
            ("{\"layers\":{\"a\":[\"é\u{7f}\"]}}", true),
            ("{\"layers\":{\"a\":[\"\t\"]}}", false),
            (r#"{"layers":{"a":["b"]}} "#, false),
            (r#"{"layers":{"a":["b"]}"#, false),
            (r#"{"layers":{"a":["b"],}}"#, false),
            (r#"{"layers":{"a":["b",]}}"#, false),
            (r#"{"layers":{"a":[]}}"#, false),
            (r#"{"layers":{"a":"b"}}"#, false),
            (r#"{"layers":{}}"#, false),
            (r#"{"layers":{"a":["b"]}}}"#, false),
            (r#"{"timestamp":1}"#, false),
            ("{}", false),
            ("", false),
        ];
        for (line, expected) in cases {
            assert_eq!(fill(line.as_bytes(), &mut Vec::new()), expected, "{line}");
            assert!(agrees(line), "{line}");
        }
    }

    proptest! {
        #[test]
        fn a_line_makes_the_nodes_that_simd_json_makes(
            time in "[0-9é]{0,3}",
            fields in prop::collection::vec(
                ("[a-z]{0,3}", prop::collection::vec("[^\"\\\\\\p{Cc}]{0,9}", 1..4)),
                1..6,
            ),
        ) {
            let array = |(key, values): &(String, Vec<String>)| {
                format!("\"{key}\":[\"{}\"]", values.join("\",\""))
            };
            let fields: Vec<_> = fields.iter().map(array).collect();
            let line = format!("{{\"timestamp\":\"{time}\",\"layers\":{{{}}}}}", fields.join(","));
            prop_assert!(fill(line.as_bytes(), &mut Vec::new()));
            prop_assert!(agrees(&line));
        }

        #[test]
        fn whatever_is_split_is_json(line in "\\{\"(a|\"|:|\\[|\\]|\\{|\\}|,|\\\\){0,20}\\}") {
            prop_assert!(agrees(&line));
        }

        #[test]
        fn no_bytes_make_it_fail(line in prop::collection::vec(any::<u8>(), 0..200)) {
            fill(&line, &mut Vec::new());
        }
    }
}
