//! Application protocols by number: a flow keeps two bytes instead of a name.

use std::{collections::HashMap, sync::Arc};

/// How many are told apart; tshark knows some 3,000.
const MAX: usize = 8192;

/// The names seen so far, numbered from 1.
#[derive(Debug, Default)]
pub(super) struct Protocols {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u16>,
}

// === impl Protocols ===

impl Protocols {
    /// The number of a name; 0 once there are too many.
    pub(super) fn number(&mut self, name: &Arc<str>) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        if self.names.len() == MAX {
            return 0;
        }
        self.names.push(Arc::clone(name));
        let number = u16::try_from(self.names.len()).unwrap_or(0);
        self.numbers.insert(Arc::clone(name), number);
        number
    }

    /// The name of a number; `None` for 0.
    pub(super) fn name(&self, number: u16) -> Option<Arc<str>> {
        usize::from(number).checked_sub(1).and_then(|at| self.names.get(at).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_limit_have_no_number() {
        let mut protocols = Protocols::default();
        for n in 0..2 * MAX {
            protocols.number(&n.to_string().into());
        }
        assert_eq!(protocols.names.len(), MAX);
        assert_eq!(protocols.number(&"0".into()), 1);
        assert_eq!(protocols.name(1).as_deref(), Some("0"));
        assert_eq!(protocols.number(&"no such".into()), 0);
        assert_eq!(protocols.name(0), None);
    }
}
