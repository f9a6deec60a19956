//! Scalars as the field wants them.

use serde::de::Visitor;

use super::fault::{Error, Fault};
use crate::document::tree::{Node, Scalar, Typed};

/// The scalar at `node`, or what was expected instead of what stands there.
pub(super) fn scalar<'de>(node: &'de Node, expected: &str) -> Result<&'de Scalar, Error> {
    node.scalar().filter(|_| !node.is_null()).ok_or_else(|| Error::mismatch(node, expected))
}

/// A whole number within the range of `T`.
pub(super) fn integer<T: TryFrom<i128>>(node: &Node, least: i128, most: i128) -> Result<T, Error> {
    let expected = if (least, most) == (0, u64::MAX.into()) {
        "a whole number, 0 or more".to_owned()
    } else {
        format!("a whole number from {least} to {most}")
    };
    let number =
        scalar(node, &expected)?.as_integer().filter(|number| (least..=most).contains(number));
    number
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| Error::mismatch(node, expected))
}

/// A number.
pub(super) fn float(node: &Node) -> Result<f64, Error> {
    scalar(node, "a number")?.as_float().ok_or_else(|| Error::mismatch(node, "a number"))
}

/// A bool.
pub(super) fn boolean(node: &Node) -> Result<bool, Error> {
    scalar(node, "true or false")?.as_bool().ok_or_else(|| Error::mismatch(node, "true or false"))
}

/// Text: any scalar as it was written, so a token of digits needs no quotes.
pub(super) fn text<'de, V: Visitor<'de>>(node: &'de Node, visitor: V) -> Result<V::Value, Error> {
    let scalar = scalar(node, "text")?;
    visitor.visit_borrowed_str::<Error>(&scalar.text).map_err(|error| error.about(scalar))
}

/// Whatever the scalar is by itself.
pub(super) fn any<'de, V: Visitor<'de>>(
    scalar: &'de Scalar,
    visitor: V,
) -> Result<V::Value, Error> {
    let value = match scalar.typed() {
        Typed::Null => visitor.visit_unit(),
        Typed::Bool(value) => visitor.visit_bool(value),
        Typed::Float(value) => visitor.visit_f64(value),
        Typed::Text => visitor.visit_borrowed_str(&scalar.text),
        Typed::Integer(value) => match (u64::try_from(value), i64::try_from(value)) {
            (Ok(value), _) => visitor.visit_u64(value),
            (_, Ok(value)) => visitor.visit_i64(value),
            _ => Err(Error::new(Fault::Mismatch {
                found: format!("`{}`", scalar.shown()),
                expected: "a number of at most 64 bits".to_owned(),
                keys: &[],
            })),
        },
    };
    value.map_err(|error: Error| error.about(scalar))
}
